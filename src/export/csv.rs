//! CSV: what happened to buffers, as `import csv` reads it, or the messages.
//!
//! Every field is a number or a word without a comma, but for the names of memories: those are
//! quoted where they must be.

use std::borrow::Cow;
use std::io::Write;

use super::source::SourceAbout;
use super::{ExportError, ExportSink, ExportTable, Exported, LeftOut, Out, Wants, words};
use crate::import::allocation::{AllocationEvent, AllocationRecord};
use crate::import::stacks::StackTable;
use crate::trace::observation::{Observation, Observed, ServerAnswer};
use crate::tracking::Message;

const ALLOCATIONS: &str = "time,op,device,memory,address,size,thread,process\n";
const MESSAGES: &str = "position,time,connection,seen,message,device,memory,address,size,process,\
    sequence,generation,thread,answer,references\n";

/// Writes rows.
pub(super) struct Csv<'a> {
    out: Out<'a>,
    table: Option<ExportTable>,
    rows: u64,
    left_out: LeftOut,
}

impl<'a> Csv<'a> {
    pub(super) fn new(to: &'a mut (dyn Write + Send + 'a), table: Option<ExportTable>) -> Csv<'a> {
        Csv {
            out: Out::new(to),
            table,
            rows: 0,
            left_out: LeftOut::default(),
        }
    }
}

/// A field that may be empty.
pub(super) struct Maybe<T>(pub(super) Option<T>);

impl<T: std::fmt::Display> std::fmt::Display for Maybe<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => Ok(()),
        }
    }
}

/// The table that is wanted of an input: that of buffers, unless it is about messages only.
pub(super) fn table_of(about: &SourceAbout, wanted: Option<ExportTable>) -> ExportTable {
    wanted.unwrap_or(match about.messages_only {
        true => ExportTable::Messages,
        false => ExportTable::Allocations,
    })
}

impl ExportSink for Csv<'_> {
    fn begin(&mut self, about: &SourceAbout) -> Result<Wants, ExportError> {
        let table = table_of(about, self.table);
        let head = match table {
            ExportTable::Allocations => ALLOCATIONS,
            ExportTable::Messages => MESSAGES,
        };
        self.out.buffer().extend_from_slice(head.as_bytes());
        Ok(table.wants())
    }

    fn allocation(
        &mut self,
        record: &AllocationRecord,
        stacks: &StackTable,
    ) -> Result<(), ExportError> {
        let op = words::op(&record.what);
        let (time, thread) = (Maybe(record.at_ns), Maybe(record.thread));
        let out = self.out.buffer();
        match (record.what, record.buffer()) {
            (AllocationEvent::HolderEnded(_), _) => {
                self.left_out.count("ends of objects that hold a buffer");
                return Ok(());
            }
            (AllocationEvent::Failed { device, size_bytes }, _) => {
                writeln!(out, "{time},{op},{device},,,{size_bytes},{thread},")?;
            }
            (_, buffer) => {
                let buffer = buffer.unwrap_or_default();
                let memory = in_a_row(words::memory_of(buffer.buffer_type, stacks))
                    .unwrap_or_else(|| words::memory(buffer.buffer_type));
                let (size, process) = (Maybe(buffer.size_bytes), Maybe(buffer.process));
                writeln!(
                    out,
                    "{time},{op},{},{memory},{:#x},{size},{thread},{process}",
                    buffer.device, buffer.address,
                )?;
                if buffer.stack.is_some() {
                    self.left_out.count("call stacks");
                }
            }
        }
        self.rows += 1;
        Ok(self.out.written()?)
    }

    fn observation(&mut self, seen: &Observation) -> Result<(), ExportError> {
        match &seen.what {
            Observed::Message {
                message,
                server_answer,
                ..
            } => self.message(seen, "message", message, *server_answer),
            Observed::TookEffect {
                message,
                server_answer,
            } => self.message(seen, "took-effect", message, *server_answer),
            Observed::Dropped { message } => self.message(seen, "dropped", message, None),
            Observed::MixedFrame | Observed::UnknownFrame { .. } | Observed::TornFrame { .. } => {
                self.left_out.count("frames that are no message");
                Ok(())
            }
            Observed::Swept { .. } => {
                self.left_out.count("sweeps of dead processes");
                Ok(())
            }
            Observed::ServerStarted => {
                self.left_out.count("starts of a server");
                Ok(())
            }
            Observed::Opened | Observed::Closed => {
                self.left_out.count("openings and closings of connections");
                Ok(())
            }
        }
    }

    fn end(&mut self, _stacks: &StackTable) -> Result<Exported, ExportError> {
        Ok(Exported {
            written: self.rows,
            noun: "row",
            bytes: self.out.end()?,
            left_out: std::mem::take(&mut self.left_out),
            ..Exported::default()
        })
    }
}

impl Csv<'_> {
    fn message(
        &mut self,
        seen: &Observation,
        word: &str,
        message: &Message,
        answer: Option<ServerAnswer>,
    ) -> Result<(), ExportError> {
        let opens = message.kind.opens();
        let typed = message.extension.map(|e| e.memory.buffer_type());
        let memory = typed.or(opens.then_some(message.buffer_type));
        let memory = Maybe(memory.map(words::memory));
        let size = Maybe(opens.then_some(message.size_bytes));
        let extension = message.extension;
        let (answer, references) = answer.map(words::answer).unzip();
        writeln!(
            self.out.buffer(),
            "{},{},{},{word},{},{},{memory},{:#x},{size},{},{},{},{},{},{}",
            seen.position,
            Maybe(seen.at_ns),
            Maybe(seen.conn),
            message.kind.name(),
            message.device,
            message.address,
            message.pid,
            Maybe(extension.map(|extension| extension.sequence)),
            Maybe(extension.map(|extension| extension.generation)),
            Maybe(extension.map(|extension| extension.thread)),
            Maybe(answer),
            Maybe(references.flatten()),
        )?;
        self.rows += 1;
        Ok(self.out.written()?)
    }
}

/// A name as a field of a row; `None` where no row can hold it, since a row is one line.
fn in_a_row(name: Cow<'_, str>) -> Option<Cow<'_, str>> {
    if name.contains(char::is_control) || name.trim() != name {
        return None;
    }
    Some(match name.contains([',', '"']) {
        true => Cow::Owned(format!("\"{}\"", name.replace('"', "\"\""))),
        false => name,
    })
}
