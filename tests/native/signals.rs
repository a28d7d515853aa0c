//! Signals that the threads of a program send each other: handlers run where the schedule says,
//! what is sent after an action is ordered after it, and a wait that is interrupted is.

use std::path::Path;
use std::process::Command;

use super::programs::{Ran, binary, instrumented, path, plain, run};

const CORRECT: [&str; 9] = [
    "early",
    "queued",
    "restarted",
    "ppoll",
    "sigsuspend",
    "sleep",
    "lock",
    "collector",
    "process",
];

/// What comes of it, and a line that is shown.
const WRONG: [(&str, &str, &str); 4] = [
    ("late", "data-race", "at posts"),
    ("read", "deadlock", "handles signal 10: notes"),
    ("pause", "deadlock", "waits for a signal that it handles"),
    (
        "locking-handler",
        "lock-misuse",
        "handles signal 10: locks_in_handler",
    ),
];

fn run_case(options: &[&str], folder: &Path, case: &str) -> Ran {
    let options = [&["--no-shrink", "--timeout", "20s"], options].concat();
    run(&options, &[&path(folder, "between-threads"), case])
}

#[test]
fn signals_between_threads_accuse_no_correct_program() {
    for case in CORRECT {
        for folder in [plain(), instrumented()] {
            let ran = run_case(&["--schedules", "200"], folder, case);
            assert_eq!(ran.json["verdict"], "clean", "{case}: {}", ran.json);
            assert_eq!(ran.json["data_races"], serde_json::json!([]), "{case}");
        }
    }
}

#[test]
fn a_signal_that_comes_at_the_wrong_moment_is_found() {
    for (case, kind, shown) in WRONG {
        let ran = run_case(&["--schedules", "200"], instrumented(), case);
        assert_eq!(ran.kind(), Some(kind), "{case}: {}", ran.json);
        let output = Command::new(binary())
            .args(["run", "-q", "--no-shrink", "--schedules", "200", "--"])
            .args([&path(instrumented(), "between-threads"), case])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(told.contains(shown), "{case}: {told}");
        assert!(
            told.contains("sends signal 10 to thread 1"),
            "{case}: {told}"
        );
    }
    for (case, kind) in [("read", "deadlock"), ("pause", "deadlock")] {
        let ran = run_case(&["--schedules", "200"], plain(), case);
        assert_eq!(ran.kind(), Some(kind), "{case}: {}", ran.json);
    }
}

#[test]
fn the_same_seed_brings_signals_at_the_same_steps() {
    let options = ["--schedules", "30", "--keep-going"];
    let first = run_case(&options, instrumented(), "locking-handler");
    let second = run_case(&options, instrumented(), "locking-handler");
    assert_eq!(first.json["failures"], second.json["failures"]);
    assert_eq!(first.json["steps"], second.json["steps"]);
    assert_eq!(first.json["failure"], second.json["failure"]);
}
