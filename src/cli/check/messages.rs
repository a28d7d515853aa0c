//! `check` of what holds tracking messages as they were sent: captures and journals.

use std::time::Instant;

use crate::cli::captured;
use crate::cli::outcome::{CommandOutcome, Context, Format};
use crate::cli::verdict::VerdictSummary;
use crate::numbers::plural;
use crate::oracle::message_check::{MessageFinding, MessageNote, MessageReport};
use crate::oracle::observation_check::ObservationCheck;
use crate::oracle::{Report, Verdict};
use crate::trace::file::{CaptureHeader, TraceFile};
use crate::trace::{capture, journal};

/// Checks a capture.
pub(super) fn check_capture(
    trace: &TraceFile,
    header: &CaptureHeader,
    context: &Context,
) -> CommandOutcome {
    let started = Instant::now();
    let mut check = ObservationCheck::default();
    let account = capture::messages(trace, header, &mut |seen| check.observe(&seen));
    let found = check.finish();
    let mut summary = VerdictSummary::new(0, 0);
    let report = super::report(&found, "a capture");
    let report = match account.skipped_bytes {
        0 => report,
        _ => begins_in_the_middle(report, &found),
    };
    let missing = account.incompleteness();
    let report = super::with_damage(report, 0, missing.as_deref());
    summary.add(&report);
    summary.elapsed_s = started.elapsed().as_secs_f64();
    let stdout = match context.format {
        Format::Json => {
            let mut more = super::found_json(&found, "message");
            if let (Some(more), Some(account)) =
                (more.as_object_mut(), captured::json(&account).as_object())
            {
                more.extend(account.clone());
            }
            summary.json(&more)
        }
        Format::Human => {
            let head = format!("{}: {}", trace.path().display(), captured::human(&account));
            super::found_human(&head, "a capture", "message", &summary, &found)
        }
    };
    CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: summary.exit_code(),
    }
}

/// The same of a record that begins within a message: what was allocated before it is not known,
/// and FREEs of that are no finding.
fn begins_in_the_middle(report: Report, found: &MessageReport) -> Report {
    let unknown = found.findings.get(&MessageFinding::UnknownFree).copied();
    let is_more = found.findings.values().sum::<u64>() > unknown.unwrap_or(0);
    if unknown.is_none() || is_more || found.notes.contains_key(&MessageNote::FreedBefore) {
        return report;
    }
    Report {
        verdict: Verdict::Inconclusive,
        note: Some(
            "the record begins within a message: FREEs of what was allocated before are no finding"
                .to_owned(),
        ),
        ..report
    }
}

/// Checks a server's journal.
pub(super) fn check_journal(trace: &TraceFile, context: &Context) -> CommandOutcome {
    let started = Instant::now();
    let mut check = ObservationCheck::default();
    let damage = journal::observations(trace, &mut |seen| check.observe(&seen));
    let found = check.finish();
    let mut summary = VerdictSummary::new(0, 0);
    let report = super::report(&found, "a journal");
    summary.add(&super::with_damage(report, 0, damage.as_deref()));
    summary.elapsed_s = started.elapsed().as_secs_f64();
    let stdout = match context.format {
        Format::Json => summary.json(&super::found_json(&found, "message")),
        Format::Human => {
            let path = trace.path().display();
            let head = format!("{path}: {}\n", plural(found.messages, "message"));
            super::found_human(&head, "a journal", "message", &summary, &found)
        }
    };
    CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: summary.exit_code(),
    }
}
