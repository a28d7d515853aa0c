//! What follows a failure ends when it is to end, also where a simpler form of it hangs, and says
//! what was left undone.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::programs::{binary, path, plain, run};

/// Found in the first schedules, while nothing hangs yet; what hangs later has a minute.
const SEARCH: [&str; 4] = ["--strategy", "random", "--timeout", "60s"];

/// How long it takes until the failure is there: more on a busy machine.
fn time_to_find() -> Duration {
    let options = [&SEARCH[..], &["--no-shrink"]].concat();
    let found = run(&options, &[&path(plain(), "hangs-smaller")]);
    assert_eq!(found.kind(), Some("abort"), "{}", found.json);
    assert_eq!(found.json["minimum"], Value::Null);
    Duration::from_secs_f64(found.json["elapsed_s"].as_f64().unwrap())
}

fn begin(options: &[&str]) -> Child {
    Command::new(binary())
        .args(["run", "-q"])
        .args(SEARCH)
        .args(options)
        .arg("--")
        .arg(path(plain(), "hangs-smaller"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_failure_is_made_small_for_as_long_as_was_asked_for() {
    let to_find = time_to_find();
    let started = Instant::now();
    let output = begin(&["--duration", "3s"]).wait_with_output().unwrap();
    // Found, worked on, and run once more; what hangs would have 20 seconds of the processor.
    let limit = to_find * 3 + Duration::from_secs(8);
    assert!(
        started.elapsed() < limit,
        "{:?} {limit:?}",
        started.elapsed()
    );
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("abort:"), "{text}");
    assert!(
        text.contains("the minimum is not proved: the time was up"),
        "{text}"
    );
}

#[test]
fn an_interrupt_while_a_failure_is_made_small_keeps_it() {
    let home = tempfile::tempdir().unwrap();
    let save = home.path().join("found.toml");
    let to_find = time_to_find();
    let child = begin(&["--save", save.to_str().unwrap()]);
    std::thread::sleep(to_find * 2 + Duration::from_secs(3));
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let interrupted = Instant::now();
    let output = child.wait_with_output().unwrap();
    let took = interrupted.elapsed();
    assert!(
        took < to_find * 3 + Duration::from_secs(5),
        "{took:?} {to_find:?}"
    );
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("abort:"), "{text}");
    assert!(
        text.contains("the minimum is not proved: interrupted"),
        "{text}"
    );
    let replayed = Command::new(binary())
        .args(["replay", "-q", save.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(replayed.status.code(), Some(0));
}
