//! Pending FREEs: of what is not live, and what each belongs to is still to be found.
//!
//! Each leaves one FREE too many. It stays open until an ALLOC too many comes, however much later:
//! then its ALLOC was late, or one ALLOC and one FREE are lost. What is still open at the end was a
//! second FREE, or one of a buffer that no message named before.

use smallvec::SmallVec;

use super::super::address::AddressLife;
use super::super::ledger::AddressLedger;
use super::super::sightings::RecordPoint;
use super::is_near;

/// FREEs too many that are kept open at an address with their places; more are counted.
const MAX_OPEN: usize = 8;
/// Messages within which the ALLOC of a FREE comes that is early by little.
const EARLY_WITHIN: u64 = 4096;

/// More FREEs than ALLOCs.
#[derive(Clone, Debug)]
pub(super) struct PendingFrees {
    /// FREEs too many, oldest first.
    deficit: SmallVec<[PendingFree; 1]>,
    /// As many more after those.
    unlisted: u32,
    /// The last FREE.
    pub last: RecordPoint,
}

/// A FREE whose ALLOC is to be found.
#[derive(Clone, Copy, Debug)]
struct PendingFree {
    freed: RecordPoint,
    /// The FREE before it.
    before: Option<RecordPoint>,
    /// How often the address was handed out and released since.
    cycles: u64,
}

impl PendingFrees {
    pub(super) fn new(freed: RecordPoint, before: Option<RecordPoint>) -> PendingFrees {
        let mut frees = PendingFrees {
            deficit: SmallVec::new(),
            unlisted: 0,
            last: freed,
        };
        frees.push(freed, before);
        frees
    }

    /// Takes another FREE of what is not live.
    pub(super) fn free(&mut self, freed: RecordPoint, ledger: &mut AddressLedger<'_>) {
        ledger.facts.deepened += 1;
        if self.deficit.len() < MAX_OPEN {
            self.push(freed, Some(self.last));
        } else {
            self.unlisted = self.unlisted.saturating_add(1);
        }
        self.last = freed;
    }

    /// Takes another life from its ALLOC to its FREE.
    pub(super) fn outlasts(&mut self, freed: RecordPoint) {
        self.last = freed;
        for pending in &mut self.deficit {
            pending.cycles += 1;
        }
    }

    /// An ALLOC too many came after the one of `early`: what the oldest FREE waited for, or that
    /// one's ALLOC and another FREE are lost. Whether none is left that waits.
    pub(super) fn found(&mut self, early: &AddressLife, ledger: &mut AddressLedger<'_>) -> bool {
        let first = self.deficit.first().copied();
        let pending = first.unwrap_or(PendingFree {
            freed: self.last,
            before: None,
            cycles: u64::MAX,
        });
        match first {
            Some(_) => _ = self.deficit.remove(0),
            None => self.unlisted = self.unlisted.saturating_sub(1),
        }
        let after = early.at.since(self.last);
        let (freed, last) = (pending.freed, self.last);
        let is_of_one_thread = early.at.is_of_thread_of(freed) && early.at.is_of_thread_of(last);
        if early.at.is_earlier_than(freed) || early.at.is_earlier_than(last) {
            let sighting = ledger.sighting(&[self.last, early.at]);
            ledger.facts.in_time.add(sighting);
        } else if is_of_one_thread && is_near(pending.cycles) {
            let sighting = ledger.sighting(&[self.last, early.at]);
            ledger.facts.one_thread.add(sighting);
        } else if is_near(pending.cycles) && after <= EARLY_WITHIN {
            let sighting = ledger.sighting(&[self.last, early.at]);
            ledger.facts.early_frees.add(sighting);
            ledger.facts.early_gaps.add(after);
        } else {
            let sighting = ledger.sighting(&[pending.freed, early.at]);
            ledger.facts.far_early_frees.add(sighting);
            ledger.facts.far_of_one_thread += u64::from(is_of_one_thread);
            let key = ledger.key;
            ledger.facts.see_unknown_free(key, pending.before, freed);
            ledger.facts.see_missing_free(key, last, early.at);
            let lateness = early.at.since(pending.freed);
            ledger.facts.see_far(ledger.key, lateness);
        }
        ledger.clients.end_life(early);
        self.deficit.is_empty() && self.unlisted == 0
    }

    /// Whether there is one.
    pub(super) fn is_one(&self) -> bool {
        self.unlisted == 0 && self.deficit.len() == 1
    }

    /// Whether no message named the address before the first.
    pub(super) fn is_first(&self) -> bool {
        let first = self.deficit.first();
        first.is_some_and(|pending| pending.before.is_none())
    }

    /// Whether there is one, and no life has begun and ended since.
    pub(super) fn is_one_alone(&self) -> bool {
        self.unlisted == 0 && matches!(self.deficit.as_slice(), [one] if one.cycles == 0)
    }

    /// No ALLOC came that they belong to.
    pub(super) fn give_up(&self, ledger: &mut AddressLedger<'_>) {
        for pending in &self.deficit {
            pending.give_up(ledger);
        }
        for _ in 0..self.unlisted {
            let sighting = ledger.sighting(&[self.last]);
            ledger.facts.second_frees.add(sighting);
        }
    }

    fn push(&mut self, freed: RecordPoint, before: Option<RecordPoint>) {
        self.deficit.push(PendingFree {
            freed,
            before,
            cycles: 0,
        });
    }
}

impl PendingFree {
    fn give_up(&self, ledger: &mut AddressLedger<'_>) {
        match self.before {
            Some(before) if before.has_other_size_than(self.freed) => {
                let sighting = ledger.sighting(&[self.freed]);
                ledger.facts.lost_allocs.add(sighting);
                ledger.facts.other_sizes += 1;
                ledger
                    .facts
                    .see_unknown_free(ledger.key, Some(before), self.freed);
            }
            Some(before) => {
                ledger
                    .facts
                    .see_unknown_free(ledger.key, Some(before), self.freed);
                let sighting = ledger.sighting(&[before, self.freed]);
                ledger.facts.second_frees.add(sighting);
                ledger.facts.see_second_free(before, self.freed);
            }
            None => ledger.first_free(self.freed),
        }
    }
}
