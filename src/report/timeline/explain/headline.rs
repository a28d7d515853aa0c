//! The headline of the paragraph: which divergences there are, and where they show.

use crate::oracle::Kind;

use super::super::history::{RunHistory, StepNumber};
use super::super::labels::list;

/// Steps that are named of a kind; more are counted.
const MAX_NAMED_STEPS: usize = 6;

/// The headline, on one line.
pub(super) fn headline(history: &RunHistory) -> String {
    if history.marks.is_empty() {
        return if history.completed {
            "No divergence.".to_owned()
        } else {
            "No divergence up to here.".to_owned()
        };
    }
    let mut kinds: Vec<Kind> = Vec::new();
    for mark in &history.marks {
        if !kinds.contains(&mark.divergence.kind) {
            kinds.push(mark.divergence.kind);
        }
    }
    let named: Vec<String> = kinds
        .into_iter()
        .map(|kind| format!("{kind} ({})", when(history, kind)))
        .collect();
    format!("✗ {}", list(&named))
}

/// When divergences of a kind show: `step 18`, `steps 2, 11 and 13`, `step 13 and at rest`.
fn when(history: &RunHistory, kind: Kind) -> String {
    let marks = history.marks.iter();
    let shown: Vec<Option<StepNumber>> = marks
        .filter(|mark| mark.divergence.kind == kind)
        .map(|mark| mark.step)
        .collect();
    let steps: Vec<StepNumber> = shown.iter().copied().flatten().collect();
    let named = steps.iter().take(MAX_NAMED_STEPS);
    let mut names: Vec<String> = named.map(ToString::to_string).collect();
    if steps.len() > MAX_NAMED_STEPS {
        names.push(format!("{} more", steps.len() - MAX_NAMED_STEPS));
    }
    let mut text = match steps.len() {
        0 => String::new(),
        1 => format!("step {}", list(&names)),
        _ => format!("steps {}", list(&names)),
    };
    if shown.len() > steps.len() {
        text.push_str(if steps.is_empty() {
            "at rest"
        } else {
            " and at rest"
        });
    }
    text
}
