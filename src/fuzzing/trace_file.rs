//! Bytes as a trace: opened, merged and checked, whatever they say.
//!
//! Input, by its first byte: 0, then the file as it is; or else a scenario (a built-in one by
//! number), whether the run ends, and the blocks: stream number, length, and so many bytes of
//! events. The blocks are then written as a file of its own with all checksums right, so that the
//! fuzzer gets past them. Demanded: an error or a verdict, never a panic, and never `clean` or
//! `exact` without an end.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::oracle::{Strength, Verdict, check_trace};
use crate::scenario::{ScenarioFile, builtin};
use crate::trace::file::{
    AtRest, BlockKind, End, Header, RunHeader, SERVER_STREAM, TraceFile, TraceWriter,
};

/// The stream byte that stands for the server's.
const SERVER: u8 = u8::MAX;

/// Runs the target.
pub fn run(bytes: &[u8]) {
    let Some(file) = file(bytes) else {
        return;
    };
    let Ok(trace) = TraceFile::from_file(file, Path::new("(in memory)")) else {
        return;
    };
    let Ok(report) = check_trace(&trace, |_| ()) else {
        return;
    };
    assert!(report.events <= trace.events().saturating_mul(2).max(bytes.len() as u64));
    let completed = trace.end().is_some_and(|end| end.completed);
    if !completed || trace.damage().is_some() {
        assert_ne!(report.verdict, Verdict::Clean, "a prefix is never clean");
        assert_eq!(report.strength, Strength::Messages);
    }
    if report.verdict == Verdict::Clean {
        assert!(report.divergences.is_empty() && report.first.is_none());
    }
}

/// What kind of file it is, its events as far as they can be read, and what the check says.
pub(crate) fn decode(bytes: &[u8]) -> String {
    let Some(file) = file(bytes) else {
        return String::new();
    };
    let trace = match TraceFile::from_file(file, Path::new("(in memory)")) {
        Ok(trace) => trace,
        Err(error) => return format!("{error}\n"),
    };
    let mut text = String::new();
    if let Header::Run(header) = trace.header() {
        text += &format!("scenario {}\n", header.scenario.name);
    }
    match check_trace(&trace, |event| text += &format!("{event:?}\n")) {
        Ok(report) => text + &format!("{report:?}\n"),
        Err(error) => text + &format!("{error}\n"),
    }
}

fn file(bytes: &[u8]) -> Option<File> {
    Some(match bytes {
        [0, raw @ ..] => memory_file(raw),
        [scenario, ends, blocks @ ..] => written(*scenario, *ends, blocks),
        _ => return None,
    })
}

/// A trace file that is sound in all but what its events mean.
fn written(scenario: u8, ends: u8, mut bytes: &[u8]) -> File {
    let name = builtin::NAMES[usize::from(scenario - 1) % builtin::NAMES.len()];
    let scenario = ScenarioFile::load(name)
        .and_then(ScenarioFile::resolve)
        .expect("built-in scenarios are sound");
    let header = RunHeader {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engine: "threads".to_owned(),
        run: 0,
        server_recorded: ends & 2 == 0,
        scenario,
    };
    let file = memory_file(&[]);
    let again = file
        .try_clone()
        .expect("a file in memory can be opened twice");
    let mut trace = TraceWriter::create(file, &Header::Run(Box::new(header)))
        .expect("a file in memory can be written");
    let mut numbers = [0u32; 256];
    while let [stream, length, rest @ ..] = bytes {
        let (events, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        let number = &mut numbers[usize::from(*stream)];
        let stream = if *stream == SERVER {
            SERVER_STREAM
        } else {
            u16::from(*stream)
        };
        trace
            .block(
                BlockKind::Events,
                stream,
                *number,
                events.len() as u32,
                events,
            )
            .expect("a file in memory can be written");
        *number += 1;
        bytes = rest;
    }
    if ends & 1 == 1 {
        let end = End {
            completed: true,
            server: match ends & 12 {
                0 => AtRest::Table(Vec::new()),
                4 => AtRest::Totals(Vec::new()),
                _ => AtRest::Unknown,
            },
            ..End::default()
        };
        trace.end(&end).expect("a file in memory can be written");
    }
    again
}

/// A file that no disk sees.
fn memory_file(bytes: &[u8]) -> File {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = File::from(
        rustix::fs::memfd_create("heisenbed-fuzz", flags).expect("files in memory are to be had"),
    );
    file.write_all(bytes)
        .expect("a file in memory can be written");
    file
}
