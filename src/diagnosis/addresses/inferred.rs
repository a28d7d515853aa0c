//! Addresses whose lives are inferred: what the order of ALLOC and FREE at one address says, where
//! messages do not name the life that they mean.
//!
//! On a record without trouble they alternate. Each other pattern is kept open until the messages
//! that follow decide what it was (A: ALLOC, F: FREE, in the order in which they were seen):
//!
//! | pattern | what it is |
//! |---|---|
//! | `A A F F` | the first FREE came late: after the next ALLOC of its address |
//! | `F A A` | the first FREE came early: before its own ALLOC |
//! | `A A F A F … A F F` | far apart: the first FREE came late by many lives, or a FREE is lost and later an ALLOC |
//! | `F A F A F … A A` | far apart: the first ALLOC came late, or an ALLOC is lost and later a FREE |
//! | `A A F A F A F …` | to the end one ALLOC too many: the first life never got its FREE |
//! | `F F A F …` | to the end one FREE too many: a second FREE, or one whose ALLOC never came |
//! | `A F`, first of all an `F` | a FREE from before the record, or whose ALLOC never came |
//! | `A(L1) A(DRAM)` | two types share the address |
//!
//! A FREE goes to the oldest life. Where two types are live at an address and FREE names none,
//! nothing is concluded until the address is empty again.
//!
//! The states of an address, and what each message makes of them. Each ALLOC of a live address is
//! also counted as a duplicate, each FREE of one that is not as unknown.
//!
//! | state | message | next state | what is noted |
//! |---|---|---|---|
//! | `Free` | ALLOC | `Live` | how long it was free |
//! | | FREE | `PendingFree` | |
//! | | FREE, the first message, known to the server | `Free` | the server began earlier |
//! | `Live` | ALLOC | `Overlapping` | |
//! | | ALLOC of another type | `Mixed` | two types at one address |
//! | | FREE | `Free` | how long it lived |
//! | `Overlapping` | ALLOC | `Overlapping` | one too many more, if the last life is live |
//! | | ALLOC of another type | `Mixed` | two types at one address |
//! | | FREE of the last life | `Overlapping` | how long it lived |
//! | | FREE too many | `Overlapping`, `Free` after the last | a late FREE, near or far |
//! | `Mixed` | ALLOC | `Mixed` | two types, if it is not of the last one's |
//! | | FREE | `Mixed`, `Free` after the last | |
//! | `PendingFree` | ALLOC | `LiveAfterPendingFree` | |
//! | | FREE | `PendingFree` | one too many more |
//! | `LiveAfterPendingFree` | ALLOC too many | the same, `Live` after the last | an early FREE, near or far |
//! | | FREE | `PendingFree` | how long it lived |
//! | any | end of the record, of the server or of the client | `Free` or `Live` | what is likeliest |

use smallvec::{SmallVec, smallvec};

use super::super::address::AddressLife;
use super::super::clients::ClientEnd;
use super::super::ledger::AddressLedger;
use super::super::sightings::RecordPoint;
use super::overlapping::{EndlessLife, OverlappingLives, lose};
use super::pending_free::PendingFrees;
use crate::oracle::Kind;

/// What is known of an address.
#[derive(Clone, Debug, Default)]
pub(super) struct InferredAddress {
    state: AddressState,
    /// The FREE that ended the last life.
    last_free: Option<RecordPoint>,
    /// The size of the last life that was live alone.
    last_size: u64,
    /// What a sweep took, until a FREE of it comes.
    swept: Option<Box<SweptLives>>,
    /// A message was about it before.
    seen: bool,
}

/// Lives that the server has dropped at `at`.
#[derive(Clone, Debug)]
struct SweptLives {
    at: RecordPoint,
    lives: SmallVec<[EndlessLife; 1]>,
    /// As many more.
    unlisted: u32,
}

#[derive(Clone, Debug, Default)]
enum AddressState {
    #[default]
    Free,
    Live(AddressLife),
    /// More ALLOCs than FREEs, by two or more at some time.
    Overlapping(Box<OverlappingLives>),
    /// Two types were live at once, or the first one's FREE never comes.
    Mixed(MixedLives),
    /// FREEs of what is not live.
    PendingFree(Box<PendingFrees>),
    /// As before, and an ALLOC after the last.
    LiveAfterPendingFree {
        frees: Box<PendingFrees>,
        life: AddressLife,
    },
}

/// Lives of two types or more that have not got their FREE.
#[derive(Clone, Debug)]
struct MixedLives {
    lives: u32,
    last: AddressLife,
    /// Pairs of two types, of which it is not known yet whether both get their FREE.
    pairs: u32,
}

impl MixedLives {
    /// One life, before there are two types.
    fn one(last: AddressLife) -> MixedLives {
        MixedLives {
            lives: 1,
            last,
            pairs: 0,
        }
    }
}

impl InferredAddress {
    /// Whether it need not be kept: nothing is live and nothing is open.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.state, AddressState::Free) && self.swept.is_none()
    }

    /// An ALLOC; `known`: the server says that the address was live. The life has begun with its
    /// client.
    pub(super) fn alloc(&mut self, life: AddressLife, known: bool, ledger: &mut AddressLedger<'_>) {
        let seen = std::mem::replace(&mut self.seen, true);
        ledger.facts.reused += u64::from(seen);
        ledger.facts.known_before += u64::from(known && !seen);
        self.note_sweep(ledger);
        self.state = match std::mem::take(&mut self.state) {
            AddressState::Free => {
                if let Some(freed) = self.last_free {
                    ledger.facts.idle.add(life.at.since(freed));
                    ledger.facts.sizes.see(self.last_size, life.size_bytes);
                }
                AddressState::Live(life)
            }
            AddressState::Live(before) => {
                ledger.diverged(Kind::DuplicateAlloc, life.at);
                if before.buffer_type == life.buffer_type {
                    let lives = OverlappingLives::new(before, life, ledger);
                    AddressState::Overlapping(Box::new(lives))
                } else {
                    mixed(MixedLives::one(before), life, ledger)
                }
            }
            AddressState::Overlapping(lives) => {
                ledger.diverged(Kind::DuplicateAlloc, life.at);
                another_overlaps(lives, life, ledger)
            }
            AddressState::Mixed(mut before) => {
                ledger.diverged(Kind::DuplicateAlloc, life.at);
                if before.last.buffer_type == life.buffer_type {
                    before.lives = before.lives.saturating_add(1);
                    before.last = life;
                    AddressState::Mixed(before)
                } else {
                    mixed(before, life, ledger)
                }
            }
            AddressState::PendingFree(frees) => AddressState::LiveAfterPendingFree { frees, life },
            AddressState::LiveAfterPendingFree {
                mut frees,
                life: early,
            } => {
                if frees.found(&early, ledger) {
                    AddressState::Live(life)
                } else {
                    AddressState::LiveAfterPendingFree { frees, life }
                }
            }
        };
    }

    /// A FREE; `known`: the server says that the address was live.
    pub(super) fn free(&mut self, at: RecordPoint, known: bool, ledger: &mut AddressLedger<'_>) {
        let seen = std::mem::replace(&mut self.seen, true);
        self.end_with_client(ledger);
        if let Some(swept) = self.take_swept(ledger) {
            let sighting = ledger.sighting(&[swept, at]);
            self.last_free = Some(at);
            if known {
                return ledger.facts.kept_in_sweep.add(sighting);
            }
            ledger.facts.swept_frees.add(sighting);
            ledger.diverged(Kind::UnknownFree, at);
            return;
        }
        let before = self.last_free;
        self.state = match std::mem::take(&mut self.state) {
            AddressState::Free if known && !seen => {
                ledger.facts.known_before += 1;
                AddressState::Free
            }
            AddressState::Free => return self.wait_for_alloc(at, before, ledger),
            AddressState::Live(life) => {
                ledger.facts.lives.add(at.since(life.at));
                ledger.facts.overlaps.live_once(at.since(life.at));
                if let Some(before) = before {
                    ledger.facts.cycles.add(at.since(before));
                }
                ledger.facts.see_known_free(at);
                ledger.clients.end_life(&life);
                self.last_size = life.size_bytes;
                AddressState::Free
            }
            AddressState::Overlapping(mut lives) => {
                if lives.is_balanced_by(at, ledger) {
                    AddressState::Free
                } else {
                    AddressState::Overlapping(lives)
                }
            }
            AddressState::Mixed(mut mixed) => {
                ledger.clients.end_life(&mixed.last);
                mixed.lives = mixed.lives.saturating_sub(1);
                if mixed.lives == 0 {
                    // Each has got its FREE: both were live.
                    ledger.facts.aliased.proven += u64::from(mixed.pairs);
                    AddressState::Free
                } else {
                    AddressState::Mixed(mixed)
                }
            }
            AddressState::PendingFree(mut frees) => {
                ledger.diverged(Kind::UnknownFree, at);
                frees.free(at, ledger);
                AddressState::PendingFree(frees)
            }
            AddressState::LiveAfterPendingFree { mut frees, life } => {
                ledger.facts.lives.add(at.since(life.at));
                ledger.clients.end_life(&life);
                frees.outlasts(at);
                AddressState::PendingFree(frees)
            }
        };
        self.last_free = Some(at);
    }

    /// Whether something is live here, as far as messages say.
    pub(super) fn has_life(&self) -> bool {
        match &self.state {
            AddressState::Free | AddressState::PendingFree(_) => false,
            AddressState::Overlapping(lives) => lives.is_live(),
            AddressState::Live(_)
            | AddressState::Mixed(_)
            | AddressState::LiveAfterPendingFree { .. } => true,
        }
    }

    /// The one life that is there, and no other, as far as messages say.
    pub(super) fn only_life(&self) -> Option<&AddressLife> {
        match &self.state {
            AddressState::Live(life) => Some(life),
            _ => None,
        }
    }

    /// The life that is there, as far as messages say.
    pub(super) fn last_life(&self) -> Option<&AddressLife> {
        match &self.state {
            AddressState::Live(life) | AddressState::LiveAfterPendingFree { life, .. } => {
                Some(life)
            }
            AddressState::Overlapping(lives) => lives.is_live().then_some(&lives.last),
            AddressState::Free | AddressState::PendingFree(_) | AddressState::Mixed(_) => None,
        }
    }

    /// The record ends, or the server: decides what is open as far as it can be. What is live is
    /// left for [`InferredAddress::live`].
    pub(super) fn decide(&mut self, ledger: &mut AddressLedger<'_>) {
        self.note_sweep(ledger);
        let clients_have_ended = ledger.facts.circumstances.complete;
        self.settle(clients_have_ended, ledger);
    }

    /// What is live, after [`InferredAddress::decide`].
    pub(super) fn live(&self) -> Option<AddressLife> {
        match &self.state {
            AddressState::Live(life) => Some(*life),
            AddressState::Mixed(mixed) => Some(mixed.last),
            _ => None,
        }
    }

    /// Decides what is open, as nothing more comes.
    fn settle(&mut self, client_has_ended: bool, ledger: &mut AddressLedger<'_>) {
        self.state = match std::mem::take(&mut self.state) {
            AddressState::Overlapping(lives) => {
                ledger.facts.overlaps.end();
                match lives.settle(client_has_ended, ledger) {
                    Some(last) => AddressState::Live(last),
                    None => AddressState::Free,
                }
            }
            AddressState::PendingFree(frees) => {
                self.give_up(&frees, ledger);
                AddressState::Free
            }
            AddressState::LiveAfterPendingFree { mut frees, life } => {
                let after = life.at.since(frees.last);
                let is_soon = ledger.facts.idle.share_longer_than(after) > 0.5;
                // As many ALLOCs as FREEs: nothing need be missing.
                let is_balanced = frees.is_one() && (client_has_ended || !frees.is_first());
                if is_balanced || (is_soon && frees.is_one_alone()) {
                    frees.found(&life, ledger);
                    AddressState::Free
                } else {
                    self.give_up(&frees, ledger);
                    AddressState::Live(life)
                }
            }
            other => other,
        };
    }

    /// A FREE at `at` of what is not live, after the one at `before`: its ALLOC may be yet to come.
    fn wait_for_alloc(
        &mut self,
        at: RecordPoint,
        before: Option<RecordPoint>,
        ledger: &mut AddressLedger<'_>,
    ) {
        ledger.diverged(Kind::UnknownFree, at);
        self.state = AddressState::PendingFree(Box::new(PendingFrees::new(at, before)));
    }

    /// No ALLOC came that these FREEs belong to.
    fn give_up(&mut self, frees: &PendingFrees, ledger: &mut AddressLedger<'_>) {
        frees.give_up(ledger);
        self.last_free = Some(frees.last);
    }

    /// Takes one life of those that a sweep took: where that was.
    fn take_swept(&mut self, ledger: &mut AddressLedger<'_>) -> Option<RecordPoint> {
        let swept = self.swept.as_mut()?;
        let at = swept.at;
        if swept.lives.is_empty() {
            swept.unlisted = swept.unlisted.saturating_sub(1);
        } else {
            // It lived on after the sweep.
            let (life, _) = swept.lives.remove(0);
            ledger.clients.bridge(&life);
        }
        if swept.lives.is_empty() && swept.unlisted == 0 {
            self.swept = None;
        }
        Some(at)
    }

    /// Forgets what ended with its process, and notes what a sweep took.
    fn note_sweep(&mut self, ledger: &mut AddressLedger<'_>) {
        self.end_with_client(ledger);
        let Some(swept) = self.swept.take() else {
            return;
        };
        for (life, next) in &swept.lives {
            match next {
                // Its address was handed out again while the process was there: that is no leak.
                Some(next) => lose(life, next, ledger),
                None => ledger.swept_live(life, swept.at),
            }
        }
        for _ in 0..swept.unlisted {
            let sighting = ledger.sighting(&[swept.at]);
            ledger.facts.swept_live.add(sighting);
        }
    }

    /// Forgets what ended with its process; what a sweep took is kept apart.
    fn end_with_client(&mut self, ledger: &mut AddressLedger<'_>) {
        let last = match &self.state {
            AddressState::Live(life) | AddressState::LiveAfterPendingFree { life, .. } => life,
            AddressState::Mixed(mixed) => &mixed.last,
            AddressState::Overlapping(lives) => &lives.last,
            AddressState::Free | AddressState::PendingFree(_) => return,
        };
        let Some(ending) = ledger.clients.ending(last) else {
            return;
        };
        let ClientEnd::Swept(at) = ending else {
            self.settle(true, ledger);
            self.state = AddressState::Free;
            return;
        };
        let (lives, unlisted) = match std::mem::take(&mut self.state) {
            AddressState::Overlapping(lives) => {
                ledger.facts.overlaps.end();
                lives.into_open()
            }
            AddressState::Mixed(mixed) => {
                (smallvec![(mixed.last, None)], mixed.lives.saturating_sub(1))
            }
            AddressState::LiveAfterPendingFree { frees, life } => {
                self.give_up(&frees, ledger);
                (smallvec![(life, None)], 0)
            }
            AddressState::Live(life) => (smallvec![(life, None)], 0),
            AddressState::Free | AddressState::PendingFree(_) => return,
        };
        self.swept = Some(Box::new(SweptLives {
            at,
            lives,
            unlisted,
        }));
    }
}

/// Another ALLOC of an address where lives overlap.
fn another_overlaps(
    mut lives: Box<OverlappingLives>,
    life: AddressLife,
    ledger: &mut AddressLedger<'_>,
) -> AddressState {
    if lives.last.buffer_type != life.buffer_type {
        ledger.facts.overlaps.end();
        let before = MixedLives {
            lives: lives.open(),
            ..MixedLives::one(lives.last)
        };
        return mixed(before, life, ledger);
    }
    lives.alloc(life, ledger);
    AddressState::Overlapping(lives)
}

/// Another type shares an address with those `before`.
fn mixed(before: MixedLives, life: AddressLife, ledger: &mut AddressLedger<'_>) -> AddressState {
    let last = before.last;
    let types = i64::from(last.buffer_type) << 8 | i64::from(life.buffer_type);
    let sighting = ledger.sighting(&[last.at, life.at]).with_number(types);
    ledger.facts.aliased.add(sighting);
    ledger.diverged(Kind::Misattributed, life.at);
    AddressState::Mixed(MixedLives {
        lives: before.lives.saturating_add(1),
        last: life,
        pairs: before.pairs.saturating_add(1),
    })
}
