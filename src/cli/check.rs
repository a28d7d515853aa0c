//! `heisenbed check`: the oracle over a trace.

mod allocations;
mod messages;

pub(super) use allocations::{explain as explain_of_records, no_history};

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::ci::{self, CiArgs, CiCase};
use super::foreign::no_trace;
use super::outcome::{CommandOutcome, Context, Format};
use super::progress::Progress;
use super::verdict::{VerdictSummary, divergence_table, leak_line, place};
use crate::import::server_log::{Accounting, ServerLogReader};
use crate::numbers::{grouped, plural};
use crate::oracle::message_check::{
    FirstFinding, MessageCheck, MessageFinding, MessageNote, MessageReport,
};
use crate::oracle::{Divergence, Kind, Report, Strength, Verdict, check_trace};
use crate::trace::file::{Header, ImportFormat, RunHeader, TraceFile};
use crate::trace::text::TextReader;

/// Lines, leaks and buffers that the text output lists.
const SHOWN: usize = 10;

/// Arguments of `heisenbed check`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArgs {
    /// A trace: recorded by `stress --record`, or made by `import`
    #[arg(value_name = "TRACE")]
    pub(crate) trace: PathBuf,
    /// For CI pages.
    #[command(flatten)]
    pub(crate) ci: CiArgs,
}

/// Runs the subcommand.
pub(crate) fn run(args: &CheckArgs, context: &Context) -> CommandOutcome {
    let outcome = check(args, context);
    let why = ci::why(&outcome, context.format);
    let case = CiCase::of_status(args.trace.display().to_string(), outcome.exit_code, &why);
    context.case(case.at(&args.trace, None));
    outcome
}

fn check(args: &CheckArgs, context: &Context) -> CommandOutcome {
    let trace = match super::opened::open(&args.trace) {
        Ok(trace) => trace,
        Err(error) => {
            let error = no_trace(&args.trace, &error);
            return CommandOutcome::bad_input(error, context.format);
        }
    };
    match trace.header() {
        Header::Run(header) => check_run(&trace, header, context),
        Header::Import(header) if header.format != ImportFormat::ServerLog => {
            allocations::check(&trace, header, context)
        }
        Header::Import(_) => check_import(&trace, context),
        Header::Capture(header) => messages::check_capture(&trace, header, context),
        Header::Journal(_) => messages::check_journal(&trace, context),
    }
}

fn check_run(trace: &TraceFile, header: &RunHeader, context: &Context) -> CommandOutcome {
    let started = Instant::now();
    let mut progress = Progress::new(context.quiet, "check", "events", trace.events());
    let report = check_trace(trace, |events| progress.update(events));
    progress.finish();
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            return CommandOutcome::bad_input(
                format!("{}: {error}", trace.path().display()),
                context.format,
            );
        }
    };
    let mut summary = VerdictSummary::new(header.scenario.threads, header.scenario.seed);
    summary.add(&report);
    summary.elapsed_s = started.elapsed().as_secs_f64();
    let stdout = match context.format {
        Format::Json => summary.json(&json!({
            "leaked": report.leaked,
            "run": header.run,
            "events_found": trace.events(),
            "trace_bytes": trace.bytes(),
            "trailing_bytes": trace.trailing_bytes(),
            "scenario": header.scenario.name,
            "discipline": header.scenario.discipline.name,
        })),
        Format::Human => human(trace, header, &summary, &report),
    };
    CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: summary.exit_code(),
    }
}

fn human(
    trace: &TraceFile,
    header: &RunHeader,
    summary: &VerdictSummary,
    report: &Report,
) -> String {
    let mut text = String::new();
    let scenario = &header.scenario;
    let _ = writeln!(
        text,
        "{}: {} under {} ({}, {} publication), run {} of seed {}\n{} ({:.2} bytes each), {}; checked in {:.2} s",
        trace.path().display(),
        scenario.name,
        scenario.discipline.name,
        scenario.order,
        scenario.publish,
        header.run,
        scenario.seed,
        plural(report.events, "event"),
        trace.bytes() as f64 / report.events.max(1) as f64,
        plural(report.messages, "message"),
        summary.elapsed_s,
    );
    text.push('\n');
    let _ = writeln!(
        text,
        "{} ({} check)",
        report.verdict,
        strength_word(report.strength)
    );
    if let Some(note) = &report.note {
        let _ = writeln!(text, "  {note}");
    }
    text.push_str(&divergence_table(&report.divergences));
    if let Some(first) = &report.first {
        let _ = writeln!(text, "first: {}", place(first));
    }
    text.push_str(&leak_line(report.leaks));
    for leak in report.leaked.iter().take(SHOWN) {
        let _ = writeln!(
            text,
            "  device {} {:#x}, {}, allocated by thread {} as its operation {}",
            leak.device,
            leak.address,
            plural(leak.size_bytes, "byte"),
            leak.thread,
            leak.op
        );
    }
    text
}

fn strength_word(strength: Strength) -> &'static str {
    match strength {
        Strength::Messages => "messages",
        Strength::Totals => "totals",
        Strength::Exact => "exact",
    }
}

fn check_import(trace: &TraceFile, context: &Context) -> CommandOutcome {
    let started = Instant::now();
    let mut text = TextReader::new(trace);
    let mut log = ServerLogReader::new(&mut text);
    let mut check = MessageCheck::default();
    for record in log.by_ref() {
        match record {
            Ok(record) => check.observe(&record),
            Err(error) => {
                return CommandOutcome::bad_input(
                    format!("{}: {error}", trace.path().display()),
                    context.format,
                );
            }
        }
    }
    let accounting = log.into_accounting();
    let found = check.finish();
    let mut summary = VerdictSummary::new(0, 0);
    let lost = accounting.lost(ImportFormat::ServerLog);
    summary.add(&with_damage(report(&found, "a log"), lost, text.damage()));
    summary.elapsed_s = started.elapsed().as_secs_f64();
    let stdout = match context.format {
        Format::Json => {
            let mut more = found_json(&found, "line");
            more["lines"] = found.lines.into();
            more["unrecognised"] = accounting.unrecognised.into();
            summary.json(&more)
        }
        Format::Human => {
            let head = imported_head(trace, &found, &accounting);
            found_human(&head, "a log", "line", &summary, &found)
        }
    };
    CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: summary.exit_code(),
    }
}

/// What was found in `what` as a report: without truth nothing is ever clean, and what is live at
/// the end is no leak yet.
pub(super) fn report(found: &MessageReport, what: &str) -> Report {
    let diverged = !found.findings.is_empty();
    let empty = found.of_buffers + found.swept == 0;
    let nothing_about = match found.messages + found.unknown_messages {
        0 => "there is no message",
        _ => "there is no message about a buffer",
    };
    let rejected = found.notes.get(&MessageNote::Rejected);
    let rejected = rejected.map_or(0, |noted| noted.count);
    // A few that came twice are rightly rejected; of many nothing was checked.
    let unchecked = rejected * 10 > found.messages;
    let note = match empty {
        _ if unchecked => format!(
            "{} of {} were rejected (numbers that came before or are far ahead, impossible \
             fields): what they say was not checked",
            grouped(rejected),
            plural(found.messages, "message"),
        ),
        true => format!("{nothing_about} in {what}: nothing was checked"),
        false => format!(
            "{what} has no truth to compare with: its messages do not contradict each other"
        ),
    };
    Report {
        events: found.lines,
        messages: found.messages,
        note: (!diverged).then_some(note),
        complete: !empty && !unchecked,
        ..weak_report(&found.findings, found.first.as_ref())
    }
}

/// The same, with what could not be read. Each of `lost` records makes the others contradict each
/// other, once at most: so many findings say nothing of the program. And that nothing was found
/// says nothing, where not all could be read.
pub(super) fn with_damage(report: Report, lost: u64, damage: Option<&str>) -> Report {
    let findings: u64 = report.divergences.values().sum();
    let explained = findings <= lost;
    let lost_note = (lost > 0).then(|| {
        let rest = match findings {
            0 => "what they say is not known; the others do not contradict each other",
            _ if explained => "what contradicts the others may be no more than what is missing",
            _ => "the others contradict each other more often than that explains",
        };
        format!("{} not understood: {rest}", plural(lost, "record"))
    });
    Report {
        verdict: match lost > 0 && explained {
            true => Verdict::Inconclusive,
            false => report.verdict,
        },
        note: damage.map(str::to_owned).or(lost_note).or(report.note),
        complete: report.complete && damage.is_none() && lost == 0,
        ..report
    }
}

/// What was found without truth, as a report.
pub(super) fn weak_report(
    findings: &BTreeMap<MessageFinding, u64>,
    first: Option<&FirstFinding>,
) -> Report {
    let divergences: BTreeMap<Kind, u64> = findings
        .iter()
        .filter_map(|(finding, count)| Some((kind(finding.name())?, *count)))
        .collect();
    let first = first.and_then(|first| {
        Some(Divergence {
            kind: kind(first.kind.name())?,
            device: crate::device::DeviceId(
                first
                    .device
                    .and_then(|device| u16::try_from(device).ok())
                    .unwrap_or(0),
            ),
            memory: None,
            address: Some(first.address),
            thread: None,
            op: None,
        })
    });
    Report {
        verdict: if divergences.is_empty() {
            Verdict::Inconclusive
        } else {
            Verdict::Diverged
        },
        strength: Strength::Messages,
        divergences,
        first,
        leaks: 0,
        leaked: Vec::new(),
        events: 0,
        messages: 0,
        shared_steps: 0,
        ops: 0,
        allocs_failed: 0,
        peak_live: 0,
        note: None,
        complete: false,
    }
}

fn kind(name: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.name() == name)
}

/// JSON keys of what was found; positions are those of a `word`.
fn found_json(found: &MessageReport, word: &str) -> serde_json::Value {
    let first = format!("first_{word}");
    let notes: serde_json::Map<String, serde_json::Value> = found
        .notes
        .iter()
        .map(|(note, noted)| {
            (
                note.name().to_owned(),
                json!({ "count": noted.count, first.as_str(): noted.first_line }),
            )
        })
        .collect();
    let live: Vec<_> = found
        .live_at_end
        .iter()
        .map(|live| {
            json!({
                "device": live.device, "address": live.address, "size_bytes": live.size_bytes, "pid": live.pid,
                "ref_count": live.ref_count, word: live.line,
            })
        })
        .collect();
    json!({
        first.as_str(): found.first.as_ref().map(|first| first.line),
        "unknown_messages": found.unknown_messages,
        "live_at_end": found.live_at_end_total,
        "live": live,
        "swept": found.swept,
        "notes": notes,
    })
}

fn imported_head(trace: &TraceFile, found: &MessageReport, accounting: &Accounting) -> String {
    format!(
        "{}: {}, {}, {} not understood\n",
        trace.path().display(),
        plural(found.lines, "line"),
        plural(found.messages, "message"),
        grouped(accounting.unrecognised),
    )
}

/// What was found in `what`, after its head; positions are those of a `word`.
fn found_human(
    head: &str,
    what: &str,
    word: &str,
    summary: &VerdictSummary,
    found: &MessageReport,
) -> String {
    let mut text = head.to_owned();
    text.push('\n');
    let _ = writeln!(
        text,
        "{} (messages check: {what} has no truth to compare with)",
        summary.verdict
    );
    if let Some(note) = &summary.note {
        let _ = writeln!(text, "  {note}");
    }
    text.push_str(&divergence_table(&summary.divergences));
    if let Some(first) = &found.first {
        let _ = writeln!(
            text,
            "first: {} at {:#x}, {word} {}",
            first.kind.name(),
            first.address,
            first.line
        );
    }
    for (note, noted) in &found.notes {
        let _ = writeln!(
            text,
            "note: {} ({}), first at {word} {}{}",
            note.name(),
            grouped(noted.count),
            noted.first_line,
            note.remark()
                .map_or_else(String::new, |it| format!(": {it}"))
        );
    }
    if found.unknown_messages > 0 {
        let _ = writeln!(
            text,
            "{} of unknown type",
            plural(found.unknown_messages, "message")
        );
    }
    let _ = writeln!(
        text,
        "live at the end: {}",
        grouped(found.live_at_end_total)
    );
    for live in found.live_at_end.iter().take(SHOWN) {
        let _ = writeln!(
            text,
            "  device {} {:#x}, since {word} {}",
            live.device, live.address, live.line
        );
    }
    text
}
