//! What the registry keeps of one live buffer, and the key that it is found by.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use super::Semantics;
use crate::device::DeviceId;
use crate::tracking::entry::{Class, Entry};
use crate::tracking::{Message, MessageKind};

/// What a key maps to: an [`Entry`] without what the key already says. Packed, 26 bytes beside the
/// key's 16 and 1 of the table: a live buffer costs at most 98 bytes, when the table has just grown
/// and 7 of 16 slots are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C, packed)]
pub(super) struct TableRecord {
    pub(super) size_bytes: u64,
    pub(super) generation: u64,
    pub(super) thread: u32,
    pub(super) refcount: u32,
    /// The client process that opened it, by the server's number; 0: nobody's.
    pub(super) owner: u16,
}

impl TableRecord {
    /// The record that an allocating `message` of `owner` opens.
    pub(super) fn opened_by(message: &Message, owner: u16) -> TableRecord {
        let (generation, thread) = message
            .extension
            .map_or((0, 0), |e| (e.generation, e.thread));
        TableRecord {
            size_bytes: message.size_bytes,
            generation,
            thread,
            refcount: 1,
            owner,
        }
    }

    /// The full entry under `key`, as the table holds it.
    pub(super) fn entry(self, key: TableKey) -> Entry {
        Entry {
            device: key.device(),
            class: key.class(),
            buffer_type: key.buffer_type(),
            address: key.address,
            size_bytes: self.size_bytes,
            pid: key.pid(),
            thread: self.thread,
            generation: self.generation,
            refcount: self.refcount,
        }
    }
}

/// A table key: what entries are told apart by, and beside it what the kept ALLOC said of type and
/// process. `rest` packs, from the top: device (16 bits), space (8 bits: [`OF_PROCESS`], the class,
/// and under the typed semantics the memory), buffer type (8 bits, never told apart by), process
/// (32 bits, told apart by under the typed semantics). Keys thus sort by device, class, memory,
/// process where it counts and, last, address.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed)]
pub(super) struct TableKey {
    rest: u64,
    address: u64,
}

/// Spaces are 8 apart a class, so that a class and a memory fit one number.
const SPACES_PER_CLASS: u8 = 8;
/// In a space: the process counts.
const OF_PROCESS: u8 = 0x80;

impl TableKey {
    /// The key of `message` on the checked `device`, in the memory that `memory` names (see
    /// [`memory_of`]); memory and process count only under the typed semantics.
    #[inline]
    pub(super) fn new(
        semantics: Semantics,
        message: &Message,
        device: DeviceId,
        class: Class,
        memory: u8,
    ) -> TableKey {
        let (of_process, memory) = match semantics {
            Semantics::Overwrite | Semantics::Refcount => (0, 0),
            Semantics::Typed | Semantics::Sequenced => (OF_PROCESS, memory),
        };
        let memory = if class == Class::Plain { memory } else { 0 };
        let space = of_process | (class as u8 * SPACES_PER_CLASS + memory);
        let rest = u64::from(device.0) << 48
            | u64::from(space) << 40
            | u64::from(message.buffer_type) << 32
            | u64::from(message.pid.cast_unsigned());
        TableKey {
            rest,
            address: message.address,
        }
    }

    pub(super) fn device(self) -> DeviceId {
        DeviceId((self.rest >> 48) as u16)
    }

    pub(super) fn class(self) -> Class {
        match ((self.rest >> 40) as u8 & !OF_PROCESS) / SPACES_PER_CLASS {
            0 => Class::Plain,
            1 => Class::Circular,
            _ => Class::Kernel,
        }
    }

    pub(super) fn buffer_type(self) -> u8 {
        (self.rest >> 32) as u8
    }

    /// The process that opened the entry, whether it counts or not.
    pub(super) fn pid(self) -> i32 {
        (self.rest as u32).cast_signed()
    }

    /// What the kept ALLOC said beyond what keys are told apart by.
    pub(super) fn said(self) -> (u8, i32) {
        (self.buffer_type(), self.pid())
    }

    /// The bits of `rest` that count; the same in all keys of a table.
    #[inline]
    fn counting(self) -> u64 {
        let of_process = (self.rest >> 47 & 1).wrapping_neg();
        0xffff_ff00_0000_0000 | (of_process & 0xffff_ffff)
    }

    #[inline]
    fn identity(self) -> (u64, u64) {
        (self.rest & self.counting(), self.address)
    }
}

impl PartialEq for TableKey {
    #[inline]
    fn eq(&self, other: &TableKey) -> bool {
        let other = *other;
        let (address, other_address) = (self.address, other.address);
        address == other_address && (self.rest ^ other.rest) & self.counting() == 0
    }
}

impl Eq for TableKey {}

impl Hash for TableKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl PartialOrd for TableKey {
    fn partial_cmp(&self, other: &TableKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TableKey {
    fn cmp(&self, other: &TableKey) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

/// The memory of `message` as a number 0 to 4 in the order of the buffer types, if the message
/// says: an extension always does, an ALLOC says by its buffer type, a FREE of a layout without
/// extension doesn't.
#[inline]
pub(super) fn memory_of(message: &Message) -> Option<u8> {
    match message.extension {
        Some(extension) => Some(extension.memory.buffer_type()),
        None if message.kind == MessageKind::Alloc => Some(message.buffer_type),
        None => None,
    }
}
