//! Logs in which several things go wrong at once, of programs that share no code with heisenbed:
//! no cause may be confident that is not among them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::run_json;

/// Some of the causes at once, by the letters of `tests/programs/mixed_logs.py`.
const MIXTURES: [&str; 29] = [
    "-", "R", "L", "D", "K", "A", "P", "T", "RD", "RL", "RK", "LD", "DA", "RA", "LA", "RDL", "RAL",
    "KL", "KD", "KA", "RP", "LP", "DP", "AP", "RT", "LT", "DT", "KT", "RKD",
];
const LOGS_OF_EACH: usize = 8;

/// Writes so many logs of each of `sets`, from a seed on: what struck in each.
fn written(folder: &Path, runs: usize, seed: u64, sets: &[&str]) -> BTreeMap<String, Vec<String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/mixed_logs.py");
    let written = Command::new("python3")
        .arg(script)
        .arg(folder)
        .args([runs.to_string(), seed.to_string()])
        .args(sets)
        .status();
    assert!(written.expect("python3 is there").success());
    let truth = std::fs::read(folder.join("truth.json")).expect("it was written");
    serde_json::from_slice(&truth).expect("it is JSON")
}

/// The causes that are found in a log, of which none is confident that did not strike.
fn causes_of(folder: &Path, log: &str, struck: &[String]) -> (Vec<Value>, i32) {
    let (diagnosis, code) = run_json(&format!("diagnose {}", folder.join(log).display()));
    let causes = diagnosis["causes"].as_array().expect("a list");
    for cause in causes {
        let is_struck = struck.iter().any(|it| cause["cause"] == it.as_str());
        let is_confident = cause["confident"].as_bool().expect("it says");
        assert!(is_struck || !is_confident, "{log}: {struck:?}: {causes:?}");
    }
    (causes.clone(), code)
}

#[test]
fn what_two_memories_share_makes_no_other_cause_certain() {
    let folder = tempfile::tempdir().expect("the system has room");
    for (seed, sets) in [
        (5085, &["LT", "AT"][..]),
        (5095, &["AT"]),
        (5096, &["AT"]),
        (5119, &["AT"]),
    ] {
        for (log, struck) in &written(folder.path(), 1, seed, sets) {
            let (causes, _) = causes_of(folder.path(), log, struck);
            assert_eq!(causes[0]["cause"], "type-aliasing", "{log}");
        }
    }
}

#[test]
fn no_cause_is_confident_that_is_none_of_several() {
    let folder = tempfile::tempdir().expect("the system has room");
    let truth = written(folder.path(), LOGS_OF_EACH, 1, &MIXTURES);
    assert_eq!(truth.len(), MIXTURES.len() * LOGS_OF_EACH);
    let (mut named, mut first) = (0, 0);
    for (log, struck) in &truth {
        let (causes, code) = causes_of(folder.path(), log, struck);
        assert!(!struck.is_empty() || code == 0 || log.starts_with(['R', 'L']));
        if let Some(cause) = causes.first() {
            named += 1;
            first += u32::from(struck.iter().any(|it| cause["cause"] == it.as_str()));
        }
    }
    println!("{first} of {named} have one of their causes first");
    assert!(
        named > 150 && first * 100 >= named * 80,
        "{first} of {named}"
    );
}
