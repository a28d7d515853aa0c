//! Reads allocation logs of RMM: CSV, a row for each allocation, release and failure, with the
//! thread it came from.
//!
//! Columns are found by the header's names, in any order; without a header they are
//! `Thread,Time,Action,Pointer,Size,Stream`. A row has all of them and no more: one that was cut
//! would say another size, one that another ran into too. Times of day wrap at midnight; seconds
//! since 1970 are taken too, and `deallocate` for `free`. RMM writes a log for each device, with
//! the device in the file's name (`rmm.dev1.csv`); else it is device 0. The logs of one process
//! become one by time ([`merge()`]).
//!
//! What holds:
//! - Every row is counted once: as parsed, as known-other (headers, blank lines, null pointers) or
//!   as unrecognised.
//! - Memory does not grow with the length of the log; a log has no call stacks.

mod merge;

use std::io::BufRead;

use super::accounting::UnrecognisedReason;
use super::allocation::{AllocationEvent, AllocationRecord, Buffer};
use super::clock::{DayClock, epoch_ns, time_of_day};
use super::csv_row::{CsvRow, any_number, number};
use super::line_records::{LineFormat, LineRecords, ParsedLine};
use crate::trace::file::ImportHeader;
pub(crate) use merge::{devices_of, merge};

const NO_FORM: UnrecognisedReason = UnrecognisedReason::NoKnownForm;

/// What a line begins with that says which file's the next ones are, where several were merged.
const FILE_MARK: &str = "#file ";

/// Iterates over the rows of an allocation log.
pub(crate) type RmmLogReader<R> = LineRecords<R, RmmParser>;

/// Reads rows.
#[derive(Debug)]
pub(crate) struct RmmParser {
    /// One for each file; the first only, unless several were merged.
    files: Vec<LogFile>,
    current: usize,
    row: CsvRow,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug)]
struct LogFile {
    device: i32,
    columns: RmmColumns,
    clock: DayClock,
}

/// Where the columns are.
#[derive(Clone, Copy, Debug)]
struct RmmColumns {
    count: usize,
    thread: Option<usize>,
    time: Option<usize>,
    action: usize,
    pointer: usize,
    size: usize,
}

const DEFAULT_COLUMNS: RmmColumns = RmmColumns {
    count: 6,
    thread: Some(0),
    time: Some(1),
    action: 2,
    pointer: 3,
    size: 4,
};

impl<R: BufRead> RmmLogReader<R> {
    /// Reads from `source`, which is at the start of a line of what the header names.
    pub(crate) fn new(source: R, header: &ImportHeader) -> RmmLogReader<R> {
        let files = match header.files.len() {
            0 | 1 => vec![LogFile::new(&header.source)],
            _ => header.files.iter().map(|name| LogFile::new(name)).collect(),
        };
        LineRecords::of(
            source,
            RmmParser {
                files,
                current: 0,
                row: CsvRow::default(),
            },
        )
    }
}

impl LogFile {
    fn new(name: &str) -> LogFile {
        LogFile {
            device: device_in(name).unwrap_or(0),
            columns: DEFAULT_COLUMNS,
            clock: DayClock::default(),
        }
    }
}

impl RmmParser {
    /// Takes a line that says which file's the next ones are.
    fn marked(&mut self, line: &[u8]) -> Option<()> {
        let text = std::str::from_utf8(line).ok()?.strip_prefix(FILE_MARK)?;
        let number: usize = text.trim_end().parse().ok()?;
        self.current = Some(number).filter(|number| *number < self.files.len())?;
        Some(())
    }

    /// Times of several files count from the midnight before the first of any of them.
    fn at(&mut self, of_day_ns: u64) -> u64 {
        if self.files.len() > 1 {
            for file in &mut self.files {
                file.clock.begin_near(of_day_ns);
            }
        }
        self.files[self.current].clock.at(of_day_ns)
    }
}

impl LineFormat for RmmParser {
    fn parse(&mut self, line: &[u8], position: u64) -> Result<ParsedLine, UnrecognisedReason> {
        if self.files.len() > 1 && self.marked(line).is_some() {
            return Ok(ParsedLine::Added);
        }
        self.row.split(line).ok_or(NO_FORM)?;
        if let Some(columns) = columns_in(&self.row) {
            self.files[self.current].columns = columns;
            return Ok(ParsedLine::Other("other-header"));
        }
        let LogFile {
            device, columns, ..
        } = self.files[self.current];
        if self.row.len() != columns.count {
            return Err(NO_FORM);
        }
        let field = |column: usize| self.row.field(column).ok_or(NO_FORM);
        let action = match field(columns.action)? {
            "allocate" => Action::Allocate,
            "allocate failure" => Action::AllocateFailure,
            "free" | "deallocate" => Action::Free,
            _ => return Err(NO_FORM),
        };
        let size_bytes = number(field(columns.size)?, 10)?;
        let address = pointer(field(columns.pointer)?)?;
        let thread = columns
            .thread
            .map(|column| any_number(field(column)?))
            .transpose()?;
        // Only a row that is used sets the clock: nothing is wrong with it any more.
        let at_ns = match columns.time {
            None => None,
            Some(column) => {
                let text = field(column)?;
                match time_of_day(text) {
                    Some(of_day_ns) => Some(self.at(of_day_ns)),
                    None => Some(epoch_ns(text).ok_or(NO_FORM)?),
                }
            }
        };
        let record = |what| AllocationRecord {
            position,
            at_ns,
            thread,
            what,
        };
        let (form, event): (_, fn(Buffer) -> AllocationEvent) = match action {
            Action::Allocate => ("allocate", AllocationEvent::Allocated),
            Action::Free => ("free", AllocationEvent::Released),
            Action::AllocateFailure => {
                let what = AllocationEvent::Failed { device, size_bytes };
                return Ok(ParsedLine::Record("allocate-failure", record(what)));
            }
        };
        let Some(address) = address else {
            // Nothing was asked for, or nothing is given back.
            return Ok(ParsedLine::Other("other-null"));
        };
        let what = event(Buffer {
            device,
            address,
            size_bytes: Some(size_bytes),
            ..Buffer::default()
        });
        Ok(ParsedLine::Record(form, record(what)))
    }
}

/// What a row is about.
#[derive(Clone, Copy, Debug)]
enum Action {
    Allocate,
    AllocateFailure,
    Free,
}

/// The columns, if this row names them.
fn columns_in(row: &CsvRow) -> Option<RmmColumns> {
    let action = row.find(&["action"])?;
    Some(RmmColumns {
        count: row.len(),
        thread: row.find(&["thread"]),
        time: row.find(&["time"]),
        action,
        pointer: row.find(&["pointer"])?,
        size: row.find(&["size"])?,
    })
}

/// `rmm.dev1.csv`, `rmm_dev1.txt` and `rmm.dev1` are of device 1.
fn device_in(name: &str) -> Option<i32> {
    name.rmatch_indices("dev").find_map(|(at, _)| {
        let (before, rest) = (&name[..at], &name[at + 3..]);
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let apart = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
        let whole = apart(before.chars().next_back()) && apart(rest[end..].chars().next());
        whole.then(|| rest[..end].parse().ok())?
    })
}

/// An address, `None` for the null pointer.
fn pointer(text: &str) -> Result<Option<u64>, UnrecognisedReason> {
    let address = match text.strip_prefix("0x") {
        Some(digits) => number(digits, 16)?,
        None if text == "(nil)" => 0,
        None => return Err(UnrecognisedReason::NoKnownForm),
    };
    Ok(Some(address).filter(|address| *address != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_in_names() {
        for (name, device) in [
            ("rmm_log.dev0.txt", Some(0)),
            ("rmm.dev12.csv", Some(12)),
            ("rmm.dev1", Some(1)),
            ("dev3", Some(3)),
            ("rmm-dev2_b.csv", Some(2)),
            ("device1.csv", None),
            ("subdev1.csv", None),
            ("rmm.dev.csv", None),
            ("rmm.csv", None),
            ("", None),
        ] {
            assert_eq!(device_in(name), device, "{name}");
        }
    }
}
