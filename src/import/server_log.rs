//! Reads the log lines of the reference tracking servers, of every generation that is known.
//!
//! [`ServerLogReader`] turns a log into a stream of [`LogRecord`]s, one for every line, and keeps
//! an [`Accounting`] of what it made of them. [`to_message`] gives the tracking message that the
//! server must have received for a line to be there, with what the server said of it.
//!
//! It is not for the debug log blocks of the runtime, and it does not judge what it reads: the
//! message check of the oracle does that.
//!
//! What holds:
//! - Every line is in exactly one of `parsed`, `known_other` and `unrecognised`, and yields exactly
//!   one record.
//! - Memory does not grow with the length of the log or of a line.
//! - No input makes it panic; the only errors are those of the source itself.
//! - A line is recognised as a whole or not at all: a line that was cut off is not read as a
//!   shorter one, unless the cut leaves a whole line of another form or a shorter last number.
//!
//! Servers write from several threads, and to two streams: warnings about rejected messages go to
//! stderr. The order of lines is the order of messages only within one stream, and lines may
//! interleave; such mixtures are unrecognised.

mod cursor;
mod event;
mod line;
mod message;
mod other;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead};

pub(crate) use super::accounting::{Accounting, UnrecognisedReason};
pub(crate) use event::{LogEvent, LogRecord, OtherKind, Swept};
pub(crate) use message::to_message;

use super::accounting::LineClass;
use super::lines::{ReadLine, next_until_end, read_line};
use line::LineParser;

/// Iterates over the lines of a tracking server's log.
///
/// An error of the source ends the iteration.
pub struct ServerLogReader<R> {
    source: R,
    parser: LineParser,
    accounting: Accounting,
    line: Vec<u8>,
    ended: bool,
}

impl<R: BufRead> ServerLogReader<R> {
    /// Reads from `source`, which is at the start of a line.
    pub fn new(source: R) -> ServerLogReader<R> {
        ServerLogReader {
            source,
            parser: LineParser::default(),
            accounting: Accounting::default(),
            line: Vec::new(),
            ended: false,
        }
    }

    /// What became of the lines that were read, when no more are wanted.
    pub fn into_accounting(self) -> Accounting {
        self.accounting
    }

    fn next_record(&mut self) -> io::Result<Option<LogRecord>> {
        let what = match read_line(&mut self.source, &mut self.line)? {
            ReadLine::End => return Ok(None),
            ReadLine::Overlong => LogEvent::Unrecognised(UnrecognisedReason::Overlong),
            ReadLine::Whole { .. } => self.parser.parse(&String::from_utf8_lossy(&self.line)),
        };
        let class = match &what {
            LogEvent::KnownOther(_) => LineClass::KnownOther,
            LogEvent::Unrecognised(reason) => LineClass::Unrecognised(*reason),
            _ => LineClass::Parsed,
        };
        self.accounting.count(what.form(), class, &self.line);
        Ok(Some(LogRecord {
            line: self.accounting.lines,
            what,
        }))
    }
}

impl<R: BufRead> Iterator for ServerLogReader<R> {
    type Item = io::Result<LogRecord>;

    fn next(&mut self) -> Option<io::Result<LogRecord>> {
        next_until_end(self, |reader| &mut reader.ended, Self::next_record)
    }
}
