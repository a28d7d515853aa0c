//! A tracking message with its meaning, free of any wire layout.
//!
//! [`Message`] is what the codec decodes every layout into and encodes from; fields that a layout
//! does not carry are zero or `None`.

use super::entry::Class;
use crate::device::Memory;

/// What a message asks of the server. The discriminant is the type byte on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MessageKind {
    /// A buffer was allocated.
    Alloc = 1,
    /// A buffer was released.
    Free = 2,
    /// Asks for the totals of a device.
    Query = 3,
    /// Answers [`MessageKind::Query`].
    Response = 4,
    /// Asks the server to log what is still live.
    DumpRemaining = 5,
    /// Asks for a device's properties (device -1: for the number of devices).
    DeviceInfoQuery = 6,
    /// Answers [`MessageKind::DeviceInfoQuery`].
    DeviceInfoResponse = 7,
    /// A circular buffer was allocated.
    CbAlloc = 8,
    /// A circular buffer was released.
    CbFree = 9,
    /// A kernel binary was loaded.
    KernelLoad = 10,
    /// A kernel binary was unloaded.
    KernelUnload = 11,
    /// Asks the server to log the loaded kernels.
    DumpKernels = 12,
}

impl MessageKind {
    /// Every kind, in the order of their type bytes.
    pub(crate) const ALL: [MessageKind; 12] = [
        MessageKind::Alloc,
        MessageKind::Free,
        MessageKind::Query,
        MessageKind::Response,
        MessageKind::DumpRemaining,
        MessageKind::DeviceInfoQuery,
        MessageKind::DeviceInfoResponse,
        MessageKind::CbAlloc,
        MessageKind::CbFree,
        MessageKind::KernelLoad,
        MessageKind::KernelUnload,
        MessageKind::DumpKernels,
    ];

    /// The kind with this type byte, if there is one.
    #[inline]
    pub(crate) fn from_byte(byte: u8) -> Option<MessageKind> {
        MessageKind::ALL
            .get(usize::from(byte).wrapping_sub(1))
            .copied()
    }

    /// What it is about, and whether it opens an entry (true) or closes one; `None` where it is
    /// about no buffer.
    #[inline]
    pub(crate) fn role(self) -> Option<(Class, bool)> {
        match self {
            MessageKind::Alloc => Some((Class::Plain, true)),
            MessageKind::Free => Some((Class::Plain, false)),
            MessageKind::CbAlloc => Some((Class::Circular, true)),
            MessageKind::CbFree => Some((Class::Circular, false)),
            MessageKind::KernelLoad => Some((Class::Kernel, true)),
            MessageKind::KernelUnload => Some((Class::Kernel, false)),
            _ => None,
        }
    }

    /// The class of what it is about; `None` where it is about no buffer.
    #[inline]
    pub fn class(self) -> Option<Class> {
        self.role().map(|(class, _)| class)
    }

    /// Whether it opens an entry.
    #[inline]
    pub(crate) fn opens(self) -> bool {
        self.role().is_some_and(|(_, opens)| opens)
    }

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            MessageKind::Alloc => "ALLOC",
            MessageKind::Free => "FREE",
            MessageKind::Query => "QUERY",
            MessageKind::Response => "RESPONSE",
            MessageKind::DumpRemaining => "DUMP_REMAINING",
            MessageKind::DeviceInfoQuery => "DEVICE_INFO_QUERY",
            MessageKind::DeviceInfoResponse => "DEVICE_INFO_RESPONSE",
            MessageKind::CbAlloc => "CB_ALLOC",
            MessageKind::CbFree => "CB_FREE",
            MessageKind::KernelLoad => "KERNEL_LOAD",
            MessageKind::KernelUnload => "KERNEL_UNLOAD",
            MessageKind::DumpKernels => "DUMP_KERNELS",
        }
    }
}

/// One tracking message, layout-free.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// What it asks.
    pub kind: MessageKind,
    /// The device as sent; may be out of range or -1, so it is checked by whoever acts on it.
    pub device: i32,
    /// Size in bytes; 0 in FREE.
    pub size_bytes: u64,
    /// Buffer type byte as sent: C++ values DRAM 0, L1 1, SYSTEM_MEMORY 2, L1_SMALL 3, TRACE 4.
    /// Meaningless in a FREE of any layout but the extended one.
    pub buffer_type: u8,
    /// Process id as sent.
    pub pid: i32,
    /// Buffer id: the address.
    pub address: u64,
    /// Timestamp in ns; 0 in FREE.
    pub timestamp_ns: u64,
    /// What only the extended layout carries.
    pub extension: Option<Extension>,
}

impl Message {
    /// A message that states no more than its kind, device and process.
    pub(crate) fn bare(kind: MessageKind, device: i32, pid: i32) -> Message {
        Message {
            kind,
            device,
            size_bytes: 0,
            buffer_type: 0,
            pid,
            address: 0,
            timestamp_ns: 0,
            extension: None,
        }
    }
}

/// The fields that only heisenbed's own layout carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extension {
    /// The address space, also on FREE.
    pub memory: Memory,
    /// The device's sequence number (the `stamp` micro-step), from 1; 0: not stamped.
    pub sequence: u64,
    /// Which life of the address this is: the allocator's own version number at the allocation.
    pub generation: u64,
    /// The sending thread's index in the scenario.
    pub thread: u32,
}
