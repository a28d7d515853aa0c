//! Random streams: the same numbers on every machine and in every version.
//!
//! The generator is xoshiro256++ (Blackman and Vigna 2019), seeded by SplitMix64 (Steele, Lea and
//! Flood 2014) as its authors advise. Ranges are taken by fixed-point multiplication.

/// A random stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream([u64; 4]);

impl Stream {
    /// The stream of a seed.
    pub fn seed(seed: u64) -> Stream {
        let mut state = seed;
        Stream([(); 4].map(|()| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(state)
        }))
    }

    /// The stream that belongs to these numbers, independent of those of any others.
    pub fn of(seed: u64, parts: [u64; 3]) -> Stream {
        Stream::seed(parts.iter().fold(seed, |state, part| {
            mix(state ^ mix(part.wrapping_add(0x9e37_79b9_7f4a_7c15)))
        }))
    }

    /// 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        let state = &mut self.0;
        let result = state[0]
            .wrapping_add(state[3])
            .rotate_left(23)
            .wrapping_add(state[0]);
        let shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = state[3].rotate_left(45);
        result
    }

    /// Uniform in `0..bound`; 0 for a bound of 0.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// One of `actors`, as likely as its weight; none if there is none.
    #[inline]
    pub fn weighted(
        &mut self,
        actors: impl Iterator<Item = usize> + Clone,
        weight: impl Fn(usize) -> u64,
    ) -> Option<usize> {
        let mut at = self.below(actors.clone().map(&weight).sum());
        for actor in actors {
            match at.checked_sub(weight(actor)) {
                None => return Some(actor),
                Some(rest) => at = rest,
            }
        }
        None
    }
}

/// The finaliser of SplitMix64.
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
