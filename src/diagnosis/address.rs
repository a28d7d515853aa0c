//! An address as messages name it, and one life of it: from an allocation to its release.

use super::sightings::{RecordPoint, Sighting};
use crate::device::Memory;
use crate::tracking::entry::Class;
use crate::tracking::{Message, MessageKind};

/// The class of buffers whose memory is not named; the other classes follow it.
const BUFFER: u16 = 0;
/// Buffers, circular buffers, kernels.
const CLASSES: u16 = 3;

/// Which address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct AddressKey {
    pub device: i32,
    pub address: u64,
    /// Buffers, circular buffers and kernels apart; and the memory, where every message names it.
    class: u16,
    /// Whose addresses: in an allocator's own record each process has its own; 0 elsewhere.
    process: u32,
}

impl AddressKey {
    /// The address that `message` is about.
    pub(super) fn of(message: &Message) -> AddressKey {
        let kind = match message.kind {
            MessageKind::CbAlloc | MessageKind::CbFree => 1,
            MessageKind::KernelLoad | MessageKind::KernelUnload => 2,
            _ => BUFFER,
        };
        // Every extended message names its memory.
        let memory = message
            .extension
            .map_or(0, |extension| memory_class(extension.memory));
        AddressKey {
            device: message.device,
            address: message.address,
            class: kind + memory,
            process: 0,
        }
    }

    /// The address that an allocator's own record is about: its key has the memory, under any name,
    /// and the process.
    pub(super) fn of_record(message: &Message) -> AddressKey {
        AddressKey {
            device: message.device,
            address: message.address,
            class: CLASSES * (1 + u16::from(message.buffer_type)),
            process: message.pid.cast_unsigned(),
        }
    }

    /// The address of a buffer whose memory is not named.
    pub(super) fn of_buffer(device: i32, address: u64) -> AddressKey {
        AddressKey {
            device,
            address,
            class: BUFFER,
            process: 0,
        }
    }

    /// The same address on this device.
    pub(super) fn on_device(self, device: i32) -> AddressKey {
        AddressKey { device, ..self }
    }

    /// The same address in the other memories.
    pub(super) fn in_other_memories(self) -> impl Iterator<Item = AddressKey> {
        let in_memory = move |memory| AddressKey {
            class: self.class % CLASSES + memory_class(memory),
            ..self
        };
        let all = Memory::ALL.into_iter().map(in_memory);
        all.filter(move |other| *other != self)
    }

    /// What was seen of it, at these points.
    pub(super) fn sighting(&self, points: &[RecordPoint]) -> Sighting {
        Sighting {
            positions: points.iter().map(|point| point.position).collect(),
            device: Some(self.device),
            address: Some(self.address),
            class: u8::try_from(self.class % CLASSES)
                .ok()
                .and_then(Class::from_index),
            number: None,
        }
    }
}

/// Added to the class where the memory is named.
fn memory_class(memory: Memory) -> u16 {
    CLASSES * (1 + memory as u16)
}

/// One life of an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct AddressLife {
    /// Its ALLOC.
    pub at: RecordPoint,
    /// Its process.
    pub pid: i32,
    /// How often the lives of that process had ended before.
    pub epoch: u32,
    pub buffer_type: u8,
    pub size_bytes: u64,
    /// Its ALLOC came right after another one of the address, from the same sender.
    pub directly: bool,
}

impl AddressLife {
    /// Whether the next life of its address came right after it, with another size.
    pub(super) fn is_resized_by(&self, next: &AddressLife) -> bool {
        next.directly && self.size_bytes != next.size_bytes
    }
}

/// The number that a device's allocator gave to an allocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeviceGeneration {
    pub device: i32,
    pub number: u64,
}
