//! Numbers that were seen: a set of mostly consecutive numbers, in bounded memory.

/// Ranges that are kept; of what is below the lowest of more, nothing is known.
const MAX_RANGES: usize = 1 << 12;

/// Whether a number was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberSeen {
    First,
    Again,
    Unknown,
}

/// The numbers, as ranges with both ends, in order, none touching another.
#[derive(Clone, Debug, Default)]
pub(super) struct NumbersSeen {
    ranges: Vec<(u64, u64)>,
    /// Below this nothing is known.
    floor: u64,
}

impl NumbersSeen {
    /// Takes a number.
    pub fn insert(&mut self, number: u64) -> NumberSeen {
        if number < self.floor {
            return NumberSeen::Unknown;
        }
        let above = self.ranges.partition_point(|range| range.0 <= number);
        let joins_below = match above.checked_sub(1).map(|below| self.ranges[below]) {
            Some((_, last)) if number <= last => return NumberSeen::Again,
            Some((_, last)) => last + 1 == number,
            None => false,
        };
        let joins_above = self
            .ranges
            .get(above)
            .is_some_and(|range| number + 1 == range.0);
        match (joins_below, joins_above) {
            (true, true) => {
                self.ranges[above - 1].1 = self.ranges[above].1;
                self.ranges.remove(above);
            }
            (true, false) => self.ranges[above - 1].1 = number,
            (false, true) => self.ranges[above].0 = number,
            (false, false) => self.ranges.insert(above, (number, number)),
        }
        if self.ranges.len() > MAX_RANGES {
            self.floor = self.ranges.remove(0).1.saturating_add(1);
        }
        NumberSeen::First
    }

    /// Whether it was seen, as far as that is known.
    pub fn contains(&self, number: u64) -> bool {
        let above = self.ranges.partition_point(|range| range.0 <= number);
        above > 0 && number <= self.ranges[above - 1].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_order_are_new_once_and_again_after() {
        let mut seen = NumbersSeen::default();
        for number in [5, 1, 3, 2, 4, 900, 7, 6] {
            assert_eq!(seen.insert(number), NumberSeen::First, "{number}");
        }
        assert_eq!(seen.ranges, [(1, 7), (900, 900)]);
        for number in [1, 4, 7, 900] {
            assert_eq!(seen.insert(number), NumberSeen::Again, "{number}");
            assert!(seen.contains(number));
        }
        assert!(!seen.contains(8));
    }

    #[test]
    fn what_is_forgotten_is_not_known() {
        let mut seen = NumbersSeen::default();
        for number in 0..=MAX_RANGES as u64 {
            seen.insert(10 + 2 * number);
        }
        assert_eq!(seen.insert(10), NumberSeen::Unknown);
        assert_eq!(seen.insert(12), NumberSeen::Again);
        assert_eq!(seen.insert(u64::MAX), NumberSeen::First);
    }
}
