//! `heisenbed replay`: runs a recorded trace again, under control, and checks that it is the same.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::progress::Progress;
use super::verdict::{Summary, divergence_table, place, plural};
use super::{Context, Format, Outcome};
use crate::engine::controlled::replay::{ReplayError, replay};
use crate::trace::file::{Header, TraceFile};

/// Arguments of `heisenbed replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// A trace, recorded by `stress --record`
    #[arg(value_name = "TRACE")]
    pub trace: PathBuf,
}

/// Runs the subcommand: exit 0 when the replay is the recorded run, 1 when it differs.
pub fn run(args: &ReplayArgs, context: &Context) -> Outcome {
    let started = Instant::now();
    let trace = match TraceFile::open(&args.trace) {
        Ok(trace) => trace,
        Err(error) => return Outcome::bad_input(error, context.format),
    };
    let mut progress = Progress::new(context.quiet, "replay", "events", trace.events());
    let replayed = replay(&trace, |events| progress.update(events));
    progress.finish();
    let name = args.trace.display();
    let replayed = match replayed {
        Ok(replayed) => replayed,
        Err(error @ ReplayError::Differs { .. }) => {
            let stdout = match context.format {
                Format::Human => format!("{name}: the replay is not the recorded run\n{error}\n"),
                Format::Json => format!(
                    "{}\n",
                    json!({ "replayed": false, "error": error.to_string() })
                ),
            };
            return Outcome {
                stdout,
                stderr: String::new(),
                exit_code: 1,
            };
        }
        Err(error) => return Outcome::bad_input(format!("{name}: {error}"), context.format),
    };
    let (threads, seed) = match trace.header() {
        Header::Run(header) => (header.scenario.threads, header.scenario.seed),
        Header::Import(_) => (0, 0),
    };
    let mut summary = Summary::new(threads, seed);
    summary.add(&replayed.report);
    summary.preemptions = Some(replayed.preemptions);
    summary.elapsed_s = started.elapsed().as_secs_f64();
    let stdout = match context.format {
        Format::Json => summary.json(&json!({ "replayed": true })),
        Format::Human => {
            let mut text = format!(
                "{name}: replayed exactly: {}, {}, in {:.2} s\n\n{}\n",
                plural(replayed.events, "event"),
                plural(replayed.preemptions, "preemption"),
                summary.elapsed_s,
                summary.verdict,
            );
            if let Some(note) = &summary.note {
                let _ = writeln!(text, "  {note}");
            }
            text.push_str(&divergence_table(&summary.divergences));
            if let Some(first) = &summary.first {
                let _ = writeln!(text, "first: {}", place(first));
            }
            text
        }
    };
    Outcome {
        stdout,
        ..Outcome::default()
    }
}
