//! `heisenbed replay`: runs a recorded trace or a reproducer again, under control, and checks that
//! it is the same; or plays the messages of a trace to any server.

mod to;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::exit::ExitStatus;
use super::outcome::{CommandOutcome, Context, Format};
use super::progress::Progress;
use super::rerun::{drawn, is_text, rerun_of};
use super::run::again;
use super::terminal_style;
use super::verdict::{VerdictSummary, divergence_table, place};
use crate::corpus::{Reproducer, Rerun};
use crate::engine::controlled::machine::{ActorName, Setup};
use crate::engine::controlled::observe::{ObservedRun, observe};
use crate::engine::controlled::replay::{ReplayError, replay, replay_noting};
use crate::engine::controlled::schedule::Schedule;
use crate::engine::controlled::schedulers::{RandomWalk, Replay};
use crate::lifecycle::{self, Order, Publication};
use crate::numbers::plural;
use crate::oracle::Verdict;
use crate::playback::Pace;
use crate::registry::Semantics;
use crate::report::Timeline;
use crate::scenario::Scenario;
use crate::trace::file::Header;
use crate::tracking::Layout;

/// Arguments of `heisenbed replay`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    heisenbed replay race.hb\n  \
    heisenbed replay race.toml\n  \
    heisenbed replay race.toml --adapt --discipline my-fix.toml\n  \
    heisenbed replay race.hb --to unix:/tmp/tt_allocation_server.sock --layout 112")]
pub(crate) struct ReplayArgs {
    /// A trace, recorded by `stress --record`, or a reproducer; with --to also a trace that
    /// `import` made
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Follow the schedule as far as it can be followed after a change, and go on with a random
    /// walk
    #[arg(long, group = "other_server")]
    pub(crate) adapt: bool,
    /// With --adapt: another locking protocol, built-in or a file
    #[arg(long, value_name = "NAME|FILE", requires = "adapt")]
    pub(crate) discipline: Option<String>,
    /// With --adapt: another order of release
    #[arg(long, value_enum, requires = "adapt")]
    pub(crate) order: Option<Order>,
    /// With --adapt: another publication
    #[arg(long, value_enum, requires = "adapt")]
    pub(crate) publish: Option<Publication>,
    /// With --adapt: another server. With --to: compare with what our registry makes of the
    /// messages under these semantics, also where the trace knows the truth
    #[arg(long, value_name = "NAME", value_parser = super::scenario_args::word::<Semantics>, requires = "other_server")]
    pub(crate) semantics: Option<Semantics>,
    /// Play the messages to the server that listens at PATH, over as many connections as were
    /// recorded, and compare its totals with the truth; where the trace has none, with what our
    /// registry makes of the messages (typed)
    #[arg(long, value_name = "unix:PATH", value_parser = super::args::unix_path, group = "other_server")]
    pub(crate) to: Option<PathBuf>,
    /// With --to: the wire layout to send in (72, 112, 128, 144, 648, extended); else that of the
    /// recorded run, or 112
    #[arg(long, value_name = "LAYOUT", requires = "to")]
    pub(crate) layout: Option<Layout>,
    /// With --to: how fast
    #[arg(long, value_enum, requires = "to", default_value_t)]
    pub(crate) speed: Pace,
}

/// Runs the subcommand: exit 0 when the replay is the recorded run, 1 when it differs. With
/// `--adapt`: 1 when it diverges.
pub(crate) fn run(args: &ReplayArgs, context: &Context) -> CommandOutcome {
    if let Some(path) = &args.to {
        return to::run(args, path, context);
    }
    if again::is_run(&args.file) {
        return again::replay(&args.file, args.adapt, context);
    }
    if args.adapt {
        return adapt(args, context)
            .unwrap_or_else(|error| CommandOutcome::bad_input(error, context.format));
    }
    if is_text(&args.file) {
        return replay_reproducer(&args.file, context);
    }
    replay_trace(&args.file, context)
}

fn replay_trace(path: &Path, context: &Context) -> CommandOutcome {
    let started = Instant::now();
    let trace = match super::opened::open(path) {
        Ok(trace) => trace,
        Err(error) => return CommandOutcome::bad_input(error, context.format),
    };
    let mut progress = Progress::new(context.quiet, "replay", "events", trace.events());
    let replayed = replay(&trace, |events| progress.update(events));
    progress.finish();
    let name = path.display();
    let replayed = match replayed {
        Ok(replayed) => replayed,
        Err(error @ ReplayError::Differs { .. }) => {
            return differs(
                &format!("{name}: the replay is not the recorded run\n{error}"),
                context,
            );
        }
        Err(error) => return CommandOutcome::bad_input(format!("{name}: {error}"), context.format),
    };
    let (threads, seed) = match trace.header() {
        Header::Run(header) => (header.scenario.threads, header.scenario.seed),
        _ => (0, 0),
    };
    let mut summary = VerdictSummary::new(threads, seed);
    summary.add(&replayed.report);
    summary.preemptions = Some(replayed.preemptions);
    summary.elapsed_s = started.elapsed().as_secs_f64();
    let stdout = match context.format {
        Format::Json => summary.json(&json!({ "replayed": true })),
        Format::Human => {
            let mut text = format!(
                "{name}: replayed exactly: {}, {}, in {:.2} s\n\n",
                plural(replayed.events, "event"),
                plural(replayed.preemptions, "preemption"),
                summary.elapsed_s,
            );
            write_verdict(&mut text, &summary);
            text
        }
    };
    // The replay is what was asked for: that it is the recorded run holds whatever that showed, as
    // far as the recording goes.
    let decided = summary.verdict != Verdict::Inconclusive || summary.complete;
    let whole = decided && trace.damage().is_none();
    let status = if whole {
        ExitStatus::Holds
    } else {
        ExitStatus::Undecided
    };
    CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: status.code(),
    }
}

fn replay_reproducer(path: &Path, context: &Context) -> CommandOutcome {
    let started = Instant::now();
    let rerun = match rerun_of(path) {
        Ok(rerun) => rerun,
        Err(error) => return CommandOutcome::bad_input(error, context.format),
    };
    let name = path.display();
    if let Some(mismatch) = &rerun.mismatch {
        let text = terminal_style::above_timeline(&format!("{name}: {mismatch}\n"));
        return differs(&(text + &drawn(&rerun)), context);
    }
    let summary = rerun_summary(&rerun, started);
    let stdout = match context.format {
        Format::Json => summary.json(&json!({ "replayed": true })),
        Format::Human => {
            let mut text = format!("{name}: as expected, in {:.2} s\n\n", summary.elapsed_s);
            write_verdict(&mut text, &summary);
            terminal_style::above_timeline(&text) + &drawn(&rerun)
        }
    };
    CommandOutcome {
        stdout,
        ..CommandOutcome::default()
    }
}

fn rerun_summary(rerun: &Rerun, started: Instant) -> VerdictSummary {
    let scenario = &rerun.setup.scenario;
    let mut summary = VerdictSummary::new(scenario.threads, scenario.seed);
    if let Some(observed) = &rerun.observed {
        add_observed(&mut summary, observed);
    }
    summary.verdict = rerun.came_out.verdict;
    summary.states = rerun.states;
    summary.elapsed_s = started.elapsed().as_secs_f64();
    summary
}

fn add_observed(summary: &mut VerdictSummary, observed: &ObservedRun) {
    summary.add(&observed.report);
    summary.steps = observed.picks.len() as u64;
    summary.preemptions = Some(observed.preemptions.len() as u64);
}

/// The recorded run, or the recorded schedule, is not what came out.
fn differs(error: &str, context: &Context) -> CommandOutcome {
    let stdout = match context.format {
        Format::Human => format!("{error}\n"),
        Format::Json => format!("{}\n", json!({ "replayed": false, "error": error })),
    };
    CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: 1,
    }
}

fn write_verdict(text: &mut String, summary: &VerdictSummary) {
    let _ = writeln!(text, "{}", summary.verdict);
    if let Some(note) = &summary.note {
        let _ = writeln!(text, "  {note}");
    }
    text.push_str(&divergence_table(&summary.divergences));
    if let Some(first) = &summary.first {
        let _ = writeln!(text, "first: {}", place(first));
    }
}

/// A schedule, with what it was recorded from.
struct Recorded {
    scenario: Scenario,
    run: u64,
    picks: Vec<ActorName>,
}

impl Recorded {
    fn load(path: &Path) -> Result<Recorded, String> {
        let describe = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        if is_text(path) {
            let reproducer = Reproducer::load(path).map_err(|error| error.to_string())?;
            let schedule = reproducer
                .schedule
                .clone()
                .ok_or_else(|| describe(&"it has no schedule to follow"))?;
            let picks = schedule.runs().iter();
            return Ok(Recorded {
                scenario: reproducer.scenario().map_err(|error| describe(&error))?,
                run: 0,
                picks: picks
                    .flat_map(|(name, count)| std::iter::repeat_n(*name, *count as usize))
                    .collect(),
            });
        }
        let trace = super::opened::open(path).map_err(|error| error.to_string())?;
        let Header::Run(header) = trace.header() else {
            return Err(describe(&"an imported trace has no schedule"));
        };
        let mut picks = Vec::new();
        replay_noting(&trace, |name| picks.push(name)).map_err(|error| describe(&error))?;
        Ok(Recorded {
            scenario: header.scenario.clone(),
            run: header.run,
            picks,
        })
    }
}

fn adapt(args: &ReplayArgs, context: &Context) -> Result<CommandOutcome, String> {
    let started = Instant::now();
    let recorded = Recorded::load(&args.file)?;
    let scenario = changed(args, recorded.scenario, context.seed)?;
    let setup = Setup::new(scenario, recorded.run).map_err(|error| error.to_string())?;
    let picks: Vec<_> = recorded
        .picks
        .iter()
        .filter_map(|name| setup.actor_of(*name))
        .collect();
    let steps = picks.len();
    let seed = setup.scenario.seed;
    let walk = Replay::new(picks, Some(RandomWalk::new(seed)));
    let (observed, walk) = observe(&setup, walk, 0, u64::MAX);
    let mut summary = VerdictSummary::new(setup.scenario.threads, seed);
    add_observed(&mut summary, &observed);
    summary.elapsed_s = started.elapsed().as_secs_f64();
    let left = match walk.left_at() {
        Some(step) => format!(
            "followed {step} of {} of the recording, then left it: {} could not go on; the rest is a random walk (seed {seed})",
            plural(steps as u64, "step"),
            walk.wanted()
                .map_or("nobody".to_owned(), |actor| setup.name_of(actor)),
        ),
        None if walk.followed() < steps => format!(
            "the run was at its end after {} of {} of the recording",
            walk.followed(),
            plural(steps as u64, "step")
        ),
        None => format!(
            "followed all {} of the recording",
            plural(steps as u64, "step")
        ),
    };
    let schedule = Schedule::of(&observed.picks, setup.scenario.threads).to_string();
    let stdout = match context.format {
        Format::Json => summary.json(&json!({
            "followed": walk.followed(),
            "recorded": steps,
            "left_at": walk.left_at(),
            "schedule": schedule,
        })),
        Format::Human => adapted_text(args, &setup, &observed, &summary, &left),
    };
    Ok(CommandOutcome {
        stdout,
        stderr: String::new(),
        exit_code: summary.exit_code(),
    })
}

fn adapted_text(
    args: &ReplayArgs,
    setup: &Arc<Setup>,
    observed: &ObservedRun,
    summary: &VerdictSummary,
    left: &str,
) -> String {
    /// Longer runs are not drawn.
    const DRAWN_EVENTS: usize = 200;
    let mut text = format!("{}: {left}\n\n", args.file.display());
    write_verdict(&mut text, summary);
    if observed.events.len() <= DRAWN_EVENTS {
        text = terminal_style::above_timeline(&text);
        text.push('\n');
        text += &terminal_style::timeline(&Timeline::of(&setup.scenario, observed));
    }
    text
}

/// The recorded scenario, with what the options say.
fn changed(
    args: &ReplayArgs,
    mut scenario: Scenario,
    seed: Option<u64>,
) -> Result<Scenario, String> {
    if let Some(name) = &args.discipline {
        scenario.discipline = lifecycle::load(name).map_err(|error| error.to_string())?;
    }
    let discipline = &scenario.discipline;
    // A built-in discipline keeps the form that was recorded; one of the user's says its own.
    let is_file = |name: &String| lifecycle::builtin::get(name).is_none();
    let (order, publish) = match args.discipline.as_ref().is_some_and(is_file) {
        true => (discipline.order(), discipline.publication()),
        false => (scenario.order, scenario.publish),
    };
    scenario.order = args.order.unwrap_or(order);
    scenario.publish = args.publish.unwrap_or(publish);
    let semantics = args.semantics.or(discipline.semantics);
    scenario.semantics = semantics.unwrap_or(scenario.semantics);
    scenario.discipline = discipline.with(scenario.order, scenario.publish);
    scenario.seed = seed.unwrap_or(scenario.seed);
    scenario.check().map_err(|error| error.to_string())?;
    Ok(scenario)
}
