//! Copies of registries, and when two are the same: with the same limits, live table and held
//! messages, in whatever order these came to be.

use std::hash::{Hash, Hasher};

use super::Registry;

impl Clone for Registry {
    fn clone(&self) -> Registry {
        Registry {
            live: self.live.clone(),
            totals: self.totals.clone(),
            others: self.others.clone(),
            sequencer: self.sequencer.clone(),
            ..*self
        }
    }

    /// Keeps the memory that it has: a search clones registries all the time.
    fn clone_from(&mut self, source: &Registry) {
        self.semantics = source.semantics;
        self.limits = source.limits;
        self.planted = source.planted;
        self.like_reference = source.like_reference;
        self.live.clone_from(&source.live);
        self.totals.clone_from(&source.totals);
        if !(self.others.is_empty() && source.others.is_empty()) {
            self.others.clone_from(&source.others);
        }
        if !(self.sequencer.is_empty() && source.sequencer.is_empty()) {
            self.sequencer.clone_from(&source.sequencer);
        }
    }
}

impl PartialEq for Registry {
    fn eq(&self, other: &Registry) -> bool {
        self.semantics == other.semantics
            && self.limits == other.limits
            && self.live.len() == other.live.len()
            && self.live.iter().all(|(key, record)| {
                let found = other.live.get_key_value(key);
                found.is_some_and(|(other_key, other)| {
                    (other_key.said(), other) == (key.said(), record)
                })
            })
            && self.sequencer == other.sequencer
    }
}

impl Eq for Registry {}

impl Hash for Registry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.semantics.hash(state);
        self.limits.hash(state);
        for (key, record) in self.sorted() {
            (key, key.said(), record).hash(state);
        }
        self.sequencer.hash(state);
    }
}
