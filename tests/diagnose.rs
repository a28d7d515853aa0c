//! `heisenbed diagnose`: the right cause first, nothing where there is nothing, and never sure of a wrong one.

mod common;

use std::path::Path;

fn diagnose(arguments: &[&str]) -> (serde_json::Value, Option<i32>) {
    let output = common::heisenbed(&["diagnose", "--format", "json"])
        .args(arguments)
        .output()
        .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (value, output.status.code())
}

fn recorded(folder: &Path, arguments: &[&str]) -> String {
    let trace = folder.join("run.hb");
    let output = common::heisenbed(&["stress", "--quiet", "--record"])
        .arg(&trace)
        .args(arguments)
        .output()
        .expect("it runs");
    assert!(output.status.code() <= Some(1), "{output:?}");
    trace.display().to_string()
}

#[test]
fn runs_with_a_known_cause_are_diagnosed_right() {
    let output = common::heisenbed(&["diagnose", "--calibrate", "--runs", "20", "--seed", "2026"])
        .output()
        .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        output.status.success() && text.contains("\ncalibrated: "),
        "{text}"
    );
}

#[test]
fn a_race_of_real_threads_is_reordering_and_a_clean_run_is_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let narrow = [
        "--discipline",
        "lifecycle-narrow",
        "--order",
        "free-first",
        "--perturb",
        "--threads",
        "2",
    ];
    let racy = recorded(folder.path(), &[&narrow[..], &["--ops", "2000"]].concat());
    let (found, code) = diagnose(&[&racy]);
    assert_eq!(
        (&found["causes"][0]["cause"], code),
        (&"reordering".into(), Some(1)),
        "{found}"
    );
    let evidence = found["causes"][0]["evidence"].as_array().expect("a list");
    assert!(
        !evidence.is_empty() && evidence.iter().all(serde_json::Value::is_u64),
        "{found}"
    );
    let clean = recorded(
        folder.path(),
        &[
            "--discipline",
            "lifecycle-wide",
            "--threads",
            "2",
            "--ops",
            "2000",
        ],
    );
    let (found, code) = diagnose(&[&clean]);
    let causes = found["causes"].as_array().expect("a list");
    let confident = causes
        .iter()
        .any(|cause| cause["score"].as_f64() > Some(0.5));
    assert!(!confident && code == Some(0), "{found}");
}

#[test]
fn sample_logs_are_diagnosed_in_words() {
    for log in [
        "01_basic",
        "04_dram_l1_same_addr",
        "20_v144_basic",
        "40_enh",
        "40_v72",
    ] {
        let path = format!("corpus/imports/{log}.log");
        let output = common::heisenbed(&["diagnose", &path])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("it runs");
        let text = String::from_utf8(output.stdout).expect("text");
        insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(format!("diagnose_{log}"), text);
        });
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("nothing.hb");
    let output = common::heisenbed(&["diagnose"])
        .arg(&path)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing.hb"));
}
