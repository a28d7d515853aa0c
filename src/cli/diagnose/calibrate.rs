//! `diagnose --calibrate`: the confusion matrix, measured or read from what was measured.

use std::path::PathBuf;
use std::time::Instant;

use comfy_table::{Table, presets};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::exit::ExitStatus;
use super::super::outcome::{CommandOutcome, Context, Format};
use super::super::progress::Progress;
use super::DiagnoseArgs;
use crate::calibration::measurement::{Measurement, joined};
use crate::calibration::program::ClientProgram;
use crate::calibration::{CalibrationPlan, Confusion, RunsOn, calibrate};
use crate::diagnosis::{CONFIDENT, Cause};
use crate::numbers::plural;

/// Missed runs that the text output names, of each row.
const SHOWN: usize = 5;

pub(super) fn run(args: &DiagnoseArgs, context: &Context) -> CommandOutcome {
    let outcome = if args.from.is_empty() {
        measure(args, context)
    } else {
        read(&args.from, args.markdown, context.format)
    };
    outcome.unwrap_or_else(|error| CommandOutcome::bad_input(error, context.format))
}

fn measure(args: &DiagnoseArgs, context: &Context) -> Result<CommandOutcome, String> {
    let started = Instant::now();
    let seed = context.seed.unwrap_or(0);
    let program = args.program.clone().map(|command| ClientProgram {
        command,
        plants: args.plants,
    });
    let plan = CalibrationPlan {
        runs: args.runs,
        seed,
        engine: match program {
            // It has threads of its own.
            Some(_) => RunsOn::Threads,
            None => args.engine,
        },
        only: args.cause,
        program: program.as_ref(),
        keep: args.keep.as_deref(),
        interrupt: &context.interrupt,
    };
    let rows = plan.causes().len();
    if rows == 0 {
        return Err("no such cause can be planted into this program's traffic".to_owned());
    }
    if let Some(folder) = &args.keep {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("--keep {}: {error}", folder.display()))?;
    }
    let mut progress = Progress::new(context.quiet, "calibrate", "runs", args.runs * rows as u64);
    context.catch_interrupts();
    let confusion = calibrate(plan, |done| progress.update(done));
    progress.finish();
    let confusion = confusion.map_err(|error| error.to_string())?;
    let interrupted = context.interrupt.load(std::sync::atomic::Ordering::Relaxed);
    let measurement = Measurement {
        engine: plan.engine,
        build: Measurement::build().to_owned(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        program: args.program.clone(),
        seeds: vec![seed],
        interrupted: interrupted || confusion.rows.len() < rows,
        confusion,
        elapsed_s: started.elapsed().as_secs_f64(),
    };
    let outcome = Calibrated::of(&measurement);
    let stdout = match context.format {
        Format::Json => {
            let mut value = json!(measurement);
            value["verdict"] = json!(outcome.word());
            value["runs"] = json!(args.runs);
            value["seed"] = json!(seed);
            value["confident_from"] = json!(CONFIDENT);
            format!("{value}\n")
        }
        Format::Human if args.markdown => measurement.markdown(),
        Format::Human => human(&measurement.confusion, args.runs, seed, outcome),
    };
    Ok(CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: outcome.status().code(),
    })
}

/// What a file has: one measurement, or several that were put together.
#[derive(Deserialize)]
#[serde(untagged)]
enum Measured {
    Several { measurements: Vec<Measurement> },
    One(Box<Measurement>),
}

fn read(files: &[PathBuf], markdown: bool, format: Format) -> Result<CommandOutcome, String> {
    let mut measurements = Vec::new();
    for path in files {
        let at = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| at(&error))?;
        let measured = serde_json::from_str(&text).map_err(|_| {
            at(&"it is no measurement; give what `diagnose --calibrate --format json` printed")
        })?;
        match measured {
            Measured::Several { measurements: some } => measurements.extend(some),
            Measured::One(one) => measurements.push(*one),
        }
    }
    let all = joined(measurements);
    let outcomes = all.iter().map(Calibrated::of);
    let outcome = outcomes.max().unwrap_or(Calibrated::Interrupted);
    let stdout = match format {
        Format::Json => {
            let value: Value = json!({
                "verdict": outcome.word(), "confident_from": CONFIDENT, "measurements": all,
            });
            format!("{value}\n")
        }
        Format::Human if markdown => {
            let tables: Vec<String> = all.iter().map(Measurement::markdown).collect();
            tables.join("\n")
        }
        Format::Human => all
            .iter()
            .map(|one| format!("{}\n{}\n", one.heading(), matrix(&one.confusion)))
            .chain([outcome.sentence().to_owned()])
            .collect(),
    };
    Ok(CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: outcome.status().code(),
    })
}

/// What the matrix comes to; of several the last counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Calibrated {
    Yes,
    /// Not all rows are whole.
    Interrupted,
    No,
}

impl Calibrated {
    fn of(measurement: &Measurement) -> Calibrated {
        match (measurement.holds(), measurement.interrupted) {
            (_, true) => Calibrated::Interrupted,
            (true, false) => Calibrated::Yes,
            (false, false) => Calibrated::No,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Calibrated::Yes => "calibrated",
            Calibrated::No => "not calibrated",
            Calibrated::Interrupted => "inconclusive",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Calibrated::Yes => {
                "calibrated: right in at least 95 % of each cause, nothing where there is nothing, and no confident wrong cause\n"
            }
            Calibrated::No => {
                "not calibrated: below 95 % of a cause, something where there is nothing, or a confident wrong cause\n"
            }
            Calibrated::Interrupted => {
                "inconclusive: interrupted; the rows above are what was run by then\n"
            }
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

fn human(confusion: &Confusion, runs: u64, seed: u64, outcome: Calibrated) -> String {
    let mut text = format!(
        "{} of each cause, seed {seed}: the planted cause, and what the diagnosis ranks first\n\n",
        plural(runs, "run"),
    );
    text += &matrix(confusion);
    text += "right: the planted cause is first. confident: of those, with a score of at least ";
    text += &format!("{CONFIDENT}. wrong: another cause has such a score.\n");
    text += outcome.sentence();
    text
}

/// The table, and what was missed.
fn matrix(confusion: &Confusion) -> String {
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
        cells.push(number(row.all.cannot_tell));
        cells.push(format!(
            "{:.1} %",
            100.0 * row.all.right as f64 / row.all.runs.max(1) as f64
        ));
        cells.push(number(row.all.right_confident));
        cells.push(number(row.all.wrong_confident));
        table.add_row(cells);
    }
    let lines: Vec<String> = table
        .to_string()
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    let mut text = format!("{}\n\n", lines.join("\n"));
    for row in confusion.rows.iter().filter(|row| !row.missed.is_empty()) {
        let name = row.planted.map_or("(nothing)", Cause::name);
        let missed: Vec<&str> = row.missed.iter().take(SHOWN).map(String::as_str).collect();
        let more = row.missed.len().saturating_sub(SHOWN);
        let and = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        text += &format!("missed of {name}, run/record: {}{and}\n", missed.join(", "));
    }
    text
}

/// A column's title.
fn short(cause: Cause) -> String {
    cause.name().replacen('-', "\n", 2)
}
