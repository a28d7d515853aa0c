//! Run units of a campaign: programs of one's own.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::programs::{binary, instrumented, path, plain};

fn campaign(home: &Path, out: &str, options: &[&str]) -> Output {
    let looks = options.contains(&"--canary-budget");
    let no_canaries: &[&str] = if looks {
        &[]
    } else {
        &["--canary-budget", "0"]
    };
    Command::new(binary())
        .args(["campaign", "run", "-q", "--format", "json"])
        .args(["--seed", "5", "--corpus", "none"])
        .args(no_canaries)
        .args(["--weights", "run=1", "--program", "programs.toml"])
        .args(["--out", out])
        .args(options)
        .current_dir(home)
        .output()
        .unwrap()
}

/// Two that fail, and the twin of one.
fn list(home: &Path) {
    let programs = [
        path(plain(), "abba"),
        path(plain(), "abba-fixed"),
        path(instrumented(), "reorder-3"),
    ];
    let mut text = String::new();
    for program in programs {
        text += &format!(
            "[[program]]\npath = \"{program}\"\nschedules = 150\nstrategies = [\"mix\", \"pos\"]\n"
        );
    }
    std::fs::write(home.join("programs.toml"), text).unwrap();
}

fn summary(home: &Path, out: &str) -> Value {
    let text = std::fs::read_to_string(home.join(out).join("summary.json")).unwrap();
    let mut summary: Value = serde_json::from_str(&text).unwrap();
    summary["elapsed_s"] = Value::Null;
    summary
}

#[test]
fn each_failure_is_reported_once_with_a_reproducer_and_no_twin_is_accused() {
    let home = tempfile::tempdir().unwrap();
    list(home.path());
    let output = campaign(home.path(), "out", &["--units", "12"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let summary = summary(home.path(), "out");
    let causes = summary["causes"].as_array().unwrap();
    let told: Vec<(&str, &str)> = causes
        .iter()
        .map(|cause| {
            (
                cause["kind"].as_str().unwrap(),
                cause["discipline"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [("deadlock", "run abba"), ("abort", "run reorder-3")];
    assert_eq!(told, expected, "{causes:?}");
    for cause in causes {
        assert_eq!(cause["units"], 4, "{cause}");
        assert!(
            cause["deciding"].as_str().unwrap().contains(".c:"),
            "{cause}"
        );
        let file = home.path().join("out");
        let file = file.join(cause["reproducer"].as_str().unwrap());
        let replayed = Command::new(binary())
            .arg("replay")
            .arg(file)
            .output()
            .unwrap();
        assert_eq!(replayed.status.code(), Some(0), "{replayed:?}");
    }
    let junit = std::fs::read_to_string(home.path().join("out/junit.xml")).unwrap();
    assert!(junit.contains("run abba-fixed"), "{junit}");
}

#[test]
fn units_in_two_nights_or_by_several_workers_come_to_the_same() {
    let home = tempfile::tempdir().unwrap();
    list(home.path());
    campaign(home.path(), "whole", &["--units", "8"]);
    campaign(home.path(), "parts", &["--units", "3"]);
    campaign(home.path(), "parts", &["--units", "8"]);
    campaign(home.path(), "workers", &["--units", "8", "--workers", "3"]);
    let whole = summary(home.path(), "whole");
    assert_eq!(summary(home.path(), "parts"), whole);
    assert_eq!(summary(home.path(), "workers"), whole);
}

#[test]
fn a_list_that_is_wrong_is_named_with_what_is() {
    let home = tempfile::tempdir().unwrap();
    let abba = path(plain(), "abba");
    for (text, word) in [
        (String::new(), "program"),
        ("program = []".to_owned(), "no [[program]]"),
        ("[[program]]\npath = \"./nowhere\"".to_owned(), "nowhere"),
        (
            format!("[[program]]\npath = \"{abba}\"\ncolour = 1"),
            "colour",
        ),
        (
            format!("[[program]]\npath = \"{abba}\"\nstrategies = [\"best\"]"),
            "best",
        ),
        (
            format!("[[program]]\npath = \"{abba}\"\n[[program]]\npath = \"{abba}\""),
            "two programs",
        ),
        (
            format!("[[program]]\npath = \"{abba}\"\nschedules = 0"),
            "schedules = 0",
        ),
        (
            format!("[[program]]\npath = \"{abba}\"\ndata_races = \"perhaps\""),
            "perhaps",
        ),
    ] {
        std::fs::write(home.path().join("programs.toml"), &text).unwrap();
        let output = campaign(home.path(), "out", &["--units", "1"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}: {said}");
        assert!(said.contains(word), "{text}: {said}");
        assert!(said.contains("programs.toml"), "{text}: {said}");
    }
}

#[test]
fn data_races_are_looked_for_unless_they_are_to_be_ignored() {
    let home = tempfile::tempdir().unwrap();
    let racy = path(instrumented(), "data-race");
    let list = |more: &str| {
        let text = format!("[[program]]\npath = \"{racy}\"\nschedules = 40\n{more}");
        std::fs::write(home.path().join("programs.toml"), text).unwrap();
    };
    list("");
    let output = campaign(home.path(), "out", &["--units", "2"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let found = summary(home.path(), "out");
    let [cause] = &found["causes"].as_array().unwrap()[..] else {
        panic!("{}", found["causes"])
    };
    assert_eq!(cause["kind"], "data-race", "{cause}");
    // Both places.
    let places = cause["deciding"].as_str().unwrap();
    assert!(places.matches("data_race.c:").count() == 2, "{places}");
    let file = cause["reproducer"].as_str().unwrap();
    let replayed = Command::new(binary())
        .arg("replay")
        .arg(home.path().join("out").join(file))
        .output()
        .unwrap();
    assert_eq!(replayed.status.code(), Some(0), "{replayed:?}");
    list("data_races = \"ignore\"");
    campaign(home.path(), "ignored", &["--units", "2"]);
    let found = summary(home.path(), "ignored");
    assert_eq!(found["causes"].as_array().unwrap().len(), 0, "{found}");
}

#[test]
fn run_units_have_canaries_and_each_is_found() {
    let home = tempfile::tempdir().unwrap();
    list(home.path());
    campaign(
        home.path(),
        "out",
        &["--units", "1", "--canary-budget", "300"],
    );
    let found = summary(home.path(), "out");
    let canaries = found["canaries"].as_array().unwrap();
    let of_runs: Vec<&Value> = canaries
        .iter()
        .filter(|one| one["engine"] == "run")
        .collect();
    assert_eq!(of_runs.len(), 4, "{canaries:?}");
    for canary in of_runs {
        assert_eq!(canary["found"], true, "{canary}");
    }
}
