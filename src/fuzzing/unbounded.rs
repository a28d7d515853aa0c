//! Random disciplines: whether they are right for any number of threads, beside a bounded search.
//!
//! Input: that of [`nearly_right`](super::nearly_right).
//!
//! Demanded: nothing is proved for any number that a bounded search refutes. How often a proof is
//! missed is no mistake; [`compare`] says it, for who counts.

use super::nearly_right::DisciplineCase;
pub use super::nearly_right::SmallCase;
use crate::engine::controlled::exhaustive::{self, Goal, SearchEnd, SearchOptions};
use crate::engine::controlled::machine::Setup;
use crate::oracle::Kind;
use crate::unbounded::{Abstract, search_ops};

/// Abstract states that a search may take.
const MAX_ABSTRACT_STATES: u64 = 200_000;

/// How the two verdicts stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compared {
    /// The lint refuses the discipline, or the abstraction does not cover it.
    NotCovered,
    /// Proved for any number, and the bounded search finds nothing within its states.
    Proved,
    /// Neither is right: the bounded search has a run.
    Refuted,
    /// The abstraction diverges; the bounded search proves its case.
    CannotTell,
    /// The abstraction diverges; the bounded search did not end.
    Open,
    /// There were more abstract states than were allowed.
    TooMany,
}

/// What the fuzz target looks at.
pub const SMALL: SmallCase = SmallCase {
    threads: 2,
    ops: 4,
    max_states: 20_000,
};

/// Runs the target.
pub fn run(bytes: &[u8]) {
    compare(bytes, SMALL);
}

/// Holds the verdict for any number against a bounded search; panics where it was proved and a run
/// diverges.
pub fn compare(bytes: &[u8], bounded: SmallCase) -> Compared {
    let Some(case) = DisciplineCase::draw(bytes) else {
        return Compared::NotCovered;
    };
    let Some(scenario) = case.scenario(bounded) else {
        return Compared::NotCovered;
    };
    let setup = Setup::new(scenario, 0).expect("it is small");
    let found = match search_ops(&setup.scenario, setup.ops(), MAX_ABSTRACT_STATES) {
        Err(_) => return Compared::NotCovered,
        Ok(Abstract::TooMany { .. }) => return Compared::TooMany,
        Ok(found) => found,
    };
    let options = SearchOptions {
        goal: Goal::AllKinds,
        max_states: bounded.max_states,
        ..SearchOptions::default()
    };
    // What comes of deadlock is no matter of addresses: the abstraction does not look for it.
    let mut found_enough =
        |found: &exhaustive::Searched| found.divergences.keys().all(|kind| *kind == Kind::Deadlock);
    let searched = exhaustive::search(&setup, &options, &mut found_enough);
    let mut kinds = searched.divergences.keys();
    let refuted = kinds.find(|kind| **kind != Kind::Deadlock);
    match (found, refuted) {
        (Abstract::Proved { .. }, Some(kind)) => {
            panic!(
                "proved for any number, and a run shows {kind}:\n\n{}",
                case.text()
            )
        }
        (Abstract::Proved { .. }, None) => Compared::Proved,
        (_, Some(_)) => Compared::Refuted,
        (_, None) if searched.ended == SearchEnd::Exhausted => Compared::CannotTell,
        (_, None) => Compared::Open,
    }
}

/// The input as a discipline and the workload that it is tried on. `None`: it is too short.
pub(crate) fn decode(bytes: &[u8]) -> Option<String> {
    Some(DisciplineCase::draw(bytes)?.text())
}
