//! What a pickle makes: as much of it as a snapshot's entries need.

use super::super::stacks::{FrameId, StackId};
use super::SnapshotBlock;

/// A text in [`Texts`](super::texts::Texts).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TextId(pub u32);

/// A value on the stack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    /// Something that no entry needs, or that was not kept.
    Opaque,
    Int(i64),
    /// Above the range of [`Value::Int`].
    Unsigned(u64),
    Text(TextId),
    /// A dict of `filename`, `line` and `name`.
    Frame(FrameId),
    /// A list of frames that is complete.
    Stack(StackId),
    /// A dict that is being filled, by its place in the machine.
    Dict(u32),
    /// A list that is being filled, by its place in the machine.
    List(u32),
}

impl Value {
    /// Whether the memo keeps it.
    pub(crate) fn is_kept(self) -> bool {
        matches!(self, Value::Text(_) | Value::Frame(_) | Value::Stack(_))
    }

    /// The bits of an integer: addresses are written as positive numbers, streams sometimes as
    /// negative ones.
    pub(crate) fn bits(self) -> Option<u64> {
        match self {
            Value::Int(value) => Some(value as u64),
            Value::Unsigned(value) => Some(value),
            _ => None,
        }
    }
}

/// A dict, as far as it can be an entry, a frame, a segment or a block of one.
#[derive(Clone, Debug, Default)]
pub(super) struct Dict {
    pub(crate) offset: u64,
    pub(crate) memo: Option<u32>,
    pub(crate) action: Option<TextId>,
    pub(crate) addr: Option<u64>,
    pub(crate) size: Option<u64>,
    pub(crate) stream: Option<u64>,
    pub(crate) time_us: Option<u64>,
    pub(crate) frames: Option<StackId>,
    pub(crate) filename: Option<TextId>,
    pub(crate) line: Option<u64>,
    pub(crate) name: Option<TextId>,
    /// A key was set.
    pub(crate) filled: bool,
    pub(crate) device: Option<u64>,
    pub(crate) address: Option<u64>,
    pub(crate) requested_size: Option<u64>,
    pub(crate) state: Option<TextId>,
    pub(crate) blocks: Option<Vec<SnapshotBlock>>,
}

/// What a list is, by where it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Role {
    #[default]
    Plain,
    /// The value of `device_traces`.
    DeviceTraces,
    /// The trace of a device.
    DeviceTrace(u32),
    /// The value of `segments`.
    Segments,
}

/// A list.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    pub(crate) memo: Option<u32>,
    pub(crate) role: Role,
    /// How many elements it has.
    pub(crate) count: u64,
    /// Its elements, where all of them are frames.
    pub(crate) frames: Vec<FrameId>,
    pub(crate) other: bool,
    /// Of its elements those that are blocks in use.
    pub(crate) blocks: Vec<SnapshotBlock>,
    /// The sizes of all blocks so far: old snapshots give blocks no address.
    pub(crate) blocks_bytes: u64,
}
