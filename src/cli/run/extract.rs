//! `heisenbed extract`: what a program's code does, as a discipline.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

use super::super::args::parse_duration;
use super::super::exit::ExitStatus;
use super::super::outcome::{CommandOutcome, Context, Format};
use super::super::output::{self, OutputKind};
use super::recording::{self, RecordingRequest};
use super::target::RunTargetArgs;
use super::tracking::TrackingArgs;
use crate::lifecycle::{Discipline, Order, Publication, builtin};
use crate::native::UserProgram;
use crate::native::extract::locks::LockRole;
use crate::native::extract::written::{Extracted, write};
use crate::native::extract::{Reading, Recorded};
use crate::numbers::plural;
use crate::oracle::Verdict;

/// Enough for every order of two operations on one buffer to be among them, and soon done.
pub(super) const SCHEDULES: u64 = 40;

/// Arguments of `heisenbed extract`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The program says where an operation begins and ends (hb_op_begin, hb_op_end of heisenbed.h) and what its allocator does \
    (hb_truth_alloc, hb_truth_free); of a target, heisenbed says the former. Its messages come from the tracking socket, its locks from pthreads, and its status words from \
    loads and stores, which are seen in programs built by `heisenbed c++`. Behind each step stands the place in the code.\n\n\
    Examples:\n  \
    heisenbed extract -o mine.toml -- ./my_test\n  \
    heisenbed extract -o mine.toml --target ./libmine.so\n  \
    heisenbed explore --discipline mine.toml --workload handoff\n  \
    heisenbed run --conforms mine.toml -- ./my_test"
)]
pub(crate) struct ExtractArgs {
    /// Where the discipline is written [default: stdout]
    #[arg(long, short, value_name = "FILE.toml")]
    pub(crate) output: Option<PathBuf>,
    /// Replace FILE also where `extract` did not make it
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
    /// What the discipline is called [default: the program's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Schedules to run
    #[arg(long, value_name = "N", default_value_t = SCHEDULES,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) schedules: u64,
    /// How long one schedule may take
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10s")]
    pub(crate) timeout: Duration,
    /// Its messages to a tracking server
    #[command(flatten)]
    pub(crate) tracking: TrackingArgs,
    /// A target instead of a program
    #[command(flatten)]
    pub(crate) target: RunTargetArgs,
    /// The program, and its arguments
    #[arg(
        last = true,
        required_unless_present = "target",
        value_name = "PROGRAM"
    )]
    pub(crate) program: Vec<OsString>,
}

/// Runs the subcommand.
pub(crate) fn run(args: &ExtractArgs, context: &Context) -> CommandOutcome {
    match try_run(args, context) {
        Ok(outcome) => outcome,
        Err(error) => CommandOutcome::bad_input(error, context.format),
    }
}

fn try_run(
    args: &ExtractArgs,
    context: &Context,
) -> Result<CommandOutcome, Box<dyn std::error::Error>> {
    let started = Instant::now();
    if let Some(path) = &args.output {
        output::may_replace(path, OutputKind::Discipline, args.force)?;
    }
    let program = recording::program(
        &args.program,
        &args.target,
        args.tracking.always()?,
        context,
    )?;
    let (recorded, symbols) = recording::record(
        &RecordingRequest {
            program: program.clone(),
            schedules: args.schedules,
            timeout: args.timeout,
            max_steps: super::MAX_STEPS,
            what: "extract",
        },
        context,
    )?;
    if let Some(why) = recording::says_nothing(&recorded) {
        return Ok(CommandOutcome::undecided(why, context.format));
    }
    let reading = Reading::new(&recorded, &symbols);
    let name = args.name.clone().unwrap_or_else(|| name_of(&program));
    let extracted = write(&reading, &name, &origin_of(&program));
    if let Some(path) = &args.output {
        output::write(path, &extracted.text)?;
    }
    let report = Report {
        args,
        extracted: &extracted,
        reading: &reading,
        same: extracted
            .discipline
            .as_ref()
            .map(same_as)
            .unwrap_or_default(),
        elapsed: started.elapsed(),
        seed: recording::seed(context),
    };
    Ok(report.outcome(context))
}

fn name_of(program: &UserProgram) -> String {
    let name = program.path.file_stem().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    match name.trim().is_empty() || name.chars().any(char::is_control) {
        true => "extracted".to_owned(),
        false => name,
    }
}

fn origin_of(program: &UserProgram) -> String {
    let mut words = vec![name_of(program)];
    // The second of a target's is a digest of its operations.
    let most = program.target.as_ref().map_or(usize::MAX, |_| 1);
    words.extend(
        program
            .args
            .iter()
            .take(most)
            .map(|word| word.to_string_lossy().into_owned()),
    );
    format!("extracted from {}", words.join(" "))
}

/// A built-in discipline in one of its forms.
struct Form {
    name: String,
    order: Order,
    publication: Publication,
}

/// The built-in disciplines that say the same, but for names.
fn same_as(discipline: &Discipline) -> Vec<Form> {
    let mut same = Vec::new();
    for known in builtin::all() {
        for order in [Order::TrackFirst, Order::FreeFirst] {
            for publication in [Publication::Late, Publication::Early] {
                let form = known.with(order, publication);
                if form.order() == order
                    && form.publication() == publication
                    && discipline.difference(&form).is_none()
                {
                    same.push(Form {
                        name: known.name.clone(),
                        order,
                        publication,
                    });
                }
            }
        }
    }
    same
}

struct Report<'a> {
    args: &'a ExtractArgs,
    extracted: &'a Extracted,
    reading: &'a Reading<'a>,
    same: Vec<Form>,
    elapsed: Duration,
    seed: u64,
}

impl Report<'_> {
    fn outcome(&self, context: &Context) -> CommandOutcome {
        let extracted = self.extracted;
        let whole = extracted.problems.is_empty() && extracted.discipline.is_some();
        let verdict = if whole {
            Verdict::Clean
        } else {
            Verdict::Inconclusive
        };
        let note = extracted.problems.first().cloned();
        let mut stdout = String::new();
        let mut stderr = String::new();
        match context.format {
            Format::Json => {
                let _ = writeln!(stdout, "{}", self.json(verdict, note.as_deref()));
            }
            Format::Human if self.args.output.is_none() => {
                stdout.push_str(&extracted.text);
                stderr.push_str(&self.summary());
            }
            Format::Human => stdout.push_str(&self.summary()),
        }
        CommandOutcome {
            stdout,
            stderr,
            exit_code: ExitStatus::of(verdict).code(),
        }
    }

    fn summary(&self) -> String {
        let mut text = String::new();
        let Recorded {
            schedules,
            failures,
            ..
        } = self.reading.recorded;
        let written = match &self.args.output {
            Some(path) => format!("{}: ", path.display()),
            None => String::new(),
        };
        let _ = writeln!(
            text,
            "{written}extracted from {} of {} (seed {}), in {:.1} s",
            plural(self.reading.told.len() as u64, "operation"),
            plural(*schedules, "schedule"),
            self.seed,
            self.elapsed.as_secs_f64()
        );
        for form in &self.same {
            let _ = writeln!(
                text,
                "  the same as the built-in {}, {}, {} publication",
                form.name, form.order, form.publication
            );
        }
        if *failures > 0 {
            let _ = writeln!(
                text,
                "  something went wrong in {} of these schedules: `heisenbed run --tracking` shows it",
                failures
            );
        }
        for problem in &self.extracted.problems {
            let _ = writeln!(text, "inconclusive: {problem}");
        }
        for note in &self.extracted.notes {
            let _ = writeln!(text, "  note: {note}");
        }
        text
    }

    fn json(&self, verdict: Verdict, note: Option<&str>) -> Value {
        let recorded = self.reading.recorded;
        let lock = |family: &crate::native::extract::locks::LockFamily| {
            let role = match &family.role {
                LockRole::Idle => "idle".to_owned(),
                LockRole::Allocators => "allocator's own".to_owned(),
                LockRole::Named(lock) => lock.to_string(),
                LockRole::Unnamed(_) => "unnamed".to_owned(),
            };
            json!({"name": family.name, "which": family.scope_in_words(), "is": role})
        };
        let same: Vec<Value> = self
            .same
            .iter()
            .map(|form| {
                json!({
                    "discipline": form.name, "order": form.order, "publish": form.publication,
                })
            })
            .collect();
        let discipline = self.extracted.discipline.as_ref();
        json!({
            "verdict": verdict,
            "note": note,
            "discipline": discipline,
            "same_as": same,
            "problems": self.extracted.problems,
            "notes": self.extracted.notes,
            "locks": self.reading.locks.families.iter().map(lock).collect::<Vec<_>>(),
            "operations": self.reading.told.len(),
            "schedules": recorded.schedules,
            "failures": recorded.failures,
            "seed": self.seed,
            "output": self.args.output,
            "text": self.extracted.text,
            "elapsed_s": self.elapsed.as_secs_f64(),
        })
    }
}
