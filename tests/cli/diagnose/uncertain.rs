//! Losses that look like another cause: it is never named with confidence.

use super::{first, log, normal, of_text};
use crate::common::{run, run_json};
use heisenbed::diagnosis::{CONFIDENT, PROBABLE};

/// Defects of which the messages alone look like a cause that they are not.
#[test]
fn a_cause_that_the_truth_of_the_run_contradicts_is_not_named() {
    for (defect, not) in [
        ("coalescing-off-by-one", &["reordering"][..]),
        ("zero-size-shares-address", &["reordering"]),
        // Real threads may have both buffers at once, at two addresses.
        ("circular-never-released", &["loss", "real-leak"]),
        ("free-to-device-0", &["double-release"]),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let trace = folder.path().join("run.hb").display().to_string();
        let recorded = format!("stress --defect {defect} --record {trace}");
        assert_eq!(run(&recorded).status.code(), Some(1), "{defect}");
        let (said, _) = run_json(&format!("diagnose {trace}"));
        let score = said["causes"][0]["score"].as_f64();
        assert!(
            score.is_none_or(|score| score < PROBABLE),
            "{defect}: {said}"
        );
        let notes = said["notes"].to_string();
        let is_said = |not: &&str| notes.contains(&format!("{not} is in doubt"));
        assert!(not.iter().any(is_said), "{defect}: {said}");
    }
}

#[test]
fn the_first_allocs_of_a_thread_that_are_lost_are_no_certain_double_release() {
    // A thread ends, another one gets its addresses, and its first messages are lost in one burst.
    let addresses = |sign: &str| -> String {
        (0..14)
            .map(|at| format!("{sign}{:x} ", 0x100 + at * 16))
            .collect()
    };
    let lives = format!("{}{}", addresses("+"), addresses("-")).repeat(6);
    let (diagnosis, _) = of_text(&log(&format!("{lives}{}{lives}", addresses("-"))));
    let causes = diagnosis["causes"].as_array().expect("causes").iter();
    let double = causes
        .filter(|cause| cause["cause"] == "double-release")
        .map(|cause| cause["score"].as_f64().expect("a score"))
        .fold(0.0, f64::max);
    assert!(double < CONFIDENT, "{diagnosis}");
}

#[test]
fn the_last_frees_of_a_thread_that_are_lost_are_no_certain_change_of_process() {
    // A thread ends, its last messages are lost, and another one gets its addresses.
    let addresses = |sign: &str| -> String {
        (0..8)
            .map(|at| format!("{sign}{:x} ", 0x100 + at * 16))
            .collect()
    };
    let lives = format!("{}{}", addresses("+"), addresses("-")).repeat(6);
    let (diagnosis, _) = of_text(&log(&format!("{lives}{}{lives}", addresses("+"))));
    let (_, score) = first(&diagnosis).expect("a cause");
    assert!(score < CONFIDENT, "{diagnosis}");
}

#[test]
fn unknown_frees_after_many_known_ones_are_no_certain_late_attach() {
    let unknown: String = (0..12)
        .map(|at| format!("-{:x} ", 0x100 + at * 16))
        .collect();
    let begins = |before: usize| {
        let text = format!("{}{unknown}{}", normal(before), normal(600));
        let (diagnosis, _) = of_text(&log(&text));
        let late = diagnosis["causes"].as_array().expect("causes").iter();
        late.filter(|cause| cause["cause"] == "late-attach")
            .map(|cause| cause["score"].as_f64().expect("a score"))
            .fold(0.0, f64::max)
    };
    assert!(begins(0) >= CONFIDENT);
    assert!(begins(24) < CONFIDENT);
}
