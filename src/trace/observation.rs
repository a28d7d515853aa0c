//! Observations: what was seen of tracking messages, whoever saw them: a server's log, a capture of
//! connections, a server's journal, a recorded run.
//!
//! It is what the checks without truth, the diagnosis and `replay --to` read, so that each of them
//! works on any trace. An observation says where it stands in its source and no more than the
//! source knows. It does not judge. Who turns a record into observations is [`crate::observe`].

use super::event::ReceiveCode;
use crate::tracking::Message;

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Where, from 1: the line of a text, the number of a record or of an event. What evidence
    /// refers to.
    pub position: u64,
    /// When, in ns since the source began, where it knows.
    pub at_ns: Option<u64>,
    /// On which connection, where the source knows; numbered from 0 in the order in which they were
    /// opened.
    pub conn: Option<u32>,
    /// What.
    pub what: Observed,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// A message from a client.
    Message {
        /// The message; what the source does not state is 0, and -1 for the device.
        message: Message,
        /// Whether the source states everything that a server uses of it.
        complete: bool,
        /// What the server made of it, where the source knows.
        server_answer: Option<ServerAnswer>,
    },
    /// A message that the server had held back takes effect: it came before, as
    /// [`ServerAnswer::Held`].
    TookEffect {
        /// The message.
        message: Message,
        /// What the server made of it, where the source knows.
        server_answer: Option<ServerAnswer>,
    },
    /// The frame that comes next holds pieces of several messages: they were written into each
    /// other.
    MixedFrame,
    /// A frame of a type that is no message's.
    UnknownFrame {
        /// The type.
        kind: u64,
    },
    /// A connection ended inside a frame.
    TornFrame {
        /// So many bytes of the frame were there.
        bytes: u64,
    },
    /// A message was not sent: the client had no room and did not wait.
    Dropped {
        /// The message.
        message: Message,
    },
    /// A connection was opened.
    Opened,
    /// A connection was closed.
    Closed,
    /// The server dropped what a process owned, because it held it for dead.
    Swept {
        /// The process.
        pid: i32,
        /// How many buffers it dropped, where the source knows.
        buffers: Option<u64>,
    },
    /// A server began with nothing live.
    ServerStarted,
}

/// What the server said of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerAnswer {
    /// ALLOC: a new key.
    Inserted,
    /// ALLOC: the key was live, and has so many references now.
    RefCount(u64),
    /// ALLOC: the key was live, and has one reference more.
    Incremented,
    /// ALLOC: the key was live, and what was there is replaced.
    Replaced,
    /// FREE: of a live key, which has this left.
    Freed(RefsLeft),
    /// FREE: of a live key, which has one reference less and stays.
    Decremented,
    /// FREE: the key is not known.
    UnknownFree,
    /// FREE: the key is not live but was seen before.
    AlreadyFreed,
    /// It waits for an earlier sequence number; [`Observed::TookEffect`] follows.
    Held,
    /// ALLOC: rejected as invalid.
    Rejected,
    /// Circular buffers and kernels: the device's total is now this, rounded, if stated.
    Total(Option<u64>),
}

/// What a FREE left of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefsLeft {
    /// Nothing: the server dropped the key.
    Final,
    /// So many references.
    Remaining(u64),
    /// Not said: servers without reference counts, which drop the key.
    Unstated,
}

impl ServerAnswer {
    /// What a registry's answer says, in the words of a log. `None` for what is no answer to an
    /// ALLOC or a FREE.
    pub(crate) fn from_code(code: ReceiveCode) -> Option<ServerAnswer> {
        Some(match code {
            ReceiveCode::Inserted => ServerAnswer::Inserted,
            ReceiveCode::Replaced => ServerAnswer::Replaced,
            ReceiveCode::Incremented => ServerAnswer::Incremented,
            ReceiveCode::Removed => ServerAnswer::Freed(RefsLeft::Final),
            ReceiveCode::Decremented => ServerAnswer::Decremented,
            ReceiveCode::UnknownFree => ServerAnswer::UnknownFree,
            ReceiveCode::Rejected => ServerAnswer::Rejected,
            ReceiveCode::Held => ServerAnswer::Held,
            ReceiveCode::Ignored | ReceiveCode::Unknown => return None,
        })
    }
}
