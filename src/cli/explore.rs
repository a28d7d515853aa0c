//! `heisenbed explore`: controlled schedules of a small scenario, drawn or all of them.

mod any;
mod drawn;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::args::parse_duration;
use super::ci::{self, CiArgs, CiCase};
use super::exit::ExitStatus;
use super::outcome::{CommandOutcome, Context, Format};
use super::output::{self, OutputKind};
use super::progress::Progress;
use super::scenario_args::{ScenarioArgs, ThreadsArg};
use super::terminal_style;
use super::verdict::{
    VerdictSummary, divergence_table, explained_table, headline_of, leak_line, place, schedules_of,
};
use super::watch::WatchArgs;
use crate::corpus::Reproducer;
use crate::engine::controlled::exhaustive::{self, Goal, SearchEnd, SearchOptions, Searched};
use crate::engine::controlled::machine::Setup;
use crate::engine::controlled::observe::ObservedRun;
use crate::engine::controlled::sample::Strategy;
use crate::engine::controlled::schedule::Schedule;
use crate::numbers::{grouped, plural};
use crate::oracle::{Kind, Strength, Verdict};
use crate::report::Timeline;
use crate::scenario::{Condensed, Scenario};
use crate::shrink::{self, Shrunk};

/// What options are where they are not given.
const SCHEDULES: u64 = 100_000;
const DEPTH: u32 = 3;
const MAX_STATES: u64 = 100_000_000;

/// Arguments of `heisenbed explore`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Unless the scenario is a script, its workload is condensed: one slot a thread, one size, one memory, so that addresses \
    are used again at once; 2 threads of 4 operations (2 pairs) each where --threads and --ops say nothing. Memories, sizes, and up to 4 devices \
    that the scenario names are kept, and taken in turn. The output says what was left out; a proof is about the condensed workload.\n\n\
    Examples:\n  \
    heisenbed explore --strategy exhaustive --discipline lifecycle-wide --order free-first\n  \
    heisenbed explore --threads any --discipline my-fix.toml\n  \
    heisenbed explore --strategy exhaustive --discipline my-fix.toml --threads 3 --workload handoff --publish early\n  \
    heisenbed explore --strategy pct --depth 3 --discipline lifecycle-narrow --order free-first --save race.toml"
)]
pub(crate) struct ExploreArgs {
    /// Who decides which thread steps next; `exhaustive`: everybody, in turn
    #[arg(long, value_enum, default_value_t = StrategyArg::Exhaustive)]
    pub(crate) strategy: StrategyArg,
    /// Schedules to draw [default: 100000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) schedules: Option<u64>,
    /// Stop after this long (90s, 10m, 2h), however many schedules or states are left
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// Of `pct`: how many ordering constraints the bug needs [default: 3]
    #[arg(long, value_name = "D", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) depth: Option<u32>,
    /// Threads that draw or search; the result is the same for any number [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,
    /// Of `exhaustive`: only schedules with at most this many preemptions
    #[arg(long, value_name = "K")]
    pub(crate) preemptions: Option<u32>,
    /// Of `exhaustive`: go on after a divergence, and find every kind that there is
    #[arg(long)]
    pub(crate) all_kinds: bool,
    /// Of `exhaustive`: give up after this many states; each takes about 32 bytes [default:
    /// 100000000]
    #[arg(long, value_name = "N")]
    pub(crate) max_states: Option<u64>,
    /// Of `exhaustive`: search without these reductions; the answer must be the same
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) without: Vec<ReductionArg>,
    /// Cut a drawn schedule short after this many steps [default: 10000000]
    #[arg(long, value_name = "N")]
    pub(crate) max_steps: Option<u64>,
    /// Take the workload as it is, with all its slots, sizes and operations
    #[arg(long)]
    pub(crate) as_is: bool,
    /// Write the smallest reproducer of what diverged to FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Replace the file of --save also where it is no reproducer
    #[arg(long, requires = "save")]
    pub(crate) force: bool,
    /// What to run.
    #[command(flatten)]
    pub(crate) scenario: ScenarioArgs,
    /// For CI pages.
    #[command(flatten)]
    pub(crate) ci: CiArgs,
    /// For whoever edits.
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
}

/// `--strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StrategyArg {
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
pub(crate) enum ReductionArg {
    /// Taking at once what no other thread can interfere with
    PartialOrder,
    /// Taking threads with the same program for interchangeable
    Symmetry,
    /// Forgetting what a slot held that nobody looks at again
    DeadSlots,
    /// Taking states for the same that differ only by who has which of the free addresses
    Addresses,
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
pub(crate) fn run(args: &ExploreArgs, context: &Context) -> CommandOutcome {
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
    if let Some(path) = &args.save
        && let Err(error) = output::may_replace(path, OutputKind::Reproducer, args.force)
    {
        return CommandOutcome::bad_input(error, context.format);
    }
    let mut setup = match Setup::new(scenario, 0) {
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
    let mut explored = match args.strategy.sampler(args.depth.unwrap_or(DEPTH)) {
        None => search(args, &setup, context, started),
        Some(strategy) => drawn::draw(args, strategy, &setup, context, started),
    };
    if args.scenario.threads == Some(ThreadsArg::Any) {
        any::extend(&mut explored, &mut setup, context);
    }
    if let Some(example) = &explored.example {
        let mut keep_going = || !context.interrupt.load(Ordering::Relaxed);
        let shrunk = shrink::shrink_example(&setup, example, &mut keep_going);
        explored.smallest = shrunk.ok().map(Box::new);
        if let Some(path) = &args.save {
            match save(path, &args.scenario, explored.smallest.as_mut()) {
                Ok(()) => explored.summary.reproducer = Some(path.display().to_string()),
                Err(error) => return CommandOutcome::bad_input(error, context.format),
            }
        }
    }
    explored.summary.elapsed_s = started.elapsed().as_secs_f64();
    explored.condensed = condensed;
    let named = headline_of(&setup.scenario, &explored.condensed);
    let mut outcome = explored.outcome(&setup.scenario, context);
    let why = ci::why(&outcome, context.format);
    let case = CiCase::of_status(named, outcome.exit_code, &why);
    context.case(match &args.scenario.discipline {
        Some(discipline) => case.in_discipline(discipline),
        None => case,
    });
    outcome.stderr.push_str(&args.unused());
    if let Some(path) = &args.save
        && outcome.exit_code != ExitStatus::Diverged.code()
    {
        let path = path.display();
        let _ = writeln!(
            outcome.stderr,
            "note: nothing diverged, so {path} was not written"
        );
    }
    outcome
}

impl ExploreArgs {
    /// Files of the user's that are read.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let named = [
            self.scenario.discipline.as_ref(),
            Some(&self.scenario.scenario),
            self.scenario.workload.as_ref(),
        ];
        let paths = named.into_iter().flatten().map(PathBuf::from);
        paths.filter(|path| path.is_file()).collect()
    }

    /// Options that have no effect with this strategy, for stderr.
    fn unused(&self) -> String {
        let searched = self.strategy == StrategyArg::Exhaustive;
        let drawn = !searched;
        let given = [
            ("--schedules", searched && self.schedules.is_some()),
            ("--max-steps", searched && self.max_steps.is_some()),
            (
                "--depth",
                self.strategy != StrategyArg::Pct && self.depth.is_some(),
            ),
            ("--preemptions", drawn && self.preemptions.is_some()),
            ("--all-kinds", drawn && self.all_kinds),
            ("--max-states", drawn && self.max_states.is_some()),
            ("--without", drawn && !self.without.is_empty()),
        ];
        let strategy = format!("{:?}", self.strategy).to_lowercase();
        let mut text = String::new();
        for (option, _) in given.iter().filter(|(_, unused)| *unused) {
            let _ = writeln!(
                text,
                "note: {option} has no effect with --strategy {strategy}"
            );
        }
        let timing = [
            ("--perturb", self.scenario.perturb),
            ("--debug-log", self.scenario.debug_log),
        ];
        for (option, _) in timing.iter().filter(|(_, given)| *given) {
            let _ = writeln!(
                text,
                "note: {option} has no effect here: schedules are controlled, and take no time"
            );
        }
        text
    }
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
        addresses: !args.without.contains(&ReductionArg::Addresses),
        preemptions: args.preemptions,
        goal: if args.all_kinds {
            Goal::AllKinds
        } else {
            Goal::First
        },
        max_states: args.max_states.unwrap_or(MAX_STATES),
        workers: args.workers.unwrap_or(1),
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
    let interrupted = context.interrupt.load(Ordering::Relaxed);
    let why = match (&note, found.ended) {
        (Some(_), SearchEnd::Abandoned) if interrupted => "interrupted: ",
        (Some(_), SearchEnd::Abandoned)
            if args
                .duration
                .is_some_and(|limit| started.elapsed() >= limit) =>
        {
            "the time was up: "
        }
        _ => "",
    };
    summary.note = note.map(|note| format!("{why}{note}"));
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

fn save(
    path: &Path,
    scenario: &ScenarioArgs,
    smallest: Option<&mut Box<Shrunk>>,
) -> Result<(), String> {
    let reproducer: &mut Reproducer = &mut smallest
        .ok_or("it could not be minimised: no reproducer was written")?
        .reproducer;
    reproducer.provenance.from = format!("explore {}", scenario.origin());
    output::write(path, &reproducer.to_toml())
}

impl Explored {
    fn outcome(self, scenario: &Scenario, context: &Context) -> CommandOutcome {
        let stdout = match context.format {
            Format::Json => {
                let mut more = self.more;
                more["imported"] = json!(scenario.workload.imported);
                more["interrupted"] = json!(context.interrupt.load(Ordering::Relaxed));
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
            text.push_str("  --as-is takes the workload whole; where that is too large for a proof, with --strategy random\n");
        }
        let _ = writeln!(text, "{}", self.how);
        let summary = &self.summary;
        let is_told = !scenario.discipline.shares() || scenario.discipline.sends();
        let (picture, rebuilt) = match is_told {
            true => ("the server's picture", "the server reconstructs"),
            false => ("the program's own tracking", "the program tracks"),
        };
        let verdict = match summary.verdict {
            Verdict::Proved if self.more["threads_any"]["verdict"] == json!(Verdict::Proved) => {
                "proved for any number of threads and operations: nothing makes the server's \
                 picture differ from the truth"
                    .to_owned()
            }
            Verdict::Proved => format!(
                "proved: {} makes {picture} differ from the truth",
                schedules_of(&self.condensed)
            ),
            Verdict::Clean => {
                "clean: none of these schedules diverged (drawn, not all: no proof)".to_owned()
            }
            Verdict::Diverged => {
                format!("diverged: what {rebuilt} is not what the allocator did")
            }
            Verdict::Inconclusive => "inconclusive".to_owned(),
        };
        let _ = writeln!(text, "{verdict}");
        if let Some(note) = &summary.note {
            let _ = writeln!(text, "  {note}");
        }
        text.push_str(&match is_told {
            true => divergence_table(&summary.divergences),
            false => explained_table(&summary.divergences, Kind::explain_untold),
        });
        if let Some(first) = &summary.first {
            let _ = writeln!(text, "first: {}", place(first));
        }
        if summary.leaks > 0 {
            text.push_str(&leak_line(summary.leaks));
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
                "\nThe smallest run that shows it: {size}{written}\n\n"
            );
            text = terminal_style::above_timeline(&text);
            text += &terminal_style::timeline(&Timeline::of(&setup.scenario, observed));
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
