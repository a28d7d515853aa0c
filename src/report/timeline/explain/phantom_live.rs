//! Phantom live: the server shows an entry whose buffer is gone. Its FREE was not sent, or did
//! something else.

use crate::trace::event::SendOutcome;

use super::super::history::{BufferId, RunHistory, ServerEffect};
use super::super::labels::unsent;
use super::release::no_release;
use super::symptom::{Explanation, Symptom};

/// How it came about.
pub(super) fn explain(symptom: Symptom<'_>) -> Option<Explanation> {
    let history = symptom.history;
    let id = shown_at(symptom)?;
    let end = history.buffers[id].ended?;
    let Explanation { text: why, gap } = why(history, id)?;
    let text = format!(
        "t{} gave {} back at step {}, and the server still shows it: {why}.",
        end.thread,
        history.place_of(id),
        end.step
    );
    Some(Explanation { text, gap })
}

/// The buffer whose entry is shown where the divergence is.
fn shown_at(symptom: Symptom<'_>) -> Option<BufferId> {
    let divergence = &symptom.mark.divergence;
    let mut shown = symptom.history.shown.iter();
    let entry = shown.find(|shown| {
        shown.device == divergence.device
            && Some(shown.memory) == divergence.memory
            && Some(shown.address) == divergence.address
    });
    entry?.buffer
}

/// What became of its FREE, as a clause.
fn why(history: &RunHistory, id: BufferId) -> Option<Explanation> {
    let buffer = &history.buffers[id];
    match (buffer.release_sent(), buffer.release_received()) {
        (None, _) => {
            let text = "no FREE was sent for it".to_owned();
            Some(Explanation::new(text).with_gap(no_release(history, id)))
        }
        (Some((deed, outcome)), _) if outcome != SendOutcome::Sent => {
            let text = format!("its FREE {} at step {}", unsent(outcome), deed.step);
            Some(Explanation::new(text).with_gap(no_release(history, id)))
        }
        (_, Some((deed, ServerEffect::Decremented(_, count)))) => Some(Explanation::new(format!(
            "its FREE (step {}) only lowered the count to {count}",
            deed.step
        ))),
        (_, Some((deed, ServerEffect::Removed(other)))) if other != Some(id) => {
            Some(Explanation::new(format!(
                "its FREE (step {}) removed {} entry",
                deed.step,
                history.whose(other)
            )))
        }
        (_, Some((deed, ServerEffect::UnknownFree))) => Some(Explanation::new(format!(
            "its FREE came at step {}, before it",
            deed.step
        ))),
        _ => None,
    }
}
