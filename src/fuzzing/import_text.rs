//! Bytes as a recording that is a text: read, checked, diagnosed. A target for each format.
//!
//! Input: the recording; of RMM's logs several files, between which stands a byte 0x1e. Demanded:
//! no panic, every record accounted for once, the same result however the source hands out its
//! bytes, positions that never go back, and check and diagnosis of whatever comes out.

use std::io::{BufRead, BufReader, Seek};

use crate::diagnosis::{Circumstances, Diagnoser};
use crate::import::accounting::Accounting;
use crate::import::allocation::{self, AllocationRecord};
use crate::import::{rmm_log, rocprof};
use crate::oracle::allocation_check::AllocationCheck;
use crate::trace::file::{ImportFormat, ImportHeader, TraceFile};
use crate::trace::text::{TextReader, TextWriter};

/// Sizes of the pieces in which the source hands out its bytes.
const PIECES: [usize; 3] = [1, 7, 4096];
/// What stands between the files of an input.
const FILE_SEPARATOR: u8 = 0x1e;
/// Files of an input that are looked at.
const MAX_FILES: usize = 8;

/// The runtime's debug log.
pub fn debug_log(bytes: &[u8]) {
    run(ImportFormat::DebugLog, bytes);
}

/// RMM's logs: each by itself, then all of them merged.
pub fn rmm(bytes: &[u8]) {
    let files: Vec<(String, &[u8])> = bytes
        .split(|byte| *byte == FILE_SEPARATOR)
        .take(MAX_FILES)
        .enumerate()
        .map(|(device, text)| (format!("rmm.dev{device}.csv"), text))
        .collect();
    let mut expected = Accounting::default();
    for (name, text) in &files {
        expected.add(&run(ImportFormat::RmmLog, text).1, name);
    }
    if files.len() < 2 {
        return;
    }
    let mut header = ImportHeader::new(ImportFormat::RmmLog, "several");
    header.files = files.iter().map(|(name, _)| name.clone()).collect();
    let merged = through_a_trace(&header, |writer| rmm_log::merge(files, writer));
    assert_eq!(
        (
            merged.lines,
            merged.parsed,
            merged.known_other,
            &merged.forms
        ),
        (
            expected.lines,
            expected.parsed,
            expected.known_other,
            &expected.forms
        ),
        "merging loses nothing"
    );
}

/// A CSV log of anybody's own.
pub fn csv(bytes: &[u8]) {
    run(ImportFormat::Csv, bytes);
}

/// A JSON Lines log of anybody's own.
pub fn jsonl(bytes: &[u8]) {
    run(ImportFormat::Jsonl, bytes);
}

/// A graph capture.
pub fn graph(bytes: &[u8]) {
    run(ImportFormat::GraphCapture, bytes);
}

/// An Umpire replay log.
pub fn umpire(bytes: &[u8]) {
    run(ImportFormat::Umpire, bytes);
}

/// A trace of rocprofv3: as it is, then sorted.
pub fn rocprof(bytes: &[u8]) {
    let expected = run(ImportFormat::Rocprof, bytes).1;
    let header = ImportHeader::new(ImportFormat::Rocprof, "fuzz");
    let sorted = through_a_trace(&header, |writer| {
        rocprof::sort(bytes, &mut |text| writer.text(text))
    });
    assert_eq!(sorted.lines, expected.lines, "sorting loses no line");
}

/// A recording of the Vulkan Memory Allocator.
pub fn vma(bytes: &[u8]) {
    run(ImportFormat::VmaReplay, bytes);
}

/// Reads a recording in several ways; its records and its account.
fn run(format: ImportFormat, bytes: &[u8]) -> (Vec<AllocationRecord>, Accounting) {
    let header = ImportHeader::new(format, "fuzz");
    let whole = read(&header, bytes);
    for size in PIECES {
        let pieces = read(&header, BufReader::with_capacity(size, bytes));
        assert_eq!(whole, pieces, "reading in pieces changes the result");
    }
    let (records, accounting) = &whole;
    if format != ImportFormat::GraphCapture {
        let lines = bytes.split_inclusive(|byte| *byte == b'\n').count() as u64;
        assert_eq!(accounting.lines, lines);
    }
    let mut check = AllocationCheck::of(format);
    let mut diagnoser = Diagnoser::default();
    let mut last = 0;
    for record in records {
        assert!(record.position >= last && record.position <= accounting.lines);
        last = record.position;
        check.observe(record);
        if let Some(observation) = record.observation() {
            diagnoser.observe(&observation);
        }
    }
    let found = check.finish();
    assert_eq!(found.records, records.len() as u64);
    assert!(found.live_total <= found.allocations);
    diagnoser.finish(Circumstances {
        complete: !format.begins_in_the_middle(),
        begins_in_the_middle: format.begins_in_the_middle(),
        ..Circumstances::default()
    });
    whole
}

fn read(header: &ImportHeader, text: impl BufRead) -> (Vec<AllocationRecord>, Accounting) {
    let mut source = allocation::source(header, text).expect("it is about allocations");
    let records = source
        .by_ref()
        .map(|record| record.expect("bytes in memory can be read"))
        .collect();
    let accounting = source.accounting().clone();
    let parts = accounting.parsed + accounting.known_other + accounting.unrecognised;
    assert_eq!(accounting.lines, parts, "every record is counted once");
    assert_eq!(accounting.lines, accounting.forms.values().sum::<u64>());
    (records, accounting)
}

/// The account of a trace that `write` fills.
fn through_a_trace(
    header: &ImportHeader,
    write: impl FnOnce(&mut TextWriter) -> std::io::Result<()>,
) -> Accounting {
    let mut file = tempfile::tempfile().expect("a temporary file");
    let copy = file.try_clone().expect("a second handle");
    let mut writer = TextWriter::create(copy, header.clone()).expect("writable");
    write(&mut writer).expect("writable");
    writer.end().expect("writable");
    file.rewind().expect("seekable");
    let trace = TraceFile::from_file(file, "fuzz".as_ref()).expect("readable");
    read(header, BufReader::new(TextReader::new(&trace))).1
}
