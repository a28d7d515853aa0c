//! `check` and `diagnose` of one record agree on whether anything is wrong.

use std::fs;

use crate::common::{record_diverged, run, run_json};

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
    let file = folder.path().join("run.hb");
    let trace = file.display().to_string();
    for defect in [
        "lock-array-of-8",
        "circular-on-device-0",
        "unload-with-size-0",
        "inverted-lock-order",
        "free-first-gap",
    ] {
        let options = format!("--defect {defect} --perturb --ops 400");
        record_diverged(&options, &file);
        assert_eq!(exit_codes(&trace), [1, 1], "{options}");
        run(&format!("stress {options} --twin --record {trace} --quiet"));
        assert_eq!(exit_codes(&trace), [0, 0], "{options} --twin");
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

/// A FREE that came before its own ALLOC, after an earlier life of the address: an order, which a
/// log shows like a second release.
#[test]
fn a_check_of_a_log_does_not_call_an_order_a_double_free() {
    let folder = tempfile::tempdir().expect("a folder");
    let [log, trace] =
        ["server.log", "server.hb"].map(|name| folder.path().join(name).display().to_string());
    let mut text = String::from("🚀 Allocation Server started\n");
    for at in 0..12 {
        let address = format!("{:x}", 0x1000 + at * 64);
        let alloc =
            format!("✓ [PID 1] Allocated 64 bytes of L1 on device 0 (buffer_id=0x{address}");
        let free = format!("✗ [PID 1] Freed buffer 0x{address} on device 0 (64 bytes, FINAL)\n");
        let unknown =
            format!("⚠ [PID 1] Deallocation for unknown buffer 0x{address} on device 0\n");
        text += &format!("{alloc})\n{free}{unknown}{alloc})\n{alloc}, ref_count=2)\n");
        text += &free.replace("FINAL", "ref_count=1 remaining");
        text += &free;
    }
    fs::write(&log, text).expect("writable");
    run(&format!("import server-log {log} -o {trace} --quiet"));
    let (checked, code) = run_json(&format!("check {trace}"));
    assert_eq!(code, 1, "{checked}");
    assert_eq!(checked["divergences"]["unknown-free"], 12, "{checked}");
    assert!(
        checked["divergences"].get("double-free").is_none(),
        "{checked}"
    );
    assert_eq!(checked["notes"]["freed-before"]["count"], 12, "{checked}");
    let (diagnosed, _) = run_json(&format!("diagnose {trace}"));
    assert!(
        diagnosed["divergences"].get("double-free").is_none(),
        "{diagnosed}"
    );
    assert_eq!(diagnosed["causes"][0]["cause"], "reordering", "{diagnosed}");
    let words = run(&format!("check {trace}")).stdout;
    let words = String::from_utf8(words).expect("text");
    assert!(
        words.contains("`heisenbed diagnose` weighs which"),
        "{words}"
    );
}
