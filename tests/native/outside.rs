//! What calls, threads and processes do that are left to the system: a correct program is accused
//! of nothing, and what cannot be told is said.

use super::programs::{Ran, instrumented, path, run};

/// Nothing is wrong with them, and heisenbed sees all of it.
const CLEAN: [&str; 12] = [
    "barrier-destroyed",
    "once",
    "read-nothing",
    "cancelled-anywhere",
    "cancelled-outside",
    "message-queue",
    "signal-descriptor",
    "timer-descriptor",
    "child-signal",
    "streams",
    "runs-command",
    "reads-command",
];

/// Nothing is wrong with them, and heisenbed cannot tell.
const UNTOLD: [(&str, &str); 3] = [
    ("shared-semaphore", "another process may"),
    ("timer-thread", "the C library makes such"),
    ("library-reads", "the C library makes such"),
];

/// Of all orders of these it is known that none fails.
const PROVED: [&str; 4] = [
    "barrier-destroyed",
    "once",
    "read-nothing",
    "cancelled-anywhere",
];

/// Of these nobody knows all orders.
const NO_PROOF: [(&str, &str); 4] = [
    ("runs-command", "it starts processes"),
    ("reads-command", "it starts processes"),
    ("timer-thread", "the C library makes"),
    ("library-reads", "the C library makes"),
];

fn run_case(options: &[&str], case: &str) -> Ran {
    let options = [&["--no-shrink", "--timeout", "60s"], options].concat();
    run(&options, &[&path(instrumented(), "outside"), case])
}

#[test]
fn what_the_system_does_accuses_no_correct_program() {
    for case in CLEAN {
        let ran = run_case(&["--schedules", "40"], case);
        assert_eq!(ran.json["verdict"], "clean", "{case}: {}", ran.json);
        assert_eq!(ran.json["data_races"], serde_json::json!([]), "{case}");
    }
    for (case, why) in UNTOLD {
        let ran = run_case(&["--schedules", "5"], case);
        assert_eq!(ran.json["verdict"], "inconclusive", "{case}: {}", ran.json);
        let note = ran.json["note"].as_str().unwrap();
        assert!(note.contains(why), "{case}: {note}");
        assert!(note.contains("--strategy perturb"), "{case}: {note}");
    }
}

#[test]
fn what_nobody_will_do_is_a_deadlock_though_there_was_a_process() {
    for case in ["nobody-posts", "nobody-writes"] {
        let ran = run_case(&["--schedules", "5"], case);
        assert_eq!(ran.kind(), Some("deadlock"), "{case}: {}", ran.json);
    }
    // In every order, at once: nobody waits for what might come from outside.
    let ran = run_case(&["--schedules", "40", "--keep-going"], "nobody-tells");
    assert_eq!(ran.json["failures"], 40, "{}", ran.json);
    let said = ran.json["failure"]["summary"].to_string();
    assert!(said.contains("nobody can go on"), "{said}");
}

#[test]
fn what_is_written_after_a_stream_was_is_a_race() {
    let ran = run_case(&["--schedules", "40"], "streams-late");
    assert_eq!(ran.kind(), Some("data-race"), "{}", ran.json);
}

#[test]
fn what_is_left_to_the_library_or_to_processes_is_no_proof() {
    for case in PROVED {
        let ran = run_case(&["--strategy", "exhaustive"], case);
        assert_eq!(ran.json["verdict"], "proved", "{case}: {}", ran.json);
    }
    for (case, why) in NO_PROOF {
        let ran = run_case(&["--strategy", "exhaustive"], case);
        assert_eq!(ran.json["verdict"], "inconclusive", "{case}: {}", ran.json);
        let limits = ran.json["exhaustive"]["limits"].to_string();
        assert!(limits.contains(why), "{case}: {limits}");
    }
}
