//! How far apart messages are, and where in a record something happens: histograms of fixed size.

/// Buckets: two for each doubling.
const BUCKETS: usize = 128;

/// A distribution of gaps, in messages.
#[derive(Clone, Debug)]
pub(super) struct Gaps {
    counts: [u64; BUCKETS],
    total: u64,
    length: u64,
}

impl Default for Gaps {
    fn default() -> Gaps {
        Gaps {
            counts: [0; BUCKETS],
            total: 0,
            length: 0,
        }
    }
}

impl Gaps {
    /// The sum of all.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.total
    }

    pub(super) fn add(&mut self, gap: u64) {
        self.counts[bucket(gap)] += 1;
        self.total += 1;
        self.length = self.length.saturating_add(gap);
    }

    /// How much of `self` is shorter than what is normal: each gap counts with the share of
    /// `normal` gaps that are longer. Gaps that are drawn from the normal ones count one half each.
    pub(super) fn shorter_than(&self, normal: &Gaps) -> f64 {
        self.sum(normal, |longer| longer)
    }

    /// The sum of a weight over all gaps, which depends on the share of `normal` gaps that are
    /// longer.
    pub(super) fn sum(&self, normal: &Gaps, weight: impl Fn(f64) -> f64) -> f64 {
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(bucket, count)| *count as f64 * weight(normal.share_above(bucket)))
            .sum()
    }

    /// How much of `self` is shorter than what is normal by so many doublings: each gap counts with
    /// the share of `normal` gaps that are longer by as much.
    pub(super) fn far_shorter_than(&self, normal: &Gaps, doublings: usize) -> f64 {
        let share = |bucket: usize| {
            let longer: u64 = normal.counts.iter().skip(bucket + 2 * doublings + 1).sum();
            longer as f64 / normal.total.max(1) as f64
        };
        let counts = self.counts.iter().enumerate();
        counts
            .map(|(bucket, count)| *count as f64 * share(bucket))
            .sum()
    }

    /// The share of normal gaps that are longer than `gap`.
    pub(super) fn share_longer_than(&self, gap: u64) -> f64 {
        self.share_above(bucket(gap))
    }

    fn share_above(&self, bucket: usize) -> f64 {
        let above: u64 = self.counts[bucket + 1..].iter().sum();
        let same = self.counts[bucket];
        // Where nothing is known of what is normal: a handful of messages is short.
        let guess = if bucket <= GUESSED_SHORT { 0.9 } else { 0.5 };
        (above as f64 + same as f64 / 2.0 + guess) / (self.total as f64 + 1.0)
    }
}

/// The bucket of gaps of about 8.
const GUESSED_SHORT: usize = 7;

fn bucket(gap: u64) -> usize {
    let gap = gap.max(1);
    let doublings = gap.ilog2();
    let half = if doublings == 0 {
        0
    } else {
        (gap >> (doublings - 1)) & 1
    };
    (2 * doublings as usize + half as usize).min(BUCKETS - 1)
}

/// Slices of a record whose length is not known before its end.
const SLICES: usize = 64;

/// When in a record something happens: how often in each slice of it.
#[derive(Clone, Debug)]
pub(super) struct RecordSlices {
    counts: [u64; SLICES],
    width: u64,
}

impl Default for RecordSlices {
    fn default() -> RecordSlices {
        RecordSlices {
            counts: [0; SLICES],
            width: 1,
        }
    }
}

impl RecordSlices {
    /// It happened after `number` messages.
    pub(super) fn add(&mut self, number: u64) {
        while number / self.width >= SLICES as u64 {
            for slice in 0..SLICES {
                self.counts[slice] = match slice * 2 {
                    pair if pair < SLICES => self.counts[pair] + self.counts[pair + 1],
                    _ => 0,
                };
            }
            self.width *= 2;
        }
        self.counts[(number / self.width) as usize] += 1;
    }

    /// The share that happened in the first third of `messages`.
    pub(super) fn share_in_first_third(&self, messages: u64) -> f64 {
        let total: u64 = self.counts.iter().sum();
        let third = messages / 3;
        let early: u64 = (0..SLICES)
            .filter(|slice| (*slice as u64 + 1) * self.width <= third.max(self.width))
            .map(|slice| self.counts[slice])
            .sum();
        early as f64 / (total.max(1)) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_from_one_distribution_count_one_half_and_short_ones_more() {
        let (mut normal, mut short) = (Gaps::default(), Gaps::default());
        for gap in 100..1100 {
            normal.add(gap);
        }
        for gap in 1..11 {
            short.add(gap);
        }
        let same = normal.shorter_than(&normal) / 1000.0;
        assert!((0.45..0.55).contains(&same), "{same}");
        assert!(short.shorter_than(&normal) > 9.9);
        assert!(normal.share_longer_than(5000) < 0.01);
        assert!(short.far_shorter_than(&normal, 2) > 9.9);
        assert!(normal.far_shorter_than(&normal, 2) < 50.0);
    }

    #[test]
    fn what_happens_early_is_told_from_what_happens_evenly() {
        let (mut early, mut even) = (RecordSlices::default(), RecordSlices::default());
        for number in 0..1000 {
            early.add(number);
            even.add(number * 10);
        }
        assert!(early.share_in_first_third(10_000) > 0.9);
        assert!((0.2..0.4).contains(&even.share_in_first_third(10_000)));
    }
}
