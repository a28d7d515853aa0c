//! Records of a text of which each line stands for itself: what the importers of such texts share.
//!
//! A [`LineFormat`] says what one line is; [`LineRecords`] reads the lines and accounts for them.
//!
//! What holds:
//! - Every line is counted once: as parsed, as known-other (blank lines among them) or as
//!   unrecognised.
//! - Memory does not grow with the length of the text, but by what the parser remembers.

use std::io::{self, BufRead};

use super::accounting::{Accounting, LineClass, UnrecognisedReason};
use super::allocation::{AllocationRecord, AllocationSource};
use super::lines::{ReadLine, line_at_hand, next_until_end, read_line};
use super::stacks::StackTable;

/// A byte order mark in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// What a line is.
#[derive(Clone, Debug)]
pub(crate) enum ParsedLine {
    /// A record, by the name of its form.
    Record(&'static str, AllocationRecord),
    /// Several records: what was at one address is at another, or many are named at once.
    Several(&'static str, Vec<AllocationRecord>),
    /// A line that says something, which later lines complete.
    Part(&'static str),
    /// Known, and no record.
    Other(&'static str),
    /// A line that was added when texts were merged: it is not counted.
    Added,
}

/// Says what one line is.
pub(crate) trait LineFormat {
    /// `position` is the number of the line.
    fn parse(&mut self, line: &[u8], position: u64) -> Result<ParsedLine, UnrecognisedReason>;

    /// What the lines so far have names for, where there is such.
    fn names(&self) -> Option<&StackTable> {
        None
    }
}

/// Iterates over the records of a text.
pub(crate) struct LineRecords<R, P> {
    source: R,
    parser: P,
    accounting: Accounting,
    no_stacks: StackTable,
    line: Vec<u8>,
    /// More records of the last line, in order.
    more: std::vec::IntoIter<AllocationRecord>,
    ended: bool,
}

impl<R: BufRead, P: LineFormat> LineRecords<R, P> {
    pub(super) fn of(source: R, parser: P) -> LineRecords<R, P> {
        LineRecords {
            source,
            parser,
            accounting: Accounting::default(),
            no_stacks: StackTable::default(),
            line: Vec::new(),
            more: Vec::new().into_iter(),
            ended: false,
        }
    }

    #[inline]
    fn next_record(&mut self) -> io::Result<Option<AllocationRecord>> {
        if let Some(record) = self.more.next() {
            return Ok(Some(record));
        }
        loop {
            // The usual case, made short: a whole line that need not be copied.
            if self.accounting.lines > 0
                && let Some(line) = line_at_hand(&mut self.source)
            {
                let read = parse(&mut self.parser, line, self.accounting.lines + 1);
                let record = count(&mut self.accounting, &mut self.more, read, line);
                let length = line.len() + 1;
                self.source.consume(length);
                if record.is_some() {
                    return Ok(record);
                }
                continue;
            }
            let read = read_line(&mut self.source, &mut self.line)?;
            // Some editors put a mark before the first line.
            if self.accounting.lines == 0 && self.line.starts_with(MARK) {
                self.line.drain(..MARK.len());
            }
            let read = match read {
                ReadLine::End => return Ok(None),
                ReadLine::Overlong => Err(UnrecognisedReason::Overlong),
                ReadLine::Whole { .. } => {
                    parse(&mut self.parser, &self.line, self.accounting.lines + 1)
                }
            };
            let record = count(&mut self.accounting, &mut self.more, read, &self.line);
            if record.is_some() {
                return Ok(record);
            }
        }
    }
}

#[inline]
fn parse<P: LineFormat>(
    parser: &mut P,
    line: &[u8],
    position: u64,
) -> Result<ParsedLine, UnrecognisedReason> {
    match line.trim_ascii().is_empty() {
        true => Ok(ParsedLine::Other("other-blank")),
        false => parser.parse(line, position),
    }
}

/// Counts a line. Its record, if it is one; of several the first, and the others are put into
/// `more`.
#[inline]
fn count(
    accounting: &mut Accounting,
    more: &mut std::vec::IntoIter<AllocationRecord>,
    read: Result<ParsedLine, UnrecognisedReason>,
    line: &[u8],
) -> Option<AllocationRecord> {
    let (form, class, record) = match read {
        Ok(ParsedLine::Record(form, record)) => (form, LineClass::Parsed, Some(record)),
        Ok(ParsedLine::Several(form, records)) => {
            *more = records.into_iter();
            (form, LineClass::Parsed, more.next())
        }
        Ok(ParsedLine::Part(form)) => (form, LineClass::Parsed, None),
        Ok(ParsedLine::Other(form)) => (form, LineClass::KnownOther, None),
        Ok(ParsedLine::Added) => return None,
        Err(reason) => ("unrecognised", LineClass::Unrecognised(reason), None),
    };
    accounting.count(form, class, line);
    record
}

impl<R: BufRead, P: LineFormat> Iterator for LineRecords<R, P> {
    type Item = io::Result<AllocationRecord>;

    #[inline]
    fn next(&mut self) -> Option<io::Result<AllocationRecord>> {
        next_until_end(self, |reader| &mut reader.ended, Self::next_record)
    }
}

impl<R: BufRead, P: LineFormat> AllocationSource for LineRecords<R, P> {
    fn accounting(&self) -> &Accounting {
        &self.accounting
    }

    fn stacks(&self) -> &StackTable {
        self.parser.names().unwrap_or(&self.no_stacks)
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::super::generic::CsvReader;
    use super::super::lines::MAX_LINE_BYTES;
    use super::*;

    #[test]
    fn lines_are_the_same_wherever_a_buffer_ends() {
        let long = "x".repeat(MAX_LINE_BYTES + 1);
        let text = format!(
            "\u{feff}op,address\n\nalloc,0x10\r\n  \nnot a row\n{long}\nalloc,0x20\n#\nfree,0x10\n\
             free,0x20"
        );
        let read = |capacity| {
            let mut records = CsvReader::new(BufReader::with_capacity(capacity, text.as_bytes()));
            let all: Vec<_> = records.by_ref().map(|record| record.unwrap()).collect();
            (all, format!("{:?}", records.accounting()))
        };
        let whole = read(1 << 20);
        assert_eq!(whole.0.len(), 4);
        for capacity in 1..80 {
            assert_eq!(read(capacity), whole, "{capacity}");
        }
    }
}
