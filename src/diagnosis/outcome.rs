//! The outcome of a diagnosis: the ranked causes, and what was counted beside them.

use std::collections::BTreeMap;

use super::sightings::Sighting;
use super::suspect::{Cause, Suspect};
use crate::oracle::Kind;

/// From this score on a cause is named with confidence.
pub const CONFIDENT: f64 = 0.9;
/// From this score on a cause is named; below, it is only mentioned.
pub const PROBABLE: f64 = 0.5;

/// The highest score of a cause in a record that cannot be what one server got, or that the truth
/// contradicts: it is mentioned.
pub(super) const DOUBTFUL: f64 = PROBABLE - 0.1;

/// A cause whose score is so much of the first one's is hardly less likely.
const AS_LIKELY: f64 = 0.5;

/// The outcome.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    /// Messages about buffers that were read.
    pub messages: u64,
    /// What is suspected, most likely first; those of no weight are left out.
    pub causes: Vec<Suspect>,
    /// Whether anything is wrong, explained or not.
    pub trouble: bool,
    /// Divergences by kind, as a check without truth counts them.
    pub divergences: BTreeMap<Kind, u64>,
    /// The first of them.
    pub first: Option<(Kind, Sighting)>,
    /// Buffers that are live at the end.
    pub live: u64,
    /// Whether messages name the life that they mean.
    pub generations: bool,
    /// What to record to tell more, in sentences.
    pub advice: Vec<String>,
    /// What else should be known, in sentences.
    pub notes: Vec<String>,
}

/// What is known of a run whose allocators were recorded, too.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownTruth {
    /// What an exact check found.
    pub(crate) divergences: BTreeMap<Kind, u64>,
    /// Buffers that were never released.
    pub(crate) leaks: u64,
    /// Buffers that the allocators handed out.
    pub(crate) allocations: u64,
    /// ALLOCs that were sent.
    pub(crate) announced: u64,
}

impl Diagnosis {
    /// The first cause, where it is named.
    pub fn named(&self) -> Option<&Suspect> {
        self.causes.first().filter(|first| first.score >= PROBABLE)
    }

    /// The causes that the record does not tell apart: none is sure, and one is hardly likelier
    /// than the other. Empty where one stands out.
    pub fn undecided_between(&self) -> Vec<Cause> {
        let Some(first) = self.causes.first().filter(|first| first.score < CONFIDENT) else {
            return Vec::new();
        };
        let near = |suspect: &&Suspect| suspect.score >= AS_LIKELY * first.score;
        let near: Vec<Cause> = self
            .causes
            .iter()
            .filter(near)
            .map(|near| near.cause)
            .collect();
        if near.len() > 1 { near } else { Vec::new() }
    }

    /// The same, held against the run's own record: a cause that this contradicts is mentioned
    /// only, and a note says why.
    pub(crate) fn held_against(mut self, truth: &KnownTruth) -> Diagnosis {
        for suspect in self.causes.iter_mut().filter(|it| it.score > DOUBTFUL) {
            if let Some(why) = suspect.cause.contradiction(truth) {
                suspect.score = DOUBTFUL;
                let cause = suspect.cause.name();
                self.notes.push(format!(
                    "{cause} is in doubt: by the run's own record, {why}"
                ));
            }
        }
        self.causes
            .sort_by(|a, b| b.score.total_cmp(&a.score).then(b.count.cmp(&a.count)));
        self
    }

    /// The same, of a record in which so many records could not be read. Where that many may be all
    /// that is wrong, no cause is named.
    pub(crate) fn without_unread(mut self, unread: u64) -> Diagnosis {
        if self.may_be_unread(unread) {
            for suspect in &mut self.causes {
                suspect.score = suspect.score.min(DOUBTFUL);
            }
        }
        self
    }

    /// Whether what is wrong may be no more than what so many records say that could not be read:
    /// each explains one finding, or one buffer that is live at the end.
    pub(crate) fn may_be_unread(&self, unread: u64) -> bool {
        let found: u64 = self.divergences.values().sum();
        unread > 0 && found + self.live <= unread
    }

    /// Causes that are named.
    pub fn all_named(&self) -> impl Iterator<Item = &Suspect> {
        self.causes.iter().filter(|cause| cause.score >= PROBABLE)
    }
}
