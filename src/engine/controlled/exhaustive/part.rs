//! A part of a search: so that a space too large for one machine is searched on several, none of
//! which knows of the others.
//!
//! The states that take at most `depth` choices to reach (the *trunk*) are searched breadth first,
//! by every part alike. The states at exactly that depth (the *frontier*) are numbered in the order
//! in which they are met, which depends on the scenario alone, and state number i falls to part i
//! mod `of`. A part searches what can be reached from its own frontier states without passing
//! through the trunk or another frontier state.
//!
//! *All parts together are the whole.* Take a path to any state, and the last state on it that is
//! in the trunk or the frontier. Where that is not the state itself, it is on the frontier, for
//! whatever follows a state of the trunk is in one of the two; and the part that it falls to
//! follows the rest of the path. With reductions this holds up to what they take for the same:
//! whatever follows a state that some part searched is, up to a name, one that a part searched.
//! Deeper states may be searched by several parts: the sum of their states is no count of the
//! space.

use std::sync::Arc;

use crate::engine::controlled::actors::Actor;
use crate::engine::controlled::machine::{Machine, Setup};

use super::{Frame, Search, SearchEnd, SearchOptions, Searched};

/// Which part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 0.
    pub index: u32,
    /// How many there are.
    pub of: u32,
    /// At how many choices the space is divided.
    pub depth: u32,
}

/// What a part found.
#[derive(Clone, Debug)]
pub struct SearchedPart {
    /// In its part of the space; the trunk is in it.
    pub found: Searched,
    /// States of the trunk.
    pub trunk: u64,
    /// States of the frontier.
    pub frontier: u64,
    /// Those that fell to this part.
    pub own: u64,
}

/// A state from which a search goes on.
struct Root {
    machine: Machine,
    path: Vec<Actor>,
    current: Option<Actor>,
}

/// Searches one part of the space of `setup`. A bound on preemptions is not kept: what a path costs
/// is not part of a frontier state.
pub fn search_part(
    setup: &Arc<Setup>,
    options: &SearchOptions,
    part: Part,
    keep_going: &mut dyn FnMut(&Searched) -> bool,
) -> SearchedPart {
    let options = SearchOptions {
        preemptions: None,
        // That is known at the end of a whole search only.
        addresses: false,
        ..*options
    };
    let mut search = Search::new(setup, &options);
    let dealt = search.run_part(part, keep_going);
    SearchedPart {
        trunk: dealt.trunk,
        frontier: dealt.frontier,
        own: dealt.own,
        found: search.findings.end(),
    }
}

/// How the states of a space were dealt out.
#[derive(Clone, Copy, Debug, Default)]
struct Dealt {
    trunk: u64,
    frontier: u64,
    own: u64,
}

impl Search<'_> {
    fn run_part(&mut self, part: Part, keep_going: &mut dyn FnMut(&Searched) -> bool) -> Dealt {
        let mut layer = self.first_layer();
        for _ in 0..part.depth {
            let mut next = Vec::new();
            for root in layer {
                self.expand(root, &mut next);
                if !self.findings.has_ended() && !keep_going(&self.findings.found) {
                    self.findings.found.ended = SearchEnd::Abandoned;
                }
                if self.findings.has_ended() {
                    return Dealt {
                        trunk: self.findings.found.states,
                        ..Dealt::default()
                    };
                }
            }
            layer = next;
        }
        let frontier = layer.len() as u64;
        let own: Vec<Root> = layer
            .into_iter()
            .zip((0..part.of).cycle())
            .filter_map(|(root, owner)| (owner == part.index).then_some(root))
            .collect();
        let dealt = Dealt {
            trunk: self.findings.found.states - frontier,
            frontier,
            own: own.len() as u64,
        };
        // What the others search is not this part's.
        self.findings.found.states = dealt.trunk + dealt.own;
        for root in own {
            self.start(root);
            self.run(u64::MAX, keep_going);
            if self.findings.has_ended() {
                break;
            }
        }
        dealt
    }

    /// The first state with a choice, entered.
    fn first_layer(&mut self) -> Vec<Root> {
        self.enter_first();
        vec![self.root_at(0)]
    }

    /// Puts the states that a choice in `root` leads to, where they are new, to `next`.
    fn expand(&mut self, root: Root, next: &mut Vec<Root>) {
        self.start(root);
        while !self.findings.has_ended() {
            if !self.advance() {
                self.leave();
                return;
            }
            if self.used == 2 {
                next.push(self.root_at(1));
                self.used = 1;
            }
        }
    }

    fn root_at(&self, frame: usize) -> Root {
        Root {
            machine: self.frames[frame].machine.clone(),
            path: self.findings.path.clone(),
            current: self.frames[frame].current,
        }
    }

    /// Goes back to `root`, which was entered before.
    fn start(&mut self, root: Root) {
        self.findings.path = root.path;
        let frame = &mut self.frames[0];
        *frame = Frame {
            todo: root.machine.ready(),
            path: self.findings.path.len(),
            current: root.current,
            ..Frame::at(root.machine)
        };
        self.used = 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::Goal;
    use super::*;
    use crate::lifecycle::{Order, Publication};
    use crate::scenario::ScenarioFile;

    /// The fingerprints of all states that were met.
    fn met(setup: &Arc<Setup>, options: &SearchOptions, part: Option<Part>) -> BTreeSet<u128> {
        let mut search = Search::new(setup, options);
        match part {
            Some(part) => drop(search.run_part(part, &mut |_| true)),
            None => {
                search.first_layer();
                search.run(u64::MAX, &mut |_| true);
            }
        }
        search.seen.into_iter().collect()
    }

    /// A frontier state is met by every part, and what it leads to by its own part alone: nothing
    /// may be left out.
    #[test]
    fn all_parts_together_meet_every_state() {
        for (workload, discipline, threads) in [
            ("own-buffers", "lifecycle-wide", 2),
            ("handoff", "unlocked", 2),
            ("mesh", "claimed-wide", 2),
            ("dontwait-loss", "lifecycle-wide", 2),
        ] {
            let mut file = ScenarioFile::load(workload).expect("built in");
            discipline.clone_into(&mut file.discipline);
            (file.order, file.publish) = (Some(Order::FreeFirst), Some(Publication::Early));
            let scenario = file.condensed(Some(threads), None).resolve();
            let setup = Setup::new(scenario.expect("it resolves"), 0).expect("it is small");
            let options = SearchOptions {
                // A reduced search meets other states by another way, of which either is enough;
                // without reductions all searches meet the same.
                partial_order: false,
                symmetry: false,
                dead_slots: false,
                addresses: false,
                goal: Goal::AllKinds,
                ..SearchOptions::default()
            };
            let whole = met(&setup, &options, None);
            for (of, depth) in [(4, 2), (8, 5)] {
                let part = |index| met(&setup, &options, Some(Part { index, of, depth }));
                let parts: BTreeSet<u128> = (0..of).flat_map(part).collect();
                assert!(
                    parts == whole,
                    "{workload}: {} of {} states in {of} parts at depth {depth}",
                    parts.len(),
                    whole.len()
                );
            }
        }
    }
}
