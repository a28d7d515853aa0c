//! Data races are found where they are, hide nothing, and are seen again; what is ordered, in
//! whichever way, is not accused.

use std::process::Command;

use serde_json::Value;

use super::programs::{Ran, binary, instrumented, path, run};

/// Cases of `races/racy.c`, and a word of what is said of each.
const RACY: [(&str, &str); 20] = [
    ("counter", "counter at count (racy.c:"),
    ("flag", "flag at raise_flag (racy.c:"),
    ("heap", "memory without a name at fill_box"),
    ("relaxed", "message at hand_over"),
    ("relaxed-store", "message at hand_over"),
    ("relaxed-load", "message at hand_over_released"),
    ("overwritten", "message at hand_over_released"),
    ("read-again", "message at write_and_read"),
    ("fence", "message at hand_over_fenced"),
    ("mixed", "atomically updates"),
    ("wrong-lock", "guarded at under_o"),
    ("read-lock", "guarded at write_as_reader"),
    ("byte", "bytes+3"),
    ("bits", "bits at write_"),
    ("range", "text+1001"),
    ("unaligned", "unaligned+8"),
    ("created", "at created (racy.c:"),
    ("joined", "at joined (racy.c:"),
    ("stack", "write_there"),
    ("barrier", "rounds"),
];

/// Cases of `races/racy.cpp` that nothing but the race betrays.
const RACY_CPP: [(&str, &str); 2] = [("vptr", "Base::~Base"), ("lazy", "racy.cpp:")];

/// Cases of `races/ordered.c`.
const ORDERED: [&str; 34] = [
    "mutex",
    "trylock",
    "timedlock",
    "c11",
    "rwlock",
    "rwlock-first",
    "condition",
    "semaphore",
    "barrier",
    "barrier-first",
    "spin",
    "release-acquire",
    "sequence",
    "fences",
    "exchange",
    "compare",
    "ticket",
    "owners",
    "once",
    "onces",
    "join",
    "detached",
    "pipe",
    "socket",
    "event",
    "blocks",
    "stacks",
    "keys",
    "cancelled",
    "signals",
    "unseen",
    "sigwait",
    "faults",
    "heirs",
];

/// Cases of `races/ordered.cpp`.
const ORDERED_CPP: [&str; 16] = [
    "wait",
    "latch",
    "barrier",
    "semaphore",
    "stop",
    "stop-callback",
    "once",
    "static",
    "future",
    "exit",
    "owner",
    "atomic-owner",
    "exception",
    "queue",
    "shared-lock",
    "facet",
];

/// A machine with much to do is no livelock.
const PATIENT: [&str; 3] = ["--no-shrink", "--timeout", "60s"];

fn run_case(options: &[&str], name: &str, case: &str) -> Ran {
    let options = [&PATIENT, options].concat();
    run(&options, &[&path(instrumented(), name), case])
}

fn races(ran: &Ran) -> &Vec<Value> {
    ran.json["data_races"].as_array().unwrap()
}

#[test]
fn each_way_to_have_a_data_race_is_found_where_it_is() {
    for (name, cases) in [("racy", &RACY[..]), ("racy-cpp", &RACY_CPP[..])] {
        for (case, word) in cases {
            let found = run_case(&["--schedules", "100"], name, case);
            assert_eq!(found.kind(), Some("data-race"), "{case}: {}", found.json);
            assert_eq!(found.code, 1, "{case}");
            let said = races(&found)
                .iter()
                .any(|race| race["summary"].as_str().unwrap().contains(word));
            assert!(said, "{case}: {}", found.json);
            let twin = format!("{name}-fixed");
            let twin = run_case(&["--schedules", "100"], &twin, case);
            assert_eq!(twin.json["verdict"], "clean", "{case}: {}", twin.json);
            assert!(races(&twin).is_empty(), "{case}: {}", twin.json);
        }
    }
}

#[test]
fn what_is_ordered_is_not_accused() {
    let all = [("ordered", &ORDERED[..]), ("ordered-cpp", &ORDERED_CPP[..])];
    for (name, cases) in all {
        for case in cases {
            for strategy in ["pos", "random"] {
                let options = ["--schedules", "60", "--strategy", strategy];
                let ran = run_case(&options, name, case);
                let shown = format!("{case} {strategy}: {}", ran.json);
                assert_eq!(ran.json["verdict"], "clean", "{shown}");
                assert_eq!(ran.json["distinct_data_races"], 0, "{shown}");
                assert!(ran.json["accesses"].as_u64() > Some(0), "{shown}");
            }
        }
    }
}

#[test]
fn a_data_race_hides_no_other_failure() {
    let find = |data_races| {
        let options = ["--schedules", "2000", "--data-races", data_races];
        let options = [&PATIENT[..], &options].concat();
        run(&options, &[&path(instrumented(), "account")])
    };
    let last = find("last");
    assert_eq!(last.kind(), Some("abort"), "{}", last.json);
    assert!(!races(&last).is_empty(), "{}", last.json);
    let first = find("first");
    assert_eq!(first.kind(), Some("data-race"), "{}", first.json);
    assert!(first.json["schedules"].as_u64() <= last.json["schedules"].as_u64());
    let ignore = find("ignore");
    assert_eq!(ignore.kind(), Some("abort"), "{}", ignore.json);
    assert!(races(&ignore).is_empty(), "{}", ignore.json);
    let none = run_case(&["--data-races", "ignore", "--schedules", "50"], "racy", "");
    assert_ne!(none.kind(), Some("data-race"));
}

#[test]
fn the_same_seed_finds_the_same_races_wherever_the_program_is_loaded() {
    let find = || run_case(&["--seed", "3", "--schedules", "80"], "racy", "flag");
    let (one, other) = (find(), find());
    for key in ["data_races", "distinct_data_races", "failure", "failures"] {
        assert_eq!(one.json[key], other.json[key], "{key}");
    }
}

#[test]
fn a_saved_data_race_is_seen_again_and_shrunk() {
    let home = tempfile::tempdir().unwrap();
    for (name, case) in [
        ("racy", "wrong-lock"),
        ("racy", "flag"),
        ("racy-cpp", "vptr"),
    ] {
        let file = home.path().join("race.toml");
        let file = file.to_str().unwrap();
        let found = run_case(&["--schedules", "50", "--save", file], name, case);
        assert_eq!(found.json["repeats"], true, "{case}: {}", found.json);
        for round in 0..10 {
            let output = Command::new(binary())
                .args(["replay", file, "--format", "json"])
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(0), "{case} {round}: {text}");
            assert!(text.contains("data-race"), "{case} {round}: {text}");
        }
        let small = home.path().join("small.toml");
        let output = Command::new(binary())
            .args(["shrink", file, "-q", "-o"])
            .arg(&small)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{case}");
        let output = Command::new(binary())
            .arg("replay")
            .arg(&small)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{case}: {text}");
        assert_eq!(
            text.lines().filter(|line| line.starts_with("! ")).count(),
            3,
            "both accesses are marked, and it is said: {text}"
        );
    }
}

#[test]
fn a_race_elsewhere_is_not_the_one_that_was_saved() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("race.toml");
    let file = file.to_str().unwrap();
    run_case(&["--schedules", "50", "--save", file], "racy", "counter");
    let text = std::fs::read_to_string(file).unwrap();
    let places = text.find("race = [").expect("it says where");
    std::fs::write(
        file,
        text[..places].to_owned() + &text[places..].replace("count (", "uncount ("),
    )
    .unwrap();
    let output = Command::new(binary())
        .args(["replay", file])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("a data race elsewhere"), "{said}");
}

#[test]
fn what_is_told_of_a_race_names_both_sides_their_locks_and_the_remedy() {
    let output = Command::new(binary())
        .args(["run", "-q", "--timeout", "60s", "--schedules", "50", "--"])
        .args([&path(instrumented(), "racy"), "wrong-lock"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for word in [
        "data-race: thread",
        "Data race on guarded:",
        "under_one (racy.c:",
        "under_other (racy.c:",
        "holding lock",
        "holding other_lock",
        "not the same one",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
}
