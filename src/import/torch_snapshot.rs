//! Reads CUDA memory snapshots of PyTorch.
//!
//! A snapshot is a pickle: [`pickle`](super::pickle) reads it without executing anything.
//! [`convert`] writes what it says of allocations as lines (module `lines`), which is what an
//! imported trace keeps, and [`EntryReader`] reads those.
//!
//! `device_traces` is the history: a ring buffer for each device, which holds the last entries
//! only, so releases without an allocation are normal in it. It has no thread ids. The trace has
//! the entries of all devices by time. `segments` is the allocator's own table when the snapshot
//! was taken: of it the blocks in use are kept ([`LiveTable`](super::live_table::LiveTable)).
//!
//! What holds:
//! - Every entry is counted once: as parsed, as known-other (segments, snapshots) or as
//!   unrecognised, and unrecognised ones are kept in the trace too.
//! - Memory does not grow with the length of a trace: see [`pickle`](super::pickle). Who reads the
//!   trace keeps the blocks that were in use.

mod lines;

use std::io::{self, Read};

use super::accounting::{Accounting, LineClass, UnrecognisedReason};
use super::by_time::ByTime;
use super::live_table::LiveBlock;
use super::pickle::{PickleError, Sink, SnapshotEntry, SnapshotSegment, SnapshotSummary};
use super::stacks::StackTable;
use crate::trace::text::TextWriter;
use lines::EntryAction;
pub(crate) use lines::EntryReader;

/// What a snapshot is, apart from its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConvertedSnapshot {
    /// What became of its entries.
    pub accounting: Accounting,
    /// Blocks in use, by the allocator's own table.
    pub blocks: u64,
    /// Blocks that await their release.
    pub awaiting: u64,
    /// The sizes of those in use together.
    pub blocks_bytes: u64,
}

impl ConvertedSnapshot {
    fn count_block(&mut self, block: &LiveBlock) {
        if block.awaits_release {
            self.awaiting += 1;
        } else {
            self.blocks += 1;
            self.blocks_bytes = self.blocks_bytes.saturating_add(block.size_bytes);
        }
    }

    /// Whether it says what happened to any buffer.
    pub(crate) fn has_history(&self) -> bool {
        let failed = self.accounting.forms.get(EntryAction::OutOfMemory.word());
        self.accounting.parsed > failed.copied().unwrap_or(0)
    }
}

/// Writes the entries of a snapshot as lines of a trace, where one is wanted, and accounts for
/// them. `progress` is told how many bytes were read. On an error, what was read before it has been
/// written.
pub fn convert(
    source: impl Read,
    trace: Option<&mut TextWriter>,
    progress: &mut dyn FnMut(u64),
) -> (ConvertedSnapshot, Result<SnapshotSummary, PickleError>) {
    let mut converter = Converter {
        trace: trace.map(|trace| (trace, ByTime::new())),
        converted: ConvertedSnapshot::default(),
        frames: 0,
        stacks: 0,
        line: String::new(),
        progress,
    };
    let result = super::pickle::read(source, &mut converter);
    let result = match (result, converter.trace) {
        (result, None) => result,
        (result, Some((trace, entries))) => {
            let mut line = String::new();
            let table = match &result {
                Ok(summary) if summary.segments.is_some() => {
                    let blocks = converter.converted.blocks + converter.converted.awaiting;
                    lines::write_table(&mut line, (summary.odd_blocks == 0).then_some(blocks));
                    trace.line(&line)
                }
                _ => Ok(()),
            };
            match table.and_then(|()| {
                entries.write(&mut |text| trace.text(text), Some(lines::write_device))
            }) {
                Ok(()) => result,
                Err(error) => Err(PickleError::Sink(error)),
            }
        }
    };
    (converter.converted, result)
}

/// Entries between two reports of progress.
const PROGRESS_ENTRIES: u64 = 4096;

struct Converter<'a> {
    trace: Option<(&'a mut TextWriter, ByTime)>,
    converted: ConvertedSnapshot,
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
        if self
            .converted
            .accounting
            .lines
            .is_multiple_of(PROGRESS_ENTRIES)
        {
            (self.progress)(read_bytes);
        }
        self.define(stacks)?;
        let Some((_, entries)) = &mut self.trace else {
            return Ok(());
        };
        lines::write_entry(&mut self.line, entry, action);
        entries.take(entry.device, entry.time_us, self.line.as_bytes())
    }

    fn segment(&mut self, segment: &SnapshotSegment<'_>, stacks: &StackTable) -> io::Result<()> {
        self.define(stacks)?;
        for block in segment.blocks {
            let offset = |start: u64| start.wrapping_add(block.offset_bytes);
            let block = LiveBlock {
                device: segment.device.unwrap_or(0) as i32,
                address: block.address.or(segment.address.map(offset)).unwrap_or(0),
                size_bytes: block.size,
                requested_bytes: block.requested_size,
                awaits_release: block.awaits_release,
                stack: block.frames,
            };
            self.converted.count_block(&block);
            if let Some((trace, _)) = &mut self.trace {
                lines::write_block(&mut self.line, &block);
                trace.line(&self.line)?;
            }
        }
        Ok(())
    }
}

impl Converter<'_> {
    /// Writes the frames and stacks that are new.
    fn define(&mut self, stacks: &StackTable) -> io::Result<()> {
        let Some((trace, _)) = &mut self.trace else {
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
        Ok(())
    }

    fn count(&mut self, entry: &SnapshotEntry<'_>, action: Option<EntryAction>) {
        let Some(action) = action else {
            let excerpt = format!(
                "byte {} (device {}): {}",
                entry.offset,
                entry.device,
                lines::Unknown(entry)
            );
            let class = LineClass::Unrecognised(UnrecognisedReason::NoKnownForm);
            self.converted
                .accounting
                .count("unrecognised", class, excerpt.as_bytes());
            return;
        };
        self.converted
            .accounting
            .count(action.word(), action.class(), &[]);
    }
}
