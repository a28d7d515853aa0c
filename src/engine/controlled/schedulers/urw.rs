//! URW: a random walk that takes every interleaving for about as likely as another (Zhao, Wolff,
//! Mathur, Roychoudhury, *Selectively Uniform Concurrency Testing*, ASPLOS 2025).
//!
//! Each step, an actor is picked with a probability proportional to the steps that it has left. A
//! plain random walk favours schedules in which short threads end early; this one does not. How
//! many steps an actor has is taken from a first schedule; where that is off (locks, early
//! returns), the walk is uniform only nearly.

use crate::engine::controlled::actors::{Actor, Actors};
use crate::scenario::random::{Purpose, Random};

use super::Scheduler;

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Urw {
    seed: u64,
    random: Random,
    expected: Vec<u64>,
    left: Vec<u64>,
}

impl Urw {
    /// Walks of `seed` over actors that take about `expected` steps each.
    pub(crate) fn new(seed: u64, expected: Vec<u64>) -> Urw {
        Urw {
            seed,
            random: Random::new(seed, 0, Purpose::Schedule, 2),
            left: expected.clone(),
            expected,
        }
    }

    #[inline]
    fn weight(&self, actor: Actor) -> u64 {
        // Whoever is not expected to go on any more, and does, must still be picked some time.
        self.left[usize::from(actor.0)].max(1)
    }
}

impl Scheduler for Urw {
    fn begin(&mut self, index: u64) {
        self.random = Random::new(self.seed, index, Purpose::Schedule, 2);
        self.left.clone_from(&self.expected);
    }

    fn pick(&mut self, ready: Actors, _current: Option<Actor>) -> Option<Actor> {
        let total = ready.map(|actor| self.weight(actor)).sum();
        let mut at = self.random.below(total);
        for actor in ready {
            match at.checked_sub(self.weight(actor)) {
                None => return Some(actor),
                Some(rest) => at = rest,
            }
        }
        None
    }

    fn took(&mut self, actor: Actor) {
        let left = &mut self.left[usize::from(actor.0)];
        *left = left.saturating_sub(1);
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
