//! `replay --adapt` of a reproducer of `run`: whether a program that was changed still fails where
//! its schedule led to a failure before.

use std::fmt::Write as _;

use serde_json::json;

use super::super::exit::ExitStatus;
use super::super::outcome::{CommandOutcome, Format};
use crate::native::{Execution, RunReproducer};
use crate::numbers::plural;
use crate::oracle::Verdict;

/// What came of following a schedule as far as the program lets it.
pub(super) struct Adapted<'a> {
    /// The file, as it was given.
    pub(super) name: String,
    pub(super) reproducer: &'a RunReproducer,
    pub(super) execution: &'a Execution,
    /// What happened, action by action.
    pub(super) story: &'a str,
    /// Whether the program is another than it was.
    pub(super) changed: bool,
    /// What there is to say on stderr.
    pub(super) stderr: String,
    pub(super) elapsed_s: f64,
}

impl Adapted<'_> {
    fn verdict(&self) -> (Verdict, String) {
        let expected = &self.reproducer.expect;
        if let Some(failure) = &self.execution.failure {
            let how = if failure.kind == expected.failure {
                format!("it still fails: {}", failure.kind)
            } else {
                format!(
                    "it fails otherwise now: {}, not {}",
                    failure.kind, expected.failure
                )
            };
            return (Verdict::Diverged, format!("{how} ({})", failure.summary));
        }
        if let Some(why) = self.execution.unusable() {
            return (
                Verdict::Inconclusive,
                format!("nothing is known of it: {why}"),
            );
        }
        let tracked = self.execution.tracked.as_ref().map(|found| &found.report);
        if let Some(report) = tracked.filter(|report| !report.complete) {
            let why = report.note.clone().unwrap_or_default();
            return (Verdict::Inconclusive, format!("not all was checked: {why}"));
        }
        let gone = format!(
            "it does not fail any more; before: {} ({})",
            expected.failure, expected.summary
        );
        (Verdict::Clean, gone)
    }

    /// How much of the recording it did.
    fn followed(&self) -> (u64, u64) {
        let recorded = &self.reproducer.schedule.steps;
        (recorded.common(&self.execution.steps), recorded.count())
    }

    pub(super) fn outcome(self, format: Format) -> CommandOutcome {
        let (verdict, note) = self.verdict();
        let (followed, recorded) = self.followed();
        let stdout = match format {
            Format::Json => format!(
                "{}\n",
                json!({
                    "verdict": verdict,
                    "note": note,
                    "program_changed": self.changed,
                    "followed": followed,
                    "recorded": recorded,
                    "failure": self.execution.failure.as_ref().map(|failure| json!({
                        "kind": failure.kind, "summary": failure.summary,
                    })),
                    "steps": self.execution.step_count,
                    "threads": self.execution.threads,
                    "preemptions": self.execution.preempted.len(),
                    "elapsed_s": self.elapsed_s,
                })
            ),
            Format::Human => {
                let mut text = format!("{}: {note}\n", self.name);
                let _ = writeln!(
                    text,
                    "  {followed} of {} of the recording were taken as recorded",
                    plural(recorded, "step")
                );
                if verdict == Verdict::Clean {
                    text.push_str(
                        "  That is one schedule; whether another fails is for `heisenbed run`\n",
                    );
                }
                text.push_str(self.story);
                text
            }
        };
        let status = match verdict {
            Verdict::Diverged => ExitStatus::Diverged,
            Verdict::Inconclusive => ExitStatus::Undecided,
            Verdict::Clean | Verdict::Proved => ExitStatus::Holds,
        };
        CommandOutcome {
            stdout,
            stderr: self.stderr,
            exit_code: status.code(),
        }
    }
}
