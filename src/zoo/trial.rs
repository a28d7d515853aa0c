//! Hunts: one engine looks for one defect, from one seed, within a budget.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::fuzz::Fuzzer;
use super::{Defect, ScenarioSize};
use crate::engine::controlled::exhaustive::{self, SearchOptions};
use crate::engine::controlled::machine::{Setup, SetupError};
use crate::engine::controlled::observe::ObservedRun;
use crate::engine::controlled::sample::{self, SamplePlan, Strategy};
use crate::engine::threads::{CheckedRunError, RunConfig, recorded_and_checked};
use crate::oracle::{Report, Verdict};
use crate::scenario::{Scenario, ScenarioError};

/// Who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Real threads as they come.
    Stress,
    /// Real threads, delayed at random micro-steps.
    StressPerturbed,
    /// Random walk.
    Random,
    /// PCT, of depth 3.
    Pct,
    /// URW.
    Urw,
    /// Every state.
    Exhaustive,
    /// Mutated schedule bytes.
    Fuzz,
}

/// The depth of PCT.
const PCT_DEPTH: u32 = 3;

/// Steps after which a drawn schedule is cut short.
const MAX_STEPS: u64 = 10_000_000;

/// How far to look.
#[derive(Clone, Copy, Debug)]
pub struct Budget<'a> {
    /// At most so many schedules (of stress: runs; of the exhaustive search: states).
    pub schedules: u64,
    /// At most so long.
    pub time: Duration,
    /// Threads that draw.
    pub workers: usize,
    /// Set by somebody who wants it to end.
    pub interrupt: &'a AtomicBool,
}

/// What came of a hunt.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What the oracle says of the run that diverged first.
    pub found: Option<Report>,
    /// That run, where it was a controlled one.
    pub example: Option<Box<ObservedRun>>,
    /// Schedules (runs, states) up to it, or all that there were.
    pub schedules: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Whether the exhaustive search came to its end: then there is none.
    pub proved: bool,
}

/// Why there was no hunt.
#[derive(Debug, Error)]
pub enum TrialError {
    /// The scenario is wrong.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// It cannot be run under control.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// It cannot be run on threads, or its trace gets no verdict.
    #[error(transparent)]
    Threads(#[from] CheckedRunError),
}

impl Engine {
    /// Every engine.
    pub const ALL: [Engine; 7] = [
        Engine::Stress,
        Engine::StressPerturbed,
        Engine::Random,
        Engine::Pct,
        Engine::Urw,
        Engine::Exhaustive,
        Engine::Fuzz,
    ];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Engine::Stress => "stress",
            Engine::StressPerturbed => "stress-perturbed",
            Engine::Random => "random",
            Engine::Pct => "pct",
            Engine::Urw => "urw",
            Engine::Exhaustive => "exhaustive",
            Engine::Fuzz => "fuzz",
        }
    }

    /// Whether it runs real threads.
    pub fn is_stress(self) -> bool {
        matches!(self, Engine::Stress | Engine::StressPerturbed)
    }

    /// The scenario of a defect, or of its twin, in the form that this engine runs.
    pub fn scenario(
        self,
        defect: &Defect,
        defective: bool,
        seed: u64,
    ) -> Result<Scenario, ScenarioError> {
        let size = if self.is_stress() {
            ScenarioSize::Full
        } else {
            ScenarioSize::Small
        };
        let mut scenario = if defective {
            defect.scenario(size, seed)?
        } else {
            defect.twin(size, seed)?
        };
        scenario.perturb = self == Engine::StressPerturbed;
        Ok(scenario)
    }

    /// Whether it can look for a mistake that this scenario plants.
    pub fn can_run(self, scenario: &Scenario) -> bool {
        let planted = scenario.planted.is_some_and(|p| p.is_controlled_only());
        !(self.is_stress() && (planted || crate::engine::threads::refuses(scenario)))
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Looks until a run satisfies `shows`, or the budget is used up.
pub fn run_trial(
    engine: Engine,
    scenario: Scenario,
    budget: &Budget<'_>,
    shows: &(dyn Fn(&Report) -> bool + Sync),
) -> Result<Trial, TrialError> {
    let started = Instant::now();
    let mut trial = match engine {
        Engine::Stress | Engine::StressPerturbed => stress(&scenario, budget, started, shows)?,
        Engine::Random => draw(Strategy::Random, scenario, budget, started)?,
        Engine::Pct => draw(
            Strategy::Pct { depth: PCT_DEPTH },
            scenario,
            budget,
            started,
        )?,
        Engine::Urw => draw(Strategy::Urw, scenario, budget, started)?,
        Engine::Exhaustive => search(scenario, budget, started)?,
        Engine::Fuzz => fuzz(scenario, budget, started, shows)?,
    };
    trial.elapsed = started.elapsed();
    Ok(trial)
}

impl Budget<'_> {
    fn is_left(&self, schedules: u64, started: Instant) -> bool {
        schedules < self.schedules
            && started.elapsed() < self.time
            && !self.interrupt.load(Ordering::Relaxed)
    }
}

impl Trial {
    fn nothing_yet() -> Trial {
        Trial {
            found: None,
            example: None,
            schedules: 0,
            elapsed: Duration::ZERO,
            proved: false,
        }
    }

    fn found_in(&mut self, example: Box<ObservedRun>) {
        self.found = Some(example.report.clone());
        self.example = Some(example);
    }
}

fn stress(
    scenario: &Scenario,
    budget: &Budget<'_>,
    started: Instant,
    shows: &dyn Fn(&Report) -> bool,
) -> Result<Trial, TrialError> {
    let mut trial = Trial::nothing_yet();
    while budget.is_left(trial.schedules, started) {
        let report = play(scenario, trial.schedules, budget.interrupt)?;
        trial.schedules += 1;
        if shows(&report) {
            trial.found = Some(report);
            break;
        }
    }
    Ok(trial)
}

/// One run of real threads, recorded and checked.
fn play(scenario: &Scenario, run: u64, interrupt: &AtomicBool) -> Result<Report, TrialError> {
    let config = RunConfig::new(scenario, run, interrupt);
    Ok(recorded_and_checked(config, |_| ())?.report)
}

/// Draws in portions that grow, so that a schedule that is found early costs no more than it must.
/// The first schedule that diverges is the same for any portions and workers.
fn draw(
    strategy: Strategy,
    scenario: Scenario,
    budget: &Budget<'_>,
    started: Instant,
) -> Result<Trial, TrialError> {
    let seed = scenario.seed;
    let setup = Setup::new(scenario, 0)?;
    let mut trial = Trial::nothing_yet();
    let mut portion = 64;
    loop {
        let plan = SamplePlan {
            strategy,
            seed,
            schedules: budget.schedules.min(portion),
            until: Some(started + budget.time),
            workers: budget.workers,
            max_steps: MAX_STEPS,
        };
        let sampled = sample::sample(&setup, &plan, &|_| {
            !budget.interrupt.load(Ordering::Relaxed)
        });
        trial.schedules = sampled.schedules;
        if let Some((index, example)) = sampled.first {
            trial.schedules = index + 1;
            trial.found_in(example);
            return Ok(trial);
        }
        if !sampled.complete || plan.schedules == budget.schedules {
            return Ok(trial);
        }
        portion = portion.saturating_mul(16);
    }
}

fn search(scenario: Scenario, budget: &Budget<'_>, started: Instant) -> Result<Trial, TrialError> {
    let setup = Setup::new(scenario, 0)?;
    let found = exhaustive::search(
        &setup,
        &SearchOptions {
            max_states: budget.schedules,
            ..SearchOptions::default()
        },
        &mut |found| budget.is_left(found.states, started),
    );
    let mut trial = Trial::nothing_yet();
    trial.schedules = found.states;
    trial.proved = found.verdict(None).0 == Verdict::Proved;
    if let Some(example) = found.example {
        trial.found_in(example);
    }
    Ok(trial)
}

fn fuzz(
    scenario: Scenario,
    budget: &Budget<'_>,
    started: Instant,
    shows: &dyn Fn(&Report) -> bool,
) -> Result<Trial, TrialError> {
    let seed = scenario.seed;
    let setup: Arc<Setup> = Setup::new(scenario, 0)?;
    let mut fuzzer = Fuzzer::new(&setup, seed);
    let mut trial = Trial::nothing_yet();
    while budget.is_left(trial.schedules, started) {
        trial.schedules += 1;
        if let Some(observed) = fuzzer.next()
            && shows(&observed.report)
        {
            trial.found_in(Box::new(observed));
            break;
        }
    }
    Ok(trial)
}
