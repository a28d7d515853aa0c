//! Disciplines that wait for themselves or each other: found, named, and made small.

use crate::common::{all_kinds, kinds, scripted, searched, under};
use heisenbed::engine::controlled::exhaustive::SearchOptions;
use heisenbed::engine::controlled::machine::Setup;
use heisenbed::lifecycle::{Severity, lint};
use heisenbed::oracle::Kind;
use heisenbed::report::Timeline;
use heisenbed::scenario::Scenario;
use heisenbed::shrink::{Shrunk, shrink_ops};
use heisenbed::tracking::transport::SendMode;

const ALLOCATE: &str = "lock lifecycle, lock tracker, alloc, mark-live, send ALLOC, unlock tracker, unlock lifecycle, publish";

fn pairs() -> Scenario {
    scripted(&[
        &[
            "allocate s0#1 4096 l1 d0",
            "release s0#1",
            "allocate s2#1 4096 l1 d0",
            "release s2#1",
        ],
        &[
            "allocate s1#1 4096 l1 d0",
            "release s1#1",
            "allocate s3#1 4096 l1 d0",
            "release s3#1",
        ],
    ])
}

fn shrunk(scenario: &Scenario, kind: Kind) -> Shrunk {
    let setup = Setup::new(scenario.clone(), 0).expect("can be run");
    shrink_ops(scenario, setup.ops(), kind, &mut || true).expect("it shows")
}

fn drawn(shrunk: &Shrunk) -> String {
    Timeline {
        scenario: &shrunk.setup.scenario,
        events: &shrunk.observed.events,
        deciding: shrunk.observed.deciding(),
        completed: false,
    }
    .render()
}

#[test]
fn an_inverted_lock_order_deadlocks_in_three_operations_and_the_cycle_is_named() {
    let scenario = under(
        pairs(),
        ALLOCATE,
        "check-live, lock tracker, lock lifecycle, send FREE, free, mark-dead, unlock lifecycle, unlock tracker",
    );
    assert_eq!(kinds(&searched(&scenario, &all_kinds())), [Kind::Deadlock]);
    let shrunk = shrunk(&scenario, Kind::Deadlock);
    assert_eq!((shrunk.size.threads, shrunk.size.ops), (2, 3));
    assert!(shrunk.size.fewest_ops && shrunk.size.fewest_preemptions);
    assert_eq!(shrunk.size.replayed, shrunk.size.replays);
    insta::with_settings!({snapshot_path => "../../snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("timeline_inverted_lock_order", drawn(&shrunk));
    });
}

#[test]
fn the_same_lock_order_in_both_programs_never_deadlocks() {
    let scenario = under(
        pairs(),
        ALLOCATE,
        "check-live, lock lifecycle, lock tracker, send FREE, free, mark-dead, unlock tracker, unlock lifecycle",
    );
    assert_eq!(kinds(&searched(&scenario, &all_kinds())), []);
}

#[test]
fn an_early_return_that_forgets_to_unlock_is_linted_and_found() {
    let scenario = scripted(&[
        &[
            "allocate s0#1 4096 l1 d0 releases=2",
            "release s0#1",
            "allocate s1#1 4096 l1 d0",
        ],
        &["release s0#1"],
    ]);
    let allocate = "lock lifecycle, alloc, mark-live, send ALLOC, unlock lifecycle, publish";
    let forgetful = under(
        scenario.clone(),
        allocate,
        "lock lifecycle, check-live-unguarded, send FREE, free, mark-dead, unlock lifecycle",
    );
    let findings = lint(&forgetful.discipline);
    assert!(findings.iter().any(|finding| {
        finding.severity == Severity::Warning && finding.message.contains("leaves lifecycle locked")
    }));
    assert_eq!(kinds(&searched(&forgetful, &all_kinds())), [Kind::Deadlock]);
    let shrunk = shrunk(&forgetful, Kind::Deadlock);
    // Two releases of one buffer, one after the other, by a thread that wants the lock again.
    assert!(
        shrunk.size.ops <= 4 && shrunk.size.fewest_ops,
        "{}",
        shrunk.size
    );
    let guarded = under(
        scenario,
        allocate,
        "lock lifecycle, check-live, send FREE, free, mark-dead, unlock lifecycle",
    );
    assert_eq!(kinds(&searched(&guarded, &all_kinds())), []);
}

#[test]
fn the_lock_of_the_wrong_device_guards_nothing() {
    let scenario = scripted(&[
        &["allocate s0#1 4096 l1 d1", "release s0#1"],
        &["allocate s1#1 4096 l1 d1", "release s1#1"],
    ]);
    let allocate = "lock lifecycle, alloc, mark-live, send ALLOC, unlock lifecycle, publish";
    let wrong = under(
        scenario.clone(),
        allocate,
        "check-live, lock lifecycle@0, free, send FREE, mark-dead, unlock lifecycle@0",
    );
    let found = kinds(&searched(&wrong, &all_kinds()));
    assert!(found.contains(&Kind::DuplicateAlloc), "{found:?}");
    let shrunk = shrunk(&wrong, Kind::DuplicateAlloc);
    assert_eq!(
        (shrunk.size.threads, shrunk.size.ops),
        (2, 3),
        "{}",
        shrunk.size
    );
    let right = under(
        scenario,
        allocate,
        "check-live, lock lifecycle, free, send FREE, mark-dead, unlock lifecycle",
    );
    assert_eq!(kinds(&searched(&right, &all_kinds())), []);
}

#[test]
fn a_sender_that_waits_for_a_server_that_stopped_is_a_named_deadlock() {
    let mut scenario = scripted(&[
        &["allocate s0#1 4096 l1 d0", "release s0#1"],
        &["allocate s1#1 4096 l1 d0"],
    ]);
    scenario.transport.mode = SendMode::Blocking;
    scenario.transport.send_buffer_bytes = 1;
    assert_eq!(
        kinds(&searched(&scenario, &all_kinds())),
        [],
        "it reads: nobody waits for good"
    );
    scenario.server.stops_after = Some(1);
    let found = searched(&scenario, &SearchOptions { ..all_kinds() });
    assert!(found.divergences.contains_key(&Kind::Deadlock));
    let note = found
        .example
        .expect("found")
        .report
        .note
        .expect("says who waits");
    assert!(
        note.contains("waits for room on connection 0, which the server no longer reads"),
        "{note}"
    );
}

#[test]
fn a_release_of_what_is_never_allocated_waits_for_good_and_says_so() {
    let scenario = scripted(&[&["release s0#1"], &["allocate s1#1 4096 l1 d0"]]);
    let found = searched(&scenario, &all_kinds());
    assert_eq!(kinds(&found), [Kind::Deadlock]);
    let note = found
        .example
        .expect("found")
        .report
        .note
        .expect("says who waits");
    assert_eq!(
        note,
        "thread 0 waits to `release s0#1`: its handle was never published"
    );
}
