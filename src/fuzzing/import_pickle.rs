//! Bytes as a PyTorch memory snapshot: a pickle, read by a machine that executes nothing.
//!
//! Input: the pickle. Demanded: no panic and no hang, memory within the machine's bounds, every
//! entry accounted for once, an error with an offset inside the input for what is no snapshot, the
//! same result however the source hands out its bytes, and that the lines which an import keeps are
//! read back as the entries they were made of.

use std::io::{BufReader, Read, Seek};

use crate::import::accounting::Accounting;
use crate::import::allocation::{self, AllocationRecord};
use crate::import::live_table::LiveTable;
use crate::import::pickle::PickleError;
use crate::import::torch_snapshot::{ConvertedSnapshot, convert};
use crate::oracle::allocation_check::AllocationCheck;
use crate::trace::file::{ImportFormat, ImportHeader, TraceFile};
use crate::trace::text::{TextReader, TextWriter};

/// Runs the target.
pub fn run(bytes: &[u8]) {
    let (converted, result) = convert(bytes, None, &mut |_| ());
    assert_adds_up(&converted.accounting);
    match &result {
        Ok(summary) => assert_eq!(
            summary.bytes + summary.trailing_bytes,
            bytes.len() as u64,
            "every byte is read or counted as trailing"
        ),
        Err(error) => assert!(
            offset_of(error).is_none_or(|offset| offset <= bytes.len() as u64),
            "{error}"
        ),
    }
    let (pieces, other) = convert(OneByOne(bytes), None, &mut |_| ());
    assert_eq!(converted, pieces, "reading in pieces changes the account");
    assert_eq!(
        result.as_ref().map_err(PickleError::to_string),
        other.as_ref().map_err(PickleError::to_string)
    );
    let (records, table) = through_a_trace(bytes, &converted);
    let is_whole =
        result.is_ok_and(|summary| summary.segments.is_some() && summary.odd_blocks == 0);
    assert_eq!(
        table.is_some(),
        is_whole,
        "the table is kept where it is whole"
    );
    let mut check = AllocationCheck::new(true);
    if let Some(table) = &table {
        assert_eq!(
            table.blocks.len() as u64,
            converted.blocks + converted.awaiting
        );
        check.compare_with(table);
    }
    for record in &records {
        check.observe(record);
    }
    let found = check.finish();
    assert_eq!(found.records, records.len() as u64);
    assert_eq!(found.table.is_some(), is_whole);
}

/// The account of the snapshot, and what is wrong with it.
pub(crate) fn decode(bytes: &[u8]) -> String {
    let (converted, result) = convert(bytes, None, &mut |_| ());
    match result {
        Ok(summary) => format!("{converted:?}\n{summary:?}\n"),
        Err(error) => format!("{converted:?}\n{error}\n"),
    }
}

/// Imports the bytes and reads the trace back.
fn through_a_trace(
    bytes: &[u8],
    converted: &ConvertedSnapshot,
) -> (Vec<AllocationRecord>, Option<LiveTable>) {
    let expected = &converted.accounting;
    let header = ImportHeader::new(ImportFormat::TorchSnapshot, "fuzz");
    let mut file = tempfile::tempfile().expect("a temporary file");
    let copy = file.try_clone().expect("a second handle");
    let mut writer = TextWriter::create(copy, header.clone()).expect("writable");
    let (kept, _) = convert(bytes, Some(&mut writer), &mut |_| ());
    assert_eq!(&kept, converted);
    writer.end().expect("writable");
    file.rewind().expect("seekable");
    let trace = TraceFile::from_file(file, "fuzz".as_ref()).expect("readable");
    let mut source = allocation::source(&header, BufReader::new(TextReader::new(&trace)))
        .expect("a snapshot is about allocations");
    let records: Vec<_> = source
        .by_ref()
        .map(|record| record.expect("readable"))
        .collect();
    let read = source.accounting();
    assert_eq!(
        (read.lines, read.parsed, read.known_other, &read.forms),
        (
            expected.lines,
            expected.parsed,
            expected.known_other,
            &expected.forms
        ),
        "an entry is not read back as what it was"
    );
    (records, source.table().cloned())
}

fn assert_adds_up(accounting: &Accounting) {
    let parts = accounting.parsed + accounting.known_other + accounting.unrecognised;
    assert_eq!(accounting.lines, parts, "every entry is counted once");
    assert_eq!(accounting.lines, accounting.forms.values().sum::<u64>());
}

fn offset_of(error: &PickleError) -> Option<u64> {
    match error {
        PickleError::Io { offset, .. }
        | PickleError::Truncated { offset, .. }
        | PickleError::Forbidden { offset, .. }
        | PickleError::Unsupported { offset, .. }
        | PickleError::Unknown { offset, .. }
        | PickleError::Misplaced { offset, .. }
        | PickleError::Limit { offset, .. } => Some(*offset),
        PickleError::NotAPickle { .. }
        | PickleError::NoSnapshot
        | PickleError::SnapshotInside { .. }
        | PickleError::OnlySegments
        | PickleError::Sink(_) => None,
    }
}

/// Hands out one byte at a time.
struct OneByOne<'a>(&'a [u8]);

impl Read for OneByOne<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(1);
        self.0.read(&mut buffer[..length])
    }
}
