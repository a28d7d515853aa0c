//! Releases that went wrong, as several kinds of divergence show them: a buffer that was released
//! twice, a release that the server heard of late or never, an entry that went with another one.

use crate::trace::event::{Event, SendOutcome};

use super::super::gap::{NamedStep, Stretch, gap};
use super::super::history::{
    BufferId, Deed, DeedKind, RunHistory, ServerEffect, StepNumber, announces,
};
use super::super::labels::{list, message_name};
use super::symptom::Explanation;

/// The gap where messages were sent in order and taken in another.
pub(super) fn overtaken(message: &str, sent: StepNumber, received: StepNumber) -> String {
    format!(
        "between `send {message}` (step {sent}) and its reception (step {received}) nothing keeps \
         later messages back"
    )
}

/// How the entry of a buffer was gone before `step`, if another buffer's message did it.
pub(super) fn entry_went(history: &RunHistory, id: BufferId, step: StepNumber) -> Option<String> {
    let others = history.buffers.iter().enumerate();
    let mut deeds = others
        .filter(|(other, _)| *other != id)
        .flat_map(|(_, other)| &other.deeds);
    deeds.find_map(|deed| {
        let DeedKind::Received(message, effect) = deed.kind else {
            return None;
        };
        let verb = match effect {
            ServerEffect::Removed(gone) if gone == Some(id) => "removed",
            ServerEffect::Replaced(old) if old == Some(id) => "replaced",
            _ => return None,
        };
        (deed.step < step).then(|| {
            let message = message_name(message);
            format!(
                "t{}'s {message} had {verb} it at step {}",
                deed.thread, deed.step
            )
        })
    })
}

/// Two releases of one buffer: who passed the check before whom, and what is not locked between
/// check and store.
pub(super) fn double_release(history: &RunHistory, id: BufferId) -> Option<Explanation> {
    let buffer = &history.buffers[id];
    let place = history.place_of(id);
    let passed = buffer.all(|deed| deed == DeedKind::Passed);
    let sends = buffer.all(|deed| matches!(deed, DeedKind::Sent(kind, _) if !announces(kind)));
    let [first, second, ..] = passed.as_slice() else {
        return (sends.len() > 1).then(|| {
            Explanation::new(format!(
                "FREE of {place} was sent more than once, at {}.",
                steps(&sends)
            ))
        });
    };
    let check = match history.step(first.step).event {
        Event::Claim { .. } => "claim",
        _ => "check-live",
    };
    let who = if first.thread == second.thread {
        format!("t{} twice", first.thread)
    } else {
        format!("t{} and t{} both", first.thread, second.thread)
    };
    let before = match buffer.first(|deed| deed == DeedKind::MarkedDead) {
        Some(dead) if dead.step > second.step => {
            format!(" before either stored dead (step {})", dead.step)
        }
        Some(_) => return None,
        None => " and neither had stored dead".to_owned(),
    };
    let frees = buffer.all(|deed| matches!(deed, DeedKind::Freed(_)));
    let mut did = Vec::new();
    if !sends.is_empty() {
        did.push(format!("FREE was sent at {}", steps(&sends)));
    }
    if frees.len() > 1 {
        did.push(format!("the address given back at {}", steps(&frees)));
    }
    let text = format!(
        "{who} passed `{check}` on {place} ({}){before}, so both released it: {}.",
        steps(&passed[..2]),
        did.join(", and ")
    );
    let entered_by = from_check_to_store(history, id, check, second);
    let gap = from_check_to_store(history, id, check, first)
        .or_else(|| entered_by.clone())
        .and_then(|entered| gap(history, &entered, entered_by.as_ref(), "the status"));
    Some(Explanation::new(text).with_gap(gap))
}

/// From where a thread `passed` the check called `check` to where it stored that the buffer is
/// dead.
fn from_check_to_store(
    history: &RunHistory,
    id: BufferId,
    check: &str,
    passed: &Deed,
) -> Option<Stretch> {
    let stored = history.buffers[id].all(|deed| deed == DeedKind::MarkedDead);
    let stored = stored.iter().find(|deed| deed.thread == passed.thread)?;
    Some(Stretch {
        thread: passed.thread,
        from: NamedStep::new(check, passed.step),
        to: NamedStep::new("mark-dead", stored.step),
    })
}

/// `step 3`, `steps 3 and 7`.
fn steps(deeds: &[Deed]) -> String {
    let numbers: Vec<String> = deeds.iter().map(|deed| deed.step.to_string()).collect();
    let word = if numbers.len() == 1 { "step" } else { "steps" };
    format!("{word} {}", list(&numbers))
}

/// The gap that let the server hear of `new` before it heard of the release of `old` at the same
/// address.
pub(super) fn gap_before_reuse(
    history: &RunHistory,
    old: BufferId,
    new: BufferId,
) -> Option<String> {
    let (Some((sent, SendOutcome::Sent)), Some((announced, _))) = (
        history.buffers[old].release_sent(),
        history.buffers[new].start_sent(),
    ) else {
        return no_release(history, old);
    };
    if sent.step < announced.step {
        let (received, _) = history.buffers[old].release_received()?;
        return Some(overtaken("FREE", sent.step, received.step));
    }
    let entered = Stretch::of_release(history, old)?;
    let entering = Stretch::of_start(history, new);
    gap(history, &entered, entering.as_ref(), "the address")
}

/// The gap where the release never got on its way.
pub(super) fn no_release(history: &RunHistory, old: BufferId) -> Option<String> {
    match history.buffers[old].release_sent() {
        None if history.completed => Some("the release sends no message".to_owned()),
        Some((deed, SendOutcome::Dropped)) => Some(format!(
            "nobody sends the message of step {} again",
            deed.step
        )),
        _ => None,
    }
}
