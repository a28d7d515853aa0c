//! What a step on cells, ledgers and other locks did, as recorded.
//!
//! What an access leaves behind follows from what it found: [`CellAccess::leaves`] and
//! [`LedgerAction`]'s documentation say how, for the engines and for whoever reads a record alike.

use crate::device::DeviceId;
use crate::scenario::cells::CellId;
use crate::scenario::objects::LockId;

/// What was done to a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CellAccess {
    /// Read.
    Load,
    /// Set to this.
    Store(u64),
    /// This was added, in one action.
    Add(u64),
    /// This was taken off, in one action.
    Sub(u64),
    /// Set to `desired` where it was `expected`.
    Swap {
        /// What it had to be.
        expected: u64,
        /// What it becomes.
        desired: u64,
    },
    /// The process counts on the region from here on.
    Join,
    /// The process no longer does.
    Leave,
    /// The tracker that the cell stands for was told something: it is there unless this is 0.
    Tell,
}

impl CellAccess {
    /// What is in the cell afterwards, where `found` was in it.
    pub(crate) fn leaves(self, found: u64) -> u64 {
        match self {
            CellAccess::Load | CellAccess::Join | CellAccess::Leave | CellAccess::Tell => found,
            CellAccess::Store(value) => value,
            CellAccess::Add(by) => found.wrapping_add(by),
            CellAccess::Sub(by) => found.wrapping_sub(by),
            CellAccess::Swap { expected, desired } if found == expected => desired,
            CellAccess::Swap { .. } => found,
        }
    }

    /// Whether the cell was written, to another value or the same.
    pub(crate) fn writes(self, found: u64) -> bool {
        match self {
            CellAccess::Load | CellAccess::Join | CellAccess::Leave | CellAccess::Tell => false,
            CellAccess::Store(_) | CellAccess::Add(_) | CellAccess::Sub(_) => true,
            CellAccess::Swap { expected, .. } => found == expected,
        }
    }
}

/// What was done to a ledger, at the address of the buffer at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LedgerAction {
    /// It was looked up: what a write that follows is written into.
    Find = 0,
    /// The buffer was entered, unless the address was taken.
    Insert = 1,
    /// What was entered was taken out.
    Erase = 2,
}

impl LedgerAction {
    /// Every action, by discriminant.
    pub const ALL: [LedgerAction; 3] = [
        LedgerAction::Find,
        LedgerAction::Insert,
        LedgerAction::Erase,
    ];
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedEvent {
    /// A cell was touched.
    Cell {
        /// Which.
        cell: CellId,
        /// How.
        access: CellAccess,
        /// What was in it before.
        found: u64,
        /// Its version.
        version: u64,
    },
    /// A ledger was touched.
    Ledger {
        /// Which.
        ledger: CellId,
        /// How.
        action: LedgerAction,
        /// The buffer that was entered at the address, or 0.
        found: u64,
        /// Its version.
        version: u64,
    },
    /// The memory of a buffer was read.
    Use {
        /// Which buffer: its slot plus one, and its epoch in the low eight bits.
        buffer: u64,
        /// The buffer's device.
        device: DeviceId,
        /// The device's version.
        version: u64,
    },
    /// A lock was taken together with others.
    LockShared {
        /// Which.
        lock: LockId,
        /// The lock's version.
        version: u64,
    },
    /// It was released.
    UnlockShared {
        /// Which.
        lock: LockId,
        /// The lock's version.
        version: u64,
    },
    /// A lock was tried that somebody held.
    TryFailed {
        /// Which.
        lock: LockId,
    },
    /// A lock was released until somebody notifies; taken again by a
    /// [`Lock`](super::event::Event::Lock).
    Wait {
        /// Which.
        lock: LockId,
    },
    /// Those who wait on a lock were notified.
    Notify {
        /// Which.
        lock: LockId,
        /// All of them, or one.
        all: bool,
    },
    /// A process was ended from outside, wherever its threads were.
    Kill {
        /// Which.
        process: u16,
    },
    /// The system took back a buffer of the process that was just ended.
    Reclaim {
        /// The buffer's device.
        device: DeviceId,
        /// The device's version.
        version: u64,
    },
    /// The thread waited for this cell to change when the run was given up.
    BlockedOnCell {
        /// Which.
        cell: CellId,
    },
    /// The thread waited to be notified when the run was given up.
    BlockedOnNotify {
        /// The lock that it waits on.
        lock: LockId,
    },
    /// A loop had come to the last round that is searched.
    OutOfRounds,
}

/// Whether a counter went below nothing: what is beyond half of the range was never counted up.
pub(crate) fn has_wrapped(found: u64, left: u64) -> bool {
    const HALF: u64 = 1 << 63;
    found < HALF && left >= HALF
}

/// The name of a buffer in cells and ledgers: of no other, and never 0. Epochs are told apart
/// modulo 256, as slots do.
pub(crate) fn buffer_name(slot: u32, epoch: u32) -> u64 {
    (u64::from(slot) + 1) << 8 | u64::from(epoch as u8)
}

/// The slot and the epoch, modulo 256, that a buffer's name says.
pub(crate) fn named_buffer(name: u64) -> Option<(u32, u8)> {
    let slot = (name >> 8).checked_sub(1)?;
    Some((u32::try_from(slot).ok()?, name as u8))
}
