//! Overlapping lives: an address that was allocated again before its FREE came.
//!
//! In time the messages decide what it was. With as many FREEs as ALLOCs in the end, the first FREE
//! came late. With one ALLOC too many, the first life never got its FREE.

use super::super::address::AddressLife;
use super::super::ledger::AddressLedger;
use super::super::sightings::RecordPoint;

/// Times that an address may be handed out again with one ALLOC too many before its first life is
/// given up.
const MAX_CYCLES: u8 = 3;
/// Lives that may be open at an address at once before the first is given up.
const MAX_OPEN: u32 = 4;

/// More ALLOCs than FREEs, by two or more at some time.
#[derive(Clone, Copy, Debug)]
pub(super) struct OverlappingLives {
    first: AddressLife,
    second: AddressLife,
    /// The last one that began.
    pub last: AddressLife,
    allocs: u32,
    frees: u32,
    first_free: Option<RecordPoint>,
    last_free: Option<RecordPoint>,
    /// How often an ALLOC came when one life was open.
    cycles: u8,
}

impl OverlappingLives {
    pub fn new(first: AddressLife, second: AddressLife) -> OverlappingLives {
        OverlappingLives {
            first,
            second,
            last: second,
            allocs: 2,
            frees: 0,
            first_free: None,
            last_free: None,
            cycles: 0,
        }
    }

    /// Lives that have not got their FREE.
    pub fn open(&self) -> u32 {
        self.allocs.saturating_sub(self.frees)
    }

    /// Takes another ALLOC; whether the first life must be given up for it.
    pub fn is_too_much(&mut self, life: AddressLife) -> bool {
        self.cycles += u8::from(self.open() == 1);
        self.allocs += 1;
        self.last = life;
        self.cycles >= MAX_CYCLES || self.open() > MAX_OPEN
    }

    /// Takes a FREE; whether each life has got its own now.
    pub fn is_balanced_by(&mut self, at: RecordPoint, ledger: &mut AddressLedger<'_>) -> bool {
        self.frees += 1;
        ledger.clients.end_life(&self.second);
        self.first_free.get_or_insert(at);
        self.last_free = Some(at);
        self.open() == 0
    }

    /// As many FREEs as ALLOCs: the first FREE came late.
    pub fn balanced(&self, ledger: &mut AddressLedger<'_>) {
        self.note_late_free(ledger);
        ledger.clients.bridge(&self.first);
    }

    /// The first life never got its FREE.
    pub fn give_up_first(&mut self, ledger: &mut AddressLedger<'_>) {
        let next = self.second.at;
        let sighting = ledger.sighting(&[self.first.at, next]);
        if self.first.pid == self.second.pid {
            ledger.facts.lost_frees.add(sighting.clone());
            ledger.clients.lose_life(&self.first, next, sighting);
        } else {
            ledger.facts.owner_changes.add(sighting);
        }
        self.allocs -= 1;
        self.cycles = 0;
        self.first = self.second;
        self.second = self.last;
        self.first_free = self.last_free;
    }

    /// Nothing more comes: gives up what got no FREE. What is live then, if anything is.
    pub fn settle(
        mut self,
        client_has_ended: bool,
        ledger: &mut AddressLedger<'_>,
    ) -> Option<AddressLife> {
        if !client_has_ended && self.awaits_one_free(ledger) {
            self.note_late_free(ledger);
            return Some(self.last);
        }
        while self.open() > 1 {
            self.give_up_first(ledger);
        }
        if self.frees > 0 {
            // Its last life got the last FREE; the first one got none.
            self.give_up_first(ledger);
            return None;
        }
        Some(self.last)
    }

    /// Whether the first FREE seems to be late and one more is still to come.
    fn awaits_one_free(&self, ledger: &AddressLedger<'_>) -> bool {
        let late = self.first_free.map(|free| {
            let after = free.since(self.second.at);
            ledger.facts.lives.share_longer_than(after)
        });
        self.cycles == 0
            && self.open() == 1
            && self.first.pid == self.last.pid
            && late.is_some_and(|late| late > 0.5)
    }

    fn note_late_free(&self, ledger: &mut AddressLedger<'_>) {
        let Some(free) = self.first_free else { return };
        let late = ledger.sighting(&[self.first.at, self.second.at, free]);
        ledger.facts.late_frees.add(late);
        ledger.facts.late_gaps.add(free.since(self.second.at));
    }
}
