//! The command line as scripts use it: exit codes, JSON, and what each built-in scenario must show.

use std::collections::BTreeMap;

use crate::common::{KEYS, RUN_LIMIT, discipline_text, heisenbed, run, run_json};
use heisenbed::scenario::ScenarioFile;
use heisenbed::scenario::op::Op;
use serde_json::{Value, json};

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no count"))
}

/// Asserts that the command finds nothing, and returns its JSON.
fn clean(words: &str) -> Value {
    let (json, code) = run_json(words);
    assert_eq!(
        (&json["verdict"], code),
        (&json!("clean"), 0),
        "{words}: {json}"
    );
    assert_eq!(json["divergences"], json!({}), "{words}");
    assert_eq!(json["first"], Value::Null, "{words}");
    json
}

/// Runs the command with one seed after the other until it satisfies `shows`.
fn until(words: &str, shows: impl Fn(&Value) -> bool) -> Value {
    for seed in 0..RUN_LIMIT {
        let (json, code) = run_json(&format!("{words} --seed {seed}"));
        assert_eq!(
            code,
            i32::from(json["verdict"] == "diverged"),
            "{words}: {json}"
        );
        if shows(&json) {
            return json;
        }
    }
    panic!("{words}: no seed shows it")
}

/// Asserts that the command is refused, and that the complaint holds each of `parts`.
fn refused(words: &str, parts: &[&str]) {
    let output = run(words);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{words}: {complaint}");
    assert!(output.stdout.is_empty(), "{words}");
    for part in parts {
        assert!(
            complaint.contains(part),
            "{words}: `{part}` is not in: {complaint}"
        );
    }
}

#[test]
fn stress_without_options_is_clean_exact_and_busy() {
    let json = clean("stress");
    assert_eq!(json["check"], "exact");
    assert!(number(&json["messages"]) > 100_000);
    assert_eq!((number(&json["leaks"]), number(&json["runs"])), (0, 1));
}

#[test]
fn json_has_every_key_that_scripts_rely_on() {
    let (json, code) = run_json(
        "stress --scenario many-devices --discipline lifecycle-array8 --ops 200 --seed 11 --threads 3",
    );
    assert_eq!(code, 1);
    let object = json.as_object().unwrap();
    let missing: Vec<_> = KEYS
        .iter()
        .chain(&["runs", "runs_diverged"])
        .filter(|key| !object.contains_key(**key))
        .collect();
    assert!(missing.is_empty(), "{missing:?} are missing");
    let first = json["first"].as_object().unwrap();
    for key in ["kind", "device", "memory", "address", "thread", "op"] {
        assert!(first.contains_key(key), "first.{key} is missing");
    }
    assert_eq!(
        (&json["seed"], &json["threads"], &json["schedules"]),
        (&json!(11), &json!(3), &json!(1))
    );
}

#[test]
fn each_correct_discipline_is_clean_on_its_workload() {
    // Track-first, late publication, one owner a buffer: correct without any lock.
    for discipline in ["unlocked", "tracker-mutex", "lifecycle-narrow"] {
        clean(&format!(
            "stress --workload handoff --discipline {discipline} --perturb --ops 1500"
        ));
    }
    for discipline in [
        "lifecycle-wide",
        "claimed-wide",
        "global-wide",
        "in-allocator",
        "sequenced",
        "views-first",
    ] {
        clean(&format!(
            "stress --discipline {discipline} --order free-first --perturb --threads 2 --ops 1500"
        ));
    }
    for discipline in ["views-first", "in-allocator", "sequenced"] {
        clean(&format!(
            "stress --workload mixed --discipline {discipline} --perturb --ops 1000"
        ));
    }
    clean("stress --scenario shared-free --perturb --ops 2000");
    clean("stress --discipline claimed-wide --perturb --threads 8 --ops 1000 --devices 32");
}

#[test]
fn wide_locks_stand_early_publication() {
    for discipline in ["lifecycle-wide", "claimed-wide", "global-wide"] {
        clean(&format!(
            "stress --workload handoff --discipline {discipline} --publish early --perturb --ops 1500"
        ));
    }
}

#[test]
fn free_first_diverges_under_no_lock_the_tracker_mutex_and_the_narrow_lock() {
    for discipline in ["unlocked", "tracker-mutex", "lifecycle-narrow"] {
        let (json, code) = run_json(&format!(
            "stress --discipline {discipline} --order free-first --perturb --threads 2 --ops 2000 --runs 6"
        ));
        assert_eq!(
            (code, number(&json["runs"])),
            (1, 6),
            "{discipline}: {json}"
        );
        assert!(number(&json["runs_diverged"]) >= 5, "{discipline}: {json}");
        assert!(
            number(&json["divergences"]["unknown-free"]) > 0,
            "{discipline}: {json}"
        );
    }
}

#[test]
fn a_counting_server_hides_unknown_frees_behind_stale_metadata() {
    let (json, code) = run_json(
        "stress --discipline lifecycle-narrow --order free-first --perturb --threads 2 --ops 2000 --runs 6 \
         --semantics refcount",
    );
    assert_eq!(code, 1);
    assert!(number(&json["divergences"]["stale-metadata"]) > 0, "{json}");
    assert_eq!(json["divergences"]["unknown-free"], Value::Null, "{json}");
}

#[test]
fn the_reported_timeline_diverges_under_the_narrow_lock_and_not_under_the_wide_one() {
    let json = until(
        "stress --scenario reported-timeline --discipline lifecycle-narrow",
        |json| json["verdict"] == "diverged",
    );
    assert_eq!(json["publish"], "early");
    for seed in 0..3 {
        clean(&format!(
            "stress --scenario reported-timeline --discipline lifecycle-wide --seed {seed}"
        ));
    }
}

/// What the scenario's own operations leave live: allocates less releases.
fn planted(name: &str) -> u64 {
    let scenario = ScenarioFile::load(name).unwrap().resolve().unwrap();
    let ops = (0..scenario.threads).flat_map(|thread| scenario.ops_of(thread, 0));
    let sum: i64 = ops
        .map(|op| match op {
            Op::Allocate { .. } => 1,
            Op::Release { .. } => -1,
            _ => 0,
        })
        .sum();
    sum as u64
}

#[test]
fn planted_leaks_are_reported_as_leaks_and_as_nothing_else() {
    let json = clean("stress --scenario real-leak");
    assert_eq!(number(&json["leaks"]), 12);
    let leaked = json["leaked"].as_array().unwrap();
    assert_eq!(leaked.len(), 12);
    assert!(
        leaked.iter().all(|leak| leak["thread"].is_u64()
            && leak["op"].is_u64()
            && leak["size_bytes"].is_u64())
    );
}

#[test]
fn an_exception_leaks_what_its_threads_held_and_a_closed_device_leaks_nothing() {
    let held = planted("exception");
    assert!(held > 0);
    assert_eq!(number(&clean("stress --scenario exception")["leaks"]), held);
    assert!(
        planted("device-close") > 0,
        "nothing is live when the devices are closed"
    );
    assert_eq!(number(&clean("stress --scenario device-close")["leaks"]), 0);
}

#[test]
fn dropped_messages_are_lost_as_often_as_the_client_counted() {
    let json = until("stress --scenario dontwait-loss", |json| {
        number(&json["client_dropped"]) > 0
    });
    assert_eq!(json["divergences"]["lost-message"], json["client_dropped"]);
    let watched = clean("stress --scenario dontwait-loss --debug-log --ops 120");
    assert_eq!(number(&watched["client_dropped"]), 0);
}

#[test]
fn more_devices_than_locks_names_a_device_beyond_the_table() {
    let (json, code) =
        run_json("stress --scenario many-devices --discipline lifecycle-array8 --ops 400");
    assert_eq!(code, 1);
    let kinds: Vec<_> = json["divergences"].as_object().unwrap().keys().collect();
    assert_eq!(kinds, ["lock-out-of-bounds"], "{json}");
    assert_eq!(json["first"]["kind"], "lock-out-of-bounds");
    assert!(
        (8..32).contains(&number(&json["first"]["device"])),
        "{json}"
    );
    clean("stress --scenario many-devices --discipline lifecycle-array8 --ops 400 --profile t3k");
}

#[test]
fn a_server_in_a_process_of_its_own_is_checked_as_exactly() {
    let json = clean("stress --server spawn --ops 2000");
    assert_eq!(json["check"], "exact");
    let (json, code) = run_json(
        "stress --server spawn --scenario many-devices --discipline lifecycle-array8 --ops 100",
    );
    assert_eq!((code, &json["check"]), (1, &json!("exact")));
}

#[test]
fn a_legacy_layout_is_checked_too() {
    for layout in ["72", "112", "128", "144", "648"] {
        clean(&format!("stress --ops 1000 --transport layout={layout}"));
    }
}

#[test]
fn what_is_recorded_is_checked_again_with_the_same_result() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("race.hb");
    let record = format!(
        "stress --discipline unlocked --order free-first --perturb --threads 2 --ops 2000 --record {}",
        path.display()
    );
    let json = until(&record, |json| json["verdict"] == "diverged");
    let (again, code) = run_json(&format!("check {}", path.display()));
    assert_eq!(code, 1);
    for key in [
        "verdict",
        "divergences",
        "leaks",
        "first",
        "events",
        "messages",
        "threads",
        "ops",
        "seed",
        "check",
    ] {
        assert_eq!(json[key], again[key], "{key}");
    }
}

#[test]
fn an_unrecorded_run_is_checked_at_rest_only_and_says_so() {
    let json = clean("stress --ops 2000 --record none");
    assert_eq!(
        (&json["check"], &json["events"]),
        (&json!("totals"), &json!(0))
    );
}

#[test]
fn what_cannot_be_run_is_refused_with_the_remedy() {
    refused(
        "stress --scenario own-bufers",
        &["no such scenario", "own-buffers", "reported-timeline"],
    );
    refused(
        "stress --discipline lifecycle-wied",
        &["did you mean `lifecycle-wide`"],
    );
    refused(
        "stress --transport pigeon",
        &["`pigeon`", "blocking", "dontwait", "per-thread", "split=K"],
    );
    refused(
        "stress --transport split=9",
        &["transport.chunks", "1 to 8"],
    );
    refused("stress --server tcp:1", &["inproc, spawn or unix:PATH"]);
    refused("stress --server unix:/nonexistent/s", &["/nonexistent/s"]);
    refused("stress --threads 0", &["threads", "1 to 256"]);
    refused("matrix --threads 1 --discipline unlocked", &["2.."]);
    refused("stress --semantics guess", &["typed", "refcount"]);
    refused("stress --duration soon", &["use 90s, 10m or 2h"]);
    refused(
        "stress --record /nonexistent/t.hb --ops 10",
        &["/nonexistent/t.hb"],
    );
    refused("check /nonexistent.hb", &["/nonexistent.hb"]);
    refused("check Cargo.toml", &["Cargo.toml", "not a heisenbed trace"]);
    refused("import server-log /nonexistent.log", &["/nonexistent.log"]);
}

#[test]
fn a_wrong_discipline_file_is_refused_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mine.toml");
    let text = discipline_text(
        "alloc, mark-live, send ALLOC, publish",
        "claim, unlock tracker, send FREE, free",
    );
    std::fs::write(&path, text).unwrap();
    let path = path.display();
    refused(
        &format!("stress --discipline {path}"),
        &[
            &format!("{path}:4"),
            "unlock tracker",
            "does not hold it",
            "lock it before",
        ],
    );
    std::fs::write(
        path.to_string(),
        "name = 'x'\nallocate = ['alloc', 'launch']\ndeallocate = ['free']\n",
    )
    .unwrap();
    refused(
        &format!("stress --discipline {path}"),
        &[&format!("{path}:2"), "launch"],
    );
}

#[test]
fn a_discipline_of_ones_own_is_run_from_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mine.toml");
    let text = discipline_text(
        "alloc, mark-live, send ALLOC, send ALLOC, publish",
        "claim, send FREE, free, mark-dead",
    );
    std::fs::write(&path, text).unwrap();
    let (json, code) = run_json(&format!(
        "stress --threads 1 --ops 100 --discipline {}",
        path.display()
    ));
    assert_eq!(
        (code, &json["divergences"]),
        (1, &json!({ "duplicate-alloc": 50 }))
    );
}

#[test]
fn every_line_of_an_imported_log_is_accounted_for_and_checked() {
    let directory = tempfile::tempdir().unwrap();
    let mut logs = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/imports")).unwrap()
    {
        let log = entry.unwrap().path();
        let trace = directory.path().join("log.hb");
        let (json, code) = run_json(&format!(
            "import server-log {} -o {}",
            log.display(),
            trace.display()
        ));
        assert_eq!(code, 0);
        let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
        let lines = text.lines().count() as u64;
        let parts = ["parsed", "known_other", "unrecognised"].map(|key| number(&json[key]));
        assert_eq!(
            (number(&json["lines"]), parts.iter().sum::<u64>()),
            (lines, lines),
            "{}",
            log.display()
        );
        assert_eq!(
            number(&json["unrecognised"]),
            0,
            "{}: {json}",
            log.display()
        );
        let (checked, code) = run_json(&format!("check {}", trace.display()));
        assert_eq!(checked["check"], "messages");
        assert_eq!(number(&checked["lines"]), lines);
        // What the log itself admits.
        let warned = text
            .lines()
            .filter(|line| line.contains("unknown buffer") || line.contains("ALREADY FREED"));
        let diverged: BTreeMap<String, u64> =
            serde_json::from_value(checked["divergences"].clone()).unwrap();
        let refused: u64 = ["unknown-free", "double-free"]
            .iter()
            .filter_map(|kind| diverged.get(*kind))
            .sum();
        assert_eq!(
            refused,
            warned.count() as u64,
            "{}: {checked}",
            log.display()
        );
        let verdict = if diverged.is_empty() {
            "inconclusive"
        } else {
            "diverged"
        };
        assert_eq!(
            (checked["verdict"].as_str(), code),
            (Some(verdict), i32::from(!diverged.is_empty()))
        );
        logs += 1;
    }
    assert!(logs >= 5);
}

#[test]
fn an_error_in_json_is_an_object_on_stdout_and_words_on_stderr() {
    let output = run("stress --scenario nowhere --format json");
    assert_eq!(output.status.code(), Some(2));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["error"].as_str().unwrap().contains("nowhere"));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: "));
}

#[test]
fn without_a_command_the_help_is_shown_and_the_exit_code_is_2() {
    let output = heisenbed(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Usage: heisenbed"));
}

#[test]
fn what_leaks_is_told_however_the_run_was_checked() {
    for (how, check) in [
        ("--server spawn", "exact"),
        ("--server spawn --transport layout=112", "totals"),
        ("--record none", "totals"),
    ] {
        let json = clean(&format!("stress --scenario real-leak --ops 400 {how}"));
        assert_eq!(
            (json["leaks"].as_u64(), json["check"].as_str()),
            (Some(12), Some(check)),
            "{how}"
        );
    }
}

#[test]
fn totals_alone_show_what_a_server_was_never_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mine.toml");
    let text = discipline_text("alloc, mark-live, publish", "claim, free, mark-dead");
    std::fs::write(&path, text).unwrap();
    let (json, code) = run_json(&format!(
        "stress --scenario real-leak --ops 400 --server spawn --transport layout=112 --discipline {}",
        path.display()
    ));
    assert_eq!(
        (code, json["check"].as_str()),
        (1, Some("totals")),
        "{json}"
    );
    let kinds: Vec<_> = json["divergences"].as_object().unwrap().keys().collect();
    assert_eq!(kinds, ["missing-live"]);
}

#[test]
fn an_interrupted_run_is_inconclusive_and_keeps_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.hb");
    let mut child = heisenbed(&[
        "stress", "--ops", "50000000", "--quiet", "--format", "json", "--record",
    ])
    .arg(&path)
    .stdout(std::process::Stdio::piped())
    .spawn()
    .unwrap();
    while std::fs::metadata(&path).map_or(0, |data| data.len()) < 50_000 {
        assert!(child.try_wait().unwrap().is_none(), "the run ended early");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (json["verdict"].as_str(), output.status.code()),
        (Some("inconclusive"), Some(3))
    );
    assert!(
        json["note"]
            .as_str()
            .unwrap()
            .contains("did not come to its end")
    );
    let (again, _) = run_json(&format!("check {}", path.display()));
    for key in ["verdict", "divergences", "events", "messages", "note"] {
        assert_eq!(json[key], again[key], "{key}");
    }
}
