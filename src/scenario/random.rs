//! Named, stable random streams: the same numbers on every machine and in every version.
//!
//! The generator is xoshiro256++ (Blackman and Vigna 2019). Ranges are taken by fixed-point
//! multiplication here rather than by `rand`'s distributions, whose algorithms may change between
//! versions; no floating point is involved.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// What a random stream is for. Streams of one seed are independent of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A thread's operations.
    Workload = 1,
    /// A thread's delays.
    Perturbation = 2,
    /// Debug log delays.
    DebugLog = 3,
    /// The choices of a scheduler.
    Schedule = 4,
    /// The units of a campaign.
    Campaign = 5,
    /// The runs that a diagnosis is calibrated on.
    Calibration = 6,
}

/// A random stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random(Xoshiro256PlusPlus);

impl Random {
    /// The stream for `purpose` of member `index` (a thread, a schedule) in run `run` of `seed`.
    pub fn new(seed: u64, run: u64, purpose: Purpose, index: u64) -> Random {
        let mut state = seed;
        for part in [run, purpose as u64, index] {
            state = mix(state ^ mix(part.wrapping_add(0x9e37_79b9_7f4a_7c15)));
        }
        Random(Xoshiro256PlusPlus::seed_from_u64(state))
    }

    /// Uniform in `0..bound`; 0 for a bound of 0.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `low..=high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True in `percent` of 100 cases.
    pub fn percent(&mut self, percent: u8) -> bool {
        percent > 0 && self.below(100) < u64::from(percent)
    }

    /// 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_the_same_everywhere_and_always() {
        let mut random = Random::new(7, 0, Purpose::Workload, 1);
        let drawn: Vec<u64> = (0..6).map(|_| random.below(1000)).collect();
        assert_eq!(
            drawn, PINNED,
            "the generator is part of the trace format: it may not change"
        );
    }

    const PINNED: [u64; 6] = [284, 231, 300, 734, 232, 307];

    #[test]
    fn streams_of_one_seed_differ() {
        let first = |purpose, index| Random::new(7, 0, purpose, index).bits();
        assert_ne!(first(Purpose::Workload, 0), first(Purpose::Workload, 1));
        assert_ne!(first(Purpose::Workload, 0), first(Purpose::Perturbation, 0));
    }
}
