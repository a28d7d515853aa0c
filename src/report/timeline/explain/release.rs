//! Releases: of what the server does not know, and of what was released before.

use crate::trace::event::{Event, FreeOutcome, SendOutcome};

use super::super::gap::{Stretch, gap};
use super::super::history::{Deed, History, LifeId, Mark, StepNumber, TableEffect, Taken, What};
use super::super::labels::{list, message_word, reject_words, unsent};
use super::explanation::{Explanation, taken_at};

/// FREE of what the server has no entry for.
pub(super) fn unknown_free(history: &History, mark: &Mark) -> Option<Explanation> {
    let taken = taken_at(history, mark, |effect| *effect == TableEffect::UnknownFree)?;
    let (step, id) = (mark.step?, taken.life?);
    let life = &history.lives[id];
    let place = history.place_of(id);
    let freed_before = life
        .heard(false)
        .is_some_and(|(deed, effect)| deed.step < step && effect == TableEffect::Removed(Some(id)));
    if freed_before {
        return double_release(history, id).map(|cause| Explanation {
            text: format!(
                "{} The server had no entry left for the second FREE (step {step}).",
                cause.text
            ),
            gap: cause.gap,
        });
    }
    if let Some(how) = entry_went(history, id, step) {
        return Some(Explanation::new(format!(
            "t{}'s FREE of {place} (step {step}) found no entry: {how}.",
            taken.thread
        )));
    }
    match life.sent(true) {
        Some((deed, SendOutcome::Sent)) if life.heard(true).is_none_or(|(d, _)| d.step > step) => {
            if let Some((free, _)) = life.sent(false).filter(|(free, _)| deed.step < free.step) {
                let late = life
                    .heard(true)
                    .map(|(heard, _)| overtaken("ALLOC", deed.step, heard.step));
                return Some(
                    Explanation::new(format!(
                        "t{}'s ALLOC of {place} was sent (step {}) before t{}'s FREE (step {}), but the server took the \
                         FREE first (step {step}) and knew of no such buffer.",
                        life.thread, deed.step, free.thread, free.step
                    ))
                    .with_gap(late),
                );
            }
            let came = life.heard(true).map_or(deed.step, |(deed, _)| deed.step);
            let then = match life.heard(true) {
                Some((_, TableEffect::Inserted)) => " and was then taken for a new buffer",
                _ => "",
            };
            let stretch = Stretch::of_start(history, id, true)?;
            let entered = gap(history, &stretch, None, "other threads from the buffer");
            Some(
                Explanation::new(format!(
                    "t{} released {place} before t{} had announced it: FREE came at step {step}, when the server \
                     knew of no such buffer; ALLOC came at step {came}{then}.",
                    taken.thread, life.thread
                ))
                .with_gap(entered.or_else(|| releaser_waits_not(history, &stretch, taken, step))),
            )
        }
        Some((deed, SendOutcome::Sent)) => match life.heard(true) {
            Some((_, TableEffect::Rejected(reason))) => Some(Explanation::new(format!(
                "The server had rejected the ALLOC of {place} (step {}: {}), so its FREE at step {step} found no entry.",
                deed.step,
                reject_words(reason)
            ))),
            _ => None,
        },
        Some((deed, outcome)) => Some(Explanation::new(format!(
            "The ALLOC of {place} {} at step {}, so its FREE at step {step} found no entry.",
            unsent(outcome),
            deed.step
        ))),
        None => Some(Explanation::new(format!(
            "t{} freed {place} at step {step}, and no ALLOC had been sent for it.",
            taken.thread
        ))),
    }
}

/// The gap where messages were sent in order and taken in another.
pub(super) fn overtaken(message: &str, sent: StepNumber, heard: StepNumber) -> String {
    format!(
        "between `send {message}` (step {sent}) and its reception (step {heard}) nothing keeps later messages back"
    )
}

/// A lock covers the announcement, and the release does not wait for it.
fn releaser_waits_not(
    history: &History,
    stretch: &Stretch,
    taken: Taken,
    step: StepNumber,
) -> Option<String> {
    let locks = history.held(stretch.thread, stretch.from.1, stretch.to.1);
    Some(format!(
        "t{} holds {} from `{}` (step {}) to `{}` (step {}), and t{} releases (step {step}) without it",
        stretch.thread,
        history.locks(&locks),
        stretch.from.0,
        stretch.from.1,
        stretch.to.0,
        stretch.to.1,
        taken.thread
    ))
}

/// How the entry of a buffer was gone before `step`, if another buffer's message did it.
pub(super) fn entry_went(history: &History, life: LifeId, step: StepNumber) -> Option<String> {
    let (deed, verb) = history
        .lives
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != life)
        .flat_map(|(_, other)| &other.deeds)
        .find_map(|deed| match deed.what {
            What::Heard(_, TableEffect::Removed(gone))
                if gone == Some(life) && deed.step < step =>
            {
                Some((deed, "removed"))
            }
            What::Heard(_, TableEffect::Replaced(old)) if old == Some(life) && deed.step < step => {
                Some((deed, "replaced"))
            }
            _ => None,
        })?;
    let What::Heard(kind, _) = deed.what else {
        return None;
    };
    Some(format!(
        "t{}'s {} had {verb} it at step {}",
        deed.thread,
        message_word(kind),
        deed.step
    ))
}

/// Two releases of one buffer: who passed the check before whom, and what is not locked between
/// check and store.
pub(super) fn double_release(history: &History, id: LifeId) -> Option<Explanation> {
    let life = &history.lives[id];
    let place = history.place_of(id);
    let passed: Vec<Deed> = deeds(history, id, |what| what == What::Passed);
    let frees = deeds(history, id, |what| matches!(what, What::Freed(_)));
    let sends = deeds(
        history,
        id,
        |what| matches!(what, What::Sent(kind, _) if !kind.opens()),
    );
    let twice = |deeds: &[Deed]| steps(deeds.iter().map(|deed| deed.step));
    let [first, second, ..] = passed.as_slice() else {
        return (sends.len() > 1).then(|| {
            Explanation::new(format!(
                "FREE of {place} was sent more than once, at {}.",
                twice(&sends)
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
    let dead = life.first(|what| what == What::MarkedDead);
    let before = match dead {
        Some(dead) if dead.step > second.step => {
            format!(" before either stored dead (step {})", dead.step)
        }
        Some(_) => return None,
        None => " and neither had stored dead".to_owned(),
    };
    let mut did = Vec::new();
    if !sends.is_empty() {
        did.push(format!("FREE was sent at {}", twice(&sends)));
    }
    if frees.len() > 1 {
        did.push(format!("the address given back at {}", twice(&frees)));
    }
    let text = format!(
        "{who} passed `{check}` on {place} ({}){before}, so both released it: {}",
        twice(&passed[..2]),
        did.join(", and ")
    );
    let stretch = |thread: u16, from: StepNumber| {
        deeds(history, id, |what| what == What::MarkedDead)
            .into_iter()
            .find(|deed| deed.thread == thread)
            .map(|deed| Stretch {
                thread,
                from: (check.to_owned(), from),
                to: ("mark-dead".to_owned(), deed.step),
            })
    };
    let entering = stretch(second.thread, second.step);
    let gap = stretch(first.thread, first.step)
        .or_else(|| entering.clone())
        .and_then(|entered| gap(history, &entered, entering.as_ref(), "the status"));
    Some(Explanation::new(format!("{text}.")).with_gap(gap))
}

fn deeds(history: &History, id: LifeId, wanted: impl Fn(What) -> bool) -> Vec<Deed> {
    let all = history.lives[id].deeds.iter().copied();
    all.filter(|deed| wanted(deed.what)).collect()
}

/// `step 3`, `steps 3 and 7`.
fn steps(numbers: impl Iterator<Item = StepNumber>) -> String {
    let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
    let word = if numbers.len() == 1 { "step" } else { "steps" };
    format!("{word} {}", list(&numbers))
}

/// The address was given back again.
pub(super) fn double_free(history: &History, mark: &Mark) -> Option<Explanation> {
    let again = second_free(history, mark)?;
    let life = history.step(mark.step?).life?;
    let cause = double_release(history, life).unwrap_or_default();
    Some(Explanation {
        text: format!("{} {again}", cause.text).trim_start().to_owned(),
        gap: cause.gap,
    })
}

/// That an address was given back which was not its thread's to give, and whose it was.
pub(super) fn second_free(history: &History, mark: &Mark) -> Option<String> {
    let step = history.step(mark.step?);
    let place = history.place_of(step.life?);
    let Event::Free { outcome, .. } = step.event else {
        return None;
    };
    let answer = match outcome {
        FreeOutcome::FreedAnother => {
            let taken = history
                .lives
                .iter()
                .position(|life| life.ended == Some((step.number, step.stream)));
            format!("by then it was {} buffer", history.whose(taken))
        }
        _ => "nothing was allocated there any more".to_owned(),
    };
    Some(format!(
        "At step {} t{} gave {place} back though it was no longer its to give: {answer}.",
        step.number, step.stream
    ))
}
