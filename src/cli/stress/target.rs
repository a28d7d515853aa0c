//! `stress --target`: real threads of the driver in a process of its own, and what they showed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::super::args::ServerArg;
use super::super::outcome::{CommandOutcome, Context, Format};
use super::super::output::{self, OutputKind};
use super::super::progress::Progress;
use super::super::run::surveyed::{self, Surveyed, SurveyedFailure};
use super::super::run::target::{PreparedTarget, smallest};
use super::super::run::{Failed, FailedOptions, shrink_limit};
use super::super::stop_watch::StopWatch;
use super::super::verdict::{VerdictSummary, leak_line};
use super::StressArgs;
use crate::engine::threads::ServerChoice;
use crate::native::execution::FailureKind;
use crate::native::launcher::{LaunchOptions, ProgramOutput};
use crate::native::plan::RunStrategy;
use crate::native::target::TargetSetup;
use crate::native::target::shrink::shrink_ops;
use crate::native::{Execution, LaunchError, Launcher, RunPlan, RunReproducer, WorkLimit};
use crate::numbers::{grouped, plural};
use crate::oracle::Verdict;
use crate::report::page::text::shell_word;
use crate::scenario::Scenario;

/// Options of `stress` about targets.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Target")]
pub(crate) struct StressTargetArgs {
    /// Drive this shared library, an allocator with or without lifecycle code, instead of
    /// heisenbed's own: it exports hb_target_v1 (include/heisenbed.h, docs/targets.md). With it
    /// --record keeps a reproducer (.toml) of what failed, made small
    #[arg(long, value_name = "LIB", conflicts_with_all = ["discipline", "defect", "allocator"])]
    pub(crate) target: Option<PathBuf>,
    /// What the target's `open` is given as `options`, for switches of its own
    #[arg(long, value_name = "TEXT", requires = "target")]
    pub(crate) target_options: Option<String>,
}

/// Runs the subcommand with a target.
pub(super) fn run(
    args: &StressArgs,
    library: &Path,
    scenario: Scenario,
    context: &Context,
) -> CommandOutcome {
    try_run(args, library, scenario, context)
        .unwrap_or_else(|error| CommandOutcome::bad_input(error, context.format))
}

fn try_run(
    args: &StressArgs,
    library: &Path,
    scenario: Scenario,
    context: &Context,
) -> Result<CommandOutcome, Box<dyn std::error::Error>> {
    let ServerArg(ServerChoice::InProcess) = &args.server else {
        return Err(format!(
            "--server {}: a target's messages reach heisenbed's own server, in its process",
            args.server
        )
        .into());
    };
    let record = args.record.as_deref().filter(|record| *record != "none");
    if let Some(path) = record {
        no_trace(Path::new(path))?;
        output::may_replace(Path::new(path), OutputKind::RunReproducer, args.force)?;
    }
    let options = args.target.target_options.as_deref().unwrap_or_default();
    let target = PreparedTarget::new(library, options, scenario, 0, None)?;
    context.catch_interrupts();
    let started = Instant::now();
    let mut launcher = Launcher::start(
        &target.program,
        LaunchOptions {
            timeout: patience(&target.setup),
            output: ProgramOutput::Kept,
        },
    )?;
    let mut stressed = StressedTarget::new(target, context);
    stressed.run(args, &mut launcher, context)?;
    if stressed.summary.verdict == Verdict::Clean {
        stressed.survey(&mut launcher, context)?;
    }
    if let (None, Some(crash)) = (&stressed.failed, stressed.target.crash()) {
        return Err(crash.into());
    }
    if stressed.failed.is_some() {
        let limit = shrink_limit(started, args.duration, context);
        stressed.shrink(&mut launcher, &limit, context)?;
        if stressed.is_left_large() {
            stressed.survey_for_less(&mut launcher, &limit, context)?;
        }
    }
    let mut reproducer = None;
    if let (Some(path), Some(failed)) = (record, &stressed.shown)
        && let Some(failure) = &failed.shown.failure
    {
        let text = RunReproducer::new(
            &stressed.target.program,
            &failed.minimised.plan,
            &failed.shown,
            failure,
        )
        .of_target(failed.setup.as_ref())
        .to_text()?;
        output::write(Path::new(path), &text)?;
        reproducer = Some(path.to_owned());
    }
    stressed.summary.reproducer = reproducer;
    let mut outcome = stressed.outcome(context);
    if let Some(path) = record.filter(|_| stressed.summary.reproducer.is_none()) {
        let _ = writeln!(
            outcome.stderr,
            "note: no failure was made small, so {path} was not written"
        );
    }
    Ok(outcome)
}

/// What is kept of a target is its schedule, which can be run again. A trace has the steps of a
/// discipline, and a replay of a trace executes those: of somebody's code there are none.
fn no_trace(path: &Path) -> Result<(), String> {
    if path.extension().is_none_or(|extension| extension != "hb") {
        return Ok(());
    }
    Err(format!(
        "--record {}: a target's run cannot be a trace (.hb), which is a schedule of a \
         discipline's steps; its reproducer can be: --record {}, for `heisenbed replay` and \
         `heisenbed shrink`. Its steps as a discipline, which `stress --record` can trace: \
         heisenbed extract --target",
        path.display(),
        path.with_extension("toml").display(),
    ))
}

/// For what is one of thousands of schedules, of few operations.
const SHRINK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a run may take before it is said to hang.
fn patience(setup: &TargetSetup) -> Duration {
    Duration::from_secs(30) + Duration::from_millis(setup.count() / 4)
}

struct StressedTarget {
    target: PreparedTarget,
    summary: VerdictSummary,
    /// How many runs ended with each kind of failure.
    kinds: BTreeMap<String, u64>,
    runs_clean: u64,
    first_run: Option<u64>,
    failed: Option<(RunPlan, Execution, TargetSetup)>,
    shown: Option<Failed>,
    /// Where what is shown was found, if not in a run of real threads.
    shown_in: Option<String>,
    interrupted: bool,
    tracks: bool,
}

/// What has more operations left than this is no small failure.
const SMALL: u64 = 12;

impl StressedTarget {
    fn new(target: PreparedTarget, context: &Context) -> StressedTarget {
        let seed = context.seed.unwrap_or(target.scenario.seed);
        StressedTarget {
            summary: VerdictSummary::new(target.setup.ops.len() as u16, seed),
            kinds: BTreeMap::new(),
            runs_clean: 0,
            first_run: None,
            failed: None,
            shown: None,
            shown_in: None,
            interrupted: false,
            tracks: target.about.tracks(),
            target,
        }
    }

    fn run(
        &mut self,
        args: &StressArgs,
        launcher: &mut Launcher,
        context: &Context,
    ) -> Result<(), LaunchError> {
        let started = Instant::now();
        let runs = match (args.duration, args.runs) {
            (_, Some(runs)) => runs,
            (Some(_), None) => u64::MAX,
            (None, None) => 1,
        };
        let strategy = match self.target.scenario.perturb {
            true => RunStrategy::Perturb,
            false => RunStrategy::Observe,
        };
        let total = if runs == u64::MAX { 0 } else { runs };
        let mut progress = Progress::new(context.quiet, "stress", "runs", total);
        let watch = StopWatch::new(context, args.duration.map(|duration| started + duration));
        for run in 0..runs {
            if watch.is_over() {
                self.interrupted = context.interrupt.load(Ordering::Relaxed);
                break;
            }
            let setup = self.target.setup_of(run);
            launcher.drive(setup.clone())?;
            let plan = RunPlan::new(strategy, self.summary.seed, run);
            let execution = launcher.run(&plan)?;
            let hung = execution
                .failure
                .as_ref()
                .is_some_and(|failure| failure.kind == FailureKind::Livelock);
            self.add(run, plan, execution, setup);
            progress.update(run + 1);
            // Another one would hang as long.
            if hung {
                break;
            }
        }
        progress.finish();
        self.summary.elapsed_s = started.elapsed().as_secs_f64();
        if self.interrupted && self.summary.verdict != Verdict::Diverged {
            self.undecided("interrupted".to_owned());
        } else if self.summary.schedules == 0 {
            self.undecided("the time was up before the first run".to_owned());
        }
        Ok(())
    }

    fn undecided(&mut self, note: String) {
        if self.summary.verdict != Verdict::Diverged {
            self.summary.verdict = Verdict::Inconclusive;
            self.summary.complete = false;
            self.summary.note.get_or_insert(note);
        }
    }

    fn add(&mut self, run: u64, plan: RunPlan, execution: Execution, setup: TargetSetup) {
        match &execution.tracked {
            Some(tracked) => {
                let mut report = tracked.report.clone();
                report.ops = setup.count();
                self.summary.add(&report);
            }
            None => {
                self.summary.schedules += 1;
                self.summary.ops += setup.count();
            }
        }
        self.summary.steps = self.summary.steps.saturating_add(execution.step_count);
        if let Some(why) = execution.unusable() {
            self.undecided(why);
            return;
        }
        let Some(failure) = &execution.failure else {
            self.runs_clean += 1;
            return;
        };
        *self
            .kinds
            .entry(failure.kind.name().to_owned())
            .or_default() += 1;
        self.summary.verdict = Verdict::Diverged;
        if self.first_run.is_none() {
            self.first_run = Some(run);
            self.failed = Some((plan, execution, setup));
        }
    }

    /// What drawn programs show of the target.
    fn surveyed(
        &mut self,
        launcher: &mut Launcher,
        context: &Context,
    ) -> Result<Option<SurveyedFailure>, Box<dyn std::error::Error>> {
        launcher.set_timeout(SHRINK_TIMEOUT);
        let plan = RunPlan::new(RunStrategy::First, self.summary.seed, 0);
        surveyed::survey(&mut self.target, launcher, &plan, (0, None), context)
    }

    /// The same, where real threads showed nothing.
    fn survey(
        &mut self,
        launcher: &mut Launcher,
        context: &Context,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let found = self.surveyed(launcher, context)?;
        let unconfirmed = |surveyed: &Surveyed| surveyed.unconfirmed.clone();
        if let Some(why) = self.target.surveyed.as_ref().and_then(unconfirmed) {
            self.undecided(why);
        }
        if let Some((plan, execution, setup)) = found {
            let kind = execution.failure.as_ref().map(|failure| failure.kind);
            let kind = kind.map_or("failure", |kind| kind.name());
            self.kinds.insert(kind.to_owned(), 1);
            self.summary.verdict = Verdict::Diverged;
            self.failed = Some((plan, execution, setup));
        }
        Ok(())
    }

    /// Whether what real threads showed was not made small under control.
    fn is_left_large(&self) -> bool {
        let setup = self.shown.as_ref().and_then(|failed| failed.setup.as_ref());
        self.surveyed_place().is_none() && setup.is_none_or(|setup| setup.count() > SMALL)
    }

    /// A drawn program in which the target fails by less, whatever it is: to be shown beside what
    /// real threads did.
    fn survey_for_less(
        &mut self,
        launcher: &mut Launcher,
        limit: &WorkLimit,
        context: &Context,
    ) -> Result<(), Box<dyn std::error::Error>> {
        if let Some(found) = self.surveyed(launcher, context)? {
            let by_threads = self.failed.replace(found);
            let large = self.shown.take();
            self.shrink(launcher, limit, context)?;
            self.failed = by_threads;
            self.shown_in = self.surveyed_place();
            if self.is_larger_than(large.as_ref()) {
                self.shown = large;
                self.shown_in = None;
            }
        }
        // What real threads showed is the failure.
        self.target.surveyed = None;
        Ok(())
    }

    fn is_larger_than(&self, other: Option<&Failed>) -> bool {
        let count = |failed: &Failed| failed.setup.as_ref().map(TargetSetup::count);
        let other = other.and_then(count);
        match self.shown.as_ref().and_then(count) {
            Some(own) => other.is_some_and(|other| own > other),
            None => true,
        }
    }

    /// What one thread alone showed.
    fn surveyed_place(&self) -> Option<String> {
        self.target.surveyed.as_ref().and_then(Surveyed::place)
    }

    /// Looks for the failure under control, in what was begun of the run.
    fn shrink(
        &mut self,
        launcher: &mut Launcher,
        limit: &WorkLimit,
        context: &Context,
    ) -> Result<(), LaunchError> {
        let Some((plan, execution, setup)) = &self.failed else {
            return Ok(());
        };
        let begun = launcher.begun(execution, setup)?;
        launcher.set_timeout(SHRINK_TIMEOUT);
        let mut progress = Progress::new(context.quiet, "shrink", "schedules", 0);
        let mut shrunk = None;
        let surveyed = self.target.surveyed.as_ref();
        let is_to_shrink = surveyed::is_to_shrink(surveyed);
        for ops in [&begun, setup].into_iter().filter(|_| is_to_shrink) {
            launcher.drive(ops.clone())?;
            shrunk = launcher.within(limit, |launcher| {
                shrink_ops(launcher, (plan, execution), &mut |tried| {
                    progress.update(tried);
                    true
                })
            })?;
            if let Some(shrunk) = &mut shrunk {
                shrunk.before = setup.count();
                break;
            }
        }
        progress.finish();
        let Some(fewer) = surveyed::fewer_ops(surveyed, shrunk.as_ref()) else {
            return Ok(());
        };
        let (plan, execution) = match &shrunk {
            Some(shrunk) => (&shrunk.plan, &shrunk.execution),
            // It was found under control, and made small before.
            None => {
                launcher.drive(setup.clone())?;
                (plan, execution)
            }
        };
        let options = FailedOptions {
            limit: limit.clone(),
            ..FailedOptions::default()
        };
        let mut failed = Failed::new(launcher, options, plan, execution, context)?;
        failed.fewer_ops = Some(fewer);
        self.shown = Some(failed);
        Ok(())
    }

    fn outcome(&self, context: &Context) -> CommandOutcome {
        let stdout = match context.format {
            Format::Json => self.json(),
            Format::Human => self.text(),
        };
        CommandOutcome {
            stdout,
            exit_code: self.summary.exit_code(),
            ..CommandOutcome::default()
        }
    }

    fn json(&self) -> String {
        let failure = self.failed.as_ref().and_then(|(_, execution, _)| {
            let failure = execution.failure.as_ref()?;
            Some(json!({
                "kind": failure.kind, "summary": failure.summary, "thread": failure.thread,
            }))
        });
        let shown = self.shown.as_ref().and_then(|failed| failed.setup.as_ref());
        let smallest = shown.map(|setup| {
            let texts = |ops: &Vec<_>| ops.iter().map(ToString::to_string).collect::<Vec<_>>();
            setup.ops.iter().map(texts).collect::<Vec<_>>()
        });
        let mut more = json!({
            "divergences": self.kinds,
            "runs": self.summary.schedules,
            "runs_clean": self.runs_clean,
            "runs_diverged": match self.surveyed_place() {
                Some(_) => 0,
                None => self.kinds.values().sum::<u64>(),
            },
            "interrupted": self.interrupted,
            "first_run": self.first_run,
            "failure": failure,
            "smallest": smallest,
            "smallest_in": self.shown_in,
            "target": self.target.json(),
            "scenario": self.target.scenario.name,
        });
        if let (false, Some(more)) = (self.tracks, more.as_object_mut()) {
            // No message was looked at.
            more.insert("check".to_owned(), serde_json::Value::Null);
        }
        self.summary.json(&more)
    }

    fn text(&self) -> String {
        let summary = &self.summary;
        let mut text = self.target.headline();
        let _ = writeln!(
            text,
            "{}, {}{}\n",
            plural(summary.schedules, "run"),
            self.amount(),
            match self.tracks {
                true => format!("; {}", plural(summary.messages, "message")),
                false => String::new(),
            },
        );
        match summary.verdict {
            Verdict::Diverged => self.write_failure(&mut text),
            Verdict::Inconclusive => {
                let note = summary.note.as_deref().unwrap_or_default();
                let _ = writeln!(text, "inconclusive: {note}");
            }
            Verdict::Clean | Verdict::Proved => text.push_str("clean: nothing failed\n"),
        }
        if self.tracks {
            text.push_str(&leak_line(summary.leaks));
        }
        text
    }

    /// How much was done, as far as that is known: a run that fails ends there.
    fn amount(&self) -> String {
        let summary = &self.summary;
        let ops = plural(summary.ops, "operation");
        let seconds = summary.elapsed_s;
        if self.runs_clean == summary.schedules {
            let rate = grouped((summary.ops as f64 / seconds.max(1e-9)) as u64);
            return format!("{ops} in {seconds:.2} s ({rate} a second)");
        }
        format!(
            "{} to their end, of {ops} in all, in {seconds:.2} s",
            grouped(self.runs_clean)
        )
    }

    fn write_failure(&self, text: &mut String) {
        if let (Some(place), Some((_, execution, _))) = (self.surveyed_place(), &self.failed)
            && let Some(failure) = &execution.failure
        {
            let _ = writeln!(text, "{}: {}\n  {place}", failure.kind, failure.summary);
            if let Some(failed) = &self.shown {
                text.push_str(&smallest(failed));
                text.push_str(&failed.story);
            }
            return;
        }
        for (kind, count) in &self.kinds {
            let of = plural(self.summary.schedules, "run");
            let _ = writeln!(text, "{kind}: in {} of {of}", grouped(*count));
        }
        if let Some((_, execution, _)) = &self.failed
            && let Some(failure) = &execution.failure
        {
            let run = self.first_run.unwrap_or(0);
            let _ = writeln!(text, "first in run {run}: {}", failure.summary);
        }
        match &self.shown {
            Some(failed) => {
                let kind = failed.shown.failure.as_ref().map(|failure| failure.kind);
                let kind = kind.map_or_else(String::new, |kind| format!(" ({kind})"));
                let _ = match &self.shown_in {
                    Some(place) => writeln!(
                        text,
                        "\nUnder control it was not made small. By less it fails so{kind}, {place}:"
                    ),
                    None => writeln!(text, "\nUnder control it fails, too{kind}:"),
                };
                text.push_str(&smallest(failed));
                text.push_str(&failed.story);
                if let Some(path) = &self.summary.reproducer {
                    let _ = writeln!(text, "\nTo see it again: heisenbed replay {path}");
                }
            }
            None => {
                let _ = writeln!(
                    text,
                    "\nIt did not show in the few controlled schedules of this workload; a search: \
                     heisenbed run --target {}{}\n(of what is not built by `heisenbed cc` or \
                     `heisenbed c++`, no thread is stopped between loads and stores: it may find \
                     nothing)",
                    self.target.program.path.display(),
                    match self.target.setup.options.as_str() {
                        "" => String::new(),
                        options => format!(" --target-options {}", shell_word(options)),
                    },
                );
            }
        }
    }
}
