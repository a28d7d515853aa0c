//! What is said of one divergence, and what every explanation looks up.

use super::super::history::{History, Mark, TableEffect, Taken};

/// How something came about, as sentences, and the gap that let it.
#[derive(Debug, Default)]
pub(super) struct Explanation {
    pub(super) text: String,
    pub(super) gap: Option<String>,
}

impl Explanation {
    pub(super) fn new(text: String) -> Explanation {
        Explanation { text, gap: None }
    }

    pub(super) fn with_gap(self, gap: Option<String>) -> Explanation {
        Explanation { gap, ..self }
    }
}

/// What the server took in the step of `mark` to the effect that is wanted.
pub(super) fn taken_at(
    history: &History,
    mark: &Mark,
    wanted: fn(&TableEffect) -> bool,
) -> Option<Taken> {
    let step = history.step(mark.step?);
    step.taken
        .iter()
        .copied()
        .find(|taken| wanted(&taken.effect))
}
