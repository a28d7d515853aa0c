//! What a record shows, as counts with the first sightings of each: all that the causes' models
//! look at.
//!
//! Its size is bounded: it does not grow with the record.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashSet;

use super::address::AddressKey;
use super::beginnings::Beginnings;
use super::clients::ProcessCut;
use super::gaps::{Gaps, RecordSlices};
use super::overlaps::Overlaps;
use super::sightings::{RecordPoint, Sighting, Sightings};
use super::sizes::SizesSeen;
use super::strays::Strays;
use crate::oracle::Kind;

/// The share of lives that may be longer than those that outlive nearly all.
const NEARLY_ALL: f64 = 0.1;
/// So many ALLOCs that say again what is live are no chance.
const FEW_AGAIN: u64 = 4;
/// So many lives without FREE, and hardly a FREE without ALLOC, are no losses by chance.
const FEW_ALONE: u64 = 6;
/// FREEs in a row with which a program ends.
const DRAIN: u64 = 8;
/// FREEs from the beginning of a record that are kept.
const MAX_FREES: usize = 1 << 16;
/// Addresses with a message that was late by far that are kept.
const MAX_FAR: usize = 1 << 12;

/// What is known of a record apart from its messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances {
    /// Its clients have ended: what is live stays live.
    pub complete: bool,
    /// It may begin when buffers are live: that says nothing.
    pub begins_in_the_middle: bool,
    /// So many of the buffers that are live at the end come from places in the program that never
    /// released any.
    pub never_released: u64,
    /// It has the call stacks of allocations.
    pub knows_stacks: bool,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// What is known apart from messages.
    pub circumstances: Circumstances,
    /// Messages about buffers.
    pub messages: u64,
    pub allocs: u64,
    /// ALLOCs of an address that was allocated before: only where addresses come back does a lost
    /// message contradict another.
    pub reused: u64,
    /// Whether messages say which life of an address they mean.
    pub generations: bool,
    /// An ALLOC of a live address, the FREE of the life before it soon after, and as many FREEs as
    /// ALLOCs.
    pub late_frees: Sightings,
    pub late_gaps: Gaps,
    /// A FREE of what is not live, its ALLOC soon after.
    pub early_frees: Sightings,
    pub early_gaps: Gaps,
    /// As before, but after several lives of the address: or a FREE and then an ALLOC are lost.
    pub far_late_frees: Sightings,
    /// A FREE of what is not live, and an ALLOC too many several lives later: its ALLOC was late,
    /// or an ALLOC and then a FREE are lost.
    pub far_early_frees: Sightings,
    /// Lives without FREE at the end of their address, few lives back: the last one may be live,
    /// and the FREEs between be late.
    pub ends_undecided: u64,
    /// Messages that were late, near or far; and of those, the ones beside which one was late at
    /// the same address of another device, by which of the two devices came first.
    pub late_messages: u64,
    late_beside: [u64; 2],
    /// Each with whether one was beside it.
    recently_late: VecDeque<(LateMessage, bool)>,
    /// ALLOCs of an address that was allocated on another device just before: those of views, or of
    /// devices that are used alike.
    pub lockstep_allocs: u64,
    recent_allocs: VecDeque<AddressKey>,
    /// By how many messages those were late, in all.
    pub far_lateness: u64,
    /// The addresses at which they were, as far as they are kept.
    far_addresses: FxHashSet<AddressKey>,
    /// An ALLOC of an address that had one too many, a FREE of one that had one too few: further
    /// from balance.
    pub deepened: u64,
    /// A life that never got its FREE although its address was handed out again.
    pub lost_frees: Sightings,
    /// A FREE of a life whose ALLOC never came; generations, and sizes that differ, tell it from a
    /// second FREE.
    pub lost_allocs: Sightings,
    /// A FREE after a FREE, no ALLOC between.
    pub second_frees: Sightings,
    pub second_gaps: Gaps,
    /// From the FREE before to each of those, by number, as far as they are kept.
    second_spans: Vec<(u64, u64)>,
    /// A FREE of an address that no message named before.
    pub first_frees: Sightings,
    /// When those came, among the messages since the record or the server began.
    pub first_frees_by_slice: RecordSlices,
    /// Since the record or the server began: the first FREEs of lives whose ALLOC the record shows,
    /// by number.
    known_frees: Vec<u64>,
    /// FREEs of addresses that no message named before, by number, as far as they are kept; in no
    /// order.
    unknown_frees: Vec<u64>,
    /// What those of servers that have ended came to.
    known_before_unknown: usize,
    /// Messages before the first of them, of the server of which it were the most.
    before_first_unknown: u64,
    /// The number of messages when the record or the server began.
    pub epoch_began: u64,
    /// The server began with nothing while buffers were live; `number`: how many.
    pub server_starts_with_live: Sightings,
    /// The server knew more than the record: it began before the record did.
    pub known_before: u64,
    /// FREEs of which the server says that it does not know what the record shows as live; and the
    /// last position at which one of those was allocated.
    pub forgotten: u64,
    pub forgotten_until: u64,
    /// A message about a buffer that the server had dropped in a sweep.
    pub swept_frees: Sightings,
    /// FREEs of what a sweep took, which the server knew: it had kept that.
    pub kept_in_sweep: Sightings,
    /// A life that never got its FREE, and whose address another process allocated.
    pub owner_changes: Sightings,
    /// A life whose address another process had as well, both at once: each has its own device
    /// under that number, or they share the buffer.
    pub apart: Sightings,
    /// Of the lives that never got their FREE: those whose next ALLOC came right after their own,
    /// from the same sender.
    pub echoed: u64,
    /// Of those: the ones whose next ALLOC states another size.
    pub resized: u64,
    /// Lives without FREE beside FREEs without ALLOC.
    pub strays: Strays,
    /// FREEs after a FREE that state another size: no second releases.
    pub other_sizes: u64,
    /// ALLOCs of a live address, or FREEs of what is not live, whose counterpart is of the thread
    /// that they are of: a thread does not overtake itself.
    pub one_thread: Sightings,
    /// Far pairs of which that is so.
    pub far_of_one_thread: u64,
    /// Messages that are late where they stand, and not by the times that the record states.
    pub in_time: Sightings,
    /// The sizes of the two lives where an address comes back after its FREE, and before it.
    pub sizes: SizesSeen,
    pub late_sizes: SizesSeen,
    /// A server said that it counts references.
    pub counts_references: bool,
    /// ALLOCs that say again what is live, several in a row from one sender.
    pub announced_again: u64,
    /// ALLOCs of what is live, all of them.
    pub overlaps: Overlaps,
    /// FREEs since the last ALLOC.
    pub frees_in_a_row: u64,
    /// Sound messages that the server did not take: for their number, or as a table was full.
    pub refused: Sightings,
    /// Messages over connections of a process that another one of its id seems to have followed.
    pub two_of_one_id: u64,
    /// Processes that began to count anew over a connection that they had.
    pub counted_anew: u64,
    /// Stamps that began anew after high ones.
    pub wrapped: u64,
    /// Messages that came twice: by their number, or made by one thread in one nanosecond.
    pub twice: Sightings,
    /// ALLOCs of two types at one address, while the first is live.
    pub aliased: Sightings,
    /// A process id that began anew while buffers of it were live; `number`: the process.
    pub restarts: Sightings,
    /// How many buffers those left behind.
    pub abandoned: u64,
    /// The same, as far as only the pattern of messages shows it.
    pub cuts: Vec<ProcessCut>,
    /// Lives without FREE that were there at one moment, at the most: where they are most of all,
    /// that may be the end of a process.
    pub lost_at_once: u64,
    /// How many messages came before one with a lower stamp, and were put in order.
    pub overtaken: u64,
    /// Stamps that were skipped although the record goes on; `number`: how many in a row.
    pub missing_stamps: Sightings,
    /// How many in all.
    pub missing: u64,
    /// Messages that the client did not send.
    pub dropped: Sightings,
    /// Frames of a type that is no message's; `number`: the type.
    pub unknown_frames: Sightings,
    /// Device ids that are no device's but a process's; `number`: the id.
    pub device_pids: Sightings,
    /// Buffer types, device ids and sizes that no client means; `number`: the value.
    pub odd_fields: Sightings,
    /// Connections that ended inside a frame.
    pub torn: Sightings,
    /// Frames that hold pieces of several messages.
    pub mixed: Sightings,
    /// Sound messages since the first frame that is none, and frames that are none since then.
    pub sound_since: u64,
    pub odd_since: u64,
    /// What was live when the record ended.
    pub live: Sightings,
    /// Buffers that a process had when it was swept, and of which no FREE came since.
    pub swept_live: Sightings,
    /// Of both: those that were live for longer than nearly all lives that the record shows, twice
    /// over.
    pub outlived: u64,
    /// The most addresses at which something was live or open.
    pub peak_live: u64,
    /// The generations with which the record began.
    pub beginnings: Beginnings,
    /// Messages of normal lives: from ALLOC to FREE, from FREE to the next ALLOC, from FREE to
    /// FREE.
    pub lives: Gaps,
    pub idle: Gaps,
    pub cycles: Gaps,
    /// Addresses that were not followed because too many were live.
    pub not_followed: u64,
    /// Why the record cannot be what one server got, whole and in order, in sentences.
    pub doubts: Vec<String>,
    /// Divergences, as the check without truth counts them.
    pub kinds: BTreeMap<Kind, u64>,
    pub first: Option<(Kind, Sighting)>,
}

/// A message that was late: its life began at `began`, and the next one at the address at `next`.
#[derive(Clone, Copy, Debug)]
pub(super) struct LateMessage {
    pub key: AddressKey,
    pub size_bytes: u64,
    pub began: RecordPoint,
    pub next: RecordPoint,
}

impl LateMessage {
    /// Whether `other` is of another view of the same buffer, by what both leave: the same size,
    /// and on both devices one ALLOC and then the next buffer's, in turn.
    fn is_beside(&self, other: &LateMessage) -> bool {
        let ((began, next), (other_began, other_next)) = (self.span(), other.span());
        self.key.address == other.key.address
            && self.key.device != other.key.device
            && self.size_bytes == other.size_bytes
            && next.abs_diff(other_next) <= VIEWS_WITHIN
            && began.max(other_began) < next.min(other_next)
            && (began < other_began) == (next < other_next)
    }

    fn span(&self) -> (u64, u64) {
        (self.began.number, self.next.number)
    }

    /// Whether the device with the lower number came first, of two that are beside each other.
    fn is_in_order(&self, other: &LateMessage) -> bool {
        (self.key.device < other.key.device) == (self.began.number < other.began.number)
    }
}

/// ALLOCs in which one of the same address is looked for.
const RECENT_ALLOCS: usize = 16;
/// Late messages in which one of the same address is looked for.
const RECENTLY_LATE: usize = 256;
/// The ALLOCs of the views of one mesh buffer are so close together.
const VIEWS_WITHIN: u64 = 512;

impl Facts {
    /// An ALLOC of `key`.
    pub(super) fn see_alloc(&mut self, key: AddressKey) {
        self.allocs += 1;
        self.frees_in_a_row = 0;
        let beside =
            |other: &AddressKey| other.address == key.address && other.device != key.device;
        self.lockstep_allocs += u64::from(self.recent_allocs.iter().any(beside));
        if self.recent_allocs.len() >= RECENT_ALLOCS {
            self.recent_allocs.pop_front();
        }
        self.recent_allocs.push_back(key);
    }

    /// A message came after the next ALLOC of its address.
    pub(super) fn see_late(&mut self, late: LateMessage) {
        self.late_messages += 1;
        self.overlaps.late(late.key);
        let known = self.recently_late.iter_mut();
        let beside = known
            .filter(|(other, _)| late.is_beside(other))
            .min_by_key(|(other, _)| late.began.number.abs_diff(other.began.number));
        let is_view = beside.is_some();
        if let Some((other, was_view)) = beside {
            let order = usize::from(late.is_in_order(other));
            self.late_beside[order] += 1 + u64::from(!*was_view);
            *was_view = true;
        }
        if self.recently_late.len() >= RECENTLY_LATE {
            self.recently_late.pop_front();
        }
        self.recently_late.push_back((late, is_view));
    }

    /// Late messages that views of mesh buffers explain: one device's came first each time. By
    /// chance either does, as often.
    pub(super) fn late_views(&self) -> u64 {
        let [one, other] = self.late_beside;
        one.abs_diff(other)
    }

    /// A message about `key` was late by so many messages, and by several lives of the address.
    pub(super) fn see_far(&mut self, key: AddressKey, lateness: u64) {
        self.far_lateness += lateness;
        if self.far_addresses.len() < MAX_FAR {
            self.far_addresses.insert(key);
        }
    }

    /// A FREE at `freed` after the one at `before`, no ALLOC between.
    pub(super) fn see_second_free(&mut self, before: RecordPoint, freed: RecordPoint) {
        self.second_gaps.add(freed.since(before));
        if self.second_spans.len() < MAX_FREES {
            self.second_spans.push((before.number, freed.number));
        }
    }

    /// How many moments are needed at the least, so that one lies between each second FREE and the
    /// FREE before it: losses in bursts need few.
    pub(super) fn moments_of_second_frees(&self) -> u64 {
        let mut spans = self.second_spans.clone();
        spans.sort_unstable_by_key(|(_, freed)| *freed);
        let (mut moments, mut last) = (0, None);
        for (before, freed) in spans {
            if last.is_none_or(|last| last < before) {
                moments += 1;
                last = Some(freed);
            }
        }
        moments
    }

    /// How many addresses had messages that were late by far.
    pub(super) fn far_addresses(&self) -> usize {
        self.far_addresses.len()
    }

    pub(super) fn count(&mut self, kind: Kind, sighting: &Sighting) {
        *self.kinds.entry(kind).or_default() += 1;
        if self.first.is_none() {
            self.first = Some((kind, sighting.clone()));
        }
    }

    /// A life that began at `from` was there at `end`, and no FREE came.
    pub(super) fn outlive(&mut self, from: RecordPoint, end: RecordPoint) {
        let longer = self.lives.share_longer_than(end.since(from) / 2);
        self.outlived += u64::from(longer < NEARLY_ALL);
    }

    /// The server does not know what the record shows as live since `from`.
    pub(super) fn see_forgotten(&mut self, from: RecordPoint) {
        self.forgotten += 1;
        self.forgotten_until = self.forgotten_until.max(from.position);
    }

    /// A life at `key` got no FREE between its ALLOC and the next one's.
    pub(super) fn see_missing_free(&mut self, key: AddressKey, from: RecordPoint, to: RecordPoint) {
        self.strays.see_missing(key, from.number, to.number);
    }

    /// A FREE of what is not live, and no ALLOC of it came.
    pub(super) fn see_unknown_free(
        &mut self,
        key: AddressKey,
        before: Option<RecordPoint>,
        freed: RecordPoint,
    ) {
        let before = before.map(|before| before.number);
        self.strays.see_unknown(key, before, freed.number);
    }

    /// A FREE of a life whose ALLOC the record shows.
    pub(super) fn see_known_free(&mut self, at: RecordPoint) {
        if self.known_frees.len() < MAX_FREES {
            self.known_frees.push(at.number);
        }
    }

    /// A FREE of an address that no message named before.
    pub(super) fn see_first_free(&mut self, key: AddressKey, at: RecordPoint) {
        self.first_frees.add(key.sighting(&[at]));
        if self.unknown_frees.len() < MAX_FREES {
            self.unknown_frees.push(at.number);
        }
        self.first_frees_by_slice.add(at.number - self.epoch_began);
    }

    /// A server began at `at`, with nothing live.
    pub(super) fn begin_epoch(&mut self, at: RecordPoint) {
        self.known_before_unknown = self.known_frees_before_unknown();
        self.before_first_unknown = self.messages_before_first_unknown();
        self.epoch_began = at.number;
        self.beginnings.clear();
        self.known_frees.clear();
        self.unknown_frees.clear();
    }

    /// How many FREEs of lives that the record shows came before the middle one of those that it
    /// does not show; of each server by itself.
    pub(super) fn known_frees_before_unknown(&self) -> usize {
        let mut unknown = self.unknown_frees.clone();
        unknown.sort_unstable();
        let middle = unknown.get(unknown.len() / 2).copied().unwrap_or(0);
        let known = self.known_frees.partition_point(|number| *number < middle);
        self.known_before_unknown + known
    }

    /// How many messages came before the first FREE of an address that none named before; of the
    /// server of which it were the most.
    pub(super) fn messages_before_first_unknown(&self) -> u64 {
        let first = self.unknown_frees.iter().min();
        let before = first.map_or(0, |first| first.saturating_sub(self.epoch_began));
        self.before_first_unknown.max(before)
    }

    /// The record begins in the middle: FREEs of what no message named before are no finding.
    pub(super) fn expect_earlier_lives(&mut self) {
        if let Some(count) = self.kinds.get_mut(&Kind::UnknownFree) {
            *count = count.saturating_sub(self.first_frees.count);
        }
        self.kinds.retain(|_, count| *count > 0);
        if self.kinds.is_empty() {
            self.first = None;
        }
    }

    /// Whether most lives without FREE are ALLOCs that say again what is live, several in a row,
    /// and hardly a FREE lacks its ALLOC: a client that announces again what it holds.
    pub(super) fn is_announced_again(&self) -> bool {
        let again = self.announced_again;
        let lost = self.lost_frees.count + self.far_late_frees.count;
        let without_alloc = self.second_frees.count + self.lost_allocs.count;
        again >= FEW_AGAIN && again * 2 >= lost && lost * 2 >= again && without_alloc * 4 <= again
    }

    /// Whether lives without FREE may be ALLOCs that were said again one by one: nearly all say the
    /// same as the one before, and hardly a FREE lacks its ALLOC, although what loses FREEs loses
    /// ALLOCs as well.
    pub(super) fn is_said_again(&self) -> bool {
        let lost = self.lost_frees.inferred();
        let late = self.late_frees.inferred() + self.far_late_frees.inferred();
        let without_alloc = self.second_frees.count + self.lost_allocs.count;
        lost >= FEW_ALONE
            && late * 4 <= lost
            && self.overlaps.repeats * 4 >= (lost + late) * 3
            && without_alloc * 8 <= lost
            && !self.overlaps.are_two_lives(&self.lives)
            && !self.leaves_some()
    }

    /// Whether the record ends with the FREEs of what was held, and something is left: where FREEs
    /// are lost some leave theirs, and none is where each came.
    fn leaves_some(&self) -> bool {
        let left = self.live.count + self.swept_live.count;
        let has_ended = self.circumstances.complete || self.frees_in_a_row >= DRAIN;
        left > 0 && has_ended && self.has_released(left)
    }

    /// Whether nearly all that was ever live is released where so many are left.
    pub(super) fn has_released(&self, left: u64) -> bool {
        self.peak_live >= 8 && left * 4 <= self.peak_live
    }

    /// Whether most of what looks late is a buffer that two hold, each with an ALLOC and a FREE of
    /// its own: it is live twice with one size, where addresses come back with any.
    pub(super) fn is_held_twice(&self) -> bool {
        let late = self.late_frees.inferred() + self.far_late_frees.inferred();
        late > 0 && self.late_sizes.same_beyond(self.sizes) * 2.0 >= late as f64
    }

    /// Whether what is late is so only where it stands in the record, not by its times.
    pub(super) fn is_in_time(&self) -> bool {
        let late = self.late_frees.count + self.early_frees.count;
        let far = self.far_late_frees.count + self.far_early_frees.count;
        self.in_time.count > 0 && self.in_time.count >= late + far
    }

    /// How much of the time that addresses are live they are so twice, where two processes that
    /// have them each for itself may leave what is late.
    pub(super) fn share_of_two(&self) -> Option<f64> {
        let late = self.late_frees.inferred() + self.far_late_frees.inferred();
        let early = self.early_frees.inferred() + self.far_early_frees.inferred();
        let share = self.overlaps.share_of_two()?;
        (early * 8 <= late).then_some(share)
    }

    /// Frames and messages that make no sense.
    pub(super) fn odd(&self) -> u64 {
        self.unknown_frames.count + self.device_pids.count + self.odd_fields.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u64) -> RecordPoint {
        RecordPoint {
            position: number,
            number,
            ..RecordPoint::default()
        }
    }

    #[test]
    fn what_one_moment_explains_is_one_piece() {
        let moments = |spans: &[(u64, u64)]| {
            let mut facts = Facts::default();
            for (before, freed) in spans {
                facts.see_second_free(at(*before), at(*freed));
            }
            facts.moments_of_second_frees()
        };
        assert_eq!(moments(&[(1, 50), (20, 60), (30, 55)]), 1);
        assert_eq!(moments(&[(1, 3), (20, 22), (30, 33)]), 3);
        assert_eq!(moments(&[]), 0);
    }

    #[test]
    fn frees_are_counted_before_those_of_the_same_server() {
        let key = AddressKey::of_buffer(0, 0x1000);
        let mut facts = Facts::default();
        (0..90).for_each(|number| facts.see_known_free(at(number)));
        facts.see_first_free(key, at(90));
        facts.begin_epoch(at(100));
        (100..110).for_each(|number| facts.see_known_free(at(number)));
        assert_eq!(facts.known_frees_before_unknown(), 90);
        facts.see_first_free(key, at(110));
        assert_eq!(facts.known_frees_before_unknown(), 100);
        assert_eq!(facts.messages_before_first_unknown(), 90);
    }
}
