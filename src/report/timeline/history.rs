//! What happened in a run, step by step and buffer by buffer: the facts that the table and the
//! paragraph are made of.
//!
//! Types only; [`super::walk`] collects them. What diverges is the oracle's to say: its findings
//! are noted at the step that showed them.

use crate::device::{DeviceId, Memory};
use crate::oracle::Divergence;
use crate::registry::RejectReason;
use crate::scenario::objects::LockId;
use crate::scenario::objects::Objects;
use crate::scenario::op::Request;
use crate::trace::event::{Event, FreeOutcome, SendOutcome};
use crate::tracking::sent::Handle;
use crate::tracking::sent::SentKind;

/// A step's number, from 1.
pub(super) type StepNumber = usize;

/// Index of a buffer among the [`History::lives`].
pub(super) type LifeId = usize;

/// The facts of a run.
#[derive(Debug)]
pub(super) struct History {
    pub objects: Objects,
    pub threads: u16,
    pub chunks: u8,
    /// Whether one address was used in several memories: then places are named with theirs.
    pub mixes_memories: bool,
    /// Whether the server finds entries by device and address alone.
    pub keys_without_memory: bool,
    pub steps: Vec<TimelineStep>,
    pub lives: Vec<BufferHistory>,
    pub holds: Vec<Hold>,
    pub waits: Vec<BlockedThread>,
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
pub(super) struct TimelineStep {
    pub number: StepNumber,
    /// Index of its first event.
    pub index: usize,
    /// A thread, or [`SERVER_STREAM`](crate::trace::file::SERVER_STREAM).
    pub stream: u16,
    pub event: Event,
    /// The buffer at hand.
    pub life: Option<LifeId>,
    pub at: ThreadPosition,
    pub request: Option<Request>,
    /// What the server took in this step.
    pub taken: Vec<Taken>,
    /// The threads that hold a lock before or after the step.
    pub holding: Vec<u16>,
}

/// Where a thread is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ThreadPosition {
    pub slot: u32,
    pub part: u8,
    pub sequence: u64,
    pub ops: u64,
}

/// One buffer (one part of it, for a mesh buffer) from its address on.
#[derive(Debug)]
pub(super) struct BufferHistory {
    pub handle: Handle,
    pub circular: bool,
    /// Who allocated it.
    pub thread: u16,
    pub allocated: StepNumber,
    /// The step that gave its address back, and who did.
    pub ended: Option<(StepNumber, u16)>,
    /// What was done with it, in order.
    pub deeds: Vec<Deed>,
}

/// What was done with a buffer, when and by whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deed {
    pub step: StepNumber,
    pub thread: u16,
    pub what: What,
}

/// What can be done with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Published,
    /// `check-live` or `claim` let the thread go on.
    Passed,
    MarkedDead,
    Freed(FreeOutcome),
    Sent(SentKind, SendOutcome),
    /// The server took a message about it.
    Heard(SentKind, TableEffect),
}

/// What a message did to the server's table. The buffers named are those whose entries were met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableEffect {
    Inserted,
    Replaced(Option<LifeId>),
    Incremented(Option<LifeId>, u32),
    Removed(Option<LifeId>),
    Decremented(Option<LifeId>, u32),
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
    pub life: Option<LifeId>,
    pub kind: SentKind,
    pub thread: u16,
    pub effect: TableEffect,
    pub torn: bool,
    /// Sent in the same step.
    pub own: bool,
}

/// A lock, from the step that took it to the one that released it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
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
    pub life: Option<LifeId>,
}

impl BufferHistory {
    /// The first deed that satisfies `wanted`.
    pub fn first(&self, wanted: impl Fn(What) -> bool) -> Option<Deed> {
        self.deeds.iter().copied().find(|deed| wanted(deed.what))
    }

    /// When the server heard of its start (`start`) or its release, and what came of that. A
    /// message that is held back is heard when it takes effect.
    pub fn heard(&self, start: bool) -> Option<(Deed, TableEffect)> {
        self.deeds.iter().find_map(|deed| match deed.what {
            What::Heard(kind, effect) if kind.opens() == start && effect != TableEffect::Held => {
                Some((*deed, effect))
            }
            _ => None,
        })
    }

    /// The first send of its start or its release.
    pub fn sent(&self, start: bool) -> Option<(Deed, SendOutcome)> {
        self.deeds.iter().find_map(|deed| match deed.what {
            What::Sent(kind, outcome) if kind.opens() == start => Some((*deed, outcome)),
            _ => None,
        })
    }
}

impl History {
    /// The step of that number.
    pub fn step(&self, number: StepNumber) -> &TimelineStep {
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
