//! The calibration, on few runs of each cause, and what is kept and printed of it.

use std::fs;

use heisenbed::diagnosis::Cause;

use crate::common::{heisenbed, run, run_json};

/// The calibration on few runs; each row must still be right, and none confidently wrong.
fn calibrated(runs: u32, seed: u32) {
    let (confusion, code) = run_json(&format!("diagnose --calibrate --runs {runs} --seed {seed}"));
    let rows = confusion["rows"].as_array().expect("a row a cause");
    assert_eq!(rows.len(), 1 + Cause::ALL.len());
    for row in rows {
        let planted = &row["planted"];
        assert_eq!(row["wrong_confident"], 0, "{planted}: {}", row["missed"]);
        let right = row["right"].as_u64().expect("a count");
        assert!(
            right * 100 >= u64::from(runs) * 95,
            "{planted}: {right} of {runs}: {}",
            row["missed"]
        );
    }
    assert_eq!(code, 0);
}

#[test]
fn the_right_cause_comes_first_on_runs_with_a_known_one() {
    calibrated(20, 901);
}

#[test]
#[ignore = "long: a minute and a half; cargo nextest run --test cli --run-ignored all diagnose"]
fn the_right_cause_comes_first_on_a_hundred_runs_of_each() {
    for seed in 902..908 {
        calibrated(100, seed);
    }
}

#[test]
fn calibration_is_the_same_each_time() {
    let table = || {
        let output = heisenbed(&[
            "diagnose",
            "--calibrate",
            "--runs",
            "3",
            "--seed",
            "4",
            "--quiet",
        ])
        .output();
        String::from_utf8(output.expect("the program starts").stdout).expect("UTF-8")
    };
    let first = table();
    assert!(first.contains("planted"), "{first}");
    assert_eq!(first, table());
}

/// The calibration on real threads: what is right depends on who was preempted where, but nothing
/// may be confident and wrong.
#[test]
fn no_cause_is_confident_and_wrong_on_real_threads() {
    let (confusion, _) = run_json("diagnose --calibrate --engine threads --runs 2 --seed 77");
    for row in confusion["rows"].as_array().expect("a row a cause") {
        let planted = &row["planted"];
        assert_eq!(row["wrong_confident"], 0, "{planted}: {}", row["missed"]);
    }
}

#[test]
fn measurements_are_put_together_by_how_they_were_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    for seed in ["1", "2"] {
        let words = format!(
            "diagnose --calibrate --cause type-aliasing --runs 3 --seed {seed} --format json"
        );
        fs::write(at(seed), run(&words).stdout).expect("writable");
    }
    let (joined, code) = run_json(&format!(
        "diagnose --calibrate --from {} {}",
        at("1"),
        at("2")
    ));
    assert_eq!(code, 0, "{joined}");
    let measurements = joined["measurements"].as_array().expect("measurements");
    assert_eq!(measurements.len(), 1);
    assert_eq!(measurements[0]["seeds"], serde_json::json!([1, 2]));
    assert_eq!(measurements[0]["rows"][0]["runs"], 6);
    // What was put together is read again.
    fs::write(at("both"), joined.to_string()).expect("writable");
    let markdown = run(&format!(
        "diagnose --calibrate --from {} --markdown",
        at("both")
    ));
    let markdown = String::from_utf8(markdown.stdout).expect("text");
    assert!(markdown.contains("seeds 1 to 2"), "{markdown}");
    assert!(
        markdown.contains("| type-aliasing | 6 | 6 | 6 | 0 | 0 | 0.00 |"),
        "{markdown}"
    );
    let (error, code) = run_json(&format!(
        "diagnose --calibrate --from {}/nothing-there",
        folder.path().display()
    ));
    assert_eq!(code, 2, "{error}");
    fs::write(at("none"), "{}").expect("writable");
    let (error, code) = run_json(&format!("diagnose --calibrate --from {}", at("none")));
    assert_eq!(code, 2, "{error}");
}

#[test]
fn the_tables_in_the_documentation_are_the_measured_ones() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");
    let printed = run(&format!(
        "diagnose --calibrate --from {docs}/calibration.json --markdown"
    ));
    let printed = String::from_utf8(printed.stdout).expect("text");
    let page = fs::read_to_string(format!("{docs}/diagnosis.md")).expect("it is there");
    assert!(
        page.contains(printed.trim_end()),
        "print them anew with `diagnose --calibrate --from docs/calibration.json --markdown`"
    );
    assert!(printed.contains("| mesh-release |"));
}

#[test]
fn a_folder_for_what_is_kept_is_made_and_one_that_cannot_be_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept/here");
    let words = "diagnose --calibrate --cause type-aliasing --runs 2 --seed 1 --keep";
    let (_, code) = run_json(&format!("{words} {}", kept.display()));
    assert_eq!(code, 0);
    // Nothing was confident and wrong.
    assert_eq!(fs::read_dir(&kept).expect("it was made").count(), 0);
    fs::write(folder.path().join("a-file"), "").expect("writable");
    let (error, code) = run_json(&format!("{words} {}/a-file", folder.path().display()));
    assert_eq!(code, 2, "{error}");
    assert!(error.to_string().contains("a-file"), "{error}");
}
