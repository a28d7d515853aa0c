//! What happened in a run, step by step and buffer by buffer: the facts that the table and the
//! paragraph are made of.
//!
//! Plain data, which `walk` collects. What diverges is the oracle's to say: its findings are noted
//! at the step that showed them.

use crate::device::{DeviceId, Memory};
use crate::oracle::Divergence;
use crate::registry::RejectReason;
use crate::scenario::cells::CellTable;
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
    pub(crate) objects: Objects,
    /// The discipline's cells and ledgers.
    pub(crate) cells: CellTable,
    /// Whether the server is told of buffers: not where all tracking is the program's own.
    pub(crate) tells_server: bool,
    pub(crate) threads: u16,
    /// In how many writes a message is sent.
    pub(crate) chunks: u8,
    /// Whether one address was used in several memories: then places are named with theirs.
    pub(crate) mixes_memories: bool,
    /// Whether the server finds entries by device and address alone.
    pub(crate) keys_without_memory: bool,
    pub(crate) steps: Vec<RunStep>,
    pub(crate) buffers: Vec<BufferHistory>,
    pub(crate) holds: Vec<LockHold>,
    pub(crate) blocked: Vec<BlockedThread>,
    pub(crate) marks: Vec<Mark>,
    /// What was held back and took effect when all was over.
    pub(crate) late: Vec<Taken>,
    /// What the server shows where the events end.
    pub(crate) shown: Vec<ShownEntry>,
    /// Whether it can be said in which order the server took the messages.
    pub(crate) reconstructs: bool,
    pub(crate) completed: bool,
    /// What contradicts itself in the events.
    pub(crate) contradiction: Option<String>,
}

/// One step of a thread, with what the server did at once; or one step of the server.
#[derive(Debug)]
pub(super) struct RunStep {
    pub(crate) number: StepNumber,
    /// Index of its first event.
    pub(crate) index: usize,
    /// A thread, or [`SERVER_STREAM`](crate::trace::file::SERVER_STREAM).
    pub(crate) stream: u16,
    pub(crate) event: Event,
    /// The buffer at hand.
    pub(crate) buffer: Option<BufferId>,
    /// Where its thread is.
    pub(crate) position: ThreadPosition,
    pub(crate) request: Option<Request>,
    /// What the server took in this step.
    pub(crate) taken: Vec<Taken>,
    /// The threads that hold a lock before or after the step.
    pub(crate) holding: Vec<u16>,
}

/// One buffer (one part of it, for a mesh buffer) from its address on.
#[derive(Debug)]
pub(super) struct BufferHistory {
    pub(crate) handle: Handle,
    pub(crate) circular: bool,
    /// Who allocated it.
    pub(crate) thread: u16,
    pub(crate) allocated: StepNumber,
    /// Who gave its address back, and when.
    pub(crate) ended: Option<BufferEnd>,
    /// What was done with it, in order.
    pub(crate) deeds: Vec<Deed>,
}

/// The end of a buffer: its address was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BufferEnd {
    pub(crate) step: StepNumber,
    pub(crate) thread: u16,
}

/// What was done with a buffer, when and by whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deed {
    pub(crate) step: StepNumber,
    pub(crate) thread: u16,
    pub(crate) kind: DeedKind,
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
    pub(crate) buffer: Option<BufferId>,
    pub(crate) kind: SentKind,
    pub(crate) thread: u16,
    pub(crate) effect: ServerEffect,
    pub(crate) torn: bool,
    /// Sent in the same step.
    pub(crate) own: bool,
}

/// A lock, from the step that took it to the one that released it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LockHold {
    pub(crate) thread: u16,
    pub(crate) lock: LockId,
    pub(crate) from: StepNumber,
    pub(crate) to: StepNumber,
}

/// A thread that could not go on when the run was given up.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockedThread {
    pub(crate) step: StepNumber,
    pub(crate) thread: u16,
    pub(crate) lock: Option<LockId>,
    pub(crate) holder: Option<u16>,
}

/// A divergence and the step that showed it; at rest there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(crate) divergence: Divergence,
    pub(crate) step: Option<StepNumber>,
}

/// An entry of the server's table where the events end.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShownEntry {
    pub(crate) device: DeviceId,
    pub(crate) memory: Memory,
    pub(crate) address: u64,
    pub(crate) size_bytes: u64,
    pub(crate) refcount: u32,
    pub(crate) buffer: Option<BufferId>,
}

impl BufferHistory {
    /// The first deed that satisfies `wanted`.
    pub(crate) fn first(&self, wanted: impl Fn(DeedKind) -> bool) -> Option<Deed> {
        self.deeds.iter().copied().find(|deed| wanted(deed.kind))
    }

    /// All deeds that satisfy `wanted`.
    pub(crate) fn all(&self, wanted: impl Fn(DeedKind) -> bool) -> Vec<Deed> {
        let deeds = self.deeds.iter().copied();
        deeds.filter(|deed| wanted(deed.kind)).collect()
    }

    /// When the server took the message of its start, and what came of that. A message that is held
    /// back is taken when it takes effect.
    pub(crate) fn start_received(&self) -> Option<(Deed, ServerEffect)> {
        self.received(announces)
    }

    /// When the server took the message of its release, and what came of that.
    pub(crate) fn release_received(&self) -> Option<(Deed, ServerEffect)> {
        self.received(|kind| !announces(kind))
    }

    /// The first send of its start.
    pub(crate) fn start_sent(&self) -> Option<(Deed, SendOutcome)> {
        self.sent(announces)
    }

    /// The first send of its release.
    pub(crate) fn release_sent(&self) -> Option<(Deed, SendOutcome)> {
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
    pub(crate) fn step(&self, number: StepNumber) -> &RunStep {
        &self.steps[number - 1]
    }

    /// The locks that `thread` holds all the way from step `from` to step `to`.
    pub(crate) fn held(&self, thread: u16, from: StepNumber, to: StepNumber) -> Vec<LockId> {
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
