//! The message-only check: what a server's log admits by itself, without knowing the truth.
//!
//! It replays the messages of a log per key (device, address) and compares the outcome with what
//! the server said. It is not the oracle proper: without truth, a buffer that is live at the end
//! may be in use, leaked, or gone with its FREE lost or misordered. Such buffers are listed in
//! `live_at_end` and are no finding. Neither does it name causes: a finding is a fact about the
//! messages; diagnosis ranks suspects.
//!
//! What holds:
//! - A FREE of a key that is not live is an `unknown-free`. That a FREE dropped the key before,
//!   with no ALLOC since, is noted as `freed-before`: a second release, a FREE that came before its
//!   own ALLOC, and one whose ALLOC is lost look alike. It is a `double-free` only where both name
//!   one life (the generation of the extended layout); a log names none.
//! - An ALLOC of a live key yields `duplicate-alloc`, `stale-metadata` when the server keeps a
//!   size, type or owner that differs from the message's, and `misattributed` when the type
//!   differs: two memories share a key.
//! - Unknown message types are counted in `unknown_messages` and are no finding. They can be torn
//!   frames, but also valid messages of a newer client, and the log does not hold the bytes that
//!   would tell.
//! - Where log and replay disagree (the log starts late, lines are missing), the check notes it and
//!   goes on with what the server said. A disagreement is no finding: it says something of the log.
//! - Memory is bounded by the keys that are live at once, plus the [`FREED_WINDOW`] last dropped
//!   ones. A second FREE after more than that many other drops is an `unknown-free`, not noted.

mod freed;
mod replay;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub(crate) use freed::FREED_WINDOW;
pub(super) use freed::RecentlyFreed;
pub(crate) use replay::MessageCheck;

/// How many keys [`MessageReport::live_at_end`] lists at most.
pub(crate) const MAX_LIVE_LISTED: usize = 1000;

/// How many findings a report lists at most.
pub(crate) const MAX_FINDINGS_LISTED: usize = 2000;

/// What a log can show without truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MessageFinding {
    /// A FREE of a key that is not live.
    UnknownFree,
    /// An ALLOC of a live key.
    DuplicateAlloc,
    /// The server keeps another size, type or owner than the last ALLOC's.
    StaleMetadata,
    /// ALLOCs of two memory types share a key.
    Misattributed,
    /// A second FREE of one life: both name it.
    DoubleFree,
}

impl MessageFinding {
    /// The name of the divergence.
    pub(crate) fn name(self) -> &'static str {
        match self {
            MessageFinding::UnknownFree => "unknown-free",
            MessageFinding::DuplicateAlloc => "duplicate-alloc",
            MessageFinding::StaleMetadata => "stale-metadata",
            MessageFinding::Misattributed => "misattributed",
            MessageFinding::DoubleFree => "double-free",
        }
    }
}

/// Something that a reader of the report should know, but that is no divergence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MessageNote {
    /// The server holds a key whose ALLOC is not in the log: it starts in the middle, or lines are
    /// missing.
    LateAttach,
    /// The server's reference count or live key differs from the replay's.
    RefCountDisagreement,
    /// The server's number of live keys differs from the replay's.
    LiveCountDisagreement,
    /// A sweep removed another number of buffers than the replay has for that process.
    SweepDisagreement,
    /// A server started while the replay had live keys; they are forgotten.
    RestartWithLive,
    /// A circular buffer or kernel total fell below zero and wrapped.
    WrappedTotal,
    /// A message was rejected as invalid.
    Rejected,
    /// Sequence numbers that no message carried.
    MissingNumbers,
    /// An unknown FREE of a key that a FREE dropped before, with no ALLOC between.
    FreedBefore,
    /// A FREE by another process than the one that allocated.
    ReleasedByAnother,
    /// A FREE that came before, with the same number or time.
    CameTwice,
}

impl MessageNote {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            MessageNote::LateAttach => "late-attach",
            MessageNote::RefCountDisagreement => "ref-count-disagreement",
            MessageNote::LiveCountDisagreement => "live-count-disagreement",
            MessageNote::SweepDisagreement => "sweep-disagreement",
            MessageNote::RestartWithLive => "restart-with-live",
            MessageNote::WrappedTotal => "wrapped-total",
            MessageNote::Rejected => "rejected",
            MessageNote::MissingNumbers => "missing-numbers",
            MessageNote::FreedBefore => "freed-before",
            MessageNote::ReleasedByAnother => "released-by-another",
            MessageNote::CameTwice => "came-twice",
        }
    }

    /// What to make of it, where its name does not say it.
    pub(crate) fn remark(self) -> Option<&'static str> {
        match self {
            MessageNote::FreedBefore => Some(
                "a second release, an order or a lost ALLOC: `heisenbed diagnose` weighs which",
            ),
            MessageNote::ReleasedByAnother => {
                Some("a process released what another one allocated: no finding by itself")
            }
            MessageNote::CameTwice => {
                Some("one message that was sent again, and no second release")
            }
            _ => None,
        }
    }
}

/// How often something was noted, and where first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    /// How often.
    pub(crate) count: u64,
    /// The first line.
    pub(crate) first_line: u64,
}

/// One finding, the first or another that is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FirstFinding {
    /// What was found.
    pub(crate) kind: MessageFinding,
    /// The device; `None` when the line does not state it.
    pub(crate) device: Option<i32>,
    /// The address.
    pub(crate) address: u64,
    /// The line.
    pub(crate) line: u64,
}

/// A key that is live when the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LiveKey {
    /// Device id.
    pub(crate) device: i32,
    /// Buffer id.
    pub(crate) address: u64,
    /// The last ALLOC's size, if the log shows it.
    pub(crate) size_bytes: Option<u64>,
    /// The last ALLOC's buffer type, if the log shows it.
    pub(crate) buffer_type: Option<u8>,
    /// The first owner.
    pub(crate) pid: i32,
    /// References.
    pub(crate) ref_count: u64,
    /// The line that shows it live first.
    pub(crate) line: u64,
}

/// Counts a finding, keeps the first, and lists it where there is room.
pub(super) fn take_finding(
    counts: &mut BTreeMap<MessageFinding, u64>,
    first: &mut Option<FirstFinding>,
    listed: &mut Vec<FirstFinding>,
    finding: FirstFinding,
) {
    *counts.entry(finding.kind).or_default() += 1;
    first.get_or_insert(finding);
    if listed.len() < MAX_FINDINGS_LISTED {
        listed.push(finding);
    }
}

/// The outcome of the message-only check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MessageReport {
    /// Lines read.
    pub(crate) lines: u64,
    /// Lines that stand for a message.
    pub(crate) messages: u64,
    /// Of these, ALLOCs and FREEs of buffers: the others contradict nothing.
    pub(crate) of_buffers: u64,
    /// Messages of a type that the server does not know; not among `messages`.
    pub(crate) unknown_messages: u64,
    /// Findings by kind.
    pub(crate) findings: BTreeMap<MessageFinding, u64>,
    /// The first finding.
    pub(crate) first: Option<FirstFinding>,
    /// The first [`MAX_FINDINGS_LISTED`] findings.
    pub(crate) listed: Vec<FirstFinding>,
    /// What else is worth knowing.
    pub(crate) notes: BTreeMap<MessageNote, Noted>,
    /// Keys that a sweep removed because their first owner was dead: not released in time, so
    /// leaked or killed.
    pub(crate) swept: u64,
    /// How many keys are live at the end.
    pub(crate) live_at_end_total: u64,
    /// The first [`MAX_LIVE_LISTED`] of them, by line of origin.
    pub(crate) live_at_end: Vec<LiveKey>,
}
