//! `heisenbed stress`: real threads, real sockets, a recorded run, checked.

mod advice;
mod target;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::args::{ServerArg, parse_duration};
use super::outcome::{CommandOutcome, Context, Format};
use super::output::{self, OutputKind};
use super::progress::Progress;
use super::recording::Recording;
use super::scenario_args::ScenarioArgs;
use super::stop_watch::StopWatch;
use super::symptoms;
use super::verdict::{VerdictSummary, divergence_table, headline_with, leak_line, place};
use crate::engine::threads::{
    CheckedRun, CheckedRunError, Killed, RunConfig, RunError, ServerChoice, checked_run,
    recorded_and_checked, recorded_in,
};
use crate::numbers::{grouped, plural};
use crate::oracle::{Kind, Leak, Strength, Verdict};
use crate::registry::Semantics;
use crate::scenario::Scenario;

/// Leaks that the text output lists.
const LEAKS_SHOWN: usize = 5;

/// Arguments of `heisenbed stress`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    heisenbed stress\n  \
    heisenbed stress --discipline lifecycle-narrow --order free-first --perturb --threads 2 --ops 2000 --runs 100\n  \
    heisenbed stress --scenario reported-timeline --discipline my-fix.toml --record race.hb\n  \
    heisenbed stress --scenario reported-symptoms\n  \
    heisenbed stress --target ./my_allocator.so --perturb --runs 20")]
pub(crate) struct StressArgs {
    /// What to run.
    #[command(flatten)]
    pub(crate) scenario: ScenarioArgs,
    /// How many runs, each with other random choices; without it 1, or with --duration as many as
    /// fit
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) runs: Option<u64>,
    /// Stop after this long (500ms, 90s, 1h30m), also inside a run; what was done by then is
    /// checked
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// The server: `inproc`, `spawn` (a process of its own), or `unix:PATH` (whatever listens
    /// there)
    #[arg(long, value_name = "SERVER", default_value = "inproc")]
    pub(crate) server: ServerArg,
    /// Keep the trace in FILE (of several runs: of the first that diverged, or the last); `none`:
    /// do not record at all
    #[arg(long, value_name = "FILE|none")]
    pub(crate) record: Option<String>,
    /// Replace the file of --record also where it is no trace of a run, and append to that of
    /// --debug-log-file also where it is no debug log
    #[arg(long)]
    pub(crate) force: bool,
    /// Append the debug log to FILE instead of a temporary one
    #[arg(long, value_name = "FILE")]
    pub(crate) debug_log_file: Option<PathBuf>,
    /// A shared library in place of heisenbed's own allocators.
    #[command(flatten)]
    pub(crate) target: target::StressTargetArgs,
}

/// Where a run's trace goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum RecordTo<'a> {
    /// Checked and forgotten.
    Temporary,
    /// Kept.
    File(&'a Path),
    /// Not recorded.
    Nothing,
}

/// Runs the subcommand.
pub(crate) fn run(args: &StressArgs, context: &Context) -> CommandOutcome {
    let scenario = match args.scenario.resolve(context.seed) {
        Ok(scenario) => scenario,
        Err(error) => return CommandOutcome::bad_input(error, context.format),
    };
    if let Some(library) = &args.target.target {
        return target::run(args, library, scenario, context);
    }
    if let Some(path) = args.record.as_deref().filter(|path| *path != "none")
        && let Err(error) = output::may_replace(Path::new(path), OutputKind::RunTrace, args.force)
    {
        return CommandOutcome::bad_input(error, context.format);
    }
    if let Some(path) = &args.debug_log_file
        && let Err(error) = output::may_replace(path, OutputKind::DebugLog, args.force)
    {
        return CommandOutcome::bad_input(error, context.format);
    }
    context.catch_interrupts();
    if scenario.name == symptoms::SCENARIO {
        return symptoms::run(args, &scenario, context);
    }
    match stress(args, &scenario, context) {
        Ok(stressed) => stressed.outcome(args, &scenario, context),
        Err(error) => CommandOutcome::bad_input(error, context.format),
    }
}

/// Everything that the runs showed.
#[derive(Debug)]
struct Stressed {
    summary: VerdictSummary,
    /// Runs that came to their end, and of them those without a divergence.
    runs_done: u64,
    runs_clean: u64,
    runs_diverged: u64,
    first_run: Option<u64>,
    leaked: Vec<Leak>,
    client_dropped: u64,
    run_s: f64,
    check_s: f64,
    trace_bytes: Option<u64>,
    allocs_failed: u64,
    peak_live: u64,
    /// Where real processes ran: those that were killed.
    killed: Option<Killed>,
    /// Why there are no more runs, where more were asked for.
    cut: Option<Cut>,
}

/// What ended the work early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// `--duration`.
    TimeUp,
}

impl Cut {
    fn words(self) -> &'static str {
        match self {
            Cut::Interrupted => "interrupted",
            Cut::TimeUp => "the time was up",
        }
    }
}

fn stress(args: &StressArgs, scenario: &Scenario, context: &Context) -> Result<Stressed, String> {
    let started = Instant::now();
    let runs = match (args.duration, args.runs) {
        (_, Some(runs)) => runs,
        (Some(_), None) => u64::MAX,
        (None, None) => 1,
    };
    let file = args
        .record
        .as_deref()
        .filter(|record| *record != "none")
        .map(Path::new);
    let mut stressed = Stressed {
        summary: VerdictSummary::new(scenario.threads, scenario.seed),
        runs_done: 0,
        runs_clean: 0,
        runs_diverged: 0,
        first_run: None,
        leaked: Vec::new(),
        client_dropped: 0,
        run_s: 0.0,
        check_s: 0.0,
        trace_bytes: None,
        allocs_failed: 0,
        peak_live: 0,
        killed: None,
        cut: None,
    };
    let (total, unit) = match runs {
        1 => (scenario.ops * u64::from(scenario.threads), "operations"),
        u64::MAX => (0, "runs"),
        runs => (runs, "runs"),
    };
    let mut progress = Progress::new(context.quiet, "stress", unit, total);
    let watch = StopWatch::new(context, args.duration.map(|duration| started + duration));
    for run in 0..runs {
        let record = match (file, args.record.as_deref()) {
            (_, Some("none")) => RecordTo::Nothing,
            (Some(path), _) if stressed.first_run.is_none() => RecordTo::File(path),
            _ => RecordTo::Temporary,
        };
        let before = Instant::now();
        let checked = play(args, scenario, run, record, watch.flag(), |ops| {
            progress.update(if runs == 1 { ops } else { run });
        })?;
        stressed.run_s += checked.result.elapsed.as_secs_f64();
        stressed.check_s +=
            (before.elapsed() - checked.result.elapsed.min(before.elapsed())).as_secs_f64();
        let time_up = watch.is_over() && !context.interrupt.load(Ordering::Relaxed);
        stressed.add(run, checked, matches!(record, RecordTo::File(_)), time_up);
        if watch.is_over() {
            let more = stressed.runs_done < runs;
            stressed.cut = more.then(|| match context.interrupt.load(Ordering::Relaxed) {
                true => Cut::Interrupted,
                false => Cut::TimeUp,
            });
            break;
        }
    }
    progress.finish();
    stressed.end(args.runs);
    stressed.summary.elapsed_s = started.elapsed().as_secs_f64();
    Ok(stressed)
}

/// Plays one run of `scenario` and checks it.
pub(super) fn play(
    args: &StressArgs,
    scenario: &Scenario,
    run: u64,
    record: RecordTo<'_>,
    stop: &AtomicBool,
    progress: impl FnMut(u64),
) -> Result<CheckedRun, String> {
    let config = RunConfig {
        server: args.server.0.clone(),
        debug_log: args.debug_log_file.clone(),
        ..RunConfig::new(scenario, run, stop)
    };
    let checked = match record {
        RecordTo::Nothing => checked_run(config, Path::new(""), progress),
        RecordTo::Temporary => recorded_and_checked(config, progress),
        RecordTo::File(path) => {
            let at = |error: std::io::Error| format!("{}: {error}", path.display());
            let recording = Recording::begin(path).map_err(at)?;
            return match recorded_in(path, config, progress) {
                // It was cut: what was there before may have been whole.
                Ok(checked) if stop.load(Ordering::Relaxed) => {
                    let before = recording.fail();
                    if !before.is_empty() {
                        crate::say!("{}: this run was cut{before}", path.display());
                    }
                    Ok(checked)
                }
                Ok(checked) => recording.keep().map_err(at).map(|()| checked),
                Err(error) => {
                    let place = match &error {
                        CheckedRunError::Run(RunError::Record(_)) => {
                            format!("{}: ", path.display())
                        }
                        _ => String::new(),
                    };
                    Err(format!("{place}{error}{}", recording.fail()))
                }
            };
        }
    };
    checked.map_err(|error| error.to_string())
}

impl StressArgs {
    /// How the server understands messages, where that is known: a server of somebody else's says
    /// it nowhere, unless the user does.
    fn known_semantics(&self, scenario: &Scenario) -> Option<Semantics> {
        match self.server.0 {
            ServerChoice::Path(_) => self.scenario.semantics,
            ServerChoice::InProcess | ServerChoice::Spawn => Some(scenario.semantics),
        }
    }

    pub(super) fn server_in_words(&self, scenario: &Scenario) -> String {
        match self.known_semantics(scenario) {
            Some(semantics) => format!("{semantics} server"),
            None => format!("the server at {}", self.server),
        }
    }

    /// Options that have no effect, for stderr.
    fn unused(&self) -> String {
        match &self.debug_log_file {
            Some(_) if !self.scenario.debug_log => {
                "note: --debug-log-file has no effect where the debug log is off: give --debug-log too\n"
                    .to_owned()
            }
            _ => String::new(),
        }
    }
}

impl Stressed {
    fn add(&mut self, run: u64, checked: CheckedRun, kept: bool, time_up: bool) {
        let CheckedRun {
            mut report, result, ..
        } = checked;
        let done = result.completed || result.deadlocked;
        let sound = report.verdict == Verdict::Clean || report.complete;
        self.runs_done += u64::from(done);
        self.runs_clean +=
            u64::from(result.completed && sound && report.verdict != Verdict::Diverged);
        if time_up && !done && self.runs_done > 0 && report.verdict == Verdict::Inconclusive {
            // The time that was asked for ends the work as asked: the others decide.
            report.verdict = Verdict::Clean;
            report.note = None;
        }
        self.summary.add(&report);
        if report.verdict == Verdict::Diverged {
            self.runs_diverged += 1;
            self.first_run.get_or_insert(run);
        }
        if self.leaked.is_empty() {
            self.leaked = report.leaked;
        }
        self.client_dropped += result.client_dropped;
        self.allocs_failed += report.allocs_failed;
        self.peak_live = self.peak_live.max(report.peak_live);
        if let Some(killed) = result.killed {
            self.killed.get_or_insert_default().add(killed);
        }
        if kept || self.trace_bytes.is_none() {
            self.trace_bytes = result.written.map(|written| written.bytes);
        }
    }

    /// What it comes to where it was cut. A time that was asked for ends the work as asked, if a
    /// run came to its end.
    fn end(&mut self, asked: Option<u64>) {
        let Some(cut) = self.cut else { return };
        if self.summary.verdict == Verdict::Diverged {
            return;
        }
        if cut == Cut::TimeUp && self.runs_done > 0 {
            return;
        }
        self.summary.verdict = Verdict::Inconclusive;
        self.summary.complete = false;
        if self.runs_done == 0 {
            // That the run did not come to its end says it.
            return;
        }
        let of = asked.map_or(String::new(), |asked| format!(" of {}", grouped(asked)));
        let done = plural(self.runs_done, "run");
        let done = match (self.runs_done, self.runs_clean) {
            (1, 1) => format!("{done}{of} came to its end, and it was clean"),
            (done_runs, clean) if done_runs == clean => {
                format!("{done}{of} came to their end, all clean")
            }
            (_, clean) => format!("{done}{of} came to their end, {} clean", grouped(clean)),
        };
        self.summary.note = Some(format!("{}: {done}{}", cut.words(), self.cut_run()));
    }

    /// What is said of a run that was cut.
    fn cut_run(&self) -> &'static str {
        match self.summary.schedules > self.runs_done {
            true => "; the one that was cut was checked as far as it went",
            false => "",
        }
    }

    fn outcome(&self, args: &StressArgs, scenario: &Scenario, context: &Context) -> CommandOutcome {
        let stdout = match context.format {
            Format::Json => self.summary.json(&json!({
                "runs": self.summary.schedules,
                "runs_clean": self.runs_clean,
                "runs_diverged": self.runs_diverged,
                "interrupted": self.cut == Some(Cut::Interrupted),
                "first_run": self.first_run,
                "client_dropped": self.client_dropped,
                "leaked": self.leaked,
                "run_s": self.run_s,
                "trace_bytes": self.trace_bytes,
                "allocs_failed": self.allocs_failed,
                "peak_live": self.peak_live,
                "processes": self.killed.map(|_| scenario.processes()),
                "killed": self.killed.map(|killed| killed.processes),
                "killed_midway": self.killed.map(|killed| killed.struck),
                "scenario": scenario.name,
                "discipline": scenario.discipline.name,
                "order": scenario.order,
                "publish": scenario.publish,
                "semantics": args.known_semantics(scenario),
                "server": args.server.to_string(),
                "imported": scenario.workload.imported,
                "workload": args.scenario.workload.as_deref().unwrap_or(&scenario.name),
            })),
            Format::Human => self.human(args, scenario),
        };
        CommandOutcome {
            stdout,
            stderr: args.unused(),
            exit_code: self.summary.exit_code(),
        }
    }

    fn human(&self, args: &StressArgs, scenario: &Scenario) -> String {
        let summary = &self.summary;
        let mut text = String::new();
        let server = args.server_in_words(scenario);
        let _ = writeln!(text, "{}", headline_with(scenario, &server));
        let _ = match self.killed {
            Some(killed) => writeln!(
                text,
                "{} by {} real processes each over shared memory in {:.2} s: {} killed, {} of them midway; {} checked in {:.2} s",
                plural(summary.schedules, "run"),
                scenario.processes(),
                self.run_s,
                grouped(killed.processes),
                grouped(killed.struck),
                plural(summary.events, "event"),
                self.check_s,
            ),
            None if summary.messages == 0 && !scenario.discipline.sends() => writeln!(
                text,
                "{} in {:.2} s, in which nothing is sent; {} checked in {:.2} s",
                plural(summary.schedules, "run"),
                self.run_s,
                plural(summary.events, "event"),
                self.check_s,
            ),
            None => writeln!(
                text,
                "{}: {} through a Unix socket in {:.2} s ({} a second); {} checked in {:.2} s",
                plural(summary.schedules, "run"),
                plural(summary.messages, "message"),
                self.run_s,
                grouped((summary.messages as f64 / self.run_s.max(1e-9)) as u64),
                plural(summary.events, "event"),
                self.check_s,
            ),
        };
        text.push('\n');
        match summary.verdict {
            Verdict::Diverged => self.write_divergences(&mut text),
            Verdict::Inconclusive => {
                let _ = writeln!(
                    text,
                    "inconclusive: {}",
                    summary.note.as_deref().unwrap_or("the check is incomplete")
                );
            }
            Verdict::Clean | Verdict::Proved if summary.messages == 0 => text.push_str(
                "clean: the program's own tracking agreed with the allocator; nothing was sent, and no \
                 server was compared\n",
            ),
            Verdict::Clean | Verdict::Proved => text.push_str(clean_words(summary.check)),
        }
        if let Some(cut) = self.cut
            && (summary.verdict != Verdict::Inconclusive || self.runs_done == 0)
        {
            let _ = writeln!(
                text,
                "{}: {} came to the end{}",
                cut.words(),
                match self.runs_done {
                    0 => "no run".to_owned(),
                    done => plural(done, "run"),
                },
                self.cut_run()
            );
        }
        self.write_leaks(&mut text);
        if self.allocs_failed > 0 {
            let _ = writeln!(
                text,
                "{} failed because a memory was full.",
                plural(self.allocs_failed, "allocation")
            );
        }
        if let Some(path) = args.record.as_deref().filter(|record| *record != "none") {
            let _ = writeln!(
                text,
                "trace: {path} ({})",
                plural(self.trace_bytes.unwrap_or(0), "byte")
            );
        }
        text.push_str(&advice::of(args, scenario, summary));
        text
    }

    fn write_divergences(&self, text: &mut String) {
        let summary = &self.summary;
        let _ = writeln!(
            text,
            "diverged in {} of {}: what {} is not what the allocator did",
            grouped(self.runs_diverged),
            plural(summary.schedules, "run"),
            match self.killed {
                Some(_) => "the processes' own tracking says",
                None => "the server reconstructed",
            },
        );
        text.push_str(&divergence_table(&summary.divergences));
        if let Some(first) = &summary.first {
            let _ = writeln!(
                text,
                "first: {} (run {})",
                place(first),
                self.first_run.unwrap_or(0)
            );
        }
        if summary.divergences.contains_key(&Kind::LostMessage) {
            let _ = writeln!(
                text,
                "the client counted {} itself",
                plural(self.client_dropped, "dropped message")
            );
        }
    }

    fn write_leaks(&self, text: &mut String) {
        text.push_str(&leak_line(self.summary.leaks));
        for leak in self.leaked.iter().take(LEAKS_SHOWN) {
            let _ = writeln!(
                text,
                "  device {} {} {:#x}, {}, allocated by thread {} as its operation {}",
                leak.device,
                leak.memory.name(),
                leak.address,
                plural(leak.size_bytes, "byte"),
                leak.thread,
                leak.op,
            );
        }
        if self.summary.leaks > LEAKS_SHOWN as u64 && self.leaked.len() > LEAKS_SHOWN {
            let _ = writeln!(text, "  … (all in --format json)");
        }
    }
}

fn clean_words(strength: Strength) -> &'static str {
    match strength {
        Strength::Exact => {
            "clean: the server's picture was the allocator's truth\n  \
             - after every message: each one was about the buffer that really was at its address then\n  \
             - at every moment between: totals were off by no more than what was still under way\n  \
             - at the end: the server's live table equals the allocator's, entry by entry\n"
        }
        Strength::Totals => {
            "clean, by a weaker check: at the end the server showed what the allocator had; what happened on the way \
             was not compared\n"
        }
        Strength::Messages => {
            "clean, by the weakest check: the messages do not contradict each other\n"
        }
    }
}
