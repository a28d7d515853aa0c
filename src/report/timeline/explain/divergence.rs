//! How a divergence came about, kind by kind, from the steps of the buffers concerned.
//!
//! [`of`] explains the first divergence in full and names the gap; [`follows`] says in a sentence
//! what came after it.

use crate::oracle::Kind;

use super::super::history::{History, Mark, TableEffect};
use super::super::labels::message_word;
use super::explanation::{Explanation, taken_at};
use super::{entry, locks, release, wire};

/// How the first divergence came about.
pub(super) fn of(history: &History, mark: &Mark) -> Explanation {
    let explained = match mark.divergence.kind {
        Kind::DuplicateAlloc | Kind::StaleMetadata => entry::reuse(history, mark),
        Kind::UnknownFree => release::unknown_free(history, mark),
        Kind::MissingLive => entry::missing(history, mark),
        Kind::PhantomLive => entry::phantom(history, mark),
        Kind::Misattributed => entry::misattributed(history, mark),
        Kind::LostMessage => wire::lost(history, mark),
        Kind::TornFrame => wire::torn(history, mark),
        Kind::DoubleFree => release::double_free(history, mark),
        Kind::Deadlock => Some(locks::deadlock(history)),
        Kind::LockOutOfBounds => locks::out_of_bounds(history, mark),
    };
    explained.unwrap_or_else(|| Explanation::new(found(history, mark)))
}

/// What came after the first divergence, in a sentence.
pub(super) fn follows(history: &History, mark: &Mark) -> Option<String> {
    let taken = |wanted: fn(&TableEffect) -> bool| {
        let taken = taken_at(history, mark, wanted)?;
        Some((mark.step?, taken, taken.life?))
    };
    match mark.divergence.kind {
        Kind::UnknownFree => {
            let (step, taken, life) = taken(|effect| *effect == TableEffect::UnknownFree)?;
            let gone = release::entry_went(history, life, step)
                .map(|how| format!(": {how}"))
                .unwrap_or_default();
            Some(format!(
                "At step {step} t{}'s {} of {} finds no entry{gone}.",
                taken.thread,
                message_word(taken.kind),
                history.place_of(life)
            ))
        }
        Kind::DuplicateAlloc | Kind::StaleMetadata => {
            let (step, taken, life) = taken(|effect| {
                matches!(
                    effect,
                    TableEffect::Replaced(_) | TableEffect::Incremented(..)
                )
            })?;
            Some(format!(
                "At step {step} the ALLOC of {} {} meets an entry that should be gone: the server {}.",
                history.whose(Some(life)),
                history.place_of(life),
                entry::met(history, taken.effect)
            ))
        }
        Kind::MissingLive if mark.step.is_some() => {
            let (step, taken, life) = taken(|effect| matches!(effect, TableEffect::Removed(_)))?;
            let TableEffect::Removed(gone) = taken.effect else {
                return None;
            };
            let allocated = history.lives[gone?].allocated;
            let late = history.lives[life]
                .ended
                .is_some_and(|(ended, _)| ended < allocated);
            Some(format!(
                "Then t{}'s {}{} (step {step}) removed {} entry.",
                taken.thread,
                if late { "late " } else { "" },
                message_word(taken.kind),
                history.whose(gone)
            ))
        }
        // What is shown and what is live at rest is told of every place anyway.
        Kind::MissingLive | Kind::PhantomLive if mark.divergence.address.is_some() => None,
        Kind::DoubleFree => release::second_free(history, mark),
        _ => Some(of(history, mark).text),
    }
}

/// What the oracle found, where no pattern is recognised.
fn found(history: &History, mark: &Mark) -> String {
    let divergence = &mark.divergence;
    let at = match (divergence.address, divergence.memory) {
        (Some(address), memory) => {
            format!(" at {}", history.place(divergence.device, memory, address))
        }
        (None, _) => format!(" on device {}", divergence.device),
    };
    let when = match mark.step {
        Some(step) => format!("At step {step}"),
        None => "At rest".to_owned(),
    };
    format!("{when}{at}: {}.", divergence.kind.explain())
}
