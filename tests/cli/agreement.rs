//! `check` and `diagnose` of one record agree on whether anything is wrong.

use std::fs;

use crate::common::{run, run_json};

/// The exit codes of a check and of a diagnosis, which says what the check found where it has no
/// cause for it.
fn exit_codes(trace: &str) -> [i32; 2] {
    let (checked, code) = run_json(&format!("check {trace}"));
    let (diagnosed, of_diagnosis) = run_json(&format!("diagnose {trace}"));
    let no_cause = diagnosed["causes"].as_array().is_some_and(Vec::is_empty);
    if code == 1 && no_cause {
        assert_eq!(
            diagnosed["divergences"], checked["divergences"],
            "{diagnosed}"
        );
        let note = diagnosed["note"].as_str().unwrap_or_default();
        assert!(note.contains("`heisenbed check` finds"), "{diagnosed}");
    }
    [code, of_diagnosis]
}

#[test]
fn a_run_that_diverged_is_not_diagnosed_as_sound() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("run.hb").display().to_string();
    for defect in [
        "lock-array-of-8",
        "circular-on-device-0",
        "unload-with-size-0",
        "inverted-lock-order",
        "free-first-gap",
    ] {
        for (twin, expected) in [("", [1, 1]), (" --twin", [0, 0])] {
            run(&format!(
                "stress --defect {defect}{twin} --perturb --ops 400 --record {trace} --quiet"
            ));
            assert_eq!(exit_codes(&trace), expected, "{defect}{twin}");
        }
    }
}

#[test]
fn a_server_that_does_not_know_what_it_was_told_is_not_diagnosed_as_sound() {
    let folder = tempfile::tempdir().expect("a folder");
    let [log, trace] =
        ["server.log", "server.hb"].map(|name| folder.path().join(name).display().to_string());
    let of = |frees: &str| {
        let alloc = "✓ [PID 1] Allocated 64 bytes of DRAM on device 0 (buffer_id=0x1000)";
        fs::write(&log, format!("{alloc}\n{frees}\n")).expect("writable");
        run(&format!("import server-log {log} -o {trace} --quiet"));
        let codes = exit_codes(&trace);
        assert_eq!(
            run_json(&format!("diagnose {log}")).1,
            codes[1],
            "of the text"
        );
        codes
    };
    let unknown = "⚠ [PID 1] Deallocation for unknown buffer 0x1000 on device 0";
    assert_eq!(of(unknown), [1, 1]);
    assert_eq!(
        of("✗ [PID 1] Freed buffer 0x1000 on device 0 (64 bytes)"),
        [0, 0]
    );
}
