//! The calibration, on few runs of each cause.

use heisenbed::diagnosis::Cause;

use crate::common::{heisenbed, run_json};

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
