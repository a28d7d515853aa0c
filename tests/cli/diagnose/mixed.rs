//! Logs in which several things go wrong at once, of programs that share no code with heisenbed:
//! no cause may be confident that is not among them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::common::run_json;

/// Some of the causes at once, by the letters of `tests/programs/mixed_logs.py`.
const MIXTURES: [&str; 29] = [
    "-", "R", "L", "D", "K", "A", "P", "T", "RD", "RL", "RK", "LD", "DA", "RA", "LA", "RDL", "RAL",
    "KL", "KD", "KA", "RP", "LP", "DP", "AP", "RT", "LT", "DT", "KT", "RKD",
];
const LOGS_OF_EACH: usize = 8;

#[test]
fn no_cause_is_confident_that_is_none_of_several() {
    let folder = tempfile::tempdir().expect("the system has room");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/mixed_logs.py");
    let written = Command::new("python3")
        .arg(script)
        .arg(folder.path())
        .args([&LOGS_OF_EACH.to_string(), "1"])
        .args(MIXTURES)
        .status();
    assert!(written.expect("python3 is there").success());
    let truth = std::fs::read(folder.path().join("truth.json")).expect("it was written");
    let truth: BTreeMap<String, Vec<String>> = serde_json::from_slice(&truth).expect("it is JSON");
    assert_eq!(truth.len(), MIXTURES.len() * LOGS_OF_EACH);
    let (mut named, mut first) = (0, 0);
    for (log, struck) in &truth {
        let file = folder.path().join(log);
        let (diagnosis, code) = run_json(&format!("diagnose {}", file.display()));
        let causes = diagnosis["causes"].as_array().expect("a list");
        for cause in causes {
            let is_struck = struck.iter().any(|it| cause["cause"] == it.as_str());
            let is_confident = cause["confident"].as_bool().expect("it says");
            assert!(is_struck || !is_confident, "{log}: {struck:?}: {causes:?}");
        }
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
