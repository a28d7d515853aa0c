//! What a search comes upon on its way: the divergences of the paths that it takes, and its counts.
//!
//! It knows nothing of the order of a search. Who searches sets the path at hand, and tells of each
//! step and of each state at rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::controlled::actors::Actor;
use crate::engine::controlled::machine::{Machine, RunEnd, Setup};
use crate::engine::controlled::observe::{NoRecording, ObservedRun, observe_path};

use super::{Goal, SearchEnd, Searched, Took};

/// What was found so far, and on which path the search is.
pub(super) struct Findings<'a> {
    pub(super) setup: &'a Arc<Setup>,
    goal: Goal,
    /// The steps to the state at hand.
    pub(super) path: Vec<Actor>,
    /// Addresses were left out, and then a buffer was allocated of which that may matter.
    pub(super) addresses_matter: bool,
    pub(super) found: Searched,
}

/// A state at rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct RestingState {
    end: RunEnd,
    live: u64,
    differs: bool,
}

impl RestingState {
    /// Nobody can go on in `machine`.
    pub(super) fn of(machine: &mut Machine) -> RestingState {
        RestingState {
            end: machine.finish(&mut NoRecording),
            live: machine.live() as u64,
            differs: machine.differs_at_rest(),
        }
    }
}

impl Findings<'_> {
    pub(super) fn new(setup: &Arc<Setup>, goal: Goal) -> Findings<'_> {
        Findings {
            setup,
            goal,
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

    /// Whether there is a reason not to go on.
    pub(super) fn has_ended(&self) -> bool {
        self.found.ended != SearchEnd::Exhausted
    }

    /// What it all came to.
    pub(super) fn end(mut self) -> Searched {
        self.found.note_cut();
        self.found.log(self.setup);
        self.found
    }

    /// A step was taken, to the state of `machine`.
    pub(super) fn took(&mut self, took: &Took, machine: &Machine) {
        if took.addresses_matter {
            self.begin_again();
            return;
        }
        self.path.push(took.actor);
        self.count_steps(1, self.path.len());
        if machine.alarmed() {
            self.examine();
        }
    }

    /// So many steps more, the last of which is so deep.
    pub(super) fn count_steps(&mut self, steps: usize, depth: usize) {
        self.found.steps += steps as u64;
        self.found.depth = self.found.depth.max(depth as u64);
    }

    /// It matters which address a buffer has.
    pub(super) fn begin_again(&mut self) {
        self.addresses_matter = true;
        self.found.ended = SearchEnd::Abandoned;
    }

    /// A state was met for the first time; `false`: it is one too many.
    pub(super) fn is_one_more(&mut self, max_states: u64) -> bool {
        if self.found.states >= max_states {
            self.found.ended = SearchEnd::Abandoned;
            return false;
        }
        self.found.states += 1;
        true
    }

    /// The path at hand leads to a state at rest.
    pub(super) fn rested(&mut self, at_rest: RestingState) {
        if at_rest.end == RunEnd::Completed {
            self.found.leaks = self.found.leaks.max(at_rest.live);
        }
        if at_rest.end != RunEnd::Completed || at_rest.differs {
            self.examine();
        } else if self.found.at_rest.is_none() {
            self.found.at_rest = Some(self.observe().report);
        }
    }

    /// Something may have diverged on the path at hand: asks the oracle.
    pub(super) fn examine(&mut self) {
        let observed = self.observe();
        for kind in observed.report.divergences.keys() {
            *self.found.divergences.entry(*kind).or_default() += 1;
        }
        let wanted = match self.goal {
            Goal::Kind(kind) => observed.report.count(kind) > 0,
            Goal::First | Goal::AllKinds => !observed.report.divergences.is_empty(),
        };
        if wanted {
            if self.found.example.is_none() {
                self.found.example = Some(Box::new(observed));
            }
            if self.goal != Goal::AllKinds {
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
