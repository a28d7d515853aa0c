//! Missing live: a buffer is live and the server does not show it. Either the FREE of an earlier
//! buffer removed its entry, or its ALLOC never made one.

use crate::trace::event::SendOutcome;

use super::super::history::{BufferId, Mark, RunHistory, ServerEffect, StepNumber, Taken};
use super::super::labels::{message_name, rejection, unsent};
use super::release::{double_release, entry_went, gap_before_reuse};
use super::symptom::{Explanation, Symptom};

/// How it came about.
pub(super) fn explain(symptom: Symptom<'_>) -> Option<Explanation> {
    match symptom.taken(is_removal) {
        Some(taken) => explain_by_free(symptom, taken),
        None => explain_by_alloc(symptom.history, symptom.mark),
    }
}

/// As what came after another divergence, where a FREE shows it: in a sentence.
pub(super) fn follow_up(symptom: Symptom<'_>) -> Option<String> {
    let history = symptom.history;
    let taken = symptom.taken(is_removal)?;
    let (step, buffer) = (symptom.step()?, taken.buffer?);
    let ServerEffect::Removed(gone) = taken.effect else {
        return None;
    };
    let allocated = history.buffers[gone?].allocated;
    let end = history.buffers[buffer].ended;
    let is_late = end.is_some_and(|end| end.step < allocated);
    Some(format!(
        "Then t{}'s {}{} (step {step}) removed {} entry.",
        taken.thread,
        if is_late { "late " } else { "" },
        message_name(taken.kind),
        history.whose(gone)
    ))
}

fn is_removal(effect: &ServerEffect) -> bool {
    matches!(effect, ServerEffect::Removed(_))
}

/// A FREE removed the entry of a later buffer.
fn explain_by_free(symptom: Symptom<'_>, taken: Taken) -> Option<Explanation> {
    let history = symptom.history;
    let ServerEffect::Removed(Some(gone)) = taken.effect else {
        return None;
    };
    let (step, old) = (symptom.step()?, taken.buffer?);
    let received_before = history.buffers[old].release_received();
    if received_before.is_some_and(|(earlier, _)| earlier.step < step) {
        let released_twice = double_release(history, old)?;
        return Some(released_twice.and(&format!(
            "By the second FREE (step {step}) the address was {}: the server removed that entry.",
            history.whose(Some(gone))
        )));
    }
    let newer = &history.buffers[gone];
    let end = history.buffers[old].ended;
    let end = end.filter(|end| end.step < newer.allocated)?;
    let text = format!(
        "The allocator took {} back from t{} at step {} and gave it to t{} at step {}; the server \
         heard of the release only at step {step}, when it had the new buffer's entry, and removed \
         that.",
        history.place_of(gone),
        end.thread,
        end.step,
        newer.thread,
        newer.allocated
    );
    Some(Explanation::new(text).with_gap(gap_before_reuse(history, old, gone)))
}

/// At rest there is no entry: what became of its ALLOC, or of the entry since?
fn explain_by_alloc(history: &RunHistory, mark: &Mark) -> Option<Explanation> {
    let id = live_at(history, mark)?;
    let buffer = &history.buffers[id];
    let place = history.place_of(id);
    let why = match (buffer.start_sent(), buffer.start_received()) {
        (None, _) => "no ALLOC was sent for it".to_owned(),
        (Some((deed, outcome)), _) if outcome != SendOutcome::Sent => {
            format!("its ALLOC {} at step {}", unsent(outcome), deed.step)
        }
        (_, Some((deed, ServerEffect::Rejected(reason)))) => format!(
            "the server rejected its ALLOC at step {} ({})",
            deed.step,
            rejection(reason)
        ),
        (Some((deed, _)), None) => format!("its ALLOC (step {}) did not take effect", deed.step),
        _ => entry_went(history, id, StepNumber::MAX)?,
    };
    Some(Explanation::new(format!(
        "t{}'s buffer at {place} is live since step {}, and the server does not show it: {why}.",
        buffer.thread, buffer.allocated
    )))
}

/// The buffer that is live where a divergence at rest is.
fn live_at(history: &RunHistory, mark: &Mark) -> Option<BufferId> {
    let divergence = &mark.divergence;
    history.buffers.iter().position(|buffer| {
        buffer.ended.is_none()
            && buffer.handle.device == divergence.device
            && Some(buffer.handle.address) == divergence.address
            && Some(buffer.handle.memory) == divergence.memory
    })
}
