//! Lines that servers are known to print and that say nothing about messages.

use super::UnrecognisedReason;
use super::cursor::{Cursor, Parsed};
use super::event::OtherKind;

/// Such a line.
pub(super) struct Other {
    pub(super) kind: OtherKind,
    /// The device, of a device heading.
    pub(super) device: Option<i32>,
}

/// The lines without indentation, frames and symbols. `#`: an integer, `@`: a buffer id, `~`: a
/// figure, `%`: a word, `*`: the rest of the line.
const PATTERNS: &[(&str, OtherKind)] = &[
    ("Allocation Server started", OtherKind::Started),
    (
        "Enhanced Allocation Server started (with history tracking)",
        OtherKind::Started,
    ),
    ("Listening on: *", OtherKind::StartDetail),
    ("Press Ctrl+C to stop", OtherKind::StartDetail),
    ("Allocation Server stopped", OtherKind::Stopped),
    (
        "Device detection (using TT-Metal APIs):",
        OtherKind::DeviceDetection,
    ),
    ("No devices detected", OtherKind::DeviceDetection),
    (
        "Server will track allocations anyway",
        OtherKind::DeviceDetection,
    ),
    (
        "Server will track allocations without device info",
        OtherKind::DeviceDetection,
    ),
    ("Device #: % (#GB DRAM, #MB L1)", OtherKind::DeviceDetection),
    ("Total: # device(s) detected", OtherKind::DeviceDetection),
    (
        "Warning: Found # devices, limiting to #",
        OtherKind::DeviceDetection,
    ),
    (
        "Warning: Could not query device #: *",
        OtherKind::DeviceDetection,
    ),
    (
        "Error during device detection: *",
        OtherKind::DeviceDetection,
    ),
    (
        "Background cleanup thread started (checking every #s)",
        OtherKind::CleanupThread,
    ),
    (
        "Background cleanup thread stopped",
        OtherKind::CleanupThread,
    ),
    (
        "Detected dead processes, cleaning up orphaned buffers...",
        OtherKind::SweepHeading,
    ),
    ("Received DUMP_REMAINING request...", OtherKind::Dump),
    ("DUMP_REMAINING complete.", OtherKind::Dump),
    ("Received DUMP_KERNELS request...", OtherKind::Dump),
    ("DUMP_KERNELS complete.", OtherKind::Dump),
    ("REMAINING ALLOCATED BUFFERS", OtherKind::RemainingTitle),
    ("DETAILED KERNEL ALLOCATIONS", OtherKind::Title),
    ("DOUBLE-FREED BUFFERS", OtherKind::Title),
    ("Current Statistics:", OtherKind::Title),
    ("Device #:", OtherKind::DeviceHeading),
    ("Total tracked allocations: #", OtherKind::ListTotal),
    ("Total kernel allocations: #", OtherKind::ListTotal),
    ("Device # - Total: ~ MB (# kernels)", OtherKind::ListTotal),
    ("%: # buffers, ~ MB total", OtherKind::ListTotal),
    (
        "No buffers remaining - perfect cleanup!",
        OtherKind::NothingRemaining,
    ),
    ("Kernel ID: @", OtherKind::KernelEntry),
    ("Size:      ~ KB", OtherKind::KernelEntry),
    ("Owner PID: #", OtherKind::KernelEntry),
    ("Age:       # seconds", OtherKind::KernelEntry),
    ("Buffers: #", OtherKind::Statistics),
    ("Total: # bytes", OtherKind::Statistics),
    ("%: # bytes (~ KB)", OtherKind::Statistics),
    ("%: ~ KB", OtherKind::Statistics),
    ("Last # events for this buffer:", OtherKind::History),
    ("History (allocs=# frees=#):", OtherKind::History),
    ("History:", OtherKind::History),
    ("ALLOC size=# pid=# ref=#", OtherKind::History),
    ("REUSE size=# pid=# ref=#", OtherKind::History),
    ("FREE size=# pid=# ref=#", OtherKind::History),
    (
        "However, found # buffers that were DOUBLE-FREED during execution!",
        OtherKind::DoubleFreed,
    ),
    ("Buffer @ on device #:", OtherKind::DoubleFreed),
    ("Total allocs: #, Total frees: #", OtherKind::DoubleFreed),
    ("Accept failed", OtherKind::AcceptFailed),
    // What `heisenbed serve` says on stderr beside its legacy log.
    ("listening on *", OtherKind::StartDetail),
    ("client #: layout *", OtherKind::StartDetail),
    ("warning: client #: *", OtherKind::StartDetail),
    ("warning: a client *", OtherKind::StartDetail),
    ("warning: an ALLOC *", OtherKind::StartDetail),
    ("warning: lines of the log *", OtherKind::StartDetail),
    ("figures: *", OtherKind::Statistics),
];

/// Which of those lines `text` is, with or without the prefix of a log collector.
pub(super) fn classify(text: &str) -> Parsed<Other> {
    match classify_bare(text) {
        Err(UnrecognisedReason::NoKnownForm) => classify_bare(without_prefix(text)),
        found => found,
    }
}

fn classify_bare(text: &str) -> Parsed<Other> {
    let drawn = text.trim_matches(|c: char| is_frame(c) || c.is_whitespace());
    if drawn.is_empty() {
        let blank = text.chars().all(char::is_whitespace);
        let kind = if blank {
            OtherKind::Blank
        } else {
            OtherKind::Box
        };
        return Ok(Other { kind, device: None });
    }
    // Symbols, or the question marks that an ASCII terminal shows for them.
    let words = drawn.trim_start_matches(|c: char| !c.is_ascii() || c == '?' || c == ' ');
    let mut result = Err(UnrecognisedReason::NoKnownForm);
    for &(pattern, kind) in PATTERNS {
        match matches(pattern, Cursor::new(words)) {
            Ok(()) => {
                let device = device_of(words)
                    .ok()
                    .filter(|_| kind == OtherKind::DeviceHeading);
                return Ok(Other { kind, device });
            }
            Err(UnrecognisedReason::NoKnownForm) => {}
            Err(reason) => result = Err(reason),
        }
    }
    result
}

fn matches(pattern: &str, mut c: Cursor) -> Parsed<()> {
    let mut literal = pattern;
    while let Some(at) = literal.find(['#', '@', '~', '%', '*']) {
        c.expect(&literal[..at])?;
        match literal.as_bytes()[at] {
            b'#' => c.integer()?,
            b'@' => drop(c.address()?),
            b'~' => drop(c.figure(1.0)?),
            b'%' => drop(c.word(|c| c.is_ascii_alphanumeric() || c == '_')?),
            _ => return Ok(()),
        }
        literal = &literal[at + 1..];
    }
    c.expect(literal)?;
    c.end()
}

fn device_of(heading: &str) -> Parsed<i32> {
    let mut c = Cursor::new(heading);
    c.expect("Device ")?;
    c.id()
}

/// The box drawing characters.
fn is_frame(c: char) -> bool {
    ('\u{2500}'..='\u{257f}').contains(&c)
}

/// The line without what log collectors put before it: bracketed groups, dates and times, and
/// syslog's `host program[pid]: `.
fn without_prefix(text: &str) -> &str {
    let mut rest = match text.split_once("]: ") {
        Some((_, rest)) => rest,
        // Of a blank line, whose trailing blank was trimmed.
        None if text.ends_with("]:") => "",
        None => text,
    };
    loop {
        rest = rest.trim_start();
        let after_group = rest
            .strip_prefix('[')
            .and_then(|group| group.split_once(']'));
        let (token, after_token) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = match after_group {
            Some((_, after)) => after,
            None if is_time(token) => after_token,
            None => return rest,
        };
    }
}

fn is_time(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_digit())
        && token.contains([':', '-', '/', '.'])
        && token.len() >= 8
        && token
            .chars()
            .all(|c| c.is_ascii_digit() || ":-/.,TZ+".contains(c))
}
