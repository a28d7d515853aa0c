//! Sampling: many schedules of one scenario, drawn by a scheduler, on one or several workers.
//!
//! Schedule number i depends on the seed and on i alone, and everything that is counted is a sum or
//! the lowest number: the result is the same for any number of workers. A schedule that raises an
//! alarm is run again and checked in full.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::oracle::{Kind, Verdict};
use crate::trace::event::Event;

use super::machine::{Machine, RunEnd, Setup};
use super::observe::{ObservedRun, observe};
use super::schedule::NotingScheduler;
use super::schedulers::{Bytes, Pct, RandomWalk, Scheduler, Urw};
use super::world::EventSink;

/// Steps after which a schedule is cut short, where nobody says otherwise.
pub(crate) const MAX_STEPS: u64 = 10_000_000;

/// Which scheduler draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// See [`RandomWalk`].
    Random,
    /// See [`Pct`], with its depth.
    Pct {
        /// How many ordering constraints a bug needs.
        depth: u32,
    },
    /// See [`Urw`].
    Urw,
}

/// What to draw.
#[derive(Clone, Copy, Debug)]
pub struct SamplePlan {
    /// The scheduler.
    pub strategy: Strategy,
    /// Its seed.
    pub seed: u64,
    /// How many schedules.
    pub schedules: u64,
    /// When to stop anyway.
    pub until: Option<Instant>,
    /// Threads that draw.
    pub workers: usize,
    /// Steps after which a schedule is cut short.
    pub max_steps: u64,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Sampled {
    /// Schedules that were run.
    pub schedules: u64,
    /// Steps that were taken.
    pub steps: u64,
    /// Events that a recorder would have seen.
    pub events: u64,
    /// Messages that the server took.
    pub messages: u64,
    /// Schedules that diverged.
    pub diverged: u64,
    /// Schedules that were cut short, or of which nothing can be said for another reason.
    pub inconclusive: u64,
    /// Why the first of these is.
    pub why: Option<String>,
    /// Divergences of each kind, over all schedules.
    pub divergences: BTreeMap<Kind, u64>,
    /// Most buffers live at rest: real leaks.
    pub leaks: u64,
    /// The first schedule that diverged, by number.
    pub first: Option<(u64, Box<ObservedRun>)>,
    /// Whether all were run.
    pub complete: bool,
}

/// What a first schedule, in which one actor after another runs as far as it can, says of the
/// others.
#[derive(Clone, Debug)]
pub(crate) struct Estimate {
    /// Steps of each actor.
    pub(crate) steps: Vec<u64>,
}

impl Estimate {
    /// Runs that schedule.
    pub(crate) fn of(setup: &Arc<Setup>) -> Estimate {
        let mut machine = Machine::new(setup);
        let mut noted = NotingScheduler::new(Bytes::new(&[]));
        machine.run(&mut noted, &mut Counted::default(), u64::MAX);
        let mut steps = vec![0; setup.actors().len() as usize];
        for actor in noted.picks {
            steps[usize::from(actor.0)] += 1;
        }
        Estimate { steps }
    }

    /// Steps of all actors.
    pub(crate) fn total(&self) -> u64 {
        self.steps.iter().sum()
    }
}

/// PCT's schedules of `setup`.
pub(crate) fn pct(setup: &Arc<Setup>, seed: u64, depth: u32) -> Pct {
    let estimate = Estimate::of(setup);
    Pct::new(seed, estimate.steps.len() as u16, depth, estimate.total())
}

/// Draws. `keep_going` is told how many schedules are done, from time to time, and says whether to.
pub fn sample(
    setup: &Arc<Setup>,
    plan: &SamplePlan,
    keep_going: &(dyn Fn(u64) -> bool + Sync),
) -> Sampled {
    match plan.strategy {
        Strategy::Random => sample_with(setup, plan, &RandomWalk::new(plan.seed), keep_going),
        Strategy::Pct { depth } => {
            sample_with(setup, plan, &pct(setup, plan.seed, depth), keep_going)
        }
        Strategy::Urw => {
            let urw = Urw::new(plan.seed, Estimate::of(setup).steps);
            sample_with(setup, plan, &urw, keep_going)
        }
    }
}

fn sample_with<S: Scheduler + Clone + Send + Sync>(
    setup: &Arc<Setup>,
    plan: &SamplePlan,
    scheduler: &S,
    keep_going: &(dyn Fn(u64) -> bool + Sync),
) -> Sampled {
    /// Operations that a worker does at a time, about.
    const CHUNK_OPS: u64 = 1 << 14;
    let ops = setup.ops().iter().flatten().count() as u64;
    let chunk = (CHUNK_OPS / ops.max(1)).clamp(1, 256);
    let next = AtomicU64::new(0);
    let done = AtomicU64::new(0);
    let stopped = AtomicBool::new(false);
    let work = || {
        let mut machine = Machine::new(setup);
        let mut scheduler = scheduler.clone();
        let mut sampled = Sampled::default();
        while !stopped.load(Ordering::Relaxed) {
            let from = next.fetch_add(chunk, Ordering::Relaxed);
            if from >= plan.schedules {
                break;
            }
            let to = plan.schedules.min(from + chunk);
            for index in from..to {
                sampled.add_schedule(setup, plan, &mut machine, &mut scheduler, index);
            }
            let all = done.fetch_add(to - from, Ordering::Relaxed) + to - from;
            if !keep_going(all) || plan.until.is_some_and(|until| Instant::now() >= until) {
                stopped.store(true, Ordering::Relaxed);
            }
        }
        sampled
    };
    let mut sampled = Sampled::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..plan.workers.max(1))
            .map(|_| scope.spawn(work))
            .collect();
        sampled.merge(work());
        for worker in workers {
            sampled.merge(worker.join().expect("a worker does not panic"));
        }
    });
    sampled.complete = sampled.schedules == plan.schedules;
    log::debug!(
        "{}: {} of {} schedules drawn by {:?} with seed {}, {} diverged",
        setup.scenario.name,
        sampled.schedules,
        plan.schedules,
        plan.strategy,
        plan.seed,
        sampled.diverged
    );
    sampled
}

impl Sampled {
    /// What follows from it; a sample proves nothing.
    pub(crate) fn verdict(&self) -> Verdict {
        if self.diverged > 0 {
            Verdict::Diverged
        } else if self.inconclusive > 0 || self.schedules == 0 {
            Verdict::Inconclusive
        } else {
            Verdict::Clean
        }
    }

    #[inline]
    fn add_schedule<S: Scheduler + Clone>(
        &mut self,
        setup: &Arc<Setup>,
        plan: &SamplePlan,
        machine: &mut Machine,
        scheduler: &mut S,
        index: u64,
    ) {
        machine.reset();
        scheduler.begin(index);
        let mut events = Counted::default();
        let end = machine.run(scheduler, &mut events, plan.max_steps);
        self.schedules += 1;
        self.steps += machine.steps();
        self.events += events.0;
        self.messages += machine.server().messages();
        if end == RunEnd::Completed {
            self.leaks = self.leaks.max(machine.live() as u64);
            // A first one that sent nothing is looked at: there may be nothing to check.
            let silent = index == 0 && machine.server().messages() == 0;
            if !machine.alarmed() && !machine.differs_at_rest() && !silent {
                return;
            }
        }
        let (observed, _) = observe(setup, scheduler.clone(), index, plan.max_steps);
        if observed.report.verdict == Verdict::Inconclusive {
            self.inconclusive += 1;
            self.why = self.why.take().or(observed.report.note.clone());
        }
        for (kind, count) in &observed.report.divergences {
            *self.divergences.entry(*kind).or_default() += count;
        }
        if observed.report.verdict == Verdict::Diverged {
            self.diverged += 1;
            if self.first.as_ref().is_none_or(|(first, _)| index < *first) {
                self.first = Some((index, Box::new(observed)));
            }
        }
    }

    fn merge(&mut self, other: Sampled) {
        self.schedules += other.schedules;
        self.steps += other.steps;
        self.events += other.events;
        self.messages += other.messages;
        self.diverged += other.diverged;
        self.inconclusive += other.inconclusive;
        self.why = self.why.take().or(other.why);
        for (kind, count) in other.divergences {
            *self.divergences.entry(kind).or_default() += count;
        }
        self.leaks = self.leaks.max(other.leaks);
        self.first = match (self.first.take(), other.first) {
            (Some(a), Some(b)) => Some(if a.0 <= b.0 { a } else { b }),
            (a, b) => a.or(b),
        };
    }
}

/// Counts events.
#[derive(Clone, Copy, Debug, Default)]
struct Counted(u64);

impl EventSink for Counted {
    #[inline]
    fn record(&mut self, _stream: u16, _event: &Event) {
        self.0 += 1;
    }
}
