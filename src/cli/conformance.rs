//! `heisenbed conformance`: a fixed suite of cases against any tracking server.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::{ColumnConstraint, Table, Width, presets};
use serde_json::json;

use super::args::{parse_duration, unix_path};
use super::outcome::{CommandOutcome, Context, Format};
use super::progress::Progress;
use crate::conformance::suite::{self, SuiteOptions, SuiteReport};
use crate::conformance::{self, Case, CaseOutcome};
use crate::oracle::Verdict;
use crate::tracking::Layout;

/// Arguments of `heisenbed conformance`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Each case is described in docs/conformance.md, and by --list.\n\nExamples:\n  \
    heisenbed conformance unix:/tmp/tt_allocation_server.sock\n  \
    heisenbed conformance unix:/tmp/server.sock --layout 144 --only large-writes,byte-by-byte\n  \
    heisenbed conformance unix:/tmp/server.sock --sweep-wait 15s"
)]
pub struct ConformanceArgs {
    /// The server under test
    #[arg(value_name = "unix:PATH", value_parser = unix_path, required_unless_present = "list")]
    pub server: Option<PathBuf>,
    /// The wire layout of the clients: 72, 112, 128, 144, 648 or extended. Cases about layouts, and
    /// about what a layout does not have, use others too
    #[arg(long, value_name = "LAYOUT", default_value = "112")]
    pub layout: Layout,
    /// Try these cases only
    #[arg(long, value_name = "CASE", value_delimiter = ',', value_parser = parse_case)]
    pub only: Vec<&'static Case>,
    /// List the cases: what each shows, sends and expects
    #[arg(long)]
    pub list: bool,
    /// How long an answer may take
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// How long to wait, in each case about sweeps, for the server to drop what a dead client left;
    /// where it does not, such cases are skipped
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub sweep_wait: Duration,
    /// Be a client that passes on what it is told: the suite starts such ones and lets them die.
    #[arg(long, hide = true)]
    pub relay: bool,
}

/// Runs the subcommand: exit 0 when no case fails, 1 when some do, 2 when the server cannot be
/// talked to.
pub fn run(args: &ConformanceArgs, context: &Context) -> CommandOutcome {
    // In the suite's order, whatever order they were named in.
    let cases: Vec<&'static Case> = conformance::cases()
        .filter(|case| args.only.is_empty() || args.only.iter().any(|only| only.name == case.name))
        .collect();
    if args.list {
        return list(&cases, context);
    }
    let Some(path) = args.server.clone() else {
        return CommandOutcome::bad_input("which server? give unix:PATH", context.format);
    };
    if args.relay {
        return match conformance::relay(&path) {
            Ok(()) => CommandOutcome::default(),
            Err(error) => CommandOutcome::bad_input(error, context.format),
        };
    }
    context.catch_interrupts();
    let options = SuiteOptions {
        path,
        layout: args.layout,
        cases,
        patience: args.timeout,
        sweep: args.sweep_wait,
        helper: std::env::current_exe().ok(),
    };
    let started = Instant::now();
    let total = options.cases.len() as u64;
    let mut progress = Progress::new(context.quiet, "conformance", "cases", total);
    let report = suite::run(&options, &context.interrupt, |done| progress.update(done));
    progress.finish();
    match report {
        Ok(report) => outcome(&options, &report, started.elapsed(), context),
        Err(error) => CommandOutcome::bad_input(error, context.format),
    }
}

fn outcome(
    options: &SuiteOptions,
    report: &SuiteReport,
    elapsed: Duration,
    context: &Context,
) -> CommandOutcome {
    let [passed, failed, skipped] = [
        CaseOutcome::Passed,
        CaseOutcome::Failed,
        CaseOutcome::Skipped,
    ]
    .map(|outcome| report.count(outcome));
    let verdict = match (passed, failed) {
        (_, 1..) => Verdict::Diverged,
        (0, 0) => Verdict::Inconclusive,
        _ => Verdict::Clean,
    };
    let stdout = match context.format {
        Format::Human => human(options, report, elapsed),
        Format::Json => {
            let object = json!({
                "verdict": verdict,
                "passed": passed,
                "failed": failed,
                "skipped": skipped,
                "server": options.path,
                "layout": options.layout,
                "device": report.device,
                "elapsed_s": elapsed.as_secs_f64(),
                "cases": report.findings,
            });
            format!("{object}\n")
        }
    };
    CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: super::exit::ExitStatus::of(verdict).code(),
    }
}

fn human(options: &SuiteOptions, report: &SuiteReport, elapsed: Duration) -> String {
    let mut text = format!(
        "{}: {} layout, device {}\n\n{}\n\n{} passed, {} failed, {} skipped, in {:.2} s\n",
        options.path.display(),
        options.layout,
        report.device,
        table(report).trim_fmt(),
        report.count(CaseOutcome::Passed),
        report.count(CaseOutcome::Failed),
        report.count(CaseOutcome::Skipped),
        elapsed.as_secs_f64(),
    );
    for finding in &report.findings {
        if finding.outcome == CaseOutcome::Failed {
            let _ = writeln!(
                text,
                "\n{}: {}\n  sent:     {}\n  expected: {}\n  seen:     {}",
                finding.case, finding.about, finding.sent, finding.expected, finding.seen,
            );
        }
    }
    text
}

fn table(report: &SuiteReport) -> Table {
    /// Evidence is broken into lines of so many characters.
    const EVIDENCE_WIDTH: u16 = 84;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["case", "", "evidence"]);
    for finding in &report.findings {
        let word = match finding.outcome {
            CaseOutcome::Passed => "pass",
            CaseOutcome::Skipped => "skipped",
            CaseOutcome::Failed => "FAIL",
        };
        table.add_row([finding.case, word, &finding.seen]);
    }
    if let Some(evidence) = table.column_mut(2) {
        evidence.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(
            EVIDENCE_WIDTH,
        )));
    }
    table
}

fn list(cases: &[&'static Case], context: &Context) -> CommandOutcome {
    let stdout = match context.format {
        Format::Human => cases.iter().fold(String::new(), |mut text, case| {
            let _ = writeln!(
                text,
                "{}\n  shows:    {}\n  sent:     {}\n  expected: {}\n",
                case.name, case.about, case.sent, case.expected
            );
            text
        }),
        Format::Json => {
            let cases: Vec<_> = cases
                .iter()
                .map(|case| {
                    json!({
                        "case": case.name, "about": case.about, "sent": case.sent, "expected": case.expected,
                    })
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

fn parse_case(text: &str) -> Result<&'static Case, String> {
    let found = conformance::cases().find(|case| case.name == text);
    found.ok_or_else(|| {
        let names: Vec<&str> = conformance::cases().map(|case| case.name).collect();
        format!("no such case; there are {}", names.join(", "))
    })
}
