//! The reference servers' log, line for line, so that tools which read it work with this server
//! too.
//!
//! [`LegacyLog`] is an [`Observer`] that writes what it sees. Where this server is right and the
//! reference isn't (totals that underflow) the lines tell what this server did. Besides, buffers in
//! a dump are sorted, the dump of kernels has no age, as nothing here reads a clock, and there are
//! no lines about the detection of devices and about the thread that sweeps: there is neither.
//!
//! Lines leave before any answer that shows what they tell, and else when nothing more is ready: a
//! server that is killed leaves a log of all that anybody was told.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use rustc_hash::FxHashSet;

use super::listener::{ClientId, Observer};
use crate::registry::{Outcome, Registry, RejectReason};
use crate::tracking::entry::{BUFFER_TYPE_NAMES, Class, Entry};
use crate::tracking::{Layout, Message, MessageKind};
use numbers::megabytes;

mod dumps;
mod numbers;
#[cfg(test)]
mod tests;

const KERNEL_TYPES: [&str; 3] = ["Application", "Fabric", "Dispatch"];

/// How buffer ids are printed in lines about messages. Dumps have them in hexadecimal always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum IdStyle {
    /// `0x18b20`.
    #[default]
    Hexadecimal,
    /// `101152`, as the oldest servers do.
    Decimal,
}

/// Writes the reference servers' lines. Totals of circular buffers and kernels are kept from the
/// outcomes.
#[derive(Debug)]
pub(crate) struct LegacyLog<W> {
    out: W,
    lines: String,
    /// Whether lines were lost.
    has_failed: bool,
    ids: IdStyle,
    /// Clients of the 144-byte layout, whose server has a line of its own for a bad buffer type.
    of_144: FxHashSet<ClientId>,
    /// By device: circular buffer bytes, kernel bytes.
    totals: Vec<[u64; 2]>,
}

impl<W: Write> LegacyLog<W> {
    /// A log into `out`. A reader that goes away is no reason to stop: the first error of `out` is
    /// said, and lines are written on.
    pub(crate) fn new(out: W) -> LegacyLog<W> {
        LegacyLog {
            out,
            lines: String::new(),
            has_failed: false,
            ids: IdStyle::default(),
            of_144: FxHashSet::default(),
            totals: Vec::new(),
        }
    }

    /// A log of a server that starts with what is live in `registry`.
    pub(crate) fn of(out: W, registry: &Registry) -> LegacyLog<W> {
        let mut log = LegacyLog::new(out);
        for entry in registry.live() {
            log.count(entry.device.0, entry.class, |total| {
                total.wrapping_add(entry.size_bytes)
            });
        }
        log
    }

    /// The same with ids in another style.
    pub(crate) fn with_ids(self, ids: IdStyle) -> LegacyLog<W> {
        LegacyLog { ids, ..self }
    }

    /// Appends the lines with which a server begins that listens on `path`.
    pub(crate) fn write_start(&mut self, path: &Path) {
        let path = path.display();
        line(
            &mut self.lines,
            format_args!(
                "🚀 Allocation Server started\n   Listening on: {path}\n   Press Ctrl+C to stop"
            ),
        );
    }

    /// Writes the lines with which a server ends: its statistics.
    pub(crate) fn end(&mut self, registry: &Registry) {
        dumps::write_statistics(&mut self.lines, &registry.live());
        line(
            &mut self.lines,
            format_args!("\n🛑 Allocation Server stopped"),
        );
        self.write_out();
    }

    fn write_out(&mut self) {
        if !self.lines.is_empty() {
            let written = self.out.write_all(self.lines.as_bytes());
            if let Err(error) = written.and_then(|()| self.out.flush())
                && !std::mem::replace(&mut self.has_failed, true)
            {
                crate::say!("warning: lines of the log are lost, serving goes on: {error}");
            }
            self.lines.clear();
        }
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
    pub(crate) fn write_sweep(&mut self, pid: i32, removed: &[Entry]) {
        for entry in removed {
            self.count(entry.device.0, entry.class, |total| {
                total.wrapping_sub(entry.size_bytes)
            });
        }
        line(
            &mut self.lines,
            format_args!(
                "\n⚠️  Detected dead processes, cleaning up orphaned buffers...\n   PID {pid} is dead, removing its buffers..."
            ),
        );
        for (class, name) in [
            (Class::Plain, "buffers"),
            (Class::Circular, "CBs"),
            (Class::Kernel, "kernels"),
        ] {
            let of_class = removed.iter().filter(|entry| entry.class == class);
            let count = of_class.clone().count();
            if count > 0 {
                let size = megabytes(dumps::sum(of_class));
                line(
                    &mut self.lines,
                    format_args!("   ✓ Removed {count} {name} ({size} MB) from PID {pid}"),
                );
            }
        }
        self.lines.push('\n');
    }

    /// Appends the lines, each with its line feed, that one outcome gives; none for most control
    /// messages.
    pub(crate) fn write_outcome(&mut self, message: &Message, outcome: &Outcome) {
        match message.kind {
            MessageKind::Alloc => write_alloc(&mut self.lines, self.ids, message, outcome),
            MessageKind::Free => write_free(&mut self.lines, self.ids, message, outcome),
            kind => {
                if let Some(class) = kind.class() {
                    self.write_sum(message, outcome, class);
                }
            }
        }
    }

    /// Appends the block that a DUMP request gives.
    pub(crate) fn write_dump(&mut self, kind: MessageKind, registry: &Registry) {
        let live = registry.live();
        if kind == MessageKind::DumpKernels {
            dumps::write_kernels(&mut self.lines, &live);
        } else {
            dumps::write_buffers(&mut self.lines, &live);
        }
    }

    /// Takes what was appended since the last time.
    pub(crate) fn take_lines(&mut self) -> String {
        std::mem::take(&mut self.lines)
    }

    fn write_sum(&mut self, message: &Message, outcome: &Outcome, class: Class) {
        let (added, taken) = match *outcome {
            Outcome::Inserted => (message.size_bytes, 0),
            Outcome::Replaced { old } => (message.size_bytes, old.size_bytes),
            Outcome::Incremented { .. } | Outcome::Decremented { .. } => (0, 0),
            Outcome::Removed { entry } => (0, entry.size_bytes),
            // The reference servers take it off the total; their line has no word for what is
            // unknown.
            Outcome::UnknownFree => (0, 0),
            Outcome::Rejected(reason) => {
                return write_rejected(&mut self.lines, self.ids, message, reason);
            }
            Outcome::Held | Outcome::Ignored => return,
        };
        let device = u16::try_from(message.device).expect("an effect has a device in range");
        let total = self.count(device, class, |total| {
            total.wrapping_add(added).wrapping_sub(taken)
        });
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
    fn on_first_message(&mut self, client: ClientId, layout: Layout) {
        if layout == Layout::V144 {
            self.of_144.insert(client);
        }
    }

    fn on_message(&mut self, client: ClientId, message: &Message, outcome: &Outcome) {
        let bad_type = Outcome::Rejected(RejectReason::InvalidBufferType);
        if *outcome == bad_type && self.of_144.contains(&client) {
            return write_bad_type_144(&mut self.lines, message);
        }
        self.write_outcome(message, outcome);
    }

    fn on_close(&mut self, client: ClientId) {
        self.of_144.remove(&client);
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

    fn before_answers(&mut self) {
        self.write_out();
    }

    fn on_idle(&mut self) {
        self.write_out();
    }

    fn has_unwritten(&self) -> bool {
        !self.lines.is_empty()
    }
}

fn write_alloc(lines: &mut String, ids: IdStyle, message: &Message, outcome: &Outcome) {
    let count = match *outcome {
        Outcome::Inserted => String::new(),
        Outcome::Incremented { kept } => format!(", ref_count={}", kept.refcount),
        Outcome::Replaced { old } => {
            if old.size_bytes != message.size_bytes {
                write_reused(lines, message, old);
            }
            String::new()
        }
        Outcome::Rejected(reason) => return write_rejected(lines, ids, message, reason),
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
    let address = ids.print(address);
    line(
        lines,
        format_args!(
            "✓ [PID {pid}] Allocated {size_bytes} bytes of {buffer_type} on device {device} (buffer_id={address}{count})"
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

fn write_free(lines: &mut String, ids: IdStyle, message: &Message, outcome: &Outcome) {
    let (entry, rest) = match *outcome {
        Outcome::Removed { entry } => (entry, "FINAL".to_owned()),
        Outcome::Decremented { left } => (left, format!("ref_count={} remaining", left.refcount)),
        // Releases of devices that there are not are of unknown buffers there.
        Outcome::UnknownFree | Outcome::Rejected(RejectReason::DeviceOutOfRange) => {
            return write_unknown_free(lines, ids, message);
        }
        Outcome::Rejected(reason) => return write_rejected(lines, ids, message, reason),
        _ => return,
    };
    let Entry {
        pid,
        address,
        device,
        size_bytes,
        ..
    } = entry;
    let address = ids.print(address);
    line(
        lines,
        format_args!(
            "✗ [PID {pid}] Freed buffer {address} on device {device} ({size_bytes} bytes, {rest})"
        ),
    );
}

fn write_unknown_free(lines: &mut String, ids: IdStyle, message: &Message) {
    let Message {
        pid,
        address,
        device,
        ..
    } = *message;
    let address = ids.print(address);
    line(
        lines,
        format_args!(
            "⚠ [PID {pid}] Deallocation for unknown buffer {address} on device {device} (allocated before tracking started)"
        ),
    );
}

fn write_bad_type_144(lines: &mut String, message: &Message) {
    let Message {
        address,
        device,
        buffer_type,
        ..
    } = *message;
    line(
        lines,
        format_args!(
            "⚠️  Invalid buffer_type {buffer_type} for buffer {address} on device {device}"
        ),
    );
}

/// Reasons that the reference servers don't know have a line of our own: without it a log would
/// show FREEs without ALLOC, and not why.
fn write_rejected(lines: &mut String, ids: IdStyle, message: &Message, reason: RejectReason) {
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
        RejectReason::TableFull
        | RejectReason::SequenceTooFarAhead
        | RejectReason::SequenceRepeated
        | RejectReason::TooManySequences => {
            let (kind, why) = (message.kind.name(), reason.words());
            let address = ids.print(address);
            line(
                lines,
                format_args!(
                    "⚠ [PID {pid}] Refused {kind} of buffer {address} on device {device}: {why}"
                ),
            );
        }
    }
}

impl IdStyle {
    fn print(self, address: u64) -> String {
        match self {
            IdStyle::Hexadecimal => format!("{address:#x}"),
            IdStyle::Decimal => address.to_string(),
        }
    }
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
