//! Protocols from public reports: each shows what was reported, of no other kind, and its repair is
//! proved; real threads run what they can, and refuse the rest by name.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use heisenbed::corpus::Reproducer;
use heisenbed::engine::controlled::exhaustive::{Goal, SearchOptions, search};
use heisenbed::engine::controlled::machine::Setup;
use heisenbed::engine::controlled::replay::replay;
use heisenbed::oracle::{Kind, Verdict, check_trace};
use heisenbed::scenario::Scenario;
use heisenbed::zoo::{self, Defect, Engine};

use crate::common::{play_until, recorded, run, verdict};

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
    (
        verdict(&found),
        found.divergences.keys().copied().collect(),
        found.states,
    )
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
        assert_eq!(
            (verdict, kinds.len()),
            (Verdict::Proved, 0),
            "{name}: {kinds:?}"
        );
    }
}

#[test]
fn real_threads_are_silent_about_every_repair_and_what_they_did_replays() {
    let mut ran = 0;
    for protocol in zoo::protocols() {
        let name = &protocol.name;
        let mut scenario = Engine::Stress
            .scenario(protocol, false, 0)
            .expect("it resolves");
        if !Engine::Stress.can_run(&scenario) {
            continue;
        }
        scenario.ops = scenario.ops.min(400);
        let (_, trace) = recorded(&scenario, 0);
        let report = check_trace(&trace, |_| ()).expect("the trace gets a verdict");
        assert_eq!(report.verdict, Verdict::Clean, "{name}: {report:?}");
        let replayed = replay(&trace, |_| ());
        let replayed = replayed.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(replayed.report.verdict, Verdict::Clean, "{name}");
        ran += 1;
    }
    assert!(ran >= 12, "{ran}");
}

#[test]
fn real_threads_lose_a_plain_add_and_refuse_what_they_cannot_record() {
    let find = |name: &str| {
        let mut all = zoo::protocols().iter();
        all.find(|protocol| protocol.name == name)
            .expect("it is there")
    };
    let broken = find("counters-plain-add");
    let mut scenario = Engine::StressPerturbed
        .scenario(broken, true, 0)
        .expect("it resolves");
    scenario.ops = 4_000;
    let played = play_until(&scenario, |played| broken.shows_in(&played.report));
    assert!(broken.unexplained(&played.report).is_empty());
    for (name, word) in [
        ("try-lock-gives-up", "try-lock"),
        ("wait-without-a-loop", "wait"),
    ] {
        let output = run(&format!("stress --defect {name}"));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{name}: {error}");
        assert!(error.contains(word), "{error}");
    }
}

/// A loop that needs more rounds than it is given: nothing was proved of what follows.
#[test]
fn a_retry_that_runs_out_of_rounds_is_inconclusive_and_not_proved() {
    let protocol = zoo::protocols()
        .iter()
        .find(|protocol| protocol.name == "counters-plain-add")
        .expect("it is there");
    for (rounds, expected) in [(1, Verdict::Inconclusive), (16, Verdict::Proved)] {
        let mut scenario = small(protocol, false);
        let text = toml::to_string(&scenario.discipline).expect("it has a text");
        let text = text.replace("retry 16", &format!("retry {rounds}"));
        scenario.discipline = toml::from_str(&text).expect("it parses");
        let (verdict, kinds, _) = searched(scenario);
        assert_eq!((verdict, kinds.len()), (expected, 0), "{rounds}: {kinds:?}");
    }
}

/// A page that lists them must not lose one, and says how many there are.
#[test]
fn every_protocol_is_in_the_documentation_and_its_smallest_run_in_the_corpus() {
    let page = std::fs::read_to_string("docs/language.md").expect("the page is there");
    let mut listed = 0;
    for protocol in zoo::protocols() {
        let name = &protocol.name;
        let kinds: Vec<String> = (protocol.expected.iter())
            .map(|kind| format!("`{kind}`"))
            .collect();
        let row = (page.lines()).find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("{name}: no row in docs/language.md"));
        let shown = format!("| {} |", kinds.join(", "));
        assert!(row.ends_with(&shown), "{row} shows {shown}");
        let kept = format!("corpus/reproducers/protocols/{name}.toml");
        let kept = Reproducer::load(Path::new(&kept)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(kept.expect.verdict, Verdict::Diverged, "{name}");
        listed += 1;
    }
    let readme = std::fs::read_to_string("README.md").expect("the page is there");
    let mut words = readme.split_whitespace().peekable();
    let mut counted = Vec::new();
    while let Some(word) = words.next() {
        if words.peek() == Some(&"protocols") {
            counted.extend(word.parse::<usize>());
        }
    }
    assert_eq!(counted, [listed, listed]);
}
