//! Devices: their address spaces, the allocators that manage them, and the buffers that live in
//! them.
//!
//! Everything here is plain data without threads or sockets: cloneable, comparable, hashable.

pub(crate) mod allocator;
mod blocks;
pub(crate) mod buffer;
pub(crate) mod config;
pub(crate) mod free_list;
pub(crate) mod memory;
pub(crate) mod profile;
pub(crate) mod range;

use std::fmt;

use serde::{Deserialize, Serialize};

pub(crate) use allocator::{AllocError, AnyAllocator, Block, DeviceAllocator, FreeError, Stats};
pub use buffer::{BufferKind, Status};
pub use config::{AllocatorConfig, ConfigError, Direction, Policy};
pub(crate) use memory::Device;
pub(crate) use profile::Profile;

/// Index of a device in its system, from 0.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    arbitrary::Arbitrary,
)]
#[serde(transparent)]
pub struct DeviceId(pub u16);

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One of a device's separate address spaces. The same address may be live in each of them at once.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    arbitrary::Arbitrary,
)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Memory {
    /// Device DRAM.
    Dram = 0,
    /// On-core SRAM.
    L1 = 1,
    /// The small L1 region for kernel-internal buffers.
    L1Small = 2,
    /// The region for recorded command traces.
    Trace = 3,
}

impl Memory {
    /// Every memory, in the order of their discriminants.
    pub const ALL: [Memory; 4] = [Memory::Dram, Memory::L1, Memory::L1Small, Memory::Trace];

    /// The memory whose discriminant is `index`, if there is one.
    pub fn from_index(index: u8) -> Option<Memory> {
        Memory::ALL.get(usize::from(index)).copied()
    }

    /// Its word in operations, scenario files and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Memory::Dram => "dram",
            Memory::L1 => "l1",
            Memory::L1Small => "l1-small",
            Memory::Trace => "trace",
        }
    }

    /// The memory of that [`Memory::name`].
    pub(crate) fn from_name(name: &str) -> Option<Memory> {
        Memory::ALL.into_iter().find(|memory| memory.name() == name)
    }

    /// The value of the runtime's C++ buffer type that names it.
    #[inline]
    pub fn buffer_type(self) -> u8 {
        match self {
            Memory::Dram => 0,
            Memory::L1 => 1,
            Memory::L1Small => 3,
            Memory::Trace => 4,
        }
    }

    /// The memory of a C++ buffer type; `None` for SYSTEM_MEMORY (2) and what is no buffer type.
    #[inline]
    pub(crate) fn from_buffer_type(buffer_type: u8) -> Option<Memory> {
        Some(match buffer_type {
            0 => Memory::Dram,
            1 => Memory::L1,
            3 => Memory::L1Small,
            4 => Memory::Trace,
            _ => return None,
        })
    }
}
