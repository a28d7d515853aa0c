//! Bytes as a tracking server's log: read, turned into messages, and checked without truth.
//!
//! Input: the log. Demanded: no panic, every line accounted for once, and the same result however
//! the source hands out its bytes.

use std::io::{BufRead, BufReader};

use crate::import::server_log::{ServerLogReader, to_message};
use crate::oracle::message_check::{MessageCheck, MessageReport};

/// Sizes of the pieces in which the source hands out its bytes.
const PIECES: [usize; 3] = [1, 7, 4096];

/// Runs the target.
pub fn run(bytes: &[u8]) {
    let whole = check(bytes);
    for size in PIECES {
        let pieces = check(BufReader::with_capacity(size, bytes));
        assert_eq!(whole, pieces, "reading in pieces changes the result");
    }
    let expected_lines = bytes.split_inclusive(|byte| *byte == b'\n').count() as u64;
    assert_eq!(whole.lines, expected_lines);
}

fn check(source: impl BufRead) -> MessageReport {
    let mut log = ServerLogReader::new(source);
    let mut check = MessageCheck::default();
    let mut records = 0;
    for record in log.by_ref() {
        let record = record.expect("bytes in memory can be read");
        records += 1;
        assert_eq!(record.line, records, "lines are numbered from 1");
        let _ = to_message(&record);
        check.observe(&record);
    }
    let accounting = log.into_accounting();
    assert_eq!(accounting.lines, records);
    assert_eq!(
        accounting.parsed + accounting.known_other + accounting.unrecognised,
        records,
        "every line is counted once"
    );
    let report = check.finish();
    assert_eq!(report.lines, records);
    assert!(report.messages + report.unknown_messages <= records);
    report
}
