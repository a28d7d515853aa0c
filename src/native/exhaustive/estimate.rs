//! How many schedules there are, from those that were run: after Knuth, Estimating the Efficiency
//! of Backtrack Programs, 1975.

/// How many there are, where `runs` were run. `choices`: on the way to the last of them, how many
/// branches were taken, that one included, and how many are left. Each is taken for as large as the
/// others: so the branches say which part of all was run.
pub(super) fn estimate(runs: u64, choices: impl DoubleEndedIterator<Item = (u32, u32)>) -> f64 {
    let part = choices.rev().fold(1.0, |part, (taken, left)| {
        let taken = f64::from(taken.max(1));
        (taken - 1.0 + part) / (taken + f64::from(left))
    });
    runs as f64 / part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_branch_is_as_large_as_the_others() {
        assert_eq!(estimate(1, [(1, 3)].into_iter()), 4.0);
        // One of four branches was run, and half of the second.
        assert_eq!(estimate(3, [(2, 2), (1, 1)].into_iter()), 8.0);
        assert_eq!(estimate(13, [(4, 0), (3, 0)].into_iter()), 13.0);
    }
}
