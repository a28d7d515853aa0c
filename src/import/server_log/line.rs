//! Parses one line into what it says.
//!
//! A form is found by words that only it has, wherever in the line they stand. So prefixes of log
//! collectors don't matter, and neither do the symbols (✓ ✗ ⚠), which terminals and collectors may
//! change or strip and which say nothing that the words don't.

use std::borrow::Cow;

use super::UnrecognisedReason;
use super::cursor::{Cursor, Parsed};
use super::event::{LogEvent, MeterKind, OtherKind, Swept};
use super::other;
use crate::registry::RejectReason;
use crate::trace::observation::RefsLeft;
use crate::tracking::MessageKind;
use crate::tracking::entry::BUFFER_TYPE_NAMES;

const KB: f64 = 1024.0;
const MB: f64 = 1024.0 * 1024.0;

/// Parses lines; remembers only under which heading they stand.
#[derive(Default)]
pub(super) struct LineParser {
    in_remaining: bool,
    device: Option<i32>,
}

impl LineParser {
    /// What the line `raw`, which has no line end, says.
    pub(super) fn parse(&mut self, raw: &str) -> LogEvent {
        let text = without_escapes(raw);
        let text = text.trim_end();
        let what = match parse_forms(text) {
            Ok(event) => event,
            Err(UnrecognisedReason::NoKnownForm) => match other::classify(text) {
                Ok(other) => {
                    self.note_heading(&other);
                    LogEvent::KnownOther(other.kind)
                }
                Err(reason) => LogEvent::Unrecognised(reason),
            },
            Err(reason) => LogEvent::Unrecognised(reason),
        };
        self.under_heading(what)
    }

    fn note_heading(&mut self, other: &other::Other) {
        match other.kind {
            OtherKind::RemainingTitle => {
                self.in_remaining = true;
                self.device = None;
            }
            OtherKind::Title
            | OtherKind::NothingRemaining
            | OtherKind::Dump
            | OtherKind::Started => {
                self.in_remaining = false;
            }
            OtherKind::DeviceHeading => self.device = other.device,
            _ => {}
        }
    }

    /// Adds to what a line says itself what the headings above it say.
    fn under_heading(&mut self, mut what: LogEvent) -> LogEvent {
        match &mut what {
            LogEvent::Remaining { device, .. } if self.in_remaining => *device = self.device,
            LogEvent::RemainingTotal(_) => self.in_remaining = false,
            _ => {}
        }
        what
    }
}

type Form = fn(Cursor) -> Parsed<LogEvent>;

/// The forms by the words that each begins with.
const FORMS: [(&str, Form); 13] = [
    ("[CB_ALLOC] ", |c| meter(c, MeterKind::CbAlloc)),
    ("[CB_FREE] ", |c| meter(c, MeterKind::CbFree)),
    ("[KERNEL_LOAD] ", |c| meter(c, MeterKind::KernelLoad)),
    ("[KERNEL_UNLOAD] ", |c| meter(c, MeterKind::KernelUnload)),
    ("Unknown message type: ", |mut c| {
        let number = c.decimal()?;
        c.end()?;
        Ok(LogEvent::UnknownMessageType(number))
    }),
    ("Invalid buffer_type ", |c| invalid_buffer_type(c, None)),
    ("Invalid device_id ", |mut c| {
        let device = c.id()?;
        c.expect(" - ignoring message")?;
        c.end()?;
        Ok(LogEvent::InvalidDevice { device })
    }),
    ("Invalid size ", |mut c| {
        let size_bytes = c.decimal()?;
        c.expect(" - ignoring message")?;
        c.end()?;
        Ok(LogEvent::InvalidSize { size_bytes })
    }),
    ("Warning: Deallocation for unknown buffer ", |mut c| {
        let address = c.address()?;
        c.end()?;
        Ok(LogEvent::UnknownFreeBare { address })
    }),
    ("Removed ", removed),
    ("- Buffer ", remaining),
    ("Total remaining buffers: ", |mut c| {
        let count = c.decimal()?;
        c.end()?;
        Ok(LogEvent::RemainingTotal(count))
    }),
    ("Active allocations: ", |mut c| {
        let count = c.decimal()?;
        c.end()?;
        Ok(LogEvent::ActiveAllocations(count))
    }),
];

/// Why a server of ours does not take a sound message.
const REFUSALS: [RejectReason; 4] = [
    RejectReason::TableFull,
    RejectReason::SequenceTooFarAhead,
    RejectReason::SequenceRepeated,
    RejectReason::TooManySequences,
];

const FROM_PID: &str = "[PID ";
/// What follows the pid, in part or whole.
const FROM_PID_WORDS: [&str; 6] = [
    "Allocated ",
    "Freed buffer ",
    "Deallocation for ",
    "Buffer reused ",
    "Refused ",
    "Invalid buffer_type ",
];
/// Of the other lines that stand for a message.
const MESSAGE_WORDS: [&str; 8] = [
    "[CB_ALLOC] ",
    "[CB_FREE] ",
    "[KERNEL_LOAD] ",
    "[KERNEL_UNLOAD] ",
    "Unknown message type: ",
    "Invalid device_id ",
    "Invalid size ",
    "Warning: Deallocation for ",
];
const DEAD: &str = " is dead, removing its buffers...";

fn parse_forms(text: &str) -> Parsed<LogEvent> {
    if text.contains(FROM_PID) {
        // Nothing else may be tried: without its pid, such a line would be read as another one.
        return parse_at(text, FROM_PID, from_pid).map_err(|reason| match reason {
            UnrecognisedReason::NoKnownForm if messages_in(text) > 1 => {
                UnrecognisedReason::MergedMessages
            }
            UnrecognisedReason::NoKnownForm => UnrecognisedReason::CutMessage,
            reason => reason,
        });
    }
    if text.ends_with(DEAD) {
        return parse_at(text, "PID ", dead_process);
    }
    let mut result = Err(UnrecognisedReason::NoKnownForm);
    for (words, form) in FORMS {
        match parse_at(text, words, form) {
            Err(UnrecognisedReason::NoKnownForm) => {}
            found => result = found,
        }
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Parses the form after each place where its words stand, until one parses.
fn parse_at(text: &str, words: &str, form: Form) -> Parsed<LogEvent> {
    let mut reason = UnrecognisedReason::NoKnownForm;
    for (at, _) in text.match_indices(words) {
        match form(Cursor::new(&text[at + words.len()..])) {
            Err(UnrecognisedReason::NoKnownForm) => {}
            Err(other) => reason = other,
            // A line end that was lost: what stands before is another message, whole or cut.
            Ok(_) if messages_in(&text[..at]) > 0 => {
                return Err(UnrecognisedReason::MergedMessages);
            }
            parsed => return parsed,
        }
    }
    Err(reason)
}

/// How many messages' words stand in `text`: not only a pid, which log collectors write before
/// lines, too.
fn messages_in(text: &str) -> usize {
    let is_message = |(at, words): &(usize, &str)| {
        let mut rest = Cursor::new(&text[at + words.len()..]);
        rest.id().is_ok() && rest.take("] ") && FROM_PID_WORDS.iter().any(|verb| rest.take(verb))
    };
    let from_pid = text.match_indices(FROM_PID).filter(is_message).count();
    let others = MESSAGE_WORDS
        .iter()
        .map(|words| text.matches(words).count());
    from_pid + others.sum::<usize>()
}

fn from_pid(mut c: Cursor) -> Parsed<LogEvent> {
    let pid = c.id()?;
    c.expect("] ")?;
    if c.take("Allocated ") {
        allocated(c, pid)
    } else if c.take("Freed buffer ") {
        freed(c, pid)
    } else if c.take("Deallocation for unknown buffer ") {
        unknown_free(c, pid)
    } else if c.take("Deallocation for ALREADY FREED buffer ") {
        already_freed(c, pid)
    } else if c.take("Buffer reused with DIFFERENT size: ") {
        reused_different_size(c, pid)
    } else if c.take("Refused ") {
        refused(c, pid)
    } else {
        c.expect("Invalid buffer_type ")?;
        invalid_buffer_type(c, Some(pid))
    }
}

fn allocated(mut c: Cursor, pid: i32) -> Parsed<LogEvent> {
    let size_bytes = c.decimal()?;
    c.expect(" bytes of ")?;
    let buffer_type = buffer_type(&mut c)?;
    c.expect(" on device ")?;
    let device = c.id()?;
    c.expect(" (buffer_id=")?;
    let address = c.address()?;
    let ref_count = if c.take(", ref_count=") {
        Some(c.decimal()?)
    } else {
        None
    };
    c.expect(")")?;
    c.end()?;
    Ok(LogEvent::Allocated {
        pid,
        size_bytes,
        buffer_type,
        device,
        address,
        ref_count,
    })
}

fn freed(mut c: Cursor, pid: i32) -> Parsed<LogEvent> {
    let (address, device) = c.key()?;
    c.expect(" (")?;
    let size_bytes = c.decimal()?;
    c.expect(" bytes")?;
    let left = if c.take(", FINAL") {
        RefsLeft::Final
    } else if c.take(", ref_count=") {
        let count = c.decimal()?;
        c.expect(" remaining")?;
        RefsLeft::Remaining(count)
    } else {
        RefsLeft::Unstated
    };
    c.expect(")")?;
    c.end()?;
    Ok(LogEvent::Freed {
        pid,
        address,
        device,
        size_bytes,
        left,
    })
}

fn unknown_free(mut c: Cursor, pid: i32) -> Parsed<LogEvent> {
    let (address, device) = c.key()?;
    // What servers guess about the cause, if they do.
    let _ = c.take(" (allocated before tracking started)")
        || c.take(" (never tracked or allocated before server started)");
    c.end()?;
    Ok(LogEvent::UnknownFree {
        pid,
        address,
        device,
    })
}

fn refused(mut c: Cursor, pid: i32) -> Parsed<LogEvent> {
    let name = c.word(|letter| letter.is_ascii_uppercase() || letter == '_')?;
    let kind = MessageKind::ALL
        .into_iter()
        .find(|kind| kind.name() == name);
    let kind = kind.ok_or(UnrecognisedReason::NoKnownForm)?;
    c.expect(" of buffer ")?;
    let address = c.address()?;
    c.expect(" on device ")?;
    let device = c.id()?;
    c.expect(": ")?;
    let why = REFUSALS.into_iter().find(|reason| c.take(reason.words()));
    let repeated = match why {
        Some(reason) => reason == RejectReason::SequenceRepeated,
        None => return Err(UnrecognisedReason::NoKnownForm),
    };
    c.end()?;
    Ok(LogEvent::Refused {
        pid,
        kind,
        address,
        device,
        repeated,
    })
}

fn already_freed(mut c: Cursor, pid: i32) -> Parsed<LogEvent> {
    let (address, device) = c.key()?;
    c.expect(" (allocs=")?;
    let allocs = c.decimal()?;
    c.expect(" frees=")?;
    let frees = c.decimal()?;
    c.expect(")")?;
    c.end()?;
    Ok(LogEvent::AlreadyFreed {
        pid,
        address,
        device,
        allocs,
        frees,
    })
}

fn reused_different_size(mut c: Cursor, pid: i32) -> Parsed<LogEvent> {
    c.expect("old=")?;
    let old_bytes = c.decimal()?;
    c.expect(" new=")?;
    let new_bytes = c.decimal()?;
    c.expect(" (buffer_id=")?;
    let address = c.address()?;
    c.expect(", device=")?;
    let device = c.id()?;
    c.expect(")")?;
    c.end()?;
    Ok(LogEvent::ReusedDifferentSize {
        pid,
        old_bytes,
        new_bytes,
        address,
        device,
    })
}

fn invalid_buffer_type(mut c: Cursor, pid: Option<i32>) -> Parsed<LogEvent> {
    let buffer_type = c.decimal()?;
    let (mut address, mut device) = (None, None);
    if c.take(" for buffer ") {
        address = Some(c.address()?);
        c.expect(" on device ")?;
        device = Some(c.id()?);
    }
    c.end()?;
    Ok(LogEvent::InvalidBufferType {
        pid,
        buffer_type,
        address,
        device,
    })
}

fn meter(mut c: Cursor, kind: MeterKind) -> Parsed<LogEvent> {
    // "Application kernel on Device 1" or "Device 1".
    if !c.take("Device ") {
        c.word(|c| c.is_ascii_alphabetic())?;
        c.expect(" kernel on Device ")?;
    }
    let device = c.id()?;
    c.expect(match kind {
        MeterKind::CbAlloc | MeterKind::KernelLoad => ": +",
        MeterKind::CbFree | MeterKind::KernelUnload => ": -",
    })?;
    let delta_bytes = c.figure(MB)?;
    c.expect(" MB")?;
    let total_bytes = if c.take(" (Total: ") {
        let total = c.figure(MB)?;
        c.expect(" MB)")?;
        Some(total)
    } else {
        None
    };
    c.end()?;
    let wrapped = total_bytes.is_some_and(|total| total > i64::MAX as u64);
    Ok(LogEvent::Meter {
        kind,
        device,
        delta_bytes,
        total_bytes,
        wrapped,
    })
}

fn dead_process(mut c: Cursor) -> Parsed<LogEvent> {
    let pid = c.id()?;
    c.expect(DEAD)?;
    c.end()?;
    Ok(LogEvent::DeadProcess { pid })
}

fn removed(mut c: Cursor) -> Parsed<LogEvent> {
    let count = c.decimal()?;
    let what = if c.take(" buffers (") {
        Swept::Buffers
    } else if c.take(" CBs (") {
        Swept::CircularBuffers
    } else {
        c.expect(" kernels (")?;
        Swept::Kernels
    };
    c.figure(MB)?;
    c.expect(" MB) from PID ")?;
    let pid = c.id()?;
    c.end()?;
    Ok(LogEvent::Removed { count, what, pid })
}

fn remaining(mut c: Cursor) -> Parsed<LogEvent> {
    let address = c.address()?;
    c.expect(": ")?;
    let size_bytes = c.figure(KB)?;
    c.expect(" KB (PID ")?;
    let pid = c.id()?;
    let ref_count = if c.take(", ref_count=") {
        Some(c.decimal()?)
    } else {
        None
    };
    c.expect(")")?;
    c.end()?;
    Ok(LogEvent::Remaining {
        device: None,
        address,
        size_bytes,
        pid,
        ref_count,
    })
}

fn buffer_type(c: &mut Cursor) -> Parsed<u8> {
    let name = c.word(|c| c.is_ascii_alphanumeric() || c == '_')?;
    BUFFER_TYPE_NAMES
        .iter()
        .position(|&known| known == name)
        .map(|value| value as u8)
        .ok_or(UnrecognisedReason::NoKnownForm)
}

/// The line without terminal escape sequences: colours, titles.
fn without_escapes(raw: &str) -> Cow<'_, str> {
    if raw.contains('\u{1b}') {
        Cow::Owned(anstream::adapter::strip_str(raw).to_string())
    } else {
        Cow::Borrowed(raw)
    }
}
