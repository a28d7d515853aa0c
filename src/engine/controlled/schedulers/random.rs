//! The random walk: each step, any actor that can go on is as likely as another.

use crate::engine::controlled::actors::{Actor, Actors};
use crate::scenario::random::{Purpose, Random};

use super::Scheduler;

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct RandomWalk {
    seed: u64,
    random: Random,
}

impl RandomWalk {
    /// The random walks of `seed`.
    pub fn new(seed: u64) -> RandomWalk {
        RandomWalk {
            seed,
            random: Random::new(seed, 0, Purpose::Schedule, 0),
        }
    }
}

impl Scheduler for RandomWalk {
    fn begin(&mut self, index: u64) {
        self.random = Random::new(self.seed, index, Purpose::Schedule, 0);
    }

    #[inline]
    fn pick(&mut self, ready: Actors, _current: Option<Actor>) -> Option<Actor> {
        if ready.len() == 1 {
            return Some(ready.nth_member(0));
        }
        let index = self.random.below(u64::from(ready.len())) as u32;
        Some(ready.nth_member(index))
    }
}
