//! Every abstract state, breadth first: none with a divergence is a proof, and the first one comes
//! with the shortest abstract path to it.

use std::fmt;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::life::{IDLE, Life, WatchedAddress, Whereabouts};
use super::program::{AbstractAction, Programs, SteppedProgram, covered};
use super::usage::Usage;
use super::{NotCovered, life, program};
use crate::device::Status;
use crate::lifecycle::{Discipline, MicroStep, ProgramKind, Severity, lint};
use crate::oracle::Kind;
use crate::scenario::Scenario;
use crate::scenario::op::Op;

/// What an abstract search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Abstract {
    /// No state diverges: none does, with any number.
    Proved {
        /// How many there are.
        states: u64,
    },
    /// A state diverges; whether a run does is to be tried.
    Diverges {
        /// How many were seen before.
        states: u64,
        /// What happens there.
        kind: Kind,
        /// The shortest way there.
        path: Vec<AbstractStep>,
    },
    /// There are more states than were allowed.
    TooMany {
        /// How many were seen.
        states: u64,
    },
}

/// One step of an abstract path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbstractStep {
    /// By an allocation or a release.
    pub program: ProgramKind,
    /// Which step.
    pub step: MicroStep,
    /// Whether the buffer is, or comes to be, at the watched address.
    pub is_current: bool,
}

impl fmt::Display for AbstractStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match (self.program, self.is_current) {
            (ProgramKind::Allocate, _) => "allocate",
            (ProgramKind::Deallocate, true) => "release of the buffer at the address",
            (ProgramKind::Deallocate, false) => "release of an earlier buffer",
        };
        write!(f, "{who}: {}", self.step)
    }
}

/// Searches `scenario`'s discipline as the operations of its threads use it: with as many releases
/// of a buffer as one of them has, and by whom. For at most `max_states` states.
pub fn search_ops(
    scenario: &Scenario,
    threads: &[Box<[Op]>],
    max_states: u64,
) -> Result<Abstract, NotCovered> {
    search(scenario, Usage::of(threads)?, max_states)
}

/// Searches `scenario`'s discipline for buffers that are used so, for at most `max_states` states.
pub(super) fn search(
    scenario: &Scenario,
    usage: Usage,
    max_states: u64,
) -> Result<Abstract, NotCovered> {
    covered(scenario, usage)?;
    let discipline = &scenario.discipline;
    let refused = |finding: &crate::lifecycle::LintFinding| finding.severity == Severity::Error;
    if lint(discipline).iter().any(refused) {
        return Err(NotCovered::Refused);
    }
    let search = Search {
        programs: Programs::of(scenario)?,
        discipline,
        usage,
        beginnings: Vec::new(),
    };
    Ok(search.with_beginnings().run(max_states))
}

struct Search<'a> {
    programs: Programs,
    discipline: &'a Discipline,
    usage: Usage,
    /// Lives that may begin at any time: before each step up to `alloc` at which nothing is held.
    beginnings: Vec<Life>,
}

/// What comes of one step of one life.
enum Taken {
    /// It cannot be taken now.
    Not,
    To(Life),
    Diverges(Kind),
}

impl Search<'_> {
    fn with_beginnings(mut self) -> Self {
        let allocate = &self.programs.allocate;
        let mut status = Status::Dead;
        for (at, action) in allocate.steps.iter().enumerate() {
            if allocate.held[at] == 0 {
                let life = Life::beginning(at as u8, status, self.usage.releases);
                self.beginnings.push(life);
            }
            match action {
                AbstractAction::MarkLive => status = Status::Live,
                AbstractAction::Alloc => break,
                _ => {}
            }
        }
        self
    }

    fn run(&self, max_states: u64) -> Abstract {
        let mut known: FxHashMap<WatchedAddress, u32> = FxHashMap::default();
        let mut states: Vec<(WatchedAddress, u32, Option<AbstractStep>)> = Vec::new();
        known.insert(WatchedAddress::default(), 0);
        states.push((WatchedAddress::default(), 0, None));
        let mut next = 0;
        while next < states.len() {
            let lives = states[next].0.clone();
            if let Some(kind) = at_rest(&lives) {
                return diverges(&states, next as u32, kind, None);
            }
            for (step, reached) in self.successors(&lives) {
                match reached {
                    Err(kind) => return diverges(&states, next as u32, kind, Some(step)),
                    Ok(reached) => {
                        if states.len() as u64 >= max_states {
                            let states = states.len() as u64;
                            return Abstract::TooMany { states };
                        }
                        if !known.contains_key(&reached) {
                            known.insert(reached.clone(), states.len() as u32);
                            states.push((reached, next as u32, Some(step)));
                        }
                    }
                }
            }
            next += 1;
        }
        Abstract::Proved {
            states: states.len() as u64,
        }
    }

    /// Every step that may be taken next, with where it leads.
    fn successors(
        &self,
        lives: &WatchedAddress,
    ) -> Vec<(AbstractStep, Result<WatchedAddress, Kind>)> {
        let mut found = Vec::new();
        for life in &self.beginnings {
            self.take_allocate(lives, std::slice::from_ref(lives), *life, &mut found);
        }
        for (index, (life, _)) in lives.lives.iter().enumerate() {
            let without = lives.without(index);
            if life.allocate != IDLE {
                self.take_allocate(lives, &without, *life, &mut found);
            }
            for (place, at) in life.releases.iter().enumerate() {
                // Two that stand at one place are alike.
                let is_first = life.releases[..place].iter().all(|other| other != at);
                if *at != IDLE && is_first {
                    self.take_release(lives, &without, *life, place, &mut found);
                }
            }
            if life.to_come > 0 && self.may_be_released(life) {
                let mut begun = *life;
                let place = begun.releases.iter().position(|at| *at == IDLE);
                if let Some(place) = place {
                    begun.to_come -= 1;
                    begun.releases[place] = 0;
                    self.take_release(lives, &without, begun, place, &mut found);
                }
            }
        }
        found
    }

    /// Whether a release of it may begin.
    fn may_be_released(&self, life: &Life) -> bool {
        match self.usage.by_owner {
            // Its thread is through with the allocation, and with the release before.
            true => life.is_idle(),
            false => life.published,
        }
    }

    fn take_allocate(
        &self,
        lives: &WatchedAddress,
        without: &[WatchedAddress],
        life: Life,
        found: &mut Vec<(AbstractStep, Result<WatchedAddress, Kind>)>,
    ) {
        let program = &self.programs.allocate;
        let at = usize::from(life.allocate);
        let mut after = life;
        after.allocate = next(program, at);
        let taken = self.act(lives, life, after, program.steps[at], program.held[at]);
        let step = self.step(ProgramKind::Allocate, program.written[at], life);
        self.add(step, without, taken, found);
    }

    fn take_release(
        &self,
        lives: &WatchedAddress,
        without: &[WatchedAddress],
        life: Life,
        place: usize,
        found: &mut Vec<(AbstractStep, Result<WatchedAddress, Kind>)>,
    ) {
        let program = &self.programs.deallocate;
        let at = usize::from(life.releases[place]);
        let mut after = life;
        let is_live = life.status == Status::Live as u8;
        after.releases[place] = match program.steps[at] {
            // It returns early, and lets go of what it holds.
            AbstractAction::CheckLive | AbstractAction::Claim if !is_live => IDLE,
            _ => next(program, at),
        };
        let taken = self.act(lives, life, after, program.steps[at], program.held[at]);
        let step = self.step(ProgramKind::Deallocate, program.written[at], life);
        self.add(step, without, taken, found);
    }

    /// Does `action` to `life`, which is `after` it but for what the action changes; `own` is what
    /// the operation itself holds.
    fn act(
        &self,
        lives: &WatchedAddress,
        life: Life,
        mut after: Life,
        action: AbstractAction,
        own: program::LockSet,
    ) -> Taken {
        let held = lives.held(&self.programs) & !own;
        match action {
            AbstractAction::Lock(lock) if held & lock != 0 => return Taken::Not,
            AbstractAction::Alloc | AbstractAction::Free if held & self.programs.allocator != 0 => {
                return Taken::Not;
            }
            AbstractAction::Alloc => {
                // Elsewhere it is nothing to us.
                if lives.is_taken() {
                    return Taken::Not;
                }
                after.place = Whereabouts::Current;
            }
            AbstractAction::Free => {
                if life.place != Whereabouts::Current {
                    return Taken::Diverges(Kind::DoubleFree);
                }
                after.place = Whereabouts::Ended;
            }
            AbstractAction::Announce => {
                if lives.is_entered() {
                    return Taken::Diverges(Kind::DuplicateAlloc);
                }
                after.entered = true;
            }
            AbstractAction::Retract => {
                if !life.entered {
                    return Taken::Diverges(match lives.is_entered() {
                        true => Kind::MissingLive,
                        false => Kind::UnknownFree,
                    });
                }
                after.entered = false;
            }
            AbstractAction::Publish => after.published = true,
            AbstractAction::Claim if life.status == Status::Live as u8 => {
                after.status = Status::Dying as u8;
            }
            AbstractAction::MarkLive => after.status = Status::Live as u8,
            AbstractAction::MarkDead => after.status = Status::Dead as u8,
            AbstractAction::Lock(_)
            | AbstractAction::Unlock
            | AbstractAction::CheckLive
            | AbstractAction::Claim => {}
        }
        after.releases.sort_unstable();
        Taken::To(after)
    }

    fn add(
        &self,
        step: AbstractStep,
        without: &[WatchedAddress],
        taken: Taken,
        found: &mut Vec<(AbstractStep, Result<WatchedAddress, Kind>)>,
    ) {
        match taken {
            Taken::Not => {}
            Taken::Diverges(kind) => found.push((step, Err(kind))),
            Taken::To(life) => found.extend(
                without
                    .iter()
                    .map(|lives| (step, Ok(lives.clone().with(life, &self.programs)))),
            ),
        }
    }

    fn step(&self, program: ProgramKind, written: usize, life: Life) -> AbstractStep {
        AbstractStep {
            program,
            step: self.discipline.program(program).steps()[written],
            is_current: life.place != Whereabouts::Ended,
        }
    }
}

/// What is wrong where nothing is under way, if anything is.
fn at_rest(lives: &WatchedAddress) -> Option<Kind> {
    if !lives.is_at_rest() {
        return None;
    }
    let current: SmallVec<[&life::Life; 1]> = lives
        .lives
        .iter()
        .map(|(life, _)| life)
        .filter(|life| life.place == Whereabouts::Current)
        .collect();
    match (current.first(), lives.is_entered()) {
        (Some(current), _) if !current.entered => Some(Kind::MissingLive),
        (None, true) => Some(Kind::PhantomLive),
        _ => None,
    }
}

fn next(program: &SteppedProgram, at: usize) -> u8 {
    if at + 1 < program.steps.len() {
        at as u8 + 1
    } else {
        IDLE
    }
}

fn diverges(
    states: &[(WatchedAddress, u32, Option<AbstractStep>)],
    mut at: u32,
    kind: Kind,
    last: Option<AbstractStep>,
) -> Abstract {
    let mut path: Vec<AbstractStep> = last.into_iter().collect();
    while let (_, before, Some(step)) = &states[at as usize] {
        path.push(*step);
        at = *before;
    }
    path.reverse();
    Abstract::Diverges {
        states: states.len() as u64,
        kind,
        path,
    }
}
