//! Reads the memory allocations that rocprofv3 traces: CSV, a row for each allocation and release.
//!
//! Columns are found by the names in the first row: `Kind`, `Operation`, `Agent_Id`,
//! `Allocation_Size`, `Address`, `Start_Timestamp`, `End_Timestamp`, and `Thread_Id` where there is
//! one. An allocation counts from its end on, a release from its beginning on. A release
//! says neither agent nor size: it is of the agent that its address was allocated on. Handles of
//! virtual memory (`VMEM`) are an address space of their own. The profiler writes rows as threads
//! hand them over: where they are not by time, [`sort`] sorts them.
//!
//! What holds:
//! - Every row is counted once: as parsed, as known-other (the header, blank lines, null pointers,
//!   rows of other kinds) or as unrecognised.
//! - Memory grows with what is live at once, not with the length of the trace; sorting takes
//!   [`CHUNK_BYTES`] of rows at a time.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::io::{self, BufRead, Seek, Write};

use rustc_hash::FxHashMap;
use tempfile::SpooledTempFile;

use super::accounting::UnrecognisedReason;
use super::allocation::{AllocationEvent, AllocationRecord, Buffer};
use super::by_time::ByTime;
use super::csv_row::{CsvRow, any_number, number};
use super::line_records::{LineFormat, LineRecords, ParsedLine};
use super::lines::{ReadLine, read_line};

const NO_FORM: UnrecognisedReason = UnrecognisedReason::NoKnownForm;
/// The buffer type of handles of virtual memory: none of the C++ runtime's.
const VIRTUAL: u8 = 64;

/// Released addresses that are remembered, so that a second release is known as one.
const RELEASED: usize = 1 << 16;

/// Rows that are sorted at once.
pub(crate) const CHUNK_BYTES: usize = 8 << 20;

/// Iterates over the rows of a trace of allocations.
pub(crate) type RocprofReader<R> = LineRecords<R, RocprofParser>;

/// Reads rows.
#[derive(Debug, Default)]
pub(crate) struct RocprofParser {
    row: CsvRow,
    columns: Option<RocprofColumns>,
    agents: Agents,
}

/// The agent of each address that is live, and of the last [`RELEASED`] that are not.
#[derive(Debug, Default)]
struct Agents {
    table: FxHashMap<(u8, u64), Agent>,
    released: VecDeque<((u8, u64), u64)>,
    releases: u64,
}

#[derive(Clone, Copy, Debug)]
struct Agent {
    device: i32,
    /// Which release was the last of its address; none, where it is live.
    release: Option<u64>,
}

impl Agents {
    fn allocate(&mut self, address: (u8, u64), device: i32) {
        let release = None;
        self.table.insert(address, Agent { device, release });
    }

    /// The agent of an address that is released; 0 where nothing is known of it.
    fn release(&mut self, address: (u8, u64)) -> i32 {
        let Some(agent) = self.table.get_mut(&address) else {
            return 0;
        };
        self.releases += 1;
        agent.release = Some(self.releases);
        let device = agent.device;
        self.released.push_back((address, self.releases));
        if self.released.len() > RELEASED
            && let Some((old, release)) = self.released.pop_front()
            && let Entry::Occupied(agent) = self.table.entry(old)
            && agent.get().release == Some(release)
        {
            agent.remove();
        }
        device
    }
}

/// Where the columns are.
#[derive(Clone, Copy, Debug)]
struct RocprofColumns {
    count: usize,
    kind: Option<usize>,
    operation: usize,
    agent: usize,
    size: usize,
    address: usize,
    start: Option<usize>,
    end: Option<usize>,
    thread: Option<usize>,
}

impl<R: BufRead> RocprofReader<R> {
    /// Reads from `source`, which is at the start of a line.
    pub(crate) fn new(source: R) -> RocprofReader<R> {
        LineRecords::of(source, RocprofParser::default())
    }
}

impl LineFormat for RocprofParser {
    fn parse(&mut self, line: &[u8], position: u64) -> Result<ParsedLine, UnrecognisedReason> {
        self.row.split(line).ok_or(NO_FORM)?;
        if let Some(columns) = columns_in(&self.row) {
            self.columns = Some(columns);
            return Ok(ParsedLine::Other("other-header"));
        }
        let columns = self.columns.ok_or(NO_FORM)?;
        if self.row.len() != columns.count {
            return Err(NO_FORM);
        }
        let field = |column: usize| self.row.field(column).ok_or(NO_FORM);
        if let Some(kind) = columns.kind
            && field(kind)? != "MEMORY_ALLOCATION"
        {
            let known = field(kind)?.ends_with("_MEMORY") || field(kind)?.starts_with("SCRATCH");
            return match known {
                true => Ok(ParsedLine::Other("other-kind")),
                false => Err(NO_FORM),
            };
        }
        let operation = field(columns.operation)?;
        let operation = operation
            .strip_prefix("MEMORY_ALLOCATION_")
            .unwrap_or(operation);
        let (form, buffer_type, releases) = match operation {
            "ALLOCATE" | "ALLOC" => ("allocate", 0, false),
            "VMEM_ALLOCATE" => ("vmem-allocate", VIRTUAL, false),
            "FREE" => ("free", 0, true),
            "VMEM_FREE" => ("vmem-free", VIRTUAL, true),
            "NONE" | "RECLAIM" => return Ok(ParsedLine::Other("other-operation")),
            _ => return Err(NO_FORM),
        };
        let address = any_number(field(columns.address)?)?;
        // An address is one's own once the allocation has ended, and until the release begins:
        // while calls overlap, their beginnings alone would have the wrong order.
        let at = match releases {
            true => columns.start,
            false => columns.end.or(columns.start),
        };
        let at_ns = match at {
            Some(column) => Some(number(field(column)?, 10)?),
            None => None,
        };
        let thread = match columns.thread.map(field).transpose()? {
            None | Some("") => None,
            Some(text) => Some(any_number(text)?),
        };
        let (device, size_bytes) = match releases {
            true => (0, None),
            false => {
                let agent = agent(field(columns.agent)?)?;
                (agent, Some(number(field(columns.size)?, 10)?))
            }
        };
        if address == 0 {
            return Ok(ParsedLine::Other("other-null"));
        }
        let device = match releases {
            true => self.agents.release((buffer_type, address)),
            false => {
                self.agents.allocate((buffer_type, address), device);
                device
            }
        };
        let buffer = Buffer {
            device,
            buffer_type,
            address,
            size_bytes,
            ..Buffer::default()
        };
        let what = match releases {
            true => AllocationEvent::Released(buffer),
            false => AllocationEvent::Allocated(buffer),
        };
        let record = AllocationRecord {
            position,
            at_ns,
            thread,
            what,
        };
        Ok(ParsedLine::Record(form, record))
    }
}

/// The rows of `source` in the order of their times, which is the one that an import keeps; `None`
/// where they stand in it, and `source` is at its start again.
pub(crate) fn sorted(source: &mut (impl BufRead + Seek)) -> io::Result<Option<SpooledTempFile>> {
    let mut last_ns = 0;
    let mut is_by_time = true;
    for record in RocprofReader::new(&mut *source) {
        let at_ns = record?.at_ns.unwrap_or(last_ns);
        is_by_time &= at_ns >= last_ns;
        last_ns = at_ns;
    }
    source.rewind()?;
    if is_by_time {
        return Ok(None);
    }
    let mut rows = SpooledTempFile::new(CHUNK_BYTES);
    sort(source, &mut |text| rows.write_all(text))?;
    rows.rewind()?;
    Ok(Some(rows))
}

/// Hands all lines of `source` to `text` by time; lines that say none go with the one before.
pub(crate) fn sort(
    mut source: impl BufRead,
    text: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut parser = RocprofParser::default();
    let mut sorted = ByTime::new();
    let mut chunk: Vec<(u64, Vec<u8>)> = Vec::new();
    let (mut chunks, mut bytes, mut last) = (0, 0, 0);
    let mut line = Vec::new();
    loop {
        let read = read_line(&mut source, &mut line)?;
        match read {
            // It stays one that is too long.
            ReadLine::Overlong => line.push(b'.'),
            ReadLine::Whole { .. } => {
                if let Ok(ParsedLine::Record(_, record)) = parser.parse(&line, 0) {
                    last = record.at_ns.unwrap_or(last);
                }
            }
            ReadLine::End => {}
        }
        if bytes > CHUNK_BYTES || read == ReadLine::End {
            chunk.sort_by_key(|(at_ns, _)| *at_ns);
            for (at_ns, line) in chunk.drain(..) {
                sorted.take(chunks, Some(at_ns), &line)?;
            }
            (chunks, bytes) = (chunks + 1, 0);
        }
        if read == ReadLine::End {
            return sorted.write(text, None);
        }
        bytes += line.len();
        chunk.push((last, line.clone()));
    }
}

/// The columns, if this row names them.
fn columns_in(row: &CsvRow) -> Option<RocprofColumns> {
    Some(RocprofColumns {
        count: row.len(),
        kind: row.find(&["Kind"]),
        operation: row.find(&["Operation"])?,
        agent: row.find(&["Agent_Id"])?,
        size: row.find(&["Allocation_Size"])?,
        address: row.find(&["Address"])?,
        start: row.find(&["Start_Timestamp"]),
        end: row.find(&["End_Timestamp"]),
        thread: row.find(&["Thread_Id"]),
    })
}

/// `4`, `Agent 4`, `GPU 4`.
fn agent(text: &str) -> Result<i32, UnrecognisedReason> {
    let digits = text.trim_start_matches(|c: char| c.is_ascii_alphabetic() || " -_:".contains(c));
    i32::try_from(number(digits, 10)?).map_err(|_| UnrecognisedReason::NumberOutOfRange)
}
