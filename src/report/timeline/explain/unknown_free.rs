//! Unknown free: the server took a FREE and had no entry for it. Either the entry was gone before,
//! or it was not there yet, or it never was.

use crate::trace::event::SendOutcome;

use super::super::gap::{Stretch, gap};
use super::super::history::{
    BufferHistory, BufferId, Deed, RunHistory, ServerEffect, StepNumber, Taken,
};
use super::super::labels::{message_name, rejection, unsent};
use super::release::{double_release, entry_went, overtaken};
use super::symptom::{Explanation, Symptom};

/// How it came about.
pub(super) fn explain(symptom: Symptom<'_>) -> Option<Explanation> {
    UnknownFree::of(symptom)?.explain()
}

/// As what came after another divergence, in a sentence.
pub(super) fn follow_up(symptom: Symptom<'_>) -> Option<String> {
    let UnknownFree {
        history,
        step,
        taken,
        id,
    } = UnknownFree::of(symptom)?;
    let gone = entry_went(history, id, step)
        .map(|how| format!(": {how}"))
        .unwrap_or_default();
    Some(format!(
        "At step {step} t{}'s {} of {} finds no entry{gone}.",
        taken.thread,
        message_name(taken.kind),
        history.place_of(id)
    ))
}

/// A FREE that found no entry.
struct UnknownFree<'a> {
    history: &'a RunHistory,
    /// In which step the server took it.
    step: StepNumber,
    taken: Taken,
    /// Which buffer it was about.
    id: BufferId,
}

impl<'a> UnknownFree<'a> {
    fn of(symptom: Symptom<'a>) -> Option<UnknownFree<'a>> {
        let taken = symptom.taken(|effect| *effect == ServerEffect::UnknownFree)?;
        Some(UnknownFree {
            history: symptom.history,
            step: symptom.step()?,
            taken,
            id: taken.buffer?,
        })
    }

    fn buffer(&self) -> &'a BufferHistory {
        &self.history.buffers[self.id]
    }

    fn explain(&self) -> Option<Explanation> {
        let (step, place) = (self.step, self.history.place_of(self.id));
        let removed = Some(ServerEffect::Removed(Some(self.id)));
        let freed_before = self.buffer().release_received();
        let freed_before = freed_before.filter(|(deed, _)| deed.step < step);
        if freed_before.map(|(_, effect)| effect) == removed {
            let released_twice = double_release(self.history, self.id)?;
            return Some(released_twice.and(&format!(
                "The server had no entry left for the second FREE (step {step})."
            )));
        }
        if let Some(how) = entry_went(self.history, self.id, step) {
            return Some(Explanation::new(format!(
                "t{}'s FREE of {place} (step {step}) found no entry: {how}.",
                self.taken.thread
            )));
        }
        match self.buffer().start_sent() {
            Some((alloc, SendOutcome::Sent)) => self.explain_by_alloc(alloc),
            Some((alloc, outcome)) => Some(Explanation::new(format!(
                "The ALLOC of {place} {} at step {}, so its FREE at step {step} found no entry.",
                unsent(outcome),
                alloc.step
            ))),
            None => Some(Explanation::new(format!(
                "t{} freed {place} at step {step}, and no ALLOC had been sent for it.",
                self.taken.thread
            ))),
        }
    }

    /// The ALLOC was sent: what kept it from being there?
    fn explain_by_alloc(&self, alloc: Deed) -> Option<Explanation> {
        let received = self.buffer().start_received();
        if received.is_none_or(|(received, _)| received.step > self.step) {
            let free = self.buffer().release_sent();
            let free = free.filter(|(free, _)| alloc.step < free.step);
            return match free {
                Some((free, _)) => Some(self.explain_by_overtaking(alloc, free)),
                None => self.explain_by_late_alloc(alloc),
            };
        }
        match received {
            Some((_, ServerEffect::Rejected(reason))) => Some(Explanation::new(format!(
                "The server had rejected the ALLOC of {} (step {}: {}), so its FREE at step {} \
                 found no entry.",
                self.history.place_of(self.id),
                alloc.step,
                rejection(reason),
                self.step
            ))),
            _ => None,
        }
    }

    /// The messages were sent in order and taken in another.
    fn explain_by_overtaking(&self, alloc: Deed, free: Deed) -> Explanation {
        let text = format!(
            "t{}'s ALLOC of {} was sent (step {}) before t{}'s FREE (step {}), but the server took \
             the FREE first (step {}) and knew of no such buffer.",
            self.buffer().thread,
            self.history.place_of(self.id),
            alloc.step,
            free.thread,
            free.step,
            self.step
        );
        let received = self.buffer().start_received();
        let late = received.map(|(received, _)| overtaken("ALLOC", alloc.step, received.step));
        Explanation::new(text).with_gap(late)
    }

    /// The buffer was released before its ALLOC was sent.
    fn explain_by_late_alloc(&self, alloc: Deed) -> Option<Explanation> {
        let received = self.buffer().start_received();
        let then = match received {
            Some((_, ServerEffect::Inserted)) => " and was then taken for a new buffer",
            _ => "",
        };
        let text = format!(
            "t{} released {} before t{} had announced it: FREE came at step {}, when the server \
             knew of no such buffer; ALLOC came at step {}{then}.",
            self.taken.thread,
            self.history.place_of(self.id),
            self.buffer().thread,
            self.step,
            received.map_or(alloc.step, |(received, _)| received.step)
        );
        let start = Stretch::of_visible_start(self.history, self.id)?;
        let open = gap(self.history, &start, None, "other threads from the buffer");
        let gap = open.unwrap_or_else(|| self.releaser_waits_not(&start));
        Some(Explanation::new(text).with_gap(Some(gap)))
    }

    /// A lock covers the announcement, and the release does not wait for it.
    fn releaser_waits_not(&self, start: &Stretch) -> String {
        format!(
            "t{} holds {} {}, and t{} releases (step {}) without it",
            start.thread,
            self.history.locks(&start.covered(self.history)),
            start.extent(),
            self.taken.thread,
            self.step
        )
    }
}
