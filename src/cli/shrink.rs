//! `heisenbed shrink`: the smallest run that shows what a trace or reproducer shows.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::exit::ExitStatus;
use super::outcome::{CommandOutcome, Context, Format};
use super::output::{self, OutputKind};
use super::rerun::{is_text, rerun_of};
use super::run::again;
use super::scenario_args::word;
use super::terminal_style;
use super::verdict::{VerdictSummary, divergence_table};
use crate::corpus::Rerun;
use crate::oracle::{Kind, Verdict};
use crate::report::Timeline;
use crate::shrink::{ShrinkError, Shrunk, shrink_ops, shrink_trace};

/// Arguments of `heisenbed shrink`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    heisenbed stress --discipline lifecycle-narrow --order free-first --perturb --record race.hb\n  \
    heisenbed shrink race.hb -o race.toml\n  \
    heisenbed replay race.toml")]
pub(crate) struct ShrinkArgs {
    /// A trace, or a reproducer
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Where the reproducer goes
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace the file of -o also where it is no reproducer, or the one that is read
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
    /// The kind of divergence to keep; without it, the first that shows
    #[arg(long, value_name = "KIND", value_parser = word::<Kind>)]
    pub(crate) kind: Option<Kind>,
}

/// Runs the subcommand: exit 0 with a reproducer, 2 where nothing diverges, 3 where none was found
/// in time.
pub(crate) fn run(args: &ShrinkArgs, context: &Context) -> CommandOutcome {
    if let Some(path) = &args.output {
        let kind = match again::is_run(&args.file) {
            true => OutputKind::RunReproducer,
            false => OutputKind::Reproducer,
        };
        if let Err(error) = output::may_replace_beside(path, kind, &args.file, args.force) {
            return CommandOutcome::bad_input(error, context.format);
        }
    }
    context.catch_interrupts();
    if again::is_run(&args.file) {
        return again::shrink(&args.file, args.output.as_deref(), context);
    }
    let started = Instant::now();
    let mut keep_going = || !context.interrupt.load(Ordering::Relaxed);
    let mut damage = None;
    let shrunk = if is_text(&args.file) {
        match rerun_of(&args.file) {
            Ok(rerun) => shrink_rerun(&rerun, args.kind, &mut keep_going),
            Err(error) => return CommandOutcome::bad_input(error, context.format),
        }
    } else {
        match super::opened::open(&args.file) {
            Ok(trace) => {
                damage = trace.damage().map(str::to_owned);
                shrink_trace(&trace, args.kind, &mut keep_going)
            }
            Err(error) => return CommandOutcome::bad_input(error, context.format),
        }
    };
    match shrunk {
        Ok(shrunk) => report(args, shrunk, started, context),
        Err(error) => {
            let text = format!("{}: {error}", args.file.display());
            match error {
                ShrinkError::Clean if damage.is_some() => CommandOutcome::undecided(
                    format!("{text} in what can be read: {}", damage.unwrap_or_default()),
                    context.format,
                ),
                ShrinkError::NotReproduced { .. } | ShrinkError::Interrupted => {
                    CommandOutcome::undecided(text, context.format)
                }
                _ => CommandOutcome::bad_input(text, context.format),
            }
        }
    }
}

fn shrink_rerun(
    rerun: &Rerun,
    kind: Option<Kind>,
    keep_going: &mut dyn FnMut() -> bool,
) -> Result<Shrunk, ShrinkError> {
    let observed = rerun.observed.as_ref();
    let first = observed.and_then(|observed| observed.report.first);
    let kind = kind.or(first.map(|first| first.kind));
    let kind = kind.ok_or(ShrinkError::Clean)?;
    shrink_ops(&rerun.setup.scenario, rerun.setup.ops(), kind, keep_going)
}

fn report(
    args: &ShrinkArgs,
    shrunk: Shrunk,
    started: Instant,
    context: &Context,
) -> CommandOutcome {
    let Shrunk {
        mut reproducer,
        observed,
        setup,
        size,
    } = shrunk;
    let from = args.file.file_name().unwrap_or_default().to_string_lossy();
    reproducer.provenance.from = from.into_owned();
    let text = reproducer.to_toml();
    if let Some(output) = &args.output
        && let Err(error) = output::write(output, &text)
    {
        return CommandOutcome::bad_input(error, context.format);
    }
    let scenario = &setup.scenario;
    let mut summary = VerdictSummary::new(scenario.threads, scenario.seed);
    summary.add(&observed.report);
    summary.steps = observed.picks.len() as u64;
    summary.preemptions = Some(size.preemptions);
    summary.reproducer = args.output.as_ref().map(|path| path.display().to_string());
    summary.elapsed_s = started.elapsed().as_secs_f64();
    debug_assert_eq!(summary.verdict, Verdict::Diverged);
    let stdout = match context.format {
        Format::Json => summary.json(&json!({
            "kind": size.kind,
            "devices": size.devices,
            "fewest_ops": size.fewest_ops,
            "fewest_preemptions": size.fewest_preemptions,
            "replayed": size.replayed,
            "replays": size.replays,
            "schedule": reproducer.schedule,
        })),
        Format::Human => {
            let written = match &args.output {
                Some(output) => format!("written to {}\n", output.display()),
                None => format!("\n{text}"),
            };
            let above = format!(
                "{}: {size}; {:.2} s\n{}",
                size.kind,
                summary.elapsed_s,
                divergence_table(&summary.divergences)
            );
            format!(
                "{}{written}\n{}",
                terminal_style::above_timeline(&above),
                terminal_style::timeline(&Timeline::of(scenario, &observed)),
            )
        }
    };
    CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: ExitStatus::Holds.code(),
    }
}
