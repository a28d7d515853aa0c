//! Entries that should not be there, or should: an address that was reused, a buffer that is
//! missing or long gone, a message that was booked on another memory.

use crate::trace::event::SendOutcome;

use super::super::gap::{Stretch, gap};
use super::super::history::{History, LifeId, Mark, StepNumber, TableEffect};
use super::super::labels::{message_word, reject_words, unsent};
use super::explanation::{Explanation, taken_at};
use super::release::{double_release, entry_went, overtaken};

/// ALLOC of a place whose entry was still there.
pub(super) fn reuse(history: &History, mark: &Mark) -> Option<Explanation> {
    let taken = taken_at(history, mark, |effect| {
        matches!(
            effect,
            TableEffect::Replaced(_) | TableEffect::Incremented(..)
        )
    })?;
    let (step, new) = (mark.step?, taken.life?);
    let (TableEffect::Replaced(old) | TableEffect::Incremented(old, _)) = taken.effect else {
        return None;
    };
    let old = old?;
    let (older, newer) = (&history.lives[old], &history.lives[new]);
    let (place, met) = (history.place_of(new), met(history, taken.effect));
    if old == new {
        return Some(Explanation::new(format!(
            "t{} announced its buffer at {place} more than once: at step {step} the server had it already, and {met}.",
            newer.thread
        )));
    }
    if newer.allocated < older.allocated {
        let stretch = Stretch::of_start(history, new, true)?;
        return Some(
            Explanation::new(format!(
                "t{}'s ALLOC of {place} came late (step {step}): the buffer had been given back, and t{}'s next one \
                 there was announced already. The server {met}.",
                newer.thread, older.thread
            ))
            .with_gap(gap(history, &stretch, None, "others from its buffer")),
        );
    }
    let (ended, by) = older.ended.filter(|(ended, _)| *ended < newer.allocated)?;
    let release = release_came(history, old, step)?;
    let gap = gap_before_reuse(history, old, new);
    Some(
        Explanation::new(format!(
            "The allocator took {place} back from t{by} at step {ended} and gave it to t{} at step {}, but the server \
             heard of the new buffer (step {step}) {release}: it {met}.",
            newer.thread, newer.allocated
        ))
        .with_gap(gap),
    )
}

/// What the server did with the entry that an ALLOC met.
pub(super) fn met(history: &History, effect: TableEffect) -> String {
    match effect {
        TableEffect::Incremented(kept, count) => {
            let size = kept.map_or(String::new(), |kept| {
                format!(", of {} B", history.lives[kept].handle.size_bytes)
            });
            format!(
                "counted {count} and kept {} entry{size}",
                history.whose(kept)
            )
        }
        TableEffect::Replaced(old) => format!("replaced {} entry", history.whose(old)),
        _ => "took it".to_owned(),
    }
}

/// When the server heard of a release, as against `step`.
fn release_came(history: &History, old: LifeId, step: StepNumber) -> Option<String> {
    let life = &history.lives[old];
    match (life.heard(false), life.sent(false)) {
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

/// The gap that let the server hear of `new` before it heard of the release of `old` at the same
/// address.
fn gap_before_reuse(history: &History, old: LifeId, new: LifeId) -> Option<String> {
    let (Some((sent, SendOutcome::Sent)), Some((announced, _))) = (
        history.lives[old].sent(false),
        history.lives[new].sent(true),
    ) else {
        return no_release(history, old);
    };
    if sent.step < announced.step {
        let (heard, _) = history.lives[old].heard(false)?;
        return Some(overtaken("FREE", sent.step, heard.step));
    }
    let entered = Stretch::of_release(history, old)?;
    let entering = Stretch::of_start(history, new, false);
    gap(history, &entered, entering.as_ref(), "the address")
}

/// The gap where the release never got on its way.
fn no_release(history: &History, old: LifeId) -> Option<String> {
    match history.lives[old].sent(false) {
        None if history.completed => Some("the release sends no message".to_owned()),
        Some((deed, SendOutcome::Dropped)) => Some(format!(
            "nobody sends the message of step {} again",
            deed.step
        )),
        _ => None,
    }
}

/// A live buffer that the server does not show.
pub(super) fn missing(history: &History, mark: &Mark) -> Option<Explanation> {
    if let Some(taken) = taken_at(history, mark, |effect| {
        matches!(effect, TableEffect::Removed(_))
    }) {
        let TableEffect::Removed(Some(gone)) = taken.effect else {
            return None;
        };
        let (step, old) = (mark.step?, taken.life?);
        if let Some((earlier, _)) = history.lives[old].heard(false)
            && earlier.step < step
        {
            return double_release(history, old).map(|cause| Explanation {
                text: format!(
                    "{} By the second FREE (step {step}) the address was {}: the server removed that entry.",
                    cause.text,
                    history.whose(Some(gone))
                ),
                gap: cause.gap,
            });
        }
        let newer = &history.lives[gone];
        let (ended, by) = history.lives[old]
            .ended
            .filter(|(ended, _)| *ended < newer.allocated)?;
        let gap = gap_before_reuse(history, old, gone);
        return Some(
            Explanation::new(format!(
                "The allocator took {} back from t{by} at step {ended} and gave it to t{} at step {}; the server heard \
                 of the release only at step {step}, when it had the new buffer's entry, and removed that.",
                history.place_of(gone),
                newer.thread,
                newer.allocated
            ))
            .with_gap(gap),
        );
    }
    let id = live_at(history, mark)?;
    let life = &history.lives[id];
    let place = history.place_of(id);
    let why = match (life.sent(true), life.heard(true)) {
        (None, _) => "no ALLOC was sent for it".to_owned(),
        (Some((deed, outcome)), _) if outcome != SendOutcome::Sent => {
            format!("its ALLOC {} at step {}", unsent(outcome), deed.step)
        }
        (_, Some((deed, TableEffect::Rejected(reason)))) => format!(
            "the server rejected its ALLOC at step {} ({})",
            deed.step,
            reject_words(reason)
        ),
        (Some((deed, _)), None) => format!("its ALLOC (step {}) did not take effect", deed.step),
        _ => entry_went(history, id, StepNumber::MAX)?,
    };
    Some(Explanation::new(format!(
        "t{}'s buffer at {place} is live since step {}, and the server does not show it: {why}.",
        life.thread, life.allocated
    )))
}

/// The buffer that is live where a divergence at rest is.
fn live_at(history: &History, mark: &Mark) -> Option<LifeId> {
    let divergence = &mark.divergence;
    history.lives.iter().position(|life| {
        life.ended.is_none()
            && life.handle.device == divergence.device
            && Some(life.handle.address) == divergence.address
            && Some(life.handle.memory) == divergence.memory
    })
}

/// An entry whose buffer is gone.
pub(super) fn phantom(history: &History, mark: &Mark) -> Option<Explanation> {
    let divergence = &mark.divergence;
    let id = history
        .shown
        .iter()
        .filter(|shown| {
            shown.device == divergence.device && Some(shown.memory) == divergence.memory
        })
        .find(|shown| Some(shown.address) == divergence.address)?
        .life?;
    let life = &history.lives[id];
    let (ended, by) = life.ended?;
    let place = history.place_of(id);
    let (why, gap) = match (life.sent(false), life.heard(false)) {
        (None, _) => (
            "no FREE was sent for it".to_owned(),
            no_release(history, id),
        ),
        (Some((deed, outcome)), _) if outcome != SendOutcome::Sent => (
            format!("its FREE {} at step {}", unsent(outcome), deed.step),
            no_release(history, id),
        ),
        (_, Some((deed, TableEffect::Decremented(_, count)))) => (
            format!(
                "its FREE (step {}) only lowered the count to {count}",
                deed.step
            ),
            None,
        ),
        (_, Some((deed, TableEffect::Removed(other)))) if other != Some(id) => (
            format!(
                "its FREE (step {}) removed {} entry",
                deed.step,
                history.whose(other)
            ),
            None,
        ),
        (_, Some((deed, TableEffect::UnknownFree))) => (
            format!("its FREE came at step {}, before it", deed.step),
            None,
        ),
        _ => return None,
    };
    Some(
        Explanation::new(format!(
            "t{by} gave {place} back at step {ended}, and the server still shows it: {why}."
        ))
        .with_gap(gap),
    )
}

/// A message that the server booked on another memory.
pub(super) fn misattributed(history: &History, mark: &Mark) -> Option<Explanation> {
    let taken = taken_at(history, mark, |effect| {
        matches!(
            effect,
            TableEffect::Replaced(_) | TableEffect::Incremented(..) | TableEffect::Removed(_)
        )
    })?;
    let (step, mine) = (mark.step?, taken.life?);
    let (TableEffect::Replaced(other)
    | TableEffect::Incremented(other, _)
    | TableEffect::Removed(other)) = taken.effect
    else {
        return None;
    };
    let other = other?;
    let (mine, other) = (history.place_of(mine), history.place_of(other));
    let did = match taken.effect {
        TableEffect::Replaced(_) => format!("replaced the entry of {other}"),
        TableEffect::Incremented(..) => format!("was counted on the entry of {other}"),
        _ => format!("removed the entry of {other}"),
    };
    let gap = if history.keys_without_memory {
        "the server finds entries by device and address, and two memories have the same addresses"
    } else {
        "a FREE in this wire layout names no memory, and the server takes the first entry at the address"
    };
    Some(
        Explanation::new(format!(
            "{mine} and {other} are two buffers, in two memories. t{}'s {} of {mine} (step {step}) {did}.",
            taken.thread,
            message_word(taken.kind)
        ))
        .with_gap(Some(gap.to_owned())),
    )
}
