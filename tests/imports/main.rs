//! Imports of what an allocator recorded of itself, as a user makes them: sound recordings of the
//! real shapes, and damaged ones.
//!
//! Every record is used, counted as known-other, or reported with its place; nothing that was not
//! recorded comes out; and what was read runs again as a workload.

#[path = "../common/mod.rs"]
mod common;
mod debug_log;
mod export;
mod graph_capture;
mod lost;
mod nothing;
mod own_log;
mod own_server;
mod rmm_devices;
mod rmm_log;
mod rocprof;
mod torch_snapshot;
mod torch_table;
mod umpire;
mod vma_replay;
mod wire;
mod workload;

use std::path::PathBuf;

use common::{record_diverged, run, run_json};
use heisenbed::import::accounting::Accounting;
use heisenbed::import::allocation::{self, AllocationEvent, AllocationRecord, Buffer};
use heisenbed::trace::file::{ImportFormat, ImportHeader};
use serde_json::Value;

/// A folder with a recording and the trace that is made of it.
struct Recording {
    folder: tempfile::TempDir,
    file: PathBuf,
    format: &'static str,
}

impl Recording {
    fn new(format: &'static str, name: &str, bytes: impl AsRef<[u8]>) -> Recording {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).expect("writable");
        Recording {
            folder,
            file,
            format,
        }
    }

    fn trace(&self) -> PathBuf {
        self.folder.path().join("out.hb")
    }

    fn words(&self) -> String {
        let (file, trace) = (self.file.display(), self.trace());
        format!("import {} {file} -o {}", self.format, trace.display())
    }

    /// Imports it; the account, which must add up.
    fn import(&self) -> Value {
        let (account, code) = run_json(&self.words());
        assert_eq!(code, 0, "{account}");
        let count = |key: &str| account[key].as_u64().expect("a count");
        assert_eq!(
            count("lines"),
            count("parsed") + count("known_other") + count("unrecognised"),
            "{account}"
        );
        account
    }

    /// Imports what is damaged at a place from which nothing can be read on; the error.
    fn refused(&self) -> String {
        let (answer, code) = run_json(&self.words());
        assert_eq!(code, 2, "{answer}");
        answer["error"].as_str().expect("an error").to_owned()
    }

    /// What another command says of the trace.
    fn said(&self, command: &str) -> (Value, i32) {
        run_json(&format!("{command} {}", self.trace().display()))
    }

    /// What `diagnose` says of the recording as it is.
    fn diagnosed(&self) -> (Value, i32) {
        run_json(&format!("diagnose {}", self.file.display()))
    }

    /// As [`Recording::said`], for people.
    fn shown(&self, command: &str) -> String {
        let output = run(&format!("{command} {} --quiet", self.trace().display()));
        String::from_utf8(output.stdout).expect("text")
    }
}

/// A check without truth came to its end and found nothing.
fn assert_uncontradicted(checked: &Value, code: i32) {
    assert_eq!(
        (code, &checked["divergences"]),
        (0, &serde_json::json!({})),
        "{checked}"
    );
}

/// The lines that an account reports, and their beginnings.
fn reported(account: &Value) -> Vec<(u64, &str)> {
    let lines = account["unrecognised_lines"].as_array().expect("a list");
    let of = |line: &'_ Value| line["line"].as_u64().expect("a number");
    lines
        .iter()
        .map(|line| (of(line), line["excerpt"].as_str().expect("a text")))
        .collect()
}

/// The records of a text and its account, which must add up.
fn records(format: ImportFormat, text: &[u8]) -> (Vec<AllocationRecord>, Accounting) {
    let header = ImportHeader::new(format, "a test");
    let mut source = allocation::source(&header, text).expect("it is about allocations");
    let records = source
        .by_ref()
        .map(|record| record.expect("bytes in memory can be read"))
        .collect();
    let accounting = source.accounting().clone();
    let lines = text.split_inclusive(|byte| *byte == b'\n').count() as u64;
    let parts = accounting.parsed + accounting.known_other + accounting.unrecognised;
    assert_eq!((accounting.lines, parts), (lines, lines), "{accounting:?}");
    assert_eq!(accounting.forms.values().sum::<u64>(), lines);
    let listed = accounting.first_unrecognised.len() as u64;
    assert_eq!(accounting.unrecognised.min(100), listed);
    (records, accounting)
}

/// Cuts a text at every byte: what is read is what was read of the whole text up to there, but for
/// the line that was cut.
fn cut_anywhere(format: ImportFormat, text: &str) {
    let (whole, _) = records(format, text.as_bytes());
    for end in 0..text.len() {
        let bytes = &text.as_bytes()[..end];
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let (read, _) = records(format, bytes);
        let complete = |records: &[AllocationRecord]| -> Vec<AllocationRecord> {
            let ended = records.iter().filter(|record| record.position <= lines);
            ended.copied().collect()
        };
        assert_eq!(complete(&read), complete(&whole), "cut at {end}");
    }
}

/// The lines of a text that are not understood.
fn refused_lines(format: ImportFormat, text: &str) -> Vec<u64> {
    let (_, accounting) = records(format, text.as_bytes());
    let lines = accounting.first_unrecognised.iter();
    lines.map(|line| line.line).collect()
}

/// What a record is about.
fn buffer(record: &AllocationRecord) -> Buffer {
    match record.what {
        AllocationEvent::Allocated(buffer)
        | AllocationEvent::ReleaseRequested(buffer)
        | AllocationEvent::Released(buffer)
        | AllocationEvent::HolderEnded(buffer) => buffer,
        AllocationEvent::Failed { .. } => panic!("{record:?} is about no buffer"),
    }
}
