//! What the interpreter acts on: the actions of a [`Backend`], and the words that they share.
//!
//! A backend is the world as one thread sees it: real mutexes and sockets, or plain data. It knows
//! nothing of programs.

use crate::device::{BufferKind, DeviceId, Memory, Status};
use crate::engine::code::{Code, Locals, Pc};
use crate::engine::slot::SlotWord;
use crate::lifecycle::ProgramKind;
use crate::scenario::cells::CellId;
use crate::scenario::objects::{ConnId, LockId};
use crate::scenario::op::{Op, Request, SlotId};
use crate::trace::event::{Event, FreeOutcome, SendOutcome};
use crate::trace::shared_event::{CellAccess, LedgerAction};
use crate::tracking::sent::SentKind;

/// What became of an action that may have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow<T> {
    /// It is done.
    Done(T),
    /// It cannot be done now: nothing has changed, try again when something has.
    Blocked,
    /// The run is over.
    Stop(StopReason),
}

impl<T> Flow<T> {
    /// What is done becomes what `change` makes of it.
    #[inline]
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Flow<U> {
        match self {
            Flow::Done(done) => Flow::Done(change(done)),
            Flow::Blocked => Flow::Blocked,
            Flow::Stop(reason) => Flow::Stop(reason),
        }
    }
}

/// Why a run ends before its threads do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Threads wait for each other for good.
    Deadlock,
    /// Somebody asked for it, or the recorder failed.
    Interrupted,
}

/// A part of the buffer in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PartAt {
    /// The slot.
    pub(crate) slot: SlotId,
    /// The part.
    pub(crate) part: u8,
}

/// What a slot's buffer is, as far as the interpreter needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferView {
    /// What kind.
    pub(crate) kind: BufferKind,
    /// How many parts.
    pub(crate) parts: u8,
    /// The device of part 0.
    pub(crate) device: DeviceId,
}

/// A change of a slot's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Read a part's status.
    Check,
    /// Live → dying, if it is live.
    Claim,
    /// Set a part's status.
    Mark(Status),
    /// Make the handles of these parts visible (a mask; 0 only touches).
    Publish(u8),
    /// One release less to wait for.
    Vacate,
    /// Only touch.
    Nothing,
}

impl Touch {
    /// The word after the touch.
    #[inline]
    pub(crate) fn apply(self, word: SlotWord, part: u8) -> SlotWord {
        match self {
            Touch::Check | Touch::Nothing => word,
            Touch::Claim if word.status(part) == Status::Live => {
                word.with_status(part, Status::Dying)
            }
            Touch::Claim => word,
            Touch::Mark(status) => word.with_status(part, status),
            Touch::Publish(mask) => word.published(mask),
            Touch::Vacate => word.vacated(),
        }
    }
}

/// What the interpreter acts on, seen from one thread.
pub trait Backend {
    /// The thread's next operation.
    fn next_op(&mut self) -> Option<Op>;
    /// Takes down what happened.
    fn record(&mut self, event: &Event);
    /// Called before each action, the one of `code` at `pc`; a place to put delays.
    fn before(&mut self, code: &Code, pc: Pc);
    /// Begins an epoch of a slot; waits for the one before to end. The slot's version.
    fn open_allocate(&mut self, slot: SlotId, epoch: u32, request: &Request) -> Flow<u64>;
    /// Finds the handle of a part; waits for it to be visible. The slot's version.
    fn open_release(&mut self, at: PartAt, epoch: u32) -> Flow<u64>;
    /// Waits for every other thread to end.
    fn await_others(&mut self) -> Flow<()>;
    /// The first live part on `device` at or after `from` (slot, then part).
    fn next_live_on(&mut self, device: DeviceId, from: PartAt) -> Option<PartAt>;
    /// What the slot holds.
    fn buffer(&self, slot: SlotId) -> BufferView;
    /// Whether a part has got an address.
    fn has_address(&self, at: PartAt) -> bool;
    /// Touches a slot's word: whether the part was live, or the claim won; and the slot's version.
    fn touch(&mut self, at: PartAt, touch: Touch) -> (bool, u64);
    /// Takes a lock. The lock's version.
    fn lock(&mut self, lock: LockId) -> Flow<u64>;
    /// Releases a lock that the thread holds.
    fn unlock(&mut self, lock: LockId);
    /// Asks the allocator for the part's address: the address, or `None` when it is exhausted; and
    /// the device's version.
    fn alloc(&mut self, at: PartAt, device: DeviceId) -> Flow<(Option<u64>, u64)>;
    /// Gives the part's address back. The device's version.
    fn free(&mut self, at: PartAt, device: DeviceId) -> Flow<(FreeOutcome, u64)>;
    /// The device's next sequence number.
    fn stamp(&mut self, device: DeviceId) -> u64;
    /// Reads the shared connection cell; and its version.
    fn shared_connection(&mut self) -> (Option<ConnId>, u64);
    /// Opens a connection.
    fn connect(&mut self) -> Flow<ConnId>;
    /// Stores the shared connection. The cell's version.
    fn share_connection(&mut self, conn: ConnId) -> u64;
    /// Writes one chunk of the message about a part. The connection's version.
    fn send(&mut self, message: &Outgoing) -> Flow<(SendOutcome, u64)>;
    /// Writes the debug log block about a part.
    fn debug_log(&mut self, at: PartAt, program: ProgramKind);

    // Only disciplines with cells, ledgers or other locks than mutexes come to what follows.

    /// What the thread remembers within its program.
    fn locals(&mut self) -> &mut Locals;
    /// The program has ended: what it looked up is forgotten.
    fn program_ended(&mut self);
    /// A loop that has no end by itself has come to the last round that is searched: whether that
    /// ends the run.
    fn out_of_rounds(&mut self) -> Flow<bool>;
    /// What the buffer in a slot is.
    fn at_hand(&self, slot: SlotId) -> AtHand;
    /// Finds the handle of a buffer for a program of the discipline's own; waits for it to be
    /// visible, or for a later one. The slot's version.
    fn open_run(&mut self, at: PartAt, epoch: u32) -> Flow<u64>;
    /// Ends a process from outside.
    fn kill(&mut self, process: u16);
    /// Touches a cell: what was in it, and its version.
    fn cell(&mut self, cell: CellId, access: CellAccess) -> (u64, u64);
    /// Waits until what is in a cell fits. What it is, and the cell's version.
    fn await_cell(&mut self, cell: CellId, fits: impl Fn(u64) -> bool) -> Flow<(u64, u64)>;
    /// Touches a ledger at the buffer's address: who is or was entered there, and its version.
    fn ledger(
        &mut self,
        ledger: CellId,
        plain: bool,
        action: LedgerAction,
        at: PartAt,
        device: DeviceId,
    ) -> (u64, u64);
    /// Whether the program has looked into the ledger since it last wrote it.
    fn has_looked(&self, ledger: CellId) -> bool;
    /// Reads the memory of a buffer: its device, and the device's version.
    fn use_buffer(&mut self, buffer: u64) -> Flow<(DeviceId, u64)>;
    /// Takes a lock together with others. The lock's version.
    fn lock_shared(&mut self, lock: LockId) -> Flow<u64>;
    /// Releases it. The lock's version.
    fn unlock_shared(&mut self, lock: LockId) -> u64;
    /// Takes a lock if nobody has it. The lock's version. This and the three about sleeping are of
    /// controlled worlds only: real threads refuse a discipline that has them before it begins.
    fn try_lock(&mut self, _lock: LockId) -> Option<u64> {
        unreachable!("such a discipline is refused before it begins");
    }
    /// Takes a lock, also from a thread of a process that was ended: whether it did, and the lock's
    /// version.
    fn lock_robust(&mut self, lock: LockId) -> Flow<(bool, u64)>;
    /// Releases a lock, and sleeps on it.
    fn wait(&mut self, _lock: LockId) {
        unreachable!("such a discipline is refused before it begins");
    }
    /// Goes on from a sleep, where it was notified and can have the lock. The lock's version.
    fn wake(&mut self, _lock: LockId) -> Flow<u64> {
        unreachable!("such a discipline is refused before it begins");
    }
    /// Notifies one who sleeps on a lock, or all.
    fn notify(&mut self, _lock: LockId, _all: bool) {
        unreachable!("such a discipline is refused before it begins");
    }
}

/// What the buffer in a slot is, for programs that count or look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtHand {
    /// Its memory.
    pub(crate) memory: Memory,
    /// The size of each part.
    pub(crate) size_bytes: u64,
    /// Its name in cells and ledgers.
    pub(crate) name: u64,
}

/// One chunk of a message on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Outgoing {
    /// Which message.
    pub(crate) kind: SentKind,
    /// What it is about.
    pub(crate) at: PartAt,
    /// Its sequence number; 0 where it was not stamped.
    pub(crate) sequence: u64,
    /// The connection.
    pub(crate) conn: ConnId,
    /// Which chunk.
    pub(crate) chunk: u8,
}
