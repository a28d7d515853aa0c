//! `heisenbed zoo`: lists and shows planted defects, and measures which engine finds which.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::args::parse_duration;
use super::exit::ExitStatus;
use super::outcome::{CommandOutcome, Context, Format};
use super::output::{self, OutputKind};
use super::progress::Progress;
use super::scenario_args::word;
use crate::oracle::{Kind, Verdict};
use crate::zoo::bench::{BenchPlan, BenchProgress, bench};
use crate::zoo::results::Results;
use crate::zoo::{self, Defect, Engine, ScenarioSize};

/// Arguments of `heisenbed zoo`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ZooArgs {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// The defects, with the reports that they are from (the default)
    List,
    /// One defect: origin, what it must show, and the small scenarios with and without it
    Show {
        /// The defect
        #[arg(value_name = "NAME")]
        defect: String,
    },
    /// Measure, by defect and engine: found or not, schedules and seconds to find it, the smallest
    /// run, and false alarms on the twin; exits 1 where a defect was missed or a twin was not
    /// silent
    Bench(BenchArgs),
    /// Print what `zoo bench -o` has written, several files (of the same seeds and budget) as one
    /// measurement
    Table {
        /// The files; a defect that is in several is taken from the last
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Print a Markdown table
        #[arg(long)]
        markdown: bool,
    },
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    heisenbed zoo bench --defect free-first-gap,narrow-lock --engine random,pct --seeds 5\n  \
    heisenbed zoo bench -o zoo.json --markdown > table.md")]
struct BenchArgs {
    /// Seeds of each engine
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seeds: u64,
    /// Only these engines: stress, stress-perturbed, random, pct, urw, exhaustive, fuzz
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = word::<Engine>)]
    engine: Vec<Engine>,
    /// Only these defects
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    defect: Vec<String>,
    /// How long an engine may look with one seed
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    budget: Duration,
    /// Random schedules of each twin (0: none, and no search for a proof)
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    twin_schedules: u64,
    /// Stress runs of each twin, every second one perturbed (0: none)
    #[arg(long, value_name = "N", default_value_t = 100)]
    twin_runs: u64,
    /// Threads that draw schedules
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// Write the results to FILE as JSON, after each defect anew
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file of -o also where it is no measurement
    #[arg(long, requires = "output")]
    force: bool,
    /// Print a Markdown table
    #[arg(long)]
    markdown: bool,
}

/// Runs the subcommand.
pub(crate) fn run(args: &ZooArgs, context: &Context) -> CommandOutcome {
    match args.command.as_ref().unwrap_or(&Command::List) {
        Command::List => list(context.format),
        Command::Show { defect } => match zoo::find(defect) {
            Some(defect) => show(defect, context.format),
            None => CommandOutcome::bad_input(zoo::unknown(defect), context.format),
        },
        Command::Bench(args) => measure(args, context),
        Command::Table { files, markdown } => match read(files) {
            Ok(results) => print(&results, *markdown, context.format),
            Err(error) => CommandOutcome::bad_input(error, context.format),
        },
    }
}

fn list(format: Format) -> CommandOutcome {
    let stdout = match format {
        Format::Json => {
            let all: Vec<Value> = zoo::defects().iter().map(summary).collect();
            let protocols: Vec<Value> = zoo::protocols().iter().map(summary).collect();
            format!("{}\n", json!({ "defects": all, "protocols": protocols }))
        }
        Format::Human => zoo::defects()
            .iter()
            .chain(zoo::protocols())
            .map(|defect| {
                format!(
                    "{}\n  {}\n  shows: {}; twin: {}{}\n",
                    defect.name,
                    defect.origin,
                    names(&defect.expected),
                    defect.twin_words(),
                    if on_real_threads(defect) {
                        ""
                    } else {
                        "; not on real threads: use explore"
                    },
                )
            })
            .collect(),
    };
    CommandOutcome {
        stdout,
        ..CommandOutcome::default()
    }
}

fn summary(defect: &Defect) -> Value {
    json!({
        "name": defect.name,
        "origin": defect.origin,
        "expected": defect.expected,
        "also": defect.also,
        "twin": defect.twin_words(),
        "real_threads": on_real_threads(defect),
    })
}

fn on_real_threads(defect: &Defect) -> bool {
    defect
        .scenario(ScenarioSize::Full, 0)
        .is_ok_and(|scenario| Engine::Stress.can_run(&scenario))
}

fn names(kinds: &[Kind]) -> String {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    names.join(", ")
}

fn show(defect: &Defect, format: Format) -> CommandOutcome {
    let seed = 0;
    let (with, without) = match (
        defect.scenario(ScenarioSize::Small, seed),
        defect.twin(ScenarioSize::Small, seed),
    ) {
        (Ok(with), Ok(without)) => (with, without),
        (Err(error), _) | (_, Err(error)) => return CommandOutcome::bad_input(error, format),
    };
    let stdout = match format {
        Format::Json => {
            let mut value = summary(defect);
            value["scenario"] = json!(with);
            value["twin_scenario"] = json!(without);
            format!("{value}\n")
        }
        Format::Human => {
            let text = |scenario| {
                toml::to_string_pretty(scenario).expect("a scenario has a text form: tested")
            };
            let also = match defect.also.as_slice() {
                [] => String::new(),
                also => format!("May come with it: {}\n", names(also)),
            };
            format!(
                "{}: {}\n\nA run that shows it has one of: {}\n{}Twin: {}\n\n\
                 heisenbed explore --defect {0}            # finds it\n\
                 heisenbed explore --defect {0} --twin     # must not find anything\n\n\
                 # The scenario\n\n{}\n# The twin\n\n{}",
                defect.name,
                defect.origin,
                names(&defect.expected),
                also,
                defect.twin_words(),
                text(&with),
                text(&without),
            )
        }
    };
    CommandOutcome {
        stdout,
        ..CommandOutcome::default()
    }
}

fn measure(args: &BenchArgs, context: &Context) -> CommandOutcome {
    let mut defects: Vec<&'static Defect> = Vec::new();
    for name in &args.defect {
        match zoo::find(name) {
            Some(defect) => defects.push(defect),
            None => return CommandOutcome::bad_input(zoo::unknown(name), context.format),
        }
    }
    if defects.is_empty() {
        defects.extend(zoo::defects());
    }
    let engines = if args.engine.is_empty() {
        Engine::ALL.to_vec()
    } else {
        args.engine.clone()
    };
    let plan = BenchPlan {
        first_seed: context.seed.unwrap_or(0),
        seeds: args.seeds,
        budget: args.budget,
        workers: usize::from(args.workers),
        twin_schedules: args.twin_schedules,
        twin_runs: args.twin_runs,
        defects,
        engines,
    };
    if let Some(path) = &args.output
        && let Err(error) = output::may_replace(path, OutputKind::Measurement, args.force)
    {
        return CommandOutcome::bad_input(error, context.format);
    }
    context.catch_interrupts();
    let steps = plan.defects.len() * plan.steps_per_defect();
    let mut progress = Progress::new(context.quiet, "zoo bench", "steps", steps as u64);
    let (mut begun, mut unwritten) = (0, None);
    let results = bench(&plan, &context.interrupt, &mut |step| match step {
        BenchProgress::Step => {
            progress.update(begun);
            begun += 1;
        }
        BenchProgress::Seed => progress.update(begun - 1),
        BenchProgress::Defect(results) => unwritten = write(args, results).err(),
    });
    progress.finish();
    let results = match results {
        Ok(results) => results,
        Err(error) => return CommandOutcome::bad_input(error, context.format),
    };
    // Once more: it says whether it was interrupted.
    if let Some(error) = write(args, &results).err().or(unwritten) {
        return CommandOutcome::bad_input(error, context.format);
    }
    print(&results, args.markdown, context.format)
}

fn print(results: &Results, markdown: bool, format: Format) -> CommandOutcome {
    let measured = results
        .defects
        .iter()
        .flat_map(|defect| &defect.engines)
        .any(|engine| engine.runnable && engine.seeds > 0);
    let verdict = match (results.holds(), results.interrupted || !measured) {
        (false, _) => Verdict::Diverged,
        (true, true) => Verdict::Inconclusive,
        (true, false) => Verdict::Clean,
    };
    let stdout = match format {
        Format::Json => {
            let mut value = json!(results);
            value["verdict"] = json!(verdict);
            value["holds"] = json!(results.holds());
            value["shortcomings"] = json!(results.shortcomings());
            format!("{value}\n")
        }
        Format::Human if markdown => results.markdown(),
        Format::Human => results.text(),
    };
    let stderr = if results.interrupted {
        "interrupted: this is what was measured until then\n".to_owned()
    } else if !measured {
        "inconclusive: no engine that was asked can run what was asked: nothing was measured\n"
            .to_owned()
    } else {
        String::new()
    };
    CommandOutcome {
        stdout,
        stderr,
        exit_code: ExitStatus::of(verdict).code(),
    }
}

fn write(args: &BenchArgs, results: &Results) -> Result<(), String> {
    let Some(path) = &args.output else {
        return Ok(());
    };
    output::write(path, &format!("{}\n", json!(results)))
}

fn read(files: &[PathBuf]) -> Result<Results, String> {
    let mut all: Option<Results> = None;
    for path in files {
        let wrong = |error: &dyn Display| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
        let results: Results = serde_json::from_str(&text)
            .map_err(|error| format!("{}; give what `zoo bench -o` has written", wrong(&error)))?;
        all = Some(match all {
            Some(all) => all.join(results).map_err(|error| wrong(&error))?,
            None => results,
        });
    }
    Ok(all.expect("clap wants one file at least"))
}
