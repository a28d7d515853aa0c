//! Reads CUDA memory snapshots of PyTorch.
//!
//! A snapshot is a pickle: [`pickle`](super::pickle) reads it without executing anything.
//! [`convert`] writes what it says of allocations as lines (module `lines`), which is what an
//! imported trace keeps, and [`EntryReader`] reads those. Of the snapshot's parts only
//! `device_traces` is kept: the segments say what is cached and how, which is no history.
//!
//! `device_traces` is a ring buffer for each device: it holds the last entries only, so releases
//! without an allocation are normal in it, and what is live at its end is in use. It has no thread
//! ids.
//!
//! What holds:
//! - Every entry is counted once: as parsed, as known-other (segments, snapshots) or as
//!   unrecognised, and unrecognised ones are kept in the trace too.
//! - Memory does not grow with the length of a trace: see [`pickle`](super::pickle).

mod lines;

use std::io::{self, Read};

use super::accounting::{Accounting, LineClass, UnrecognisedReason};
use super::pickle::{PickleError, Sink, SnapshotEntry, SnapshotSummary};
use super::stacks::StackTable;
use crate::trace::text::TextWriter;
use lines::EntryAction;
pub use lines::EntryReader;

/// Writes the entries of a snapshot as lines of a trace, where one is wanted, and accounts for
/// them. `progress` is told how many bytes were read. On an error, what was read before it has been
/// written.
pub fn convert(
    source: impl Read,
    trace: Option<&mut TextWriter>,
    progress: &mut dyn FnMut(u64),
) -> (Accounting, Result<SnapshotSummary, PickleError>) {
    let mut converter = Converter {
        trace,
        accounting: Accounting::default(),
        device: None,
        frames: 0,
        stacks: 0,
        line: String::new(),
        progress,
    };
    let result = super::pickle::read(source, &mut converter);
    (converter.accounting, result)
}

/// Entries between two reports of progress.
const PROGRESS_ENTRIES: u64 = 4096;

struct Converter<'a> {
    trace: Option<&'a mut TextWriter>,
    accounting: Accounting,
    device: Option<u32>,
    /// How many frames and stacks of the table have been written.
    frames: usize,
    stacks: usize,
    line: String,
    progress: &'a mut dyn FnMut(u64),
}

impl Sink for Converter<'_> {
    fn entry(
        &mut self,
        entry: &SnapshotEntry<'_>,
        stacks: &StackTable,
        read_bytes: u64,
    ) -> io::Result<()> {
        let action = EntryAction::of(entry);
        self.count(entry, action);
        if self.accounting.lines.is_multiple_of(PROGRESS_ENTRIES) {
            (self.progress)(read_bytes);
        }
        let Some(trace) = &mut self.trace else {
            return Ok(());
        };
        while self.frames < stacks.frames() {
            lines::write_frame(&mut self.line, stacks, self.frames);
            trace.line(&self.line)?;
            self.frames += 1;
        }
        while self.stacks < stacks.len() {
            lines::write_stack(&mut self.line, stacks, self.stacks);
            trace.line(&self.line)?;
            self.stacks += 1;
        }
        if self.device.replace(entry.device) != Some(entry.device) {
            lines::write_device(&mut self.line, entry.device);
            trace.line(&self.line)?;
        }
        lines::write_entry(&mut self.line, entry, action);
        trace.line(&self.line)
    }
}

impl Converter<'_> {
    fn count(&mut self, entry: &SnapshotEntry<'_>, action: Option<EntryAction>) {
        let Some(action) = action else {
            let excerpt = format!(
                "byte {} (device {}): {}",
                entry.offset,
                entry.device,
                lines::Unknown(entry)
            );
            let class = LineClass::Unrecognised(UnrecognisedReason::NoKnownForm);
            self.accounting
                .count("unrecognised", class, excerpt.as_bytes());
            return;
        };
        self.accounting.count(action.word(), action.class(), &[]);
    }
}
