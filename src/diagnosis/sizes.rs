//! Sizes of an address's lives, one after the other: whether they are the same.
//!
//! A buffer that two hold, each with its own ALLOC and FREE, is live twice with one size. What
//! another thread gets at an address that comes back has any size that the program uses.

/// So many standard deviations are no chance.
const NO_CHANCE: f64 = 3.0;

/// How often two lives of an address had one size, and how often not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SizesSeen {
    same: u64,
    other: u64,
}

impl SizesSeen {
    /// The size of a life, and of the next one; 0: not stated.
    pub(super) fn see(&mut self, size_bytes: u64, next: u64) {
        if size_bytes == 0 || next == 0 {
            return;
        }
        match size_bytes == next {
            true => self.same += 1,
            false => self.other += 1,
        }
    }

    /// How many of these are of one size beyond what is usual where an address comes back; 0 where
    /// that may be chance.
    pub(super) fn same_beyond(self, usual: SizesSeen) -> f64 {
        let all = (self.same + self.other) as f64;
        let share = (usual.same as f64 + 1.0) / ((usual.same + usual.other) as f64 + 2.0);
        let beyond = self.same as f64 - all * share;
        let spread = (all * share * (1.0 - share)).sqrt();
        match beyond > NO_CHANCE * spread {
            true => beyond / (1.0 - share),
            false => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_size_says_something_only_where_sizes_differ() {
        let seen = |same, other| SizesSeen { same, other };
        assert!(seen(14, 0).same_beyond(seen(0, 0)) > 13.0);
        assert!(seen(40, 0).same_beyond(seen(500, 1500)) > 39.0);
        assert_eq!(seen(10, 30).same_beyond(seen(500, 1500)), 0.0);
        assert_eq!(seen(40, 0).same_beyond(seen(2000, 0)), 0.0);
    }
}
