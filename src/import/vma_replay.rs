//! Reads the recordings of the Vulkan Memory Allocator: CSV, a row for each call, with its thread.
//!
//! The first line names the format, the second its version; a section of configuration follows.
//! A call is `thread,time,frame,function,…`: the pointer of the allocation, in hexadecimal without
//! a prefix, stands for its address. Of images the size is not recorded. A text of the user's,
//! which may have commas, comes last.
//!
//! What holds:
//! - Every line is counted once: as parsed, as known-other (the head, the configuration, calls that
//!   neither allocate nor free) or as unrecognised.
//! - Memory does not grow with the length of the recording.

use std::io::BufRead;

use super::accounting::UnrecognisedReason;
use super::allocation::{AllocationEvent, AllocationRecord, Buffer};
use super::clock::epoch_ns;
use super::csv_row::number;
use super::line_records::{LineFormat, LineRecords, ParsedLine};

/// What such a recording begins with.
pub(crate) const FIRST_LINE: &str = "Vulkan Memory Allocator,Calls recording";

const NO_FORM: UnrecognisedReason = UnrecognisedReason::NoKnownForm;
/// Fields that are looked at; the text of the user's is beyond them.
const MAX_FIELDS: usize = 32;

/// Iterates over the calls of a recording.
pub(crate) type VmaReader<R> = LineRecords<R, VmaParser>;

/// Reads lines.
#[derive(Debug, Default)]
pub(crate) struct VmaParser {
    in_configuration: bool,
}

/// Calls that allocate: where the size is, and the pointer that came out.
const ALLOCATES: [(&str, Option<usize>, usize); 6] = [
    ("vmaCreateBuffer", Some(5), 14),
    ("vmaCreateImage", None, 23),
    ("vmaAllocateMemory", Some(4), 13),
    ("vmaAllocateMemoryForBuffer", Some(4), 15),
    ("vmaAllocateMemoryForImage", Some(4), 15),
    ("vmaAllocateMemoryPages", Some(4), 13),
];
/// Calls that free: the pointer comes first.
const FREES: [&str; 4] = [
    "vmaDestroyBuffer",
    "vmaDestroyImage",
    "vmaFreeMemory",
    "vmaFreeMemoryPages",
];
/// The other calls that are recorded: the format ended with version 3 of the allocator, so there
/// are no more. A name that was cut off is none of them.
const OTHERS: [&str; 16] = [
    "vmaCreateAllocator",
    "vmaCreatePool",
    "vmaDefragmentationBegin",
    "vmaDefragmentationEnd",
    "vmaDestroyAllocator",
    "vmaDestroyPool",
    "vmaFlushAllocation",
    "vmaGetAllocationInfo",
    "vmaInvalidateAllocation",
    "vmaMakePoolAllocationsLost",
    "vmaMapMemory",
    "vmaResizeAllocation",
    "vmaSetAllocationUserData",
    "vmaSetPoolName",
    "vmaTouchAllocation",
    "vmaUnmapMemory",
];
const FUNCTION: usize = 3;
const FIRST_ARGUMENT: usize = 4;

impl<R: BufRead> VmaReader<R> {
    /// Reads from `source`, which is at the start of a line.
    pub(crate) fn new(source: R) -> VmaReader<R> {
        LineRecords::of(source, VmaParser::default())
    }
}

impl LineFormat for VmaParser {
    fn parse(&mut self, line: &[u8], position: u64) -> Result<ParsedLine, UnrecognisedReason> {
        // A text of the user's may be in any encoding.
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        if let Some(other) = self.head(text) {
            return Ok(ParsedLine::Other(other));
        }
        let mut fields = [""; MAX_FIELDS];
        let mut count = 0;
        for (place, field) in fields.iter_mut().zip(text.split(',')) {
            *place = field;
            count += 1;
        }
        let fields = &fields[..count];
        let field = |column: usize| fields.get(column).copied().ok_or(NO_FORM);
        let function = field(FUNCTION)?;
        let thread = number(field(0)?, 10)?;
        let at_ns = epoch_ns(field(1)?).ok_or(NO_FORM)?;
        number(field(2)?, 10)?;
        let record = |what| AllocationRecord {
            position,
            at_ns: Some(at_ns),
            thread: Some(thread),
            what,
        };
        if let Some((_, size, pointer)) = ALLOCATES.iter().find(|(name, ..)| *name == function) {
            let size_bytes = size.map(|column| number(field(column)?, 10)).transpose()?;
            let records: Vec<AllocationRecord> = pointers(field(*pointer)?)?
                .into_iter()
                .map(|address| match address {
                    0 => AllocationEvent::Failed {
                        device: 0,
                        size_bytes: size_bytes.unwrap_or(0),
                    },
                    _ => AllocationEvent::Allocated(buffer(address, size_bytes)),
                })
                .map(record)
                .collect();
            return Ok(several("allocates", records));
        }
        if function == "vmaCreateLostAllocation" {
            // It has no memory.
            let records = pointers(field(FIRST_ARGUMENT)?)?
                .into_iter()
                .map(|address| record(AllocationEvent::Allocated(buffer(address, Some(0)))))
                .collect();
            return Ok(several("allocates", records));
        }
        if FREES.contains(&function) {
            let records = pointers(field(FIRST_ARGUMENT)?)?
                .into_iter()
                .filter(|address| *address != 0)
                .map(|address| record(AllocationEvent::Released(buffer(address, None))))
                .collect();
            return Ok(several("frees", records));
        }
        if OTHERS.contains(&function) {
            return Ok(ParsedLine::Other("other-call"));
        }
        Err(NO_FORM)
    }
}

impl VmaParser {
    /// The form of a line that is no call.
    fn head(&mut self, text: &str) -> Option<&'static str> {
        match text {
            FIRST_LINE => return Some("other-head"),
            "Config,Begin" => self.in_configuration = true,
            "Config,End" => self.in_configuration = false,
            _ if self.in_configuration => {
                // A recording whose configuration was cut has calls all the same.
                let is_call = text.split(',').nth(FUNCTION).is_some_and(|function| {
                    text.starts_with(|c: char| c.is_ascii_digit()) && function.starts_with("vma")
                });
                if is_call {
                    return None;
                }
            }
            _ => {
                let (major, minor) = text.split_once(',')?;
                let is_version = number(major, 10).is_ok() && number(minor, 10).is_ok();
                return is_version.then_some("other-head");
            }
        }
        Some("other-configuration")
    }
}

fn several(form: &'static str, records: Vec<AllocationRecord>) -> ParsedLine {
    match records.is_empty() {
        true => ParsedLine::Other("other-null"),
        false => ParsedLine::Several(form, records),
    }
}

/// Pointers in hexadecimal, with blanks between them.
fn pointers(text: &str) -> Result<Vec<u64>, UnrecognisedReason> {
    let pointers: Vec<u64> = text
        .split_whitespace()
        .map(|digits| number(digits.strip_prefix("0x").unwrap_or(digits), 16))
        .collect::<Result<_, _>>()?;
    match pointers.is_empty() {
        true => Err(NO_FORM),
        false => Ok(pointers),
    }
}

fn buffer(address: u64, size_bytes: Option<u64>) -> Buffer {
    Buffer {
        address,
        size_bytes,
        ..Buffer::default()
    }
}
