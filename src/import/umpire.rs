//! Reads what Umpire records for its `replay` program: a JSON object a line.
//!
//! Two shapes: since Umpire 5 the events of its event store (`category`, `name`, `numeric_args`,
//! `string_args`), before that lines of kind `replay` (`event`, `payload`, `result`), of which an
//! allocation has two, without and with its result. A reallocation has two lines too; what it
//! allocates and releases may be told between them, and is not told twice.
//!
//! All pointers of a program are of one address space, so that a buffer's memory is not needed to
//! know it: there is one device, and which of Umpire's resources it comes from is left out.
//!
//! What holds:
//! - Every line is counted once: as parsed, as known-other (other events, comments, blank lines) or
//!   as unrecognised.
//! - Memory does not grow with the length of the log, but with reallocations that are under way, up
//!   to [`MAX_UNDER_WAY`].

use std::collections::VecDeque;
use std::io::BufRead;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::accounting::UnrecognisedReason;
use super::allocation::{AllocationEvent, AllocationRecord, Buffer};
use super::generic::Scalar;
use super::line_records::{LineFormat, LineRecords, ParsedLine};

/// Reallocations of which the first line was read and not the second: threads have one each.
pub(crate) const MAX_UNDER_WAY: usize = 4096;
const NO_FORM: UnrecognisedReason = UnrecognisedReason::NoKnownForm;

/// Iterates over the events of a replay log.
pub(crate) type UmpireReader<R> = LineRecords<R, UmpireParser>;

/// Reads lines.
#[derive(Debug, Default)]
pub(crate) struct UmpireParser {
    under_way: VecDeque<Reallocation>,
}

/// A reallocation of which the result is not told yet.
#[derive(Clone, Copy, Debug)]
struct Reallocation {
    allocator: Option<u64>,
    old: u64,
    size_bytes: u64,
    /// The old pointer's release was told since.
    released: bool,
    /// What was allocated since, with that size.
    allocated: Option<u64>,
}

impl<R: BufRead> UmpireReader<R> {
    /// Reads from `source`, which is at the start of a line.
    pub(crate) fn new(source: R) -> UmpireReader<R> {
        LineRecords::of(source, UmpireParser::default())
    }
}

/// A line, in either shape.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    name: Option<Scalar<'a>>,
    #[serde(borrow)]
    category: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    numeric_args: Args<'a>,
    #[serde(borrow, default)]
    string_args: Args<'a>,
    #[serde(borrow)]
    kind: Option<Scalar<'a>>,
    #[serde(borrow)]
    event: Option<Scalar<'a>>,
    #[serde(borrow, default)]
    payload: Args<'a>,
    /// Of an allocation an object, of a resource its pointer.
    #[serde(borrow)]
    result: Option<LineResult<'a>>,
    #[serde(borrow)]
    timestamp: Option<Scalar<'a>>,
}

/// What came out.
#[derive(Deserialize)]
#[serde(untagged)]
enum LineResult<'a> {
    #[serde(borrow)]
    Args(Args<'a>),
    Other(IgnoredAny),
}

/// The arguments that are looked for.
#[derive(Default, Deserialize)]
struct Args<'a> {
    #[serde(borrow)]
    size: Option<Scalar<'a>>,
    #[serde(borrow)]
    allocator_ref: Option<Scalar<'a>>,
    #[serde(borrow)]
    pointer: Option<Scalar<'a>>,
    #[serde(borrow)]
    memory_ptr: Option<Scalar<'a>>,
    #[serde(borrow)]
    ptr: Option<Scalar<'a>>,
    #[serde(borrow)]
    current_ptr: Option<Scalar<'a>>,
    #[serde(borrow)]
    new_ptr: Option<Scalar<'a>>,
}

/// What a line says of a buffer.
#[derive(Clone, Copy, Debug)]
struct Said {
    allocator: Option<u64>,
    /// What it is about: of a reallocation the old pointer.
    pointer: Option<u64>,
    /// The pointer that came out.
    result: Option<u64>,
    size_bytes: Option<u64>,
}

impl LineFormat for UmpireParser {
    fn parse(&mut self, line: &[u8], position: u64) -> Result<ParsedLine, UnrecognisedReason> {
        let line = std::str::from_utf8(line).map_err(|_| NO_FORM)?;
        if line.starts_with('#') {
            return Ok(ParsedLine::Other("other-comment"));
        }
        let line: Line<'_> = serde_json::from_str(line).map_err(|_| NO_FORM)?;
        let at_ns = line.timestamp.as_ref().and_then(Scalar::number);
        let record = move |what| AllocationRecord {
            position,
            at_ns,
            thread: None,
            what,
        };
        let name = line.name.as_ref().filter(|_| line.category.is_some());
        let event = line.event.as_ref().filter(|_| line.kind.is_some());
        match (name.and_then(Scalar::text), event.and_then(Scalar::text)) {
            (Some(name), _) => self.take(name, line.said(), &record),
            (None, Some(event)) => self.take(event, line.said_before(), &record),
            (None, None) => Err(NO_FORM),
        }
    }
}

impl Line<'_> {
    fn said(&self) -> Said {
        let (texts, numbers) = (&self.string_args, &self.numeric_args);
        Said {
            allocator: number(&[&texts.allocator_ref]),
            pointer: number(&[&texts.pointer, &texts.current_ptr]),
            result: number(&[&texts.pointer, &texts.new_ptr]),
            size_bytes: number(&[&numbers.size, &texts.size]),
        }
    }

    /// Of the older shape.
    fn said_before(&self) -> Said {
        let payload = &self.payload;
        let none = Args::default();
        let result = match &self.result {
            Some(LineResult::Args(args)) => args,
            Some(LineResult::Other(_)) | None => &none,
        };
        Said {
            allocator: number(&[&payload.allocator_ref]),
            pointer: number(&[&payload.memory_ptr, &payload.ptr, &payload.current_ptr]),
            result: number(&[&result.memory_ptr, &result.ptr, &result.new_ptr]),
            size_bytes: number(&[&payload.size]),
        }
    }
}

fn number(places: &[&Option<Scalar<'_>>]) -> Option<u64> {
    places.iter().find_map(|place| match place {
        Some(Scalar::Text(text)) if text == "(nil)" => Some(0),
        Some(value) => value.number(),
        None => None,
    })
}

impl UmpireParser {
    fn take(
        &mut self,
        name: &str,
        said: Said,
        record: &dyn Fn(AllocationEvent) -> AllocationRecord,
    ) -> Result<ParsedLine, UnrecognisedReason> {
        match name {
            "allocate" | "named_allocate" => {
                let size_bytes = said.size_bytes.ok_or(NO_FORM)?;
                let Some(address) = said.result else {
                    return Ok(ParsedLine::Part("allocate-begins"));
                };
                if address == 0 {
                    let what = AllocationEvent::Failed {
                        device: 0,
                        size_bytes,
                    };
                    return Ok(ParsedLine::Record("allocate-failure", record(what)));
                }
                let begun = self.under_way.iter_mut();
                for one in begun.filter(|one| one.allocated.is_none()) {
                    if one.size_bytes == size_bytes {
                        one.allocated = Some(address);
                    }
                }
                let what = AllocationEvent::Allocated(buffer(address, Some(size_bytes)));
                Ok(ParsedLine::Record("allocate", record(what)))
            }
            "deallocate" => {
                let address = said.pointer.ok_or(NO_FORM)?;
                if address == 0 {
                    return Ok(ParsedLine::Other("other-null"));
                }
                for one in self.under_way.iter_mut().filter(|one| one.old == address) {
                    one.released = true;
                }
                let what = AllocationEvent::Released(buffer(address, None));
                Ok(ParsedLine::Record("deallocate", record(what)))
            }
            "reallocate" => self.reallocate(said, record),
            _ => Ok(ParsedLine::Other("other-event")),
        }
    }

    fn reallocate(
        &mut self,
        said: Said,
        record: &dyn Fn(AllocationEvent) -> AllocationRecord,
    ) -> Result<ParsedLine, UnrecognisedReason> {
        let begun = |one: &Reallocation| match said.pointer.filter(|_| said.size_bytes.is_some()) {
            Some(old) => one.old == old,
            None => one.allocator == said.allocator,
        };
        let place = self.under_way.iter().position(begun);
        let Some(address) = said.result else {
            let (Some(old), Some(size_bytes)) = (said.pointer, said.size_bytes) else {
                return Err(NO_FORM);
            };
            if self.under_way.len() >= MAX_UNDER_WAY {
                self.under_way.pop_front();
            }
            self.under_way.push_back(Reallocation {
                allocator: said.allocator,
                old,
                size_bytes,
                released: false,
                allocated: None,
            });
            return Ok(ParsedLine::Part("reallocate-begins"));
        };
        let one = match (place, said.pointer, said.size_bytes) {
            (Some(place), ..) => self.under_way.remove(place).ok_or(NO_FORM)?,
            // One line says it all.
            (None, Some(old), Some(size_bytes)) => Reallocation {
                allocator: said.allocator,
                old,
                size_bytes,
                released: false,
                allocated: None,
            },
            _ => return Err(NO_FORM),
        };
        let mut records = Vec::new();
        if one.old != 0 && !one.released && one.allocated.is_none() {
            records.push(record(AllocationEvent::Released(buffer(one.old, None))));
        }
        if address != 0 && one.allocated != Some(address) {
            let new = buffer(address, Some(one.size_bytes));
            records.push(record(AllocationEvent::Allocated(new)));
        }
        Ok(match records.is_empty() {
            true => ParsedLine::Part("reallocate"),
            false => ParsedLine::Several("reallocate", records),
        })
    }
}

fn buffer(address: u64, size_bytes: Option<u64>) -> Buffer {
    Buffer {
        address,
        size_bytes,
        ..Buffer::default()
    }
}
