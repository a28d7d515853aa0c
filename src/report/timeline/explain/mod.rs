//! The paragraph under the table: what the server believes, what is true, and which gap did it.
//!
//! It explains the first divergence in full: how it came about, and the gap that let it. Then it
//! says what else followed, and where things stand at the end. One file explains one kind of
//! divergence. Every clause is read off the steps of the buffers concerned; where they fit no known
//! pattern, only what the oracle found is said.

mod at_rest;
mod deadlock;
mod double_free;
mod duplicate_alloc;
mod headline;
mod lock_out_of_bounds;
mod lost_message;
mod misattributed;
mod missing_live;
mod phantom_live;
mod release;
mod shared;
mod symptom;
mod torn_frame;
mod unknown_free;

use std::collections::BTreeSet;

use crate::oracle::Kind;

use super::history::RunHistory;
use symptom::{Explanation, Symptom};

/// The headline and the paragraph, in lines of at most `width` characters.
pub(super) fn explain(history: &RunHistory, width: usize) -> String {
    let mut text = wrapped(&headline::headline(history), width);
    text.push_str(&wrapped(&paragraph(history), width));
    text
}

fn paragraph(history: &RunHistory) -> String {
    if let Some(why) = &history.contradiction {
        return format!("The events contradict themselves, so nothing of this is sure: {why}.");
    }
    let mut symptoms = history.marks.iter().map(|mark| Symptom { history, mark });
    let Some(first) = symptoms.next() else {
        return at_rest::without_divergence(history);
    };
    let Explanation { text, gap } = explain_first(first);
    let mut sentences = vec![text];
    let mut explained = BTreeSet::from([first.mark.divergence.kind]);
    for symptom in symptoms {
        if explained.insert(symptom.mark.divergence.kind) {
            sentences.extend(follow_up(symptom));
        }
    }
    sentences.extend(at_rest::at_rest(history));
    sentences.extend(gap.map(|gap| format!("The gap: {gap}.")));
    sentences.join(" ")
}

/// How the first divergence came about.
fn explain_first(symptom: Symptom<'_>) -> Explanation {
    if let Some(explanation) = shared::at_a_ledger(symptom) {
        return explanation;
    }
    let explanation = match symptom.mark.divergence.kind {
        Kind::DuplicateAlloc | Kind::StaleMetadata => duplicate_alloc::explain(symptom),
        Kind::UnknownFree => unknown_free::explain(symptom),
        Kind::MissingLive => missing_live::explain(symptom),
        Kind::PhantomLive => phantom_live::explain(symptom),
        Kind::Misattributed => misattributed::explain(symptom),
        Kind::LostMessage => lost_message::explain(symptom),
        Kind::TornFrame => torn_frame::explain(symptom),
        Kind::DoubleFree => double_free::explain(symptom),
        Kind::Deadlock => Some(deadlock::explain(symptom.history)),
        Kind::LockOutOfBounds => lock_out_of_bounds::explain(symptom),
        Kind::DriftedTotal => shared::drifted(symptom),
        Kind::Underflow
        | Kind::Overrun
        | Kind::SlotConflict
        | Kind::LostRegion
        | Kind::LateMessage => shared::at_a_cell(symptom),
        Kind::UseAfterRelease => shared::used(symptom),
    };
    explanation.unwrap_or_else(|| Explanation::new(found(symptom)))
}

/// What came after the first divergence, in a sentence.
fn follow_up(symptom: Symptom<'_>) -> Option<String> {
    let Symptom { mark, .. } = symptom;
    if let Some(explanation) = shared::at_a_ledger(symptom) {
        return Some(explanation.text);
    }
    match mark.divergence.kind {
        Kind::UnknownFree => unknown_free::follow_up(symptom),
        Kind::DuplicateAlloc | Kind::StaleMetadata => duplicate_alloc::follow_up(symptom),
        Kind::MissingLive if mark.step.is_some() => missing_live::follow_up(symptom),
        // What is shown and what is live at rest is said of every place anyway.
        Kind::MissingLive | Kind::PhantomLive if mark.divergence.address.is_some() => None,
        Kind::DoubleFree => double_free::follow_up(symptom),
        _ => Some(explain_first(symptom).text),
    }
}

/// What the oracle found, where no pattern is recognised.
fn found(symptom: Symptom<'_>) -> String {
    let Symptom { history, mark } = symptom;
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

/// `text` in lines of at most `limit` characters.
pub(super) fn wrapped(text: &str, limit: usize) -> String {
    let mut lines = String::new();
    let mut line_width = 0;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if line_width > 0 && line_width + 1 + width > limit {
            lines.push('\n');
            line_width = 0;
        } else if line_width > 0 {
            lines.push(' ');
            line_width += 1;
        }
        lines.push_str(word);
        line_width += width;
    }
    lines.push('\n');
    lines
}
