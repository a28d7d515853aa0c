//! How many schedules there are, from those that were run: after Knuth, Estimating the efficiency of
//! backtrack programs, 1975.

/// A choice on the way to the current schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Branches {
    /// Schedules that were run before the first that came here.
    created: u64,
    /// Schedules that were run before the first that took the current branch.
    began: u64,
    /// Branches that were taken, the current one included.
    taken: u32,
}

impl Branches {
    /// The first schedule comes here; `runs` were run before.
    pub(super) fn new(runs: u64) -> Branches {
        Branches {
            created: runs,
            began: runs,
            taken: 1,
        }
    }

    /// Another branch is taken.
    pub(super) fn take(&mut self, runs: u64) {
        self.began = runs;
        self.taken += 1;
    }
}

/// How many there are, below the first of these choices: the deepest comes last. Each has so many
/// branches left, that are taken to be as large as the average of the others.
pub(super) fn estimate(choices: impl DoubleEndedIterator<Item = (Branches, u32)>) -> f64 {
    choices.rev().fold(1.0, |below, (branches, left)| {
        let so_far = (branches.began - branches.created) as f64 + below;
        so_far + so_far / f64::from(branches.taken) * f64::from(left)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_as_large_as_what_was_run() {
        let mut top = Branches::new(0);
        assert_eq!(estimate([(top, 3)].into_iter()), 4.0);
        // Its first branch had ten schedules; the second has three so far, and two to come.
        top.take(10);
        let mut below = Branches::new(10);
        below.take(11);
        below.take(12);
        assert_eq!(estimate([(top, 2), (below, 2)].into_iter()), 30.0);
        assert_eq!(estimate([(top, 0), (below, 0)].into_iter()), 13.0);
    }
}
