//! Schedules of a program, drawn one after another until one fails.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::director::Director;
use super::execution::Execution;
use super::exhaustive::Exhausted;
use super::fleet::{Errand, Fleet};
use super::launcher::LaunchError;
use super::plan::RunPlan;
use super::race_text;
use super::races::{RacePlan, RaceTally};
use super::state::SearchState;
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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
    #[serde(skip)]
    pub(crate) failed: Option<(RunPlan, Execution)>,
    /// Executions that a limit of the runtime ended: they say nothing.
    pub(crate) unusable: u64,
    /// Why, for the first of them.
    pub(crate) unusable_why: Option<String>,
    /// Calls that were left to the system.
    pub(crate) outside: u64,
    /// Threads that the system would not make.
    #[serde(default)]
    pub(crate) refused: u64,
    /// It handles signals.
    #[serde(default)]
    pub(crate) handlers: bool,
    /// Processes that the program started.
    pub(crate) children: u64,
    /// Processes that it left behind.
    pub(crate) swept: u64,
    /// Loads and stores that were seen.
    pub(crate) accesses: u64,
    /// Data races that were seen.
    #[serde(skip)]
    pub(crate) races: RaceTally,
    /// What its messages to a tracking server come to, where that is looked at.
    pub(crate) tracked: Option<TrackedTally>,
    /// All that were asked for were drawn.
    pub(crate) complete: bool,
    /// Where all were to be run: how that went.
    #[serde(skip)]
    pub(crate) exhausted: Option<Exhausted>,
    /// How long it took.
    pub(crate) elapsed: Duration,
}

/// After so many executions in a row that say nothing, no other will.
const MAX_UNUSABLE: u64 = 3;

impl Search {
    /// Draws schedules, or goes on where `state` was left. `keep_going` is told how many were
    /// drawn, and says whether to go on.
    pub(crate) fn run(
        fleet: &mut Fleet,
        search: &SearchPlan,
        mut state: Option<&mut SearchState>,
        mut keep_going: impl FnMut(&Search) -> bool,
    ) -> Result<Search, LaunchError> {
        let started = Instant::now();
        let mut found = state.as_ref().map(|state| state.found().clone());
        let found = found.get_or_insert_default();
        let before = found.elapsed;
        found.complete = false;
        let mut director = Director::new(search.plan.clone(), search.first);
        if let Some(state) = &state {
            director.resume_at(state.failed().into_iter().chain([state.next()]).collect());
        }
        let last = search.first.saturating_add(search.schedules);
        let mut index = search.first;
        while index < last {
            // What was drawn before is run again only as far as something is to be learnt from it.
            let (next, failed) = state
                .as_ref()
                .map_or((index, None), |state| (state.next(), state.failed()));
            if failed.is_some_and(|failed| failed < index) && !search.keep_going {
                break;
            }
            let length = Director::epoch(index - search.first).min(last - index);
            let errands: Vec<Errand> = (index..index + length)
                .map(|index| {
                    let plan = director.plan(index);
                    let learns = director.learns(&plan);
                    Errand { plan, learns }
                })
                .filter(|errand| {
                    let index = errand.plan.index;
                    index >= next || errand.learns || failed == Some(index)
                })
                .collect();
            let mut go_on = || {
                found.elapsed = before + started.elapsed();
                let in_time = search.duration.is_none_or(|limit| found.elapsed < limit);
                in_time && keep_going(found)
            };
            let done = fleet.run(&errands, !search.keep_going, &mut go_on)?;
            let whole = done.len() == errands.len();
            if let Some(state) = &state {
                fleet.know_bits(&state.hot_of(index..index + length));
            }
            for (errand, done) in errands.iter().zip(done) {
                let (plan, execution) = (&errand.plan, done.execution);
                if let Some(events) = &done.events {
                    director.learn(plan, &execution.steps, events);
                }
                if plan.index < next {
                    if failed == Some(plan.index) {
                        found.failed_again(plan, execution)?;
                    }
                    continue;
                }
                let bits = fleet.know(done.hot.as_deref());
                let ends = found.add(plan, execution) && !search.keep_going;
                if let Some(state) = &mut state {
                    state.drawn(plan.index, plan, found, bits);
                }
                if ends {
                    break;
                }
            }
            found.elapsed = before + started.elapsed();
            let ended = found.failed.is_some() && !search.keep_going;
            let says_nothing = found.schedules == 0 && found.unusable >= MAX_UNUSABLE;
            found.complete = ended;
            if let Some(state) = &mut state {
                let leaves = ended || !whole || says_nothing || index + length >= last;
                state
                    .write(found, leaves)
                    .map_err(|error| LaunchError::System {
                        what: "the file of --state",
                        error,
                    })?;
            }
            if ended || !whole || says_nothing {
                return Ok(found.clone());
            }
            index += length;
        }
        found.complete = true;
        Ok(found.clone())
    }

    /// The failure of a search that was left, run again.
    fn failed_again(&mut self, plan: &RunPlan, execution: Execution) -> Result<(), LaunchError> {
        if execution.failure.is_none() {
            return Err(LaunchError::System {
                what: "the file of --state",
                error: std::io::Error::other(format!(
                    "schedule {} failed before and does not fail again: something in the program \
                     is not controlled",
                    plan.index
                )),
            });
        }
        self.failed = Some((plan.clone(), execution));
        Ok(())
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

    /// One more execution, which no strategy drew; whether it failed.
    pub(crate) fn add(&mut self, plan: &RunPlan, execution: Execution) -> bool {
        self.steps += execution.step_count;
        self.threads = self.threads.max(execution.threads);
        self.longest = self.longest.max(execution.step_count);
        self.outside += u64::from(execution.outside);
        self.refused += u64::from(execution.refused);
        self.handlers |= execution.page.handlers;
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
