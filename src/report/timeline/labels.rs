//! Labels: how the timeline calls threads, places, locks and messages, and what a cell of the table
//! says of a step.
//!
//! Steps are named as disciplines and reproducers write them; what an allocator or the server
//! answered is added.

use crate::device::{DeviceId, Memory};
use crate::numbers::grouped;
use crate::registry::RejectReason;
use crate::scenario::objects::LockId;
use crate::scenario::op::Op;
use crate::trace::event::{Event, FreeOutcome, SendOutcome};
use crate::trace::file::SERVER_STREAM;
use crate::tracking::sent::SentKind;

use super::history::{BufferId, RunHistory, RunStep, ServerEffect, ShownEntry, Taken};

/// A message as it is called on the wire.
pub(super) fn message_name(kind: SentKind) -> &'static str {
    match kind {
        SentKind::Alloc => "ALLOC",
        SentKind::Free => "FREE",
        SentKind::CbAlloc => "CB_ALLOC",
        SentKind::CbFree => "CB_FREE",
    }
}

/// `t0`, or `the server`.
pub(super) fn stream(stream: u16) -> String {
    match stream {
        SERVER_STREAM => "the server".to_owned(),
        thread => format!("t{thread}"),
    }
}

/// `a, b and c`.
pub(super) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}

impl RunHistory {
    /// `0x1a000`; `d1:l1:0x1a000` where it takes device and memory to distinguish places.
    pub(crate) fn place(&self, device: DeviceId, memory: Option<Memory>, address: u64) -> String {
        let device = match self.objects.devices {
            1 => String::new(),
            _ => format!("d{device}:"),
        };
        let memory = memory
            .filter(|_| self.mixes_memories)
            .map(|memory| format!("{}:", memory.name()))
            .unwrap_or_default();
        format!("{device}{memory}{address:#x}")
    }

    /// The place of a buffer.
    pub(crate) fn place_of(&self, buffer: BufferId) -> String {
        let handle = self.buffers[buffer].handle;
        self.place(handle.device, Some(handle.memory), handle.address)
    }

    /// `t0's`: whose a buffer is.
    pub(crate) fn whose(&self, buffer: Option<BufferId>) -> String {
        match buffer {
            Some(buffer) => format!("t{}'s", self.buffers[buffer].thread),
            None => "somebody's".to_owned(),
        }
    }

    /// The names of locks, as a list.
    pub(crate) fn locks(&self, locks: &[LockId]) -> String {
        let names: Vec<String> = locks.iter().map(|l| self.objects.lock_name(*l)).collect();
        list(&names)
    }

    /// What the thread's cell says of a step; nothing where it is the server's.
    pub(crate) fn step_label(&self, step: &RunStep) -> String {
        let here = || self.place_at_hand(step);
        let asked = || {
            step.request.map_or("alloc".to_owned(), |request| {
                format!(
                    "alloc {} B {}",
                    grouped(request.size_bytes),
                    request.memory.name()
                )
            })
        };
        match step.event {
            Event::Open { op, .. } => op.to_string(),
            Event::Part { part, .. } => format!("part {part}"),
            Event::CloseBuffer { slot, part, .. } => {
                let several = step.request.is_some_and(|request| request.parts > 1);
                let part = if several {
                    format!(" part {part}")
                } else {
                    String::new()
                };
                format!("close: release s{slot}{part}")
            }
            Event::Vacate { .. } => format!("s{} released", step.position.slot),
            Event::Lock { lock, .. } => format!("lock {}", self.objects.lock_name(lock)),
            Event::Unlock { lock } => format!("unlock {}", self.objects.lock_name(lock)),
            Event::LockOutOfBounds { device } => format!("lock lifecycle[{device}]: NO SUCH LOCK"),
            Event::Alloc {
                device, address, ..
            } => format!("{} -> {}", asked(), self.place(device, None, address)),
            Event::AllocFailed { .. } => format!("{}: NO MEMORY", asked()),
            Event::Free { outcome, .. } => match outcome {
                FreeOutcome::Freed => format!("free {}", here()),
                FreeOutcome::NotAllocated => format!("free {} (NOT ALLOCATED)", here()),
                FreeOutcome::FreedAnother => format!("free {} (SOMEBODY ELSE'S)", here()),
            },
            Event::Stamp { sequence, .. } => format!("stamp #{sequence}"),
            Event::Check { live: true, .. } => "check-live: live".to_owned(),
            Event::Check { live: false, .. } => "check-live: not live".to_owned(),
            Event::Claim { won: true, .. } => "claim: won".to_owned(),
            Event::Claim { won: false, .. } => "claim: lost".to_owned(),
            Event::MarkLive { .. } => "mark-live".to_owned(),
            Event::MarkDead { .. } => "mark-dead".to_owned(),
            Event::Publish { .. } => "publish".to_owned(),
            Event::ConnRead { found, .. } => match found {
                Some(conn) => format!("connection {} found", conn.0),
                None => "no connection yet".to_owned(),
            },
            Event::Connect { conn } => format!("open connection {}", conn.0),
            Event::ConnStore { conn, .. } => format!("share connection {}", conn.0),
            Event::Send { .. } => self.send_label(step),
            Event::DebugLog => "debug-log".to_owned(),
            Event::Shared(event) => self.shared_label(step, &event),
            Event::BlockedOnLock { lock } => {
                let mut blocked = self.blocked.iter();
                let holder = blocked
                    .find(|blocked| blocked.step == step.number)
                    .and_then(|blocked| blocked.holder)
                    .map(|holder| format!(" (held by t{holder})"))
                    .unwrap_or_default();
                format!("waits for {}{holder}", self.objects.lock_name(lock))
            }
            Event::BlockedOnOp { op } => format!("waits to {}", waiting_op(&op)),
            Event::BlockedOnSend { conn } => format!("waits for room on connection {}", conn.0),
            Event::Stopped => "stopped".to_owned(),
            Event::Finish => "finish".to_owned(),
            Event::Accept { .. } | Event::Receive { .. } => String::new(),
        }
    }

    /// What the cell says of a send; nothing of any other step.
    fn send_label(&self, step: &RunStep) -> String {
        let Event::Send {
            kind,
            chunk,
            conn,
            outcome,
            ..
        } = step.event
        else {
            return String::new();
        };
        let mut text = format!("send {} {}", message_name(kind), self.place_at_hand(step));
        if step.position.sequence > 0 {
            text.push_str(&format!(" #{}", step.position.sequence));
        }
        if self.chunks > 1 {
            text.push_str(&format!(" {}/{}", chunk + 1, self.chunks));
        }
        if self.objects.conns > 1 {
            text.push_str(&format!(" on c{}", conn.0));
        }
        text.push_str(match outcome {
            SendOutcome::Sent => "",
            SendOutcome::Dropped => " DROPPED",
            SendOutcome::Failed => " FAILED",
        });
        text
    }

    /// The place of the buffer that a step has at hand.
    pub(super) fn place_at_hand(&self, step: &RunStep) -> String {
        step.buffer
            .map_or("?".to_owned(), |buffer| self.place_of(buffer))
    }

    /// What the server's cell says of a message that it took.
    pub(crate) fn taken_label(&self, taken: &Taken) -> String {
        let effect = self.effect_label(taken);
        let torn = if taken.torn { "torn frame: " } else { "" };
        if taken.own {
            return format!("{torn}{effect}");
        }
        let place = taken
            .buffer
            .map_or("?".to_owned(), |buffer| self.place_of(buffer));
        format!(
            "t{}'s {} {place}: {torn}{effect}",
            taken.thread,
            message_name(taken.kind)
        )
    }

    fn effect_label(&self, taken: &Taken) -> String {
        let other = |buffer| self.met(taken.buffer, buffer);
        match taken.effect {
            ServerEffect::Inserted => "inserted".to_owned(),
            ServerEffect::Replaced(old) => format!("replaced {}", other(old)),
            ServerEffect::Incremented(kept, count) => {
                format!("kept {}, count {count}", other(kept))
            }
            ServerEffect::Removed(gone) if gone.is_some() && gone == taken.buffer => {
                "removed".to_owned()
            }
            ServerEffect::Removed(gone) => format!("removed {}", other(gone)),
            ServerEffect::Decremented(left, count) => {
                format!("kept {}, count {count}", other(left))
            }
            ServerEffect::UnknownFree => "unknown".to_owned(),
            ServerEffect::Held => "held back".to_owned(),
            ServerEffect::Rejected(reason) => format!("rejected: {}", rejection(reason)),
            ServerEffect::Ignored => "ignored".to_owned(),
            ServerEffect::Garbage => "no known message".to_owned(),
        }
    }

    /// The entry that a message about `mine` met: `t0's 0x1a000`, and if both are one thread's,
    /// which of the two.
    fn met(&self, mine: Option<BufferId>, met: Option<BufferId>) -> String {
        let Some(other) = met else {
            return "an entry".to_owned();
        };
        let which = match mine {
            Some(mine) if self.buffers[mine].thread == self.buffers[other].thread => {
                match mine.cmp(&other) {
                    std::cmp::Ordering::Less => "later ",
                    std::cmp::Ordering::Equal => "",
                    std::cmp::Ordering::Greater => "earlier ",
                }
            }
            _ => "",
        };
        format!("{} {which}{}", self.whose(met), self.place_of(other))
    }

    /// An entry of the server's table: `0x1a000 4096 B of t0`.
    pub(crate) fn shown_label(&self, shown: &ShownEntry) -> String {
        let count = if shown.refcount > 1 {
            format!(", count {}", shown.refcount)
        } else {
            String::new()
        };
        let owner = match shown.buffer {
            Some(buffer) => format!(" of t{}", self.buffers[buffer].thread),
            None => String::new(),
        };
        format!(
            "{} {} B{owner}{count}",
            self.place(shown.device, Some(shown.memory), shown.address),
            grouped(shown.size_bytes)
        )
    }
}

/// What a thread that cannot begin an operation waits to do.
pub(super) fn waiting_op(op: &Op) -> String {
    match op {
        Op::Allocate { slot, epoch, .. } => format!("allocate s{}#{epoch}", slot.0),
        Op::AwaitOthers => "see the others end".to_owned(),
        other => other.to_string(),
    }
}

/// Why a message was refused.
pub(super) fn rejection(reason: RejectReason) -> &'static str {
    match reason {
        RejectReason::DeviceOutOfRange => "device out of range",
        RejectReason::SizeZero => "size 0",
        RejectReason::SizeOverLimit => "size over the limit",
        RejectReason::InvalidBufferType => "invalid buffer type",
        RejectReason::TableFull => "table full",
        RejectReason::SequenceTooFarAhead => "sequence number too far ahead",
        RejectReason::SequenceRepeated => "sequence number repeated",
        RejectReason::TooManySequences => "too many sequences",
    }
}

/// What became of a message that was not sent.
pub(super) fn unsent(outcome: SendOutcome) -> &'static str {
    match outcome {
        SendOutcome::Failed => "failed",
        SendOutcome::Dropped | SendOutcome::Sent => "was dropped",
    }
}
