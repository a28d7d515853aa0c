//! What was recorded on real threads runs again under control, exactly: every address, version,
//! outcome and message comes out as recorded, and the verdict with it.

use std::sync::atomic::AtomicBool;

use heisenbed::engine::controlled::replay::{ReplayError, replay};
use heisenbed::engine::threads::{RunConfig, ServerChoice, run};
use heisenbed::lifecycle::{Order, Publication};
use heisenbed::oracle::{Verdict, check_trace};
use heisenbed::scenario::{Connections, Scenario, ScenarioFile, builtin};
use heisenbed::trace::file::TraceFile;

const DISCIPLINES: [&str; 6] = [
    "unlocked",
    "lifecycle-narrow",
    "lifecycle-wide",
    "claimed-wide",
    "in-allocator",
    "sequenced",
];

fn scenario(name: &str, discipline: &str, seed: u64) -> Scenario {
    let mut file = ScenarioFile::load(name).expect("built in");
    file.discipline = discipline.to_owned();
    file.order = Some(Order::FreeFirst);
    file.publish = Some(Publication::Early);
    file.seed = seed;
    file.threads = 2 + (seed % 7) as u16;
    file.ops = 200;
    file.perturb = true;
    file.resolve().expect("valid")
}

fn record(scenario: &Scenario) -> TraceFile {
    crate::common::recorded(scenario, 0).1
}

#[test]
fn every_recorded_run_replays_exactly() {
    let mut diverged = 0;
    let mut seed = 0;
    for name in builtin::NAMES
        .iter()
        .filter(|name| **name != "reported-symptoms")
    {
        for discipline in DISCIPLINES {
            seed += 1;
            let mut scenario = scenario(name, discipline, seed);
            scenario.transport.connections = [
                Connections::Shared,
                Connections::PerThread,
                Connections::Lazy,
            ][(seed % 3) as usize];
            scenario.transport.chunks = 1 + (seed % 2) as u8;
            let trace = record(&scenario);
            let checked = check_trace(&trace, |_| ()).expect("consistent");
            let replayed = match replay(&trace, |_| ()) {
                Ok(replayed) => replayed,
                Err(error) => panic!("{name} under {discipline}, seed {seed}: {error}"),
            };
            assert_eq!(
                replayed.report, checked,
                "{name} under {discipline}, seed {seed}"
            );
            assert_eq!(replayed.events, trace.events());
            diverged += u32::from(checked.verdict == Verdict::Diverged);
        }
    }
    assert!(
        diverged > 10,
        "only {diverged} runs diverged: the replays show nothing about races"
    );
}

#[test]
fn a_replay_against_another_discipline_names_the_first_difference() {
    let mut recorded = scenario("handoff", "lifecycle-narrow", 3);
    recorded.threads = 2;
    let trace = record(&recorded);
    let mut changed = recorded.clone();
    changed.discipline = scenario("handoff", "lifecycle-wide", 3).discipline;
    let bytes = crate::common::with_scenario(&trace, &changed);
    match replay(&bytes, |_| ()) {
        Err(ReplayError::Differs { number, .. }) => assert!(number < 10, "found late: {number}"),
        other => panic!("not noticed: {other:?}"),
    }
}

/// Threads that wait for each other, one that works on, and a run that was interrupted: all end
/// where they are.
#[test]
fn a_run_that_was_given_up_replays_to_where_it_was() {
    let mut deadlock = crate::common::under(
        crate::common::scenario(
            "name = 'planted'\nthreads = 3\nops = 4000\nperturb = true\n[workload]\nprivate-slots = 4",
        ),
        "lock tracker, lock global, alloc, mark-live, send ALLOC, unlock global, unlock tracker, publish",
        "check-live, lock global, lock tracker, send FREE, free, mark-dead, unlock tracker, unlock global",
    );
    deadlock.seed = 5;
    let trace = record(&deadlock);
    let replayed = replay(&trace, |_| ()).expect("the same run");
    assert_eq!(replayed.report.count(heisenbed::oracle::Kind::Deadlock), 1);
    let note = replayed.report.note.expect("who waits for what");
    assert!(
        note.contains("waits for the lock tracker") && note.contains("waits for the lock global"),
        "{note}"
    );
}

#[test]
fn an_interrupted_run_replays_to_where_it_was() {
    let long = crate::common::scenario(
        "name = 'long'\nthreads = 3\nops = 1000000\n[workload]\nhandoff = 4",
    );
    let file = tempfile::tempfile().expect("a temporary file");
    let interrupt = AtomicBool::new(false);
    let config = RunConfig {
        scenario: &long,
        run: 0,
        record: Some(file.try_clone().expect("a second handle")),
        server: ServerChoice::InProcess,
        debug_log: None,
        interrupt: &interrupt,
    };
    let result = run(config, |ops| {
        interrupt.store(ops > 3000, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(!result.expect("runs").completed);
    let trace = TraceFile::from_file(file, "recorded".as_ref()).expect("readable");
    let replayed = replay(&trace, |_| ()).expect("the same run");
    assert_eq!(replayed.report.verdict, Verdict::Inconclusive);
    assert_eq!(replayed.events, trace.events());
}
