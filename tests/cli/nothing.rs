//! A property of every command that gives a verdict: where there was nothing to look at, or not
//! all of it was looked at, it is not clean, and its exit status is not 0.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::{heisenbed, record_diverged, run, run_json};

/// What such a command printed as JSON, and how it ended.
fn assert_says_nothing(what: &str, stdout: &[u8], code: Option<i32>) {
    let text = String::from_utf8_lossy(stdout);
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{what}: {text:?}"));
    match code {
        Some(2) => assert!(value["error"].is_string(), "{what}: {text}"),
        Some(3) => {
            assert_eq!(value["verdict"], "inconclusive", "{what}: {text}");
            let why = ["note", "interrupted", "idle", "complete", "answer"];
            assert!(
                why.iter().any(|key| !value[*key].is_null()),
                "{what}: {text}"
            );
        }
        // What was found stands, however little was looked at.
        Some(1) => assert_ne!(value["verdict"], "clean", "{what}: {text}"),
        code => panic!("{what} ends with {code:?}: {text}"),
    }
}

fn assert_nothing(words: &str) {
    let output = run(&format!("{words} --format json --quiet"));
    assert_says_nothing(words, &output.stdout, output.status.code());
}

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    fs::write(&path, content).expect("writable");
    path.display().to_string()
}

#[test]
fn work_without_anything_to_check_is_not_clean() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let idle = write(
        folder,
        "idle.toml",
        "name = \"idle\"\n[workload]\nscript = [[], []]\n",
    );
    let full = write(
        folder,
        "full.toml",
        "name = \"full\"\nprofile = \"custom:1x32\"\n[workload]\nmemories = { dram = 1, l1 = 1 }\n",
    );
    for scenario in [&idle, &full] {
        for command in [
            "stress --ops 10",
            "stress --ops 10 --record none",
            "stress --ops 10 --runs 3",
            "explore",
            "explore --strategy random --schedules 5",
            "explore --strategy pct --schedules 5",
            "explore --strategy urw --schedules 5",
        ] {
            assert_nothing(&format!("{command} --scenario {scenario}"));
        }
        assert_nothing(&format!(
            "campaign prove --scenario {scenario} --out {}",
            folder.join("proof").display()
        ));
        assert_nothing(&format!(
            "matrix --workload {scenario} --discipline claimed-wide"
        ));
    }
    let alone = write(
        folder,
        "alone.toml",
        "name = \"alone\"\nthreads = 1\nops = 4\n[workload]\nscript = [[\"alloc s0 l1 64\", \"free s0\"]]\n",
    );
    assert_nothing(&format!(
        "matrix --workload {alone} --discipline claimed-wide"
    ));
    let out = |name: &str| folder.join(name).display().to_string();
    assert_nothing(&format!(
        "campaign run --units 0 --corpus none --out {}",
        out("a")
    ));
    assert_nothing(&format!(
        "campaign run --duration 0s --corpus none --out {}",
        out("b")
    ));
    assert_nothing(&format!(
        "campaign run --units 1 --corpus nodir --out {}",
        out("c")
    ));
    assert_nothing(&format!(
        "campaign run --units 4 --corpus none --workload {full} --discipline claimed-wide --out {}",
        out("d")
    ));
    assert_nothing("matrix --ops 0");
    assert_nothing("matrix --ops 1 --workload own-buffers --discipline claimed-wide");
    assert_nothing("diagnose --calibrate --runs 0");
    assert_nothing("zoo bench --defect inverted-lock-order --engine fuzz --seeds 0");
}

#[test]
fn inputs_that_hold_nothing_are_not_clean() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let empty_folder = folder.join("corpus");
    fs::create_dir(&empty_folder).expect("a folder");
    assert_nothing(&format!("corpus run --dir {}", empty_folder.display()));
    assert_nothing(&format!(
        "corpus run --dir {}",
        folder.join("none").display()
    ));
    assert_nothing(&format!(
        "campaign merge {} --out {}",
        empty_folder.display(),
        folder.join("m").display()
    ));
    let empty = write(folder, "empty", "");
    let blank = write(folder, "blank.log", "\n\n");
    let text = write(folder, "text.toml", "");
    for file in [&empty, &blank, &text] {
        for command in ["check", "diagnose", "replay", "shrink", "zoo table"] {
            assert_nothing(&format!("{command} {file}"));
        }
    }
    // An import of nothing, where one was made.
    let log = folder.join("log.hb").display().to_string();
    run(&format!("import server-log {blank} -o {log} --quiet"));
    if Path::new(&log).exists() {
        for command in ["check", "diagnose"] {
            assert_nothing(&format!("{command} {log}"));
        }
    }
    let rmm = write(
        folder,
        "rmm.csv",
        "Thread,Time,Action,Pointer,Size,Stream\n",
    );
    let trace = folder.join("rmm.hb").display().to_string();
    run(&format!("import rmm-log {rmm} -o {trace} --quiet"));
    if Path::new(&trace).exists() {
        for command in ["check", "diagnose"] {
            assert_nothing(&format!("{command} {trace}"));
        }
        assert_nothing(&format!("stress --workload import:{trace}"));
        assert_nothing(&format!("explore --workload import:{trace}"));
    }
}

#[test]
fn what_is_cut_is_not_clean() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let whole = folder.join("whole.hb").display().to_string();
    // Several blocks a stream.
    run(&format!(
        "stress --threads 2 --ops 20000 --quiet --record {whole}"
    ));
    assert_eq!(
        run(&format!("check {whole} --quiet")).status.code(),
        Some(0)
    );
    let bytes = fs::read(&whole).expect("it was recorded");
    let cuts = (0..24).map(|k| bytes.len() * k / 24);
    for length in cuts.chain([bytes.len() - 1, bytes.len() - 40]) {
        let cut = write(folder, "cut.hb", &bytes[..length]);
        for command in ["check", "diagnose", "replay", "shrink"] {
            assert_nothing(&format!("{command} {cut}"));
        }
    }
    for words in [
        "explore --max-states 10",
        "explore --threads 8 --ops 60 --discipline unlocked --duration 100ms",
        "explore --strategy random --schedules 5 --max-steps 10",
        "matrix --workload handoff --discipline claimed-wide --max-states 10",
        "stress --ops 50000000 --duration 200ms",
        "stress --ops 50000000 --duration 200ms --record none",
    ] {
        assert_nothing(words);
    }
    assert_nothing(&format!(
        "campaign prove --max-states 10 --out {}",
        folder.join("part").display()
    ));
}

#[test]
fn a_replay_of_what_is_cut_is_undecided_whatever_it_shows() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = folder.path().join("whole.hb");
    record_diverged("--defect free-first-gap --perturb --ops 400", &whole);
    let whole = whole.display().to_string();
    let bytes = fs::read(&whole).expect("it was recorded");
    let cut = write(folder.path(), "cut.hb", &bytes[..bytes.len() - 1]);
    let codes = |command: &str| [&whole, &cut].map(|file| run_json(&format!("{command} {file}")).1);
    assert_eq!(codes("check"), [1, 1], "what diverged is certain");
    assert_eq!(codes("replay"), [0, 3]);
}

#[test]
fn what_is_interrupted_is_not_clean() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let long = [
        "stress --ops 100000000".to_owned(),
        "stress --ops 1000 --runs 10000000".to_owned(),
        "stress --ops 1000 --duration 1h30m".to_owned(),
        "explore --threads 8 --ops 60 --discipline unlocked".to_owned(),
        "explore --strategy random --schedules 1000000000".to_owned(),
        "explore --strategy pct --schedules 1000000000 --workers 2".to_owned(),
        "matrix --threads 3 --ops 8 --discipline claimed-wide".to_owned(),
        "diagnose --calibrate --runs 100000".to_owned(),
        format!("campaign run --duration 1h --corpus none --out {}", at("night")),
        format!("campaign prove --threads 8 --ops 60 --discipline unlocked --out {}", at("part")),
        "zoo bench --engine pct --defect unsynchronised-lazy-connect --budget 1h --twin-schedules 0 --twin-runs 0"
            .to_owned(),
    ];
    for words in long {
        let arguments: Vec<&str> = words.split(' ').collect();
        let child = heisenbed(&arguments)
            .args(["--format", "json", "--quiet"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        // It catches signals before it begins to work.
        std::thread::sleep(Duration::from_millis(400));
        kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
        let output = child.wait_with_output().expect("it ends");
        assert_says_nothing(&words, &output.stdout, output.status.code());
    }
}

#[test]
fn ctrl_c_tells_how_many_runs_were_clean() {
    let mut child = heisenbed(&["stress", "--ops", "200", "--runs", "10000000", "--quiet"]);
    let child: &mut Command = child.stdout(Stdio::piped());
    let child = child.spawn().expect("the program starts");
    std::thread::sleep(Duration::from_millis(700));
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(
        said.contains("inconclusive: interrupted: ")
            && said.contains("of 10,000,000 came to their end, all clean"),
        "{said}"
    );
}
