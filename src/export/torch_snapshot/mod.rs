//! A memory snapshot as PyTorch writes it, so that its viewer shows any trace.
//!
//! `device_traces` is the history, `segments` what is live at the end. In a snapshot an address
//! belongs to a device and to nothing else. So each address space (a memory of a device, and of a
//! process where there are several) becomes a device of its own: the first space of a device keeps
//! its number, the others get the next free ones, which is said once.
//!
//! The pickle has one device's history after the other's, so entries wait in a [`Spool`]. The
//! viewer lays the blocks of a segment one behind the other, so gaps are blocks that are not in
//! use.

mod pickle_writer;
mod spaces;

use std::io::Write;

use rustc_hash::FxHashMap;

use super::source::SourceAbout;
use super::spool::Spool;
use super::{ExportError, ExportSink, Exported, LeftOut, Out, Wants, failed};
use crate::import::allocation::{AllocationEvent, AllocationRecord};
use crate::import::live_table::LiveTable;
use crate::import::stacks::{StackId, StackTable};
use pickle_writer::PickleWriter;
use spaces::{SpaceKey, Spaces};

/// Elements of a list that are put into it at a time, as Python's pickler does.
const BATCH: usize = 1000;

/// Writes a snapshot.
pub(super) struct TorchSnapshot<'a> {
    out: Out<'a>,
    spool: Spool<SpaceKey>,
    spaces: Spaces,
    pickle: PickleWriter,
    /// Places of the stacks in the memo, once they were written.
    stacks: FxHashMap<u32, u32>,
    /// Places of the threads' frames, where the input has threads and no stacks.
    threads: FxHashMap<u64, u32>,
    name: String,
    /// Of a run there is no clock: events are numbered.
    counts_events: bool,
    entries: u64,
    left_out: LeftOut,
}

/// An entry that waits: `action`, then numbers.
struct WaitingEntry {
    action: u8,
    address: u64,
    size: u64,
    time_us: Option<u64>,
    stack: Option<StackId>,
    thread: Option<u64>,
}

const ALLOC: u8 = 0;
const FREE_REQUESTED: u8 = 1;
const FREE_COMPLETED: u8 = 2;
const OOM: u8 = 3;
const ACTIONS: [&str; 4] = ["alloc", "free_requested", "free_completed", "oom"];

const ENTRY_BYTES: usize = 1 + 5 * 8;
/// Of a number that is not known.
const NONE: u64 = u64::MAX;

impl WaitingEntry {
    fn bytes(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[0] = self.action;
        let stack = self.stack.map_or(NONE, |stack| u64::from(stack.0));
        let numbers = [
            self.address,
            self.size,
            self.time_us.unwrap_or(NONE),
            stack,
            self.thread.unwrap_or(NONE),
        ];
        for (place, number) in bytes[1..].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn of(bytes: &[u8]) -> WaitingEntry {
        let number = |index: usize| {
            let bytes = &bytes[1 + 8 * index..9 + 8 * index];
            u64::from_le_bytes(bytes.try_into().expect("8 bytes"))
        };
        let known = |number: u64| (number != NONE).then_some(number);
        WaitingEntry {
            action: bytes[0],
            address: number(0),
            size: number(1),
            time_us: known(number(2)),
            stack: known(number(3)).map(|stack| StackId(stack as u32)),
            thread: known(number(4)),
        }
    }
}

impl<'a> TorchSnapshot<'a> {
    pub(super) fn new(to: &'a mut (dyn Write + Send + 'a)) -> TorchSnapshot<'a> {
        TorchSnapshot {
            out: Out::new(to),
            spool: Spool::new(),
            spaces: Spaces::default(),
            pickle: PickleWriter::default(),
            stacks: FxHashMap::default(),
            threads: FxHashMap::default(),
            name: String::new(),
            counts_events: false,
            entries: 0,
            left_out: LeftOut::default(),
        }
    }
}

impl ExportSink for TorchSnapshot<'_> {
    fn begin(&mut self, about: &SourceAbout) -> Result<Wants, ExportError> {
        self.name.clone_from(&about.name);
        self.counts_events = about.run.is_some();
        Ok(Wants {
            allocations: true,
            ..Wants::default()
        })
    }

    fn allocation(
        &mut self,
        record: &AllocationRecord,
        _stacks: &StackTable,
    ) -> Result<(), ExportError> {
        let (action, buffer) = match record.what {
            AllocationEvent::Allocated(buffer) => (ALLOC, buffer),
            AllocationEvent::ReleaseRequested(buffer) => (FREE_REQUESTED, buffer),
            AllocationEvent::Released(buffer) => (FREE_COMPLETED, buffer),
            AllocationEvent::Failed { device, size_bytes } => (OOM, failed(device, size_bytes)),
            AllocationEvent::HolderEnded(_) => {
                self.left_out.count("ends of objects that hold a buffer");
                return Ok(());
            }
        };
        let Ok(device) = u32::try_from(buffer.device) else {
            self.left_out.count("records of no device");
            return Ok(());
        };
        let key = match action {
            OOM => self.spaces.any_of(device),
            _ => SpaceKey {
                device,
                process: buffer.process,
                buffer_type: buffer.buffer_type,
            },
        };
        if record.at_ns.is_some_and(|ns| ns % 1000 != 0) {
            self.left_out.count("parts of a µs in times");
        }
        // A release that does not say its size has that of the allocation.
        let live = self.spaces.take(key, action, &buffer, record.thread);
        let size = buffer.size_bytes.or(live).unwrap_or(0);
        let time_us = match self.counts_events {
            true => Some(record.position),
            false => record.at_ns.map(|ns| ns / 1000),
        };
        let entry = WaitingEntry {
            action,
            address: buffer.address,
            size,
            time_us,
            stack: buffer.stack,
            thread: record.thread,
        };
        self.spool.push(key, &entry.bytes())?;
        self.entries += 1;
        Ok(())
    }

    fn table(&mut self, table: &LiveTable) {
        self.spaces.table(table);
    }

    fn end(&mut self, stacks: &StackTable) -> Result<Exported, ExportError> {
        let numbers = self.spaces.numbers();
        self.pickle.begin(self.out.buffer());
        self.pickle.dict(self.out.buffer());
        self.segments(&numbers, stacks)?;
        self.history(&numbers, stacks)?;
        let to = self.out.buffer();
        self.pickle.end_dict(to);
        self.pickle.stop(to);
        let mut notes = self.spaces.notes(&numbers, stacks);
        if self.counts_events {
            notes.push("a run has no clock: times are the numbers of its events".to_owned());
        }
        Ok(Exported {
            written: self.entries,
            noun: "entry",
            bytes: self.out.end()?,
            left_out: std::mem::take(&mut self.left_out),
            notes,
            damage: None,
        })
    }
}

impl TorchSnapshot<'_> {
    fn key(&mut self, key: &'static str) {
        self.pickle.word(self.out.buffer(), key);
    }

    fn number(&mut self, key: &'static str, value: u64) {
        self.pickle.word(self.out.buffer(), key);
        self.pickle.int(self.out.buffer(), value);
    }

    fn word(&mut self, key: &'static str, word: &'static str) {
        self.pickle.word(self.out.buffer(), key);
        self.pickle.word(self.out.buffer(), word);
    }

    /// What is live at the end.
    fn segments(
        &mut self,
        numbers: &FxHashMap<SpaceKey, u32>,
        stacks: &StackTable,
    ) -> Result<(), ExportError> {
        self.key("segments");
        self.pickle.list(self.out.buffer());
        for (index, segment) in self.spaces.segments().into_iter().enumerate() {
            if index > 0 && index.is_multiple_of(BATCH) {
                self.pickle.batch(self.out.buffer());
            }
            let device = numbers.get(&segment.space).copied().unwrap_or(0);
            self.pickle.dict(self.out.buffer());
            self.number("device", u64::from(device));
            self.number("address", segment.start);
            self.number("total_size", segment.end - segment.start);
            let sizes = segment.blocks.iter().map(|block| block.size_bytes);
            let used = sizes.fold(0, u64::saturating_add);
            self.number("allocated_size", used);
            self.number("active_size", used);
            self.number("requested_size", used);
            self.number("stream", 0);
            self.word("segment_type", "large");
            self.key("blocks");
            self.pickle.list(self.out.buffer());
            let mut at = segment.start;
            for (index, block) in segment.blocks.iter().enumerate() {
                if index > 0 && index.is_multiple_of(BATCH) {
                    self.pickle.batch(self.out.buffer());
                }
                if block.address > at {
                    self.block(at, block.address - at, "inactive");
                    self.pickle.end_dict(self.out.buffer());
                }
                let state = match block.awaits_release {
                    false => "active_allocated",
                    true => "active_awaiting_free",
                };
                self.block(block.address, block.size_bytes, state);
                self.number("requested_size", block.requested_bytes);
                self.frames(block.stack, block.thread, stacks);
                self.pickle.end_dict(self.out.buffer());
                self.out.written()?;
                at = block.address.saturating_add(block.size_bytes);
            }
            if segment.end > at {
                self.block(at, segment.end - at, "inactive");
                self.pickle.end_dict(self.out.buffer());
            }
            self.pickle.end_list(self.out.buffer());
            self.pickle.end_dict(self.out.buffer());
            self.out.written()?;
        }
        self.pickle.end_list(self.out.buffer());
        Ok(())
    }

    /// A block, up to what follows of it.
    fn block(&mut self, address: u64, size_bytes: u64, state: &'static str) {
        self.pickle.dict(self.out.buffer());
        self.number("address", address);
        self.number("size", size_bytes);
        self.word("state", state);
    }

    /// What happened.
    fn history(
        &mut self,
        numbers: &FxHashMap<SpaceKey, u32>,
        stacks: &StackTable,
    ) -> Result<(), ExportError> {
        let mut spool = std::mem::replace(&mut self.spool, Spool::new());
        let mut by_number: Vec<(u32, SpaceKey)> = Vec::new();
        by_number.extend(
            spool
                .keys()
                .map(|key| (numbers.get(&key).copied().unwrap_or(0), key)),
        );
        by_number.sort_unstable();
        self.key("device_traces");
        self.pickle.list(self.out.buffer());
        let mut next = 0;
        for (number, key) in by_number {
            while next < number {
                self.pickle.list(self.out.buffer());
                self.pickle.end_list(self.out.buffer());
                next += 1;
            }
            next += 1;
            self.pickle.list(self.out.buffer());
            let mut waiting = 0;
            spool.read(key, |piece| {
                for bytes in piece.chunks_exact(ENTRY_BYTES) {
                    if waiting == BATCH {
                        self.pickle.batch(self.out.buffer());
                        waiting = 0;
                    }
                    waiting += 1;
                    self.entry(&WaitingEntry::of(bytes), stacks)?;
                }
                Ok::<(), ExportError>(())
            })?;
            self.pickle.end_list(self.out.buffer());
        }
        self.pickle.end_list(self.out.buffer());
        Ok(())
    }

    fn entry(&mut self, entry: &WaitingEntry, stacks: &StackTable) -> Result<(), ExportError> {
        self.pickle.dict(self.out.buffer());
        self.word("action", ACTIONS[usize::from(entry.action)]);
        if entry.action == OOM {
            self.number("device_free", 0);
        } else {
            self.number("addr", entry.address);
        }
        self.number("size", entry.size);
        self.number("stream", 0);
        if let Some(time_us) = entry.time_us {
            self.number("time_us", time_us);
        }
        self.frames(entry.stack, entry.thread, stacks);
        self.pickle.end_dict(self.out.buffer());
        Ok(self.out.written()?)
    }

    /// Where in the program; where only the thread is known, that.
    fn frames(&mut self, stack: Option<StackId>, thread: Option<u64>, stacks: &StackTable) {
        if stack.is_none() && thread.is_none() {
            return;
        }
        self.key("frames");
        let written = match (stack, thread) {
            (Some(stack), _) => self.stacks.get(&stack.0),
            (None, Some(thread)) => self.threads.get(&thread),
            (None, None) => None,
        };
        if let Some(place) = written {
            return self.pickle.again(self.out.buffer(), *place);
        }
        self.pickle.list(self.out.buffer());
        match stack {
            Some(stack) => {
                for frame in stacks.frames_of(stack) {
                    self.frame(&FrameParts::of(frame));
                }
            }
            None => {
                let name = format!("thread {}", thread.unwrap_or(0));
                let source = std::mem::take(&mut self.name);
                self.frame(&FrameParts {
                    name: &name,
                    file: &source,
                    line: 0,
                });
                self.name = source;
            }
        }
        self.pickle.end_list(self.out.buffer());
        let place = self.pickle.remember(self.out.buffer());
        match (stack, thread) {
            (Some(stack), _) => drop(self.stacks.insert(stack.0, place)),
            (None, Some(thread)) => drop(self.threads.insert(thread, place)),
            (None, None) => {}
        }
    }

    fn frame(&mut self, frame: &FrameParts<'_>) {
        self.pickle.dict(self.out.buffer());
        self.key("filename");
        self.pickle.text(self.out.buffer(), frame.file);
        self.number("line", frame.line);
        self.key("name");
        self.pickle.text(self.out.buffer(), frame.name);
        self.pickle.end_dict(self.out.buffer());
    }
}

/// A frame's text in its parts.
struct FrameParts<'a> {
    name: &'a str,
    file: &'a str,
    line: u64,
}

impl FrameParts<'_> {
    /// `NAME (FILE:LINE)`, as imports of snapshots have it; else all of it is the name.
    fn of(text: &str) -> FrameParts<'_> {
        let parts = || {
            let (name, place) = text.strip_suffix(')')?.rsplit_once(" (")?;
            let (file, line) = place.rsplit_once(':')?;
            Some(FrameParts {
                name,
                file,
                line: line.parse().ok()?,
            })
        };
        parts().unwrap_or(FrameParts {
            name: text,
            file: "",
            line: 0,
        })
    }
}
