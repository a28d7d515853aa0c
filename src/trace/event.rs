//! Events: what one micro-step did, as recorded by the thread that took it.
//!
//! An event that touched a shared object (lock, device, slot, connection) carries the object's
//! *version*: a counter inside the object, bumped in its own critical section at every touch.
//! Version order is the order of touches, so the streams of all threads can be merged into one
//! schedule without a global clock. What an event does not say follows from its stream: the events
//! after an [`Event::Open`] belong to that operation and to its current part.

use crate::device::DeviceId;
use crate::registry::Outcome;
use crate::scenario::objects::{ConnId, LockId};
use crate::scenario::op::Op;
use crate::tracking::sent::SentKind;

use super::shared_event::SharedEvent;

/// What became of one write to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SendOutcome {
    /// The kernel took all of it.
    Sent = 0,
    /// The socket buffer was full and the transport does not wait: the message is gone.
    Dropped = 1,
    /// The connection is broken.
    Failed = 2,
}

/// What the allocator answered to a `free`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FreeOutcome {
    /// The address was live in the generation that the handle names.
    Freed = 0,
    /// Nothing was live at that address.
    NotAllocated = 1,
    /// A later life of the address was released: somebody else's buffer.
    FreedAnother = 2,
}

/// How the server's registry took a message, as the server itself recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ReceiveCode {
    /// A new entry.
    Inserted = 0,
    /// A live entry was replaced.
    Replaced = 1,
    /// A reference was added to a live entry.
    Incremented = 2,
    /// An entry was removed.
    Removed = 3,
    /// A reference was dropped, the entry stays.
    Decremented = 4,
    /// FREE of an absent key.
    UnknownFree = 5,
    /// Kept until the messages before it have come.
    Held = 6,
    /// Refused: out of bounds.
    Rejected = 7,
    /// Not about a buffer.
    Ignored = 8,
    /// A frame of unknown type.
    Unknown = 9,
}

impl ReceiveCode {
    /// Every code, by discriminant.
    pub const ALL: [ReceiveCode; 10] = [
        ReceiveCode::Inserted,
        ReceiveCode::Replaced,
        ReceiveCode::Incremented,
        ReceiveCode::Removed,
        ReceiveCode::Decremented,
        ReceiveCode::UnknownFree,
        ReceiveCode::Held,
        ReceiveCode::Rejected,
        ReceiveCode::Ignored,
        ReceiveCode::Unknown,
    ];
}

/// One recorded micro-step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An operation began: it has its slot (version: the slot's; 0 where it has none).
    Open {
        /// The operation.
        op: Op,
        /// The slot's version.
        version: u64,
    },
    /// The next part of a mesh buffer began.
    Part {
        /// Which part, from 1 (part 0 begins with [`Event::Open`]).
        part: u8,
        /// The slot's version.
        version: u64,
    },
    /// While closing a device: the release of one live buffer began.
    CloseBuffer {
        /// The slot whose buffer is released.
        slot: u32,
        /// Which part of it.
        part: u8,
        /// The slot's version.
        version: u64,
    },
    /// A release ended: the slot's epoch has one release less to wait for.
    Vacate {
        /// The slot's version.
        version: u64,
    },
    /// A lock was taken.
    Lock {
        /// Which.
        lock: LockId,
        /// The lock's version.
        version: u64,
    },
    /// A lock was released; its version is one more than at the last touch.
    Unlock {
        /// Which.
        lock: LockId,
    },
    /// A lock table was indexed out of its bounds; the step had no effect.
    LockOutOfBounds {
        /// The device whose index was too large.
        device: DeviceId,
    },
    /// The allocator handed out an address.
    Alloc {
        /// The device.
        device: DeviceId,
        /// The address.
        address: u64,
        /// The device's version: also this buffer's generation.
        version: u64,
    },
    /// The allocator was exhausted: the operation ends.
    AllocFailed {
        /// The device.
        device: DeviceId,
        /// The device's version.
        version: u64,
    },
    /// The address of the buffer at hand was given back.
    Free {
        /// The device.
        device: DeviceId,
        /// What the allocator answered.
        outcome: FreeOutcome,
        /// The device's version.
        version: u64,
    },
    /// A sequence number was taken.
    Stamp {
        /// The device.
        device: DeviceId,
        /// The number, from 1: also the version of the device's counter.
        sequence: u64,
    },
    /// The status was read (`check-live`).
    Check {
        /// Whether it was live.
        live: bool,
        /// The slot's version.
        version: u64,
    },
    /// A claim was tried.
    Claim {
        /// Whether it was won.
        won: bool,
        /// The slot's version.
        version: u64,
    },
    /// The status became live.
    MarkLive {
        /// The slot's version.
        version: u64,
    },
    /// The status became dead.
    MarkDead {
        /// The slot's version.
        version: u64,
    },
    /// The handle became visible.
    Publish {
        /// The slot's version.
        version: u64,
    },
    /// The shared connection was looked up (lazy connect).
    ConnRead {
        /// What was found.
        found: Option<ConnId>,
        /// The version of the shared cell.
        version: u64,
    },
    /// A connection was opened; connections are numbered in the order of opening.
    Connect {
        /// Its number.
        conn: ConnId,
    },
    /// A connection was stored as the shared one (lazy connect).
    ConnStore {
        /// Which.
        conn: ConnId,
        /// The version of the shared cell.
        version: u64,
    },
    /// One write of a message, or of one chunk of it.
    Send {
        /// Which message.
        kind: SentKind,
        /// Which chunk, from 0.
        chunk: u8,
        /// The connection.
        conn: ConnId,
        /// What became of it.
        outcome: SendOutcome,
        /// The connection's version.
        version: u64,
    },
    /// A debug log block was written.
    DebugLog,
    /// A step on a cell, a ledger, or a lock that is more than a mutex.
    Shared(SharedEvent),
    /// The thread waited for this lock when the run was given up.
    BlockedOnLock {
        /// The lock it waited for.
        lock: LockId,
    },
    /// The thread waited for the slot of its next operation when the run was given up.
    BlockedOnOp {
        /// The operation it could not begin.
        op: Op,
    },
    /// The thread waited for room on this connection when the run was given up.
    BlockedOnSend {
        /// The connection.
        conn: ConnId,
    },
    /// The thread was told to end while it waited; what it holds is released next.
    Stopped,
    /// The thread ended.
    Finish,
    /// Server: a connection was accepted.
    Accept {
        /// Which, in order of acceptance.
        conn: ConnId,
    },
    /// Server: a whole frame was taken from a connection and applied.
    Receive {
        /// The connection.
        conn: ConnId,
        /// What the registry did.
        code: ReceiveCode,
    },
}

impl Event {
    /// Whether it says what a thread waited for when the run was given up.
    pub(crate) fn is_blocked(&self) -> bool {
        matches!(
            self,
            Event::BlockedOnLock { .. }
                | Event::BlockedOnOp { .. }
                | Event::BlockedOnSend { .. }
                | Event::Shared(
                    SharedEvent::BlockedOnCell { .. } | SharedEvent::BlockedOnNotify { .. }
                )
        )
    }
}

/// How an outcome is recorded.
pub(crate) fn receive_code(outcome: &Outcome) -> ReceiveCode {
    match outcome {
        Outcome::Inserted => ReceiveCode::Inserted,
        Outcome::Replaced { .. } => ReceiveCode::Replaced,
        Outcome::Incremented { .. } => ReceiveCode::Incremented,
        Outcome::Removed { .. } => ReceiveCode::Removed,
        Outcome::Decremented { .. } => ReceiveCode::Decremented,
        Outcome::UnknownFree => ReceiveCode::UnknownFree,
        Outcome::Held => ReceiveCode::Held,
        Outcome::Rejected(_) => ReceiveCode::Rejected,
        Outcome::Ignored => ReceiveCode::Ignored,
    }
}
