//! Addresses whose lives are named: where messages carry the generation of the life that they mean,
//! nothing has to be inferred.
//!
//! A generation counts a device's allocations, so a FREE belongs to the ALLOC of its number, and to
//! no other. A FREE that waits for its ALLOC came early, or its ALLOC is lost, or was before the
//! record: the last where its number is none of those of which the record shows all that came
//! (`beginnings`).

use smallvec::SmallVec;

use super::super::address::AddressLife;
use super::super::clients::ClientEnd;
use super::super::facts::LateMessage;
use super::super::ledger::AddressLedger;
use super::super::seen_message::SeenMessage;
use super::super::sightings::RecordPoint;
use crate::oracle::Kind;

/// Lives, early FREEs and ended lives that are kept at an address; the oldest is decided when more
/// come.
const MAX_KEPT: usize = 8;

/// What is known of an address whose lives are named.
#[derive(Clone, Debug, Default)]
pub(super) struct NamedAddress {
    live: SmallVec<[NamedLife; 1]>,
    /// A life was released twice, and the second release may have ended the next one, whose own
    /// then ends the one after it, and so on: until nothing is live here, what is out of order is
    /// that and no reordering.
    disturbed: bool,
    /// FREEs whose ALLOC did not come yet.
    early: SmallVec<[NamedFree; 1]>,
    /// The last FREEs of lives that have ended.
    ended: SmallVec<[NamedFree; 2]>,
    /// The last lives that a sweep ended, and where.
    swept: SmallVec<[NamedFree; 1]>,
    seen: bool,
}

#[derive(Clone, Copy, Debug)]
struct NamedLife {
    generation: u64,
    life: AddressLife,
    stamp: MessageStamp,
    /// The ALLOC of the first later life that came before this one's FREE.
    overlapped_at: Option<RecordPoint>,
}

/// A FREE that names its life.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamedFree {
    pub generation: u64,
    pub at: RecordPoint,
    pub pid: i32,
    /// How often the lives of that process had ended before.
    pub epoch: u32,
    pub stamp: MessageStamp,
}

/// What tells one message from another that says the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MessageStamp {
    sequence: u64,
    made_ns: u64,
    thread: u32,
    conn: Option<u32>,
}

impl MessageStamp {
    pub(super) fn of(seen: &SeenMessage<'_>) -> MessageStamp {
        let message = seen.message;
        let extension = message.extension;
        MessageStamp {
            conn: seen.conn,
            sequence: extension.map_or(0, |extension| extension.sequence),
            made_ns: message.timestamp_ns,
            thread: extension.map_or(0, |extension| extension.thread),
        }
    }

    /// Whether both are one message: no number is used twice, and no thread makes two messages in
    /// one nanosecond.
    fn is(self, other: MessageStamp) -> bool {
        self == other && (self.sequence > 0 || self.made_ns > 0)
    }
}

impl NamedAddress {
    /// Whether it need not be kept.
    pub(super) fn is_settled(&self) -> bool {
        self.live.is_empty() && self.early.is_empty()
    }

    /// An ALLOC of `generation`, whose life has begun with its client.
    pub(super) fn alloc(
        &mut self,
        generation: u64,
        life: AddressLife,
        stamp: MessageStamp,
        ledger: &mut AddressLedger<'_>,
    ) {
        ledger.facts.reused += u64::from(std::mem::replace(&mut self.seen, true));
        self.end_with_clients(None, ledger);
        if let Some(free) = take(&mut self.early, life.pid, generation) {
            let sighting = ledger.sighting(&[free.at, life.at]);
            ledger.facts.early_frees.add_proven(sighting);
            ledger.facts.early_gaps.add(life.at.since(free.at));
            ledger.clients.end_life(&life);
            self.end(free);
            return;
        }
        // Each process counts its own lives.
        let own = |named: &NamedLife| named.life.pid == life.pid;
        if self.live.iter().any(own) {
            ledger.diverged(Kind::DuplicateAlloc, life.at);
        }
        // Its life has begun before, and ended.
        let ended = self.ended.iter().find(|ended| {
            (ended.pid, ended.generation, ended.epoch) == (life.pid, generation, life.epoch)
        });
        if let Some(ended) = ended.filter(|_| generation > 0) {
            let sighting = ledger.sighting(&[ended.at, life.at]);
            ledger.facts.count(Kind::DuplicateAlloc, &sighting);
            ledger.facts.twice.add(sighting);
            ledger.clients.end_life(&life);
            return;
        }
        let same = |named: &&NamedLife| own(named) && named.generation == generation;
        if let Some(before) = self.live.iter().find(same).filter(|_| generation > 0) {
            let sighting = ledger.sighting(&[before.life.at, life.at]);
            // No thread announces one life twice.
            match before.stamp == stamp {
                true => ledger.facts.twice.add(sighting),
                // Two count for themselves under one id.
                false => ledger.facts.apart.add(sighting),
            }
            ledger.clients.end_life(&life);
            return;
        }
        let lower = |named: &&mut NamedLife| own(named) && named.generation < generation;
        for before in self.live.iter_mut().filter(lower) {
            before.overlapped_at.get_or_insert(life.at);
        }
        let later = |named: &&NamedLife| own(named) && named.generation > generation;
        let later = self.live.iter().find(later);
        let overlapped_at = later.map(|later| later.life.at);
        self.live.push(NamedLife {
            generation,
            life,
            stamp,
            overlapped_at,
        });
        if self.live.len() > MAX_KEPT {
            self.lose_oldest(true, ledger);
        }
    }

    /// A FREE of `generation`; `known`: the server says that the address was live.
    pub(super) fn free(&mut self, free: NamedFree, known: bool, ledger: &mut AddressLedger<'_>) {
        let NamedFree {
            generation,
            at,
            pid,
            ..
        } = free;
        let seen = std::mem::replace(&mut self.seen, true);
        let swept = self.end_with_clients(Some((pid, generation)), ledger);
        if let Some(index) = self.life_of(&free, ledger) {
            let named = self.live.remove(index);
            self.end_life(&named, free, ledger);
        } else if let Some(swept) =
            swept.or_else(|| find(&self.swept, pid, generation).map(|free| free.at))
        {
            let sighting = ledger.sighting(&[swept, at]);
            ledger.facts.swept_frees.add_proven(sighting);
            ledger.diverged(Kind::UnknownFree, at);
            self.end(free);
        } else if let Some(before) = find(&self.ended, pid, generation) {
            self.disturbed |= note_second_free(Some(before), free, ledger);
        } else if let Some(before) = take(&mut self.early, pid, generation) {
            note_second_free(Some(before), free, ledger);
            self.early.push(free);
        } else if ledger.has_allocated(pid, generation) {
            // Its life has ended, too long ago to say where.
            self.disturbed |= note_second_free(None, free, ledger);
        } else if known && !seen {
            ledger.facts.known_before += 1;
            self.end(free);
        } else {
            ledger.diverged(Kind::UnknownFree, at);
            self.early.push(free);
            if self.early.len() > MAX_KEPT {
                self.decide_oldest_free(true, ledger);
            }
        }
    }

    /// The record ends. What is missing may be on its way, unless the clients have ended.
    pub(super) fn decide(&mut self, ledger: &mut AddressLedger<'_>) {
        self.end_with_clients(None, ledger);
        let is_proven = ledger.facts.circumstances.complete;
        while !self.early.is_empty() {
            self.decide_oldest_free(is_proven, ledger);
        }
        while self.live.len() > 1 {
            self.lose_oldest(is_proven, ledger);
        }
    }

    /// What is live, after [`NamedAddress::decide`].
    pub(super) fn live(&self) -> Option<AddressLife> {
        self.live.first().map(|named| named.life)
    }

    /// Which life this FREE means: its process' own of that number, else another's, which it
    /// releases for that one.
    fn life_of(&self, free: &NamedFree, ledger: &AddressLedger<'_>) -> Option<usize> {
        let same = |named: &NamedLife| named.generation == free.generation;
        let own = |named: &NamedLife| same(named) && named.life.pid == free.pid;
        let mut live = self.live.iter();
        live.position(own).or_else(|| {
            let is_known = find(&self.ended, free.pid, free.generation).is_some()
                || ledger.has_allocated(free.pid, free.generation);
            let mut live = self.live.iter();
            live.position(same).filter(|_| !is_known)
        })
    }

    /// A life, which is no longer kept, got its FREE: late, if a later one has begun.
    fn end_life(&mut self, named: &NamedLife, free: NamedFree, ledger: &mut AddressLedger<'_>) {
        let life = &named.life;
        ledger.clients.end_life(life);
        ledger.facts.lives.add(free.at.since(life.at));
        if let Some(next) = named.overlapped_at.filter(|_| !self.disturbed) {
            let sighting = ledger.sighting(&[life.at, next, free.at]);
            ledger.facts.late_frees.add_proven(sighting);
            ledger.facts.late_gaps.add(free.at.since(next));
            ledger.facts.see_late(LateMessage {
                key: ledger.key,
                size_bytes: life.size_bytes,
                began: life.at,
                next,
            });
        }
        self.disturbed &= !self.live.is_empty();
        self.end(free);
    }

    /// The life with the lowest number, of several, never got its FREE.
    fn lose_oldest(&mut self, is_proven: bool, ledger: &mut AddressLedger<'_>) {
        self.live.sort_unstable_by_key(|named| named.generation);
        let NamedLife { life, .. } = self.live.remove(0);
        let next = self.live[0].life;
        if self.disturbed {
            return;
        }
        let sighting = ledger.sighting(&[life.at, next.at]);
        if life.pid == next.pid {
            ledger.facts.lost_frees.add_as(is_proven, sighting.clone());
            ledger.clients.lose_life(&life, next.at, sighting);
        } else if ledger.clients.has_spoken_since(life.pid, next.at) {
            ledger.facts.apart.add(sighting);
        } else {
            ledger.facts.owner_changes.add_as(is_proven, sighting);
        }
    }

    fn decide_oldest_free(&mut self, is_proven: bool, ledger: &mut AddressLedger<'_>) {
        let free = self.early.remove(0);
        let beginnings = &ledger.facts.beginnings;
        if beginnings.may_be_before(free.pid, ledger.key.device, free.generation) {
            ledger.first_free(free.at);
        } else {
            let sighting = ledger.sighting(&[free.at]);
            ledger.facts.lost_allocs.add_as(is_proven, sighting);
        }
        self.end(free);
    }

    /// Keeps the FREE of a life that has ended.
    fn end(&mut self, free: NamedFree) {
        if self.ended.len() >= MAX_KEPT {
            self.ended.remove(0);
        }
        self.ended.push(free);
    }

    /// Forgets what ended with its process. Returns the sweep that took the life of `asked`, if one
    /// did; the others count as swept.
    fn end_with_clients(
        &mut self,
        asked: Option<(i32, u64)>,
        ledger: &mut AddressLedger<'_>,
    ) -> Option<RecordPoint> {
        let mut found = None;
        let mut restarted = false;
        self.live.retain(|named| {
            let NamedLife {
                generation, life, ..
            } = named;
            match ledger.clients.ending(life) {
                None => return true,
                Some(ClientEnd::Swept(swept)) if asked == Some((life.pid, *generation)) => {
                    found = Some(swept);
                }
                Some(ClientEnd::Swept(at)) => {
                    ledger.swept_live(life, at);
                    if self.swept.len() >= MAX_KEPT {
                        self.swept.remove(0);
                    }
                    self.swept.push(NamedFree {
                        generation: *generation,
                        at,
                        pid: life.pid,
                        epoch: life.epoch,
                        stamp: MessageStamp::default(),
                    });
                }
                Some(ClientEnd::Restarted) => restarted = true,
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

/// `free` is a second FREE of one life, `before` the first. Whether it is a second release, rather
/// than one message that came twice.
fn note_second_free(
    before: Option<NamedFree>,
    free: NamedFree,
    ledger: &mut AddressLedger<'_>,
) -> bool {
    let points: SmallVec<[RecordPoint; 2]> = before
        .map(|before| before.at)
        .into_iter()
        .chain([free.at])
        .collect();
    let sighting = ledger.sighting(&points);
    if before.is_some_and(|before| before.stamp.is(free.stamp)) {
        ledger.facts.count(Kind::UnknownFree, &sighting);
        ledger.facts.twice.add(sighting);
        return false;
    }
    ledger.facts.count(Kind::DoubleFree, &sighting);
    ledger.facts.second_frees.add_proven(sighting);
    true
}

/// The first FREE of that process and `generation`.
fn find(frees: &[NamedFree], pid: i32, generation: u64) -> Option<NamedFree> {
    let mut frees = frees.iter().copied();
    frees.find(|free| free.pid == pid && free.generation == generation)
}

/// Takes the first FREE of that process and `generation` out.
fn take<const N: usize>(
    frees: &mut SmallVec<[NamedFree; N]>,
    pid: i32,
    generation: u64,
) -> Option<NamedFree>
where
    [NamedFree; N]: smallvec::Array<Item = NamedFree>,
{
    let index = frees
        .iter()
        .position(|free| free.pid == pid && free.generation == generation)?;
    Some(frees.remove(index))
}
