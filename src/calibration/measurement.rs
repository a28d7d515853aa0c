//! A measurement: what calibrations counted, put together over their seeds, and the tables that
//! show it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{Confusion, Row, RunsOn, Tally};
use crate::diagnosis::Cause;
use crate::numbers::{grouped, plural};

/// The share of runs in which the right cause must come first.
const RIGHT: f64 = 0.95;
/// Missed runs that are kept of a row.
const KEPT: usize = 50;

/// What was counted under one plan, with one seed or several.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// Who ran.
    pub engine: RunsOn,
    /// How this program was built: `release` or `debug`.
    pub build: String,
    /// Cores of the machine.
    pub cores: usize,
    /// The program whose traffic it was, where it was none of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The seeds, in order.
    pub seeds: Vec<u64>,
    /// What was counted.
    #[serde(flatten)]
    pub confusion: Confusion,
    /// How long it took.
    pub elapsed_s: f64,
    /// Whether rows are missing.
    #[serde(default)]
    pub interrupted: bool,
}

impl Measurement {
    /// How this program was built.
    pub(crate) fn build() -> &'static str {
        if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        }
    }

    /// Whether `other` was measured alike.
    fn is_like(&self, other: &Measurement) -> bool {
        let alike = |it: &Measurement| (it.engine, it.build.clone(), it.cores, it.program.clone());
        alike(self) == alike(other)
    }

    /// What is not as the diagnosis promises.
    pub(crate) fn holds(&self) -> bool {
        self.confusion.rows.iter().all(Row::holds)
    }

    /// Where it comes from, in a sentence.
    pub(crate) fn heading(&self) -> String {
        let runs: u64 = self.confusion.rows.iter().map(|row| row.all.runs).sum();
        let who = match (&self.program, self.engine) {
            (Some(program), _) => format!("The traffic of `{program}`"),
            (None, RunsOn::Controlled) => "The controlled engine".to_owned(),
            (None, RunsOn::Threads) => "Real threads".to_owned(),
        };
        format!(
            "*{who}*:\n{}, {} build, {}, {},\n{}",
            plural(runs, "run"),
            self.build,
            plural(self.cores as u64, "core"),
            match self.elapsed_s {
                few if few < 120.0 => format!("{few:.0} s"),
                many => format!("{:.0} min", many / 60.0),
            },
            seeds_words(&self.seeds)
        )
    }

    /// As Markdown: a table with a row a cause, and one with a row a condition.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("{}.\n\n", self.heading());
        text += "| planted | runs | right first | confident | cannot tell | confident and wrong | highest wrong score |\n";
        text += "|---|---|---|---|---|---|---|\n";
        for row in &self.confusion.rows {
            let name = row.planted.map_or("(nothing)", Cause::name);
            let _ = writeln!(
                text,
                "| {name} | {} | {:.2} |",
                row.all.cells(),
                row.highest_wrong
            );
        }
        let all = self.by_condition();
        // A program's runs are few.
        if !all.is_empty() && self.program.is_none() {
            text += "\n| condition | runs | right first | confident | cannot tell | confident and wrong |\n";
            text += "|---|---|---|---|---|---|\n";
            for (condition, tally) in all {
                let _ = writeln!(text, "| {condition} | {} |", tally.cells());
            }
        }
        text
    }

    /// Over all causes.
    fn by_condition(&self) -> std::collections::BTreeMap<&str, Tally> {
        let mut all: std::collections::BTreeMap<&str, Tally> = std::collections::BTreeMap::new();
        for row in &self.confusion.rows {
            for (condition, tally) in &row.conditions {
                all.entry(condition).or_default().add(*tally);
            }
        }
        all
    }

    /// With what another one counted that was measured alike.
    fn join(&mut self, other: Measurement) {
        self.seeds.extend(other.seeds);
        self.seeds.sort_unstable();
        self.seeds.dedup();
        self.elapsed_s += other.elapsed_s;
        self.interrupted |= other.interrupted;
        for row in other.confusion.rows {
            let mut rows = self.confusion.rows.iter_mut();
            match rows.find(|known| known.planted == row.planted) {
                Some(known) => known.join(row),
                None => self.confusion.rows.push(row),
            }
        }
        self.confusion.rows.sort_by_key(|row| row.planted);
    }
}

/// Puts measurements together that were made alike; the others stay apart, in the order of engine,
/// build and program.
pub(crate) fn joined(measurements: impl IntoIterator<Item = Measurement>) -> Vec<Measurement> {
    let mut all: Vec<Measurement> = Vec::new();
    for measurement in measurements {
        match all.iter_mut().find(|known| known.is_like(&measurement)) {
            Some(known) => known.join(measurement),
            None => all.push(measurement),
        }
    }
    all.sort_by_key(|it| {
        let is_debug = it.build != "release";
        (it.program.clone(), it.engine, is_debug)
    });
    all
}

impl Row {
    /// Whether it is as the diagnosis promises: right in nearly all runs, never confidently wrong,
    /// and silent where there is nothing.
    pub(crate) fn holds(&self) -> bool {
        let least = if self.planted.is_some() { RIGHT } else { 1.0 };
        let Tally {
            runs,
            right,
            cannot_tell,
            wrong_confident,
            ..
        } = self.all;
        wrong_confident == 0 && right as f64 >= least * (runs - cannot_tell) as f64
    }

    fn join(&mut self, other: Row) {
        self.all.add(other.all);
        for (cause, count) in other.first {
            *self.first.entry(cause).or_default() += count;
        }
        self.nothing += other.nothing;
        self.undecided += other.undecided;
        self.highest_wrong = self.highest_wrong.max(other.highest_wrong);
        for (condition, tally) in other.conditions {
            self.conditions.entry(condition).or_default().add(tally);
        }
        self.missed.extend(other.missed);
        self.missed.truncate(KEPT);
    }
}

impl Tally {
    /// The cells of a table, without the outer bars.
    fn cells(self) -> String {
        [
            self.runs,
            self.right,
            self.right_confident,
            self.cannot_tell,
            self.wrong_confident,
        ]
        .map(grouped)
        .join(" | ")
    }
}

/// Seeds in words: ranges where they follow each other.
fn seeds_words(seeds: &[u64]) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for &seed in seeds {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == seed => *last = seed,
            _ => ranges.push((seed, seed)),
        }
    }
    let words: Vec<String> = ranges
        .into_iter()
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first} to {last}"),
        })
        .collect();
    let noun = if seeds.len() == 1 { "seed" } else { "seeds" };
    format!("{noun} {}", words.join(", "))
}
