//! Lives that are named: where messages carry the generation of the life that they mean, nothing
//! has to be inferred.
//!
//! A generation counts a device's allocations, so a FREE belongs to the ALLOC of its number, and to
//! no other. A FREE that waits for its ALLOC came early, or its ALLOC is lost, or was before the
//! record: the last where its number is below the first one that the record shows of that device.

use crate::oracle::Kind;
use smallvec::SmallVec;

use super::clients::LifeEnd;
use super::facts::{Facts, MessageAt};
use super::ledger::Ledger;
use super::places::{AddressKey, ReportedLife};

/// Lives, early FREEs and ended lives that are kept at an address; the oldest is decided when more
/// come.
const MAX_KEPT: usize = 8;

/// What is known of an address whose lives are named.
#[derive(Clone, Debug, Default)]
pub(super) struct NamedAddress {
    live: SmallVec<[(u64, ReportedLife); 1]>,
    /// A life was released twice, and the second release may have ended the next one, whose own
    /// then ends the one after it, and so on: until nothing is live here, what is out of order is
    /// that and no reordering.
    disturbed: bool,
    /// FREEs whose ALLOC did not come yet.
    early: SmallVec<[(u64, MessageAt); 1]>,
    ended: SmallVec<[(u64, MessageAt); 2]>,
    seen: bool,
}

impl NamedAddress {
    /// Whether it need not be kept.
    pub fn is_settled(&self) -> bool {
        self.live.is_empty() && self.early.is_empty()
    }

    /// An ALLOC of `generation`, whose life has begun with its client.
    pub fn alloc(
        &mut self,
        key: AddressKey,
        generation: u64,
        life: ReportedLife,
        ledger: &mut Ledger,
    ) {
        ledger.facts.reused += u64::from(std::mem::replace(&mut self.seen, true));
        self.forget_ended(key, None, ledger);
        if let Some(index) = self.early.iter().position(|(of, _)| *of == generation) {
            let (_, freed) = self.early.remove(index);
            ledger
                .facts
                .early_frees
                .add_proven(key.sighting(&[freed, life.at]));
            ledger.facts.early_gaps.add(life.at.since(freed));
            ledger.clients.end_life(life.pid, life.epoch, life.at);
            self.end(generation, freed);
            return;
        }
        if !self.live.is_empty() {
            ledger
                .facts
                .count(Kind::DuplicateAlloc, &key.sighting(&[life.at]));
        }
        self.live.push((generation, life));
        if self.live.len() > MAX_KEPT {
            self.lose_oldest(key, ledger);
        }
    }

    /// A FREE of `generation`.
    pub fn free(
        &mut self,
        key: AddressKey,
        generation: u64,
        at: MessageAt,
        known: bool,
        ledger: &mut Ledger,
    ) {
        let seen = std::mem::replace(&mut self.seen, true);
        let swept = self.forget_ended(key, Some(generation), ledger);
        if let Some(index) = self.live.iter().position(|(of, _)| *of == generation) {
            let (_, life) = self.live.remove(index);
            ledger.clients.end_life(life.pid, life.epoch, life.at);
            ledger.facts.lives.add(at.since(life.at));
            let later = self.live.iter().find(|(of, _)| *of > generation);
            if let Some((_, next)) = later.filter(|_| !self.disturbed) {
                ledger
                    .facts
                    .late_frees
                    .add_proven(key.sighting(&[life.at, next.at, at]));
                ledger.facts.late_gaps.add(at.since(next.at));
            }
            self.disturbed &= !self.live.is_empty();
            self.end(generation, at);
        } else if let Some(swept) = swept {
            ledger
                .facts
                .swept_frees
                .add_proven(key.sighting(&[swept, at]));
            ledger.facts.count(Kind::UnknownFree, &key.sighting(&[at]));
            self.end(generation, at);
        } else if let Some((_, before)) = self.ended.iter().find(|(of, _)| *of == generation) {
            let sighting = key.sighting(&[*before, at]);
            ledger.facts.count(Kind::DoubleFree, &sighting);
            ledger.facts.second_frees.add_proven(sighting);
            self.disturbed = true;
        } else if let Some(index) = self.early.iter().position(|(of, _)| *of == generation) {
            let (_, before) = self.early.remove(index);
            let sighting = key.sighting(&[before, at]);
            ledger.facts.count(Kind::DoubleFree, &sighting);
            ledger.facts.second_frees.add_proven(sighting);
            self.early.push((generation, at));
        } else if known && !seen {
            ledger.facts.known_before += 1;
            self.end(generation, at);
        } else {
            ledger.facts.count(Kind::UnknownFree, &key.sighting(&[at]));
            self.early.push((generation, at));
            if self.early.len() > MAX_KEPT {
                self.decide_oldest_free(key, &mut ledger.facts);
            }
        }
    }

    /// The record ends.
    pub fn decide(&mut self, key: AddressKey, ledger: &mut Ledger) {
        self.forget_ended(key, None, ledger);
        while !self.early.is_empty() {
            self.decide_oldest_free(key, &mut ledger.facts);
        }
        while self.live.len() > 1 {
            self.lose_oldest(key, ledger);
        }
    }

    /// What is live, after [`NamedAddress::decide`].
    pub fn live(&self) -> Option<ReportedLife> {
        self.live.first().map(|(_, life)| *life)
    }

    /// The life with the lowest number, of several, never got its FREE.
    fn lose_oldest(&mut self, key: AddressKey, ledger: &mut Ledger) {
        self.live
            .sort_unstable_by_key(|(generation, _)| *generation);
        let (_, life) = self.live.remove(0);
        let next = self.live[0].1;
        if self.disturbed {
            return;
        }
        let sighting = key.sighting(&[life.at, next.at]);
        if life.pid == next.pid {
            ledger.facts.lost_frees.add_proven(sighting.clone());
            ledger
                .clients
                .lose_life(life.pid, life.epoch, life.at, next.at, sighting);
        } else {
            ledger.facts.owner_changes.add_proven(sighting);
        }
    }

    fn decide_oldest_free(&mut self, key: AddressKey, facts: &mut Facts) {
        let (generation, at) = self.early.remove(0);
        if generation < facts.first_generation(key.device) {
            facts.first_free(key, at);
        } else {
            facts.lost_allocs.add_proven(key.sighting(&[at]));
        }
        self.end(generation, at);
    }

    fn end(&mut self, generation: u64, at: MessageAt) {
        if self.ended.len() >= MAX_KEPT {
            self.ended.remove(0);
        }
        self.ended.push((generation, at));
    }

    /// Forgets what ended with its process. The sweep that took the life of `asked`, if one did;
    /// the others count as swept.
    fn forget_ended(
        &mut self,
        key: AddressKey,
        asked: Option<u64>,
        ledger: &mut Ledger,
    ) -> Option<MessageAt> {
        let mut found = None;
        let mut restarted = false;
        self.live.retain(|(generation, life)| {
            match ledger.clients.ending(life.pid, life.epoch) {
                None => return true,
                Some(LifeEnd::Swept(swept)) if asked == Some(*generation) => found = Some(swept),
                Some(LifeEnd::Swept(swept)) => {
                    ledger.facts.swept_live.add(key.sighting(&[life.at, swept]));
                    ledger.facts.outlive(life.at, swept);
                }
                Some(LifeEnd::Restarted) => restarted = true,
            }
            false
        });
        if restarted {
            self.ended.clear();
            self.early.clear();
        }
        found
    }
}
