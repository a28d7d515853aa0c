//! One case tried several times: what came of it in all.

use super::{CaseOutcome, CaseResult, Trouble};

/// What a case says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct CaseText {
    pub(crate) case: &'static str,
    pub(crate) about: &'static str,
    pub(crate) sent: &'static str,
    pub(crate) expected: &'static str,
}

/// The tries of a case so far.
#[derive(Debug)]
pub(super) struct Tries(CaseResult);

impl Tries {
    pub(super) fn new(text: CaseText) -> Tries {
        Tries(CaseResult {
            case: text.case,
            outcome: CaseOutcome::Skipped,
            about: text.about,
            sent: text.sent,
            expected: text.expected,
            seen: String::new(),
            tries: 0,
            failures: 0,
        })
    }

    /// How many there were.
    pub(super) fn made(&self) -> u32 {
        self.0.tries
    }

    /// Takes in one more; what could not be tried is no try.
    pub(super) fn take(&mut self, result: Result<String, Trouble>) -> CaseOutcome {
        let (outcome, seen) = match result {
            Ok(seen) => (CaseOutcome::Passed, seen),
            Err(Trouble::Failed(seen)) => (CaseOutcome::Failed, seen),
            Err(Trouble::Skipped(why)) => (CaseOutcome::Skipped, why),
        };
        let found = &mut self.0;
        let first_failure = outcome == CaseOutcome::Failed && found.failures == 0;
        if found.tries == 0 || first_failure {
            (found.outcome, found.seen) = (outcome, seen);
        }
        found.tries += u32::from(outcome != CaseOutcome::Skipped);
        found.failures += u32::from(outcome == CaseOutcome::Failed);
        outcome
    }

    pub(super) fn finish(self) -> CaseResult {
        self.0
    }
}
