//! `HEISENBED_LOG`: what is logged goes to stderr, and nothing else changes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;

use heisenbed::cli::logging::ROOMS;
use serde_json::Value;

use crate::common::heisenbed;

const DIVERGES: &str =
    "explore --discipline lifecycle-narrow --order free-first --format json --quiet";

/// Runs the program with these words and this filter.
fn logged(filter: &str, words: &str) -> Output {
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut command = heisenbed(&words);
    command.env("HEISENBED_LOG", filter);
    command.output().expect("the program starts")
}

/// What the program said on stderr, as level, room and text of each line.
fn lines(output: &Output) -> Vec<(String, String, String)> {
    let text = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    let line = |line: &str| {
        let mut words = line.trim_start().splitn(2, ' ');
        let seconds = words.next().unwrap_or_default();
        assert!(seconds.parse::<f64>().is_ok(), "no log line: {line}");
        let (level, rest) = words.next()?.split_once(' ')?;
        let (room, text) = rest.trim_start().split_once(": ")?;
        Some((level.to_owned(), room.to_owned(), text.to_owned()))
    };
    let lines = text.lines().map(|text| line(text).expect(text));
    lines.collect()
}

fn rooms(output: &Output) -> BTreeSet<String> {
    lines(output).into_iter().map(|(_, room, _)| room).collect()
}

#[test]
fn a_log_goes_to_stderr_and_stdout_stays_the_same() {
    let untimed = |output: &Output| {
        let mut json: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        json["elapsed_s"].take();
        (json, output.status.code())
    };
    let silent = logged("", DIVERGES);
    let loud = logged("trace", DIVERGES);
    assert_eq!(untimed(&silent), untimed(&loud));
    assert!(silent.stderr.is_empty(), "{silent:?}");
    assert_eq!(rooms(&loud), ["engine", "shrink"].map(String::from).into());
}

#[test]
fn a_filter_by_room_lets_that_room_speak_alone() {
    let shrink = lines(&logged("shrink=info", DIVERGES));
    assert!(!shrink.is_empty());
    for (level, room, _) in &shrink {
        assert_eq!((level.as_str(), room.as_str()), ("INFO", "shrink"));
    }
    let size = |(_, _, text): &&(String, String, String)| text.contains("3 operations (no fewer");
    assert!(shrink.iter().any(|line| size(&line)), "{shrink:?}");
}

#[test]
fn a_run_on_threads_tells_of_its_server_and_clients() {
    let output = logged("debug", "stress --threads 2 --ops 50 --format json --quiet");
    assert_eq!(
        rooms(&output),
        ["engine", "server"].map(String::from).into()
    );
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in [
        "run 0 of own-buffers begins: 2 threads under lifecycle-wide",
        "listening on ",
        "client 0 connected, 1 of 1024 served",
        "stopped: ",
        "run 0 ended after ",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn threads_that_are_stuck_are_told_once_a_run() {
    // Each run is as good as sure to, and takes half a second to be sure of it.
    let words = "stress --defect inverted-lock-order --perturb --runs 4 --format json --quiet";
    let output = logged("warn", words);
    let json: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let stuck = lines(&output);
    let stuck = stuck
        .iter()
        .filter(|(level, room, text)| {
            level == "WARN" && room == "engine" && text.starts_with("stuck for good: ")
        })
        .count() as u64;
    assert!(stuck > 0, "{json}");
    assert_eq!(Some(stuck), json["divergences"]["deadlock"].as_u64());
}

#[test]
fn a_campaign_tells_of_its_units() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let words = format!(
        "campaign run --units 2 --canary-budget 0 --seed 1 --quiet --out {}",
        folder.path().join("night").display()
    );
    let output = logged("campaign=debug", &words);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in [
        "campaign: shard 1/1 in ",
        "campaign: unit 0 begins",
        "campaign: unit 1",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn a_filter_that_is_none_is_bad_usage() {
    let bad = logged("server=loud", DIVERGES);
    assert_eq!(bad.status.code(), Some(2));
    let json: Value = serde_json::from_slice(&bad.stdout).expect("one JSON object");
    let error = json["error"].as_str().expect("an error");
    assert!(
        error.starts_with("HEISENBED_LOG: `server=loud` is neither a level"),
        "{error}"
    );
    assert!(String::from_utf8_lossy(&bad.stderr).contains(error));
}

/// A room that logs and is in no filter's list could not be listened to.
#[test]
fn the_rooms_that_log_are_those_of_the_filter() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rooms = fs::read_dir(source).expect("the sources");
    let rooms = rooms.map(|room| room.expect("an entry").path());
    let mut found: Vec<String> = rooms
        .filter(|room| logs(room))
        .filter_map(|room| Some(room.file_stem()?.to_str()?.to_owned()))
        .collect();
    found.sort();
    assert_eq!(found, ROOMS);
}

fn logs(path: &Path) -> bool {
    if path.is_dir() {
        let mut entries = fs::read_dir(path).expect("a folder of the sources");
        return entries.any(|entry| logs(&entry.expect("an entry").path()));
    }
    let text = fs::read_to_string(path).expect("a source file");
    let levels = ["error", "warn", "info", "debug", "trace"];
    levels
        .iter()
        .any(|level| text.contains(&format!("log::{level}!(")))
}
