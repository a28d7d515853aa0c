//! A recorded run of many operations stays small: in memory, and on disk.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const OPS: u64 = 150_000;
const MAX_PEAK_KIB: u64 = 100 << 10;
const MAX_EVENT_BYTES: f64 = 4.0;

#[test]
fn memory_does_not_grow_with_the_length_of_a_recorded_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let trace = directory.path().join("t.hb");
    let mut stress = heisenbed(&[
        "stress",
        "--threads",
        "2",
        "--ops",
        &OPS.to_string(),
        "--record",
        trace.to_str().expect("a path in ASCII"),
    ]);
    let (peak_kib, run) = watch(&mut stress);
    assert_eq!(run["verdict"], "clean");
    assert!(peak_kib < MAX_PEAK_KIB, "the run took {peak_kib} KiB");
    let events = run["events"].as_f64().expect("a number");
    let bytes = run["trace_bytes"].as_f64().expect("a number");
    assert!(events > 10.0 * OPS as f64, "{events} events are too few");
    assert!(
        bytes / events <= MAX_EVENT_BYTES,
        "{} bytes an event",
        bytes / events
    );

    let mut check = heisenbed(&["check", trace.to_str().expect("a path in ASCII")]);
    let (peak_kib, checked) = watch(&mut check);
    assert!(peak_kib < MAX_PEAK_KIB, "the check took {peak_kib} KiB");
    for key in ["verdict", "divergences", "leaks", "events", "messages"] {
        assert_eq!(run[key], checked[key], "{key}");
    }
}

/// Starts the program, its JSON going into a pipe.
fn heisenbed(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_heisenbed"))
        .args(arguments)
        .args(["--format", "json", "--quiet"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

/// Waits for the program's end; its peak of memory in KiB as far as it was seen, and what it printed.
fn watch(child: &mut Child) -> (u64, serde_json::Value) {
    let mut peak_kib = 0;
    while child.try_wait().expect("a child").is_none() {
        peak_kib = peak_kib.max(peak_of(child.id()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(peak_kib > 0, "the peak was never seen");
    let mut text = String::new();
    let stdout = child.stdout.as_mut().expect("a pipe");
    stdout.read_to_string(&mut text).expect("text");
    (peak_kib, serde_json::from_str(&text).expect("JSON"))
}

/// The peak of a process so far; the kernel keeps it until the process is gone.
fn peak_of(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
