//! The gap: between which two steps something was open that a lock should have kept shut, and what
//! was locked instead.
//!
//! A stretch is covered by the locks that its thread holds from the first step to the last without
//! letting go. Two stretches exclude each other where the same lock covers both; a race shows that
//! none did, and here is said why.

use crate::scenario::objects::LockId;

use super::history::{History, LifeId, StepNumber, What};

/// From one step of a thread to a later one of the same thread.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    pub thread: u16,
    /// A step's name as disciplines write it, and its number.
    pub from: (String, StepNumber),
    pub to: (String, StepNumber),
}

impl Stretch {
    /// From where the allocator has the address back to where the release is sent, if that is the
    /// order of it.
    pub fn of_release(history: &History, life: LifeId) -> Option<Stretch> {
        let life = &history.lives[life];
        let (freed, thread) = life.ended?;
        let sent = life.deeds.iter().find(|deed| {
            matches!(deed.what, What::Sent(kind, _) if !kind.opens())
                && deed.thread == thread
                && deed.step > freed
        })?;
        let name = if life.circular {
            "send CB_FREE"
        } else {
            "send FREE"
        };
        Some(Stretch {
            thread,
            from: ("free".to_owned(), freed),
            to: (name.to_owned(), sent.step),
        })
    }

    /// From where a buffer has an address (`published`: is visible to others) to where it is
    /// announced.
    pub fn of_start(history: &History, life: LifeId, published: bool) -> Option<Stretch> {
        let life = &history.lives[life];
        let (sent, _) = life.sent(true)?;
        let publish = life.first(|what| what == What::Published);
        let from = match publish.filter(|publish| published && publish.step < sent.step) {
            Some(publish) => ("publish", publish.step),
            None => ("alloc", life.allocated),
        };
        let name = if life.circular {
            "send CB_ALLOC"
        } else {
            "send ALLOC"
        };
        Some(Stretch {
            thread: life.thread,
            from: (from.0.to_owned(), from.1),
            to: (name.to_owned(), sent.step),
        })
    }

    /// Between which steps no lock keeps `what`, and what is locked at either end.
    fn open(&self, history: &History, what: &str) -> String {
        let ((from, begin), (to, end)) = (&self.from, &self.to);
        let text =
            format!("between `{from}` (step {begin}) and `{to}` (step {end}) no lock keeps {what}");
        let at_begin = history.held(self.thread, *begin, *begin);
        let at_end = history.held(self.thread, *end, *end);
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

    fn covered(&self, history: &History) -> Vec<LockId> {
        history.held(self.thread, self.from.1, self.to.1)
    }

    fn name(&self) -> String {
        let ((from, begin), (to, end)) = (&self.from, &self.to);
        format!("from `{from}` (step {begin}) to `{to}` (step {end})")
    }
}

/// The gap that let one thread's stretch be entered by the other's: where no lock covers the first,
/// that; else why its lock did not help. `None` where one lock covers both.
pub(super) fn gap(
    history: &History,
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
            stretch.name()
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
