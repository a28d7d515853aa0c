//! The message that a `send` step stands for: engines send it, and who reads a trace rebuilds it,
//! both by the same function.

use super::message::{Extension, Message, MessageKind};
use super::wire::Layout;
use crate::device::{DeviceId, Memory};

/// Which message a `send` sends. Preallocated buffers send none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SentKind {
    /// ALLOC
    Alloc = 0,
    /// FREE
    Free = 1,
    /// CB_ALLOC
    CbAlloc = 2,
    /// CB_FREE
    CbFree = 3,
}

impl SentKind {
    /// The kind of the message.
    #[inline]
    pub(crate) fn message_kind(self) -> MessageKind {
        match self {
            SentKind::Alloc => MessageKind::Alloc,
            SentKind::Free => MessageKind::Free,
            SentKind::CbAlloc => MessageKind::CbAlloc,
            SentKind::CbFree => MessageKind::CbFree,
        }
    }
}

/// What a handle says of its buffer (of one part of it, for a mesh buffer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    /// The device it is on.
    pub(crate) device: DeviceId,
    /// The address space.
    pub(crate) memory: Memory,
    /// The address.
    pub(crate) address: u64,
    /// The size asked for.
    pub(crate) size_bytes: u64,
    /// Which life of the address it is.
    pub(crate) generation: u64,
}

/// The message of `kind`, as `layout` carries it, that `thread` of process `pid` sends about
/// `handle`, stamped with `sequence` (0: not stamped). The time in it is none: a run must not
/// depend on the clock.
#[inline]
pub(crate) fn message(
    layout: Layout,
    pid: i32,
    kind: SentKind,
    handle: &Handle,
    thread: u16,
    sequence: u64,
) -> Message {
    let kind = kind.message_kind();
    Message {
        kind,
        device: i32::from(handle.device.0),
        size_bytes: if kind.opens() { handle.size_bytes } else { 0 },
        buffer_type: handle.memory.buffer_type(),
        pid,
        address: handle.address,
        timestamp_ns: 0,
        extension: (layout == Layout::Extended).then_some(Extension {
            memory: handle.memory,
            sequence,
            generation: handle.generation,
            thread: u32::from(thread),
        }),
    }
}

/// The bytes of chunk `index` of a frame of `frame_bytes` that is written in `chunks` writes.
pub fn chunk_range(frame_bytes: usize, chunks: u8, index: u8) -> std::ops::Range<usize> {
    let at = |k: u8| frame_bytes * usize::from(k) / usize::from(chunks.max(1));
    at(index)..at(index + 1)
}
