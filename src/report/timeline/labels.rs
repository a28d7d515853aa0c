//! The words of the timeline: names of threads, places and locks, and what a cell says of a step.
//!
//! Steps are named as disciplines and reproducers write them; what an allocator or the server
//! answered is added.

use crate::device::{DeviceId, Memory};
use crate::registry::RejectReason;
use crate::scenario::objects::LockId;
use crate::scenario::op::Op;
use crate::trace::event::{Event, FreeOutcome, SendOutcome};
use crate::trace::file::SERVER_STREAM;
use crate::tracking::sent::SentKind;

use super::history::{History, LifeId, ShownEntry, TableEffect, Taken, TimelineStep};

/// A message as it is called on the wire.
pub(super) fn message_word(kind: SentKind) -> &'static str {
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

impl History {
    /// `0x1a000`, where it takes more to tell places apart with device and memory: `d1:l1:0x1a000`.
    pub fn place(&self, device: DeviceId, memory: Option<Memory>, address: u64) -> String {
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
    pub fn place_of(&self, life: LifeId) -> String {
        let handle = self.lives[life].handle;
        self.place(handle.device, Some(handle.memory), handle.address)
    }

    /// `t0's`: whose a buffer is.
    pub fn whose(&self, life: Option<LifeId>) -> String {
        match life {
            Some(life) => format!("t{}'s", self.lives[life].thread),
            None => "somebody's".to_owned(),
        }
    }

    /// The names of locks, as a list.
    pub fn locks(&self, locks: &[LockId]) -> String {
        let names: Vec<String> = locks.iter().map(|l| self.objects.lock_name(*l)).collect();
        list(&names)
    }

    /// What the thread's cell says of a step; nothing where it is the server's.
    pub fn deed_words(&self, step: &TimelineStep) -> String {
        let here = || step.life.map_or("?".to_owned(), |life| self.place_of(life));
        let asked = || {
            step.request.map_or("alloc".to_owned(), |request| {
                format!("alloc {} B {}", request.size_bytes, request.memory.name())
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
            Event::Vacate { .. } => format!("s{} released", step.at.slot),
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
            Event::Send {
                kind,
                chunk,
                conn,
                outcome,
                ..
            } => {
                let mut text = format!("send {} {}", message_word(kind), here());
                if step.at.sequence > 0 {
                    text.push_str(&format!(" #{}", step.at.sequence));
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
            Event::DebugLog => "debug-log".to_owned(),
            Event::BlockedOnLock { lock } => {
                let holder = self
                    .waits
                    .iter()
                    .find(|wait| wait.step == step.number)
                    .and_then(|wait| wait.holder)
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

    /// What the server's cell says of a message that it took.
    pub fn taken_words(&self, taken: &Taken) -> String {
        let effect = self.effect_words(taken);
        let torn = if taken.torn { "torn frame: " } else { "" };
        if taken.own {
            return format!("{torn}{effect}");
        }
        let place = taken
            .life
            .map_or("?".to_owned(), |life| self.place_of(life));
        format!(
            "t{}'s {} {place}: {torn}{effect}",
            taken.thread,
            message_word(taken.kind)
        )
    }

    fn effect_words(&self, taken: &Taken) -> String {
        let other = |life| self.met(taken.life, life);
        match taken.effect {
            TableEffect::Inserted => "inserted".to_owned(),
            TableEffect::Replaced(old) => format!("replaced {}", other(old)),
            TableEffect::Incremented(kept, count) => format!("kept {}, count {count}", other(kept)),
            TableEffect::Removed(gone) if gone.is_some() && gone == taken.life => {
                "removed".to_owned()
            }
            TableEffect::Removed(gone) => format!("removed {}", other(gone)),
            TableEffect::Decremented(left, count) => format!("kept {}, count {count}", other(left)),
            TableEffect::UnknownFree => "unknown".to_owned(),
            TableEffect::Held => "held back".to_owned(),
            TableEffect::Rejected(reason) => format!("rejected: {}", reject_words(reason)),
            TableEffect::Ignored => "ignored".to_owned(),
            TableEffect::Garbage => "no known message".to_owned(),
        }
    }

    /// The entry that a message about `mine` met: `t0's 0x1a000`, and if both are one thread's,
    /// which of the two.
    fn met(&self, mine: Option<LifeId>, met: Option<LifeId>) -> String {
        let Some(other) = met else {
            return "an entry".to_owned();
        };
        let which = match mine {
            Some(mine) if self.lives[mine].thread == self.lives[other].thread => {
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
    pub fn shown_words(&self, shown: &ShownEntry) -> String {
        let count = if shown.refcount > 1 {
            format!(", count {}", shown.refcount)
        } else {
            String::new()
        };
        let owner = match shown.life {
            Some(life) => format!(" of t{}", self.lives[life].thread),
            None => String::new(),
        };
        format!(
            "{} {} B{owner}{count}",
            self.place(shown.device, Some(shown.memory), shown.address),
            shown.size_bytes
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
pub(super) fn reject_words(reason: RejectReason) -> &'static str {
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
