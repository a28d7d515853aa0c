//! CSV: what happened to buffers, as `import csv` reads it, or the messages.
//!
//! Every field is a number or a word without a comma, but for the names of memories: those are
//! quoted where they must be.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;

use super::rows::{AllocationRow, MessageRow, table_of};
use super::source::SourceAbout;
use super::{ExportError, ExportSink, ExportTable, Exported, LeftOut, Out, Wants, words};
use crate::import::allocation::AllocationRecord;
use crate::import::stacks::StackTable;
use crate::trace::observation::Observation;

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
        let Some(row) = self.left_out.row(AllocationRow::of(record, stacks)) else {
            return Ok(());
        };
        if row.has_stack {
            self.left_out.count("call stacks");
        }
        let memory = Maybe(
            row.memory
                .and_then(in_a_row)
                .or(row.buffer_type.map(words::memory)),
        );
        writeln!(
            self.out.buffer(),
            "{},{},{},{memory},{},{},{},{}",
            Maybe(row.time_ns),
            row.op,
            row.device,
            Maybe(row.address.map(Address)),
            Maybe(row.size_bytes),
            Maybe(row.thread),
            Maybe(row.process),
        )?;
        self.rows += 1;
        Ok(self.out.written()?)
    }

    fn observation(&mut self, seen: &Observation) -> Result<(), ExportError> {
        let Some(row) = self.left_out.row(MessageRow::of(seen)) else {
            return Ok(());
        };
        writeln!(
            self.out.buffer(),
            "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
            row.position,
            Maybe(row.time_ns),
            Maybe(row.connection),
            row.seen,
            row.message,
            row.device,
            Maybe(row.memory),
            Address(row.address),
            Maybe(row.size_bytes),
            row.process,
            Maybe(row.sequence),
            Maybe(row.generation),
            Maybe(row.thread),
            Maybe(row.answer),
            Maybe(row.references),
        )?;
        self.rows += 1;
        Ok(self.out.written()?)
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

/// A field that may be empty.
struct Maybe<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Maybe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => Ok(()),
        }
    }
}

/// An address as a field.
struct Address(u64);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
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
