//! Double free: a thread gave an address back that was no longer its to give.

use crate::trace::event::{Event, FreeOutcome};

use super::super::history::BufferEnd;
use super::release::double_release;
use super::symptom::{Explanation, Symptom};

/// How it came about.
pub(super) fn explain(symptom: Symptom<'_>) -> Option<Explanation> {
    let again = follow_up(symptom)?;
    let buffer = symptom.history.step(symptom.step()?).buffer?;
    let released_twice = double_release(symptom.history, buffer).unwrap_or_default();
    Some(released_twice.and(&again))
}

/// As what came after another divergence: that it was given back, and whose it was by then.
pub(super) fn follow_up(symptom: Symptom<'_>) -> Option<String> {
    let Symptom { history, mark } = symptom;
    let step = history.step(mark.step?);
    let place = history.place_of(step.buffer?);
    let Event::Free { outcome, .. } = step.event else {
        return None;
    };
    let answer = match outcome {
        FreeOutcome::FreedAnother => {
            let end = BufferEnd {
                step: step.number,
                thread: step.stream,
            };
            let mut buffers = history.buffers.iter();
            let ended = buffers.position(|buffer| buffer.ended == Some(end));
            format!("by then it was {} buffer", history.whose(ended))
        }
        _ => "nothing was allocated there any more".to_owned(),
    };
    Some(format!(
        "At step {} t{} gave {place} back though it was no longer its to give: {answer}.",
        step.number, step.stream
    ))
}
