//! The gap: between which two steps something was open that a lock should have kept shut, and what
//! was locked instead.
//!
//! A stretch is covered by the locks that its thread holds from the first step to the last without
//! letting go. Two stretches exclude each other where the same lock covers both; a race shows that
//! none did, and here is said why.

use crate::scenario::objects::LockId;

use super::history::{BufferId, DeedKind, RunHistory, StepNumber, announces};

/// From one step of a thread to a later one of the same thread.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    pub(crate) thread: u16,
    pub(crate) from: NamedStep,
    pub(crate) to: NamedStep,
}

/// A step's name as disciplines write it, and its number.
#[derive(Clone, Debug)]
pub(super) struct NamedStep {
    pub(crate) name: String,
    pub(crate) number: StepNumber,
}

impl NamedStep {
    pub(crate) fn new(name: impl Into<String>, number: StepNumber) -> NamedStep {
        NamedStep {
            name: name.into(),
            number,
        }
    }
}

impl Stretch {
    /// From where the allocator has the address back to where the release is sent, if that is the
    /// order of it.
    pub(crate) fn of_release(history: &RunHistory, buffer: BufferId) -> Option<Stretch> {
        let buffer = &history.buffers[buffer];
        let end = buffer.ended?;
        let sent = buffer.deeds.iter().find(|deed| {
            matches!(deed.kind, DeedKind::Sent(kind, _) if !announces(kind))
                && deed.thread == end.thread
                && deed.step > end.step
        })?;
        let send = if buffer.circular {
            "send CB_FREE"
        } else {
            "send FREE"
        };
        Some(Stretch {
            thread: end.thread,
            from: NamedStep::new("free", end.step),
            to: NamedStep::new(send, sent.step),
        })
    }

    /// From where a buffer has an address to where it is announced.
    pub(crate) fn of_start(history: &RunHistory, buffer: BufferId) -> Option<Stretch> {
        let buffer = &history.buffers[buffer];
        let (sent, _) = buffer.start_sent()?;
        let send = if buffer.circular {
            "send CB_ALLOC"
        } else {
            "send ALLOC"
        };
        Some(Stretch {
            thread: buffer.thread,
            from: NamedStep::new("alloc", buffer.allocated),
            to: NamedStep::new(send, sent.step),
        })
    }

    /// From where a buffer is visible to others to where it is announced; if it is announced first,
    /// from where it has an address.
    pub(crate) fn of_visible_start(history: &RunHistory, buffer: BufferId) -> Option<Stretch> {
        let start = Stretch::of_start(history, buffer)?;
        let publish = history.buffers[buffer].first(|deed| deed == DeedKind::Published);
        Some(match publish {
            Some(publish) if publish.step < start.to.number => Stretch {
                from: NamedStep::new("publish", publish.step),
                ..start
            },
            _ => start,
        })
    }

    /// The locks that its thread holds from its first step to its last.
    pub(crate) fn covered(&self, history: &RunHistory) -> Vec<LockId> {
        history.held(self.thread, self.from.number, self.to.number)
    }

    /// From which step to which: ``from `alloc` (step 3) to `send ALLOC` (step 5)``.
    pub(crate) fn extent(&self) -> String {
        let (from, to) = (&self.from, &self.to);
        format!(
            "from `{}` (step {}) to `{}` (step {})",
            from.name, from.number, to.name, to.number
        )
    }

    /// Between which steps no lock keeps `what`, and what is locked at either end.
    fn open(&self, history: &RunHistory, what: &str) -> String {
        let (from, to) = (&self.from.name, &self.to.name);
        let (begin, end) = (self.from.number, self.to.number);
        let text =
            format!("between `{from}` (step {begin}) and `{to}` (step {end}) no lock keeps {what}");
        let at_begin = history.held(self.thread, begin, begin);
        let at_end = history.held(self.thread, end, end);
        let is_held = |locks: &[_]| {
            let verb = if locks.len() == 1 { "is" } else { "are" };
            format!("{} {verb} held", history.locks(locks))
        };
        match (at_begin.is_empty(), at_end.is_empty()) {
            (true, true) => text,
            (true, false) => format!("{text}; {} around `{to}` only", is_held(&at_end)),
            (false, true) => format!("{text}; {} around `{from}` only", is_held(&at_begin)),
            (false, false) => format!(
                "{text}; {} around `{from}`, and {} around `{to}`, but let go between",
                is_held(&at_begin),
                is_held(&at_end)
            ),
        }
    }
}

/// The gap that let one thread's stretch be entered by the other's: where no lock covers the first,
/// that; else why its lock did not help. `None` where one lock covers both.
pub(super) fn gap(
    history: &RunHistory,
    entered: &Stretch,
    by: Option<&Stretch>,
    what: &str,
) -> Option<String> {
    let covered = entered.covered(history);
    if covered.is_empty() {
        return Some(entered.open(history, what));
    }
    let holds = |stretch: &Stretch, locks: &[_]| {
        format!(
            "t{} holds {} {}",
            stretch.thread,
            history.locks(locks),
            stretch.extent()
        )
    };
    let by = by?;
    let others = by.covered(history);
    if others.iter().any(|lock| covered.contains(lock)) {
        None
    } else if others.is_empty() {
        Some(format!(
            "{}, but t{} does not: {}",
            holds(entered, &covered),
            by.thread,
            by.open(history, what)
        ))
    } else {
        Some(format!(
            "{} and {}: not the same lock",
            holds(entered, &covered),
            holds(by, &others)
        ))
    }
}
