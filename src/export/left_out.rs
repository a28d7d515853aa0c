//! What a format cannot say: counted by what it is, and said once.

use std::collections::BTreeMap;

use crate::numbers::grouped;

/// Counts of what was left out, by what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    counts: BTreeMap<&'static str, u64>,
}

impl LeftOut {
    /// Counts one `what`, a plural.
    #[inline]
    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// The row that something has in a table; what has none is counted as what it is.
    #[inline]
    pub(super) fn row<T>(&mut self, row: Result<T, &'static str>) -> Option<T> {
        row.map_err(|what| self.count(what)).ok()
    }

    /// Counts some `what`, of which there may be none.
    pub(super) fn count_many(&mut self, what: &'static str, count: u64) {
        if count > 0 {
            *self.counts.entry(what).or_default() += count;
        }
    }

    /// Each sort with its count, in the order of names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.counts.iter().map(|(what, count)| (*what, *count))
    }

    /// In words; `None` where nothing was left out.
    pub(crate) fn words(&self) -> Option<String> {
        let each = self.iter();
        let each: Vec<String> = each
            .map(|(what, count)| format!("{what} ({})", grouped(count)))
            .collect();
        (!each.is_empty()).then(|| each.join(", "))
    }
}
