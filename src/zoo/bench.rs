//! The measurement: every defect by every engine over many seeds, and every twin over many schedules.
//!
//! Counts are the same on every machine for the controlled engines, which draw from seeds; times, and all figures of real threads, are those of the
//! machine. An engine that finds a defect in none of its first [`FRUITLESS_SEEDS`] seeds is not asked again, and the result says how many it had.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Defect;
use super::hunt::{Budget, Engine, HuntError, hunt};
use crate::engine::controlled::observe::Observed;
use crate::oracle::{Kind, Verdict};
use crate::scenario::Scenario;
use crate::shrink;

/// Seeds after which an engine that found nothing is given up.
pub const FRUITLESS_SEEDS: u64 = 3;

/// States after which the search for a proof of a twin is given up.
const TWIN_STATES: u64 = 3_000_000;

/// Enough for any twin.
const TWIN_TIME: Duration = Duration::from_secs(3600);

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which defects.
    pub defects: Vec<&'static Defect>,
    /// Which engines.
    pub engines: Vec<Engine>,
    /// Seeds of each, from this one on.
    pub first_seed: u64,
    /// How many seeds.
    pub seeds: u64,
    /// How long an engine may look with one seed.
    pub budget: Duration,
    /// Threads that draw.
    pub workers: usize,
    /// Random schedules of each twin; 0: leave that out.
    pub twin_schedules: u64,
    /// Stress runs of each twin; 0: leave that out.
    pub twin_runs: u64,
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// Seeds of each engine.
    pub seeds: u64,
    /// How long an engine was given with one seed.
    pub budget_s: f64,
    /// Threads that drew.
    pub workers: usize,
    /// By defect.
    pub defects: Vec<DefectResult>,
    /// Whether it was stopped before the end.
    pub interrupted: bool,
}

/// What was measured of one defect.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DefectResult {
    /// Which.
    pub defect: String,
    /// By engine.
    pub engines: Vec<EngineResult>,
    /// The smallest run that shows it.
    pub reproducer: Option<ReproducerSize>,
    /// Its twin.
    pub twin: TwinResult,
}

/// What one engine found of one defect.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EngineResult {
    /// Which engine.
    pub engine: Engine,
    /// Whether it can run the defect at all.
    pub runnable: bool,
    /// Seeds that it was given.
    pub seeds: u64,
    /// Seeds with which it found the defect.
    pub found: u64,
    /// Schedules (runs, states) up to the find, of the seeds that found it.
    pub schedules: Option<Spread>,
    /// Seconds up to the find.
    pub seconds: Option<Spread>,
    /// Kinds that the defect does not explain.
    pub unexplained: BTreeSet<Kind>,
    /// Why it could not be run, where that was an error.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// Median and worst of some figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one; of an even number the higher.
    pub median: f64,
    /// The largest.
    pub worst: f64,
}

/// How small the smallest run is that shows a defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReproducerSize {
    /// The kind that was kept.
    pub kind: Kind,
    /// Threads.
    pub threads: u16,
    /// Operations.
    pub ops: u64,
    /// Preemptions.
    pub preemptions: u64,
}

/// How silent a twin was.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TwinResult {
    /// Random schedules.
    pub schedules: u64,
    /// Stress runs, every second one perturbed.
    pub runs: u64,
    /// Runs and schedules that were not clean.
    pub false_alarms: u64,
    /// States, where every one was searched and none diverges.
    pub proved_states: Option<u64>,
}

/// Measures. `told` hears of every defect that is done, and `step` of every hunt.
pub fn bench(
    plan: &Plan,
    interrupt: &AtomicBool,
    mut step: impl FnMut(&str),
    mut told: impl FnMut(&Results),
) -> Result<Results, HuntError> {
    let mut results = Results {
        seeds: plan.seeds,
        budget_s: plan.budget.as_secs_f64(),
        workers: plan.workers,
        ..Results::default()
    };
    for defect in &plan.defects {
        if interrupt.load(Ordering::Relaxed) {
            break;
        }
        results
            .defects
            .push(measure(plan, defect, interrupt, &mut step)?);
        told(&results);
    }
    results.interrupted = interrupt.load(Ordering::Relaxed);
    Ok(results)
}

fn measure(
    plan: &Plan,
    defect: &Defect,
    interrupt: &AtomicBool,
    step: &mut impl FnMut(&str),
) -> Result<DefectResult, HuntError> {
    let mut engines = Vec::new();
    let mut example = None;
    for engine in &plan.engines {
        step(&format!("{} by {engine}", defect.name));
        let (result, shown) = by_engine(plan, defect, *engine, interrupt)?;
        engines.push(result);
        example = example.or(shown);
    }
    step(&format!("{}: its smallest run", defect.name));
    let reproducer = match example {
        Some((scenario, observed)) => smallest(defect, scenario, &observed, interrupt)?,
        None => None,
    };
    step(&format!("{}: its twin", defect.name));
    Ok(DefectResult {
        defect: defect.name.clone(),
        engines,
        reproducer,
        twin: twin(plan, defect, interrupt)?,
    })
}

type Example = (Scenario, Box<Observed>);

fn by_engine(
    plan: &Plan,
    defect: &Defect,
    engine: Engine,
    interrupt: &AtomicBool,
) -> Result<(EngineResult, Option<Example>), HuntError> {
    let mut result = EngineResult {
        engine,
        runnable: engine.can_run(&engine.scenario(defect, true, plan.first_seed)?),
        seeds: 0,
        found: 0,
        schedules: None,
        seconds: None,
        unexplained: BTreeSet::new(),
        error: None,
    };
    let (mut schedules, mut seconds, mut example) = (Vec::new(), Vec::new(), None);
    let budget = Budget {
        schedules: u64::MAX,
        time: plan.budget,
        workers: plan.workers,
        interrupt,
    };
    for seed in plan.first_seed..plan.first_seed + plan.seeds {
        let is_fruitless = result.seeds >= FRUITLESS_SEEDS && result.found == 0;
        if !result.runnable || is_fruitless || interrupt.load(Ordering::Relaxed) {
            break;
        }
        let scenario = engine.scenario(defect, true, seed)?;
        let shows = |report: &crate::oracle::Report| defect.shows_in(report);
        let hunted = match hunt(engine, scenario.clone(), &budget, &shows) {
            Ok(hunted) => hunted,
            // A trace that contradicts itself is a finding about heisenbed, and no reason to lose the others.
            Err(error @ (HuntError::Check(_) | HuntError::Trace(_))) => {
                result.error = Some(error.to_string());
                result.seeds += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        if hunted.found.is_none() && interrupt.load(Ordering::Relaxed) {
            break;
        }
        result.seeds += 1;
        if let Some(report) = &hunted.found {
            result.unexplained.extend(defect.unexplained(report));
            if defect.shows_in(report) {
                result.found += 1;
                schedules.push(hunted.schedules as f64);
                seconds.push(hunted.elapsed.as_secs_f64());
                example = example.or(hunted.example.map(|observed| (scenario, observed)));
            }
        }
    }
    result.schedules = Spread::of(schedules);
    result.seconds = Spread::of(seconds);
    Ok((result, example))
}

fn smallest(
    defect: &Defect,
    scenario: Scenario,
    observed: &Observed,
    interrupt: &AtomicBool,
) -> Result<Option<ReproducerSize>, HuntError> {
    let setup = crate::engine::controlled::machine::Setup::new(scenario, 0)?;
    let shown = |kind: &&Kind| observed.report.count(**kind) > 0;
    let Some(kind) = defect.expected.iter().find(shown) else {
        return Ok(None);
    };
    let mut go_on = || !interrupt.load(Ordering::Relaxed);
    let shrunk = shrink::shrink_ops(&setup.scenario, setup.ops(), *kind, &mut go_on);
    Ok(shrunk.ok().map(|shrunk| ReproducerSize {
        kind: *kind,
        threads: shrunk.size.threads,
        ops: shrunk.size.ops,
        preemptions: shrunk.size.preemptions,
    }))
}

/// Whatever the twin does that is not clean is a false alarm.
fn twin(plan: &Plan, defect: &Defect, interrupt: &AtomicBool) -> Result<TwinResult, HuntError> {
    let mut result = TwinResult::default();
    let seed = plan.first_seed;
    let budget = |schedules| Budget {
        schedules,
        time: TWIN_TIME,
        workers: plan.workers,
        interrupt,
    };
    let diverged = |report: &crate::oracle::Report| report.verdict != Verdict::Clean;
    if plan.twin_schedules > 0 {
        let small = Engine::Random.scenario(defect, false, seed)?;
        let long = budget(plan.twin_schedules);
        let drawn = hunt(Engine::Random, small.clone(), &long, &diverged)?;
        result.schedules = drawn.schedules;
        result.false_alarms += u64::from(drawn.found.is_some());
        let searched = hunt(
            Engine::Exhaustive,
            small,
            &Budget {
                schedules: TWIN_STATES,
                ..long
            },
            &diverged,
        )?;
        result.proved_states = searched.proved.then_some(searched.schedules);
        result.false_alarms += u64::from(searched.found.is_some());
    }
    for (engine, runs) in [
        (Engine::Stress, plan.twin_runs.div_ceil(2)),
        (Engine::StressPerturbed, plan.twin_runs / 2),
    ] {
        let scenario = engine.scenario(defect, false, seed)?;
        let played = hunt(engine, scenario, &budget(runs), &diverged)?;
        result.runs += played.schedules;
        result.false_alarms +=
            u64::from(played.found.is_some() && !interrupt.load(Ordering::Relaxed));
    }
    Ok(result)
}

impl Spread {
    fn of(mut figures: Vec<f64>) -> Option<Spread> {
        figures.sort_by(f64::total_cmp);
        Some(Spread {
            median: *figures.get(figures.len() / 2)?,
            worst: *figures.last()?,
        })
    }
}

impl Results {
    /// Whether every defect was found as it must be: by two engines (or all that were asked and can run it), with every seed by the best
    /// of them in 10 s; and every twin was silent.
    pub fn holds(&self) -> bool {
        !self.interrupted
            && self
                .defects
                .iter()
                .all(|result| result.shortcomings().is_empty())
    }
}

impl DefectResult {
    /// What is not as it must be.
    pub fn shortcomings(&self) -> Vec<String> {
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
    pub fn best(&self) -> Option<&EngineResult> {
        let found = self.engines.iter().filter(|engine| engine.found > 0);
        found.min_by(|a, b| {
            let worst = |engine: &EngineResult| engine.seconds.map_or(f64::MAX, |s| s.worst);
            let missed = |engine: &EngineResult| engine.seeds - engine.found;
            missed(a)
                .cmp(&missed(b))
                .then(worst(a).total_cmp(&worst(b)))
        })
    }
}

impl Results {
    /// As a Markdown table: a row a defect, a column an engine.
    pub fn markdown(&self) -> String {
        let mut text = String::from("| defect |");
        let engines: Vec<Engine> = self.defects.first().map_or_else(Vec::new, |first| {
            first.engines.iter().map(|engine| engine.engine).collect()
        });
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
        text
    }

    /// For people at a terminal: a line an engine.
    pub fn text(&self) -> String {
        let mut text = String::new();
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
            for short in result.shortcomings() {
                let _ = writeln!(text, "  ✗ {short}");
            }
        }
        text
    }
}

impl EngineResult {
    fn cell(&self) -> String {
        match (self.runnable, self.schedules, self.seconds) {
            (false, ..) => "cannot run it".to_owned(),
            (true, Some(schedules), Some(seconds)) => format!(
                "{}/{}: {:.0} (≤ {:.0}), ≤ {} s",
                self.found,
                self.seeds,
                schedules.median,
                schedules.worst,
                short_seconds(seconds.worst)
            ),
            _ => format!("0/{}", self.seeds),
        }
    }
}

impl DefectResult {
    fn size(&self) -> String {
        match &self.reproducer {
            Some(size) => format!(
                "{} t, {} ops, {} pre.",
                size.threads, size.ops, size.preemptions
            ),
            None => "–".to_owned(),
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

fn short_seconds(seconds: f64) -> String {
    if seconds < 0.0095 {
        format!("{seconds:.3}")
    } else {
        format!("{seconds:.2}")
    }
}
