//! What an event of a picture can be: its word, its letter, and the sort by which it is drawn.
//!
//! The page gets this list, so that it and the page's script never differ.

use serde::Serialize;

/// How an event is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EventClass {
    /// An allocation.
    Alloc,
    /// A release.
    Free,
    /// A message leaves.
    Send,
    /// The server takes one.
    Receive,
    /// A lock is taken or released.
    Lock,
    /// A thread cannot go on.
    Wait,
    /// Something went wrong by itself: a message was dropped, a frame is torn.
    Trouble,
    /// Everything else.
    Step,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum EventWord {
    Open = 0,
    Part,
    CloseBuffer,
    Vacate,
    Lock,
    Unlock,
    LockOutOfBounds,
    Alloc,
    AllocFailed,
    Free,
    Stamp,
    Check,
    Claim,
    MarkLive,
    MarkDead,
    Publish,
    Connection,
    Send,
    DebugLog,
    WaitLock,
    WaitOp,
    WaitRoom,
    Stopped,
    Finish,
    Accept,
    Receive,
    Message,
    TookEffect,
    MixedFrame,
    UnknownFrame,
    TornFrame,
    Dropped,
    SendFailed,
    Opened,
    Closed,
    Swept,
    Started,
    Requested,
    HolderEnded,
    Action,
    Cell,
    Ledger,
    Use,
    LockShared,
    UnlockShared,
    TryFailed,
    WaitNotified,
    Notify,
    Killed,
    OutOfRounds,
}

/// A word as the page has it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct WordShown {
    word: &'static str,
    letter: &'static str,
    class: EventClass,
}

/// Every word, by discriminant.
pub(crate) const WORDS: [WordShown; 50] = {
    use EventClass::{Alloc, Free, Lock, Receive, Send, Step, Trouble, Wait};
    [
        word("begins", "·", Step),
        word("part", "·", Step),
        word("close: release", "·", Step),
        word("slot released", "·", Step),
        word("lock", "L", Lock),
        word("unlock", "U", Lock),
        word("lock out of bounds", "!", Trouble),
        word("alloc", "A", Alloc),
        word("alloc: NO MEMORY", "!", Trouble),
        word("free", "F", Free),
        word("stamp", "#", Step),
        word("check-live", "c", Step),
        word("claim", "c", Step),
        word("mark-live", "m", Step),
        word("mark-dead", "m", Step),
        word("publish", "P", Step),
        word("connection", "C", Step),
        word("send", "S", Send),
        word("debug-log", "d", Step),
        word("waits for", "W", Wait),
        word("waits for its slot", "W", Wait),
        word("waits for room on its connection", "W", Wait),
        word("told to end", "E", Step),
        word("ends", "E", Step),
        word("accepts a connection", "C", Step),
        word("takes", "R", Receive),
        word("message", "R", Receive),
        word("takes effect", "R", Receive),
        word("mixed frame", "!", Trouble),
        word("unknown frame", "!", Trouble),
        word("torn frame", "!", Trouble),
        word("dropped", "!", Trouble),
        word("not sent, its connection is broken:", "!", Trouble),
        word("connection opened", "C", Step),
        word("connection closed", "C", Step),
        word("swept", "!", Trouble),
        word("server started", "C", Step),
        word("release requested", "f", Step),
        word("holder ended", "h", Step),
        word("", "•", Step),
        word("a shared variable", "v", Step),
        word("the ledger", "l", Step),
        word("uses the buffer", "u", Step),
        word("lock, together with others", "L", Step),
        word("unlock, of several", "U", Step),
        word("lock tried: held", "l", Step),
        word("waits to be notified", "W", Step),
        word("notifies", "n", Step),
        word("killed", "!", Trouble),
        word("out of rounds", "E", Step),
    ]
};

const fn word(word: &'static str, letter: &'static str, class: EventClass) -> WordShown {
    WordShown {
        word,
        letter,
        class,
    }
}

impl EventWord {
    /// How it is drawn.
    pub(crate) fn class(self) -> EventClass {
        WORDS[self as usize].class
    }
}

/// What is added to a word: how it came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Remark {
    None = 0,
    Alloc,
    Free,
    CbAlloc,
    CbFree,
    Inserted,
    Replaced,
    Incremented,
    Removed,
    Decremented,
    UnknownFree,
    Held,
    Rejected,
    Ignored,
    Unknown,
    NotAllocated,
    NotItsOwn,
    Live,
    NotLive,
    Won,
    Lost,
    Allocate,
    Release,
    KernelLoad,
    KernelUnload,
    AlreadyFreed,
    Earlier,
    Other,
}

/// Every remark's words, by discriminant.
pub(crate) const REMARKS: [&str; 28] = [
    "",
    "ALLOC",
    "FREE",
    "CB_ALLOC",
    "CB_FREE",
    "inserted",
    "replaced an entry",
    "one reference more",
    "removed",
    "one reference less",
    "unknown",
    "held back",
    "rejected",
    "ignored",
    "no known message",
    "NOT ALLOCATED",
    "SOMEBODY ELSE'S",
    "live",
    "not live",
    "won",
    "lost",
    "allocate",
    "release",
    "KERNEL_LOAD",
    "KERNEL_UNLOAD",
    "freed already",
    "allocated before the record",
    "",
];
