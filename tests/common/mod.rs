//! What the integration tests share: scenarios from a few words, runs on threads with their
//! verdict, and the program itself as a user starts it.

#![allow(dead_code, reason = "every test file takes what it needs")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use heisenbed::engine::controlled::exhaustive::{Goal, SearchEnd, SearchOptions, Searched, search};
use heisenbed::engine::controlled::machine::Setup;
use heisenbed::engine::threads::{self, RunConfig, RunResult, ServerChoice};
use heisenbed::lifecycle::{Discipline, Order, Publication};
use heisenbed::oracle::{Kind, Report, Verdict, check_trace};
use heisenbed::scenario::{Scenario, ScenarioFile};
use heisenbed::trace::file::{BlockKind, Header, RunHeader, TraceFile, TraceWriter};

/// Runs that a race gets before it counts as one that does not show.
pub const RUN_LIMIT: u64 = 50;

/// The scenario that this TOML text describes.
pub fn scenario(text: &str) -> Scenario {
    let file: ScenarioFile = toml::from_str(text).expect("the test's scenario parses");
    file.resolve().expect("the test's scenario resolves")
}

/// A scenario in which each thread does just these operations.
pub fn scripted(threads: &[&[&str]]) -> Scenario {
    let mut scenario = scenario("name = 'scripted'");
    scenario.threads = threads.len() as u16;
    let words = threads
        .iter()
        .flat_map(|ops| ops.iter())
        .flat_map(|op| op.split(' '));
    let devices = words.filter_map(|word| word.strip_prefix('d')?.parse::<u16>().ok());
    scenario.devices = scenario.devices.max(devices.max().unwrap_or(0) + 1);
    let owned = |ops: &&[&str]| ops.iter().map(|op| (*op).to_owned()).collect();
    scenario.workload.script = Some(threads.iter().map(owned).collect());
    scenario
        .check()
        .expect("the test's script fits its scenario");
    scenario
}

/// `scenario` under these two programs, their steps joined by commas.
pub fn under(mut scenario: Scenario, allocate: &str, deallocate: &str) -> Scenario {
    let discipline = discipline_text(allocate, deallocate);
    scenario.discipline = Discipline::from_toml("planted", &discipline)
        .and_then(|discipline| discipline.accepted("planted"))
        .expect("the test's discipline can be run");
    scenario.order = scenario.discipline.order();
    scenario.publish = scenario.discipline.publication();
    scenario
}

/// The text of a discipline with these two programs.
pub fn discipline_text(allocate: &str, deallocate: &str) -> String {
    let steps = |program: &str| {
        let steps: Vec<String> = program
            .split(',')
            .map(|step| format!("{:?}", step.trim()))
            .collect();
        steps.join(", ")
    };
    format!(
        "name = \"planted\"\norigin = \"a test\"\nallocate = [{}]\ndeallocate = [{}]\n",
        steps(allocate),
        steps(deallocate)
    )
}

/// Every debug log block takes `ms`: a delay at exactly the steps named `debug-log`.
pub fn with_debug_log(mut scenario: Scenario, ms: u64) -> Scenario {
    scenario.debug_log.enabled = true;
    scenario.debug_log.min_us = ms * 1000;
    scenario.debug_log.max_us = ms * 1000;
    scenario
}

/// A run with what the oracle says of it.
#[derive(Debug)]
pub struct Played {
    /// The oracle's report.
    pub report: Report,
    /// The engine's own figures.
    pub result: RunResult,
}

impl Played {
    /// The divergences by name.
    pub fn divergences(&self) -> BTreeMap<Kind, u64> {
        self.report.divergences.clone()
    }
}

/// Plays `scenario` on threads with a server in this process, and checks its trace.
pub fn play(scenario: &Scenario, run: u64) -> Played {
    let (result, trace) = recorded(scenario, run);
    let report = check_trace(&trace, |_| ()).expect("the trace gets a verdict");
    Played { report, result }
}

/// Plays `scenario` on threads: how the run ended, and its trace.
pub fn recorded(scenario: &Scenario, run: u64) -> (RunResult, TraceFile) {
    let file = tempfile::tempfile().expect("a temporary file");
    let result = record(scenario, run, file.try_clone().expect("a second handle"));
    let trace = TraceFile::from_file(file, Path::new("played")).expect("the trace opens");
    (result, trace)
}

/// Plays `scenario` on threads and records it in `file`.
pub fn record(scenario: &Scenario, run: u64, file: File) -> RunResult {
    let config = RunConfig {
        scenario,
        run,
        record: Some(file),
        server: ServerChoice::InProcess,
        debug_log: None,
        interrupt: &AtomicBool::new(false),
    };
    threads::run(config, |_| ()).expect("the run is played")
}

/// Plays until a run satisfies `shows`; it must come within [`RUN_LIMIT`] runs.
pub fn play_until(scenario: &Scenario, shows: impl Fn(&Played) -> bool) -> Played {
    let mut last = None;
    for run in 0..RUN_LIMIT {
        let played = play(scenario, run);
        if shows(&played) {
            return played;
        }
        last = Some(played.report);
    }
    panic!("{RUN_LIMIT} runs did not show it; the last: {last:?}")
}

/// Asserts that `runs` runs of `scenario` are clean: not one divergence of any kind.
pub fn assert_silent(scenario: &Scenario, runs: u64) {
    for run in 0..runs {
        let played = play(scenario, run);
        assert_eq!(played.divergences(), BTreeMap::new(), "run {run}");
        assert_eq!(played.report.verdict, Verdict::Clean, "run {run}");
    }
}

/// Asserts that the run diverged in just these ways.
pub fn assert_diverged(played: &Played, divergences: &[(Kind, u64)]) {
    assert_eq!(played.report.verdict, Verdict::Diverged);
    assert_eq!(
        played.divergences(),
        divergences.iter().copied().collect::<BTreeMap<_, _>>()
    );
}

/// The program, as a user starts it.
pub fn heisenbed(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heisenbed"));
    command
        .args(arguments)
        .env_remove("RUST_BACKTRACE")
        .env_remove("HEISENBED_LOG")
        .env_remove("COLUMNS");
    command
}

/// Starts the program with these words (split at blanks) and waits for it.
pub fn run(words: &str) -> Output {
    let arguments: Vec<&str> = words.split_whitespace().collect();
    heisenbed(&arguments).output().expect("the program starts")
}

/// Records a run of `stress` with these options that diverged, with one seed after the other: real
/// threads need not meet in any one run.
pub fn record_diverged(options: &str, trace: &Path) {
    let words = format!("stress {options} --quiet --record {}", trace.display());
    for seed in 0..RUN_LIMIT {
        match run(&format!("{words} --seed {seed}")).status.code() {
            Some(1) => return,
            code => assert_eq!(code, Some(0), "{words} --seed {seed}"),
        }
    }
    panic!("{words}: no seed of {RUN_LIMIT} diverges")
}

/// The JSON object that the program wrote, and its exit code. `--format json --quiet` is added to
/// the words.
pub fn run_json(words: &str) -> (serde_json::Value, i32) {
    let output = run(&format!("{words} --format json --quiet"));
    let text = String::from_utf8_lossy(&output.stdout);
    let value = serde_json::from_str(&text).unwrap_or_else(|error| {
        let complaint = String::from_utf8_lossy(&output.stderr);
        panic!("{words}: {error}\nstdout: {text}\nstderr: {complaint}")
    });
    (value, output.status.code().expect("it ends by itself"))
}

/// Starts the program, its JSON going into a pipe.
pub fn piped(arguments: &[&str]) -> Child {
    heisenbed(arguments)
        .args(["--format", "json", "--quiet"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

/// Waits for the program's end; its peak of memory in KiB as far as it was seen (0: it was over too
/// soon), and what it printed.
pub fn watch(child: &mut Child) -> (u64, serde_json::Value) {
    let mut peak_kib = 0;
    while child.try_wait().expect("a child").is_none() {
        peak_kib = peak_kib.max(peak_of(child.id()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut text = String::new();
    let stdout = child.stdout.as_mut().expect("a pipe");
    stdout.read_to_string(&mut text).expect("text");
    (peak_kib, serde_json::from_str(&text).expect("JSON"))
}

/// The peak of a process so far; the kernel keeps it until the process is gone.
fn peak_of(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The same events under another scenario's header, as if that had been recorded.
pub fn with_scenario(trace: &TraceFile, scenario: &Scenario) -> TraceFile {
    let Header::Run(header) = trace.header() else {
        panic!("an import has no scenario")
    };
    let header = RunHeader {
        scenario: scenario.clone(),
        ..(**header).clone()
    };
    let file = tempfile::tempfile().expect("a temporary file");
    let copy = file.try_clone().expect("a second handle");
    let mut writer = TraceWriter::create(copy, &Header::Run(Box::new(header))).expect("writable");
    let mut raw = Vec::new();
    for stream in trace.streams() {
        for number in 0..trace.blocks(stream) {
            trace
                .read_block(stream, number, &mut raw)
                .expect("a sound block");
            writer
                .block(BlockKind::Events, stream, number as u32, 0, &raw)
                .expect("writable");
        }
    }
    writer
        .end(trace.end().expect("a whole trace"))
        .expect("writable");
    TraceFile::from_file(file, "changed".as_ref()).expect("readable")
}

/// A small scenario, every schedule of which can be searched: a built-in workload, condensed, under
/// a discipline.
pub fn small(workload: &str, discipline: &str, order: Order, publish: Publication) -> Scenario {
    small_file(workload, discipline, order, publish)
        .resolve()
        .expect("the test's scenario resolves")
}

/// As [`small`], before it is resolved.
pub fn small_file(
    workload: &str,
    discipline: &str,
    order: Order,
    publish: Publication,
) -> ScenarioFile {
    let mut file = ScenarioFile::load(workload)
        .expect("built in")
        .condensed(None, None);
    discipline.clone_into(&mut file.discipline);
    (file.order, file.publish) = (Some(order), Some(publish));
    file
}

/// Everything that a search of `scenario` finds.
pub fn searched(scenario: &Scenario, options: &SearchOptions) -> Searched {
    let setup = Setup::new(scenario.clone(), 0).expect("it can be run under control");
    search(&setup, options, &mut |_| true)
}

/// A search for every kind.
pub fn all_kinds() -> SearchOptions {
    SearchOptions {
        goal: Goal::AllKinds,
        ..SearchOptions::default()
    }
}

/// What follows from a search.
pub fn verdict(found: &Searched) -> Verdict {
    match (&found.example, found.ended, &found.at_rest) {
        (Some(_), ..) => Verdict::Diverged,
        (None, SearchEnd::Exhausted, Some(report)) if report.complete => Verdict::Proved,
        _ => Verdict::Inconclusive,
    }
}

/// The kinds that a search found.
pub fn kinds(found: &Searched) -> Vec<Kind> {
    found.divergences.keys().copied().collect()
}

/// The keys that every command which gives a verdict prints, and that scripts rely on.
pub const KEYS: [&str; 16] = [
    "verdict",
    "divergences",
    "leaks",
    "first",
    "schedules",
    "steps",
    "states",
    "events",
    "messages",
    "threads",
    "ops",
    "preemptions",
    "elapsed_s",
    "seed",
    "reproducer",
    "check",
];
