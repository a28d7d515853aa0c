//! Programs that tell a tracking server what their allocator does: what the server reconstructs is
//! held against the truth in every schedule.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::programs::{Ran, Row, binary, folder, instrumented, path, plain, rows, run};

/// The options that a program needs.
fn options(row: &Row) -> Vec<&'static str> {
    match row.name.as_str() {
        "tracked-dontwait" => vec!["--tracking", "--room", "100"],
        _ => vec!["--tracking"],
    }
}

fn tracked(options: &[&str], more: &[&str], program: &[&str]) -> Ran {
    run(&[options, more].concat(), program)
}

#[test]
fn each_wrong_program_is_found_by_each_seed_and_its_twin_is_not_accused() {
    for row in rows("tracked") {
        let options = options(&row);
        for strategy in ["random", "pos"] {
            for seed in ["1", "2", "3"] {
                let more = ["--strategy", strategy, "--seed", seed, "--schedules", "100"];
                let more = [&more[..], &["--no-shrink"]].concat();
                let found = tracked(&options, &more, &[&path(plain(), &row.name)]);
                assert_eq!(
                    found.json["verdict"], "diverged",
                    "{}: {}",
                    row.name, found.json
                );
                // After a torn frame there is nothing left to compare.
                let check = found.json["check"].as_str();
                let is_torn = row.name == "tracked-halves";
                assert!(
                    is_torn || check == Some("exact"),
                    "{}: {}",
                    row.name,
                    found.json
                );
                assert_eq!(found.code, 1);
            }
        }
        let found = tracked(
            &options,
            &["--schedules", "100"],
            &[&path(plain(), &row.name)],
        );
        assert_eq!(
            found.kind(),
            row.fails.as_deref(),
            "{}: {}",
            row.name,
            found.json
        );
        assert_eq!(found.json["repeats"], true, "{}: {}", row.name, found.json);
        let twin = path(plain(), row.twin.as_deref().unwrap());
        let twin = tracked(&options, &["--schedules", "300"], &[&twin]);
        assert_eq!(twin.json["verdict"], "clean", "{}: {}", row.name, twin.json);
        assert_eq!(twin.json["check"], "exact", "{}", row.name);
        assert!(twin.json["messages"].as_u64() > Some(0), "{}", row.name);
    }
}

#[test]
fn how_the_server_counts_decides_what_a_race_looks_like() {
    let program = path(plain(), "tracked-buffers");
    for (semantics, kind) in [
        ("refcount", "stale-metadata"),
        ("overwrite", "duplicate-alloc"),
        ("typed", "duplicate-alloc"),
    ] {
        let options = ["--tracking", "--semantics", semantics];
        let found = tracked(&options, &["--no-shrink"], &[&program]);
        assert_eq!(found.kind(), Some(kind), "{semantics}: {}", found.json);
        let options = [&options[..], &["--layout", "112", "--devices", "1"]].concat();
        let same = tracked(&options, &["--no-shrink"], &[&program]);
        assert_eq!(same.json["failure"], found.json["failure"], "{semantics}");
    }
}

#[test]
fn a_divergence_that_was_saved_comes_again_each_time() {
    let home = tempfile::tempdir().unwrap();
    for row in rows("tracked") {
        let file = home.path().join(format!("{}.toml", row.name));
        let file = file.to_str().unwrap();
        let more = ["--save", file];
        let found = tracked(&options(&row), &more, &[&path(plain(), &row.name)]);
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.contains("[tracking]"), "{text}");
        assert!(text.contains(found.kind().unwrap()), "{text}");
        // Each replay reads the program's debug information anew.
        for round in 0..3 {
            let output = Command::new(binary())
                .args(["replay", file, "--format", "json"])
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(
                output.status.code(),
                Some(0),
                "{} {round}: {said}",
                row.name
            );
        }
    }
}

#[test]
fn the_timeline_says_what_was_sent_and_what_the_server_made_of_it() {
    let output = Command::new(binary())
        .args([
            "run",
            "-q",
            "--tracking",
            "--",
            &path(plain(), "tracked-handoff"),
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for said in [
        "unknown-free: the server was told to free a buffer it did not know: device 0, l1, 0x1000",
        "check: exact",
        "allocator hands out 0x1000 (device 0, l1, 4,096 bytes)  Allocator::allocate (tracked.h:",
        "FREE 0x1000 (device 0) → unknown buffer  ← unknown-free  Client::send (tracked.h:",
        "ALLOC 0x1000 (device 0, l1, 4,096 bytes) → live",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn the_server_answers_in_every_schedule_and_nothing_of_the_real_path_is_touched() {
    let program = path(plain(), "tracked-asks");
    let real = Path::new("/tmp/tt_allocation_server.sock");
    let was_there = real.exists();
    let ran = tracked(&["--tracking"], &["--schedules", "200"], &[&program]);
    assert_eq!(ran.json["verdict"], "clean", "{}", ran.json);
    assert_eq!(real.exists(), was_there);
    for strategy in ["observe", "perturb"] {
        let more = ["--strategy", strategy, "--schedules", "20"];
        let ran = tracked(&["--tracking"], &more, &[&program]);
        assert_eq!(ran.json["verdict"], "clean", "{strategy}: {}", ran.json);
        assert_eq!(ran.json["check"], "exact", "{strategy}: {}", ran.json);
    }
}

#[test]
fn the_same_seed_gives_the_same_schedules_and_the_same_divergences() {
    let program = path(plain(), "tracked-connections");
    let more = [
        "--schedules",
        "60",
        "--keep-going",
        "--no-shrink",
        "--seed",
        "9",
    ];
    let ran = || tracked(&["--tracking"], &more, &[&program]);
    let (first, second) = (ran(), ran());
    for key in [
        "failures",
        "divergences",
        "messages",
        "steps",
        "first",
        "failure",
    ] {
        assert_eq!(first.json[key], second.json[key], "{key}");
    }
    assert!(first.json["failures"].as_u64() > Some(0));
}

#[test]
fn without_truth_messages_are_held_against_each_other_and_that_is_said() {
    let found = tracked(
        &["--tracking"],
        &["--no-shrink"],
        &[&path(plain(), "tracked-mute")],
    );
    assert_eq!(found.json["verdict"], "diverged", "{}", found.json);
    assert_eq!(found.json["check"], "messages");
    let program = path(plain(), "tracked-mute-fixed");
    let twin = tracked(&["--tracking"], &["--schedules", "200"], &[&program]);
    assert_eq!(twin.json["verdict"], "inconclusive");
    assert_eq!(twin.code, 0, "a weak check was all that was asked for");
    let note = twin.json["note"].as_str().unwrap();
    assert!(note.contains("do not contradict each other"), "{note}");
}

#[test]
fn what_was_not_checked_is_said_and_is_not_clean() {
    let program = path(plain(), "tracked-odd");
    for (how, options, note) in [
        ("silent", vec![], "never connected"),
        ("mute", vec![], "sent no message"),
        ("rubbish", vec![], "do not fit layout"),
        ("half", vec![], "no whole message"),
        ("flood", vec![], "more than 64 MiB"),
        ("many", vec![], "more than 64 connections"),
        ("plain", vec!["--layout", "648"], "no whole message"),
        (
            "plain",
            vec!["--probe-symbol", "no_such"],
            "exports no such function",
        ),
        ("plain", vec!["--probe", "exit 3"], "exit status: 3"),
        ("plain", vec!["--probe", "echo 0 l7 1"], "is no total"),
    ] {
        let more = [&options[..], &["--schedules", "3"]].concat();
        let ran = tracked(&["--tracking"], &more, &[&program, how]);
        assert_eq!(ran.json["verdict"], "inconclusive", "{how}: {}", ran.json);
        let said = ran.json["note"].as_str().unwrap_or_default();
        assert!(said.contains(note), "{how}: {said}");
        assert_eq!(ran.code, 3, "{how}");
    }
    let elsewhere = tracked(
        &["--tracking", "/tmp/another.sock"],
        &[],
        &[&program, "plain"],
    );
    assert_eq!(elsewhere.kind(), Some("exit-status"), "{}", elsewhere.json);
}

#[test]
fn a_client_that_waits_for_an_answer_that_never_comes_is_a_deadlock() {
    let program = path(plain(), "tracked-odd");
    let ran = tracked(
        &["--tracking"],
        &["--schedules", "2"],
        &[&program, "unanswered"],
    );
    assert_eq!(ran.kind(), Some("deadlock"), "{}", ran.json);
    let crash = tracked(
        &["--tracking"],
        &["--schedules", "2"],
        &[&program, "killed"],
    );
    assert_eq!(crash.kind(), Some("crash"), "{}", crash.json);
}

#[test]
fn totals_are_asked_of_a_probe() {
    // Without annotations, so that totals are all that is known.
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("odd");
    compile(&["tracked/odd.cpp"], &program, &["-rdynamic"]);
    let program = program.to_str().unwrap();
    for (how, options, verdict) in [
        ("plain", ["--probe-symbol", "report_totals"], "clean"),
        (
            "wrong-total",
            ["--probe-symbol", "report_totals"],
            "diverged",
        ),
        ("plain", ["--probe", "echo 0 l1 4096"], "clean"),
        (
            "plain",
            ["--probe", "echo 0 l1 64; echo 0 dram 0"],
            "diverged",
        ),
    ] {
        let more = [&options[..], &["--schedules", "3"]].concat();
        let ran = tracked(&["--tracking"], &more, &[program, how]);
        assert_eq!(
            ran.json["verdict"], verdict,
            "{how} {options:?}: {}",
            ran.json
        );
        assert_eq!(
            ran.json["check"], "totals",
            "{how} {options:?}: {}",
            ran.json
        );
    }
}

/// Builds a program of C++ here, with what it needs of others.
fn compile(sources: &[&str], into: &Path, flags: &[&str]) {
    let status = Command::new("g++")
        .args(["-std=c++20", "-O1", "-g", "-pthread"])
        .args(sources.iter().map(|source| folder().join(source)))
        .arg("-o")
        .arg(into)
        .args(flags)
        .status()
        .unwrap();
    assert!(status.success(), "{sources:?}");
}

/// The allocator as a library, a program that uses it, and its twin.
fn pooled(home: &Path, defines: &[&str]) -> (PathBuf, PathBuf) {
    let library = home.join("libpool.so");
    compile(&["tracked/pool.cpp"], &library, &["-shared", "-fPIC"]);
    let rpath = format!("-Wl,-rpath,{}", home.display());
    let program = |name: &str, more: &[&str]| {
        let program = home.join(name);
        let flags = [defines, more, &[library.to_str().unwrap(), &rpath]].concat();
        compile(&["tracked/pooled.cpp"], &program, &flags);
        program
    };
    (
        program("pooled", &[]),
        program("pooled-fixed", &["-DFIXED"]),
    )
}

const FUNCTIONS: &str = r#"
    [[symbol]]
    does = "allocate"
    symbol = "pool_allocate"
    device = { argument = 0, bits = 32 }
    memory = { value = 1 }
    size = { argument = 1 }
    address = "return"
    fails = 0

    [[symbol]]
    does = "release"
    symbol = "pool_release"
    device = { argument = 0, bits = 32 }
    memory = { value = 1 }
    address = { argument = 1 }
"#;

const METHODS: &str = r#"
    [[symbol]]
    does = "allocate"
    symbol = "_ZN4Pool7reserveEmiPm"
    device = { argument = 2, bits = 32 }
    memory = { value = 1 }
    size = { argument = 1 }
    address = { pointer = 3 }
    fails = 0

    [[symbol]]
    does = "release"
    symbol = "_ZN4Pool9give_backEmi"
    device = { argument = 2, bits = 32 }
    memory = { value = 1 }
    address = { argument = 1 }
    when = "return"
"#;

#[test]
#[cfg(target_arch = "x86_64")]
fn the_truth_comes_from_functions_by_their_names_without_a_change_of_source() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("symbols.toml");
    for (symbols, defines) in [(FUNCTIONS, &[][..]), (METHODS, &["-DVIRTUAL"])] {
        std::fs::write(&file, symbols).unwrap();
        let (wrong, right) = pooled(home.path(), defines);
        let options = ["--tracking", "--truth-symbols", file.to_str().unwrap()];
        let save = home.path().join("found.toml");
        let more = ["--save", save.to_str().unwrap(), "--force"];
        let found = tracked(&options, &more, &[wrong.to_str().unwrap()]);
        assert_eq!(found.json["verdict"], "diverged", "{}", found.json);
        assert_eq!(found.json["check"], "exact", "{}", found.json);
        let output = Command::new(binary())
            .arg("replay")
            .arg(&save)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0));
        let twin = tracked(
            &options,
            &["--schedules", "200"],
            &[right.to_str().unwrap()],
        );
        assert_eq!(twin.json["verdict"], "clean", "{}", twin.json);
        assert!(twin.json["ops"].as_u64() > Some(0));
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_function_that_cannot_be_seen_is_named_and_nobody_is_accused() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("symbols.toml");
    let options = ["--tracking", "--truth-symbols", file.to_str().unwrap()];
    let (_, right) = pooled(home.path(), &[]);
    let direct = home.path().join("direct");
    compile(
        &["tracked/pooled.cpp", "tracked/pool.cpp"],
        &direct,
        &["-DFIXED"],
    );
    for (symbols, program, note) in [
        (
            FUNCTIONS.replace("pool_allocate", "no_such"),
            &right,
            "no_such is called through no",
        ),
        (
            METHODS.to_owned(),
            &right,
            "none of --truth-symbols was ever called",
        ),
        (
            FUNCTIONS.to_owned(),
            &direct,
            "pool_allocate is called through no",
        ),
    ] {
        std::fs::write(&file, symbols).unwrap();
        let ran = tracked(
            &options,
            &["--schedules", "3"],
            &[program.to_str().unwrap()],
        );
        assert_eq!(ran.json["verdict"], "inconclusive", "{}", ran.json);
        let said = ran.json["note"].as_str().unwrap_or_default();
        assert!(said.contains(note), "{said}");
        assert_eq!(ran.code, 3);
    }
    std::fs::write(&file, "[[symbol]]\ndoes = 3\n").unwrap();
    let ran = tracked(&options, &[], &[right.to_str().unwrap()]);
    assert_eq!(ran.code, 2, "{}", ran.json);
}

#[test]
fn all_schedules_prove_nothing_of_messages_that_were_never_sent() {
    let program = path(instrumented(), "deadlock-fixed");
    let proved = run(&["--strategy", "exhaustive"], &[&program]);
    assert_eq!(proved.json["verdict"], "proved", "{}", proved.json);
    let tracked = run(&["--strategy", "exhaustive", "--tracking"], &[&program]);
    let verdict = (tracked.code, &tracked.json["verdict"]);
    assert_eq!(verdict, (3, &"inconclusive".into()), "{}", tracked.json);
    let note = tracked.json["note"].to_string();
    assert!(note.contains("never connected"), "{note}");
}
