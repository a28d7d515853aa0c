//! What a line of a tracking server's log can say.

use super::UnrecognisedReason;
use crate::trace::observation::RefsLeft;
use crate::tracking::MessageKind;

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// The number of the line, from 1.
    pub(crate) line: u64,
    /// What it says.
    pub(crate) what: LogEvent,
}

/// What a line says. Buffer types are the C++ values of the wire: DRAM 0, L1 1, SYSTEM_MEMORY 2,
/// L1_SMALL 3, TRACE 4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogEvent {
    /// An ALLOC was accepted.
    Allocated {
        /// The sender.
        pid: i32,
        /// The size in the message, whatever size the server keeps.
        size_bytes: u64,
        /// The type in the message, whatever type the server keeps.
        buffer_type: u8,
        /// Device id.
        device: i32,
        /// Buffer id.
        address: u64,
        /// The count after it, which is stated only for a key that was live already.
        ref_count: Option<u64>,
    },
    /// A FREE of a live key.
    Freed {
        /// The first owner of the key. Not the sender, whom the line does not name.
        pid: i32,
        /// Buffer id.
        address: u64,
        /// Device id.
        device: i32,
        /// The size that the server keeps.
        size_bytes: u64,
        /// What is left of the key.
        left: RefsLeft,
    },
    /// A FREE of a key that the server does not hold.
    UnknownFree {
        /// The sender.
        pid: i32,
        /// Buffer id.
        address: u64,
        /// Device id.
        device: i32,
    },
    /// The same in the words of the oldest servers, which state neither sender nor device.
    UnknownFreeBare {
        /// Buffer id.
        address: u64,
    },
    /// A FREE of a key that the server does not hold but has seen a message for before.
    AlreadyFreed {
        /// The sender.
        pid: i32,
        /// Buffer id.
        address: u64,
        /// Device id.
        device: i32,
        /// ALLOCs of the key so far. May be 0: the message that was seen before can be a FREE.
        allocs: u64,
        /// FREEs of the key so far, this one included.
        frees: u64,
    },
    /// Precedes the [`LogEvent::Allocated`] of a live key by a server that then takes over the new
    /// size; no message of its own.
    ReusedDifferentSize {
        /// The sender.
        pid: i32,
        /// The size that the server kept so far.
        old_bytes: u64,
        /// The size in the message.
        new_bytes: u64,
        /// Buffer id.
        address: u64,
        /// Device id.
        device: i32,
    },
    /// An ALLOC was rejected for its buffer type.
    InvalidBufferType {
        /// The sender, if stated.
        pid: Option<i32>,
        /// The type in the message.
        buffer_type: u64,
        /// Buffer id, if stated.
        address: Option<u64>,
        /// Device id, if stated.
        device: Option<i32>,
    },
    /// A message was rejected for its device id.
    InvalidDevice {
        /// The device id in the message.
        device: i32,
    },
    /// A message was rejected for its size.
    InvalidSize {
        /// The size in the message.
        size_bytes: u64,
    },
    /// A server of ours did not take a sound message: its sequence number is too far ahead or came
    /// before, or a table is full.
    Refused {
        /// The sender.
        pid: i32,
        /// Which message.
        kind: MessageKind,
        /// Buffer id.
        address: u64,
        /// Device id.
        device: i32,
        /// The same message had come before.
        repeated: bool,
    },
    /// A circular buffer or kernel message. Figures are printed in MB with 6 significant digits, so
    /// byte values are exact only below about 10⁶ times the unit in the last digit.
    Meter {
        /// Which message.
        kind: MeterKind,
        /// Device id.
        device: i32,
        /// The size in the message, rounded; what the sign says is in `kind`.
        delta_bytes: u64,
        /// The device's total after it, rounded, if stated.
        total_bytes: Option<u64>,
        /// The total is above 2⁶³: the server subtracted more than there was.
        wrapped: bool,
    },
    /// A message of a type that the server does not know.
    UnknownMessageType(u64),
    /// The sweep found a dead process, and now removes what it owns.
    DeadProcess {
        /// The dead process.
        pid: i32,
    },
    /// What the sweep removed.
    Removed {
        /// How many.
        count: u64,
        /// Of what.
        what: Swept,
        /// The dead process.
        pid: i32,
    },
    /// The server lists a key that it holds live.
    Remaining {
        /// Device id, by the heading above; `None` when there is none.
        device: Option<i32>,
        /// Buffer id.
        address: u64,
        /// Size, from a figure in KB with 6 significant digits.
        size_bytes: u64,
        /// The first owner.
        pid: i32,
        /// Its count, if stated.
        ref_count: Option<u64>,
    },
    /// How many keys the server holds live, at the end of such a list.
    RemainingTotal(u64),
    /// How many keys the server holds live, in its closing statistics.
    ActiveAllocations(u64),
    /// A line that servers are known to print and that says nothing more.
    KnownOther(OtherKind),
    /// No known form.
    Unrecognised(UnrecognisedReason),
}

impl LogEvent {
    /// The name of the line's form.
    pub(crate) fn form(&self) -> &'static str {
        match self {
            LogEvent::Allocated {
                ref_count: None, ..
            } => "allocated",
            LogEvent::Allocated { .. } => "allocated-ref-count",
            LogEvent::Freed {
                left: RefsLeft::Final,
                ..
            } => "freed-final",
            LogEvent::Freed {
                left: RefsLeft::Remaining(_),
                ..
            } => "freed-remaining",
            LogEvent::Freed {
                left: RefsLeft::Unstated,
                ..
            } => "freed",
            LogEvent::UnknownFree { .. } => "unknown-free",
            LogEvent::UnknownFreeBare { .. } => "unknown-free-bare",
            LogEvent::AlreadyFreed { .. } => "already-freed",
            LogEvent::ReusedDifferentSize { .. } => "reused-different-size",
            LogEvent::InvalidBufferType { .. } => "invalid-buffer-type",
            LogEvent::InvalidDevice { .. } => "invalid-device",
            LogEvent::InvalidSize { .. } => "invalid-size",
            LogEvent::Refused { .. } => "refused",
            LogEvent::Meter {
                kind: MeterKind::CbAlloc,
                ..
            } => "cb-alloc",
            LogEvent::Meter {
                kind: MeterKind::CbFree,
                ..
            } => "cb-free",
            LogEvent::Meter {
                kind: MeterKind::KernelLoad,
                ..
            } => "kernel-load",
            LogEvent::Meter {
                kind: MeterKind::KernelUnload,
                ..
            } => "kernel-unload",
            LogEvent::UnknownMessageType(_) => "unknown-message-type",
            LogEvent::DeadProcess { .. } => "dead-process",
            LogEvent::Removed { .. } => "removed",
            LogEvent::Remaining { .. } => "remaining",
            LogEvent::RemainingTotal(_) => "remaining-total",
            LogEvent::ActiveAllocations(_) => "active-allocations",
            LogEvent::KnownOther(kind) => kind.form(),
            LogEvent::Unrecognised(
                UnrecognisedReason::CutMessage | UnrecognisedReason::NumberOutOfRange,
            ) => "cut-message",
            LogEvent::Unrecognised(UnrecognisedReason::MergedMessages) => "merged-messages",
            LogEvent::Unrecognised(_) => "unrecognised",
        }
    }
}

/// The messages that servers log with a device total instead of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MeterKind {
    /// CB_ALLOC
    CbAlloc,
    /// CB_FREE
    CbFree,
    /// KERNEL_LOAD
    KernelLoad,
    /// KERNEL_UNLOAD
    KernelUnload,
}

/// What a sweep removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swept {
    /// Buffers.
    Buffers,
    /// Circular buffers.
    CircularBuffers,
    /// Kernels.
    Kernels,
}

/// Lines that say nothing about messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OtherKind {
    /// A blank line.
    Blank,
    /// Frames drawn around headings and lists.
    Box,
    /// The server started: what it held before is gone.
    Started,
    /// Socket path and usage, printed at the start.
    StartDetail,
    /// The server stopped.
    Stopped,
    /// Device detection.
    DeviceDetection,
    /// The background cleanup thread started or stopped.
    CleanupThread,
    /// Announces a sweep.
    SweepHeading,
    /// A dump was requested or is complete.
    Dump,
    /// The title of a list of live buffers.
    RemainingTitle,
    /// The title of another list.
    Title,
    /// A list's device heading.
    DeviceHeading,
    /// A list's subtotal or count.
    ListTotal,
    /// Nothing is live.
    NothingRemaining,
    /// An entry of the kernel list.
    KernelEntry,
    /// A figure of the statistics.
    Statistics,
    /// A buffer's history: heading or event.
    History,
    /// What the server says about buffers freed more often than allocated.
    DoubleFreed,
    /// A connection could not be accepted, or an error beside the messages.
    AcceptFailed,
    /// What `heisenbed serve` says beside the reference servers' lines.
    OwnNotice,
}

impl OtherKind {
    fn form(self) -> &'static str {
        match self {
            OtherKind::Blank => "other-blank",
            OtherKind::Box => "other-box",
            OtherKind::Started => "other-started",
            OtherKind::StartDetail => "other-start-detail",
            OtherKind::Stopped => "other-stopped",
            OtherKind::DeviceDetection => "other-device-detection",
            OtherKind::CleanupThread => "other-cleanup-thread",
            OtherKind::SweepHeading => "other-sweep-heading",
            OtherKind::Dump => "other-dump",
            OtherKind::RemainingTitle => "other-remaining-title",
            OtherKind::Title => "other-title",
            OtherKind::DeviceHeading => "other-device-heading",
            OtherKind::ListTotal => "other-list-total",
            OtherKind::NothingRemaining => "other-nothing-remaining",
            OtherKind::KernelEntry => "other-kernel-entry",
            OtherKind::Statistics => "other-statistics",
            OtherKind::History => "other-history",
            OtherKind::DoubleFreed => "other-double-freed",
            OtherKind::AcceptFailed => "other-accept-failed",
            OtherKind::OwnNotice => "other-own-notice",
        }
    }
}
