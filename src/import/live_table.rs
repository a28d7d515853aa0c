//! What an allocator itself has in use at the end, where a recording holds its table.
//!
//! It is the truth that a history can be held against: see `src/oracle/allocation_check.rs`.

use super::stacks::StackId;

/// An allocator's table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveTable {
    /// Its blocks that are in use.
    pub(crate) blocks: Vec<LiveBlock>,
}

/// A block that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LiveBlock {
    /// Device id.
    pub(crate) device: i32,
    /// Its address.
    pub(crate) address: u64,
    /// Its size: what the allocator has given away.
    pub(crate) size_bytes: u64,
    /// The size that was asked for, where the table says so.
    pub(crate) requested_bytes: Option<u64>,
    /// Its release was requested and is not complete.
    pub(crate) awaits_release: bool,
    /// Where in the program it was allocated, where the table says so.
    pub(crate) stack: Option<StackId>,
}
