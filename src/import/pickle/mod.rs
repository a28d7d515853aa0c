//! Reads a memory snapshot out of a pickle, and executes nothing.
//!
//! A pickle is a program for a machine with a stack and a memo. This one is such a machine, of
//! which only the instructions for plain data exist (protocols 2 to 5), and which keeps only what
//! the entries of `device_traces` and the blocks of `segments` need: it hands each to a [`Sink`] as
//! soon as it is complete, and forgets it. Nothing else of the snapshot is built at all.
//!
//! What holds:
//! - No instruction runs code or reaches outside of the file: those that would are an error that
//!   names them and their place.
//! - There is no recursion, neither in the reading nor in what is kept: nesting costs a place on
//!   the stack, cycles nothing.
//! - Memory is bounded: a buffer of fixed size, at most [`MAX_STACK`] values on the stack and
//!   [`MAX_BLOCKS`] blocks whose segment is not complete yet, the distinct texts and call stacks up
//!   to their tables' bounds, and the memo's entries of those (those that are referred to, and the
//!   last ones that are not). So it does not grow with the length of a trace.
//! - Any bytes yield entries and then the end or one error with its offset.
//!
//! Entries are known by where they stand while they are read: in a list, in the list that is the
//! value of `device_traces`, in the outermost dict; segments likewise, in the list that is the
//! value of `segments`. That is how `pickle.dump` writes them.

mod containers;
mod error;
mod instructions;
mod machine;
mod memo;
mod opcode;
mod operands;
mod segments;
mod slab;
mod source;
mod texts;
mod value;

use std::io::{self, Read};

use super::stacks::{StackId, StackTable};
pub(crate) use error::PickleError;
use machine::PickleMachine;

/// Values on the stack at most. A pickle written by Python has some thousands: it fills containers
/// in batches of 1,000.
pub(crate) const MAX_STACK: usize = 1 << 16;
/// Blocks in use at most whose segments are not complete yet. Python completes 1,000 segments at a
/// time.
pub(crate) const MAX_BLOCKS: usize = 1 << 20;
/// Frames of a call stack that are kept.
pub(crate) const MAX_FRAMES: usize = 1024;

/// An entry of a device's trace. What it does not have, or has in another shape, is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotEntry<'a> {
    /// The device, by the place of its trace.
    pub(crate) device: u32,
    /// Where it begins, in bytes of the pickle.
    pub(crate) offset: u64,
    /// What happened.
    pub(crate) action: Option<&'a str>,
    /// The address.
    pub(crate) addr: Option<u64>,
    /// The size.
    pub(crate) size: Option<u64>,
    /// The stream.
    pub(crate) stream: Option<u64>,
    /// When, in µs since 1970.
    pub(crate) time_us: Option<u64>,
    /// Where in the program.
    pub(crate) frames: Option<StackId>,
}

/// A segment of the allocator's memory: what it has of blocks that are in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotSegment<'a> {
    /// The device, where it says so.
    pub(crate) device: Option<u64>,
    /// The address, where it says so.
    pub(crate) address: Option<u64>,
    /// Its blocks that are in use.
    pub(crate) blocks: &'a [SnapshotBlock],
}

/// A block that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotBlock {
    /// Its address; old snapshots have none.
    pub(crate) address: Option<u64>,
    /// Bytes of the blocks before it in its segment.
    pub(crate) offset_bytes: u64,
    /// Its size.
    pub(crate) size: u64,
    /// The size that was asked for.
    pub(crate) requested_size: Option<u64>,
    /// Its release was requested: a stream may still use it.
    pub(crate) awaits_release: bool,
    /// Where in the program it was allocated.
    pub(crate) frames: Option<StackId>,
}

/// Takes what a pickle holds.
pub(crate) trait Sink {
    /// An entry is complete. `read_bytes`: how far the pickle was read.
    fn entry(
        &mut self,
        entry: &SnapshotEntry<'_>,
        stacks: &StackTable,
        read_bytes: u64,
    ) -> io::Result<()>;

    /// A segment is complete.
    fn segment(&mut self, segment: &SnapshotSegment<'_>, stacks: &StackTable) -> io::Result<()>;
}

/// What is to be said of a pickle when all of it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// Bytes up to and with STOP.
    pub bytes: u64,
    /// Traces of devices.
    pub devices: u32,
    /// Segments of the allocator's memory; `None` where it says nothing of them.
    pub segments: Option<u64>,
    /// Segments and blocks that are none, or were too many to keep.
    pub odd_blocks: u64,
    /// Texts, frames and call stacks that were not kept because there were too many or they were
    /// too long.
    pub dropped: u64,
    /// Bytes after STOP.
    pub trailing_bytes: u64,
}

/// Reads a pickle to its end.
pub(crate) fn read(
    source: impl Read,
    sink: &mut impl Sink,
) -> Result<SnapshotSummary, PickleError> {
    PickleMachine::new(source, sink).run()
}
