//! What the checks of many schedules come to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::oracle::{Divergence, Kind, Report, Strength, Verdict};

/// The reports of a search, summed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrackedTally {
    /// How many divergences of each kind.
    pub(crate) divergences: BTreeMap<Kind, u64>,
    /// The first.
    pub(crate) first: Option<Divergence>,
    /// Buffers that were never released.
    pub(crate) leaks: u64,
    /// Messages that the server took.
    pub(crate) messages: u64,
    /// Addresses that the allocator handed out and took back.
    pub(crate) ops: u64,
    /// The weakest check of a schedule.
    pub(crate) check: Option<Strength>,
    /// Schedules of which less than everything was checked.
    pub(crate) weak: u64,
    /// Why, for the first of them.
    pub(crate) note: Option<String>,
    /// All that was asked for was looked at in each of them.
    pub(crate) incomplete: u64,
}

impl TrackedTally {
    /// Adds a schedule.
    pub(crate) fn add(&mut self, report: &Report) {
        for (kind, count) in &report.divergences {
            *self.divergences.entry(*kind).or_default() += count;
        }
        self.first = self.first.or(report.first);
        self.leaks += report.leaks;
        self.messages += report.messages;
        self.ops += report.ops;
        self.check = Some(
            self.check
                .map_or(report.strength, |check| check.min(report.strength)),
        );
        if report.verdict == Verdict::Inconclusive {
            self.weak += 1;
            let incomplete = u64::from(!report.complete);
            // What says that something was not looked at says more than that a check was weak.
            if self.note.is_none() || (self.incomplete == 0 && incomplete > 0) {
                self.note.clone_from(&report.note);
            }
            self.incomplete += incomplete;
        }
    }
}
