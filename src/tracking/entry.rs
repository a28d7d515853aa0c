//! What a message says of a live buffer: its class and the entry that a server keeps of it.
//!
//! The vocabulary that the wire, the clients and every reconstruction share. Who keeps entries, and
//! under which key, is [`crate::registry`]'s.

use serde::{Deserialize, Serialize};

use super::message::{Extension, Message, MessageKind};
use crate::device::{DeviceId, Memory};

/// The highest buffer type byte that names a memory (TRACE).
pub(crate) const MAX_BUFFER_TYPE: u8 = 4;

/// The names that servers' logs have for buffer types, by their bytes.
pub(crate) const BUFFER_TYPE_NAMES: [&str; MAX_BUFFER_TYPE as usize + 1] =
    ["DRAM", "L1", "SYSTEM_MEMORY", "L1_SMALL", "TRACE"];

/// What kind of thing is live. Kinds never share a key, so a circular buffer may have a buffer's
/// address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Class {
    /// A buffer (ALLOC, FREE).
    Plain = 0,
    /// A circular buffer (CB_ALLOC, CB_FREE).
    Circular = 1,
    /// A kernel binary (KERNEL_LOAD, KERNEL_UNLOAD).
    Kernel = 2,
}

impl Class {
    /// The class whose discriminant is `index`, if there is one.
    pub(crate) fn from_index(index: u8) -> Option<Class> {
        [Class::Plain, Class::Circular, Class::Kernel]
            .get(usize::from(index))
            .copied()
    }

    /// The kind of message that closes an entry of this class.
    pub(crate) fn closing(self) -> MessageKind {
        match self {
            Class::Plain => MessageKind::Free,
            Class::Circular => MessageKind::CbFree,
            Class::Kernel => MessageKind::KernelUnload,
        }
    }
}

/// One live buffer, as reconstructed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// The device it is on.
    pub device: DeviceId,
    /// What kind of thing it is.
    pub class: Class,
    /// The buffer type byte of the ALLOC that is kept.
    pub buffer_type: u8,
    /// Its address (the wire's buffer id).
    pub address: u64,
    /// Its size in bytes, as the kept ALLOC said.
    pub size_bytes: u64,
    /// The process that the kept ALLOC named.
    pub pid: i32,
    /// The sending thread of the kept ALLOC; 0 when its layout doesn't carry one.
    pub thread: u32,
    /// The generation of the kept ALLOC; 0 when its layout doesn't carry one.
    pub generation: u64,
    /// How many ALLOCs are open on the key; always 1 but under reference-counting semantics.
    pub refcount: u32,
}

impl Entry {
    /// The message that takes it off a table. Its extension names no memory where the entry is in
    /// system memory: a release without one finds it.
    pub(crate) fn release(&self) -> Message {
        Message {
            address: self.address,
            extension: Memory::from_buffer_type(self.buffer_type).map(|memory| Extension {
                memory,
                sequence: 0,
                generation: self.generation,
                thread: self.thread,
            }),
            ..Message::bare(self.class.closing(), i32::from(self.device.0), self.pid)
        }
    }
}
