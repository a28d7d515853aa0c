//! JSON Lines: every event, an object a line.
//!
//! Lines about buffers have the keys that `import jsonl` reads, so that it reads them back;
//! docs/formats.md has all keys. Lines are written field by field, without a tree of values: this
//! is the format for everything, and must keep up with the reader.

use std::io::{self, Write};

use serde::Serialize;

use super::source::{ExportStep, SourceAbout};
use super::{ExportError, ExportSink, Exported, LeftOut, Out, Wants, words};
use crate::import::allocation::{AllocationEvent, AllocationRecord};
use crate::import::stacks::StackTable;
use crate::scenario::objects::LockId;
use crate::trace::event::Event;
use crate::trace::observation::{Observation, Observed, ServerAnswer};
use crate::trace::shared_event::SharedEvent;
use crate::tracking::Message;

/// Writes lines.
pub(super) struct Jsonl<'a> {
    out: Out<'a>,
    locks: Vec<String>,
    lines: u64,
}

impl<'a> Jsonl<'a> {
    pub(super) fn new(to: &'a mut (dyn Write + Send + 'a)) -> Jsonl<'a> {
        Jsonl {
            out: Out::new(to),
            locks: Vec::new(),
            lines: 0,
        }
    }

    #[inline]
    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut *self.out.buffer(), line)?;
        self.out.buffer().push(b'\n');
        self.lines += 1;
        self.out.written()
    }
}

impl ExportSink for Jsonl<'_> {
    fn begin(&mut self, about: &SourceAbout) -> Result<Wants, ExportError> {
        if let Some(run) = &about.run {
            self.locks.clone_from(&run.locks);
        }
        Ok(Wants {
            steps: about.run.is_some(),
            allocations: about.run.is_none() && !about.messages_only,
            observations: about.messages_only,
        })
    }

    #[inline]
    fn step(&mut self, step: &ExportStep<'_>) -> Result<(), ExportError> {
        let mut line = StepLine::of(step);
        line.fill(step);
        if let Some(lock) = lock_of(step.event) {
            // The names leave for the time of one line, which needs both them and the output.
            let locks = std::mem::take(&mut self.locks);
            line.lock = locks.get(usize::from(lock.0)).map(String::as_str);
            let written = self.line(&line);
            self.locks = locks;
            return Ok(written?);
        }
        Ok(self.line(&line)?)
    }

    fn allocation(
        &mut self,
        record: &AllocationRecord,
        stacks: &StackTable,
    ) -> Result<(), ExportError> {
        let buffer = record.buffer();
        let (device, size) = match record.what {
            AllocationEvent::Failed { device, size_bytes } => (device, Some(size_bytes)),
            _ => {
                let buffer = buffer.unwrap_or_default();
                (buffer.device, buffer.size_bytes)
            }
        };
        let stack = buffer.and_then(|buffer| buffer.stack);
        let stack: Option<Vec<&str>> = stack.map(|stack| stacks.frames_of(stack).collect());
        Ok(self.line(&BufferLine {
            position: record.position,
            time: record.at_ns,
            op: words::op(&record.what),
            device,
            memory: buffer.map(|buffer| words::memory_of(buffer.buffer_type, stacks)),
            address: buffer.map(|buffer| buffer.address),
            size,
            thread: record.thread,
            process: buffer.and_then(|buffer| buffer.process),
            holder: buffer.and_then(|buffer| buffer.holder),
            stack,
        })?)
    }

    fn observation(&mut self, seen: &Observation) -> Result<(), ExportError> {
        let mut line = SeenLine {
            position: seen.position,
            time: seen.at_ns,
            connection: seen.conn,
            ..SeenLine::default()
        };
        match &seen.what {
            Observed::Message {
                message,
                complete,
                server_answer,
            } => {
                line.seen = "message";
                line.complete = Some(*complete);
                line.about(message);
                line.answered(*server_answer);
            }
            Observed::TookEffect {
                message,
                server_answer,
            } => {
                line.seen = "took-effect";
                line.about(message);
                line.answered(*server_answer);
            }
            Observed::MixedFrame => line.seen = "mixed-frame",
            Observed::UnknownFrame { kind } => {
                line.seen = "unknown-frame";
                line.kind = Some(*kind);
            }
            Observed::TornFrame { bytes } => {
                line.seen = "torn-frame";
                line.bytes = Some(*bytes);
            }
            Observed::Dropped { message } => {
                line.seen = "dropped";
                line.about(message);
            }
            Observed::Opened => line.seen = "opened",
            Observed::Closed => line.seen = "closed",
            Observed::Swept { pid, buffers } => {
                line.seen = "swept";
                line.process = Some(*pid);
                line.buffers = *buffers;
            }
            Observed::ServerStarted => line.seen = "server-started",
        }
        Ok(self.line(&line)?)
    }

    fn end(&mut self, _stacks: &StackTable) -> Result<Exported, ExportError> {
        Ok(Exported {
            written: self.lines,
            noun: "line",
            bytes: self.out.end()?,
            left_out: LeftOut::default(),
            ..Exported::default()
        })
    }
}

/// A step of a run.
#[derive(Default, Serialize)]
struct StepLine<'a> {
    n: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<u64>,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    does: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lock: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cell: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
}

/// The lock that an event is about.
fn lock_of(event: &Event) -> Option<LockId> {
    match *event {
        Event::Lock { lock, .. }
        | Event::Unlock { lock }
        | Event::BlockedOnLock { lock }
        | Event::Shared(
            SharedEvent::LockShared { lock, .. }
            | SharedEvent::UnlockShared { lock, .. }
            | SharedEvent::TryFailed { lock }
            | SharedEvent::Wait { lock }
            | SharedEvent::Notify { lock, .. }
            | SharedEvent::BlockedOnNotify { lock },
        ) => Some(lock),
        _ => None,
    }
}

impl StepLine<'_> {
    fn of(step: &ExportStep<'_>) -> StepLine<'static> {
        StepLine {
            n: step.number,
            thread: step.thread,
            operation: step.operation,
            event: words::event(step.event),
            ..StepLine::default()
        }
    }

    /// The buffer at hand.
    fn buffer(&mut self, step: &ExportStep<'_>) {
        if let Some(handle) = step.handle {
            self.device = Some(handle.device.0);
            self.memory = Some(words::of_memory(handle.memory));
            self.address = Some(handle.address);
            self.size = Some(handle.size_bytes);
            self.generation = Some(handle.generation);
        }
    }

    /// What is said of a step on cells, ledgers and locks that are more than a mutex.
    fn fill_shared(&mut self, event: SharedEvent) {
        match event {
            SharedEvent::Cell {
                cell,
                found,
                version,
                ..
            }
            | SharedEvent::Ledger {
                ledger: cell,
                found,
                version,
                ..
            } => {
                self.cell = Some(cell.0);
                self.found = Some(found);
                self.version = Some(version);
            }
            SharedEvent::Use {
                device, version, ..
            } => {
                self.device = Some(device.0);
                self.version = Some(version);
            }
            SharedEvent::Reclaim { device, version } => {
                self.device = Some(device.0);
                self.version = Some(version);
            }
            SharedEvent::LockShared { version, .. } | SharedEvent::UnlockShared { version, .. } => {
                self.version = Some(version)
            }
            SharedEvent::BlockedOnCell { cell } => self.cell = Some(cell.0),
            SharedEvent::TryFailed { .. }
            | SharedEvent::Wait { .. }
            | SharedEvent::Notify { .. }
            | SharedEvent::Kill { .. }
            | SharedEvent::BlockedOnNotify { .. }
            | SharedEvent::OutOfRounds => {}
        }
    }

    #[inline]
    fn fill(&mut self, step: &ExportStep<'_>) {
        match *step.event {
            Event::Open { op, version } => {
                self.does = Some(op.to_string());
                self.version = Some(version);
            }
            Event::Part { part, version } => {
                self.part = Some(part);
                self.version = Some(version);
            }
            Event::CloseBuffer {
                slot,
                part,
                version,
            } => {
                self.slot = Some(slot);
                self.part = Some(part);
                self.version = Some(version);
            }
            Event::Lock { version, .. } => self.version = Some(version),
            Event::Vacate { version }
            | Event::MarkLive { version }
            | Event::MarkDead { version }
            | Event::Publish { version } => self.version = Some(version),
            Event::LockOutOfBounds { device } => self.device = Some(device.0),
            Event::Alloc {
                device,
                address,
                version,
            } => {
                self.buffer(step);
                self.device = Some(device.0);
                self.address = Some(address);
                self.version = Some(version);
            }
            Event::AllocFailed { device, version } => {
                self.device = Some(device.0);
                self.version = Some(version);
            }
            Event::Free {
                device,
                outcome,
                version,
            } => {
                self.buffer(step);
                self.device = Some(device.0);
                self.outcome = Some(words::free_outcome(outcome));
                self.version = Some(version);
            }
            Event::Stamp { device, sequence } => {
                self.device = Some(device.0);
                self.sequence = Some(sequence);
            }
            Event::Check { live, version } => {
                self.outcome = Some(if live { "live" } else { "dead" });
                self.version = Some(version);
            }
            Event::Claim { won, version } => {
                self.outcome = Some(if won { "won" } else { "lost" });
                self.version = Some(version);
            }
            Event::ConnRead { found, version } => {
                self.connection = found.map(|conn| conn.0);
                self.version = Some(version);
            }
            Event::Connect { conn } | Event::Accept { conn } | Event::BlockedOnSend { conn } => {
                self.connection = Some(conn.0);
            }
            Event::ConnStore { conn, version } => {
                self.connection = Some(conn.0);
                self.version = Some(version);
            }
            Event::Send {
                kind,
                chunk,
                conn,
                outcome,
                version,
            } => {
                self.buffer(step);
                self.message = Some(kind.message_kind().name());
                self.chunk = Some(chunk);
                self.connection = Some(conn.0);
                self.outcome = Some(words::send_outcome(outcome));
                self.version = Some(version);
            }
            Event::BlockedOnOp { op } => self.does = Some(op.to_string()),
            Event::Receive { conn, code } => {
                self.connection = Some(conn.0);
                self.outcome = Some(words::receive_code(code));
            }
            Event::Unlock { .. }
            | Event::BlockedOnLock { .. }
            | Event::DebugLog
            | Event::Stopped
            | Event::Finish => {}
            Event::Shared(shared) => self.fill_shared(shared),
        }
    }
}

/// Something that happened to a buffer, with the keys that `import jsonl` reads.
#[derive(Serialize)]
struct BufferLine<'a> {
    position: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<u64>,
    op: &'static str,
    device: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<Vec<&'a str>>,
}

/// Something that was seen of messages.
#[derive(Default, Serialize)]
struct SeenLine {
    position: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<u32>,
    seen: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<std::borrow::Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    references: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    buffers: Option<u64>,
}

impl SeenLine {
    fn answered(&mut self, answer: Option<ServerAnswer>) {
        if let Some((word, references)) = answer.map(words::answer) {
            self.answer = Some(word);
            self.references = references;
        }
    }

    fn about(&mut self, message: &Message) {
        let opens = message.kind.opens();
        self.message = Some(message.kind.name());
        self.device = Some(message.device);
        self.process = Some(message.pid);
        if message.kind.class().is_some() {
            self.address = Some(message.address);
            self.size = opens.then_some(message.size_bytes);
            let typed = message.extension.map(|e| e.memory.buffer_type());
            // The type in a release is said by the extended layout only.
            let said = typed.or(opens.then_some(message.buffer_type));
            self.memory = said.map(words::memory);
        }
        self.sent_at = Some(message.timestamp_ns).filter(|at| *at > 0);
        if let Some(extension) = message.extension {
            self.sequence = Some(extension.sequence).filter(|sequence| *sequence > 0);
            self.generation = Some(extension.generation);
            self.thread = Some(extension.thread);
        }
    }
}
