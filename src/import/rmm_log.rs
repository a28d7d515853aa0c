//! Reads allocation logs of RMM: CSV, a row for each allocation, release and failure, with the
//! thread it came from.
//!
//! Columns are found by the header's names, in any order; without a header they are
//! `Thread,Time,Action,Pointer,Size,Stream`. A row has all of them and no more: one that was cut
//! would say another size, one that another ran into too. Times of day wrap at midnight; seconds
//! since 1970 are taken too, and `deallocate` for `free`. RMM writes a log for each device, with
//! the device in the file's name (`rmm.dev1.csv`); else it is device 0.
//!
//! What holds:
//! - Every row is counted once: as parsed, as known-other (headers, blank lines, null pointers) or
//!   as unrecognised.
//! - Memory does not grow with the length of the log; a log has no call stacks.

use std::io::{self, BufRead};

use csv_core::{ReadRecordResult, Reader};

use super::accounting::{Accounting, LineClass, UnrecognisedReason};
use super::allocation::{AllocationEvent, AllocationRecord, AllocationSource, Buffer};
use super::clock::{DayClock, epoch_ns, time_of_day};
use super::lines::{ReadLine, read_line};
use super::stacks::StackTable;

/// Columns that a row has at most; what is beyond is no row of RMM's.
const MAX_COLUMNS: usize = 32;

/// Iterates over the rows of an allocation log.
pub struct RmmLogReader<R> {
    source: R,
    accounting: Accounting,
    no_stacks: StackTable,
    clock: DayClock,
    device: i32,
    columns: Columns,
    line: Vec<u8>,
    row: Row,
    ended: bool,
}

/// Where the columns are.
#[derive(Clone, Copy, Debug)]
struct Columns {
    count: usize,
    thread: Option<usize>,
    time: Option<usize>,
    action: usize,
    pointer: usize,
    size: usize,
}

const DEFAULT_COLUMNS: Columns = Columns {
    count: 6,
    thread: Some(0),
    time: Some(1),
    action: 2,
    pointer: 3,
    size: 4,
};

impl<R: BufRead> RmmLogReader<R> {
    /// Reads from `source`, which is at the start of a line of the file `name`.
    pub fn new(source: R, name: &str) -> RmmLogReader<R> {
        RmmLogReader {
            source,
            accounting: Accounting::default(),
            no_stacks: StackTable::default(),
            clock: DayClock::default(),
            device: device_in(name).unwrap_or(0),
            columns: DEFAULT_COLUMNS,
            line: Vec::new(),
            row: Row::default(),
            ended: false,
        }
    }

    fn next_record(&mut self) -> io::Result<Option<AllocationRecord>> {
        loop {
            let read = match read_line(&mut self.source, &mut self.line)? {
                ReadLine::End => return Ok(None),
                ReadLine::Overlong => Err(UnrecognisedReason::Overlong),
                ReadLine::Whole { .. } if self.line.trim_ascii().is_empty() => {
                    Ok(Read::Other("other-blank"))
                }
                ReadLine::Whole { .. } => match self.row.split(&self.line) {
                    Some(()) => self.read_row(),
                    None => Err(UnrecognisedReason::NoKnownForm),
                },
            };
            let (form, class, record) = match read {
                Ok(Read::Record(form, record)) => (form, LineClass::Parsed, Some(record)),
                Ok(Read::Other(form)) => (form, LineClass::KnownOther, None),
                Err(reason) => ("unrecognised", LineClass::Unrecognised(reason), None),
            };
            self.accounting.count(form, class, &self.line);
            if record.is_some() {
                return Ok(record);
            }
        }
    }

    fn read_row(&mut self) -> Result<Read, UnrecognisedReason> {
        const NO_FORM: UnrecognisedReason = UnrecognisedReason::NoKnownForm;
        if let Some(columns) = self.row.header() {
            self.columns = columns;
            return Ok(Read::Other("other-header"));
        }
        let Columns {
            count,
            thread,
            time,
            action,
            pointer,
            size,
        } = self.columns;
        if self.row.fields() != count {
            return Err(NO_FORM);
        }
        let field = |column: usize| self.row.field(column).ok_or(NO_FORM);
        let action = match field(action)? {
            "allocate" => Action::Allocate,
            "allocate failure" => Action::AllocateFailure,
            "free" | "deallocate" => Action::Free,
            _ => return Err(NO_FORM),
        };
        let size_bytes = number(field(size)?, 10)?;
        let address = self::pointer(field(pointer)?)?;
        let thread = thread
            .map(|column| thread_number(field(column)?))
            .transpose()?;
        // Last: only a row that is used sets the clock.
        let at_ns = match time {
            None => None,
            Some(column) => {
                let text = field(column)?;
                match time_of_day(text) {
                    Some(of_day_ns) => Some(self.clock.at(of_day_ns)),
                    None => Some(epoch_ns(text).ok_or(NO_FORM)?),
                }
            }
        };
        let record = |what| AllocationRecord {
            position: self.accounting.lines + 1,
            at_ns,
            thread,
            what,
        };
        let device = self.device;
        let (form, event): (_, fn(Buffer) -> AllocationEvent) = match action {
            Action::Allocate => ("allocate", AllocationEvent::Allocated),
            Action::Free => ("free", AllocationEvent::Released),
            Action::AllocateFailure => {
                let what = AllocationEvent::Failed { device, size_bytes };
                return Ok(Read::Record("allocate-failure", record(what)));
            }
        };
        let Some(address) = address else {
            // Nothing was asked for, or nothing is given back.
            return Ok(Read::Other("other-null"));
        };
        let what = event(Buffer {
            device,
            buffer_type: 0,
            address,
            size_bytes: Some(size_bytes),
            holder: None,
            stack: None,
        });
        Ok(Read::Record(form, record(what)))
    }
}

impl<R: BufRead> Iterator for RmmLogReader<R> {
    type Item = io::Result<AllocationRecord>;

    fn next(&mut self) -> Option<io::Result<AllocationRecord>> {
        if self.ended {
            return None;
        }
        let next = self.next_record().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

impl<R: BufRead> AllocationSource for RmmLogReader<R> {
    fn accounting(&self) -> &Accounting {
        &self.accounting
    }

    fn stacks(&self) -> &StackTable {
        &self.no_stacks
    }
}

/// What a row is about.
#[derive(Clone, Copy, Debug)]
enum Action {
    Allocate,
    AllocateFailure,
    Free,
}

/// What a row is.
enum Read {
    Record(&'static str, AllocationRecord),
    Other(&'static str),
}

/// One row, split at its commas.
#[derive(Debug, Default)]
struct Row {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Row {
    /// Splits a line. `None` where it is no whole row of text.
    fn split(&mut self, line: &[u8]) -> Option<()> {
        self.text.resize(line.len() + 1, 0);
        self.ends.resize(MAX_COLUMNS, 0);
        let mut reader = Reader::new();
        let (mut result, mut read, mut written, mut fields) =
            reader.read_record(line, &mut self.text, &mut self.ends);
        while result == ReadRecordResult::InputEmpty {
            // The end of the input, which the line's end is.
            let rest = (&mut self.text[written..], &mut self.ends[fields..]);
            let more = reader.read_record(&[], rest.0, rest.1);
            result = more.0;
            read += more.1;
            written += more.2;
            fields += more.3;
        }
        self.ends.truncate(fields);
        self.text.truncate(written);
        let whole = result == ReadRecordResult::Record && read >= line.trim_ascii_end().len();
        (whole && std::str::from_utf8(&self.text).is_ok()).then_some(())
    }

    fn fields(&self) -> usize {
        self.ends.len()
    }

    fn field(&self, column: usize) -> Option<&str> {
        let end = *self.ends.get(column)?;
        let start = match column {
            0 => 0,
            _ => *self.ends.get(column - 1)?,
        };
        std::str::from_utf8(self.text.get(start..end)?)
            .ok()
            .map(str::trim)
    }

    /// The columns, if this row names them.
    fn header(&self) -> Option<Columns> {
        let find = |name: &str| {
            (0..self.ends.len()).find(|column| {
                self.field(*column)
                    .is_some_and(|text| text.eq_ignore_ascii_case(name))
            })
        };
        Some(Columns {
            count: self.fields(),
            thread: find("thread"),
            time: find("time"),
            action: find("action")?,
            pointer: find("pointer")?,
            size: find("size")?,
        })
    }
}

/// `rmm.dev1.csv` is of device 1.
fn device_in(name: &str) -> Option<i32> {
    let (_, rest) = name.rsplit_once(".dev")?;
    let digits = rest.split('.').next()?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
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

/// A thread's id, decimal or hexadecimal.
fn thread_number(text: &str) -> Result<u64, UnrecognisedReason> {
    match text.strip_prefix("0x") {
        Some(digits) => number(digits, 16),
        None => number(text, 10),
    }
}

fn number(digits: &str, radix: u32) -> Result<u64, UnrecognisedReason> {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(UnrecognisedReason::NoKnownForm);
    }
    u64::from_str_radix(digits, radix).map_err(|_| UnrecognisedReason::NumberOutOfRange)
}
