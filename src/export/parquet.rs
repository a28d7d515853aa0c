//! Apache Parquet: the tables of `csv`, with typed columns. Behind the feature `parquet`.
//!
//! Rows are kept until there are enough for a row group, so memory does not grow with their number.

use std::io::Write;
use std::sync::Arc;

use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::csv::table_of;
use super::source::SourceAbout;
use super::{ExportError, ExportSink, ExportTable, Exported, LeftOut, Wants, words};
use crate::import::allocation::{AllocationEvent, AllocationRecord, Buffer};
use crate::import::stacks::StackTable;
use crate::trace::observation::{Observation, Observed, ServerAnswer};
use crate::tracking::Message;

const GROUP_ROWS: usize = 1 << 16;

const ALLOCATIONS: &str = "message allocations {
    OPTIONAL INT64 time (INTEGER(64,false)); OPTIONAL BYTE_ARRAY op (STRING);
    OPTIONAL INT64 device; OPTIONAL BYTE_ARRAY memory (STRING);
    OPTIONAL INT64 address (INTEGER(64,false)); OPTIONAL INT64 size (INTEGER(64,false));
    OPTIONAL INT64 thread (INTEGER(64,false)); OPTIONAL INT64 process; }";
const MESSAGES: &str = "message messages {
    OPTIONAL INT64 position (INTEGER(64,false)); OPTIONAL INT64 time (INTEGER(64,false));
    OPTIONAL INT64 connection; OPTIONAL BYTE_ARRAY seen (STRING);
    OPTIONAL BYTE_ARRAY message (STRING); OPTIONAL INT64 device;
    OPTIONAL BYTE_ARRAY memory (STRING); OPTIONAL INT64 address (INTEGER(64,false));
    OPTIONAL INT64 size (INTEGER(64,false)); OPTIONAL INT64 process;
    OPTIONAL INT64 sequence (INTEGER(64,false)); OPTIONAL INT64 generation (INTEGER(64,false));
    OPTIONAL INT64 thread; OPTIONAL BYTE_ARRAY answer (STRING);
    OPTIONAL INT64 references (INTEGER(64,false)); }";

/// Writes row groups.
pub(super) struct Parquet<'a> {
    to: Option<Counted<'a>>,
    writer: Option<SerializedFileWriter<Counted<'a>>>,
    table: Option<ExportTable>,
    columns: Vec<Column>,
    waiting: usize,
    rows: u64,
    left_out: LeftOut,
}

/// Counts what is written.
struct Counted<'a> {
    to: &'a mut (dyn Write + Send + 'a),
    bytes: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// The rows of one column that wait for their group.
enum Column {
    Numbers(Vec<i64>, Vec<i16>),
    Texts(Vec<ByteArray>, Vec<i16>),
}

/// A field of a row.
enum Field {
    /// The bits of a number: unsigned columns say so.
    Number(Option<i64>),
    Text(Option<String>),
}

impl Field {
    fn unsigned(value: Option<u64>) -> Field {
        Field::Number(value.map(|value| value as i64))
    }

    fn word(value: &str) -> Field {
        Field::Text(Some(value.to_owned()))
    }
}

impl<'a> Parquet<'a> {
    pub(super) fn new(
        to: &'a mut (dyn Write + Send + 'a),
        table: Option<ExportTable>,
    ) -> Parquet<'a> {
        Parquet {
            to: Some(Counted { to, bytes: 0 }),
            writer: None,
            table,
            columns: Vec::new(),
            waiting: 0,
            rows: 0,
            left_out: LeftOut::default(),
        }
    }

    fn row(&mut self, fields: Vec<Field>) -> Result<(), ExportError> {
        if self.columns.is_empty() {
            let column = |field: &Field| match field {
                Field::Number(_) => Column::Numbers(Vec::new(), Vec::new()),
                Field::Text(_) => Column::Texts(Vec::new(), Vec::new()),
            };
            self.columns = fields.iter().map(column).collect();
        }
        for (column, field) in self.columns.iter_mut().zip(fields) {
            match (column, field) {
                (Column::Numbers(values, present), Field::Number(value)) => {
                    present.push(i16::from(value.is_some()));
                    values.extend(value);
                }
                (Column::Texts(values, present), Field::Text(value)) => {
                    present.push(i16::from(value.is_some()));
                    values.extend(value.map(|text| ByteArray::from(text.into_bytes())));
                }
                _ => unreachable!("all rows of a table have the same fields"),
            }
        }
        self.rows += 1;
        self.waiting += 1;
        match self.waiting < GROUP_ROWS {
            true => Ok(()),
            false => self.group(),
        }
    }

    /// Writes what waits.
    fn group(&mut self) -> Result<(), ExportError> {
        let Some(writer) = self.writer.as_mut().filter(|_| self.waiting > 0) else {
            return Ok(());
        };
        self.waiting = 0;
        let mut group = writer.next_row_group()?;
        for column in &mut self.columns {
            let Some(mut to) = group.next_column()? else {
                unreachable!("a table has as many columns as its schema")
            };
            match column {
                Column::Numbers(values, present) => {
                    to.typed::<Int64Type>()
                        .write_batch(values, Some(present), None)?;
                    (*values, *present) = Default::default();
                }
                Column::Texts(values, present) => {
                    to.typed::<ByteArrayType>()
                        .write_batch(values, Some(present), None)?;
                    (*values, *present) = Default::default();
                }
            }
            to.close()?;
        }
        group.close()?;
        Ok(())
    }

    fn message(
        &mut self,
        seen: &Observation,
        word: &str,
        message: &Message,
        answer: Option<ServerAnswer>,
    ) -> Result<(), ExportError> {
        let opens = message.kind.opens();
        let extension = message.extension;
        let typed = extension.map(|e| e.memory.buffer_type());
        let memory = typed.or(opens.then_some(message.buffer_type));
        let (answer, references) = answer.map(words::answer).unzip();
        self.row(vec![
            Field::unsigned(Some(seen.position)),
            Field::unsigned(seen.at_ns),
            Field::Number(seen.conn.map(i64::from)),
            Field::word(word),
            Field::word(message.kind.name()),
            Field::Number(Some(message.device.into())),
            Field::Text(memory.map(|memory| words::memory(memory).into_owned())),
            Field::unsigned(Some(message.address)),
            Field::unsigned(opens.then_some(message.size_bytes)),
            Field::Number(Some(message.pid.into())),
            Field::unsigned(extension.map(|extension| extension.sequence)),
            Field::unsigned(extension.map(|extension| extension.generation)),
            Field::Number(extension.map(|extension| extension.thread.into())),
            Field::Text(answer.map(str::to_owned)),
            Field::unsigned(references.flatten()),
        ])
    }
}

impl ExportSink for Parquet<'_> {
    fn begin(&mut self, about: &SourceAbout) -> Result<Wants, ExportError> {
        let table = table_of(about, self.table);
        let schema = match table {
            ExportTable::Allocations => ALLOCATIONS,
            ExportTable::Messages => MESSAGES,
        };
        let schema = Arc::new(parse_message_type(schema)?);
        let properties = Arc::new(WriterProperties::builder().build());
        if let Some(to) = self.to.take() {
            self.writer = Some(SerializedFileWriter::new(to, schema, properties)?);
        }
        Ok(table.wants())
    }

    fn allocation(
        &mut self,
        record: &AllocationRecord,
        stacks: &StackTable,
    ) -> Result<(), ExportError> {
        let (buffer, device, size) = match record.what {
            AllocationEvent::HolderEnded(_) => {
                self.left_out.count("ends of objects that hold a buffer");
                return Ok(());
            }
            AllocationEvent::Failed { device, size_bytes } => (None, device, Some(size_bytes)),
            _ => {
                let buffer: Buffer = record.buffer().unwrap_or_default();
                (Some(buffer), buffer.device, buffer.size_bytes)
            }
        };
        if buffer.is_some_and(|buffer| buffer.stack.is_some()) {
            self.left_out.count("call stacks");
        }
        let memory = buffer.map(|buffer| words::memory_of(buffer.buffer_type, stacks).into_owned());
        let process = buffer.and_then(|buffer| buffer.process);
        self.row(vec![
            Field::unsigned(record.at_ns),
            Field::word(words::op(&record.what)),
            Field::Number(Some(device.into())),
            Field::Text(memory),
            Field::unsigned(buffer.map(|buffer| buffer.address)),
            Field::unsigned(size),
            Field::unsigned(record.thread),
            Field::Number(process.map(i64::from)),
        ])
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
            _ => {
                self.left_out.count("what is seen beside messages");
                Ok(())
            }
        }
    }

    fn end(&mut self, _stacks: &StackTable) -> Result<Exported, ExportError> {
        self.group()?;
        let bytes = match self.writer.take() {
            Some(writer) => writer.into_inner()?.bytes,
            None => 0,
        };
        Ok(Exported {
            written: self.rows,
            noun: "row",
            bytes,
            left_out: std::mem::take(&mut self.left_out),
            ..Exported::default()
        })
    }
}
