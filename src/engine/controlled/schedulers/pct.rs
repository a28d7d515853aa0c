//! PCT: probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte, *A
//! Randomized Scheduler with Probabilistic Guarantees of Finding Bugs*, ASPLOS 2010).
//!
//! Every actor has a priority, drawn at random; the highest that can go on does. At d − 1 steps,
//! drawn at random from the k that a schedule has, the actor that is about to step falls below all
//! others. A divergence that needs d ordering constraints is then found by each schedule with
//! probability at least 1/(n·k^(d−1)), for n actors.
//!
//! Deviation from the paper: k is not known beforehand; it is the number of steps of a first
//! schedule, in which the threads run one after another.

use smallvec::SmallVec;

use crate::engine::controlled::actors::{Actor, Actors};
use crate::scenario::random::{Purpose, Random};

use super::Scheduler;

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Pct {
    seed: u64,
    actors: u16,
    depth: u32,
    steps: u64,
    /// By actor; the highest goes first. Of the first ones, `0..depth - 1` are kept for those that
    /// fall.
    priorities: Vec<u64>,
    /// Steps, ascending, at which an actor falls.
    changes: SmallVec<[u64; 8]>,
    /// Changes made.
    fallen: usize,
    step: u64,
}

impl Pct {
    /// Schedules of `seed` for a bug of `depth` (1 or more) in schedules of `actors` actors and
    /// about `steps` steps.
    pub(crate) fn new(seed: u64, actors: u16, depth: u32, steps: u64) -> Pct {
        Pct {
            seed,
            actors,
            depth: depth.max(1),
            steps: steps.max(1),
            priorities: Vec::new(),
            changes: SmallVec::new(),
            fallen: 0,
            step: 0,
        }
    }

    /// About how many steps a schedule has: k.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// The least probability with which a schedule shows a divergence of this depth.
    pub(crate) fn bound(&self) -> f64 {
        let below = f64::from(self.actors) * (self.steps as f64).powi(self.depth as i32 - 1);
        1.0 / below
    }
}

impl Scheduler for Pct {
    fn begin(&mut self, index: u64) {
        let mut random = Random::new(self.seed, index, Purpose::Schedule, 1);
        let changes = u64::from(self.depth - 1);
        self.priorities.clear();
        self.priorities
            .extend((0..u64::from(self.actors)).map(|rank| changes + rank));
        for last in (1..self.priorities.len()).rev() {
            let other = random.below(last as u64 + 1) as usize;
            self.priorities.swap(last, other);
        }
        self.changes.clear();
        self.changes
            .extend((0..changes).map(|_| random.below(self.steps)));
        self.changes.sort_unstable();
        self.fallen = 0;
        self.step = 0;
    }

    fn pick(&mut self, ready: Actors, _current: Option<Actor>) -> Option<Actor> {
        loop {
            let first = ready.max_by_key(|actor| self.priorities[usize::from(actor.0)])?;
            if self
                .changes
                .get(self.fallen)
                .is_none_or(|at| *at > self.step)
            {
                return Some(first);
            }
            // Later falls are deeper: each gets the lowest priority that is left.
            let left = self.changes.len() - 1 - self.fallen;
            self.priorities[usize::from(first.0)] = left as u64;
            self.fallen += 1;
        }
    }

    fn took(&mut self, _actor: Actor) {
        self.step += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_changes_an_actor_runs_until_it_cannot_go_on() {
        let mut pct = Pct::new(1, 3, 1, 100);
        pct.begin(0);
        let ready = Actors::first(3);
        let first = pct.pick(ready, None);
        for _ in 0..50 {
            assert_eq!(pct.pick(ready, first), first);
            pct.took(first.expect("picked"));
        }
    }

    #[test]
    fn an_actor_that_falls_lets_every_other_go_first() {
        let mut pct = Pct::new(1, 2, 3, 10);
        for index in 0..100 {
            pct.begin(index);
            let mut switches = 0;
            let mut last = None;
            for _ in 0..10 {
                let picked = pct.pick(Actors::first(2), last);
                switches += u32::from(last.is_some() && picked != last);
                last = picked;
                pct.took(picked.expect("picked"));
            }
            assert!(
                switches <= 2,
                "schedule {index}: {switches} switches for 2 changes"
            );
        }
    }

    #[test]
    fn the_bound_is_that_of_the_paper() {
        assert!((Pct::new(0, 2, 3, 10).bound() - 1.0 / 200.0).abs() < 1e-12);
    }
}
