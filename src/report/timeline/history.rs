//! What happened in a run, step by step and buffer by buffer: the facts that the table and the
//! paragraph are made of.
//!
//! Plain data, which `walk` collects. What diverges is the oracle's to say: its findings are noted
//! at the step that showed them.

use crate::device::{DeviceId, Memory};
use crate::oracle::Divergence;
use crate::registry::RejectReason;
use crate::scenario::objects::{LockId, Objects};
use crate::scenario::op::Request;
use crate::trace::event::{Event, FreeOutcome, SendOutcome};
use crate::trace::sends::ThreadPosition;
use crate::tracking::sent::{Handle, SentKind};

/// A step's number, from 1.
pub(super) type StepNumber = usize;

/// Index of a buffer among the [`RunHistory::buffers`].
pub(super) type BufferId = usize;

/// The facts of a run.
#[derive(Debug)]
pub(super) struct RunHistory {
    pub objects: Objects,
    pub threads: u16,
    /// In how many writes a message is sent.
    pub chunks: u8,
    /// Whether one address was used in several memories: then places are named with theirs.
    pub mixes_memories: bool,
    /// Whether the server finds entries by device and address alone.
    pub keys_without_memory: bool,
    pub steps: Vec<RunStep>,
    pub buffers: Vec<BufferHistory>,
    pub holds: Vec<LockHold>,
    pub blocked: Vec<BlockedThread>,
    pub marks: Vec<Mark>,
    /// What was held back and took effect when all was over.
    pub late: Vec<Taken>,
    /// What the server shows where the events end.
    pub shown: Vec<ShownEntry>,
    /// Whether it can be said in which order the server took the messages.
    pub reconstructs: bool,
    pub completed: bool,
    /// What contradicts itself in the events.
    pub contradiction: Option<String>,
}

/// One step of a thread, with what the server did at once; or one step of the server.
#[derive(Debug)]
pub(super) struct RunStep {
    pub number: StepNumber,
    /// Index of its first event.
    pub index: usize,
    /// A thread, or [`SERVER_STREAM`](crate::trace::file::SERVER_STREAM).
    pub stream: u16,
    pub event: Event,
    /// The buffer at hand.
    pub buffer: Option<BufferId>,
    /// Where its thread is.
    pub position: ThreadPosition,
    pub request: Option<Request>,
    /// What the server took in this step.
    pub taken: Vec<Taken>,
    /// The threads that hold a lock before or after the step.
    pub holding: Vec<u16>,
}

/// One buffer (one part of it, for a mesh buffer) from its address on.
#[derive(Debug)]
pub(super) struct BufferHistory {
    pub handle: Handle,
    pub circular: bool,
    /// Who allocated it.
    pub thread: u16,
    pub allocated: StepNumber,
    /// Who gave its address back, and when.
    pub ended: Option<BufferEnd>,
    /// What was done with it, in order.
    pub deeds: Vec<Deed>,
}

/// The end of a buffer: its address was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BufferEnd {
    pub step: StepNumber,
    pub thread: u16,
}

/// What was done with a buffer, when and by whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deed {
    pub step: StepNumber,
    pub thread: u16,
    pub kind: DeedKind,
}

/// What can be done with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeedKind {
    Published,
    /// `check-live` or `claim` let the thread go on.
    Passed,
    MarkedDead,
    Freed(FreeOutcome),
    Sent(SentKind, SendOutcome),
    /// The server took a message about it.
    Received(SentKind, ServerEffect),
}

/// What a message did to the server's table. The buffers named are those whose entries were met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerEffect {
    Inserted,
    Replaced(Option<BufferId>),
    Incremented(Option<BufferId>, u32),
    Removed(Option<BufferId>),
    Decremented(Option<BufferId>, u32),
    UnknownFree,
    Held,
    Rejected(RejectReason),
    Ignored,
    /// No message at all.
    Garbage,
}

/// A message that the server took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub buffer: Option<BufferId>,
    pub kind: SentKind,
    pub thread: u16,
    pub effect: ServerEffect,
    pub torn: bool,
    /// Sent in the same step.
    pub own: bool,
}

/// A lock, from the step that took it to the one that released it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LockHold {
    pub thread: u16,
    pub lock: LockId,
    pub from: StepNumber,
    pub to: StepNumber,
}

/// A thread that could not go on when the run was given up.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockedThread {
    pub step: StepNumber,
    pub thread: u16,
    pub lock: Option<LockId>,
    pub holder: Option<u16>,
}

/// A divergence and the step that showed it; at rest there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub divergence: Divergence,
    pub step: Option<StepNumber>,
}

/// An entry of the server's table where the events end.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShownEntry {
    pub device: DeviceId,
    pub memory: Memory,
    pub address: u64,
    pub size_bytes: u64,
    pub refcount: u32,
    pub buffer: Option<BufferId>,
}

impl BufferHistory {
    /// The first deed that satisfies `wanted`.
    pub fn first(&self, wanted: impl Fn(DeedKind) -> bool) -> Option<Deed> {
        self.deeds.iter().copied().find(|deed| wanted(deed.kind))
    }

    /// All deeds that satisfy `wanted`.
    pub fn all(&self, wanted: impl Fn(DeedKind) -> bool) -> Vec<Deed> {
        let deeds = self.deeds.iter().copied();
        deeds.filter(|deed| wanted(deed.kind)).collect()
    }

    /// When the server took the message of its start, and what came of that. A message that is held
    /// back is taken when it takes effect.
    pub fn start_received(&self) -> Option<(Deed, ServerEffect)> {
        self.received(announces)
    }

    /// When the server took the message of its release, and what came of that.
    pub fn release_received(&self) -> Option<(Deed, ServerEffect)> {
        self.received(|kind| !announces(kind))
    }

    /// The first send of its start.
    pub fn start_sent(&self) -> Option<(Deed, SendOutcome)> {
        self.sent(announces)
    }

    /// The first send of its release.
    pub fn release_sent(&self) -> Option<(Deed, SendOutcome)> {
        self.sent(|kind| !announces(kind))
    }

    fn received(&self, wanted: impl Fn(SentKind) -> bool) -> Option<(Deed, ServerEffect)> {
        self.deeds.iter().find_map(|deed| match deed.kind {
            DeedKind::Received(kind, effect) if wanted(kind) && effect != ServerEffect::Held => {
                Some((*deed, effect))
            }
            _ => None,
        })
    }

    fn sent(&self, wanted: impl Fn(SentKind) -> bool) -> Option<(Deed, SendOutcome)> {
        self.deeds.iter().find_map(|deed| match deed.kind {
            DeedKind::Sent(kind, outcome) if wanted(kind) => Some((*deed, outcome)),
            _ => None,
        })
    }
}

impl RunHistory {
    /// The step of that number.
    pub fn step(&self, number: StepNumber) -> &RunStep {
        &self.steps[number - 1]
    }

    /// The locks that `thread` holds all the way from step `from` to step `to`.
    pub fn held(&self, thread: u16, from: StepNumber, to: StepNumber) -> Vec<LockId> {
        self.holds
            .iter()
            .filter(|hold| hold.thread == thread && hold.from < from && to < hold.to)
            .map(|hold| hold.lock)
            .collect()
    }
}

/// Whether it is ALLOC or CB_ALLOC.
pub(super) fn announces(kind: SentKind) -> bool {
    matches!(kind, SentKind::Alloc | SentKind::CbAlloc)
}
