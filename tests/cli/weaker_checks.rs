//! What is refused, and what is checked less than exactly and says so.

use std::process::Output;

use crate::common::heisenbed;

fn output(arguments: &[&str]) -> Output {
    heisenbed(arguments).output().expect("the program starts")
}

#[test]
fn an_import_never_replaces_what_it_reads() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = directory.path().join("server.log");
    std::fs::write(&log, "Unknown message type: 13\n").expect("writable");
    let path = log.to_str().expect("a plain path");
    let output = output(&["import", "server-log", path, "-o", path]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        std::fs::read_to_string(&log).expect("still there"),
        "Unknown message type: 13\n"
    );
}

#[test]
fn a_damaged_import_is_read_as_far_as_it_is_sound() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (log, trace) = (
        directory.path().join("server.log"),
        directory.path().join("t.hb"),
    );
    let line = "✓ [PID 1] Allocated 4096 bytes of L1 on device 0 (buffer_id=0x18b20)\n✗ [PID 1] Freed buffer 0x18b20 on device 0 (4096 bytes, FINAL)\n";
    std::fs::write(&log, line.repeat(3000)).expect("writable");
    let (log, trace) = (log.to_str().expect("plain"), trace.to_str().expect("plain"));
    assert!(
        output(&["import", "server-log", log, "-o", trace])
            .status
            .success()
    );
    let mut bytes = std::fs::read(trace).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(trace, bytes).expect("writable");
    let output = output(&["check", trace, "--format", "json"]);
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(verdict["verdict"], "inconclusive");
    assert!(
        verdict["note"]
            .as_str()
            .is_some_and(|note| note.contains("block at byte")),
        "{verdict}"
    );
}

#[test]
fn no_runs_and_no_operations_are_no_check() {
    for option in ["--runs", "--ops"] {
        assert_eq!(
            output(&["stress", option, "0"]).status.code(),
            Some(2),
            "{option}"
        );
    }
}

#[test]
fn a_server_elsewhere_with_several_connections_is_checked_at_rest_only_and_says_so() {
    let output = output(&[
        "stress",
        "--server",
        "spawn",
        "--transport",
        "per-thread",
        "--ops",
        "200",
        "--format",
        "json",
    ]);
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&verdict["verdict"], &verdict["check"]),
        (&"clean".into(), &"totals".into())
    );
}
