//! What every command that gives a verdict prints of it: the JSON keys that scripts rely on, and
//! the words.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::exit::ExitStatus;
use crate::numbers::{grouped, plural};
use crate::oracle::{Divergence, Kind, Report, Strength, Verdict};
use crate::scenario::{Condensed, Scenario};

/// A verdict over one run or many.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct VerdictSummary {
    /// How it ended.
    pub(crate) verdict: Verdict,
    /// How many divergences of each kind.
    pub(crate) divergences: BTreeMap<Kind, u64>,
    /// How many buffers leaked.
    pub(crate) leaks: u64,
    /// The first divergence.
    pub(crate) first: Option<Divergence>,
    /// Schedules that were run.
    pub(crate) schedules: u64,
    /// Micro-steps that were taken.
    pub(crate) steps: u64,
    /// Distinct states that were visited, where states are compared.
    pub(crate) states: Option<u64>,
    /// Events that were checked.
    pub(crate) events: u64,
    /// Messages that the server received.
    pub(crate) messages: u64,
    /// Threads.
    pub(crate) threads: u16,
    /// Operations that were begun.
    pub(crate) ops: u64,
    /// Preemptions, where schedules have them.
    pub(crate) preemptions: Option<u64>,
    /// How long it took, in seconds.
    pub(crate) elapsed_s: f64,
    /// The seed.
    pub(crate) seed: u64,
    /// The file of the reproducer, if one was written.
    pub(crate) reproducer: Option<String>,
    /// How strong the check was.
    pub(crate) check: Strength,
    /// Why the verdict is inconclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
    /// Whether all that was asked for was looked at, although the verdict is inconclusive: the
    /// check was a weak one, or an option bounded it.
    #[serde(skip)]
    pub(crate) complete: bool,
}

impl VerdictSummary {
    /// Before the first run.
    pub(crate) fn new(threads: u16, seed: u64) -> VerdictSummary {
        VerdictSummary {
            verdict: Verdict::Clean,
            divergences: BTreeMap::new(),
            leaks: 0,
            first: None,
            schedules: 0,
            steps: 0,
            states: None,
            events: 0,
            messages: 0,
            threads,
            ops: 0,
            preemptions: None,
            elapsed_s: 0.0,
            seed,
            reproducer: None,
            check: Strength::Exact,
            note: None,
            complete: false,
        }
    }

    /// Adds one run. One that diverged decides, then one that was inconclusive.
    pub(crate) fn add(&mut self, report: &Report) {
        for (kind, count) in &report.divergences {
            *self.divergences.entry(*kind).or_default() += count;
        }
        if report.verdict == Verdict::Inconclusive {
            let first = self.verdict != Verdict::Inconclusive;
            self.complete = report.complete && (first || self.complete);
        }
        self.verdict = match (self.verdict, report.verdict) {
            (Verdict::Diverged, _) | (_, Verdict::Diverged) => Verdict::Diverged,
            (Verdict::Inconclusive, _) | (_, Verdict::Inconclusive) => Verdict::Inconclusive,
            (_, verdict) => verdict,
        };
        self.leaks += report.leaks;
        self.first = self.first.or(report.first);
        self.schedules += 1;
        self.steps += report.events;
        self.events += report.events;
        self.messages += report.messages;
        self.ops += report.ops;
        self.check = self.check.min(report.strength);
        if self.note.is_none() {
            self.note.clone_from(&report.note);
        }
    }

    /// 0 where all that was asked for was checked and holds, 1 where it diverged, 3 where it is
    /// undecided.
    pub(crate) fn exit_code(&self) -> u8 {
        match (self.verdict, self.complete) {
            (Verdict::Inconclusive, true) => ExitStatus::Holds.code(),
            (verdict, _) => ExitStatus::of(verdict).code(),
        }
    }

    /// The JSON object, with the keys of `more` after the common ones.
    pub(crate) fn json(&self, more: &serde_json::Value) -> String {
        let mut value = serde_json::to_value(self).expect("a summary has string keys only");
        if let (Some(object), Some(more)) = (value.as_object_mut(), more.as_object()) {
            object.extend(more.clone());
        }
        format!("{value}\n")
    }
}

/// The divergences as a table with an explanation each, most frequent first.
pub(crate) fn divergence_table(divergences: &BTreeMap<Kind, u64>) -> String {
    explained_table(divergences, Kind::explain)
}

/// As [`divergence_table`], with other words for what a kind is.
pub(crate) fn explained_table(
    divergences: &BTreeMap<Kind, u64>,
    explain: fn(Kind) -> &'static str,
) -> String {
    let mut rows: Vec<_> = divergences.iter().collect();
    rows.sort_by_key(|(kind, count)| (std::cmp::Reverse(**count), **kind));
    let width = rows
        .iter()
        .map(|(kind, _)| kind.name().len())
        .max()
        .unwrap_or(0);
    let digits = rows.first().map_or(1, |(_, count)| grouped(**count).len());
    let mut text = String::new();
    for (kind, count) in rows {
        let _ = writeln!(
            text,
            "  {:width$}  {:>digits$}  {}",
            kind.name(),
            grouped(*count),
            explain(*kind)
        );
    }
    text
}

/// Where a divergence is, in words.
pub(crate) fn place(divergence: &Divergence) -> String {
    let mut text = format!("{} on device {}", divergence.kind, divergence.device);
    if let Some(memory) = divergence.memory {
        let _ = write!(text, ", {}", memory.name());
    }
    if let Some(address) = divergence.address {
        let _ = write!(text, " {address:#x}");
    }
    if let Some(thread) = divergence.thread {
        let _ = write!(text, ", thread {thread}");
    }
    if let Some(op) = divergence.op {
        let _ = write!(text, ", operation {op}");
    }
    text
}

/// What was run, in a line, against `server`.
pub(super) fn headline_with(scenario: &Scenario, server: &str) -> String {
    headline_in_full(scenario, &Condensed::default(), server)
}

/// What was run, in a line, and what was left out of it, in another.
pub(super) fn headline_of(scenario: &Scenario, condensed: &Condensed) -> String {
    headline_in_full(
        scenario,
        condensed,
        &format!("{} server", scenario.semantics),
    )
}

fn headline_in_full(scenario: &Scenario, condensed: &Condensed, server: &str) -> String {
    let ops = match &scenario.workload.script {
        Some(script) => format!(
            "{} in all",
            plural(script.iter().flatten().count() as u64, "operation")
        ),
        None => format!("{} each", plural(scenario.ops, "operation")),
    };
    let origin = match &scenario.workload.imported {
        Some(imported) => format!("\n{imported}"),
        None => String::new(),
    };
    let (small, left_out) = match condensed.is_whole() {
        true => ("", String::new()),
        false => (", condensed,", format!("\ncondensed: {condensed}")),
    };
    format!(
        "{}{small} under {} ({}, {} publication, {server}): {}, {ops}, {}{}{origin}{left_out}",
        scenario.name,
        scenario.discipline.name,
        scenario.order,
        scenario.publish,
        plural(u64::from(scenario.threads), "thread"),
        plural(u64::from(scenario.devices), "device"),
        if scenario.perturb { ", perturbed" } else { "" },
    )
}

/// What a proof is about: a condensed workload is not the one that the scenario's name stands for.
pub(super) fn schedules_of(condensed: &Condensed) -> &'static str {
    match condensed.is_whole() {
        true => "no schedule",
        false => "no schedule of the condensed workload",
    }
}

/// The line that says how many buffers leaked.
pub(crate) fn leak_line(leaks: u64) -> String {
    match leaks {
        0 => "leaks: none\n".to_owned(),
        leaks => format!(
            "leaks: {} that the program never released (real leaks, apart from divergences)\n",
            plural(leaks, "buffer")
        ),
    }
}
