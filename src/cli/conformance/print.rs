//! What a suite of cases came to, as a table or as an object.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{ColumnConstraint, Table, Width, presets};
use serde_json::{Value, json};

use super::super::ci::{CiCase, CiResult};
use super::super::exit::ExitStatus;
use super::super::outcome::{CommandOutcome, Context, Format};
use crate::conformance::{CaseOutcome, CaseResult};
use crate::oracle::Verdict;

/// Cases that were tried.
pub(super) struct Tried<'a> {
    /// The line above the table.
    pub(crate) heading: String,
    /// Keys of the object that say what was tried.
    pub(crate) subject: Value,
    /// What stands before what the suite did in a case.
    pub(crate) sent: &'static str,
    pub(crate) findings: &'a [CaseResult],
    pub(crate) elapsed: Duration,
}

impl Tried<'_> {
    /// Exits by the verdict.
    pub(crate) fn outcome(&self, context: &Context) -> CommandOutcome {
        for finding in self.findings {
            context.case(case(finding));
        }
        let stdout = match context.format {
            Format::Human => self.human(),
            Format::Json => format!("{}\n", self.object()),
        };
        CommandOutcome {
            stdout,
            stderr: String::new(),
            exit_code: ExitStatus::of(self.verdict()).code(),
        }
    }

    fn count(&self, outcome: CaseOutcome) -> usize {
        let of = |finding: &&CaseResult| finding.outcome == outcome;
        self.findings.iter().filter(of).count()
    }

    fn verdict(&self) -> Verdict {
        let passed = self.count(CaseOutcome::Passed);
        match (passed, self.count(CaseOutcome::Failed)) {
            (_, 1..) => Verdict::Diverged,
            (0, 0) => Verdict::Inconclusive,
            _ => Verdict::Clean,
        }
    }

    fn object(&self) -> Value {
        let [passed, failed, skipped] = [
            CaseOutcome::Passed,
            CaseOutcome::Failed,
            CaseOutcome::Skipped,
        ]
        .map(|outcome| self.count(outcome));
        let mut object = json!({
            "verdict": self.verdict(),
            "passed": passed,
            "failed": failed,
            "skipped": skipped,
            "elapsed_s": self.elapsed.as_secs_f64(),
            "cases": self.findings,
        });
        if let (Some(object), Some(subject)) = (object.as_object_mut(), self.subject.as_object()) {
            object.extend(subject.clone());
        }
        object
    }

    fn human(&self) -> String {
        let mut text = format!(
            "{}\n\n{}\n\n{} passed, {} failed, {} skipped, in {:.2} s\n",
            self.heading,
            self.table().trim_fmt(),
            self.count(CaseOutcome::Passed),
            self.count(CaseOutcome::Failed),
            self.count(CaseOutcome::Skipped),
            self.elapsed.as_secs_f64(),
        );
        for finding in self.findings {
            if finding.outcome == CaseOutcome::Failed {
                let sent = format!("{}:", self.sent);
                let _ = writeln!(
                    text,
                    "\n{}: {}\n  {sent:<9} {}\n  expected: {}\n  seen:     {}\n  failed:   {} of {} tries",
                    finding.case,
                    finding.about,
                    finding.sent,
                    finding.expected,
                    finding.seen,
                    finding.failures,
                    finding.tries,
                );
            }
        }
        text
    }

    /// A row a case. What was seen where one failed stands below the table: it may differ from try
    /// to try, and the table does not.
    fn table(&self) -> Table {
        /// Evidence is broken into lines of so many characters.
        const EVIDENCE_WIDTH: u16 = 76;
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["case", "", "failed", "evidence"]);
        for finding in self.findings {
            let word = match finding.outcome {
                CaseOutcome::Passed => "pass",
                CaseOutcome::Skipped => "skipped",
                CaseOutcome::Failed => "FAIL",
            };
            let tries = match finding.tries {
                0 => String::new(),
                tries => format!("{} of {tries}", finding.failures),
            };
            let evidence = match finding.outcome {
                CaseOutcome::Failed => finding.about,
                CaseOutcome::Passed | CaseOutcome::Skipped => &finding.seen,
            };
            table.add_row([finding.case, word, &tries, evidence]);
        }
        if let Some(evidence) = table.column_mut(3) {
            evidence.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(
                EVIDENCE_WIDTH,
            )));
        }
        table
    }
}

/// What CI pages show of a case.
fn case(finding: &CaseResult) -> CiCase {
    CiCase {
        name: finding.case.to_owned(),
        result: match finding.outcome {
            CaseOutcome::Passed => CiResult::Passed,
            CaseOutcome::Skipped => CiResult::Skipped(finding.seen.clone()),
            CaseOutcome::Failed => CiResult::Failed(format!(
                "{}\nexpected: {}\nseen: {}\nfailed in {} of {} tries",
                finding.about, finding.expected, finding.seen, finding.failures, finding.tries
            )),
        },
        place: None,
    }
}

/// Lists cases: name, what each shows, what is done in it, and what is expected.
pub(super) fn list(
    cases: impl Iterator<Item = [&'static str; 4]>,
    sent: &str,
    format: Format,
) -> CommandOutcome {
    let stdout = match format {
        Format::Human => {
            let sent = format!("{sent}:");
            cases.fold(String::new(), |mut text, [case, about, done, expected]| {
                let _ = writeln!(
                    text,
                    "{case}\n  shows:    {about}\n  {sent:<9} {done}\n  expected: {expected}\n"
                );
                text
            })
        }
        Format::Json => {
            let cases: Vec<_> = cases
                .map(|[case, about, sent, expected]| {
                    json!({ "case": case, "about": about, "sent": sent, "expected": expected })
                })
                .collect();
            format!("{}\n", json!({ "cases": cases }))
        }
    };
    CommandOutcome {
        stdout,
        ..CommandOutcome::default()
    }
}
