//! PCT over the actors of a model: see [`heisenbed_sampling::pct`], which has the paper and the
//! algorithm. How many steps a schedule has is known from a first one, in which the threads run one
//! after another.

use heisenbed_sampling::pct;
use smallvec::SmallVec;

use crate::engine::controlled::actors::{Actor, Actors};
use crate::scenario::random::{Purpose, Random};

use super::{Scheduler, actor, numbers};

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Pct {
    seed: u64,
    actors: u16,
    depth: u32,
    steps: u64,
    sampler: pct::Pct<Vec<u64>, SmallVec<[u64; 8]>>,
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
            sampler: pct::Pct::default(),
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
        let (mut priorities, mut changes) = std::mem::take(&mut self.sampler).into_storage();
        priorities.resize(usize::from(self.actors), 0);
        changes.resize(self.depth as usize - 1, 0);
        self.sampler = pct::Pct::new(priorities, changes, self.steps, random.stream());
    }

    fn pick(&mut self, ready: Actors, _current: Option<Actor>) -> Option<Actor> {
        self.sampler.pick(numbers(ready)).map(actor)
    }

    fn took(&mut self, _actor: Actor) {
        self.sampler.took();
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
