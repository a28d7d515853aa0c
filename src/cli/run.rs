//! `heisenbed run`: the user's own program, under heisenbed's schedulers.

pub(super) mod again;
mod exhaustive;
mod race_report;
mod tracking;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::args::parse_duration;
use super::exit::ExitStatus;
use super::outcome::{CommandOutcome, Context, Format};
use super::output::{self, OutputKind};
use super::progress::Progress;
use crate::native::exhaustive::MinimumProof;
use crate::native::launcher::{LaunchOptions, ProgramOutput};
use crate::native::minimise::{Minimised, minimise};
use crate::native::plan::RunStrategy;
use crate::native::race_text::RaceList;
use crate::native::races::RacePlan;
use crate::native::{
    Execution, Fleet, LaunchError, Launcher, RunPlan, RunReproducer, Search, SearchPlan,
    SearchState, Symbols, UserProgram,
};
use crate::numbers::{grouped, plural};
use crate::oracle::Verdict;

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
    heisenbed run --strategy observe -- pigz -k file"
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
    /// Fork servers that run schedules at the same time; the results do not depend on it
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: u16,
    /// Stop after this long (90s, 10m, 2h), however many schedules are left
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
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = DataRacesArg::Last)]
    pub(crate) data_races: DataRacesArg,
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
    /// Write a reproducer of the failing schedule to FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Replace the file of --save also where it is no reproducer
    #[arg(long, requires = "save")]
    pub(crate) force: bool,
    /// Its messages to a tracking server
    #[command(flatten)]
    pub(crate) tracking: tracking::TrackingArgs,
    /// The program, and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
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
    /// surw, rff, few and pos in turn
    Mix,
    /// Every schedule that differs, each once: where none fails, that is a proof
    Exhaustive,
}

/// `--data-races`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DataRacesArg {
    /// Go on; report one as the failure where nothing else failed in the end
    Last,
    /// The first one is a failure as any other
    First,
    /// Do not look for them
    Ignore,
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
    let Some((name, rest)) = args.program.split_first() else {
        return Err("no program was given".into());
    };
    let program = UserProgram::find(name, rest)?.tracked(args.tracking.plan()?);
    exhaustive::check(args)?;
    if let Some(path) = &args.save {
        output::may_replace(path, OutputKind::RunReproducer, args.force)?;
    }
    let strategy = args.strategy.strategy(args.depth.unwrap_or(3));
    let controlled = strategy.is_controlled();
    let options = LaunchOptions {
        timeout: args.timeout,
        output: match (controlled && !args.pass_through, context.format) {
            (true, _) => ProgramOutput::Kept,
            (false, Format::Human) => ProgramOutput::Ours,
            (false, Format::Json) => ProgramOutput::OurStderr,
        },
        core: 0,
    };
    context.catch_interrupts();
    let started = Instant::now();
    let workers = if controlled { args.workers.into() } else { 1 };
    let mut fleet = Fleet::start(&program, options, workers)?;
    let schedules = args
        .schedules
        .unwrap_or(if controlled { SCHEDULES } else { 1 });
    let plan = RunPlan {
        max_steps: args.steps,
        spurious: args.spurious,
        early_percent: args.early_timeouts,
        races: args.races(),
        ..RunPlan::new(strategy, context.seed.unwrap_or(1), args.first)
    };
    let search = SearchPlan {
        plan,
        schedules,
        first: args.first,
        duration: args.duration,
        keep_going: args.keep_going,
    };
    let mut state = match &args.state {
        Some(path) => Some(SearchState::open(path, &program, &search, args.timeout)?),
        None => None,
    };
    let mut progress = Progress::new(context.quiet, "run", "schedules", schedules);
    let mut found = if strategy == RunStrategy::Exhaustive {
        exhaustive::search(fleet.one()?, args, search, &mut progress, context)?
    } else {
        Search::run(&mut fleet, &search, state.as_mut(), |found| {
            progress.note(match found.failures {
                0 => String::new(),
                failures => plural(failures, "failure"),
            });
            progress.update(found.schedules + found.unusable);
            !context.interrupt.load(Ordering::Relaxed)
        })?
    };
    progress.finish();
    let symbols = Symbols::new(fleet.one()?.maps());
    found.accuse_races(&symbols);
    let races = RaceList::new(&found.races, &symbols);
    let failed = match &found.failed {
        Some((plan, execution)) if controlled => {
            Some(Failed::new(fleet.one()?, args, plan, execution, context)?)
        }
        _ => None,
    };
    let mut reproducer = None;
    if let (Some(path), Some(failed)) = (&args.save, &failed)
        && let Some(failure) = &failed.shown.failure
    {
        let text = RunReproducer::new(&program, &failed.minimised.plan, &failed.shown, failure)
            .to_text()?;
        output::write(path, &text)?;
        reproducer = Some(path.as_path());
    }
    let report = RunReport {
        args,
        program: &program,
        found: &found,
        races: &races,
        failed: failed.as_ref(),
        reproducer,
        seed: context.seed.unwrap_or(1),
        strategy,
        elapsed: started.elapsed(),
        interrupted: context.interrupt.load(Ordering::Relaxed),
    };
    Ok(report.outcome(context))
}

impl ProgramRunArgs {
    fn races(&self) -> RacePlan {
        match (self.data_races, &self.state) {
            (DataRacesArg::Last, Some(_)) => DataRacesArg::First.plan(),
            (races, _) => races.plan(),
        }
    }
}

impl DataRacesArg {
    fn plan(self) -> RacePlan {
        match self {
            DataRacesArg::Last => RacePlan::LOOK,
            DataRacesArg::First => RacePlan::FAIL,
            DataRacesArg::Ignore => RacePlan::default(),
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
            RunStrategyArg::Mix => RunStrategy::Mix,
            RunStrategyArg::Exhaustive => RunStrategy::Exhaustive,
        }
    }
}

/// A failing schedule, made small, and run once more to be shown.
struct Failed {
    minimised: Minimised,
    shown: Execution,
    story: String,
    /// Running it again came to the same.
    repeats: bool,
    /// Whether fewer preemptions can do.
    minimum: Option<MinimumProof>,
}

impl Failed {
    fn new(
        launcher: &mut Launcher,
        args: &ProgramRunArgs,
        plan: &RunPlan,
        execution: &Execution,
        context: &Context,
    ) -> Result<Failed, LaunchError> {
        let mut progress = Progress::new(context.quiet, "shrink", "schedules", 0);
        let mut minimised = minimise(launcher, plan, execution, |tried| {
            progress.update(tried);
            !args.no_shrink && !context.interrupt.load(Ordering::Relaxed)
        })?;
        progress.finish();
        let minimum = match args.no_shrink {
            true => None,
            false => {
                exhaustive::prove(launcher, plan, &mut minimised, args.prove_minimum, context)?
            }
        };
        let (shown, story) = again::show(launcher, &minimised.plan)?;
        let kind = |execution: &Execution| execution.failure.as_ref().map(|failure| failure.kind);
        let repeats = shown.strayed.is_none()
            && kind(&shown) == kind(&minimised.execution)
            && shown.step_count == minimised.execution.step_count;
        Ok(Failed {
            minimised,
            shown,
            story,
            repeats,
            minimum,
        })
    }
}

struct RunReport<'a> {
    args: &'a ProgramRunArgs,
    program: &'a UserProgram,
    found: &'a Search,
    races: &'a RaceList,
    failed: Option<&'a Failed>,
    reproducer: Option<&'a Path>,
    seed: u64,
    strategy: RunStrategy,
    elapsed: Duration,
    interrupted: bool,
}

impl RunReport<'_> {
    fn verdict(&self) -> (Verdict, Option<String>) {
        let found = self.found;
        if found.failures > 0 {
            return (Verdict::Diverged, None);
        }
        if let (false, Some(exhausted)) = (self.interrupted, &found.exhausted) {
            return exhausted.verdict();
        }
        let note = if self.interrupted {
            Some("interrupted".to_owned())
        } else if found.schedules == 0 {
            let why = found.unusable_why.clone();
            Some(why.unwrap_or_else(|| "the time was up before the first schedule".to_owned()))
        } else if !found.complete {
            Some("the time was up".to_owned())
        } else if found.unusable > 0 {
            let why = found.unusable_why.as_deref().unwrap_or_default();
            Some(format!(
                "{} came to no end of their own: {why}",
                plural(found.unusable, "schedule")
            ))
        } else {
            let tracked = found.tracked.as_ref();
            tracked
                .and_then(|tally| tracking::note(tally, found.schedules))
                .or_else(|| {
                    found.races.gave_up.map(|why| {
                        format!(
                            "data races were not looked for to the end: {why}; --data-races \
                             ignore leaves them out"
                        )
                    })
                })
        };
        let verdict = if note.is_some() {
            Verdict::Inconclusive
        } else {
            Verdict::Clean
        };
        (verdict, note)
    }

    fn outcome(&self, context: &Context) -> CommandOutcome {
        let (verdict, note) = self.verdict();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        match context.format {
            Format::Json => {
                let _ = writeln!(stdout, "{}", self.json(verdict, note.as_deref()));
            }
            // What the program printed is all that stdout is to have.
            Format::Human if self.args.pass_through || !self.strategy.is_controlled() => {
                if !context.quiet || verdict != Verdict::Clean {
                    stderr = self.text(verdict, note.as_deref());
                }
            }
            Format::Human => stdout = self.text(verdict, note.as_deref()),
        }
        for warning in self.warnings() {
            let _ = writeln!(stderr, "note: {warning}");
        }
        if let Some(path) = &self.args.save
            && self.reproducer.is_none()
        {
            let path = path.display();
            let _ = writeln!(stderr, "note: nothing failed, so {path} was not written");
        }
        CommandOutcome {
            stdout,
            stderr,
            exit_code: self.exit_code(verdict),
        }
    }

    /// 0 also where a weak check was all that was asked for, and found nothing.
    fn exit_code(&self, verdict: Verdict) -> u8 {
        let found = self.found;
        let tracked = found.tracked.as_ref();
        let weak_only = verdict == Verdict::Inconclusive
            && !self.interrupted
            && found.complete
            && found.unusable == 0
            && tracked.is_some_and(|tally| tally.incomplete == 0 && tally.weak > 0);
        match weak_only {
            true => ExitStatus::Holds.code(),
            false => ExitStatus::of(verdict).code(),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.program.warnings.clone();
        let found = self.found;
        if self.strategy.is_controlled() && found.schedules > 0 && found.threads < 2 {
            warnings.push("it had one thread only: there was nothing to schedule".to_owned());
        }
        if found.children > 0 {
            warnings.push(format!(
                "it started processes ({}): they were not controlled",
                grouped(found.children)
            ));
        }
        if found.swept > 0 {
            warnings.push(format!(
                "it left processes behind ({}): they were ended",
                grouped(found.swept)
            ));
        }
        if let Some(why) = found.races.gave_up.filter(|_| found.failures > 0) {
            warnings.push(format!("data races were not looked for to the end: {why}"));
        }
        if let Some(tally) = found.tracked.as_ref().filter(|_| found.failures > 0)
            && let Some(note) = tracking::note(tally, found.schedules)
        {
            warnings.push(note);
        }
        if found.outside > 0 {
            warnings.push(format!(
                "{} were left to the system (waiting for processes or signals): what came between \
                 is not part of the schedule",
                plural(found.outside, "call")
            ));
        }
        warnings
    }

    fn json(&self, verdict: Verdict, note: Option<&str>) -> serde_json::Value {
        let found = self.found;
        let failure = found
            .failed
            .as_ref()
            .and_then(|(_, execution)| execution.failure.as_ref());
        let shown = self.failed.map(|failed| &failed.shown);
        let mut value = json!({
            "verdict": verdict,
            "note": note,
            "program": self.program.path,
            "strategy": self.strategy.name(),
            "schedules": found.schedules,
            "failures": found.failures,
            "unusable": found.unusable,
            "steps": found.steps,
            "threads": found.threads,
            "failure": failure.map(|failure| json!({
                "kind": failure.kind,
                "summary": failure.summary,
                "thread": failure.thread,
                "schedule": found.failed.as_ref().map(|(plan, _)| plan.index),
                "strategy": found.failed.as_ref().map(|(plan, _)| plan.strategy.name()),
            })),
            "data_races": race_report::json(self.races),
            "distinct_data_races": self.races.count(),
            "preemptions": shown.map(|shown| shown.preempted.len()),
            "repeats": self.failed.map(|failed| failed.repeats),
            "accesses": found.accesses,
            "children": found.children,
            "outside": found.outside,
            "elapsed_s": self.elapsed.as_secs_f64(),
            "seed": self.seed,
            "reproducer": self.reproducer,
            "exhaustive": found.exhausted.as_ref().map(exhaustive::json),
            "minimum": self.failed.and_then(|failed| failed.minimum.as_ref()).map(exhaustive::minimum_json),
        });
        let tracked = found.tracked.as_ref().map(tracking::json);
        if let (Some(object), Some(Value::Object(more))) = (value.as_object_mut(), tracked) {
            object.extend(more);
        }
        value
    }

    fn text(&self, verdict: Verdict, note: Option<&str>) -> String {
        let found = self.found;
        let mut text = String::new();
        let rate = found.schedules as f64 / found.elapsed.as_secs_f64().max(1e-6);
        let drawn = format!(
            "{} {} (seed {}), {}, at most {} of {}, in {:.1} s ({} a second)",
            plural(found.schedules, "schedule"),
            match self.strategy {
                RunStrategy::Exhaustive => "run one after another".to_owned(),
                strategy => format!("drawn by {}", strategy.name()),
            },
            self.seed,
            plural(found.steps, "step"),
            plural(found.longest, "step"),
            plural(found.threads.into(), "thread"),
            found.elapsed.as_secs_f64(),
            grouped(rate as u64),
        );
        match (verdict, &found.failed) {
            (Verdict::Diverged, Some((plan, execution))) => {
                let failure = execution.failure.as_ref();
                let (kind, summary) = failure.map_or(("failure", ""), |failure| {
                    (failure.kind.name(), failure.summary.as_str())
                });
                let _ = writeln!(text, "{kind}: {summary}");
                let _ = writeln!(
                    text,
                    "  in schedule {}{}; {} failed of {drawn}",
                    plan.index,
                    self.made_by(plan),
                    found.failures
                );
            }
            (Verdict::Proved, _) => text.push_str(&exhaustive::proved(found, &drawn)),
            (Verdict::Inconclusive, _) => {
                let _ = writeln!(text, "inconclusive: {}", note.unwrap_or_default());
                let _ = writeln!(text, "  nothing failed in {drawn}");
            }
            _ => {
                let _ = writeln!(text, "clean: nothing failed in {drawn}");
            }
        }
        if let Some(tally) = &found.tracked {
            text.push_str(&tracking::text(tally));
        }
        if let Some(failed) = self.failed {
            self.write_failed(&mut text, failed);
        }
        let shown = self.failed.and_then(|failed| failed.shown.race.as_ref());
        race_report::write_others(&mut text, self.races, shown);
        text
    }

    /// Where strategies take turns: whose turn it was.
    fn made_by(&self, plan: &RunPlan) -> String {
        if plan.strategy.name() == self.strategy.name() {
            String::new()
        } else {
            format!(" by {}", plan.strategy.name())
        }
    }

    fn write_failed(&self, text: &mut String, failed: &Failed) {
        let (before, after) = (
            failed.minimised.preemptions_before,
            failed.shown.preempted.len(),
        );
        if before > after {
            let _ = writeln!(
                text,
                "  shrunk from {} to {after} ({} tried); no single one of them can be left out",
                plural(before as u64, "preemption"),
                plural(failed.minimised.tried, "schedule")
            );
        }
        if let Some(minimum) = &failed.minimum {
            text.push_str(&exhaustive::minimum(minimum, after as u64));
        }
        if !failed.repeats {
            let _ = writeln!(
                text,
                "  run again it did not come to the same: something in it is not controlled"
            );
        }
        text.push_str(&failed.story);
        for (name, said) in [
            ("stdout", &failed.shown.stdout),
            ("stderr", &failed.shown.stderr),
        ] {
            let lines: Vec<&str> = said.lines().collect();
            if lines.is_empty() {
                continue;
            }
            let _ = writeln!(text, "\nThe end of its {name}:");
            for line in &lines[lines.len().saturating_sub(8)..] {
                let _ = writeln!(text, "  {line}");
            }
        }
        if let Some(path) = self.reproducer {
            let path = path.display();
            let _ = writeln!(text, "\nTo see it again: heisenbed replay {path}");
        }
    }
}
