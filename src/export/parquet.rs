//! Apache Parquet: the tables of `csv`, with typed columns. Behind the feature `parquet`.
//!
//! Rows are kept until there are enough for a row group, so memory does not grow with their number.

use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;

use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::rows::{AllocationRow, MessageRow, table_of};
use super::source::SourceAbout;
use super::{ExportError, ExportSink, ExportTable, Exported, LeftOut, Wants};
use crate::import::allocation::AllocationRecord;
use crate::import::stacks::StackTable;
use crate::trace::observation::Observation;

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
        let Some(row) = self.left_out.row(AllocationRow::of(record, stacks)) else {
            return Ok(());
        };
        if row.has_stack {
            self.left_out.count("call stacks");
        }
        self.row(vec![
            Field::unsigned(row.time_ns),
            Field::word(row.op),
            Field::Number(Some(row.device.into())),
            Field::Text(row.memory.map(Cow::into_owned)),
            Field::unsigned(row.address),
            Field::unsigned(row.size_bytes),
            Field::unsigned(row.thread),
            Field::Number(row.process.map(i64::from)),
        ])
    }

    fn observation(&mut self, seen: &Observation) -> Result<(), ExportError> {
        let Some(row) = self.left_out.row(MessageRow::of(seen)) else {
            return Ok(());
        };
        self.row(vec![
            Field::unsigned(Some(row.position)),
            Field::unsigned(row.time_ns),
            Field::Number(row.connection.map(i64::from)),
            Field::word(row.seen),
            Field::word(row.message),
            Field::Number(Some(row.device.into())),
            Field::Text(row.memory.map(Cow::into_owned)),
            Field::unsigned(Some(row.address)),
            Field::unsigned(row.size_bytes),
            Field::Number(Some(row.process.into())),
            Field::unsigned(row.sequence),
            Field::unsigned(row.generation),
            Field::Number(row.thread.map(i64::from)),
            Field::Text(row.answer.map(str::to_owned)),
            Field::unsigned(row.references),
        ])
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
