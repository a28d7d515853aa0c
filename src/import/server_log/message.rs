//! From a log line back to the tracking message that the server received.

use super::event::{LogEvent, LogRecord, MeterKind};
use crate::trace::observation::ServerAnswer;
use crate::tracking::{Message, MessageKind};

/// A message as a log shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImportedMessage {
    /// The line it stands on.
    pub(crate) line: u64,
    /// The message. It has no timestamp and no extension.
    pub(crate) message: Message,
    /// Whether the line states everything that the server used of the message. What it does not
    /// state is 0 in `message`, and -1 for the device.
    pub(crate) complete: bool,
    /// What the server said of it.
    pub(crate) server_answer: ServerAnswer,
}

/// The message that the server must have received for `record` to be in its log; `None` for a line
/// that stands for no message, or for one that is no [`Message`] because its type is unknown.
///
/// Three things are not in a log: the sender of a FREE that succeeded, in whose place the key's
/// first owner stands; timestamps; and the buffer ids of circular buffers and kernels, which are 0.
pub(crate) fn to_message(record: &LogRecord) -> Option<ImportedMessage> {
    let mut message = Message::bare(MessageKind::Alloc, -1, 0);
    let (complete, server_answer) = match record.what {
        LogEvent::Allocated {
            pid,
            size_bytes,
            buffer_type,
            device,
            address,
            ref_count,
        } => {
            message = Message {
                pid,
                size_bytes,
                buffer_type,
                device,
                address,
                ..message
            };
            (
                true,
                ref_count.map_or(ServerAnswer::Inserted, ServerAnswer::RefCount),
            )
        }
        LogEvent::Freed {
            pid,
            address,
            device,
            left,
            ..
        } => {
            message = free(pid, device, address);
            (true, ServerAnswer::Freed(left))
        }
        LogEvent::UnknownFree {
            pid,
            address,
            device,
        } => {
            message = free(pid, device, address);
            (true, ServerAnswer::UnknownFree)
        }
        LogEvent::UnknownFreeBare { address } => {
            message = free(0, -1, address);
            (false, ServerAnswer::UnknownFree)
        }
        LogEvent::AlreadyFreed {
            pid,
            address,
            device,
            ..
        } => {
            message = free(pid, device, address);
            (true, ServerAnswer::AlreadyFreed)
        }
        LogEvent::InvalidBufferType {
            pid,
            buffer_type,
            address,
            device,
        } => {
            message.pid = pid.unwrap_or(0);
            // A wire byte; a log that says more is not a server's, and the message was rejected
            // anyway.
            message.buffer_type = u8::try_from(buffer_type).unwrap_or(u8::MAX);
            message.address = address.unwrap_or(0);
            message.device = device.unwrap_or(-1);
            (false, ServerAnswer::Rejected)
        }
        LogEvent::InvalidDevice { device } => {
            message.device = device;
            (false, ServerAnswer::Rejected)
        }
        LogEvent::InvalidSize { size_bytes } => {
            message.size_bytes = size_bytes;
            (false, ServerAnswer::Rejected)
        }
        LogEvent::Refused {
            pid,
            kind,
            address,
            device,
            repeated: false,
        } => {
            message = Message {
                kind,
                pid,
                address,
                device,
                ..message
            };
            (false, ServerAnswer::Rejected)
        }
        LogEvent::Meter {
            kind,
            device,
            delta_bytes,
            total_bytes,
            ..
        } => {
            message.kind = match kind {
                MeterKind::CbAlloc => MessageKind::CbAlloc,
                MeterKind::CbFree => MessageKind::CbFree,
                MeterKind::KernelLoad => MessageKind::KernelLoad,
                MeterKind::KernelUnload => MessageKind::KernelUnload,
            };
            message.device = device;
            message.size_bytes = delta_bytes;
            (false, ServerAnswer::Total(total_bytes))
        }
        // It was there before, and counts once.
        LogEvent::Refused { repeated: true, .. }
        | LogEvent::ReusedDifferentSize { .. }
        | LogEvent::UnknownMessageType(_)
        | LogEvent::DeadProcess { .. }
        | LogEvent::Removed { .. }
        | LogEvent::Remaining { .. }
        | LogEvent::RemainingTotal(_)
        | LogEvent::ActiveAllocations(_)
        | LogEvent::KnownOther(_)
        | LogEvent::Unrecognised(_) => return None,
    };
    Some(ImportedMessage {
        line: record.line,
        message,
        complete,
        server_answer,
    })
}

fn free(pid: i32, device: i32, address: u64) -> Message {
    Message {
        address,
        ..Message::bare(MessageKind::Free, device, pid)
    }
}
