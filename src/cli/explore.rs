//! `heisenbed explore`: controlled schedules of a small scenario, drawn or all of them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::args::parse_duration;
use super::outcome::{CommandOutcome, Context, Format};
use super::progress::Progress;
use super::scenario_args::ScenarioArgs;
use super::verdict::{VerdictSummary, divergence_table, headline_of, place, schedules_of};
use crate::corpus::Reproducer;
use crate::engine::controlled::exhaustive::{self, Goal, SearchEnd, SearchOptions, Searched};
use crate::engine::controlled::machine::Setup;
use crate::engine::controlled::observe::ObservedRun;
use crate::engine::controlled::sample::{self, SamplePlan, Sampled, Strategy};
use crate::engine::controlled::schedule::Schedule;
use crate::numbers::{grouped, plural};
use crate::oracle::{Strength, Verdict};
use crate::report::Timeline;
use crate::scenario::{Condensed, Scenario};
use crate::shrink::{self, Shrunk};

/// Arguments of `heisenbed explore`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Unless the scenario is a script, its workload is condensed: one slot a thread, one size, one memory, so that addresses \
    are used again at once; 2 threads of 4 operations (2 pairs) each where --threads and --ops say nothing. Memories, sizes, and up to 4 devices \
    that the scenario names are kept, and taken in turn. The output says what was left out; a proof is about the condensed workload.\n\n\
    Examples:\n  \
    heisenbed explore --strategy exhaustive --discipline lifecycle-wide --order free-first\n  \
    heisenbed explore --strategy exhaustive --discipline my-fix.toml --threads 3 --workload handoff --publish early\n  \
    heisenbed explore --strategy pct --depth 3 --discipline lifecycle-narrow --order free-first --save race.toml"
)]
pub struct ExploreArgs {
    /// Who decides which thread steps next; `exhaustive`: everybody, in turn
    #[arg(long, value_enum, default_value_t = StrategyArg::Exhaustive)]
    pub strategy: StrategyArg,
    /// Schedules to draw
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub schedules: u64,
    /// Stop after this long (90s, 10m, 2h), however many schedules or states are left
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Of `pct`: how many ordering constraints the bug needs
    #[arg(long, value_name = "D", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub depth: u32,
    /// Threads that draw; the result is the same for any number
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// Of `exhaustive`: only schedules with at most this many preemptions
    #[arg(long, value_name = "K")]
    pub preemptions: Option<u32>,
    /// Of `exhaustive`: go on after a divergence, and find every kind that there is
    #[arg(long)]
    pub all_kinds: bool,
    /// Of `exhaustive`: give up after this many states; each takes about 32 bytes
    #[arg(long, value_name = "N", default_value_t = 100_000_000)]
    pub max_states: u64,
    /// Of `exhaustive`: search without these reductions; the answer must be the same
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    pub without: Vec<ReductionArg>,
    /// Cut a schedule short after this many steps
    #[arg(long, value_name = "N", default_value_t = sample::MAX_STEPS)]
    pub max_steps: u64,
    /// Take the workload as it is, with all its slots, sizes and operations
    #[arg(long)]
    pub as_is: bool,
    /// Write the smallest reproducer of what diverged to FILE
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// What to run.
    #[command(flatten)]
    pub scenario: ScenarioArgs,
}

/// `--strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StrategyArg {
    /// Any thread that can go on, each as likely
    Random,
    /// Priorities that change at random steps, with a bound on what is missed
    Pct,
    /// Random, weighted so that every interleaving is about as likely
    Urw,
    /// Every distinct state: finds a divergence, or proves that there is none
    Exhaustive,
}

/// `--without`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReductionArg {
    /// Taking at once what no other thread can interfere with
    PartialOrder,
    /// Taking threads with the same program for interchangeable
    Symmetry,
    /// Forgetting what a slot held that nobody looks at again
    DeadSlots,
}

/// What a command explored, and found.
struct Explored {
    summary: VerdictSummary,
    /// What was left out of the scenario.
    condensed: Condensed,
    /// What is said of how it was explored, for people.
    how: String,
    more: Value,
    example: Option<Box<ObservedRun>>,
    smallest: Option<Box<Shrunk>>,
}

/// Runs the subcommand.
pub fn run(args: &ExploreArgs, context: &Context) -> CommandOutcome {
    let scenario = if args.as_is {
        let whole = args.scenario.resolve(context.seed);
        whole.map(|whole| (whole, Condensed::default()))
    } else {
        args.scenario.resolve_small(context.seed)
    };
    let (scenario, condensed) = match scenario {
        Ok(scenario) => scenario,
        Err(error) => return CommandOutcome::bad_input(error, context.format),
    };
    let setup = match Setup::new(scenario, 0) {
        Ok(setup) => setup,
        Err(error) => return CommandOutcome::bad_input(error, context.format),
    };
    let ops = setup.ops().iter().flatten().count();
    if args.strategy == StrategyArg::Exhaustive && ops > exhaustive::MAX_SEARCHED_OPS {
        return CommandOutcome::bad_input(
            format!(
                "{ops} operations are too many to search every schedule of: give fewer --ops, leave out --as-is, or draw with --strategy random"
            ),
            context.format,
        );
    }
    context.catch_interrupts();
    let started = Instant::now();
    let mut explored = match args.strategy.sampler(args.depth) {
        None => search(args, &setup, context, started),
        Some(strategy) => draw(args, strategy, &setup, context, started),
    };
    if let Some(example) = &explored.example {
        let mut keep_going = || !context.interrupt.load(Ordering::Relaxed);
        let shrunk = shrink::shrink_example(&setup, example, &mut keep_going);
        explored.smallest = shrunk.ok().map(Box::new);
        if let Some(path) = &args.save {
            match save(path, &setup, explored.smallest.as_mut()) {
                Ok(()) => explored.summary.reproducer = Some(path.display().to_string()),
                Err(error) => return CommandOutcome::bad_input(error, context.format),
            }
        }
    }
    explored.summary.elapsed_s = started.elapsed().as_secs_f64();
    explored.condensed = condensed;
    explored.outcome(&setup.scenario, context)
}

impl StrategyArg {
    fn sampler(self, depth: u32) -> Option<Strategy> {
        match self {
            StrategyArg::Random => Some(Strategy::Random),
            StrategyArg::Pct => Some(Strategy::Pct { depth }),
            StrategyArg::Urw => Some(Strategy::Urw),
            StrategyArg::Exhaustive => None,
        }
    }
}

fn search(args: &ExploreArgs, setup: &Arc<Setup>, context: &Context, started: Instant) -> Explored {
    let options = SearchOptions {
        partial_order: !args.without.contains(&ReductionArg::PartialOrder),
        symmetry: !args.without.contains(&ReductionArg::Symmetry),
        dead_slots: !args.without.contains(&ReductionArg::DeadSlots),
        preemptions: args.preemptions,
        goal: if args.all_kinds {
            Goal::AllKinds
        } else {
            Goal::First
        },
        max_states: args.max_states,
    };
    let mut progress = Progress::new(context.quiet, "explore", "states", 0);
    let mut keep_going = |found: &Searched| {
        progress.update(found.states);
        !context.interrupt.load(Ordering::Relaxed)
            && args.duration.is_none_or(|limit| started.elapsed() < limit)
    };
    let mut found = exhaustive::search(setup, &options, &mut keep_going);
    progress.finish();
    if let Some(example) = found.example.take() {
        found.example = Some(shrink::with_fewest_preemptions(setup, example, &mut || {
            !context.interrupt.load(Ordering::Relaxed)
        }));
    }
    let scenario = &setup.scenario;
    let mut summary = VerdictSummary::new(scenario.threads, scenario.seed);
    let (verdict, note) = found.verdict(args.preemptions);
    summary.verdict = verdict;
    summary.note = note;
    // A bound on preemptions is what was asked for.
    summary.complete = args.preemptions.is_some() && found.ended == SearchEnd::Exhausted;
    summary.states = Some(found.states);
    summary.steps = found.steps;
    summary.leaks = found.leaks;
    summary.divergences = found.divergences.clone();
    summary.schedules = u64::from(found.at_rest.is_some()) + u64::from(found.example.is_some());
    let report = found
        .example
        .as_ref()
        .map(|example| &example.report)
        .or(found.at_rest.as_ref());
    if let Some(report) = report {
        summary.events = report.events;
        summary.messages = report.messages;
        summary.ops = report.ops;
        summary.first = report.first;
        if !args.all_kinds {
            summary.divergences = report.divergences.clone();
        }
    }
    summary.preemptions = found
        .example
        .as_ref()
        .map(|example| example.preemptions.len() as u64);
    let elapsed_s = started.elapsed().as_secs_f64();
    let how = format!(
        "{}, {}, at most {} a schedule, in {elapsed_s:.2} s ({} a second)\n",
        plural(found.states, "state"),
        plural(found.steps, "step"),
        grouped(found.depth),
        grouped((found.states as f64 / elapsed_s.max(1e-6)) as u64),
    );
    let more = json!({
        "strategy": "exhaustive",
        "exhausted": found.ended == SearchEnd::Exhausted,
        "preemption_bound": args.preemptions,
        "depth": found.depth,
    });
    Explored {
        summary,
        condensed: Condensed::default(),
        how,
        more,
        example: found.example,
        smallest: None,
    }
}

fn draw(
    args: &ExploreArgs,
    strategy: Strategy,
    setup: &Arc<Setup>,
    context: &Context,
    started: Instant,
) -> Explored {
    let scenario = &setup.scenario;
    let plan = SamplePlan {
        strategy,
        seed: scenario.seed,
        schedules: args.schedules,
        until: args.duration.map(|limit| started + limit),
        workers: usize::from(args.workers),
        max_steps: args.max_steps,
    };
    let progress = Mutex::new(Progress::new(
        context.quiet,
        "explore",
        "schedules",
        args.schedules,
    ));
    let most = AtomicU64::new(0);
    let sampled = sample::sample(setup, &plan, &|done| {
        // Workers report out of order.
        if most.fetch_max(done, Ordering::Relaxed) < done
            && let Ok(mut progress) = progress.try_lock()
        {
            progress.update(done);
        }
        !context.interrupt.load(Ordering::Relaxed)
    });
    if let Ok(mut progress) = progress.into_inner() {
        progress.finish();
    }
    let mut summary = VerdictSummary::new(scenario.threads, scenario.seed);
    summary.verdict = sampled.verdict();
    summary.note = sampled_note(&sampled, &plan);
    if !sampled.complete && summary.verdict != Verdict::Diverged {
        let interrupted = context.interrupt.load(Ordering::Relaxed);
        let (what, verdict) = match interrupted {
            true => ("interrupted", Verdict::Inconclusive),
            false => ("the time was up", summary.verdict),
        };
        summary.verdict = verdict;
        summary.note.get_or_insert(format!(
            "{what}: {} of {} schedules were run, and none diverged",
            grouped(sampled.schedules),
            grouped(plan.schedules)
        ));
    }
    summary.divergences = sampled.divergences.clone();
    summary.leaks = sampled.leaks;
    summary.schedules = sampled.schedules;
    summary.steps = sampled.steps;
    summary.events = sampled.events;
    summary.messages = sampled.messages;
    let ops: usize = setup
        .ops()
        .iter()
        .flatten()
        .filter(|op| op.counts())
        .count();
    summary.ops = sampled.schedules * ops as u64;
    let mut more = json!({
        "strategy": format!("{:?}", args.strategy).to_lowercase(),
        "diverged": sampled.diverged,
    });
    let elapsed_s = started.elapsed().as_secs_f64();
    let mut how = format!(
        "{} in {elapsed_s:.2} s ({} a second), {} steps\n",
        plural(sampled.schedules, "schedule"),
        grouped((sampled.schedules as f64 / elapsed_s.max(1e-6)) as u64),
        grouped(sampled.steps),
    );
    if let Strategy::Pct { depth } = strategy {
        let pct = sample::pct(setup, plan.seed, depth);
        let steps = pct.steps();
        let _ = writeln!(
            how,
            "PCT, depth {depth}: a divergence of that depth shows in ≥ 1/(n·k^(d−1)) = 1/({}·{steps}^{}) = {:.2e} of the schedules",
            setup.actors().len(),
            depth - 1,
            pct.bound(),
        );
        more["bound"] = json!(pct.bound());
    }
    let mut example = None;
    if let Some((index, first)) = sampled.first {
        summary.first = first.report.first;
        summary.preemptions = Some(first.preemptions.len() as u64);
        more["first_schedule"] = json!(index);
        let _ = writeln!(
            how,
            "diverged: {} of {}, the first is number {index}",
            grouped(sampled.diverged),
            grouped(sampled.schedules)
        );
        example = Some(first);
    }
    Explored {
        summary,
        condensed: Condensed::default(),
        how,
        more,
        example,
        smallest: None,
    }
}

fn sampled_note(sampled: &Sampled, plan: &SamplePlan) -> Option<String> {
    if sampled.inconclusive > 0 {
        let why = sampled.why.as_deref().unwrap_or_default();
        return Some(match sampled.messages {
            0 => why.to_owned(),
            _ => format!(
                "{} not come to their end within --max-steps {}",
                plural(sampled.inconclusive, "schedule") + " did",
                grouped(plan.max_steps)
            ),
        });
    }
    None
}

fn save(path: &Path, setup: &Setup, smallest: Option<&mut Box<Shrunk>>) -> Result<(), String> {
    let reproducer: &mut Reproducer = &mut smallest
        .ok_or("it could not be minimised: no reproducer was written")?
        .reproducer;
    reproducer.provenance.from = format!("explore --scenario {}", setup.scenario.name);
    std::fs::write(path, reproducer.to_toml())
        .map_err(|error| format!("{}: {error}", path.display()))
}

impl Explored {
    fn outcome(self, scenario: &Scenario, context: &Context) -> CommandOutcome {
        let stdout = match context.format {
            Format::Json => {
                let mut more = self.more;
                more["imported"] = json!(scenario.workload.imported);
                more["condensed"] = match self.condensed.is_whole() {
                    true => Value::Null,
                    false => json!(self.condensed),
                };
                if let Some(example) = &self.example {
                    let schedule = Schedule::of(&example.picks, scenario.threads);
                    more["schedule"] = json!(schedule.to_string());
                }
                self.summary.json(&more)
            }
            Format::Human => self.text(scenario),
        };
        CommandOutcome {
            stdout,
            stderr: String::new(),
            exit_code: self.summary.exit_code(),
        }
    }

    fn text(&self, scenario: &Scenario) -> String {
        let mut text = format!("{}\n", headline_of(scenario, &self.condensed));
        if !self.condensed.is_whole() {
            text.push_str("  --as-is takes the workload whole (with --strategy random: too large for a proof)\n");
        }
        let _ = writeln!(text, "{}", self.how);
        let summary = &self.summary;
        let verdict = match summary.verdict {
            Verdict::Proved => format!(
                "proved: {} makes the server's picture differ from the truth",
                schedules_of(&self.condensed)
            ),
            Verdict::Clean => {
                "clean: none of these schedules diverged (drawn, not all: no proof)".to_owned()
            }
            Verdict::Diverged => {
                "diverged: what the server reconstructs is not what the allocator did".to_owned()
            }
            Verdict::Inconclusive => "inconclusive".to_owned(),
        };
        let _ = writeln!(text, "{verdict}");
        if let Some(note) = &summary.note {
            let _ = writeln!(text, "  {note}");
        }
        text.push_str(&divergence_table(&summary.divergences));
        if let Some(first) = &summary.first {
            let _ = writeln!(text, "first: {}", place(first));
        }
        if summary.leaks > 0 {
            let _ = writeln!(
                text,
                "leaks: {} of the program's own",
                grouped(summary.leaks)
            );
        }
        if let Some(example) = &self.example {
            let schedule = Schedule::of(&example.picks, scenario.threads);
            let _ = writeln!(
                text,
                "schedule ({}): {}",
                plural(example.preemptions.len() as u64, "preemption"),
                abridged(&schedule.to_string())
            );
        }
        if let Some(Shrunk {
            observed,
            setup,
            size,
            ..
        }) = self.smallest.as_deref()
        {
            let written = summary.reproducer.as_ref();
            let written = written.map_or(String::new(), |path| format!("; written to {path}"));
            let _ = write!(
                text,
                "\nThe smallest run that shows it: {size}{written}\n\n{}",
                Timeline::of(&setup.scenario, observed).render()
            );
        }
        debug_assert_eq!(summary.check, Strength::Exact);
        text
    }
}

fn abridged(schedule: &str) -> String {
    const MOST: usize = 160;
    if schedule.len() <= MOST {
        return schedule.to_owned();
    }
    let cut = schedule[..MOST].rfind(' ').unwrap_or(MOST);
    format!("{} …", &schedule[..cut])
}
