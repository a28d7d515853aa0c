//! The rows of a CSV log. Its first row that is no comment names the columns, in any order.

use std::io::BufRead;

use super::super::accounting::UnrecognisedReason;
use super::super::csv_row::CsvRow;
use super::super::line_records::{LineFormat, LineRecords, ParsedLine};
use super::super::stacks::StackTable;
use super::fields::{Field, Fields, Meaning, ONCE, field};

/// Iterates over the rows of a CSV log.
pub(crate) type CsvReader<R> = LineRecords<R, CsvParser>;

/// Reads rows.
#[derive(Debug, Default)]
pub(crate) struct CsvParser {
    row: CsvRow,
    /// How many columns there are, and what those mean that mean something; none before the header.
    count: usize,
    columns: Vec<(usize, Field)>,
    meaning: Meaning,
}

impl<R: BufRead> CsvReader<R> {
    /// Reads from `source`, which is at the start of a line.
    pub(crate) fn new(source: R) -> CsvReader<R> {
        LineRecords::of(source, CsvParser::default())
    }
}

impl LineFormat for CsvParser {
    fn parse(&mut self, line: &[u8], position: u64) -> Result<ParsedLine, UnrecognisedReason> {
        if line.first() == Some(&b'#') {
            return Ok(ParsedLine::Other("other-comment"));
        }
        let CsvParser {
            row,
            count,
            columns,
            meaning,
        } = self;
        row.split(line).ok_or(UnrecognisedReason::NoKnownForm)?;
        let has_header = *count > 0;
        if *count == row.len() {
            let mut fields = Fields::default();
            for (column, field) in columns.iter() {
                if let Some(text) = row.field(*column) {
                    fields.set(*field, text);
                }
            }
            match meaning.record(&fields, position) {
                Err(reason) if !is_header(row) => return Err(reason),
                Err(_) => {}
                read => return read,
            }
        } else if !is_header(row) {
            return Err(match has_header {
                true => UnrecognisedReason::OtherColumns,
                false => UnrecognisedReason::NoHeader,
            });
        }
        *count = row.len();
        columns.clear();
        columns.extend((0..row.len()).filter_map(|column| {
            let field = row.field(column).and_then(field)?;
            Some((column, field))
        }));
        Ok(ParsedLine::Other("other-header"))
    }

    fn names(&self) -> Option<&StackTable> {
        Some(self.meaning.names())
    }
}

/// Whether a row names the columns that are needed, each once.
fn is_header(row: &CsvRow) -> bool {
    let named = |wanted: Field| {
        (0..row.len())
            .filter(|column| row.field(*column).and_then(field) == Some(wanted))
            .count()
    };
    named(Field::Op) == 1
        && named(Field::Address) == 1
        && ONCE.into_iter().all(|field| named(field) <= 1)
}
