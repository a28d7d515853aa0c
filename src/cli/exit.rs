//! The exit status, by one rule for all commands; docs/exit-codes.md has it as a table.

use crate::oracle::Verdict;

/// How a command exits. The order is that of what matters more: what diverged is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExitStatus {
    /// What was asked for was checked to its end, and nothing diverged.
    Holds,
    /// Nothing diverged, and that says nothing: the work did not come to its end, or there was
    /// nothing to check.
    Undecided,
    /// A divergence or a mismatch was found.
    Diverged,
    /// Bad usage, an input that is none, or an output that cannot be written.
    BadInput,
}

impl ExitStatus {
    /// What a verdict comes to.
    pub(crate) fn of(verdict: Verdict) -> ExitStatus {
        match verdict {
            Verdict::Clean | Verdict::Proved => ExitStatus::Holds,
            Verdict::Diverged => ExitStatus::Diverged,
            Verdict::Inconclusive => ExitStatus::Undecided,
        }
    }

    /// Of what served to its end, with why its recording did not get that far.
    pub(crate) fn of_recording(error: Option<&str>) -> ExitStatus {
        match error {
            None => ExitStatus::Holds,
            Some(_) => ExitStatus::BadInput,
        }
    }

    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            ExitStatus::Holds => 0,
            ExitStatus::Diverged => 1,
            ExitStatus::BadInput => 2,
            ExitStatus::Undecided => 3,
        }
    }
}
