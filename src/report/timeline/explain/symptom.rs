//! A divergence that is to be explained, and the explanation.

use super::super::history::{Mark, RunHistory, ServerEffect, StepNumber, Taken};

/// A divergence, in the history of the run that shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symptom<'a> {
    pub(crate) history: &'a RunHistory,
    pub(crate) mark: &'a Mark,
}

impl Symptom<'_> {
    /// The step that shows it; none at rest.
    pub(crate) fn step(&self) -> Option<StepNumber> {
        self.mark.step
    }

    /// What the server took in that step, to the effect that is wanted.
    pub(crate) fn taken(&self, wanted: fn(&ServerEffect) -> bool) -> Option<Taken> {
        let step = self.history.step(self.step()?);
        let mut taken = step.taken.iter().copied();
        taken.find(|taken| wanted(&taken.effect))
    }
}

/// How something came about, as sentences, and the gap that let it.
#[derive(Debug, Default)]
pub(super) struct Explanation {
    pub(crate) text: String,
    pub(crate) gap: Option<String>,
}

impl Explanation {
    pub(crate) fn new(text: String) -> Explanation {
        Explanation { text, gap: None }
    }

    pub(crate) fn with_gap(self, gap: Option<String>) -> Explanation {
        Explanation { gap, ..self }
    }

    /// The same, and one more sentence.
    pub(crate) fn and(self, sentence: &str) -> Explanation {
        let text = format!("{} {sentence}", self.text);
        Explanation {
            text: text.trim_start().to_owned(),
            ..self
        }
    }
}
