//! The encoding of events: one tag byte, then varints.
//!
//! Versions are stored as the distance to the last version of the same object in the same stream,
//! epochs likewise, so that most events are two bytes and repeat themselves for the compressor.
//! Encoder and decoder carry that history from block to block: a stream is readable up to its first
//! damaged block, and the merge could not go past that anyway.

mod decode;
mod encode;

use thiserror::Error;

use crate::scenario::objects::{ObjectId, Objects};

pub use decode::{DecodedTouch, Decoder};
pub use encode::Encoder;

/// No event is longer than this many bytes.
pub const MAX_EVENT_BYTES: usize = 64;

mod tag {
    pub const OPEN_ALLOCATE: u8 = 1;
    pub const OPEN_RELEASE: u8 = 2;
    pub const OPEN_AWAIT: u8 = 3;
    pub const OPEN_CLOSE: u8 = 4;
    pub const OPEN_THROW: u8 = 5;
    pub const PART: u8 = 6;
    pub const CLOSE_BUFFER: u8 = 7;
    pub const VACATE: u8 = 8;
    pub const LOCK: u8 = 9;
    pub const UNLOCK: u8 = 10;
    pub const LOCK_OUT_OF_BOUNDS: u8 = 11;
    pub const ALLOC: u8 = 12;
    pub const ALLOC_FAILED: u8 = 13;
    /// … plus the outcome.
    pub const FREE: u8 = 14;
    pub const STAMP: u8 = 17;
    pub const CHECK_DEAD: u8 = 18;
    pub const CHECK_LIVE: u8 = 19;
    pub const CLAIM_LOST: u8 = 20;
    pub const CLAIM_WON: u8 = 21;
    pub const MARK_LIVE: u8 = 22;
    pub const MARK_DEAD: u8 = 23;
    pub const PUBLISH: u8 = 24;
    pub const CONN_NONE: u8 = 25;
    pub const CONN_FOUND: u8 = 26;
    pub const CONNECT: u8 = 27;
    pub const CONN_STORE: u8 = 28;
    pub const DEBUG_LOG: u8 = 30;
    pub const BLOCKED_ON_LOCK: u8 = 31;
    /// … plus kind × 3 + outcome: chunk 0 on connection 0.
    pub const SEND: u8 = 32;
    /// … plus kind × 3 + outcome, then chunk and connection.
    pub const SEND_ELSEWHERE: u8 = 44;
    pub const BLOCKED_ON_OP: u8 = 56;
    pub const FINISH: u8 = 57;
    pub const STOPPED: u8 = 59;
    pub const ACCEPT: u8 = 58;
    pub const BLOCKED_ON_SEND: u8 = 60;
    /// … plus the code: on connection 0.
    pub const RECEIVE: u8 = 64;
    /// … plus the code, then the connection.
    pub const RECEIVE_ELSEWHERE: u8 = 80;
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
