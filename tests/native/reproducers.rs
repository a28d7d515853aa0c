//! A failing schedule that was saved fails again: each time, elsewhere, and a program that changed
//! is named.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::programs::{binary, folder, instrumented, path, plain, run};

fn heisenbed(arguments: &[&str], folder: &Path) -> Output {
    Command::new(binary())
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

#[test]
fn a_saved_schedule_fails_again_each_time() {
    let home = tempfile::tempdir().unwrap();
    let away = tempfile::tempdir().unwrap();
    for (built, name) in [
        (plain(), "abba"),
        (plain(), "uncaught-exception"),
        (plain(), "foreign-unlock"),
        (instrumented(), "account"),
        (instrumented(), "wsq"),
    ] {
        let file = home.path().join(format!("{name}.toml"));
        let file = file.to_str().unwrap();
        let found = run(
            &["--schedules", "2000", "--save", file],
            &[&path(built, name)],
        );
        assert_eq!(found.json["repeats"], true, "{name}: {}", found.json);
        for round in 0..10 {
            let output = heisenbed(&["replay", file, "--format", "json"], away.path());
            let text = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(0), "{name} {round}: {text}");
        }
        let shrunk = home.path().join(format!("{name}-small.toml"));
        let shrunk = shrunk.to_str().unwrap();
        let output = heisenbed(&["shrink", file, "-o", shrunk, "-q"], away.path());
        assert_eq!(output.status.code(), Some(0), "{name}");
        let output = heisenbed(&["replay", shrunk], away.path());
        assert_eq!(output.status.code(), Some(0), "{name}");
    }
}

#[test]
fn a_program_that_was_changed_is_named() {
    let home = tempfile::tempdir().unwrap();
    let source = folder().join("planted/abba.c");
    let program = home.path().join("abba");
    let compile = |flags: &[&str]| {
        let status = Command::new("cc")
            .args(["-g", "-O1", "-pthread", "-Wl,--build-id", "-o"])
            .arg(&program)
            .arg(&source)
            .args(flags)
            .status()
            .unwrap();
        assert!(status.success());
    };
    compile(&[]);
    let found = run(
        &["--save", home.path().join("a.toml").to_str().unwrap()],
        &[program.to_str().unwrap()],
    );
    assert_eq!(found.kind(), Some("deadlock"));
    compile(&["-DFIXED"]);
    let output = heisenbed(&["replay", "a.toml"], home.path());
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("was changed since"), "{said}");
    // It is fixed: the failure is gone.
    let adapt = ["replay", "a.toml", "--adapt", "--format", "json"];
    let output = heisenbed(&adapt, home.path());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let adapted: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(adapted["verdict"], "clean", "{adapted}");
    assert_eq!(adapted["program_changed"], true, "{adapted}");
    assert!(
        adapted["followed"].as_u64() < adapted["recorded"].as_u64(),
        "{adapted}"
    );
    // Another change, which mends nothing.
    compile(&["-DUNRELATED", "-O2"]);
    let output = heisenbed(&adapt, home.path());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let adapted: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(adapted["verdict"], "diverged", "{adapted}");
    assert_eq!(adapted["failure"]["kind"], "deadlock", "{adapted}");
}

#[test]
fn the_smallest_run_of_a_deadlock_is_the_deadlock_that_was_found() {
    let program = path(plain(), "two-deadlocks");
    let told = |seed: u64, options: &[&str]| {
        let output = Command::new(binary())
            .args(["run", "-q", "--strategy", "random", "--seed"])
            .arg(seed.to_string())
            .args(options)
            .args(["--", &program])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let is_rare = |text: &str| text.contains("waits for rare");
    let seeds = (1..=40).filter(|seed| is_rare(&told(*seed, &["--no-shrink"])));
    let seeds: Vec<u64> = seeds.take(3).collect();
    assert_eq!(seeds.len(), 3, "the rare deadlock was hardly found");
    for seed in seeds {
        let small = told(seed, &[]);
        assert!(
            is_rare(&small) && !small.contains("waits for easy"),
            "{small}"
        );
        // The easy one takes a preemption less.
        assert!(small.contains("with 2 preemptions"), "{small}");
    }
}

#[test]
fn a_file_of_another_kind_is_not_replaced() {
    let home = tempfile::tempdir().unwrap();
    let mine = home.path().join("mine.toml");
    std::fs::write(&mine, "title = \"mine\"\n").unwrap();
    let found = run(
        &["--save", mine.to_str().unwrap()],
        &[&path(plain(), "abba")],
    );
    assert_eq!(found.code, 2);
    assert_eq!(
        std::fs::read_to_string(&mine).unwrap(),
        "title = \"mine\"\n"
    );
}

#[test]
fn a_reproducer_that_is_cut_or_malformed_is_an_error_that_names_it() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("r.toml");
    let found = run(
        &["--save", file.to_str().unwrap()],
        &[&path(plain(), "abba")],
    );
    assert_eq!(found.kind(), Some("deadlock"));
    let whole = std::fs::read_to_string(&file).unwrap();
    for end in (20..whole.len() - 1).step_by(7) {
        std::fs::write(&file, &whole[..end]).unwrap();
        let output = heisenbed(&["replay", "r.toml"], home.path());
        let said = String::from_utf8_lossy(&output.stderr);
        // A number that lost its last digits is still a number.
        let code = output.status.code();
        assert!(code == Some(2) || code == Some(0), "{end}: {code:?} {said}");
        assert!(code == Some(0) || said.contains("r.toml"), "{end}: {said}");
    }
}
