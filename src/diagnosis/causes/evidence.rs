//! Evidence: what a cause's model makes of the counts.

use super::super::sightings::{Sighting, Sightings};
use super::super::suspect::Exhibit;

/// What a model makes of the counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    /// How many pieces speak for the cause, with their weights.
    pub amount: f64,
    /// Of those: how many the record itself proves.
    pub proven: f64,
    pub count: u64,
    pub says: String,
    pub exhibits: Vec<Exhibit>,
    /// The score is at most this, where the evidence is not enough by itself.
    pub at_most: Option<f64>,
    /// It is at least this, where nothing else is wrong.
    pub at_least: f64,
}

impl Evidence {
    pub(super) fn exhibit(&mut self, tally: &Sightings, says: &'static str) {
        self.exhibit_all(&tally.kept, says);
    }

    pub(super) fn exhibit_all(&mut self, sightings: &[Sighting], says: &'static str) {
        self.exhibits
            .extend(sightings.iter().map(|sighting| Exhibit {
                sighting: sighting.clone(),
                says,
            }));
    }
}

/// A share as a count; what is there at all is one.
pub(super) fn at_least_one(share: f64) -> u64 {
    if share > 0.0 {
        (share.round() as u64).max(1)
    } else {
        0
    }
}
