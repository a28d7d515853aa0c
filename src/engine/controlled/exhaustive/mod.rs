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
//!
//! A search that is not through after some thousand states goes on in batches, which several
//! workers share: see [`wide`].

mod addresses;
mod findings;
mod fingerprint;
mod part;
mod wide;

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::numbers::plural;
use crate::oracle::{Kind, Report, Verdict};

use super::actors::{Actor, Actors};
use super::machine::{Machine, Setup};
use super::observe::{NoRecording, ObservedRun};
use findings::{Findings, RestingState};
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
    /// Threads that search; what is found is the same for any number.
    pub workers: u16,
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
            workers: 1,
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
    if search.findings.addresses_matter {
        options.addresses = false;
        search = Search::new(setup, &options);
        search.begin(keep_going);
    }
    search.findings.end()
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

/// The fingerprints of the states that were met.
type Seen = HashSet<u128, BuildHasherDefault<Itself>>;

struct Search<'a> {
    options: &'a SearchOptions,
    fingerprints: Fingerprints,
    seen: Seen,
    frames: Vec<Frame>,
    /// Frames in use: a state, the state that a choice led to, and so on. The rest is kept for its
    /// memory.
    used: usize,
    findings: Findings<'a>,
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
            options,
            seen: Seen::default(),
            frames: Vec::new(),
            used: 0,
            findings: Findings::new(setup, options.goal),
        }
    }

    /// Searches what the first state leads to.
    fn begin(&mut self, keep_going: &mut dyn FnMut(&Searched) -> bool) {
        self.enter_first();
        self.run(wide::FROM_STATES, keep_going);
        self.run_wide(keep_going);
    }

    fn enter_first(&mut self) {
        self.frames
            .push(Frame::at(Machine::new(self.findings.setup)));
        self.used = 1;
        self.enter();
    }

    /// Searches what the states on the stack lead to, up to so many states.
    fn run(&mut self, up_to: u64, keep_going: &mut dyn FnMut(&Searched) -> bool) {
        const REPORT_STATES: u64 = 1 << 9;
        let mut reported = self.findings.found.states / REPORT_STATES * REPORT_STATES;
        while self.used > 0 && !self.findings.has_ended() && self.findings.found.states < up_to {
            if !self.advance() {
                self.leave();
            }
            if self.findings.found.states >= reported + REPORT_STATES {
                reported = self.findings.found.states;
                if !keep_going(&self.findings.found) {
                    self.findings.found.ended = SearchEnd::Abandoned;
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
        let preemptions = frame.preemptions_after(actor);
        if self.options.forbids(preemptions) {
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
        self.findings.path.truncate(self.frames[depth - 1].path);
        let (below, above) = self.frames.split_at_mut(depth);
        let (frame, next) = (&mut below[depth - 1], &mut above[0]);
        let Some(took) = next.take(actor, preemptions, self.options) else {
            return true;
        };
        frame.was_left_by(actor);
        self.findings.took(&took, &next.machine);
        self.used += 1;
        self.enter();
        true
    }

    /// A state was just reached: follows safe steps to where there is a choice, and notes it,
    /// unless it is known.
    fn enter(&mut self) {
        let top = self.used - 1;
        let frame = &mut self.frames[top];
        while !self.findings.has_ended()
            && let Some(took) = frame.take_safe(self.options)
        {
            self.findings.took(&took, &frame.machine);
        }
        if self.findings.has_ended() {
            return;
        }
        if frame.machine.world().is_cut() {
            self.findings.found.cut += 1;
            self.used -= 1;
            return;
        }
        if !self
            .seen
            .insert(frame.fingerprint(&mut self.fingerprints, self.options))
        {
            self.used -= 1;
            return;
        }
        if self.findings.is_one_more(self.options.max_states) {
            frame.begin(self.findings.path.len());
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
        self.findings.path.truncate(frame.path);
        let at_rest = RestingState::of(&mut frame.machine);
        self.findings.rested(at_rest);
    }
}

impl SearchOptions {
    /// Whether schedules with so many preemptions are not asked for.
    fn forbids(&self, preemptions: u32) -> bool {
        self.preemptions.is_some_and(|most| preemptions > most)
    }
}

/// A step that was taken.
#[derive(Clone, Copy, Debug)]
struct Took {
    actor: Actor,
    /// Addresses were left out, and a buffer was allocated of which that may matter.
    addresses_matter: bool,
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

    /// Lets `actor` take a step; nothing: it cannot.
    fn step(&mut self, actor: Actor, options: &SearchOptions) -> Option<Took> {
        self.machine.clear_alarm();
        let live = live_before(options, &self.machine);
        self.machine.step(actor, &mut NoRecording).then(|| {
            self.current = Some(actor);
            let has_allocated = live.is_some_and(|live| self.machine.live() > live);
            Took {
                actor,
                addresses_matter: has_allocated && addresses::has_past_lives(&self.machine),
            }
        })
    }

    /// From a copy of the state before: takes the choice `actor`, where it can.
    fn take(&mut self, actor: Actor, preemptions: u32, options: &SearchOptions) -> Option<Took> {
        let took = self.step(actor, options);
        if took.is_some() {
            self.preemptions = preemptions;
        }
        took
    }

    /// Takes a step that is no choice, if there is one.
    fn take_safe(&mut self, options: &SearchOptions) -> Option<Took> {
        if !options.partial_order || options.preemptions.is_some() {
            return None;
        }
        loop {
            let mut among = self.machine.ready().into_iter();
            let actor = among.find(|actor| self.machine.is_safe(*actor))?;
            // Else it waits, and is not asked again until it may have been let go on.
            if let Some(took) = self.step(actor, options) {
                return Some(took);
            }
        }
    }

    fn fingerprint(&self, fingerprints: &mut Fingerprints, options: &SearchOptions) -> u128 {
        let bounded = options.preemptions.is_some();
        let current = self.current.zip(bounded.then_some(self.preemptions));
        fingerprints.of(&self.machine, current)
    }

    /// It is a new state, so many steps from the first: all its choices are open.
    fn begin(&mut self, path: usize) {
        self.todo = self.machine.ready();
        self.path = path;
        self.current_goes_on = false;
        self.has_choice = false;
    }

    /// How many preemptions a schedule has in which `actor` goes on.
    fn preemptions_after(&self, actor: Actor) -> u32 {
        let preempts = self.current_goes_on && self.current != Some(actor);
        self.preemptions + u32::from(preempts)
    }

    /// The choice `actor` was taken.
    fn was_left_by(&mut self, actor: Actor) {
        self.has_choice = true;
        // Asked first, so that it is known what the others cost.
        self.current_goes_on |= self.current == Some(actor);
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
