//! A pending FREE: of what is not live, and what it belongs to is still to be found.
//!
//! If its ALLOC comes soon after, and one ALLOC more than FREEs in all, the FREE was early. Else it
//! was a second FREE, or one of a buffer that no message named before.

use super::super::address::AddressLife;
use super::super::ledger::AddressLedger;
use super::super::sightings::RecordPoint;

/// Times that an address may be handed out and released with one ALLOC too few before the first
/// FREE is given up.
const MAX_CYCLES: u8 = 2;
/// Messages within which the ALLOC of an early FREE must come.
const EARLY_WITHIN: u64 = 4096;

/// A FREE whose ALLOC is to be found.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingFree {
    freed: RecordPoint,
    /// The FREE before it.
    before: Option<RecordPoint>,
    /// The last FREE since, itself at first.
    pub last: RecordPoint,
    /// How often the address was handed out and released since.
    cycles: u8,
}

impl PendingFree {
    pub fn new(freed: RecordPoint, before: Option<RecordPoint>) -> PendingFree {
        PendingFree {
            freed,
            before,
            last: freed,
            cycles: 0,
        }
    }

    /// Whether an ALLOC that comes now can be the one that it waits for.
    pub fn can_be_of(&self, alloc: RecordPoint) -> bool {
        alloc.since(self.last) <= EARLY_WITHIN
    }

    /// Takes another life from its ALLOC to its FREE; whether it may wait for longer.
    pub fn outlasts(&mut self, freed: RecordPoint) -> bool {
        self.cycles += 1;
        self.last = freed;
        self.cycles < MAX_CYCLES
    }

    /// One ALLOC more than FREEs came since: the FREE was early, and `early` is the life whose
    /// ALLOC came last of those.
    pub fn found(self, early: &AddressLife, ledger: &mut AddressLedger<'_>) {
        let sighting = ledger.sighting(&[self.last, early.at]);
        ledger.facts.early_frees.add(sighting);
        ledger.facts.early_gaps.add(early.at.since(self.last));
        ledger.clients.end_life(early);
    }

    /// No ALLOC came that it belongs to.
    pub fn give_up(&self, ledger: &mut AddressLedger<'_>) {
        match self.before {
            Some(before) => {
                let sighting = ledger.sighting(&[before, self.freed]);
                ledger.facts.second_frees.add(sighting);
                ledger.facts.second_gaps.add(self.freed.since(before));
            }
            None => ledger.first_free(self.freed),
        }
    }
}
