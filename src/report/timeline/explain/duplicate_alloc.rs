//! Duplicate alloc, and the stale metadata that a counting server makes of it: the server took an
//! ALLOC of an address for which it still had an entry.

use crate::numbers::grouped;
use crate::trace::event::SendOutcome;

use super::super::gap::{Stretch, gap};
use super::super::history::{BufferId, RunHistory, ServerEffect, StepNumber};
use super::super::labels::unsent;
use super::release::gap_before_reuse;
use super::symptom::{Explanation, Symptom};

/// How it came about.
pub(super) fn explain(symptom: Symptom<'_>) -> Option<Explanation> {
    let history = symptom.history;
    let taken = symptom.taken(meets_an_entry)?;
    let (step, new) = (symptom.step()?, taken.buffer?);
    let (ServerEffect::Replaced(old) | ServerEffect::Incremented(old, _)) = taken.effect else {
        return None;
    };
    let old = old?;
    let (older, newer) = (&history.buffers[old], &history.buffers[new]);
    let place = history.place_of(new);
    let answer = answer(history, taken.effect);
    if old == new {
        return Some(Explanation::new(format!(
            "t{} announced its buffer at {place} more than once: at step {step} the server had it \
             already, and {answer}.",
            newer.thread
        )));
    }
    if newer.allocated < older.allocated {
        let stretch = Stretch::of_visible_start(history, new)?;
        let text = format!(
            "t{}'s ALLOC of {place} came late (step {step}): the buffer had been given back, and \
             t{}'s next one there was announced already. The server {answer}.",
            newer.thread, older.thread
        );
        let gap = gap(history, &stretch, None, "others from its buffer");
        return Some(Explanation::new(text).with_gap(gap));
    }
    let end = older.ended.filter(|end| end.step < newer.allocated)?;
    let release = release_came(history, old, step)?;
    let text = format!(
        "The allocator took {place} back from t{} at step {} and gave it to t{} at step {}, but \
         the server heard of the new buffer (step {step}) {release}: it {answer}.",
        end.thread, end.step, newer.thread, newer.allocated
    );
    Some(Explanation::new(text).with_gap(gap_before_reuse(history, old, new)))
}

/// As what came after another divergence, in a sentence.
pub(super) fn follow_up(symptom: Symptom<'_>) -> Option<String> {
    let history = symptom.history;
    let taken = symptom.taken(meets_an_entry)?;
    let (step, buffer) = (symptom.step()?, taken.buffer?);
    Some(format!(
        "At step {step} the ALLOC of {} {} meets an entry that should be gone: the server {}.",
        history.whose(Some(buffer)),
        history.place_of(buffer),
        answer(history, taken.effect)
    ))
}

fn meets_an_entry(effect: &ServerEffect) -> bool {
    matches!(
        effect,
        ServerEffect::Replaced(_) | ServerEffect::Incremented(..)
    )
}

/// What the server did with the entry that an ALLOC met.
fn answer(history: &RunHistory, effect: ServerEffect) -> String {
    match effect {
        ServerEffect::Incremented(kept, count) => {
            let size = kept.map_or(String::new(), |kept| {
                format!(
                    ", of {} B",
                    grouped(history.buffers[kept].handle.size_bytes)
                )
            });
            format!(
                "counted {count} and kept {} entry{size}",
                history.whose(kept)
            )
        }
        ServerEffect::Replaced(old) => format!("replaced {} entry", history.whose(old)),
        _ => "took it".to_owned(),
    }
}

/// When the server heard of a release, as against `step`.
fn release_came(history: &RunHistory, old: BufferId, step: StepNumber) -> Option<String> {
    let buffer = &history.buffers[old];
    match (buffer.release_received(), buffer.release_sent()) {
        (Some((deed, _)), _) if deed.step > step => Some(format!(
            "before it heard of the release (step {})",
            deed.step
        )),
        (Some(_), _) => None,
        (None, Some((deed, SendOutcome::Sent))) => Some(format!(
            "and not of the release, which was sent at step {}",
            deed.step
        )),
        (None, Some((deed, outcome))) => Some(format!(
            "and not of the release, whose FREE {} at step {}",
            unsent(outcome),
            deed.step
        )),
        (None, None) => Some("and was never told of the release".to_owned()),
    }
}
