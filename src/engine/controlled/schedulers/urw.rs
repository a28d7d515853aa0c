//! URW over the actors of a model: see [`heisenbed_sampling::urw`], which has the paper and the
//! algorithm. How many steps an actor has is taken from a first schedule.

use heisenbed_sampling::urw;

use crate::engine::controlled::actors::{Actor, Actors};
use crate::scenario::random::{Purpose, Random};

use super::{Scheduler, actor, numbers};

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Urw {
    seed: u64,
    random: Random,
    expected: Vec<u64>,
    sampler: urw::Urw<Vec<u64>>,
}

impl Urw {
    /// Walks of `seed` over actors that take about `expected` steps each.
    pub(crate) fn new(seed: u64, expected: Vec<u64>) -> Urw {
        Urw {
            seed,
            random: Random::new(seed, 0, Purpose::Schedule, 2),
            sampler: urw::Urw::new(expected.clone()),
            expected,
        }
    }
}

impl Scheduler for Urw {
    fn begin(&mut self, index: u64) {
        self.random = Random::new(self.seed, index, Purpose::Schedule, 2);
        let mut left = std::mem::take(&mut self.sampler).into_storage();
        left.clone_from(&self.expected);
        self.sampler = urw::Urw::new(left);
    }

    fn pick(&mut self, ready: Actors, _current: Option<Actor>) -> Option<Actor> {
        let picked = self.sampler.pick(numbers(ready), self.random.stream());
        picked.map(actor)
    }

    fn took(&mut self, actor: Actor) {
        self.sampler.took(usize::from(actor.0));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_interleaving_of_independent_steps_is_about_as_likely() {
        let mut urw = Urw::new(5, vec![2, 1]);
        let mut seen: BTreeMap<Vec<u16>, u32> = BTreeMap::new();
        for index in 0..9000 {
            urw.begin(index);
            let (mut left, mut picks) = ([2, 1], Vec::new());
            for _ in 0..3 {
                let mut ready = Actors::first(2);
                (0..2u16)
                    .filter(|actor| left[usize::from(*actor)] == 0)
                    .for_each(|actor| ready.remove(Actor(actor)));
                let picked = urw.pick(ready, None).expect("somebody is ready");
                urw.took(picked);
                left[usize::from(picked.0)] -= 1;
                picks.push(picked.0);
            }
            *seen.entry(picks).or_default() += 1;
        }
        assert_eq!(seen.len(), 3);
        assert!(
            seen.values().all(|count| (2700..3300).contains(count)),
            "{seen:?}"
        );
    }
}
