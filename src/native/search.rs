//! Schedules of a program, drawn one after another until one fails.

use std::time::{Duration, Instant};

use super::execution::Execution;
use super::exhaustive::Exhausted;
use super::launcher::{LaunchError, Launcher};
use super::plan::{RunPlan, RunStrategy};
use super::race_text;
use super::races::{RacePlan, RaceTally};
use super::symbols::Symbols;
use super::tracked::TrackedTally;

/// What is searched for, and how long.
#[derive(Clone, Debug)]
pub(crate) struct SearchPlan {
    /// What each schedule is made of.
    pub(crate) plan: RunPlan,
    /// How many to draw.
    pub(crate) schedules: u64,
    /// The number of the first.
    pub(crate) first: u64,
    /// How long to draw.
    pub(crate) duration: Option<Duration>,
    /// Go on after a failure.
    pub(crate) keep_going: bool,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search {
    /// Executions that came to an end of their own, or failed.
    pub(crate) schedules: u64,
    /// Steps of all of them.
    pub(crate) steps: u64,
    /// The most threads that one had.
    pub(crate) threads: u32,
    /// The most steps that one had.
    pub(crate) longest: u64,
    /// Executions that failed.
    pub(crate) failures: u64,
    /// The first that did, and how it was made.
    pub(crate) failed: Option<(RunPlan, Execution)>,
    /// Executions that a limit of the runtime ended: they say nothing.
    pub(crate) unusable: u64,
    /// Why, for the first of them.
    pub(crate) unusable_why: Option<String>,
    /// Calls that were left to the system.
    pub(crate) outside: u64,
    /// Processes that the program started.
    pub(crate) children: u64,
    /// Processes that it left behind.
    pub(crate) swept: u64,
    /// Loads and stores that were seen.
    pub(crate) accesses: u64,
    /// Data races that were seen.
    pub(crate) races: RaceTally,
    /// What its messages to a tracking server come to, where that is looked at.
    pub(crate) tracked: Option<TrackedTally>,
    /// All that were asked for were drawn.
    pub(crate) complete: bool,
    /// Where all were to be run: how that went.
    pub(crate) exhausted: Option<Exhausted>,
    /// How long it took.
    pub(crate) elapsed: Duration,
}

/// After so many executions in a row that say nothing, no other will.
const MAX_UNUSABLE: u64 = 3;

impl Search {
    /// Draws schedules. `keep_going` is told how many were drawn, and says whether to go on.
    pub(crate) fn run(
        launcher: &mut Launcher,
        search: &SearchPlan,
        mut keep_going: impl FnMut(&Search) -> bool,
    ) -> Result<Search, LaunchError> {
        let started = Instant::now();
        let mut found = Search::default();
        let mut plan = search.plan.clone();
        let last = search.first.saturating_add(search.schedules);
        for index in search.first..last {
            let in_time = search
                .duration
                .is_none_or(|limit| started.elapsed() < limit);
            found.elapsed = started.elapsed();
            if !in_time || !keep_going(&found) {
                return Ok(found);
            }
            if found.schedules == 0 && found.unusable >= MAX_UNUSABLE {
                return Ok(found);
            }
            plan.index = index;
            // Some need to know how long schedules are: the first one tells.
            if index == search.first
                && matches!(plan.strategy, RunStrategy::Pct { .. } | RunStrategy::Urw)
            {
                let profile = RunPlan {
                    strategy: RunStrategy::First,
                    ..plan.clone()
                };
                let execution = launcher.run(&profile)?;
                plan.expected_steps = execution.step_count.max(1);
                plan.expected.clone_from(&execution.thread_steps);
                if found.add(&profile, execution) && !search.keep_going {
                    break;
                }
                continue;
            }
            let execution = launcher.run(&plan)?;
            if plan.strategy == RunStrategy::Urw && found.failed.is_none() {
                for (expected, steps) in plan.expected.iter_mut().zip(&execution.thread_steps) {
                    *expected = (*expected).max(*steps);
                }
                for steps in execution.thread_steps.iter().skip(plan.expected.len()) {
                    plan.expected.push(*steps);
                }
            }
            plan.expected_steps = plan.expected_steps.max(execution.step_count);
            if found.add(&plan, execution) && !search.keep_going {
                break;
            }
        }
        found.complete = true;
        found.elapsed = started.elapsed();
        Ok(found)
    }

    /// Once it is over: where nothing else failed, the first data race is the failure.
    pub(crate) fn accuse_races(&mut self, symbols: &Symbols) {
        if let Some((plan, execution)) = self.races.first.take().filter(|_| self.failures == 0) {
            self.failures = self.races.schedules;
            self.failed = Some((plan, execution.failed_by_race()));
        }
        if let Some((plan, execution)) = &mut self.failed {
            race_text::name(execution, symbols);
            plan.races = RacePlan::of(execution);
        }
    }

    /// Whether it failed.
    pub(super) fn add(&mut self, plan: &RunPlan, execution: Execution) -> bool {
        self.steps += execution.step_count;
        self.threads = self.threads.max(execution.threads);
        self.longest = self.longest.max(execution.step_count);
        self.outside += u64::from(execution.outside);
        self.children += u64::from(execution.children);
        self.swept += u64::from(execution.swept);
        self.accesses += execution.accesses;
        if let Some(why) = execution.unusable() {
            self.unusable += 1;
            self.unusable_why.get_or_insert(why);
            return false;
        }
        self.schedules += 1;
        self.races.add(plan, &execution);
        if let Some(found) = &execution.tracked {
            self.tracked.get_or_insert_default().add(&found.report);
        }
        let failed = execution.failure.is_some();
        if failed {
            self.failures += 1;
            if self.failed.is_none() {
                self.failed = Some((plan.clone(), execution));
            }
        }
        failed
    }
}
