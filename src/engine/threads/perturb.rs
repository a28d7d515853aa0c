//! Perturbation: random delays at micro-steps, to widen whatever window there is.
//!
//! Each operation draws whether, where and how long it is delayed: which of the two programs'
//! sites, and a length from a yield over a short spin to a sleep that lets the other threads run
//! for many operations. It knows neither the discipline nor the race: every site of either program
//! is as likely as any other, so a delay before FREE alone or before ALLOC alone comes up as often
//! as both.

use std::time::{Duration, Instant};

use crate::scenario::random::{Purpose, Random};

/// A thread's delays.
#[derive(Debug)]
pub(super) struct Perturbation {
    random: Random,
    /// Where the current operation is delayed, if it is.
    planned: Option<(usize, Delay)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delay {
    Yield,
    Spin(Duration),
    Sleep(Duration),
}

impl Perturbation {
    pub(crate) fn new(seed: u64, run: u64, thread: u16) -> Perturbation {
        Perturbation {
            random: Random::new(seed, run, Purpose::Perturbation, u64::from(thread)),
            planned: None,
        }
    }

    /// Draws the delay of the operation that begins: `steps` are its program's.
    pub(crate) fn plan(&mut self, steps: usize) {
        self.planned = None;
        let draw = self.random.below(32);
        let delay = match draw {
            0..4 => Delay::Sleep(Duration::from_micros(self.log_uniform(4, 7))),
            4..6 => Delay::Spin(Duration::from_micros(self.log_uniform(0, 5))),
            6..8 => Delay::Yield,
            _ => return,
        };
        self.planned = Some((self.random.below(steps as u64) as usize, delay));
    }

    /// The operation is about to take an action of step number `step`. Where the step is more than
    /// one, as a plain word's load and store are, the delay may be between them.
    #[inline]
    pub(crate) fn before(&mut self, step: usize, step_goes_on: impl Fn() -> bool) {
        if let Some((site, delay)) = self.planned
            && site == step
        {
            if step_goes_on() && self.random.percent(50) {
                return;
            }
            self.planned = None;
            delay.pass();
        }
    }

    /// About 2 to the power of a uniform exponent in `low..=high`.
    fn log_uniform(&mut self, low: u64, high: u64) -> u64 {
        let exponent = self.random.between(low, high);
        self.random.between(1 << exponent, (2 << exponent) - 1)
    }
}

impl Delay {
    fn pass(self) {
        match self {
            Delay::Yield => std::thread::yield_now(),
            Delay::Spin(length) => {
                let start = Instant::now();
                while start.elapsed() < length {
                    std::hint::spin_loop();
                }
            }
            Delay::Sleep(length) => std::thread::sleep(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_site_is_delayed_and_most_operations_are_not() {
        let mut perturbation = Perturbation::new(1, 0, 0);
        let mut sites = [0u32; 9];
        for _ in 0..10_000 {
            perturbation.plan(sites.len());
            if let Some((site, _)) = perturbation.planned {
                sites[site] += 1;
            }
        }
        assert!(
            sites.iter().all(|count| (150..450).contains(count)),
            "{sites:?}"
        );
    }

    #[test]
    fn a_step_of_two_actions_is_delayed_between_them_too() {
        let mut perturbation = Perturbation::new(1, 0, 0);
        let mut delayed = [0u32; 2];
        for _ in 0..1_000 {
            perturbation.planned = Some((3, Delay::Yield));
            for (action, step_goes_on) in [true, false].into_iter().enumerate() {
                let planned = perturbation.planned.is_some();
                perturbation.before(3, || step_goes_on);
                delayed[action] += u32::from(planned && perturbation.planned.is_none());
            }
        }
        assert_eq!(delayed.iter().sum::<u32>(), 1_000);
        assert!(delayed.iter().all(|count| *count > 400), "{delayed:?}");
    }

    #[test]
    fn the_same_seed_plans_the_same_delays() {
        let plan = |seed| {
            let mut perturbation = Perturbation::new(seed, 0, 0);
            (0..100)
                .map(|_| {
                    perturbation.plan(9);
                    perturbation.planned
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(plan(5), plan(5));
        assert_ne!(plan(5), plan(6));
    }
}
