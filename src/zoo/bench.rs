//! The measurement (see [`super::results`] for what comes of it): every defect by every engine over
//! many seeds, and every twin over many schedules.
//!
//! Counts are the same on every machine for the controlled engines, which draw from seeds; times,
//! and all figures of real threads, are those of the machine. An engine that finds a defect in none
//! of its first [`FRUITLESS_SEEDS`] seeds is not asked again, and the result says how many it had.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Defect;
use super::results::{DefectResult, EngineResult, ReproducerSize, Results, Spread, TwinResult};
use super::trial::{Budget, Engine, TrialError, run_trial};
use crate::engine::controlled::machine::Setup;
use crate::engine::controlled::observe::ObservedRun;
use crate::engine::threads::CheckedRunError;
use crate::oracle::{Kind, Report, Verdict};
use crate::scenario::Scenario;
use crate::shrink;

/// Seeds after which an engine that found nothing is given up.
pub(crate) const FRUITLESS_SEEDS: u64 = 3;

/// States after which the search for a proof of a twin is given up.
const TWIN_STATES: u64 = 3_000_000;

/// Enough for any twin.
const TWIN_TIME: Duration = Duration::from_secs(3600);

/// What to measure.
#[derive(Clone, Debug)]
pub(crate) struct BenchPlan {
    /// Which defects.
    pub(crate) defects: Vec<&'static Defect>,
    /// Which engines.
    pub(crate) engines: Vec<Engine>,
    /// Seeds of each, from this one on.
    pub(crate) first_seed: u64,
    /// How many seeds.
    pub(crate) seeds: u64,
    /// How long an engine may look with one seed.
    pub(crate) budget: Duration,
    /// Threads that draw.
    pub(crate) workers: usize,
    /// Random schedules of each twin; 0: leave that out.
    pub(crate) twin_schedules: u64,
    /// Stress runs of each twin; 0: leave that out.
    pub(crate) twin_runs: u64,
}

/// How far a measurement has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BenchProgress<'a> {
    /// A step begins: an engine on a defect, the smallest run, or a twin. Of each defect there are
    /// [`BenchPlan::steps_per_defect`].
    Step,
    /// A seed of the same step.
    Seed,
    /// A defect is done.
    Defect(&'a Results),
}

impl BenchPlan {
    /// Of each defect its engines, its smallest run and its twin.
    pub(crate) fn steps_per_defect(&self) -> usize {
        self.engines.len() + 2
    }
}

/// Measures.
pub(crate) fn bench(
    plan: &BenchPlan,
    interrupt: &AtomicBool,
    progress: &mut dyn FnMut(BenchProgress<'_>),
) -> Result<Results, TrialError> {
    let mut results = Results {
        first_seed: plan.first_seed,
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
            .push(measure(plan, defect, interrupt, progress)?);
        progress(BenchProgress::Defect(&results));
    }
    results.interrupted = interrupt.load(Ordering::Relaxed);
    Ok(results)
}

fn measure(
    plan: &BenchPlan,
    defect: &Defect,
    interrupt: &AtomicBool,
    progress: &mut dyn FnMut(BenchProgress<'_>),
) -> Result<DefectResult, TrialError> {
    let mut engines = Vec::new();
    let mut example = None;
    for engine in &plan.engines {
        progress(BenchProgress::Step);
        let (result, shown) = by_engine(plan, defect, *engine, interrupt, progress)?;
        engines.push(result);
        example = example.or(shown);
    }
    progress(BenchProgress::Step);
    let reproducer = match example {
        Some((scenario, observed)) => smallest(defect, scenario, &observed, interrupt)?,
        None => None,
    };
    progress(BenchProgress::Step);
    Ok(DefectResult {
        defect: defect.name.clone(),
        engines,
        reproducer,
        twin: twin(plan, defect, interrupt)?,
        interrupted: interrupt.load(Ordering::Relaxed),
    })
}

type Example = (Scenario, Box<ObservedRun>);

fn by_engine(
    plan: &BenchPlan,
    defect: &Defect,
    engine: Engine,
    interrupt: &AtomicBool,
    progress: &mut dyn FnMut(BenchProgress<'_>),
) -> Result<(EngineResult, Option<Example>), TrialError> {
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
        progress(BenchProgress::Seed);
        let scenario = engine.scenario(defect, true, seed)?;
        let shows = |report: &Report| defect.shows_in(report);
        let trial = match run_trial(engine, scenario.clone(), &budget, &shows) {
            Ok(trial) => trial,
            // A trace that contradicts itself is a finding about heisenbed, and no reason to lose
            // the others.
            Err(TrialError::Threads(error)) if !matches!(error, CheckedRunError::Run(_)) => {
                result.error = Some(error.to_string());
                result.seeds += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        if trial.found.is_none() && interrupt.load(Ordering::Relaxed) {
            break;
        }
        result.seeds += 1;
        if let Some(report) = &trial.found {
            result.unexplained.extend(defect.unexplained(report));
            if defect.shows_in(report) {
                result.found += 1;
                schedules.push(trial.schedules as f64);
                seconds.push(trial.elapsed.as_secs_f64());
                example = example.or(trial.example.map(|observed| (scenario, observed)));
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
    observed: &ObservedRun,
    interrupt: &AtomicBool,
) -> Result<Option<ReproducerSize>, TrialError> {
    let setup = Setup::new(scenario, 0)?;
    let shown = |kind: &&Kind| observed.report.count(**kind) > 0;
    let Some(kind) = defect.expected.iter().find(shown) else {
        return Ok(None);
    };
    let mut keep_going = || !interrupt.load(Ordering::Relaxed);
    let shrunk = shrink::shrink_ops(&setup.scenario, setup.ops(), *kind, &mut keep_going);
    Ok(shrunk.ok().map(|shrunk| ReproducerSize {
        kind: *kind,
        threads: shrunk.size.threads,
        ops: shrunk.size.ops,
        preemptions: shrunk.size.preemptions,
    }))
}

/// Whatever the twin does that is not clean is a false alarm.
fn twin(
    plan: &BenchPlan,
    defect: &Defect,
    interrupt: &AtomicBool,
) -> Result<TwinResult, TrialError> {
    let mut result = TwinResult::default();
    let seed = plan.first_seed;
    let budget = |schedules| Budget {
        schedules,
        time: TWIN_TIME,
        workers: plan.workers,
        interrupt,
    };
    let diverged = |report: &Report| report.verdict != Verdict::Clean;
    if plan.twin_schedules > 0 {
        let small = Engine::Random.scenario(defect, false, seed)?;
        let long = budget(plan.twin_schedules);
        let drawn = run_trial(Engine::Random, small.clone(), &long, &diverged)?;
        result.schedules = drawn.schedules;
        result.false_alarms += u64::from(drawn.found.is_some());
        let searched = run_trial(
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
        let played = run_trial(engine, scenario, &budget(runs), &diverged)?;
        result.runs += played.schedules;
        result.false_alarms +=
            u64::from(played.found.is_some() && !interrupt.load(Ordering::Relaxed));
    }
    Ok(result)
}
