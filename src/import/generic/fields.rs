//! What the fields of a row mean, by their names, whatever text they came from.

use rustc_hash::FxHashMap;

use super::super::accounting::UnrecognisedReason;
use super::super::allocation::{AllocationEvent, AllocationRecord, Buffer};
use super::super::clock::{DayClock, epoch_ns, time_of_day};
use super::super::csv_row::any_number;
use super::super::line_records::ParsedLine;
use super::super::stacks::StackTable;
use super::MAX_NAMES;

/// A field that has a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// With what its numbers without a point are to be multiplied by to be ns.
    Time(u64),
    Op,
    Device,
    Memory,
    Address,
    Size,
    Thread,
    Process,
    Holder,
}

/// Names of fields; the documented one of each first.
const NAMES: [(&str, Field); 42] = [
    ("time", Field::Time(1)),
    ("op", Field::Op),
    ("device", Field::Device),
    ("memory", Field::Memory),
    ("address", Field::Address),
    ("size", Field::Size),
    ("thread", Field::Thread),
    ("process", Field::Process),
    ("holder", Field::Holder),
    ("time_ns", Field::Time(1)),
    ("time_us", Field::Time(1000)),
    ("time_ms", Field::Time(1_000_000)),
    ("time_s", Field::Time(1_000_000_000)),
    ("timestamp", Field::Time(1)),
    ("timestamp_ns", Field::Time(1)),
    ("timestamp_us", Field::Time(1000)),
    ("timestamp_ms", Field::Time(1_000_000)),
    ("timestamp_s", Field::Time(1_000_000_000)),
    ("ts", Field::Time(1)),
    ("operation", Field::Op),
    ("action", Field::Op),
    ("event", Field::Op),
    ("device_id", Field::Device),
    ("gpu", Field::Device),
    ("memory_type", Field::Memory),
    ("buffer_type", Field::Memory),
    ("pool", Field::Memory),
    ("heap", Field::Memory),
    ("addr", Field::Address),
    ("pointer", Field::Address),
    ("ptr", Field::Address),
    ("buffer_id", Field::Address),
    ("size_bytes", Field::Size),
    ("bytes", Field::Size),
    ("nbytes", Field::Size),
    ("thread_id", Field::Thread),
    ("tid", Field::Thread),
    ("process_id", Field::Process),
    ("pid", Field::Process),
    ("device_index", Field::Device),
    ("thread_name", Field::Thread),
    ("length", Field::Size),
];

/// Fields that are named once: of two, which is meant nobody knows.
pub(super) const ONCE: [Field; 7] = [
    Field::Op,
    Field::Address,
    Field::Size,
    Field::Device,
    Field::Memory,
    Field::Process,
    Field::Holder,
];

/// The field of that name, in any case.
pub(super) fn field(name: &str) -> Option<Field> {
    let name = name.trim();
    NAMES
        .into_iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, field)| field)
}

/// The fields of a row that have a meaning, as texts. Empty: it does not have it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields<'a> {
    pub(crate) time: &'a str,
    /// ns of a time without a point.
    pub(crate) time_unit_ns: u64,
    pub(crate) op: &'a str,
    pub(crate) device: &'a str,
    pub(crate) memory: &'a str,
    pub(crate) address: &'a str,
    pub(crate) size: &'a str,
    pub(crate) thread: &'a str,
    pub(crate) process: &'a str,
    pub(crate) holder: &'a str,
}

impl<'a> Fields<'a> {
    pub(crate) fn set(&mut self, field: Field, text: &'a str) {
        match field {
            Field::Time(unit_ns) => (self.time, self.time_unit_ns) = (text, unit_ns),
            Field::Op => self.op = text,
            Field::Device => self.device = text,
            Field::Memory => self.memory = text,
            Field::Address => self.address = text,
            Field::Size => self.size = text,
            Field::Thread => self.thread = text,
            Field::Process => self.process = text,
            Field::Holder => self.holder = text,
        }
    }
}

/// What a row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Alloc,
    Free,
    ReleaseRequested,
    HolderEnded,
    Fail,
}

const OPS: [(&str, Op); 18] = [
    ("alloc", Op::Alloc),
    ("free", Op::Free),
    ("release-requested", Op::ReleaseRequested),
    ("holder-ended", Op::HolderEnded),
    ("fail", Op::Fail),
    ("allocate", Op::Alloc),
    ("allocated", Op::Alloc),
    ("malloc", Op::Alloc),
    ("dealloc", Op::Free),
    ("deallocate", Op::Free),
    ("deallocated", Op::Free),
    ("release", Op::Free),
    ("freed", Op::Free),
    ("free_requested", Op::ReleaseRequested),
    ("free_completed", Op::Free),
    ("failed", Op::Fail),
    ("allocate failure", Op::Fail),
    ("oom", Op::Fail),
];

fn op(text: &str) -> Option<Op> {
    OPS.into_iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(text))
        .map(|(_, op)| op)
}

/// What earlier rows said that later ones need.
#[derive(Debug, Default)]
pub(super) struct Meaning {
    clock: DayClock,
    /// Names of memories.
    names: StackTable,
    threads: FxHashMap<Box<str>, u64>,
}

/// Memories of the C++ runtime, by their buffer type.
const MEMORIES: [(&str, u8); 14] = [
    ("dram", 0),
    ("l1", 1),
    ("system", 2),
    ("l1_small", 3),
    ("trace", 4),
    ("system_memory", 2),
    ("host", 2),
    ("0", 0),
    ("1", 1),
    ("2", 2),
    ("3", 3),
    ("4", 4),
    ("device", 0),
    ("vram", 0),
];

impl Meaning {
    /// What the rows so far have names for.
    pub(crate) fn names(&self) -> &StackTable {
        &self.names
    }

    /// The record that a row is.
    pub(crate) fn record(
        &mut self,
        fields: &Fields<'_>,
        position: u64,
    ) -> Result<ParsedLine, UnrecognisedReason> {
        let op = op(fields.op).ok_or(UnrecognisedReason::BadField("op"))?;
        let device = match fields.device {
            "" => 0,
            text => device(text).map_err(of("device"))?,
        };
        let size_bytes = match fields.size {
            "" => None,
            text => Some(any_number(text).map_err(of("size"))?),
        };
        let number = |text| any_number(text).map_err(of("address"));
        let address = match fields.address {
            text if text.starts_with(|c: char| c.is_ascii_digit()) => Some(number(text)?),
            "" if op != Op::Fail => return Err(UnrecognisedReason::BadField("address")),
            "" | "null" | "None" | "(nil)" | "nil" | "NULL" => None,
            text => Some(number(text)?),
        };
        let process = match fields.process {
            "" => None,
            text => {
                let number = any_number(text).map_err(of("process"))?;
                Some(u32::try_from(number).map_err(|_| UnrecognisedReason::NumberOutOfRange)?)
            }
        };
        let buffer_type = self.memory(fields.memory)?;
        let thread = self.thread(fields.thread)?;
        // Last: only a row that is used sets the clock.
        let at_ns = self.time(fields.time, fields.time_unit_ns);
        let at_ns = at_ns.map_err(of("time"))?;
        let record = |what| AllocationRecord {
            position,
            at_ns,
            thread,
            what,
        };
        if op == Op::Fail {
            let size_bytes = size_bytes.unwrap_or(0);
            let what = AllocationEvent::Failed { device, size_bytes };
            return Ok(ParsedLine::Record("fail", record(what)));
        }
        let Some(address) = address else {
            return Ok(ParsedLine::Other("other-null"));
        };
        let buffer = Buffer {
            process,
            device,
            buffer_type,
            address,
            size_bytes: size_bytes.filter(|bytes| *bytes > 0 || op == Op::Alloc),
            // A log of somebody's own may have a column of that name that holds something else.
            holder: any_number(fields.holder).ok(),
            stack: None,
        };
        let (form, what) = match op {
            Op::Alloc => ("alloc", AllocationEvent::Allocated(buffer)),
            Op::Free => ("free", AllocationEvent::Released(buffer)),
            Op::HolderEnded => ("holder-ended", AllocationEvent::HolderEnded(buffer)),
            Op::ReleaseRequested | Op::Fail => (
                "release-requested",
                AllocationEvent::ReleaseRequested(buffer),
            ),
        };
        Ok(ParsedLine::Record(form, record(what)))
    }

    fn time(&mut self, text: &str, unit_ns: u64) -> Result<Option<u64>, UnrecognisedReason> {
        if text.is_empty() {
            return Ok(None);
        }
        if text.as_bytes().get(2) == Some(&b':') {
            let of_day_ns = time_of_day(text).ok_or(UnrecognisedReason::NoKnownForm)?;
            return Ok(Some(self.clock.at(of_day_ns)));
        }
        if text.contains('.') {
            // Of a unit that is named, the part after the point is of that unit.
            let seconds_ns = epoch_ns(text).ok_or(UnrecognisedReason::NoKnownForm)?;
            return Ok(Some(match unit_ns {
                0 | 1 => seconds_ns,
                unit => seconds_ns / (1_000_000_000 / unit),
            }));
        }
        let number = any_number(text)?;
        match number.checked_mul(unit_ns.max(1)) {
            Some(ns) => Ok(Some(ns)),
            None => Err(UnrecognisedReason::NumberOutOfRange),
        }
    }

    fn memory(&mut self, text: &str) -> Result<u8, UnrecognisedReason> {
        if text.is_empty() {
            return Ok(0);
        }
        let known = MEMORIES
            .into_iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(text));
        if let Some((_, number)) = known {
            return Ok(number);
        }
        let number = self.names.own_memory(text);
        number.ok_or(UnrecognisedReason::NumberOutOfRange)
    }

    /// A thread that has a name gets a number, in the order in which names appear.
    fn thread(&mut self, text: &str) -> Result<Option<u64>, UnrecognisedReason> {
        if text.is_empty() {
            return Ok(None);
        }
        if let Ok(number) = any_number(text) {
            return Ok(Some(number));
        }
        if let Some(number) = self.threads.get(text) {
            return Ok(Some(*number));
        }
        if self.threads.len() >= MAX_NAMES {
            return Ok(None);
        }
        let number = self.threads.len() as u64;
        self.threads.insert(text.into(), number);
        Ok(Some(number))
    }
}

/// `1`, `cuda:1`, `gpu1`.
fn device(text: &str) -> Result<i32, UnrecognisedReason> {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit());
    let number = any_number(match is_number {
        true => text,
        false => text
            .trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == ' ' || c == '_')
            .trim_start_matches(':'),
    })?;
    i32::try_from(number).map_err(|_| UnrecognisedReason::NumberOutOfRange)
}

/// Says of what has no known form whose that is.
fn of(field: &'static str) -> impl Fn(UnrecognisedReason) -> UnrecognisedReason {
    move |reason| match reason {
        UnrecognisedReason::NoKnownForm => UnrecognisedReason::BadField(field),
        reason => reason,
    }
}
