//! Lost message: it was dropped on its way, refused by the server, or sent and never received.

use crate::trace::event::Event;

use super::super::history::ServerEffect;
use super::super::labels::{message_name, rejection};
use super::symptom::{Explanation, Symptom};

/// How it came about.
pub(super) fn explain(symptom: Symptom<'_>) -> Option<Explanation> {
    let Symptom { history, mark } = symptom;
    let Some(number) = mark.step else {
        let divergence = &mark.divergence;
        return Some(Explanation::new(format!(
            "A message of t{} about {} was sent and never received.",
            divergence.thread?,
            history.place(divergence.device, divergence.memory, divergence.address?)
        )));
    };
    let is_rejection = |effect: &ServerEffect| matches!(effect, ServerEffect::Rejected(_));
    if let Some(taken) = symptom.taken(is_rejection) {
        let ServerEffect::Rejected(reason) = taken.effect else {
            return None;
        };
        return Some(Explanation::new(format!(
            "The server rejected t{}'s {} of {} at step {number}: {}.",
            taken.thread,
            message_name(taken.kind),
            history.place_of(taken.buffer?),
            rejection(reason)
        )));
    }
    let step = history.step(number);
    let Event::Send { kind, .. } = step.event else {
        return None;
    };
    let text = format!(
        "t{}'s {} of {} (step {number}) was dropped: the socket's buffer was full and the \
         transport does not wait.",
        step.stream,
        message_name(kind),
        history.place_of(step.buffer?)
    );
    let gap = "nobody sends the message again".to_owned();
    Some(Explanation::new(text).with_gap(Some(gap)))
}
