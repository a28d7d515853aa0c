//! Protocols from public reports: each shows what was reported, of no other kind, and its repair is
//! proved; real threads run what they can, and refuse the rest by name.

use std::collections::BTreeSet;
use std::sync::Arc;

use heisenbed::engine::controlled::exhaustive::{Goal, SearchOptions, search};
use heisenbed::engine::controlled::machine::Setup;
use heisenbed::oracle::{Kind, Verdict};
use heisenbed::scenario::Scenario;
use heisenbed::zoo::{self, Defect, Engine};

use crate::common::play;

fn small(protocol: &Defect, defective: bool) -> Scenario {
    let scenario = Engine::Exhaustive.scenario(protocol, defective, 0);
    scenario.unwrap_or_else(|error| panic!("{}: {error}", protocol.name))
}

fn searched(scenario: Scenario) -> (Verdict, BTreeSet<Kind>, u64) {
    let setup: Arc<Setup> = Setup::new(scenario, 0).expect("it is small");
    let options = SearchOptions {
        goal: Goal::AllKinds,
        max_states: 400_000,
        ..SearchOptions::default()
    };
    let found = search(&setup, &options, &mut |_| true);
    let verdict = match (&found.example, found.at_rest.is_some()) {
        (Some(_), _) => Verdict::Diverged,
        (None, _) if found.cut > 0 || found.states >= options.max_states => Verdict::Inconclusive,
        (None, true) => Verdict::Proved,
        (None, false) => Verdict::Inconclusive,
    };
    (verdict, found.divergences.keys().copied().collect(), found.states)
}

#[test]
fn every_protocol_is_broken_as_it_was_reported_and_its_repair_is_proved() {
    for protocol in zoo::protocols() {
        let (verdict, kinds, states) = searched(small(protocol, true));
        let name = &protocol.name;
        println!("{name}: {verdict:?} {kinds:?} in {states} states");
        assert_eq!(verdict, Verdict::Diverged, "{name}");
        assert!(
            protocol.expected.iter().any(|kind| kinds.contains(kind)),
            "{name}: {kinds:?}"
        );
        let foreign: Vec<&Kind> = kinds
            .iter()
            .filter(|kind| !protocol.expected.contains(kind) && !protocol.also.contains(kind))
            .collect();
        assert!(foreign.is_empty(), "{name}: {foreign:?}");
        let (verdict, kinds, states) = searched(small(protocol, false));
        println!("{name}, repaired: {verdict:?} in {states} states");
        assert_eq!((verdict, kinds.len()), (Verdict::Proved, 0), "{name}: {kinds:?}");
    }
}

#[test]
fn real_threads_are_silent_about_every_repair_that_they_can_run() {
    let mut ran = 0;
    for protocol in zoo::protocols() {
        let mut scenario = Engine::Stress
            .scenario(protocol, false, 0)
            .expect("it resolves");
        if Engine::Stress.can_run(&scenario) {
            scenario.ops = scenario.ops.min(400);
            let report = play(&scenario, 0).report;
            let name = &protocol.name;
            assert_eq!(report.verdict, Verdict::Clean, "{name}: {report:?}");
            ran += 1;
        }
    }
    assert!(ran >= 12, "{ran}");
}
