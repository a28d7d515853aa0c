//! What a message did to the table.

use serde::{Deserialize, Serialize};

use crate::tracking::entry::Entry;

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RejectReason {
    /// The device id is negative or at [`Limits::devices`](super::Limits::devices) or above.
    DeviceOutOfRange,
    /// An allocation of no bytes.
    SizeZero,
    /// An allocation above [`Limits::size_bytes`](super::Limits::size_bytes).
    SizeOverLimit,
    /// An ALLOC whose buffer type names no memory.
    InvalidBufferType,
    /// [`Limits::buffers`](super::Limits::buffers) are live.
    TableFull,
    /// More than [`Limits::sequence_window`](super::Limits::sequence_window) ahead.
    SequenceTooFarAhead,
    /// This sequence number was already seen, or given up by a flush.
    SequenceRepeated,
    /// [`Limits::sequences`](super::Limits::sequences) are in use.
    TooManySequences,
}

impl RejectReason {
    /// Why, in words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            RejectReason::DeviceOutOfRange => "there is no such device",
            RejectReason::SizeZero => "it has no bytes",
            RejectReason::SizeOverLimit => "it is larger than any buffer",
            RejectReason::InvalidBufferType => "its buffer type names no memory",
            RejectReason::TableFull => "the table is full",
            RejectReason::SequenceTooFarAhead => "its sequence number is too far ahead",
            RejectReason::SequenceRepeated => "its sequence number was there before",
            RejectReason::TooManySequences => "too many processes send sequence numbers",
        }
    }
}

/// What a message did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// A new entry is live.
    Inserted,
    /// The key was live: the new entry took the place of `old`.
    Replaced {
        /// What was live before.
        old: Entry,
    },
    /// The key was live: its count went up, and size, type and owner stay as in `kept`.
    Incremented {
        /// The entry after the increment.
        kept: Entry,
    },
    /// The entry is gone.
    Removed {
        /// The entry as it was (refcount 1).
        entry: Entry,
    },
    /// The count went down and the entry stays.
    Decremented {
        /// The entry after the decrement.
        left: Entry,
    },
    /// A release of what isn't live: nothing changed.
    UnknownFree,
    /// Waits for an earlier sequence number; its effect is reported when it takes place.
    Held,
    /// Not taken: nothing changed.
    Rejected(RejectReason),
    /// Not a tracking message (a query, a response, a dump).
    Ignored,
}
