//! A failing schedule that was saved fails again: each time, elsewhere, and a program that changed
//! is named.

use std::path::Path;
use std::process::{Command, Output};

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
    let output = heisenbed(
        &["replay", "a.toml", "--adapt", "--format", "json"],
        home.path(),
    );
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("it did not fail"), "{text}");
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
