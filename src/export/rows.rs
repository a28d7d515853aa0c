//! The rows of the two tables that `csv` and `parquet` write: what stands in which column, once for
//! both. How a field is written is theirs.

use std::borrow::Cow;

use super::source::SourceAbout;
use super::{ExportTable, words};
use crate::import::allocation::{AllocationEvent, AllocationRecord};
use crate::import::stacks::StackTable;
use crate::trace::observation::{Observation, Observed};
use crate::tracking::Message;

/// The table that is wanted of an input: that of buffers, unless it is about messages only.
pub(super) fn table_of(about: &SourceAbout, wanted: Option<ExportTable>) -> ExportTable {
    wanted.unwrap_or(match about.messages_only {
        true => ExportTable::Messages,
        false => ExportTable::Allocations,
    })
}

/// What happened to a buffer, column by column. `None` is an empty field.
pub(super) struct AllocationRow<'a> {
    pub(super) time_ns: Option<u64>,
    pub(super) op: &'static str,
    pub(super) device: i32,
    /// The C++ buffer type, for a table that cannot hold the name.
    pub(super) buffer_type: Option<u8>,
    pub(super) memory: Option<Cow<'a, str>>,
    pub(super) address: Option<u64>,
    pub(super) size_bytes: Option<u64>,
    pub(super) thread: Option<u64>,
    pub(super) process: Option<u32>,
    /// There is one, and the table has no column for it.
    pub(super) has_stack: bool,
}

impl<'a> AllocationRow<'a> {
    /// The row of a record, or what it is where no row has a place for it.
    pub(super) fn of(
        record: &AllocationRecord,
        stacks: &'a StackTable,
    ) -> Result<AllocationRow<'a>, &'static str> {
        let op = words::op(&record.what);
        let (time_ns, thread) = (record.at_ns, record.thread);
        match record.what {
            AllocationEvent::HolderEnded(_) => Err("ends of objects that hold a buffer"),
            AllocationEvent::Failed { device, size_bytes } => Ok(AllocationRow {
                time_ns,
                op,
                device,
                buffer_type: None,
                memory: None,
                address: None,
                size_bytes: Some(size_bytes),
                thread,
                process: None,
                has_stack: false,
            }),
            _ => {
                let buffer = record.buffer().unwrap_or_default();
                Ok(AllocationRow {
                    time_ns,
                    op,
                    device: buffer.device,
                    buffer_type: Some(buffer.buffer_type),
                    memory: Some(words::memory_of(buffer.buffer_type, stacks)),
                    address: Some(buffer.address),
                    size_bytes: buffer.size_bytes,
                    thread,
                    process: buffer.process,
                    has_stack: buffer.stack.is_some(),
                })
            }
        }
    }
}

/// A message, column by column. `None` is an empty field.
pub(super) struct MessageRow {
    pub(super) position: u64,
    pub(super) time_ns: Option<u64>,
    pub(super) connection: Option<u32>,
    /// What became of the message.
    pub(super) seen: &'static str,
    pub(super) message: &'static str,
    pub(super) device: i32,
    pub(super) memory: Option<Cow<'static, str>>,
    pub(super) address: u64,
    pub(super) size_bytes: Option<u64>,
    pub(super) process: i32,
    pub(super) sequence: Option<u64>,
    pub(super) generation: Option<u64>,
    pub(super) thread: Option<u32>,
    pub(super) answer: Option<&'static str>,
    pub(super) references: Option<u64>,
}

impl MessageRow {
    /// The row of what was seen, or what it is where it is no message.
    pub(super) fn of(seen: &Observation) -> Result<MessageRow, &'static str> {
        let (word, message, answer) = match &seen.what {
            Observed::Message {
                message,
                server_answer,
                ..
            } => ("message", message, *server_answer),
            Observed::TookEffect {
                message,
                server_answer,
            } => ("took-effect", message, *server_answer),
            Observed::Dropped { message } => ("dropped", message, None),
            Observed::MixedFrame | Observed::UnknownFrame { .. } | Observed::TornFrame { .. } => {
                return Err("frames that are no message");
            }
            Observed::Swept { .. } => return Err("sweeps of dead processes"),
            Observed::ServerStarted => return Err("starts of a server"),
            Observed::Opened | Observed::Closed => {
                return Err("openings and closings of connections");
            }
        };
        let (answer, references) = answer.map(words::answer).unzip();
        let extension = message.extension;
        let opens = message.kind.opens();
        Ok(MessageRow {
            position: seen.position,
            time_ns: seen.at_ns,
            connection: seen.conn,
            seen: word,
            message: message.kind.name(),
            device: message.device,
            memory: memory_of(message).map(words::memory),
            address: message.address,
            size_bytes: opens.then_some(message.size_bytes),
            process: message.pid,
            sequence: extension.map(|extension| extension.sequence),
            generation: extension.map(|extension| extension.generation),
            thread: extension.map(|extension| extension.thread),
            answer,
            references: references.flatten(),
        })
    }
}

/// The buffer type of a message where it says one.
fn memory_of(message: &Message) -> Option<u8> {
    match message.extension {
        Some(extension) => Some(extension.memory.buffer_type()),
        None => message.kind.opens().then_some(message.buffer_type),
    }
}
