//! `heisenbed run`: the user's own program, under heisenbed's schedulers.

mod adapted;
pub(super) mod again;
mod conforms;
mod exhaustive;
pub(super) mod extract;
mod failed;
mod race_report;
mod recording;
mod report;
pub(super) mod surveyed;
pub(super) mod target;
mod tracking;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::args::parse_duration;
use super::ci::{CiArgs, DeafToCommands};
use super::outcome::{CommandOutcome, Context, Format};
use super::output::{self, OutputKind};
use super::progress::Progress;
use super::watch::WatchArgs;
use crate::native::launcher::{LaunchOptions, ProgramOutput};
use crate::native::plan::RunStrategy;
use crate::native::race_text::RaceList;
use crate::native::races::{DataRaces, RacePlan};
use crate::native::{
    Fleet, RunPlan, RunReproducer, Search, SearchPlan, SearchState, Symbols, UserProgram,
};
use crate::numbers::plural;
use failed::shrunk_failure;
pub(super) use failed::{Failed, FailedOptions, shrink_limit};
use report::RunReport;
use target::PreparedTarget;

const SCHEDULES: u64 = 1_000;
const MAX_STEPS: u64 = 1_000_000;

/// Arguments of `heisenbed run`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The program is not changed: a library is preloaded that lets one thread run at a time and switches only at visible actions: \
    calls of pthreads, C11 threads, semaphores, futexes (std::thread, std::mutex and Rust's std come down to these), sockets, pipes, sleeps. \
    Time is virtual. What a plain load or store does between two such calls is seen only in programs built by `heisenbed cc`.\n\n\
    What it prints in a schedule that fails is kept and shown; in others it is dropped. With --strategy observe or perturb it runs as it always does, \
    its threads in parallel, and prints where heisenbed prints.\n\n\
    Examples:\n  \
    heisenbed run -- ./my_test\n  \
    heisenbed run --schedules 10000 --save race.toml -- ./my_test --rounds 2\n  \
    heisenbed replay race.toml\n  \
    heisenbed run --strategy observe -- pigz -k file\n  \
    heisenbed run --target ./my_allocator.so --save race.toml"
)]
pub(crate) struct ProgramRunArgs {
    /// Who decides which thread goes on
    #[arg(long, value_enum, default_value_t = RunStrategyArg::Mix)]
    pub(crate) strategy: RunStrategyArg,
    /// Schedules to draw [default: 1000; 1 for observe and perturb; at most 20000 for exhaustive]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) schedules: Option<u64>,
    /// The number of the first schedule
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) first: u64,
    /// Fork servers that run schedules at the same time; the results do not depend on it. A target
    /// has one
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: u16,
    /// Stop after this long (90s, 10m, 2h), however many schedules are left; what failed last is
    /// made smaller for a tenth of it more. Without it what failed is made smaller for five minutes
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// Of `pct`: how many ordering constraints the bug needs [default: 3]
    #[arg(long, value_name = "D", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) depth: Option<u32>,
    /// How long one schedule may take: longer is a livelock
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10s")]
    pub(crate) timeout: Duration,
    /// How many steps one schedule may have: more is a livelock
    #[arg(long, value_name = "N", default_value_t = MAX_STEPS,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) steps: u64,
    /// Let condition variables and futexes wake up without a signal, as they may
    #[arg(long)]
    pub(crate) spurious: bool,
    /// How often a timed wait may end before it must, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = crate::native::plan::EARLY_PERCENT,
          value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) early_timeouts: u32,
    /// What to do about data races, of programs built by `heisenbed cc`; with --state `last` is
    /// `first`, for what was seen must not be forgotten
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = DataRaces::Last)]
    pub(crate) data_races: DataRaces,
    /// Let the program read and print where heisenbed does, in every schedule: the report goes to
    /// stderr then. Always so with observe and perturb
    #[arg(long)]
    pub(crate) pass_through: bool,
    /// Go on after a failure, and count how many schedules fail
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Keep the search in FILE, written each second: the same command goes on with it, after Ctrl-C
    /// or a kill at any moment; with more --schedules, too
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Leave the failing schedule as it was found
    #[arg(long)]
    pub(crate) no_shrink: bool,
    /// Of `exhaustive`: only schedules with at most K preemptions
    #[arg(long, value_name = "K")]
    pub(crate) preemptions: Option<u32>,
    /// Of `exhaustive`: take memory of which no accesses are seen to be shared under locks only
    #[arg(long)]
    pub(crate) assume_locked: bool,
    /// How many schedules may be run to prove that no schedule with fewer preemptions fails
    #[arg(long, value_name = "N", default_value_t = exhaustive::PROVE_MINIMUM)]
    pub(crate) prove_minimum: u64,
    /// Check that what the code does to allocate and to release is what a discipline says: a
    /// built-in one, or FILE, as `extract` writes it. Schedules are drawn as by `extract`
    #[arg(long, value_name = "NAME|FILE.toml",
          conflicts_with_all = ["strategy", "first", "workers", "duration", "depth", "spurious",
                                "early_timeouts", "data_races", "pass_through", "keep_going",
                                "state", "no_shrink", "prove_minimum", "save"])]
    pub(crate) conforms: Option<String>,
    /// Write a reproducer of the failing schedule to FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Replace the file of --save also where it is no reproducer
    #[arg(long, requires = "save")]
    pub(crate) force: bool,
    /// A shared library in place of a program
    #[command(flatten)]
    pub(crate) target: target::RunTargetArgs,
    /// Its messages to a tracking server
    #[command(flatten)]
    pub(crate) tracking: tracking::TrackingArgs,
    /// For CI pages.
    #[command(flatten)]
    pub(crate) ci: CiArgs,
    /// For whoever edits.
    #[command(flatten)]
    pub(crate) watch: WatchArgs,
    /// The program, and its arguments
    #[arg(
        last = true,
        required_unless_present = "target",
        value_name = "PROGRAM"
    )]
    pub(crate) program: Vec<OsString>,
}

/// `--strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunStrategyArg {
    /// Threads run in parallel as they like; what they do is recorded
    Observe,
    /// In parallel, with delays before visible actions
    Perturb,
    /// Any thread that can go on, each as likely
    Random,
    /// Random, with the order of dependent actions drawn afresh each time
    Pos,
    /// Priorities that change at random steps
    Pct,
    /// Random, so that every order of the steps on a few objects is about as likely
    Surw,
    /// Turns the order of two accesses round that was seen before
    Rff,
    /// One to three preemptions, at places that threads share
    Few,
    /// On from a situation of the threads that came about seldom
    Rare,
    /// surw, rff, few and pos in turn; after 256 schedules every second is rare
    Mix,
    /// Every schedule that differs, each once: where none fails, that is a proof
    Exhaustive,
}

/// Runs the subcommand.
pub(crate) fn run(args: &ProgramRunArgs, context: &Context) -> CommandOutcome {
    match try_run(args, context) {
        Ok(outcome) => outcome,
        Err(error) => CommandOutcome::bad_input(error, context.format),
    }
}

fn try_run(
    args: &ProgramRunArgs,
    context: &Context,
) -> Result<CommandOutcome, Box<dyn std::error::Error>> {
    if let Some(discipline) = &args.conforms {
        return conforms::run(args, discipline, context);
    }
    exhaustive::check(args)?;
    let mut target = args.target.prepare(context.seed, args.tracking.plan()?)?;
    let program = args.program(target.as_ref())?;
    if let Some(path) = &args.save {
        output::may_replace(path, OutputKind::RunReproducer, args.force)?;
    }
    let strategy = args.strategy.strategy(args.depth.unwrap_or(3));
    let controlled = strategy.is_controlled();
    let options = args.launch_options(controlled, context);
    context.catch_interrupts();
    // What the program prints is no command to GitHub.
    let prints = matches!(options.output, ProgramOutput::OurStdout);
    let deaf = prints.then(DeafToCommands::begin);
    let started = Instant::now();
    let workers = if controlled { args.workers.into() } else { 1 };
    let mut fleet = Fleet::start(&program, options, workers)?;
    let mut found = searched(
        &mut fleet,
        args,
        &program,
        target.as_mut(),
        strategy,
        context,
    )?;
    let symbols = Symbols::new(fleet.one()?.maps());
    found.accuse_races(&symbols);
    let crash = target.as_ref().and_then(PreparedTarget::crash);
    if let Some(crash) = crash.filter(|_| found.failed.is_none()) {
        return Err(crash.into());
    }
    let races = RaceList::new(&found.races, &symbols);
    let failed = match &found.failed {
        Some((plan, execution)) if controlled => {
            let limit = shrink_limit(started, args.duration, context);
            let first = (plan, execution);
            let surveyed = target.as_ref().and_then(|target| target.surveyed.as_ref());
            let launcher = fleet.one()?;
            Some(shrunk_failure(
                launcher, args, first, surveyed, &limit, context,
            )?)
        }
        _ => None,
    };
    drop(deaf);
    let reproducer = match &failed {
        Some(failed) => saved(args, &program, failed)?,
        None => None,
    };
    let report = RunReport {
        args,
        program: &program,
        found: &found,
        races: &races,
        failed: failed.as_ref(),
        reproducer,
        symbols: &symbols,
        target: target.as_ref(),
        not_anew: fleet.one()?.not_anew().map(str::to_owned),
        seed: context.seed.unwrap_or(1),
        strategy,
        elapsed: started.elapsed(),
        interrupted: context.interrupt.load(Ordering::Relaxed),
    };
    Ok(report.outcome(context))
}

/// The schedules are run, with progress, until one fails or enough of them are; a target of which
/// they show nothing is surveyed.
fn searched(
    fleet: &mut Fleet,
    args: &ProgramRunArgs,
    program: &UserProgram,
    target: Option<&mut PreparedTarget>,
    strategy: RunStrategy,
    context: &Context,
) -> Result<Search, Box<dyn std::error::Error>> {
    let search = args.search_plan(strategy, context);
    let end = search.duration.map(|limit| Instant::now() + limit);
    let mut state = match &args.state {
        Some(path) => Some(SearchState::open(path, program, &search, args.timeout)?),
        None => None,
    };
    let mut progress = Progress::new(context.quiet, "run", "schedules", search.schedules);
    let mut found = if strategy == RunStrategy::Exhaustive {
        exhaustive::search(fleet.one()?, args, search.clone(), &mut progress, context)?
    } else {
        Search::run(fleet, &search, state.as_mut(), |found| {
            progress.note(match found.failures {
                0 => String::new(),
                failures => plural(failures, "failure"),
            });
            progress.update(found.schedules + found.unusable);
            !context.interrupt.load(Ordering::Relaxed)
        })?
    };
    progress.finish();
    let is_through = found.complete && found.failures == 0 && found.races.first.is_none();
    let draws =
        strategy.is_controlled() && strategy != RunStrategy::Exhaustive && args.state.is_none();
    if let Some(target) = target.filter(|_| draws && is_through)
        && let Some((plan, execution, _)) = surveyed::survey(
            target,
            fleet.one()?,
            &search.plan,
            (search.schedules, end),
            context,
        )?
    {
        found.add(&plan, execution);
    }
    Ok(found)
}

/// Where the reproducer was written to, if one was asked for.
fn saved<'a>(
    args: &'a ProgramRunArgs,
    program: &UserProgram,
    failed: &Failed,
) -> Result<Option<&'a Path>, Box<dyn std::error::Error>> {
    let (Some(path), Some(failure)) = (&args.save, &failed.shown.failure) else {
        return Ok(None);
    };
    let text = RunReproducer::new(program, &failed.minimised.plan, &failed.shown, failure)
        .of_target(failed.setup.as_ref())
        .to_text()?;
    output::write(path, &text)?;
    Ok(Some(path))
}

impl ProgramRunArgs {
    /// The program's file.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let program = self.program.split_first();
        let found = program.and_then(|(name, rest)| UserProgram::find(name, rest).ok());
        found.map(|program| program.path).into_iter().collect()
    }

    /// What is run: the target's driver, or the program that is named.
    fn program(
        &self,
        target: Option<&PreparedTarget>,
    ) -> Result<UserProgram, Box<dyn std::error::Error>> {
        if target.is_some() && self.workers > 1 {
            return Err(
                "--workers: a target's schedules are run one after the other. What they aim at \
                        are places in its memory, which differ from process to process"
                    .into(),
            );
        }
        match (target, self.program.split_first()) {
            (Some(target), _) => Ok(target.program.clone()),
            (None, Some((name, rest))) => {
                Ok(UserProgram::find(name, rest)?.tracked(self.tracking.plan()?))
            }
            (None, None) => Err("no program was given".into()),
        }
    }

    fn launch_options(&self, controlled: bool, context: &Context) -> LaunchOptions {
        LaunchOptions {
            timeout: self.timeout,
            output: match (controlled && !self.pass_through, context.format) {
                (true, _) => ProgramOutput::Kept,
                // In one stream nothing of it can come behind the end of what GitHub ignores.
                (false, Format::Human) if context.github => ProgramOutput::OurStdout,
                (false, Format::Human) => ProgramOutput::Ours,
                (false, Format::Json) => ProgramOutput::OurStderr,
            },
        }
    }

    fn search_plan(&self, strategy: RunStrategy, context: &Context) -> SearchPlan {
        let plan = RunPlan {
            max_steps: self.steps,
            spurious: self.spurious,
            early_percent: self.early_timeouts,
            races: self.races(),
            ..RunPlan::new(strategy, context.seed.unwrap_or(1), self.first)
        };
        let several = if strategy.is_controlled() {
            SCHEDULES
        } else {
            1
        };
        SearchPlan {
            plan,
            schedules: self.schedules.unwrap_or(several),
            first: self.first,
            duration: self.duration,
            keep_going: self.keep_going,
        }
    }

    fn races(&self) -> RacePlan {
        match (self.data_races, &self.state) {
            (DataRaces::Last, Some(_)) => DataRaces::First.plan(),
            (races, _) => races.plan(),
        }
    }
}

impl RunStrategyArg {
    fn strategy(self, depth: u32) -> RunStrategy {
        match self {
            RunStrategyArg::Observe => RunStrategy::Observe,
            RunStrategyArg::Perturb => RunStrategy::Perturb,
            RunStrategyArg::Random => RunStrategy::Random,
            RunStrategyArg::Pos => RunStrategy::Pos,
            RunStrategyArg::Pct => RunStrategy::Pct { depth },
            RunStrategyArg::Surw => RunStrategy::Surw,
            RunStrategyArg::Rff => RunStrategy::Rff,
            RunStrategyArg::Few => RunStrategy::Few,
            RunStrategyArg::Rare => RunStrategy::Rare,
            RunStrategyArg::Mix => RunStrategy::Mix,
            RunStrategyArg::Exhaustive => RunStrategy::Exhaustive,
        }
    }
}
