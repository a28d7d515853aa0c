//! `diagnose --calibrate`: the confusion matrix.

use std::time::Instant;

use comfy_table::{Table, presets};
use serde_json::json;

use super::super::exit::ExitStatus;
use super::super::outcome::{CommandOutcome, Context, Format};
use super::super::progress::Progress;
use crate::calibration::{CalibrationPlan, Confusion, Row, RunsOn, calibrate};
use crate::diagnosis::{CONFIDENT, Cause};
use crate::numbers::plural;

/// The share of runs in which the right cause must come first.
const RIGHT: f64 = 0.95;
/// Missed runs that the text output names, of each row.
const SHOWN: usize = 5;

pub(super) fn run(
    runs: u64,
    engine: RunsOn,
    only: Option<Cause>,
    context: &Context,
) -> CommandOutcome {
    let started = Instant::now();
    let seed = context.seed.unwrap_or(0);
    let rows = if only.is_some() {
        1
    } else {
        1 + Cause::ALL.len()
    };
    let all = runs * rows as u64;
    let mut progress = Progress::new(context.quiet, "calibrate", "runs", all);
    context.catch_interrupts();
    let plan = CalibrationPlan {
        runs,
        seed,
        engine,
        only,
    };
    let confusion = calibrate(plan, |done| {
        progress.update(done);
        !context.interrupt.load(std::sync::atomic::Ordering::Relaxed)
    });
    progress.finish();
    let confusion = match confusion {
        Ok(confusion) => confusion,
        Err(error) => return CommandOutcome::bad_input(error, context.format),
    };
    let interrupted = context.interrupt.load(std::sync::atomic::Ordering::Relaxed);
    let all = !interrupted && confusion.rows.len() == rows;
    let broken = confusion.rows.iter().any(|row| !holds(row));
    let outcome = match (all, broken) {
        (true, false) => Calibrated::Yes,
        (true, true) => Calibrated::No,
        (false, _) => Calibrated::Interrupted,
    };
    let stdout = match context.format {
        Format::Json => format!(
            "{}\n",
            json!({
                "verdict": outcome.word(), "interrupted": interrupted,
                "runs": runs, "seed": seed, "confident_from": CONFIDENT, "rows": confusion.rows,
                "elapsed_s": started.elapsed().as_secs_f64(),
            })
        ),
        Format::Human => human(&confusion, runs, seed, outcome),
    };
    CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: outcome.status().code(),
    }
}

/// What the matrix comes to.
#[derive(Clone, Copy)]
enum Calibrated {
    Yes,
    No,
    /// Not all rows are whole.
    Interrupted,
}

impl Calibrated {
    fn word(self) -> &'static str {
        match self {
            Calibrated::Yes => "calibrated",
            Calibrated::No => "not calibrated",
            Calibrated::Interrupted => "inconclusive",
        }
    }

    fn status(self) -> ExitStatus {
        match self {
            Calibrated::Yes => ExitStatus::Holds,
            Calibrated::No => ExitStatus::Diverged,
            Calibrated::Interrupted => ExitStatus::Undecided,
        }
    }
}

/// Whether a row is as the diagnosis promises: right in nearly all runs, never confidently wrong,
/// and silent where there is nothing.
fn holds(row: &Row) -> bool {
    let least = if row.planted.is_some() { RIGHT } else { 1.0 };
    row.wrong_confident == 0 && row.right as f64 >= least * (row.runs - row.cannot_tell) as f64
}

fn human(confusion: &Confusion, runs: u64, seed: u64, outcome: Calibrated) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut head = vec!["planted \\ first".to_owned(), "nothing".to_owned()];
    head.extend(Cause::ALL.iter().map(|cause| short(*cause)));
    head.extend(["can't tell", "right", "confident", "wrong"].map(str::to_owned));
    table.set_header(head);
    for row in &confusion.rows {
        let number = |count: u64| match count {
            0 => ".".to_owned(),
            count => count.to_string(),
        };
        let mut cells = vec![
            row.planted.map_or("(nothing)", Cause::name).to_owned(),
            number(row.nothing),
        ];
        let of = |cause: &Cause| number(row.first.get(cause).copied().unwrap_or(0));
        cells.extend(Cause::ALL.iter().map(of));
        cells.push(number(row.cannot_tell));
        cells.push(format!(
            "{:.1} %",
            100.0 * row.right as f64 / row.runs.max(1) as f64
        ));
        cells.push(number(row.right_confident));
        cells.push(number(row.wrong_confident));
        table.add_row(cells);
    }
    let mut text = format!(
        "{} of each cause, seed {seed}: the planted cause, and what the diagnosis ranks first\n\n{}\n\n",
        plural(runs, "run"),
        table
            .to_string()
            .lines()
            .map(str::trim_end)
            .collect::<Vec<_>>()
            .join("\n")
    );
    for row in confusion.rows.iter().filter(|row| !row.missed.is_empty()) {
        let name = row.planted.map_or("(nothing)", Cause::name);
        let missed: Vec<&str> = row.missed.iter().take(SHOWN).map(String::as_str).collect();
        let more = row.missed.len().saturating_sub(SHOWN);
        let and = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        text += &format!("missed of {name}, run/form: {}{and}\n", missed.join(", "));
    }
    text += "right: the planted cause is first. confident: of those, with a score of at least ";
    text += &format!("{CONFIDENT}. wrong: another cause has such a score.\n");
    text += match outcome {
        Calibrated::Yes => {
            "calibrated: right in at least 95 % of each cause, nothing where there is nothing, and no confident wrong cause\n"
        }
        Calibrated::No => {
            "not calibrated: below 95 % of a cause, something where there is nothing, or a confident wrong cause\n"
        }
        Calibrated::Interrupted => {
            "inconclusive: interrupted; the rows above are what was run by then\n"
        }
    };
    text
}

/// A column's title.
fn short(cause: Cause) -> String {
    cause.name().replacen('-', "\n", 2)
}
