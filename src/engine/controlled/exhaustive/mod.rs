//! Exhaustive search: every state that the threads of a scenario can bring about, once.
//!
//! Depth first over cloned machines, with the fingerprints of all states seen. Only states in which
//! there is a choice are kept: from each, a chain of safe steps (see [`super::reduction`]) leads to
//! the next. *Proved* means that the space was exhausted.
//!
//! With a bound on preemptions the search covers exactly the schedules with at most that many, and
//! says so; it then takes no step at once: what another thread could have done before costs nothing
//! without the bound, and may cost a preemption with it.
//!
//! The kinds that a search for all of them finds are those of the oracle on one path to each state.
//! A kind that the oracle counts only as the first divergence of a run (the totals at every prefix)
//! can be left out where another path to the same state diverged before; whether anything diverges
//! cannot.

mod addresses;
mod fingerprint;
mod part;

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::numbers::plural;
use crate::oracle::{Kind, Report, Verdict};

use super::actors::{Actor, Actors};
use super::machine::{Machine, RunEnd, Setup};
use super::observe::{NoRecording, ObservedRun, observe_path};
use fingerprint::Fingerprints;
pub use part::{Part, SearchedPart, search_part};

/// The most operations, over all threads, of which every schedule is searched: a search keeps a
/// machine for each choice of a schedule.
pub(crate) const MAX_SEARCHED_OPS: usize = 2000;

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchOptions {
    /// Take safe steps at once.
    pub partial_order: bool,
    /// Take threads with the same program for interchangeable.
    pub symmetry: bool,
    /// Forget what a slot held that nobody will look at again.
    pub dead_slots: bool,
    /// Take states that differ by addresses only for the same, where it does not matter which one a
    /// buffer gets.
    pub addresses: bool,
    /// Only schedules with at most this many preemptions.
    pub preemptions: Option<u32>,
    /// What to do about a divergence.
    pub goal: Goal,
    /// Give up after this many states.
    pub max_states: u64,
}

impl Default for SearchOptions {
    fn default() -> SearchOptions {
        SearchOptions {
            partial_order: true,
            symmetry: true,
            dead_slots: true,
            addresses: true,
            preemptions: None,
            goal: Goal::First,
            max_states: u64::MAX,
        }
    }
}

/// What to do about a divergence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Stop at the first.
    First,
    /// Stop at the first of this kind.
    Kind(Kind),
    /// Go on, and collect every kind that there is.
    AllKinds,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Searched {
    /// States with a choice, and states at rest.
    pub states: u64,
    /// Steps that were taken.
    pub steps: u64,
    /// Most steps on one path.
    pub depth: u64,
    /// How it ended.
    pub ended: SearchEnd,
    /// In how many places of the space each kind of divergence shows.
    pub divergences: BTreeMap<Kind, u64>,
    /// The first path that shows one (of the wanted kind), run to its end.
    pub example: Option<Box<ObservedRun>>,
    /// Most buffers that are live at rest: real leaks.
    pub leaks: u64,
    /// What the oracle says of one path at rest.
    pub at_rest: Option<Report>,
    /// Paths that were not followed, for a loop had come to the last round that is searched.
    pub cut: u64,
}

impl Searched {
    fn log(&self, setup: &Setup) {
        // Small ones come by the hundred where something is made smaller.
        const SMALL: u64 = 10_000;
        let level = if self.states < SMALL {
            log::Level::Trace
        } else {
            log::Level::Debug
        };
        log::log!(
            level,
            "{}: {} states searched in {} steps, {}",
            setup.scenario.name,
            self.states,
            self.steps,
            match self.ended {
                SearchEnd::Exhausted => "all there are",
                SearchEnd::Reached => "up to what was looked for",
                SearchEnd::Abandoned => "and given up",
            }
        );
    }

    /// What was cut is not searched, and so the whole is not.
    fn note_cut(&mut self) {
        if self.cut > 0 && self.ended == SearchEnd::Exhausted {
            self.ended = SearchEnd::Abandoned;
        }
    }

    /// What follows from it, and why where it is inconclusive; `preemptions` was the bound.
    pub(crate) fn verdict(&self, preemptions: Option<u32>) -> (Verdict, Option<String>) {
        if self.example.is_some() {
            return (Verdict::Diverged, None);
        }
        let why = match (self.ended, preemptions, &self.at_rest) {
            (_, _, _) if self.cut > 0 => format!(
                "a `retry` ran out of its rounds in {}, which were followed no further; give it more rounds",
                plural(self.cut, "place")
            ),
            (SearchEnd::Exhausted, Some(bound), _) => format!(
                "every schedule with at most {} was searched, and none diverged; others were not",
                plural(bound.into(), "preemption")
            ),
            (SearchEnd::Exhausted, None, report) => {
                let report = report.as_ref();
                let nothing = report.and_then(|report| report.nothing_checked(report.messages));
                match nothing {
                    Some(why) => why.replace("checked", "proved"),
                    None => return (Verdict::Proved, None),
                }
            }
            _ => format!(
                "not the whole space: {} searched",
                plural(self.states, "state") + if self.states == 1 { " was" } else { " were" }
            ),
        };
        (Verdict::Inconclusive, Some(why))
    }
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchEnd {
    /// The whole space was searched, within the bound on preemptions if there was one.
    Exhausted,
    /// It was not, for the goal was reached.
    Reached,
    /// It was not, for the states were too many or somebody asked to stop.
    Abandoned,
}

/// Searches `setup`. `keep_going` is told the states and the depth from time to time, and says
/// whether to.
pub fn search(
    setup: &Arc<Setup>,
    options: &SearchOptions,
    keep_going: &mut dyn FnMut(&Searched) -> bool,
) -> Searched {
    let mut options = *options;
    options.addresses &= addresses::may_be_left_out(setup);
    let mut search = Search::new(setup, &options);
    search.begin(keep_going);
    if search.addresses_matter {
        options.addresses = false;
        search = Search::new(setup, &options);
        search.begin(keep_going);
    }
    search.found.note_cut();
    search.found.log(setup);
    search.found
}

/// A fingerprint is its own hash.
#[derive(Clone, Copy, Debug, Default)]
struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("fingerprints are written as u128");
    }

    fn write_u128(&mut self, fingerprint: u128) {
        self.0 = fingerprint as u64;
    }
}

struct Search<'a> {
    setup: &'a Arc<Setup>,
    options: &'a SearchOptions,
    fingerprints: Fingerprints,
    seen: HashSet<u128, BuildHasherDefault<Itself>>,
    frames: Vec<Frame>,
    /// Frames in use: a state, the state that a choice led to, and so on. The rest is kept for its
    /// memory.
    used: usize,
    path: Vec<Actor>,
    /// Addresses were left out, and then a buffer was allocated of which that may matter.
    addresses_matter: bool,
    found: Searched,
}

/// A state with the choices that are left.
#[derive(Debug)]
struct Frame {
    machine: Machine,
    todo: Actors,
    /// Steps on the path to it.
    path: usize,
    current: Option<Actor>,
    preemptions: u32,
    /// Whether the actor of the last step can go on: then another costs a preemption.
    current_goes_on: bool,
    /// Whether a choice was taken, or left out for its cost.
    has_choice: bool,
}

impl<'a> Search<'a> {
    fn new(setup: &'a Arc<Setup>, options: &'a SearchOptions) -> Search<'a> {
        let fingerprints = Fingerprints::new(setup, options.symmetry, options.dead_slots);
        Search {
            fingerprints: match options.addresses {
                true => fingerprints.without_addresses(),
                false => fingerprints,
            },
            setup,
            options,
            seen: HashSet::default(),
            frames: Vec::new(),
            used: 0,
            path: Vec::new(),
            addresses_matter: false,
            found: Searched {
                states: 0,
                steps: 0,
                depth: 0,
                ended: SearchEnd::Exhausted,
                divergences: BTreeMap::new(),
                example: None,
                leaks: 0,
                at_rest: None,
                cut: 0,
            },
        }
    }

    /// Searches what the first state leads to.
    fn begin(&mut self, keep_going: &mut dyn FnMut(&Searched) -> bool) {
        self.frames.push(Frame::at(Machine::new(self.setup)));
        self.used = 1;
        self.enter();
        self.run(keep_going);
    }

    /// Searches what the states on the stack lead to.
    fn run(&mut self, keep_going: &mut dyn FnMut(&Searched) -> bool) {
        const REPORT_STATES: u64 = 1 << 9;
        let mut reported = self.found.states / REPORT_STATES * REPORT_STATES;
        while self.used > 0 && self.found.ended == SearchEnd::Exhausted {
            if !self.advance() {
                self.leave();
            }
            if self.found.states >= reported + REPORT_STATES {
                reported = self.found.states;
                if !keep_going(&self.found) {
                    self.found.ended = SearchEnd::Abandoned;
                }
            }
        }
    }

    /// Takes the next choice of the topmost state; `false`: there is none.
    fn advance(&mut self) -> bool {
        let depth = self.used;
        let frame = &mut self.frames[depth - 1];
        let Some(actor) = frame.next_choice() else {
            return false;
        };
        let preempts = frame.current_goes_on && frame.current != Some(actor);
        let preemptions = frame.preemptions + u32::from(preempts);
        if self
            .options
            .preemptions
            .is_some_and(|most| preemptions > most)
        {
            frame.has_choice = true;
            return true;
        }
        if self.frames.len() == depth {
            let machine = self.frames[depth - 1].machine.clone();
            self.frames.push(Frame::at(machine));
        } else {
            let (below, above) = self.frames.split_at_mut(depth);
            above[0].machine.clone_from(&below[depth - 1].machine);
        }
        self.path.truncate(self.frames[depth - 1].path);
        let next = &mut self.frames[depth];
        next.machine.clear_alarm();
        let live = live_before(self.options, &next.machine);
        if !next.machine.step(actor, &mut NoRecording) {
            return true;
        }
        next.current = Some(actor);
        next.preemptions = preemptions;
        let frame = &mut self.frames[depth - 1];
        frame.has_choice = true;
        // Asked first, so that it is known what the others cost.
        frame.current_goes_on |= frame.current == Some(actor);
        self.took(actor, depth, live);
        self.used += 1;
        self.enter();
        true
    }

    /// A state was just reached: follows safe steps to where there is a choice, and notes it,
    /// unless it is known.
    fn enter(&mut self) {
        let top = self.used - 1;
        if self.options.partial_order && self.options.preemptions.is_none() {
            self.follow_safe_steps(top);
        }
        if self.found.ended != SearchEnd::Exhausted {
            return;
        }
        if self.frames[top].machine.world().is_cut() {
            self.found.cut += 1;
            self.used -= 1;
            return;
        }
        let bounded = self.options.preemptions.is_some();
        let frame = &mut self.frames[top];
        let current = frame.current.zip(bounded.then_some(frame.preemptions));
        let fingerprint = self.fingerprints.of(&frame.machine, current);
        if !self.seen.insert(fingerprint) {
            self.used -= 1;
            return;
        }
        if self.found.states >= self.options.max_states {
            self.found.ended = SearchEnd::Abandoned;
            return;
        }
        self.found.states += 1;
        frame.todo = frame.machine.ready();
        frame.path = self.path.len();
        frame.current_goes_on = false;
        frame.has_choice = false;
    }

    fn follow_safe_steps(&mut self, top: usize) {
        loop {
            let frame = &mut self.frames[top];
            let among = frame.machine.ready();
            let Some(actor) = among
                .into_iter()
                .find(|actor| frame.machine.is_safe(*actor))
            else {
                return;
            };
            frame.machine.clear_alarm();
            let live = live_before(self.options, &frame.machine);
            if !frame.machine.step(actor, &mut NoRecording) {
                // It waits, and is not asked again until it may have been let go on.
                continue;
            }
            frame.current = Some(actor);
            self.took(actor, top, live);
            if self.found.ended != SearchEnd::Exhausted {
                return;
            }
        }
    }

    /// A step was taken to the state of frame `index`; before it, so many buffers were `live`.
    fn took(&mut self, actor: Actor, index: usize, live: Option<usize>) {
        let machine = &self.frames[index].machine;
        let has_allocated = live.is_some_and(|live| machine.live() > live);
        if has_allocated && addresses::has_past_lives(machine) {
            self.addresses_matter = true;
            self.found.ended = SearchEnd::Abandoned;
            return;
        }
        self.path.push(actor);
        self.found.steps += 1;
        self.found.depth = self.found.depth.max(self.path.len() as u64);
        if self.frames[index].machine.alarmed() {
            self.examine();
        }
    }

    /// All choices of the topmost state are done. Where there was none, it is a state at rest.
    fn leave(&mut self) {
        let top = self.used - 1;
        self.used = top;
        let frame = &mut self.frames[top];
        if frame.has_choice {
            return;
        }
        self.path.truncate(frame.path);
        let end = frame.machine.finish(&mut NoRecording);
        let live = frame.machine.live() as u64;
        if end == RunEnd::Completed {
            self.found.leaks = self.found.leaks.max(live);
        }
        if end != RunEnd::Completed || frame.machine.differs_at_rest() {
            self.examine();
        } else if self.found.at_rest.is_none() {
            self.found.at_rest = Some(self.observe().report);
        }
    }

    /// Something may have diverged on the path at hand: asks the oracle.
    fn examine(&mut self) {
        let observed = self.observe();
        for kind in observed.report.divergences.keys() {
            *self.found.divergences.entry(*kind).or_default() += 1;
        }
        let wanted = match self.options.goal {
            Goal::Kind(kind) => observed.report.count(kind) > 0,
            Goal::First | Goal::AllKinds => !observed.report.divergences.is_empty(),
        };
        if wanted {
            if self.found.example.is_none() {
                self.found.example = Some(Box::new(observed));
            }
            if self.options.goal != Goal::AllKinds {
                self.found.ended = SearchEnd::Reached;
            }
        } else if self.found.at_rest.is_none() && observed.end == RunEnd::Completed {
            self.found.at_rest = Some(observed.report);
        }
    }

    /// The path at hand, run again with its events, and from its end on without preemptions.
    fn observe(&self) -> ObservedRun {
        observe_path(self.setup, self.path.clone())
    }
}

/// The live buffers before a step, where it matters that one allocates.
fn live_before(options: &SearchOptions, machine: &Machine) -> Option<usize> {
    options.addresses.then(|| machine.live())
}

impl Frame {
    fn at(machine: Machine) -> Frame {
        Frame {
            machine,
            todo: Actors::default(),
            path: 0,
            current: None,
            preemptions: 0,
            current_goes_on: false,
            has_choice: false,
        }
    }

    /// The next choice: first the actor of the last step, then the others in order.
    fn next_choice(&mut self) -> Option<Actor> {
        let actor = match self.current.filter(|current| self.todo.contains(*current)) {
            Some(current) => current,
            None => self.todo.next()?,
        };
        self.todo.remove(actor);
        Some(actor)
    }
}
