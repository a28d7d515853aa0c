//! Each planted fault of a target is found by `run`, by `stress` and by fuzzing, and made small.
//! The twin is silent.

use heisenbed::fuzzing::target::FuzzedTarget;
use serde_json::Value;

use super::{TIGHT, arena, drawn, heisenbed, instrumented, left, with};

/// A fault of `arena.c`, the kinds that it may show as, and how few operations show it.
const FAULTS: [(&str, &[&str], usize); 9] = [
    ("off-by-one", &["fragmented", "misplaced"], 4),
    ("misaligned", &["misaligned"], 2),
    (
        "no-lock",
        &[
            "overlap",
            "out-of-bounds",
            "misaligned",
            "misplaced",
            "crash",
        ],
        4,
    ),
    ("stale-header", &["overlap", "fragmented", "misplaced"], 4),
    ("wrong-totals", &["wrong-totals"], 4),
    ("crash", &["crash"], 3),
    ("uses-freed", &["crash", "abort", "livelock"], 4),
    ("last-fit", &["misplaced"], 4),
    ("worst-fit", &["misplaced"], 4),
];

#[test]
fn each_planted_fault_is_found_by_run_and_shrunk() {
    for (fault, kinds, fewest) in FAULTS {
        let found = with("run", arena(), fault, &[]);
        let json = found.json();
        assert_eq!(found.code, 1, "{fault}: {json}");
        let kind = found.kind().unwrap();
        assert!(kinds.contains(&kind.as_str()), "{fault}: {json}");
        assert!(left(&json) <= fewest, "{fault}: {}", json["smallest"]);
    }
    let found = with("run", arena(), "leak", &TIGHT);
    let kind = found.kind().unwrap();
    assert!(
        ["fragmented", "exhausted", "misplaced"].contains(&kind.as_str()),
        "{}",
        found.json()
    );
    assert!(left(&found.json()) <= 4, "{}", found.json()["smallest"]);
    let found = with("run", arena(), "self-deadlock", &[]);
    assert_eq!(
        found.kind().as_deref(),
        Some("lock-misuse"),
        "{}",
        found.json()
    );
}

#[test]
fn a_long_timeline_has_the_preemptions_and_where_operations_begin() {
    let library = instrumented(arena(), "arena.c").display().to_string();
    let words = ["run", "--target", &library, "--target-options", "no-lock"];
    let found = heisenbed(&words);
    assert_eq!(found.code, 1, "{}{}", found.stdout, found.stderr);
    let rows: Vec<&str> = found.stdout.lines().collect();
    let count = |holds: &dyn Fn(&&&str) -> bool| rows.iter().filter(holds).count();
    assert!(
        count(&|row| row.contains("more actions")) > 0,
        "{}",
        found.stdout
    );
    // The legend begins with the same sign.
    assert!(count(&|row| row.starts_with('>')) > 1, "{}", found.stdout);
    let of_both = ["allocate s0#1", "allocate s1#1"];
    for op in of_both {
        // Once in the program, and once where it begins.
        assert!(count(&|row| row.contains(op)) > 1, "{op}: {}", found.stdout);
    }
}

#[test]
fn a_lost_wake_up_is_not_made_one_that_nobody_could_have_sent() {
    let found = with("run", arena(), "lost-wakeup", &["--ops", "4"]);
    let json = found.json();
    assert_eq!(found.kind().as_deref(), Some("deadlock"), "{json}");
    // Without the other's release there is nothing that could be missed.
    let releases = |ops: &Value| ops.to_string().matches("release s").count();
    let threads = json["smallest"].as_array().unwrap();
    assert!(threads.iter().all(|ops| releases(ops) > 0), "{json}");
    assert!(left(&json) <= 4, "{json}");
    assert_ne!(json["preemptions"], 0, "{json}");
}

#[test]
fn what_a_rare_order_shows_becomes_small_without_being_found_anew() {
    for seed in ["1", "3"] {
        let more = ["--threads", "3", "--ops", "20", "--seed", seed];
        let json = with("run", arena(), "lost-wakeup", &more).json();
        assert_eq!(json["failure"]["kind"], "deadlock", "{json}");
        assert!(left(&json) <= 4, "{}", json["smallest"]);
    }
}

#[test]
fn each_planted_fault_is_found_by_stress_and_shrunk_under_control() {
    for (fault, kinds, fewest) in FAULTS {
        let more = [
            "--ops",
            "2000",
            "--perturb",
            "--runs",
            "20",
            "--duration",
            "60s",
        ];
        let found = with("stress", arena(), fault, &more);
        let json = found.json();
        assert_eq!(found.code, 1, "{fault}: {json}");
        let kind = found.kind().unwrap();
        // Real threads write to what the C library has again, and it may notice that in the first
        // run that fails; the others name it.
        let is_noticed = fault == "stale-header" && ["abort", "crash"].contains(&kind.as_str());
        let is_named = kinds.iter().any(|named| match is_noticed {
            true => json["divergences"].get(named).is_some(),
            false => *named == kind,
        });
        assert!(is_named, "{fault}: {json}");
        // What real threads met late may take more to be met again under control.
        assert!(
            left(&json) <= 2 * fewest + 2,
            "{fault}: {}",
            json["smallest"]
        );
    }
    let more = ["--profile", "custom:1x65536", "--ops", "200"];
    let found = with("stress", arena(), "leak", &more);
    let kind = found.kind().unwrap();
    assert!(
        ["fragmented", "exhausted", "misplaced"].contains(&kind.as_str()),
        "{}",
        found.json()
    );
    assert!(left(&found.json()) <= 12, "{}", found.json()["smallest"]);
}

#[test]
fn the_correct_twin_is_silent() {
    for more in [
        &[][..],
        &TIGHT,
        &["--scenario", "handoff"],
        &["--scenario", "real-leak"],
    ] {
        let more = [more, &["--schedules", "2000"]].concat();
        let clean = with("run", arena(), "", &more);
        assert_eq!(
            clean.json()["verdict"],
            "clean",
            "{more:?}: {}",
            clean.json()
        );
        let said: Vec<&str> = clean.stderr.lines().collect();
        assert!(
            said.len() == 1 && said[0].contains("was not seen"),
            "{said:?}"
        );
    }
    let proved = with(
        "run",
        arena(),
        "",
        &["--strategy", "exhaustive", "--assume-locked"],
    );
    assert_eq!(proved.json()["verdict"], "proved", "{}", proved.json());
    for more in [
        &["--ops", "250000"][..],
        &["--ops", "2000", "--profile", "custom:1x65536"],
    ] {
        let clean = with("stress", arena(), "", more);
        assert_eq!(clean.json()["verdict"], "clean", "{}", clean.json());
        assert_eq!(clean.json()["check"], Value::Null);
    }
}

#[test]
fn each_planted_fault_is_found_by_fuzzing_and_the_twin_is_silent_in_a_million_operations() {
    let faults = [
        "off-by-one",
        "misaligned",
        "leak",
        "no-lock",
        "stale-header",
        "wrong-totals",
        "crash",
    ];
    for fault in faults {
        let mut target = FuzzedTarget::new(arena(), fault).unwrap();
        let found = (0..3_000).find_map(|seed| target.run(&drawn(seed)).err());
        assert!(found.is_some(), "{fault} was not found");
    }
    let mut twin = FuzzedTarget::new(arena(), "").unwrap();
    // Each input has some 400 operations, of several threads in four schedules.
    for seed in 0..1_000 {
        assert_eq!(twin.run(&drawn(seed)), Ok(()));
    }
}
