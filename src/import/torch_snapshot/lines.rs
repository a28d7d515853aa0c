//! The entries of a snapshot as lines of text.
//!
//! | line | says |
//! |---|---|
//! | `frame NAME (FILE:LINE)` | the next frame, numbered from 0 |
//! | `stack F…` | the next call stack, numbered from 0: its frames by number, innermost first |
//! | `block DEVICE ADDR SIZE REQUESTED STATE STACK` | a block in use, by the allocator's own table: `allocated`, or `awaiting` its release |
//! | `table N` | the table is complete, with that many blocks in use; `table -`: not all was understood |
//! | `device D` | whose the following entries are |
//! | `ACTION ADDR SIZE STREAM TIME STACK` | an entry: hexadecimal address and stream, µs since 1970, `-` for what it does not have |
//! | `? …` | an entry that was not understood |
//!
//! Frames and stacks come before the first block or entry that needs them, blocks before entries. A
//! frame's text is one line already where it is read from the pickle, so that frames which are told
//! apart there are told apart here.

use std::fmt::{self, Write as _};
use std::io::{self, BufRead};

use super::super::accounting::{Accounting, LineClass, UnrecognisedReason};
use super::super::allocation::{AllocationEvent, AllocationRecord, AllocationSource, Buffer};
use super::super::lines::{ReadLine, next_until_end, one_line, read_line};
use super::super::live_table::{LiveBlock, LiveTable};
use super::super::pickle::{MAX_FRAMES, SnapshotEntry};
use super::super::stacks::{FrameId, StackId, StackTable};

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryAction {
    Alloc,
    FreeRequested,
    FreeCompleted,
    OutOfMemory,
    SegmentAlloc,
    SegmentFree,
    SegmentMap,
    SegmentUnmap,
    Snapshot,
    UserDefined,
    WorkspaceSnapshot,
}

const ACTIONS: [EntryAction; 11] = [
    EntryAction::Alloc,
    EntryAction::FreeRequested,
    EntryAction::FreeCompleted,
    EntryAction::OutOfMemory,
    EntryAction::SegmentAlloc,
    EntryAction::SegmentFree,
    EntryAction::SegmentMap,
    EntryAction::SegmentUnmap,
    EntryAction::Snapshot,
    EntryAction::UserDefined,
    EntryAction::WorkspaceSnapshot,
];

impl EntryAction {
    /// The action of an entry that has what its action needs.
    pub(crate) fn of(entry: &SnapshotEntry<'_>) -> Option<EntryAction> {
        let word = entry.action?;
        let action = EntryAction::from_word(word)?;
        action.is_complete(entry.addr, entry.size).then_some(action)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            EntryAction::Alloc => "alloc",
            EntryAction::FreeRequested => "free_requested",
            EntryAction::FreeCompleted => "free_completed",
            EntryAction::OutOfMemory => "oom",
            EntryAction::SegmentAlloc => "segment_alloc",
            EntryAction::SegmentFree => "segment_free",
            EntryAction::SegmentMap => "segment_map",
            EntryAction::SegmentUnmap => "segment_unmap",
            EntryAction::Snapshot => "snapshot",
            EntryAction::UserDefined => "user_defined",
            EntryAction::WorkspaceSnapshot => "workspace_snapshot",
        }
    }

    pub(crate) fn class(self) -> LineClass {
        match self {
            EntryAction::Alloc
            | EntryAction::FreeRequested
            | EntryAction::FreeCompleted
            | EntryAction::OutOfMemory => LineClass::Parsed,
            _ => LineClass::KnownOther,
        }
    }

    fn from_word(word: &str) -> Option<EntryAction> {
        ACTIONS.into_iter().find(|action| action.word() == word)
    }

    fn is_complete(self, addr: Option<u64>, size: Option<u64>) -> bool {
        match self {
            EntryAction::Alloc | EntryAction::FreeRequested | EntryAction::FreeCompleted => {
                addr.is_some() && size.is_some()
            }
            EntryAction::OutOfMemory => size.is_some(),
            _ => true,
        }
    }
}

/// An entry that was not understood, in words.
pub(super) struct Unknown<'a>(pub &'a SnapshotEntry<'a>);

impl fmt::Display for Unknown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = |value: Option<u64>| if value.is_some() { "" } else { "no " };
        match self.0.action {
            Some(action) => {
                f.write_str("action ")?;
                one_line(f, action)?;
            }
            None => f.write_str("no action")?,
        }
        let (addr, size) = (missing(self.0.addr), missing(self.0.size));
        write!(f, ", {addr}addr, {size}size")
    }
}

pub(super) fn write_frame(line: &mut String, stacks: &StackTable, index: usize) {
    line.clear();
    line.push_str("frame ");
    line.push_str(stacks.text(FrameId(index as u32)));
}

pub(super) fn write_stack(line: &mut String, stacks: &StackTable, index: usize) {
    line.clear();
    line.push_str("stack");
    for frame in stacks.ids_of(StackId(index as u32)) {
        let _ = write!(line, " {}", frame.0);
    }
}

pub(super) fn write_block(line: &mut String, block: &LiveBlock) {
    line.clear();
    let _ = write!(
        line,
        "block {} {:x} {}",
        block.device, block.address, block.size_bytes
    );
    let state = match block.awaits_release {
        false => "allocated",
        true => "awaiting",
    };
    let _ = match block.requested_bytes {
        Some(bytes) => write!(line, " {bytes} {state}"),
        None => write!(line, " - {state}"),
    };
    let _ = match block.stack {
        Some(stack) => write!(line, " {}", stack.0),
        None => write!(line, " -"),
    };
}

/// The table's end; `blocks`: how many there are, if that is known.
pub(super) fn write_table(line: &mut String, blocks: Option<u64>) {
    line.clear();
    let _ = match blocks {
        Some(blocks) => write!(line, "table {blocks}"),
        None => write!(line, "table -"),
    };
}

pub(super) fn write_device(line: &mut String, device: u32) {
    line.clear();
    let _ = write!(line, "device {device}");
}

pub(super) fn write_entry(
    line: &mut String,
    entry: &SnapshotEntry<'_>,
    action: Option<EntryAction>,
) {
    line.clear();
    let Some(action) = action else {
        let _ = write!(line, "? {}", Unknown(entry));
        return;
    };
    line.push_str(action.word());
    let mut field = |value: Option<u64>, hexadecimal: bool| {
        let _ = match value {
            None => line.write_str(" -"),
            Some(value) if hexadecimal => write!(line, " {value:x}"),
            Some(value) => write!(line, " {value}"),
        };
    };
    field(entry.addr, true);
    field(entry.size, false);
    field(entry.stream, true);
    field(entry.time_us, false);
    field(entry.frames.map(|stack| stack.0.into()), false);
}

/// Iterates over the entries that an imported trace keeps.
pub(crate) struct EntryReader<R> {
    source: R,
    accounting: Accounting,
    stacks: StackTable,
    device: i32,
    blocks: Vec<LiveBlock>,
    table: Option<LiveTable>,
    table_is_lost: bool,
    line: Vec<u8>,
    ended: bool,
}

impl<R: BufRead> EntryReader<R> {
    /// Reads from `source`, which is at the start of the lines.
    pub(crate) fn new(source: R) -> EntryReader<R> {
        EntryReader {
            source,
            accounting: Accounting::default(),
            stacks: StackTable::default(),
            device: 0,
            blocks: Vec::new(),
            table: None,
            table_is_lost: false,
            line: Vec::new(),
            ended: false,
        }
    }

    fn next_record(&mut self) -> io::Result<Option<AllocationRecord>> {
        loop {
            let line = match read_line(&mut self.source, &mut self.line)? {
                ReadLine::End => return Ok(None),
                ReadLine::Overlong => None,
                ReadLine::Whole { .. } => std::str::from_utf8(&self.line).ok(),
            };
            let read = match line {
                Some(line) if define(line, &mut self.stacks, &mut self.device) => continue,
                Some(line) => match table_line(line, &self.stacks) {
                    Some(TableLine::Block(block)) => {
                        self.blocks.push(block);
                        continue;
                    }
                    Some(TableLine::End(count)) => {
                        let blocks = std::mem::take(&mut self.blocks);
                        let is_whole = count == Some(blocks.len() as u64);
                        self.table = is_whole.then_some(LiveTable { blocks });
                        self.table_is_lost = !is_whole;
                        continue;
                    }
                    None => entry(line, self.device, &self.stacks),
                },
                None => None,
            };
            let Some((action, time_us, what)) = read else {
                let class = LineClass::Unrecognised(UnrecognisedReason::NoKnownForm);
                self.accounting.count("unrecognised", class, &self.line);
                continue;
            };
            self.accounting.count(action.word(), action.class(), &[]);
            if let Some(what) = what {
                return Ok(Some(AllocationRecord {
                    position: self.accounting.lines,
                    at_ns: time_us.map(|time_us| time_us.saturating_mul(1000)),
                    thread: None,
                    what,
                }));
            }
        }
    }
}

/// Takes a line that later ones refer to.
fn define(line: &str, stacks: &mut StackTable, device: &mut i32) -> bool {
    if let Some(text) = line.strip_prefix("frame ") {
        let expected = stacks.frames() as u32;
        return stacks.frame(text).is_some_and(|id| id.0 == expected);
    }
    if let Some(numbers) = line.strip_prefix("stack") {
        let expected = stacks.len() as u32;
        let known = stacks.frames() as u32;
        let frames: Option<Vec<FrameId>> = numbers
            .split_whitespace()
            .take(MAX_FRAMES)
            .map(|number| number.parse().ok().filter(|id| *id < known).map(FrameId))
            .collect();
        return frames
            .and_then(|frames| stacks.stack(&frames))
            .is_some_and(|id| id.0 == expected);
    }
    match line.strip_prefix("device ").map(str::parse) {
        Some(Ok(id)) => {
            *device = id;
            true
        }
        _ => false,
    }
}

/// A line of the allocator's own table.
enum TableLine {
    Block(LiveBlock),
    /// How many blocks there are, if that is known.
    End(Option<u64>),
}

fn table_line(line: &str, stacks: &StackTable) -> Option<TableLine> {
    if let Some(count) = line.strip_prefix("table ") {
        return match count {
            "-" => Some(TableLine::End(None)),
            count => count.parse().ok().map(|count| TableLine::End(Some(count))),
        };
    }
    let mut words = line.strip_prefix("block ")?.split(' ');
    let block = LiveBlock {
        device: words.next()?.parse().ok()?,
        address: u64::from_str_radix(words.next()?, 16).ok()?,
        size_bytes: words.next()?.parse().ok()?,
        requested_bytes: words.next()?.parse().ok(),
        awaits_release: words.next()? == "awaiting",
        stack: known_stack(words.next()?.parse().ok(), stacks),
    };
    words.next().is_none().then_some(TableLine::Block(block))
}

fn known_stack(id: Option<u64>, stacks: &StackTable) -> Option<StackId> {
    id.and_then(|id| u32::try_from(id).ok())
        .filter(|id| (*id as usize) < stacks.len())
        .map(StackId)
}

/// An entry's line: its action, its time, and what happened to a buffer, if anything did.
fn entry(
    line: &str,
    device: i32,
    stacks: &StackTable,
) -> Option<(EntryAction, Option<u64>, Option<AllocationEvent>)> {
    let mut words = line.split(' ');
    let action = EntryAction::from_word(words.next()?)?;
    let mut field = |radix| match words.next()? {
        "-" => Some(None),
        word => u64::from_str_radix(word, radix).ok().map(Some),
    };
    let (addr, size, _stream, time_us) = (field(16)?, field(10)?, field(16)?, field(10)?);
    let stack = known_stack(field(10)?, stacks);
    if words.next().is_some() || !action.is_complete(addr, size) {
        return None;
    }
    let buffer = Buffer {
        process: None,
        device,
        buffer_type: 0,
        address: addr.unwrap_or(0),
        size_bytes: size,
        holder: None,
        stack,
    };
    let what = match action {
        EntryAction::Alloc => AllocationEvent::Allocated(buffer),
        EntryAction::FreeRequested => AllocationEvent::ReleaseRequested(buffer),
        EntryAction::FreeCompleted => AllocationEvent::Released(buffer),
        EntryAction::OutOfMemory => AllocationEvent::Failed {
            device,
            size_bytes: size.unwrap_or(0),
        },
        _ => return Some((action, time_us, None)),
    };
    Some((action, time_us, Some(what)))
}

impl<R: BufRead> Iterator for EntryReader<R> {
    type Item = io::Result<AllocationRecord>;

    fn next(&mut self) -> Option<io::Result<AllocationRecord>> {
        next_until_end(self, |reader| &mut reader.ended, Self::next_record)
    }
}

impl<R: BufRead> AllocationSource for EntryReader<R> {
    fn accounting(&self) -> &Accounting {
        &self.accounting
    }

    fn stacks(&self) -> &StackTable {
        &self.stacks
    }

    fn table(&self) -> Option<&LiveTable> {
        self.table.as_ref()
    }

    fn table_is_lost(&self) -> bool {
        self.table_is_lost
    }
}
