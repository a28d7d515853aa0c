//! Random disciplines searched with every reduction and without any: the same kinds of divergence,
//! and the same leaks.
//!
//! Input: that of [`nearly_right`](super::nearly_right).

use std::collections::BTreeSet;

use super::nearly_right::{DisciplineCase, SmallCase};
use crate::engine::controlled::exhaustive::{self, Goal, SearchEnd, SearchOptions};
use crate::engine::controlled::machine::Setup;
use crate::oracle::Kind;

/// States that a search may take: one that has more says nothing.
const MAX_STATES: u64 = 40_000;

const SMALL: SmallCase = SmallCase {
    threads: 2,
    ops: 4,
    max_states: MAX_STATES,
};

/// Runs the target.
pub fn run(bytes: &[u8]) {
    let Some(case) = DisciplineCase::draw(bytes) else {
        return;
    };
    let Some(scenario) = case.scenario(SMALL) else {
        return;
    };
    let setup = Setup::new(scenario, 0).expect("it is small");
    let all = SearchOptions {
        goal: Goal::AllKinds,
        max_states: MAX_STATES,
        ..SearchOptions::default()
    };
    let none = SearchOptions {
        partial_order: false,
        symmetry: false,
        dead_slots: false,
        addresses: false,
        ..all
    };
    let found = |options: &SearchOptions| {
        let found = exhaustive::search(&setup, options, &mut |_| true);
        let kinds: BTreeSet<Kind> = found.divergences.keys().copied().collect();
        (found.ended == SearchEnd::Exhausted).then_some((kinds, found.leaks))
    };
    let (Some(without), Some(with)) = (found(&none), found(&all)) else {
        return;
    };
    assert_eq!(
        with,
        without,
        "with reductions, and without:\n\n{}",
        case.text()
    );
}

/// The input as a discipline and the workload that it is tried on. `None`: it is too short.
pub(crate) fn decode(bytes: &[u8]) -> Option<String> {
    Some(DisciplineCase::draw(bytes)?.text())
}
