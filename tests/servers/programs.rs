//! The calibration of the diagnosis on traffic of programs that share no code with heisenbed: one
//! in C, one in Python.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::{heisenbed, run_json};

/// The C program of that name, compiled.
fn compiled(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/programs")
        .join(format!("{name}.c"));
    let output = Command::new("gcc")
        .args([
            "-std=gnu11",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pthread",
        ])
        .arg(source)
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap_or_else(|error| panic!("gcc: {error}. These tests compile C"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    (folder, program)
}

/// Calibrates on `command`; no cause may be confident and wrong. The rows.
fn calibrated(command: &str, plants: Option<&str>, runs: &str) -> Vec<Value> {
    let mut words = vec!["diagnose", "--calibrate", "--quiet", "--format", "json"];
    words.extend(["--seed", "31", "--runs", runs, "--program", command]);
    if let Some(cause) = plants {
        words.extend(["--plants", cause]);
    }
    let output = heisenbed(&words).output().expect("the program starts");
    let text = String::from_utf8(output.stdout).expect("text");
    let measured: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(measured["program"], command, "{measured}");
    let rows = measured["rows"].as_array().expect("rows").clone();
    for row in &rows {
        assert_eq!(row["wrong_confident"], 0, "{row}");
    }
    rows
}

#[test]
fn what_is_planted_into_a_correct_program_s_traffic_is_found() {
    let (_folder, program) = compiled("racy_client");
    let command = format!("{} correct {{socket}} {{seed}}", program.display());
    let rows = calibrated(&command, None, "3");
    let planted: Vec<&Value> = rows.iter().map(|row| &row["planted"]).collect();
    assert_eq!(
        planted,
        [
            &Value::Null,
            &"loss".into(),
            &"late-attach".into(),
            &"pid-reuse".into(),
            &"layout-mismatch".into()
        ]
    );
    assert_eq!(rows[0]["nothing"], 3, "{}", rows[0]);
    assert_eq!(rows[4]["right"], 3, "{}", rows[4]);
}

#[test]
fn what_a_program_does_itself_is_found() {
    let (_folder, program) = compiled("racy_client");
    for (mode, cause) in [
        ("free-first", "reordering"),
        ("drops", "loss"),
        ("leaks", "real-leak"),
    ] {
        let command = format!("{} {mode} {{socket}} {{seed}}", program.display());
        let rows = calibrated(&command, Some(cause), "2");
        assert_eq!((rows.len(), &rows[0]["runs"]), (1, &2.into()));
    }
}

#[test]
fn a_program_in_python_is_diagnosed_too() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/racy_client.py");
    let command = |mode: &str| format!("python3 {} {mode} {{socket}} {{seed}}", script.display());
    let rows = calibrated(&command("correct"), None, "1");
    assert_eq!(rows[0]["nothing"], 1, "{}", rows[0]);
    let rows = calibrated(&command("free-first"), Some("reordering"), "1");
    assert_eq!(rows[0]["right"], 1, "{}", rows[0]);
}

#[test]
fn a_program_that_is_no_client_is_an_error() {
    for (command, word) in [("true", "sent no message"), ("exit 7", "failed")] {
        let words = [
            "diagnose",
            "--calibrate",
            "--runs",
            "1",
            "--quiet",
            "--program",
            command,
        ];
        let output = heisenbed(&words).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(2));
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(complaint.contains(word), "{complaint}");
    }
    let (error, code) = run_json("diagnose --calibrate --plants loss");
    assert_eq!(code, 2, "{error}");
}

/// Counters in shared memory whose keepers are killed at any moment: under a lock that says so, and
/// with a sweep by whoever comes, nothing is left of them; `shm` reads the region that they leave.
#[test]
fn counters_that_are_swept_survive_the_killing_of_their_keepers() {
    let (folder, program) = compiled("counters");
    let region = folder.path().join("tt_device_1_memory");
    let said = Command::new(&program)
        .arg(&region)
        .args(["repaired", "40", "1"])
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.starts_with("40 rounds") && said.ends_with(" 0 wrong\n"),
        "{said}"
    );
    let (found, code) = run_json(&format!("shm {}", region.display()));
    assert_eq!(
        (code, &found["verdict"]),
        (0, &serde_json::json!("clean")),
        "{found:#}"
    );
    assert_eq!(found["regions"][0]["version"], 1);
}
