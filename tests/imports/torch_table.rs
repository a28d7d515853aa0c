//! PyTorch's snapshots against the allocator's own table, which they hold: `segments`.

use serde_json::{Value, json};

use super::Recording;
use super::torch_snapshot::pickled;

/// A kept snapshot.
fn kept(name: &str) -> Recording {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imports/fixtures");
    let bytes = std::fs::read(folder.join(name)).expect("a kept snapshot");
    Recording::new("torch-snapshot", name, bytes)
}

fn verdict(checked: &Value) -> (&str, &str) {
    let text = |key: &str| checked[key].as_str().expect("a text");
    (text("verdict"), text("check"))
}

fn sum(buffers: u64, bytes: u64) -> Value {
    json!({ "buffers": buffers, "bytes": bytes })
}

#[test]
fn what_is_older_than_the_history_is_counted_with_its_bytes() {
    let snapshot = kept("late-start.pickle");
    snapshot.import();
    let (checked, code) = snapshot.said("check");
    assert_eq!(
        (code, verdict(&checked)),
        (0, ("clean", "exact")),
        "{checked}"
    );
    assert_eq!(
        (&checked["live_at_end"], &checked["live_bytes"]),
        (&3.into(), &14_680_064.into())
    );
    let table = &checked["table"];
    assert_eq!(table["older_than_history"], sum(2, 6_291_456), "{checked}");
    assert_eq!(
        (&checked["peak_bytes"], &checked["peak_is_least"]),
        (&16_777_216.into(), &true.into())
    );
    let shown = snapshot.shown("check");
    for part in [
        "at least 16,777,216 bytes at once",
        "2 buffers, 6,291,456 bytes, in use are older than the history",
        "in use when the snapshot was taken: 3 buffers, 14,680,064 bytes",
        "no entry allocates it",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn a_release_that_the_history_lost_is_a_divergence() {
    let snapshot = kept("lost-free.pickle");
    snapshot.import();
    let (checked, code) = snapshot.said("check");
    assert_eq!(
        (code, verdict(&checked)),
        (1, ("diverged", "exact")),
        "{checked}"
    );
    assert_eq!(checked["divergences"], json!({ "phantom-live": 1 }));
    assert_eq!(
        checked["first"]["address"], 0x7f00_0000_0000_u64,
        "{checked}"
    );
    assert_eq!(
        (&checked["live_at_end"], &checked["live_bytes"]),
        (&1.into(), &8_388_608.into())
    );
    assert_eq!(checked["table"]["lost_releases"], sum(1, 8_388_608));
    let shown = snapshot.shown("check");
    assert!(
        shown.contains("released without an entry: 1 buffer, 8,388,608 bytes"),
        "{shown}"
    );
}

#[test]
fn a_snapshot_without_a_history_says_what_is_in_use_and_how_to_record() {
    for name in ["no-history.pickle", "only-snapshot-entry.pickle"] {
        let snapshot = kept(name);
        let account = snapshot.import();
        assert_eq!(
            (
                &account["blocks"],
                &account["blocks_bytes"],
                &account["history"]
            ),
            (&3.into(), &14_680_064.into(), &false.into()),
            "{account}"
        );
        let imported = super::run(&snapshot.words());
        let imported = String::from_utf8_lossy(&imported.stdout).into_owned();
        let (checked, code) = snapshot.said("check");
        assert_eq!(
            (code, verdict(&checked)),
            (3, ("inconclusive", "messages")),
            "{checked}"
        );
        for shown in [imported, snapshot.shown("check")] {
            assert!(shown.contains("has no history"), "{shown}");
            assert!(
                shown.contains("torch.cuda.memory._record_memory_history()"),
                "{shown}"
            );
            assert!(shown.contains("14,680,064 bytes"), "{shown}");
            assert!(!shown.contains("none"), "{shown}");
        }
        let explored = super::run(&format!(
            "explore --schedules 1 --workload import:{}",
            snapshot.trace().display()
        ));
        let error = String::from_utf8_lossy(&explored.stderr).into_owned();
        assert_eq!(explored.status.code(), Some(2), "{error}");
        assert!(error.contains("has no history"), "{error}");
    }
    let table_only = pickled("table-only", 4);
    assert_eq!(table_only.import()["blocks"], 6);
}

#[test]
fn old_blocks_have_the_addresses_that_their_segment_gives_them() {
    for protocol in [2, 4] {
        let snapshot = pickled("old", protocol);
        snapshot.import();
        let (checked, code) = snapshot.said("check");
        assert_eq!(
            (code, verdict(&checked)),
            (0, ("clean", "exact")),
            "{checked}"
        );
        let table = &checked["table"];
        assert_eq!(table["in_use"], sum(2, 1024), "{checked}");
        assert_eq!(table["awaiting_release"], sum(1, 2048));
        assert_eq!(table["older_than_history"], sum(1, 512));
        assert_eq!(table["requested_bytes"], Value::Null);
    }
}

#[test]
fn what_is_in_use_again_lost_its_allocation_and_another_size_is_told() {
    let snapshot = pickled("taken-again", 4);
    snapshot.import();
    let (checked, code) = snapshot.said("check");
    assert_eq!((code, verdict(&checked)), (1, ("diverged", "exact")));
    assert_eq!(
        checked["divergences"],
        json!({ "missing-live": 1, "stale-metadata": 1 }),
        "{checked}"
    );
    // The table alone has more than the history ever had.
    assert_eq!(
        (&checked["peak_bytes"], &checked["peak_is_least"]),
        (&1536.into(), &true.into()),
        "{checked}"
    );
    let shown = snapshot.shown("check");
    assert!(shown.contains("no entry allocates it"), "{shown}");
}

#[test]
fn a_history_of_no_buffers_was_recorded_all_the_same() {
    let snapshot = pickled("no-buffers", 4);
    snapshot.import();
    let imported = super::run(&snapshot.words());
    let imported = String::from_utf8_lossy(&imported.stdout).into_owned();
    let (checked, code) = snapshot.said("check");
    assert_eq!((code, &checked["verdict"]), (3, &"inconclusive".into()));
    for shown in [imported, snapshot.shown("check")] {
        assert!(shown.contains("not one of its 2 entries is"), "{shown}");
        assert!(!shown.contains("recording was not on"), "{shown}");
    }
}

#[test]
fn a_table_that_is_not_understood_is_not_passed_over() {
    let snapshot = pickled("odd-table", 4);
    snapshot.import();
    let (checked, code) = snapshot.said("check");
    assert_eq!((code, verdict(&checked)), (3, ("inconclusive", "messages")));
    assert_eq!(checked["peak_is_least"], true);
    for part in ["own table was not understood", "at least 1,024 bytes"] {
        let shown = snapshot.shown("check");
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn a_peak_over_several_devices_is_by_time() {
    let snapshot = pickled("by-time", 4);
    snapshot.import();
    let (checked, code) = snapshot.said("check");
    assert_eq!(
        (code, verdict(&checked)),
        (0, ("clean", "exact")),
        "{checked}"
    );
    assert_eq!(checked["peak_bytes"], 1000, "{checked}");
}

#[test]
fn a_peak_has_what_was_allocated_before_the_history() {
    let snapshot = pickled("earlier", 4);
    snapshot.import();
    let (checked, _) = snapshot.said("check");
    assert_eq!(
        (&checked["peak_bytes"], &checked["peak_is_least"]),
        (&(4096 + 1000 + 100).into(), &true.into()),
        "{checked}"
    );
}

#[test]
fn leak_groups_show_the_frames_that_tell_them_apart() {
    let snapshot = kept("two-callers.pickle");
    snapshot.import();
    for command in ["check", "diagnose"] {
        let shown = snapshot.shown(command);
        if command == "check" {
            assert!(shown.contains("train_step (train.py:42)"), "{shown}");
            assert!(shown.contains("eval_step (eval.py:9)"), "{shown}");
        }
        assert!(!shown.contains("torch::unwind"), "{shown}");
    }
}

#[test]
fn annotations_of_the_user_are_known() {
    let account = kept("annotated.pickle").import();
    assert_eq!(
        (
            &account["parsed"],
            &account["known_other"],
            &account["unrecognised"]
        ),
        (&3.into(), &2.into(), &0.into()),
        "{account}"
    );
}

#[test]
fn a_snapshot_inside_of_something_is_named_with_its_place() {
    let cases = [
        (kept("rank-list.pickle"), "`[0]['snapshot']`"),
        (pickled("ranks", 4), "`['ranks'][1]['snapshot']`"),
        (pickled("ranks", 2), "`['ranks'][1]['snapshot']`"),
        (pickled("rank-dict", 4), "`[0]`"),
        (pickled("rank-pair", 4), "`[0]`"),
        (pickled("rank-tuple", 4), "`[1]`"),
        (pickled("one-key", 4), "`['memory']['snapshot']`"),
    ];
    for (snapshot, place) in cases {
        let error = snapshot.refused();
        assert!(error.contains(place), "{place}: {error}");
        assert!(error.contains("pickle.dump"), "{error}");
    }
    let error = pickled("segments", 4).refused();
    assert!(error.contains("list of segments"), "{error}");
    assert!(error.contains("_record_memory_history()"), "{error}");
}

/// An action that nobody here knows may have been a release and an allocation.
#[test]
fn where_an_entry_is_not_understood_the_table_alone_is_no_clean_bill() {
    let snapshot = kept("unknown-action.pickle");
    snapshot.import();
    let (checked, code) = snapshot.said("check");
    assert_eq!((code, &checked["verdict"]), (3, &"inconclusive".into()));
    assert_eq!(checked["live_bytes"], 1_048_576);
}
