//! The reference servers' log, line for line, so that tools which read it work with this server
//! too.
//!
//! [`LegacyLog`] is an [`Observer`] that writes what it sees. Where this server is right and the
//! reference isn't (sizes that wrap, totals that underflow, releases in another's name) the lines
//! tell what this server did. Two things differ: buffers in a dump are sorted, and the dump of
//! kernels has no age, as nothing here reads a clock.

use std::fmt::Write as _;
use std::io::Write;

use super::listener::{ClientId, Observer};
use crate::registry::{Outcome, Registry, RejectReason};
use crate::tracking::entry::{BUFFER_TYPE_NAMES, Class, Entry};
use crate::tracking::{Message, MessageKind};

/// A dump lists single buffers of a memory when there are at most so many.
const LISTED_BUFFERS: usize = 10;
const KERNEL_TYPES: [&str; 3] = ["Application", "Fabric", "Dispatch"];
const BANNER_WIDTH: usize = 62;
const BANNER_TEXT_WIDTH: usize = 50;
const BOX_WIDTH: usize = 57;
const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * 1024.0;

/// Writes the reference servers' lines. Totals of circular buffers and kernels are kept from the
/// outcomes.
#[derive(Debug)]
pub struct LegacyLog<W> {
    out: W,
    lines: String,
    /// By device: circular buffer bytes, kernel bytes.
    totals: Vec<[u64; 2]>,
}

impl<W: Write> LegacyLog<W> {
    /// A log into `out`. A reader that goes away is no reason to stop: errors of `out` are ignored.
    pub fn new(out: W) -> LegacyLog<W> {
        LegacyLog {
            out,
            lines: String::new(),
            totals: Vec::new(),
        }
    }

    /// A log of a server that starts with what is live in `registry`.
    pub fn of(out: W, registry: &Registry) -> LegacyLog<W> {
        let mut log = LegacyLog::new(out);
        for entry in registry.live() {
            log.count(entry.device.0, entry.class, |total| {
                total + entry.size_bytes
            });
        }
        log
    }

    /// Changes the total of a class that totals are kept of; returns it.
    fn count(&mut self, device: u16, class: Class, change: impl FnOnce(u64) -> u64) -> u64 {
        let which = match class {
            Class::Plain => return 0,
            Class::Circular => 0,
            Class::Kernel => 1,
        };
        let index = usize::from(device);
        if index >= self.totals.len() {
            self.totals.resize(index + 1, [0; 2]);
        }
        let total = &mut self.totals[index][which];
        *total = change(*total);
        *total
    }

    /// Appends the lines that the sweep of a dead process gives.
    pub fn write_sweep(&mut self, pid: i32, removed: &[Entry]) {
        let mut bytes = 0;
        for entry in removed {
            bytes += entry.size_bytes;
            self.count(entry.device.0, entry.class, |total| {
                total - entry.size_bytes
            });
        }
        let (count, size) = (removed.len(), megabytes(bytes));
        for text in [
            "⚠️  Detected dead processes, cleaning up orphaned buffers...".to_owned(),
            format!("   PID {pid} is dead, removing its buffers..."),
            format!("   ✓ Removed {count} buffers ({size} MB) from PID {pid}"),
        ] {
            line(&mut self.lines, format_args!("{text}"));
        }
    }

    /// Appends the lines, each with its line feed, that one outcome gives; none for most control
    /// messages.
    pub fn write_outcome(&mut self, message: &Message, outcome: &Outcome) {
        match message.kind {
            MessageKind::Alloc => write_alloc(&mut self.lines, message, outcome),
            MessageKind::Free => write_free(&mut self.lines, message, outcome),
            kind => {
                if let Some(class) = kind.class() {
                    self.write_sum(message, outcome, class);
                }
            }
        }
    }

    /// Appends the block that a DUMP request gives.
    pub fn write_dump(&mut self, kind: MessageKind, registry: &Registry) {
        let live = registry.live();
        if kind == MessageKind::DumpKernels {
            write_kernel_dump(&mut self.lines, &live);
        } else {
            write_buffer_dump(&mut self.lines, &live);
        }
    }

    /// Takes what was appended since the last time.
    pub fn take_lines(&mut self) -> String {
        std::mem::take(&mut self.lines)
    }

    fn write_sum(&mut self, message: &Message, outcome: &Outcome, class: Class) {
        let (added, taken) = match *outcome {
            Outcome::Inserted => (message.size_bytes, 0),
            Outcome::Replaced { old } => (message.size_bytes, old.size_bytes),
            Outcome::Incremented { .. } | Outcome::Decremented { .. } => (0, 0),
            Outcome::Removed { entry } => (0, entry.size_bytes),
            Outcome::UnknownFree => return write_unknown_free(&mut self.lines, message),
            Outcome::Rejected(reason) => return write_rejected(&mut self.lines, message, reason),
            Outcome::Held | Outcome::Ignored => return,
        };
        let device = u16::try_from(message.device).expect("an effect has a device in range");
        let total = self.count(device, class, |total| total + added - taken);
        let opens = message.kind.opens();
        let (mark, sign, bytes) = if opens {
            ('✓', '+', added)
        } else {
            ('✗', '-', taken)
        };
        let name = message.kind.name();
        let subject = match class {
            Class::Kernel => kernel_subject(message.buffer_type),
            Class::Plain | Class::Circular => String::new(),
        };
        let (bytes, total) = (megabytes(bytes), megabytes(total));
        line(
            &mut self.lines,
            format_args!(
                "{mark} [{name}] {subject}Device {device}: {sign}{bytes} MB (Total: {total} MB)"
            ),
        );
    }
}

impl<W: Write + Send + 'static> Observer for LegacyLog<W> {
    fn on_message(&mut self, _client: ClientId, message: &Message, outcome: &Outcome) {
        self.write_outcome(message, outcome);
    }

    fn on_unknown(&mut self, _client: ClientId, frame: &[u8]) {
        let kind = frame.first().copied().unwrap_or_default();
        line(
            &mut self.lines,
            format_args!("Unknown message type: {kind}"),
        );
    }

    fn on_dump(&mut self, _client: ClientId, request: &Message, registry: &Registry) {
        self.write_dump(request.kind, registry);
    }

    fn on_sweep(&mut self, pid: i32, removed: &[Entry]) {
        self.write_sweep(pid, removed);
    }

    fn on_idle(&mut self) {
        if !self.lines.is_empty() {
            // See `new`: a log that can't be written doesn't stop the server.
            let _ = self
                .out
                .write_all(self.lines.as_bytes())
                .and_then(|()| self.out.flush());
            self.lines.clear();
        }
    }
}

fn write_alloc(lines: &mut String, message: &Message, outcome: &Outcome) {
    let count = match *outcome {
        Outcome::Inserted => String::new(),
        Outcome::Incremented { kept } => format!(", ref_count={}", kept.refcount),
        Outcome::Replaced { old } => {
            if old.size_bytes != message.size_bytes {
                write_reused(lines, message, old);
            }
            String::new()
        }
        Outcome::Rejected(reason) => return write_rejected(lines, message, reason),
        _ => return,
    };
    let Message {
        pid,
        size_bytes,
        device,
        address,
        ..
    } = *message;
    let buffer_type = BUFFER_TYPE_NAMES
        .get(usize::from(message.buffer_type))
        .unwrap_or(&"UNKNOWN");
    line(
        lines,
        format_args!(
            "✓ [PID {pid}] Allocated {size_bytes} bytes of {buffer_type} on device {device} (buffer_id={address:#x}{count})"
        ),
    );
}

fn write_reused(lines: &mut String, message: &Message, old: Entry) {
    let Message {
        pid,
        size_bytes,
        device,
        address,
        ..
    } = *message;
    let old = old.size_bytes;
    line(
        lines,
        format_args!(
            "⚠ [PID {pid}] Buffer reused with DIFFERENT size: old={old} new={size_bytes} (buffer_id={address}, device={device})"
        ),
    );
}

fn write_free(lines: &mut String, message: &Message, outcome: &Outcome) {
    let (entry, rest) = match *outcome {
        Outcome::Removed { entry } => (entry, "FINAL".to_owned()),
        Outcome::Decremented { left } => (left, format!("ref_count={} remaining", left.refcount)),
        Outcome::UnknownFree => return write_unknown_free(lines, message),
        Outcome::Rejected(reason) => return write_rejected(lines, message, reason),
        _ => return,
    };
    let Entry {
        pid,
        address,
        device,
        size_bytes,
        ..
    } = entry;
    line(
        lines,
        format_args!(
            "✗ [PID {pid}] Freed buffer {address:#x} on device {device} ({size_bytes} bytes, {rest})"
        ),
    );
}

fn write_unknown_free(lines: &mut String, message: &Message) {
    let Message {
        pid,
        address,
        device,
        ..
    } = *message;
    line(
        lines,
        format_args!(
            "⚠ [PID {pid}] Deallocation for unknown buffer {address:#x} on device {device} (allocated before tracking started)"
        ),
    );
}

/// Reasons that the reference servers don't know give no line.
fn write_rejected(lines: &mut String, message: &Message, reason: RejectReason) {
    let Message {
        pid,
        address,
        device,
        size_bytes,
        buffer_type,
        ..
    } = *message;
    match reason {
        RejectReason::DeviceOutOfRange => {
            line(
                lines,
                format_args!("⚠️  Invalid device_id {device} - ignoring message"),
            );
        }
        RejectReason::SizeZero | RejectReason::SizeOverLimit => {
            line(
                lines,
                format_args!("⚠️  Invalid size {size_bytes} - ignoring message"),
            );
        }
        RejectReason::InvalidBufferType => line(
            lines,
            format_args!(
                "⚠ [PID {pid}] Invalid buffer_type {buffer_type} for buffer {address} on device {device}"
            ),
        ),
        _ => {}
    }
}

fn write_buffer_dump(lines: &mut String, live: &[Entry]) {
    let buffers: Vec<&Entry> = live
        .iter()
        .filter(|entry| entry.class == Class::Plain)
        .collect();
    line(lines, format_args!("📋 Received DUMP_REMAINING request..."));
    write_banner(lines, "REMAINING ALLOCATED BUFFERS");
    line(
        lines,
        format_args!("Total tracked allocations: {}\n", buffers.len()),
    );
    for of_device in buffers.chunk_by(|a, b| a.device == b.device) {
        line(lines, format_args!("Device {}:", of_device[0].device));
        for (buffer_type, name) in BUFFER_TYPE_NAMES.iter().enumerate() {
            let of_type = of_device
                .iter()
                .filter(|e| usize::from(e.buffer_type) == buffer_type);
            write_buffers(lines, name, &of_type.copied().collect::<Vec<_>>());
        }
        lines.push('\n');
    }
    if buffers.is_empty() {
        line(
            lines,
            format_args!("✓ No buffers remaining - perfect cleanup!"),
        );
    } else {
        line(
            lines,
            format_args!("Total remaining buffers: {}\n", buffers.len()),
        );
    }
    line(lines, format_args!("📋 DUMP_REMAINING complete."));
}

fn write_buffers(lines: &mut String, memory: &str, buffers: &[&Entry]) {
    if buffers.is_empty() {
        return;
    }
    let total = megabytes(buffers.iter().map(|e| e.size_bytes).sum());
    line(
        lines,
        format_args!("  {memory}: {} buffers, {total} MB total", buffers.len()),
    );
    if buffers.len() > LISTED_BUFFERS {
        return;
    }
    for Entry {
        address,
        size_bytes,
        pid,
        refcount,
        ..
    } in buffers
    {
        let size = kilobytes(*size_bytes);
        line(
            lines,
            format_args!("    - Buffer {address:#x}: {size} KB (PID {pid}, ref_count={refcount})"),
        );
    }
}

fn write_kernel_dump(lines: &mut String, live: &[Entry]) {
    let kernels: Vec<&Entry> = live
        .iter()
        .filter(|entry| entry.class == Class::Kernel)
        .collect();
    write_banner(lines, "DETAILED KERNEL ALLOCATIONS");
    line(
        lines,
        format_args!("Total kernel allocations: {}\n", kernels.len()),
    );
    for of_device in kernels.chunk_by(|a, b| a.device == b.device) {
        let total = megabytes(of_device.iter().map(|e| e.size_bytes).sum());
        let (device, count) = (of_device[0].device, of_device.len());
        line(
            lines,
            format_args!("📊 Device {device} - Total: {total} MB ({count} kernels)"),
        );
        line(lines, format_args!("  ┌{}┐", "─".repeat(BOX_WIDTH)));
        for Entry {
            address,
            size_bytes,
            pid,
            ..
        } in of_device
        {
            let size = kilobytes(*size_bytes);
            line(lines, format_args!("  │ Kernel ID: {address:#x}"));
            line(lines, format_args!("  │   Size:      {size} KB"));
            line(lines, format_args!("  │   Owner PID: {pid}\n  │"));
        }
        line(lines, format_args!("  └{}┘\n", "─".repeat(BOX_WIDTH)));
    }
    line(lines, format_args!("📋 DUMP_KERNELS complete."));
}

fn write_banner(lines: &mut String, title: &str) {
    let edge = "═".repeat(BANNER_WIDTH);
    line(
        lines,
        format_args!("\n╔{edge}╗\n║           {title:<BANNER_TEXT_WIDTH$}║\n╚{edge}╝"),
    );
}

fn kernel_subject(buffer_type: u8) -> String {
    let kind = KERNEL_TYPES
        .get(usize::from(buffer_type))
        .unwrap_or(&"Unknown");
    format!("{kind} kernel on ")
}

fn line(lines: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(lines, "{text}").expect("writing to a String can't fail");
}

fn megabytes(bytes: u64) -> String {
    general(bytes as f64 / MIB)
}

fn kilobytes(bytes: u64) -> String {
    general(bytes as f64 / KIB)
}

/// A finite number as C's `%g` and a C++ stream print it: six significant digits, no trailing
/// zeros, an exponent below 1e-4 and from 1e6 on.
fn general(value: f64) -> String {
    const DIGITS: i32 = 6;
    let scientific = format!("{value:.5e}");
    let (mantissa, exponent) = scientific
        .split_once('e')
        .expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    if (-4..DIGITS).contains(&exponent) {
        let decimals =
            usize::try_from(DIGITS - 1 - exponent).expect("the exponent is below the digits");
        return without_trailing_zeros(&format!("{value:.decimals$}")).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!(
        "{}e{sign}{:02}",
        without_trailing_zeros(mantissa),
        exponent.abs()
    )
}

fn without_trailing_zeros(digits: &str) -> &str {
    if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        digits
    }
}

#[cfg(test)]
mod tests;
