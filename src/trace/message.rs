//! The message that a [`Send`](super::event::Event::Send) event stands for: engines send it, the oracle reads it back
//! from the trace, both by the same function.

use crate::device::{DeviceId, Memory};
use crate::scenario::SCENARIO_PID;
use crate::tracking::Layout;
use crate::tracking::message::{Extension, Message, MessageKind};

use super::event::SentKind;

/// What a handle says of its buffer (of one part of it, for a mesh buffer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    /// The device it is on.
    pub device: DeviceId,
    /// The address space.
    pub memory: Memory,
    /// The address.
    pub address: u64,
    /// The size asked for.
    pub size_bytes: u64,
    /// Which life of the address it is.
    pub generation: u64,
}

/// The message of `kind`, as `layout` carries it, that `thread` sends about `handle`, stamped with `sequence` (0: not stamped).
/// The time in it is none: a run must not depend on the clock.
#[inline]
pub fn message(
    layout: Layout,
    kind: SentKind,
    handle: &Handle,
    thread: u16,
    sequence: u64,
) -> Message {
    let allocates = matches!(kind, SentKind::Alloc | SentKind::CbAlloc);
    Message {
        kind: match kind {
            SentKind::Alloc => MessageKind::Alloc,
            SentKind::Free => MessageKind::Free,
            SentKind::CbAlloc => MessageKind::CbAlloc,
            SentKind::CbFree => MessageKind::CbFree,
        },
        device: i32::from(handle.device.0),
        size_bytes: if allocates { handle.size_bytes } else { 0 },
        buffer_type: buffer_type(handle.memory),
        pid: SCENARIO_PID,
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

/// The C++ buffer type of a memory.
pub fn buffer_type(memory: Memory) -> u8 {
    match memory {
        Memory::Dram => 0,
        Memory::L1 => 1,
        Memory::L1Small => 3,
        Memory::Trace => 4,
    }
}

/// The memory of a C++ buffer type; `None` for SYSTEM_MEMORY and what is no buffer type.
pub fn memory_of(buffer_type: u8) -> Option<Memory> {
    Some(match buffer_type {
        0 => Memory::Dram,
        1 => Memory::L1,
        3 => Memory::L1Small,
        4 => Memory::Trace,
        _ => return None,
    })
}

/// The bytes of chunk `index` of a frame of `frame_bytes` that is written in `chunks` writes.
pub fn chunk_range(frame_bytes: usize, chunks: u8, index: u8) -> std::ops::Range<usize> {
    let at = |k: u8| frame_bytes * usize::from(k) / usize::from(chunks.max(1));
    at(index)..at(index + 1)
}
