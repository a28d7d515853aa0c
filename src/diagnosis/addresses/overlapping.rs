//! Overlapping lives: an address that was allocated again before its FREE came.
//!
//! Each ALLOC of a live address leaves one ALLOC too many. It stays open until a FREE too many
//! comes, however much later: then the first life's FREE was late, or one FREE and one ALLOC are
//! lost. What is still open at the end never got its FREE. A thread that is preempted between two
//! steps is late by thousands of lives, so no number of them decides anything by itself.

use smallvec::SmallVec;

use super::super::address::AddressLife;
use super::super::facts::LateMessage;
use super::super::ledger::AddressLedger;
use super::super::sightings::RecordPoint;
use super::is_near;

/// ALLOCs too many that are kept open at an address with their places. More are counted: where the
/// messages of several connections come in batches, one may have hundreds.
const MAX_OPEN: usize = 8;

/// A life without FREE, and the life that began at its address before one came.
pub(super) type EndlessLife = (AddressLife, Option<AddressLife>);

/// More ALLOCs than FREEs, by two or more at some time.
#[derive(Clone, Debug)]
pub(super) struct OverlappingLives {
    /// ALLOCs too many, oldest first.
    surplus: SmallVec<[Overlap; 1]>,
    /// As many more after those; of them, the ones that came right after the ALLOC before, and
    /// those with another size.
    unlisted: u32,
    unlisted_directly: u32,
    unlisted_resized: u32,
    /// The last life that began.
    pub last: AddressLife,
    /// Whether that one has not got its FREE.
    is_live: bool,
    /// The last message about the address, and for how many messages up to it that was live once,
    /// and twice or more.
    seen: RecordPoint,
    last_free: Option<RecordPoint>,
    once: u64,
    twice: u64,
}

/// An ALLOC of a live address.
#[derive(Clone, Copy, Debug)]
struct Overlap {
    /// The life before.
    first: AddressLife,
    /// The life that began with it.
    second: AddressLife,
    first_free: Option<RecordPoint>,
    /// How often the address was handed out and released since.
    cycles: u64,
}

impl OverlappingLives {
    pub(super) fn new(
        first: AddressLife,
        second: AddressLife,
        ledger: &mut AddressLedger<'_>,
    ) -> OverlappingLives {
        let mut lives = OverlappingLives {
            surplus: SmallVec::new(),
            unlisted: 0,
            unlisted_directly: 0,
            unlisted_resized: 0,
            last: second,
            is_live: true,
            seen: second.at,
            last_free: None,
            once: second.at.since(first.at),
            twice: 0,
        };
        lives.surplus.push(Overlap::new(first, second));
        ledger.facts.overlaps.begin();
        lives
    }

    /// Lives that have not got their FREE.
    pub(super) fn open(&self) -> u32 {
        let surplus = u32::try_from(self.surplus.len()).expect("it is short");
        surplus
            .saturating_add(self.unlisted)
            .saturating_add(u32::from(self.is_live))
    }

    /// The lives that have not got their FREE: those whose ALLOC is known, each with the one that
    /// began at the address meanwhile, and how many more.
    pub(super) fn into_open(self) -> (SmallVec<[EndlessLife; 1]>, u32) {
        let last = self.is_live.then_some((self.last, None));
        let first = self.surplus.into_iter();
        let first = first.map(|overlap| (overlap.first, Some(overlap.second)));
        (first.chain(last).collect(), self.unlisted)
    }

    /// Whether the last life is there, as far as messages say.
    pub(super) fn is_live(&self) -> bool {
        self.is_live
    }

    /// Takes another ALLOC.
    pub(super) fn alloc(&mut self, life: AddressLife, ledger: &mut AddressLedger<'_>) {
        self.see(life.at);
        if self.is_live {
            ledger.facts.deepened += 1;
            if self.surplus.len() < MAX_OPEN {
                self.surplus.push(Overlap::new(self.last, life));
            } else {
                self.unlisted = self.unlisted.saturating_add(1);
                self.unlisted_directly += u32::from(life.directly);
                self.unlisted_resized += u32::from(self.last.is_resized_by(&life));
            }
        } else {
            ledger
                .facts
                .sizes
                .see(self.last.size_bytes, life.size_bytes);
            for overlap in &mut self.surplus {
                overlap.cycles += 1;
            }
        }
        self.last = life;
        self.is_live = true;
    }

    /// Takes a FREE; whether each life has got its own now.
    pub(super) fn is_balanced_by(
        &mut self,
        at: RecordPoint,
        ledger: &mut AddressLedger<'_>,
    ) -> bool {
        self.see(at);
        let before = self.last_free.replace(at);
        for overlap in &mut self.surplus {
            overlap.see_free(at, ledger);
        }
        if self.is_live {
            self.is_live = false;
            ledger.clients.end_life(&self.last);
            if self.surplus.iter().all(|overlap| overlap.cycles > 0) {
                ledger.facts.lives.add(at.since(self.last.at));
            }
            return false;
        }
        if self.surplus.is_empty() {
            self.unlisted = self.unlisted.saturating_sub(1);
            note_far(&[self.last.at, at], at.since(self.last.at), ledger);
            ledger.clients.end_life(&self.last);
        } else {
            let overlap = self.surplus.remove(0);
            overlap.note_late_free(at, before, ledger);
            ledger.clients.end_life(&overlap.first);
        }
        let is_balanced = self.surplus.is_empty() && self.unlisted == 0;
        if is_balanced {
            ledger.facts.overlaps.balanced(self.once, self.twice);
        }
        is_balanced
    }

    /// The next message about the address comes at `at`.
    fn see(&mut self, at: RecordPoint) {
        let since = at.since(self.seen);
        match self.open() {
            0 | 1 => self.once += since,
            _ => self.twice += since,
        }
        self.seen = at;
    }

    /// Nothing more comes: gives up what got no FREE. What is live then, if anything is.
    pub(super) fn settle(
        mut self,
        client_has_ended: bool,
        ledger: &mut AddressLedger<'_>,
    ) -> Option<AddressLife> {
        if !client_has_ended && self.awaits_one_free(ledger) {
            let overlap = self.surplus.remove(0);
            let free = overlap
                .first_free
                .expect("one came, or none would be awaited");
            overlap.note_late_free(free, None, ledger);
            return Some(self.last);
        }
        ledger.facts.ends_undecided += u64::from(self.may_be_late());
        while !self.surplus.is_empty() {
            self.give_up_first(ledger);
        }
        ledger.facts.echoed += u64::from(self.unlisted_directly.min(self.unlisted));
        ledger.facts.resized += u64::from(self.unlisted_resized.min(self.unlisted));
        for _ in 0..self.unlisted {
            let sighting = ledger.sighting(&[self.last.at]);
            ledger.facts.lost_frees.add(sighting);
        }
        self.is_live.then_some(self.last)
    }

    /// The first life never got its FREE.
    fn give_up_first(&mut self, ledger: &mut AddressLedger<'_>) {
        let Overlap { first, second, .. } = self.surplus.remove(0);
        lose(&first, &second, ledger);
    }

    /// Whether one FREE is missing, of one process, and not for so long that it is not the last
    /// life's: each before that got the one that came after the next ALLOC.
    fn may_be_late(&self) -> bool {
        let ([overlap], 0) = (self.surplus.as_slice(), self.unlisted) else {
            return false;
        };
        is_near(overlap.cycles) && !self.is_live && overlap.first.pid == self.last.pid
    }

    /// Whether the first FREE seems to be late and one more is still to come.
    fn awaits_one_free(&self, ledger: &AddressLedger<'_>) -> bool {
        let first = self.surplus.first().filter(|_| self.may_be_late());
        let late = first.and_then(|overlap| {
            let after = overlap.first_free?.since(overlap.second.at);
            let share = ledger.facts.lives.share_longer_than(after);
            (overlap.cycles == 0).then_some(share)
        });
        late.is_some_and(|late| late > 0.5)
    }
}

/// `first` never got its FREE, and `second` began at its address.
pub(super) fn lose(first: &AddressLife, second: &AddressLife, ledger: &mut AddressLedger<'_>) {
    let sighting = ledger.sighting(&[first.at, second.at]);
    if first.pid == second.pid {
        ledger.facts.echoed += u64::from(second.directly);
        ledger.facts.resized += u64::from(first.is_resized_by(second));
        ledger
            .facts
            .see_missing_free(ledger.key, first.at, second.at);
        ledger.facts.lost_frees.add(sighting.clone());
        ledger.clients.lose_life(first, second.at, sighting);
    } else if ledger.clients.has_spoken_since(first.pid, second.at) {
        // It is there, and says nothing of a release: it has the address as well.
        ledger.facts.apart.add(sighting);
    } else {
        ledger.facts.owner_changes.add(sighting);
    }
}

impl Overlap {
    fn new(first: AddressLife, second: AddressLife) -> Overlap {
        Overlap {
            first,
            second,
            first_free: None,
            cycles: 0,
        }
    }

    /// A FREE comes at `at`.
    fn see_free(&mut self, at: RecordPoint, ledger: &mut AddressLedger<'_>) {
        if self.first_free.is_none() {
            self.first_free = Some(at);
            let (span, rest) = (at.since(self.first.at), at.since(self.second.at));
            ledger.facts.overlaps.freed(span, rest);
        }
    }

    /// A FREE too many comes at `at`: the first life's, or its own is lost and another's ALLOC.
    /// `before`: the FREE before it.
    fn note_late_free(
        &self,
        at: RecordPoint,
        before: Option<RecordPoint>,
        ledger: &mut AddressLedger<'_>,
    ) {
        let (first, second) = (self.first.at, self.second.at);
        if self.first.pid != self.second.pid {
            let apart = ledger.sighting(&[first, second, at]);
            return ledger.facts.apart.add(apart);
        }
        let free = self.first_free.unwrap_or(at);
        if free.is_earlier_than(second) || at.is_earlier_than(second) {
            let late = ledger.sighting(&[first, second, free]);
            return ledger.facts.in_time.add(late);
        }
        let is_of_one_thread = second.is_of_thread_of(free) && second.is_of_thread_of(at);
        if is_near(self.cycles) && is_of_one_thread {
            let twice = ledger.sighting(&[first, second, free]);
            return ledger.facts.one_thread.add(twice);
        }
        ledger.facts.far_of_one_thread += u64::from(is_of_one_thread);
        ledger.facts.see_late(LateMessage {
            key: ledger.key,
            size_bytes: self.first.size_bytes,
            began: first,
            next: second,
        });
        if is_near(self.cycles) {
            let (size, next) = (self.first.size_bytes, self.second.size_bytes);
            ledger.facts.late_sizes.see(size, next);
            let late = ledger.sighting(&[first, second, free]);
            ledger.facts.late_frees.add(late);
            ledger.facts.late_gaps.add(free.since(second));
        } else {
            ledger.facts.echoed += u64::from(self.second.directly);
            ledger.facts.see_missing_free(ledger.key, first, second);
            ledger.facts.see_unknown_free(ledger.key, before, at);
            note_far(&[first, second, at], at.since(second), ledger);
        }
    }
}

/// A FREE too many came so many messages after the ALLOC too many.
fn note_far(points: &[RecordPoint], lateness: u64, ledger: &mut AddressLedger<'_>) {
    let far = ledger.sighting(points);
    ledger.facts.far_late_frees.add(far);
    ledger.facts.see_far(ledger.key, lateness);
}
