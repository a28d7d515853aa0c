//! Addresses: what the order of ALLOC and FREE at one address says, where messages do not name the
//! life that they mean.
//!
//! On a record without trouble they alternate. Each other pattern is kept open until the messages
//! that follow decide what it was (A: ALLOC, F: FREE, in the order in which they were seen):
//!
//! | pattern | what it is |
//! |---|---|
//! | `A A F F` | the first FREE came late: after the next ALLOC of its address |
//! | `F A A` | the first FREE came early: before its own ALLOC |
//! | `A A F A F A F A` | the first life never got its FREE: from then on there is one ALLOC too many |
//! | `F F A F` | a second FREE, or one whose ALLOC never came |
//! | `A F`, first of all an `F` | a FREE of what was allocated before the record, or whose ALLOC never came |
//! | `A(L1) A(DRAM)` | two types share the address |
//!
//! The states of an address, and what a message makes of each. What is noted is a fact or a
//! sighting in the [`Ledger`]:
//!
//! | state | ALLOC | FREE |
//! |---|---|---|
//! | `Free` | `Live` | `Pending`: a FREE of what is not live |
//! | `Live` | `Overlapping`; `Mixed` where the type is another | `Free` |
//! | `Overlapping` | itself; too many, and the first life is given up: its FREE is lost | itself; `Free` when as many FREEs as ALLOCs came: the first FREE was late |
//! | `Pending` | soon after: `PendingThenLive`; else its ALLOC is lost or was before the record, and `Live` | `Pending` anew: the first was a second FREE or has no ALLOC |
//! | `PendingThenLive` | `Live`: the FREE was early | `Pending`; after some cycles `Free`: the FREE has no ALLOC |
//! | `Mixed` | itself, one life more | itself, one life less, or `Free` |
//!
//! A FREE goes to the oldest life. Where two types are live at an address and FREE names none,
//! nothing is concluded until the address is empty again.

use super::clients::LifeEnd;
use super::facts::{Facts, MAX_FREES, MessageAt, Sighting};
use super::ledger::Ledger;
use crate::oracle::Kind;

/// Times that an address may be handed out again with one ALLOC too many before its first life is
/// given up.
const MAX_CYCLES: u8 = 3;
/// Lives that may be open at an address at once before the first is given up.
const MAX_OPEN: u32 = 4;
/// Times that an address may be handed out and released with one ALLOC too few before the first
/// FREE is given up.
const MAX_EARLY_CYCLES: u8 = 2;
/// Messages within which the ALLOC of an early FREE must come.
const EARLY_WITHIN: u64 = 4096;

/// What is known of an address.
#[derive(Clone, Debug, Default)]
pub(super) struct InferredAddress {
    state: State,
    /// The FREE that ended the last life.
    last_free: Option<MessageAt>,
    /// A message was about it before.
    seen: bool,
}

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Free,
    Live(ReportedLife),
    /// More ALLOCs than FREEs, by two or more at some time.
    Overlapping(Box<OverlappingLives>),
    /// A FREE of what is not live.
    Pending(Box<PendingFree>),
    /// As before, and an ALLOC soon after.
    PendingThenLive {
        pending: Box<PendingFree>,
        life: ReportedLife,
    },
    /// Two types were live at once.
    Mixed {
        lives: u32,
        last: ReportedLife,
    },
}

/// One life of an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReportedLife {
    pub at: MessageAt,
    pub pid: i32,
    pub epoch: u32,
    pub buffer_type: u8,
}

/// A FREE whose ALLOC is to be found.
#[derive(Clone, Copy, Debug)]
struct PendingFree {
    freed: MessageAt,
    /// The FREE before it.
    before: Option<MessageAt>,
    /// The last FREE since, itself at first.
    last: MessageAt,
    /// How often the address was handed out and released since.
    cycles: u8,
}

/// How the last life of an address ended with its process.
#[derive(Clone, Copy, Debug)]
enum Ended {
    Swept { at: MessageAt, life: ReportedLife },
    Restarted,
}

#[derive(Clone, Copy, Debug)]
struct OverlappingLives {
    first: ReportedLife,
    second: ReportedLife,
    /// The last ALLOC.
    last: ReportedLife,
    allocs: u32,
    frees: u32,
    first_free: Option<MessageAt>,
    last_free: Option<MessageAt>,
    /// How often an ALLOC came when one life was open.
    cycles: u8,
}

/// Where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct AddressKey {
    pub device: i32,
    pub address: u64,
    /// Buffers, circular buffers and kernels apart; and the memory, where every message names it.
    pub class: u8,
}

impl AddressKey {
    pub fn sighting(&self, at: &[MessageAt]) -> Sighting {
        Sighting {
            positions: at.iter().map(|at| at.position).collect(),
            device: Some(self.device),
            address: Some(self.address),
            number: None,
        }
    }
}

impl InferredAddress {
    /// Whether it need not be kept: nothing is live and nothing is open.
    pub fn is_settled(&self) -> bool {
        matches!(self.state, State::Free)
    }

    /// An ALLOC; `knew`: the server says that the address was live. The life has begun with its
    /// client.
    pub fn alloc(&mut self, key: AddressKey, life: ReportedLife, knew: bool, ledger: &mut Ledger) {
        let seen = std::mem::replace(&mut self.seen, true);
        ledger.facts.reused += u64::from(seen);
        ledger.facts.known_before += u64::from(knew && !seen);
        if let Some(Ended::Swept { at, life }) = self.forget_ended(key, ledger) {
            ledger.facts.swept_live.add(key.sighting(&[life.at, at]));
            ledger.facts.outlive(life.at, at);
        }
        self.state = match std::mem::take(&mut self.state) {
            State::Free => {
                if let Some(freed) = self.last_free {
                    ledger.facts.idle.add(life.at.since(freed));
                }
                State::Live(life)
            }
            State::Live(before) => {
                ledger
                    .facts
                    .count(Kind::DuplicateAlloc, &key.sighting(&[life.at]));
                if before.buffer_type == life.buffer_type {
                    State::Overlapping(Box::new(OverlappingLives::new(before, life)))
                } else {
                    mix(key, 2, before, life, &mut ledger.facts)
                }
            }
            State::Mixed { lives, last } => {
                ledger
                    .facts
                    .count(Kind::DuplicateAlloc, &key.sighting(&[life.at]));
                if last.buffer_type == life.buffer_type {
                    State::Mixed {
                        lives: lives + 1,
                        last: life,
                    }
                } else {
                    mix(key, lives + 1, last, life, &mut ledger.facts)
                }
            }
            State::Overlapping(mut overlap) => {
                ledger
                    .facts
                    .count(Kind::DuplicateAlloc, &key.sighting(&[life.at]));
                if overlap.last.buffer_type != life.buffer_type {
                    let lives = overlap.open() + 1;
                    mix(key, lives, overlap.last, life, &mut ledger.facts)
                } else if overlap.is_too_much(life) {
                    overlap.give_up_first(key, ledger);
                    // What is left began with the ALLOC before this one.
                    match overlap.open() {
                        0 | 1 => State::Live(overlap.last),
                        _ => State::Overlapping(overlap),
                    }
                } else {
                    State::Overlapping(overlap)
                }
            }
            State::Pending(pending) if life.at.since(pending.last) <= EARLY_WITHIN => {
                State::PendingThenLive { pending, life }
            }
            State::Pending(pending) => {
                self.unknown_free(key, &pending, &mut ledger.facts);
                State::Live(life)
            }
            State::PendingThenLive {
                pending,
                life: early,
            } => {
                pending.paid(key, early, ledger);
                State::Live(life)
            }
        };
    }

    /// A FREE; `knew`: the server says that the address was live.
    pub fn free(&mut self, key: AddressKey, at: MessageAt, knew: bool, ledger: &mut Ledger) {
        let seen = std::mem::replace(&mut self.seen, true);
        if let Some(Ended::Swept { at: swept, .. }) = self.forget_ended(key, ledger) {
            ledger.facts.swept_frees.add(key.sighting(&[swept, at]));
            ledger.facts.count(Kind::UnknownFree, &key.sighting(&[at]));
            self.last_free = Some(at);
            return;
        }
        let mut freed = true;
        self.state = match std::mem::take(&mut self.state) {
            State::Free if knew && !seen => {
                ledger.facts.known_before += 1;
                State::Free
            }
            State::Free => {
                freed = false;
                count_unknown(key, at, self.last_free, &mut ledger.facts);
                State::Pending(Box::new(PendingFree::new(at, self.last_free)))
            }
            State::Live(life) => {
                ledger.facts.lives.add(at.since(life.at));
                if let Some(before) = self.last_free {
                    ledger.facts.cycles.add(at.since(before));
                }
                ledger.facts.see_free(at);
                ledger.clients.end_life(life.pid, life.epoch, life.at);
                State::Free
            }
            State::Overlapping(mut overlap) => {
                overlap.frees += 1;
                ledger.clients.end_life(
                    overlap.second.pid,
                    overlap.second.epoch,
                    overlap.second.at,
                );
                overlap.first_free.get_or_insert(at);
                overlap.last_free = Some(at);
                if overlap.open() == 0 {
                    overlap.balanced(key, ledger);
                    State::Free
                } else {
                    State::Overlapping(overlap)
                }
            }
            State::Mixed { lives, last } => {
                ledger.clients.end_life(last.pid, last.epoch, last.at);
                match lives {
                    0 | 1 => State::Free,
                    _ => State::Mixed {
                        lives: lives - 1,
                        last,
                    },
                }
            }
            State::Pending(pending) => {
                freed = false;
                self.unknown_free(key, &pending, &mut ledger.facts);
                count_unknown(key, at, Some(pending.last), &mut ledger.facts);
                State::Pending(Box::new(PendingFree::new(at, Some(pending.last))))
            }
            State::PendingThenLive { mut pending, life } => {
                ledger.facts.lives.add(at.since(life.at));
                ledger.clients.end_life(life.pid, life.epoch, life.at);
                pending.cycles += 1;
                pending.last = at;
                if pending.cycles < MAX_EARLY_CYCLES {
                    State::Pending(pending)
                } else {
                    self.unknown_free(key, &pending, &mut ledger.facts);
                    State::Free
                }
            }
        };
        if freed {
            self.last_free = Some(at);
        }
    }

    /// The record ends, at `end`: decides what is open as far as it can be. What is live is left
    /// for [`InferredAddress::live`].
    pub fn decide(&mut self, key: AddressKey, complete: bool, ledger: &mut Ledger) {
        if let Some(Ended::Swept { at, life }) = self.forget_ended(key, ledger) {
            ledger.facts.swept_live.add(key.sighting(&[life.at, at]));
            ledger.facts.outlive(life.at, at);
        }
        self.settle(key, complete, ledger);
    }

    /// Decides what is open, as nothing more comes.
    fn settle(&mut self, key: AddressKey, complete: bool, ledger: &mut Ledger) {
        self.state = match std::mem::take(&mut self.state) {
            State::Overlapping(mut overlap) => {
                let late = overlap.first_free.map(|free| {
                    ledger
                        .facts
                        .lives
                        .share_longer_than(free.since(overlap.second.at))
                });
                if !complete
                    && overlap.cycles == 0
                    && overlap.open() == 1
                    && overlap.first.pid == overlap.last.pid
                    && late.is_some_and(|late| late > 0.5)
                {
                    // One more FREE is to come.
                    overlap.late(key, &mut ledger.facts);
                    State::Live(overlap.last)
                } else {
                    while overlap.open() > 1 {
                        overlap.give_up_first(key, ledger);
                    }
                    if overlap.frees > 0 {
                        // Its last life got the last FREE; the first one got none.
                        overlap.give_up_first(key, ledger);
                        State::Free
                    } else {
                        State::Live(overlap.last)
                    }
                }
            }
            State::Pending(pending) => {
                self.unknown_free(key, &pending, &mut ledger.facts);
                State::Free
            }
            State::PendingThenLive { pending, life } => {
                if ledger
                    .facts
                    .idle
                    .share_longer_than(life.at.since(pending.last))
                    > 0.5
                {
                    pending.paid(key, life, ledger);
                    State::Free
                } else {
                    self.unknown_free(key, &pending, &mut ledger.facts);
                    State::Live(life)
                }
            }
            other => other,
        };
    }

    /// What is live, after [`InferredAddress::decide`].
    pub fn live(&self) -> Option<ReportedLife> {
        match &self.state {
            State::Live(life) | State::Mixed { last: life, .. } => Some(*life),
            _ => None,
        }
    }

    /// Forgets what ended with its process; how the life ended that was there, if one did.
    fn forget_ended(&mut self, key: AddressKey, ledger: &mut Ledger) -> Option<Ended> {
        let last = match &self.state {
            State::Live(life)
            | State::PendingThenLive { life, .. }
            | State::Mixed { last: life, .. } => life,
            State::Overlapping(overlap) => &overlap.last,
            State::Free | State::Pending(_) => return None,
        };
        let ending = ledger.clients.ending(last.pid, last.epoch)?;
        self.settle(key, true, ledger);
        let life = self.live();
        self.state = State::Free;
        Some(match ending {
            LifeEnd::Swept(at) => Ended::Swept { at, life: life? },
            LifeEnd::Restarted => Ended::Restarted,
        })
    }

    /// A FREE of what was not live, and no ALLOC that it belongs to.
    fn unknown_free(&mut self, key: AddressKey, pending: &PendingFree, facts: &mut Facts) {
        match pending.before {
            Some(before) => {
                facts
                    .second_frees
                    .add(key.sighting(&[before, pending.freed]));
                facts.second_gaps.add(pending.freed.since(before));
            }
            None => facts.first_free(key, pending.freed),
        }
        self.last_free = Some(pending.last);
    }
}

impl PendingFree {
    fn new(freed: MessageAt, before: Option<MessageAt>) -> PendingFree {
        PendingFree {
            freed,
            before,
            last: freed,
            cycles: 0,
        }
    }

    /// One ALLOC more than FREEs came since: the FREE was early, and `early` is the life whose
    /// ALLOC came last of those.
    fn paid(self, key: AddressKey, early: ReportedLife, ledger: &mut Ledger) {
        ledger
            .facts
            .early_frees
            .add(key.sighting(&[self.last, early.at]));
        ledger.facts.early_gaps.add(early.at.since(self.last));
        ledger.clients.end_life(early.pid, early.epoch, early.at);
    }
}

impl Facts {
    /// A FREE of an address that no message named before.
    pub fn first_free(&mut self, key: AddressKey, at: MessageAt) {
        self.first_frees.add(key.sighting(&[at]));
        if self.unknown_frees.len() < MAX_FREES {
            self.unknown_frees.push(at.number);
        }
        self.first_spread.add(at.number - self.epoch_began);
    }
}

fn count_unknown(key: AddressKey, at: MessageAt, before: Option<MessageAt>, facts: &mut Facts) {
    let kind = if before.is_some() {
        Kind::DoubleFree
    } else {
        Kind::UnknownFree
    };
    facts.count(kind, &key.sighting(&[at]));
}

/// Two types share an address.
fn mix(
    key: AddressKey,
    lives: u32,
    before: ReportedLife,
    life: ReportedLife,
    facts: &mut Facts,
) -> State {
    facts.aliased.add(Sighting {
        number: Some(i64::from(before.buffer_type) << 8 | i64::from(life.buffer_type)),
        ..key.sighting(&[before.at, life.at])
    });
    facts.count(Kind::Misattributed, &key.sighting(&[life.at]));
    State::Mixed { lives, last: life }
}

impl OverlappingLives {
    fn new(first: ReportedLife, second: ReportedLife) -> OverlappingLives {
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

    fn open(&self) -> u32 {
        self.allocs.saturating_sub(self.frees)
    }

    /// Takes another ALLOC; whether the first life must be given up for it.
    fn is_too_much(&mut self, life: ReportedLife) -> bool {
        self.cycles += u8::from(self.open() == 1);
        self.allocs += 1;
        self.last = life;
        self.cycles >= MAX_CYCLES || self.open() > MAX_OPEN
    }

    /// As many FREEs as ALLOCs: the first FREE came late.
    fn balanced(&self, key: AddressKey, ledger: &mut Ledger) {
        self.late(key, &mut ledger.facts);
        ledger.clients.bridge(self.first.pid, self.first.at);
    }

    fn late(&self, key: AddressKey, facts: &mut Facts) {
        let Some(free) = self.first_free else { return };
        facts
            .late_frees
            .add(key.sighting(&[self.first.at, self.second.at, free]));
        facts.late_gaps.add(free.since(self.second.at));
    }

    /// The first life never got its FREE.
    fn give_up_first(&mut self, key: AddressKey, ledger: &mut Ledger) {
        let sighting = key.sighting(&[self.first.at, self.second.at]);
        if self.first.pid == self.second.pid {
            ledger.facts.lost_frees.add(sighting.clone());
            let ReportedLife { pid, epoch, at, .. } = self.first;
            ledger
                .clients
                .lose_life(pid, epoch, at, self.second.at, sighting);
        } else {
            ledger.facts.owner_changes.add(sighting);
        }
        self.allocs -= 1;
        self.cycles = 0;
        self.first = self.second;
        self.second = self.last;
        self.first_free = self.last_free;
    }
}
