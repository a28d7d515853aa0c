//! Misattributed: the server booked a message on the entry of another memory.

use super::super::history::ServerEffect;
use super::super::labels::message_name;
use super::symptom::{Explanation, Symptom};

/// How it came about.
pub(super) fn explain(symptom: Symptom<'_>) -> Option<Explanation> {
    let history = symptom.history;
    let taken = symptom.taken(|effect| {
        matches!(
            effect,
            ServerEffect::Replaced(_) | ServerEffect::Incremented(..) | ServerEffect::Removed(_)
        )
    })?;
    let (step, mine) = (symptom.step()?, taken.buffer?);
    let (ServerEffect::Replaced(other)
    | ServerEffect::Incremented(other, _)
    | ServerEffect::Removed(other)) = taken.effect
    else {
        return None;
    };
    let (mine, other) = (history.place_of(mine), history.place_of(other?));
    let did = match taken.effect {
        ServerEffect::Replaced(_) => format!("replaced the entry of {other}"),
        ServerEffect::Incremented(..) => format!("was counted on the entry of {other}"),
        _ => format!("removed the entry of {other}"),
    };
    let gap = if history.keys_without_memory {
        "the server finds entries by device and address, and two memories have the same addresses"
    } else {
        "a FREE in this wire layout names no memory, and the server takes the first entry at the \
         address"
    };
    let text = format!(
        "{mine} and {other} are two buffers, in two memories. t{}'s {} of {mine} (step {step}) \
         {did}.",
        taken.thread,
        message_name(taken.kind)
    );
    Some(Explanation::new(text).with_gap(Some(gap.to_owned())))
}
