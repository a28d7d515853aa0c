//! What can be wrong, and how a check ends.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::device::{DeviceId, Memory};

/// A kind of divergence between the reconstruction and the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The server was told to free what it does not know.
    UnknownFree,
    /// The server was told of an allocation of what it takes for live.
    DuplicateAlloc,
    /// Right key, wrong size, type or owner.
    StaleMetadata,
    /// The server shows a buffer that is gone: a false leak.
    PhantomLive,
    /// A live buffer that the server does not show.
    MissingLive,
    /// Wrong device or memory type.
    Misattributed,
    /// A message that never took effect.
    LostMessage,
    /// A frame made of pieces of several messages.
    TornFrame,
    /// An address was given back that its handle no longer owned.
    DoubleFree,
    /// Threads wait for each other for good.
    Deadlock,
    /// A lock table was indexed with a device it has no entry for.
    LockOutOfBounds,
    /// A counter that is not what it counts, when all is over.
    DriftedTotal,
    /// A counter went below nothing.
    Underflow,
    /// Two processes hold one slot, or one process two.
    SlotConflict,
    /// A shared region was made anew while another process used it.
    LostRegion,
    /// A buffer was used that had been released.
    UseAfterRelease,
    /// A counter went beyond the most that is allowed.
    Overrun,
    /// A tracker was told something when it was not there.
    LateMessage,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 18] = [
        Kind::UnknownFree,
        Kind::DuplicateAlloc,
        Kind::StaleMetadata,
        Kind::PhantomLive,
        Kind::MissingLive,
        Kind::Misattributed,
        Kind::LostMessage,
        Kind::TornFrame,
        Kind::DoubleFree,
        Kind::Deadlock,
        Kind::LockOutOfBounds,
        Kind::DriftedTotal,
        Kind::Underflow,
        Kind::SlotConflict,
        Kind::LostRegion,
        Kind::UseAfterRelease,
        Kind::Overrun,
        Kind::LateMessage,
    ];

    /// Its name in JSON, reproducers and reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::UnknownFree => "unknown-free",
            Kind::DuplicateAlloc => "duplicate-alloc",
            Kind::StaleMetadata => "stale-metadata",
            Kind::PhantomLive => "phantom-live",
            Kind::MissingLive => "missing-live",
            Kind::Misattributed => "misattributed",
            Kind::LostMessage => "lost-message",
            Kind::TornFrame => "torn-frame",
            Kind::DoubleFree => "double-free",
            Kind::Deadlock => "deadlock",
            Kind::LockOutOfBounds => "lock-out-of-bounds",
            Kind::DriftedTotal => "drifted-total",
            Kind::Underflow => "underflow",
            Kind::SlotConflict => "slot-conflict",
            Kind::LostRegion => "lost-region",
            Kind::UseAfterRelease => "use-after-release",
            Kind::Overrun => "overrun",
            Kind::LateMessage => "late-message",
        }
    }

    /// One sentence for a newcomer.
    pub fn explain(self) -> &'static str {
        match self {
            Kind::UnknownFree => "the server was told to free a buffer it did not know",
            Kind::DuplicateAlloc => {
                "the server was told of an allocation where it still saw a live buffer"
            }
            Kind::StaleMetadata => {
                "the server shows a buffer with the size, type or owner of an earlier one"
            }
            Kind::PhantomLive => "the server shows a buffer that is gone (a false leak)",
            Kind::MissingLive => "a live buffer that the server does not show",
            Kind::Misattributed => {
                "the server booked a message on another device or memory than it was about"
            }
            Kind::LostMessage => "a message never reached the server",
            Kind::TornFrame => "two messages were written into each other on the wire",
            Kind::DoubleFree => "an address was given back twice",
            Kind::Deadlock => "threads waited for each other for good",
            Kind::LockOutOfBounds => "a device id was beyond the end of the lock table",
            Kind::DriftedTotal => "a counter does not show what it counts, with nothing under way",
            Kind::Underflow => "a counter went below nothing, and wrapped",
            Kind::SlotConflict => "a process's slot was taken by two, or two by one process",
            Kind::LostRegion => "a shared region was made anew while another process used it",
            Kind::UseAfterRelease => "a buffer was used after it had been released",
            Kind::Overrun => "a counter went beyond the most that is allowed",
            Kind::LateMessage => "the tracker was told something when it was not there",
        }
    }
}

impl Kind {
    /// As [`Kind::explain`], where the tracking is in the program and no server is told.
    pub(crate) fn explain_untold(self) -> &'static str {
        match self {
            Kind::UnknownFree => "an entry was to be erased that was not there",
            Kind::DuplicateAlloc => "an entry was to be made where one still stood",
            Kind::StaleMetadata => "an entry stands for an earlier buffer at its address",
            Kind::PhantomLive => "an entry stands for a buffer that is gone (a false leak)",
            Kind::MissingLive => "a live buffer without an entry",
            kind => kind.explain(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a check ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing diverged in what was run.
    Clean,
    /// Nothing can diverge: every interleaving was searched.
    Proved,
    /// Something diverged.
    Diverged,
    /// The budget ran out, or only part of the run could be read.
    Inconclusive,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Clean => "clean",
            Verdict::Proved => "proved",
            Verdict::Diverged => "diverged",
            Verdict::Inconclusive => "inconclusive",
        })
    }
}

/// How strong a check was possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strength {
    /// Messages against each other: there is no truth to compare with.
    Messages,
    /// The server's totals at rest against the truth's.
    Totals,
    /// The server's live table against the truth's, entry by entry.
    Exact,
}

/// One divergence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    /// What kind.
    pub kind: Kind,
    /// On which device.
    pub device: DeviceId,
    /// In which memory, where that is known.
    pub memory: Option<Memory>,
    /// At which address, where there is one.
    pub address: Option<u64>,
    /// The thread whose action showed it; the server shows it at rest.
    pub thread: Option<u16>,
    /// The index of that thread's operation, from 0.
    pub op: Option<u64>,
}

impl Divergence {
    /// Of one memory's total on a device.
    pub(super) fn of_total(kind: Kind, device: DeviceId, memory: Memory) -> Divergence {
        Divergence {
            kind,
            device,
            memory: Some(memory),
            address: None,
            thread: None,
            op: None,
        }
    }
}

/// A buffer that was never released: a leak of the program's own, which is no divergence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Leak {
    /// The device.
    pub(crate) device: DeviceId,
    /// The memory.
    pub(crate) memory: Memory,
    /// The address.
    pub(crate) address: u64,
    /// The size.
    pub(crate) size_bytes: u64,
    /// The thread that allocated it.
    pub(crate) thread: u16,
    /// The index of the allocating operation in its thread, from 0.
    pub(crate) op: u64,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub verdict: Verdict,
    /// How strong the check was.
    pub strength: Strength,
    /// How many divergences of each kind.
    pub divergences: BTreeMap<Kind, u64>,
    /// The first divergence.
    pub first: Option<Divergence>,
    /// How many buffers leaked.
    pub leaks: u64,
    /// The first of them.
    pub leaked: Vec<Leak>,
    /// Events checked.
    pub events: u64,
    /// Messages that the server received.
    pub messages: u64,
    /// Steps on cells and ledgers that were compared with something.
    pub shared_steps: u64,
    /// Operations (allocates and releases) begun.
    pub ops: u64,
    /// Allocations that failed because the device was full.
    pub allocs_failed: u64,
    /// Most buffers live at a time.
    pub peak_live: u64,
    /// Why the verdict is inconclusive.
    pub note: Option<String>,
    /// Whether all of the run was checked, however weakly, and there was something to check.
    pub complete: bool,
}

impl Report {
    /// Why a run that came to its end, and sent so many messages, shows nothing, if it does not.
    pub fn nothing_checked(&self, sent: u64) -> Option<&'static str> {
        if self.ops == 0 {
            Some("there was no operation to do: nothing was checked")
        } else if self.peak_live > 0 && sent == 0 && self.shared_steps == 0 {
            Some(
                "buffers were allocated and no message was sent: nothing was tracked, and nothing was checked",
            )
        } else if self.peak_live == 0 && self.allocs_failed > 0 {
            Some("every allocation failed: nothing was checked")
        } else {
            None
        }
    }

    /// How many divergences of `kind`.
    pub fn count(&self, kind: Kind) -> u64 {
        self.divergences.get(&kind).copied().unwrap_or(0)
    }
}
