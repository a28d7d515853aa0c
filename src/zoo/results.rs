//! What a measurement found, whether that is good enough, and the tables that show it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Engine, defects};
use crate::numbers::plural;
use crate::oracle::Kind;

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    /// The first seed.
    pub(crate) first_seed: u64,
    /// Seeds of each engine.
    pub(crate) seeds: u64,
    /// How long an engine was given with one seed.
    pub(crate) budget_s: f64,
    /// Threads that drew.
    pub(crate) workers: usize,
    /// By defect.
    pub(crate) defects: Vec<DefectResult>,
    /// Whether it was stopped before the end.
    pub(crate) interrupted: bool,
}

/// What was measured of one defect.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DefectResult {
    /// Which.
    pub(crate) defect: String,
    /// By engine.
    pub(crate) engines: Vec<EngineResult>,
    /// The smallest run that shows it.
    pub(crate) reproducer: Option<ReproducerSize>,
    /// Its twin.
    pub(crate) twin: TwinResult,
    /// Whether it was stopped before the end: then it says nothing of what it lacks.
    pub(crate) interrupted: bool,
}

/// What one engine found of one defect.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EngineResult {
    /// Which engine.
    pub(crate) engine: Engine,
    /// Whether it can run the defect at all.
    pub(crate) runnable: bool,
    /// Seeds that it was given.
    pub(crate) seeds: u64,
    /// Seeds with which it found the defect.
    pub(crate) found: u64,
    /// Schedules (runs, states) up to the find, of the seeds that found it.
    pub(crate) schedules: Option<Spread>,
    /// Seconds up to the find.
    pub(crate) seconds: Option<Spread>,
    /// Kinds that the defect does not explain.
    pub(crate) unexplained: BTreeSet<Kind>,
    /// Why it could not be run, where that was an error.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) error: Option<String>,
}

/// Median and worst of some figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    /// The middle one; of an even number the higher.
    pub(crate) median: f64,
    /// The largest.
    pub(crate) worst: f64,
}

/// How small the smallest run is that shows a defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReproducerSize {
    /// The kind that was kept.
    pub(crate) kind: Kind,
    /// Threads.
    pub(crate) threads: u16,
    /// Operations.
    pub(crate) ops: u64,
    /// Preemptions.
    pub(crate) preemptions: u64,
}

/// How silent a twin was.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct TwinResult {
    /// Random schedules.
    pub(crate) schedules: u64,
    /// Stress runs, every second one perturbed.
    pub(crate) runs: u64,
    /// Runs and schedules that were not clean.
    pub(crate) false_alarms: u64,
    /// States, where every one was searched and none diverges.
    pub(crate) proved_states: Option<u64>,
}

impl Spread {
    pub(super) fn of(mut figures: Vec<f64>) -> Option<Spread> {
        figures.sort_by(f64::total_cmp);
        Some(Spread {
            median: *figures.get(figures.len() / 2)?,
            worst: *figures.last()?,
        })
    }
}

/// Why results cannot be put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("they were measured with other seeds, budgets or workers")]
pub(crate) struct OtherPlan;

impl Results {
    /// With the defects of another measurement of the same plan, which replace those that are here;
    /// in the order of the zoo.
    pub(crate) fn join(mut self, other: Results) -> Result<Results, OtherPlan> {
        let plan = |results: &Results| {
            let Results {
                first_seed,
                seeds,
                budget_s,
                workers,
                ..
            } = *results;
            (first_seed, seeds, budget_s.to_bits(), workers)
        };
        if plan(&self) != plan(&other) {
            return Err(OtherPlan);
        }
        let renewed =
            |result: &DefectResult| other.defects.iter().any(|o| o.defect == result.defect);
        self.defects.retain(|result| !renewed(result));
        self.defects.extend(other.defects);
        let place = |result: &DefectResult| defects().iter().position(|d| d.name == result.defect);
        self.defects.sort_by_key(place);
        self.interrupted |= other.interrupted;
        Ok(self)
    }

    /// Whether every defect that was measured to the end was found as it must be: by two engines
    /// (or all that were asked and can run it), with every seed by the best of them in 10 s; and
    /// every twin was silent.
    pub(crate) fn holds(&self) -> bool {
        self.shortcomings().is_empty()
    }

    /// What is not as it must be, by defect.
    pub(crate) fn shortcomings(&self) -> BTreeMap<&str, Vec<String>> {
        self.defects
            .iter()
            .filter(|result| !result.interrupted)
            .map(|result| (result.defect.as_str(), result.shortcomings()))
            .filter(|(_, short)| !short.is_empty())
            .collect()
    }

    /// As Markdown: a table with a row a defect and a column an engine, how to read it, and what is
    /// not as it must be.
    pub(crate) fn markdown(&self) -> String {
        let engines: Vec<Engine> = self.defects.first().map_or_else(Vec::new, |first| {
            first.engines.iter().map(|engine| engine.engine).collect()
        });
        let mut text = format!(
            "{} seeds, at most {} s each, {}. A cell: seeds that found it / seeds tried;\n\
             median and (worst) of the schedules up to the find (of stress: runs, of exhaustive: \
             states);\nmedian and (worst) of the seconds. Smallest run: threads, operations, \
             preemptions.\n\n| defect |",
            self.seeds,
            self.budget_s,
            plural(self.workers as u64, "worker"),
        );
        for engine in &engines {
            let _ = write!(text, " {engine} |");
        }
        text.push_str(" smallest run | twin |\n|---|");
        text.push_str(&"---|".repeat(engines.len() + 2));
        text.push('\n');
        for result in &self.defects {
            let _ = write!(text, "| `{}` |", result.defect);
            for engine in &result.engines {
                let _ = write!(text, " {} |", engine.cell());
            }
            let _ = writeln!(text, " {} | {} |", result.size(), result.twin.cell());
        }
        text.push('\n');
        for (defect, short) in self.shortcomings() {
            let _ = writeln!(text, "- `{defect}`: {}", short.join("; "));
        }
        text
    }

    /// For people at a terminal: a line an engine.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let short = self.shortcomings();
        for result in &self.defects {
            let _ = writeln!(
                text,
                "{}: smallest run {}; twin {}",
                result.defect,
                result.size(),
                result.twin.cell()
            );
            for engine in &result.engines {
                let _ = writeln!(text, "  {:<17} {}", engine.engine.name(), engine.cell());
            }
            if let Some(short) = short.get(result.defect.as_str()) {
                short.iter().for_each(|short| {
                    let _ = writeln!(text, "  ✗ {short}");
                });
            }
        }
        text
    }
}

impl DefectResult {
    /// What is not as it must be.
    pub(crate) fn shortcomings(&self) -> Vec<String> {
        let mut short = Vec::new();
        let runnable = self.engines.iter().filter(|engine| engine.runnable);
        let finders = self
            .engines
            .iter()
            .filter(|engine| engine.found > 0)
            .count();
        let wanted = runnable.count().min(2);
        if finders < wanted {
            short.push(format!("found by {finders} of {wanted} engines"));
        }
        if wanted > 0 && self.best().is_none_or(|best| best.found < best.seeds) {
            short.push("no engine found it with every seed".to_owned());
        }
        if self
            .best()
            .and_then(|best| best.seconds)
            .is_some_and(|seconds| seconds.worst > 10.0)
        {
            short.push("the best engine took more than 10 s".to_owned());
        }
        if self.twin.false_alarms > 0 {
            short.push(format!(
                "{} false alarms on the twin",
                self.twin.false_alarms
            ));
        }
        let in_the_open = |engine: &EngineResult| engine.found > 0 && !engine.engine.is_stress();
        if self.reproducer.is_none() && self.engines.iter().any(in_the_open) {
            short.push("its run was not made smaller".to_owned());
        }
        for engine in &self.engines {
            if !engine.unexplained.is_empty() {
                let kinds: Vec<&str> = engine.unexplained.iter().map(|kind| kind.name()).collect();
                short.push(format!(
                    "{} also showed {}",
                    engine.engine,
                    kinds.join(", ")
                ));
            }
            if let Some(error) = &engine.error {
                short.push(format!("{}: {error}", engine.engine));
            }
        }
        short
    }

    /// The engine that found it with the most seeds, and then in the shortest worst time.
    pub(crate) fn best(&self) -> Option<&EngineResult> {
        let found = self.engines.iter().filter(|engine| engine.found > 0);
        found.min_by(|a, b| {
            let worst = |engine: &EngineResult| engine.seconds.map_or(f64::MAX, |s| s.worst);
            let missed = |engine: &EngineResult| engine.seeds - engine.found;
            missed(a)
                .cmp(&missed(b))
                .then(worst(a).total_cmp(&worst(b)))
        })
    }

    fn size(&self) -> String {
        match &self.reproducer {
            Some(size) => format!("{}, {}, {}", size.threads, size.ops, size.preemptions),
            None => "–".to_owned(),
        }
    }
}

impl EngineResult {
    fn cell(&self) -> String {
        match (self.runnable, self.schedules, self.seconds) {
            (false, ..) => "cannot run it".to_owned(),
            (true, Some(schedules), Some(seconds)) => format!(
                "{}/{}: {:.0} ({:.0}), {} ({}) s",
                self.found,
                self.seeds,
                schedules.median,
                schedules.worst,
                short_seconds(seconds.median),
                short_seconds(seconds.worst)
            ),
            _ => format!("0/{}", self.seeds),
        }
    }
}

impl TwinResult {
    fn cell(&self) -> String {
        let proved = match self.proved_states {
            Some(states) => format!("proved ({states} states), "),
            None => String::new(),
        };
        format!(
            "{proved}{} schedules, {} runs: {} alarms",
            self.schedules, self.runs, self.false_alarms
        )
    }
}

/// Three digits where two would say nothing.
fn short_seconds(seconds: f64) -> String {
    if seconds < 0.001 {
        "<0.001".to_owned()
    } else if seconds < 0.0095 {
        format!("{seconds:.3}")
    } else {
        format!("{seconds:.2}")
    }
}
