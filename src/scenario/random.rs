//! Named, stable random streams: the same numbers on every machine and in every version.
//!
//! The generator is that of the samplers ([`Stream`]): it is needed where no other crate can be,
//! inside of programs that are run under control. No floating point is involved.

use heisenbed_sampling::Stream;

pub(crate) use heisenbed_sampling::stream::mix;

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
    /// Programs of one thread for an allocator.
    Survey = 7,
}

/// A random stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random(Stream);

impl Random {
    /// The stream for `purpose` of member `index` (a thread, a schedule) in run `run` of `seed`.
    pub fn new(seed: u64, run: u64, purpose: Purpose, index: u64) -> Random {
        Random(Stream::of(seed, [run, purpose as u64, index]))
    }

    /// Uniform in `0..bound`; 0 for a bound of 0.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// Uniform in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True in `percent` of 100 cases.
    pub fn percent(&mut self, percent: u8) -> bool {
        percent > 0 && self.below(100) < u64::from(percent)
    }

    /// For the samplers.
    #[inline]
    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.0
    }

    /// 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.0.bits()
    }
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
