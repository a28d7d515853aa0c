//! The encoding of events: one tag byte, then varints.
//!
//! Versions are stored as the distance to the last version of the same object in the same stream,
//! epochs likewise, so that most events are two bytes and repeat themselves for the compressor.
//! Encoder and decoder carry that history from block to block: a stream is readable up to its first
//! damaged block, and the merge could not go past that anyway.

mod decode;
mod encode;
mod shared;

use thiserror::Error;

use crate::scenario::objects::{ObjectId, Objects};

pub use decode::{DecodedTouch, Decoder};
pub use encode::Encoder;

/// No event is longer than this many bytes.
pub const MAX_EVENT_BYTES: usize = 64;

mod tag {
    pub(crate) const OPEN_ALLOCATE: u8 = 1;
    pub(crate) const OPEN_RELEASE: u8 = 2;
    pub(crate) const OPEN_AWAIT: u8 = 3;
    pub(crate) const OPEN_CLOSE: u8 = 4;
    pub(crate) const OPEN_THROW: u8 = 5;
    pub(crate) const PART: u8 = 6;
    pub(crate) const CLOSE_BUFFER: u8 = 7;
    pub(crate) const VACATE: u8 = 8;
    pub(crate) const LOCK: u8 = 9;
    pub(crate) const UNLOCK: u8 = 10;
    pub(crate) const LOCK_OUT_OF_BOUNDS: u8 = 11;
    pub(crate) const ALLOC: u8 = 12;
    pub(crate) const ALLOC_FAILED: u8 = 13;
    /// … plus the outcome.
    pub(crate) const FREE: u8 = 14;
    pub(crate) const STAMP: u8 = 17;
    pub(crate) const CHECK_DEAD: u8 = 18;
    pub(crate) const CHECK_LIVE: u8 = 19;
    pub(crate) const CLAIM_LOST: u8 = 20;
    pub(crate) const CLAIM_WON: u8 = 21;
    pub(crate) const MARK_LIVE: u8 = 22;
    pub(crate) const MARK_DEAD: u8 = 23;
    pub(crate) const PUBLISH: u8 = 24;
    pub(crate) const CONN_NONE: u8 = 25;
    pub(crate) const CONN_FOUND: u8 = 26;
    pub(crate) const CONNECT: u8 = 27;
    pub(crate) const CONN_STORE: u8 = 28;
    pub(crate) const OPEN_RUN: u8 = 29;
    pub(crate) const DEBUG_LOG: u8 = 30;
    pub(crate) const BLOCKED_ON_LOCK: u8 = 31;
    /// … plus kind × 3 + outcome: chunk 0 on connection 0.
    pub(crate) const SEND: u8 = 32;
    /// … plus kind × 3 + outcome, then chunk and connection.
    pub(crate) const SEND_ELSEWHERE: u8 = 44;
    pub(crate) const BLOCKED_ON_OP: u8 = 56;
    pub(crate) const FINISH: u8 = 57;
    pub(crate) const STOPPED: u8 = 59;
    pub(crate) const ACCEPT: u8 = 58;
    pub(crate) const BLOCKED_ON_SEND: u8 = 60;
    pub(crate) const SHARED: u8 = 61;
    pub(crate) const OPEN_KILL: u8 = 62;
    /// … plus the code: on connection 0.
    pub(crate) const RECEIVE: u8 = 64;
    /// … plus the code, then the connection.
    pub(crate) const RECEIVE_ELSEWHERE: u8 = 80;
}

/// Why bytes are no event.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end within an event.
    #[error("the block ends within an event")]
    Cut,
    /// No event has this tag.
    #[error("no event has the tag {0}")]
    UnknownTag(u8),
    /// A field is outside what the scenario allows.
    #[error("{0} is outside the scenario")]
    OutOfRange(&'static str),
}

/// What both directions remember of a stream: the last version of each object, the last epoch of
/// each slot, and the slot of the operation at hand.
#[derive(Clone, Debug)]
struct History {
    objects: Objects,
    /// The object of slot 0; the other slots' follow.
    first_slot: ObjectId,
    versions: Box<[u64]>,
    epochs: Box<[u32]>,
    slot: u32,
}

impl History {
    fn new(objects: Objects) -> History {
        History {
            objects,
            first_slot: objects.slot(0),
            versions: vec![0; objects.count()].into_boxed_slice(),
            epochs: vec![0; objects.slots as usize].into_boxed_slice(),
            slot: 0,
        }
    }

    /// The slot of the operation at hand.
    #[inline]
    fn slot_object(&self) -> ObjectId {
        ObjectId(self.first_slot.0 + self.slot)
    }
}
