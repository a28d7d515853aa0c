//! What a record shows, as counts with the first sightings of each: all that the causes' models
//! look at.
//!
//! Its size is fixed: it does not grow with the record.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::clients::CutOff;
use super::gaps::{GapSpread, Gaps};
use crate::oracle::Kind;

/// Sightings of a kind that are kept; more are counted.
pub const MAX_SIGHTINGS: usize = 32;
/// The share of lives that may be longer than those that outlive nearly all.
const NEARLY_ALL: f64 = 0.1;
/// FREEs from the beginning of a record that are kept.
pub(super) const MAX_FREES: usize = 1 << 16;
/// Devices whose first generation is kept.
const MAX_DEVICES: usize = 1 << 12;

/// A moment of the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MessageAt {
    /// Where it stands in its source: what evidence refers to.
    pub position: u64,
    /// How many messages came before it: what gaps are measured in.
    pub number: u64,
}

impl MessageAt {
    /// Messages between an earlier moment and this one.
    pub fn since(self, earlier: MessageAt) -> u64 {
        self.number.saturating_sub(earlier.number)
    }
}

/// One piece of evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// Where in the source, in the order in which the cause's sentence names them.
    pub positions: SmallVec<[u64; 3]>,
    /// The device, where there is one.
    pub device: Option<i32>,
    /// The address, where there is one.
    pub address: Option<u64>,
    /// The process or another number that the sentence names.
    pub number: Option<i64>,
}

/// How often something was seen, and where first.
#[derive(Clone, Debug, Default)]
pub(super) struct SightingTally {
    pub count: u64,
    /// Of those: how many the record itself settles, by generations or by the client's own account.
    pub proven: u64,
    pub kept: Vec<Sighting>,
}

impl SightingTally {
    pub fn add(&mut self, sighting: Sighting) {
        self.count += 1;
        if self.kept.len() < MAX_SIGHTINGS {
            self.kept.push(sighting);
        }
    }

    pub fn add_proven(&mut self, sighting: Sighting) {
        self.proven += 1;
        self.add(sighting);
    }

    /// Those that only the pattern of messages suggests.
    pub fn inferred(&self) -> u64 {
        self.count - self.proven
    }
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub(super) struct Facts {
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
    pub late_frees: SightingTally,
    pub late_gaps: Gaps,
    /// A FREE of what is not live, its ALLOC soon after.
    pub early_frees: SightingTally,
    pub early_gaps: Gaps,
    /// A life that never got its FREE although its address was handed out again.
    pub lost_frees: SightingTally,
    /// A FREE of a life whose ALLOC never came; only generations tell it from a second FREE.
    pub lost_allocs: SightingTally,
    /// A FREE after a FREE, no ALLOC between.
    pub second_frees: SightingTally,
    pub second_gaps: Gaps,
    /// A FREE of an address that no message named before.
    pub first_frees: SightingTally,
    /// When those came, among the messages since the record or the server began.
    pub first_spread: GapSpread,
    /// The first FREEs of lives whose ALLOC the record shows, by number.
    pub known_frees: Vec<u64>,
    /// FREEs of addresses that no message named before, by number, as far as they are kept; in no
    /// order.
    pub unknown_frees: Vec<u64>,
    /// The number of messages when the record or the server began.
    pub epoch_began: u64,
    /// The server began with nothing while buffers were live; `number`: how many.
    pub server_starts_with_live: SightingTally,
    /// The server knew more than the record: it began before the record did.
    pub known_before: u64,
    /// A message about a buffer that the server had dropped in a sweep.
    pub swept_frees: SightingTally,
    /// A life that never got its FREE, and whose address another process allocated.
    pub owner_changes: SightingTally,
    /// ALLOCs of two types at one address, while the first is live.
    pub aliased: SightingTally,
    /// A process id that began anew while buffers of it were live; `number`: the process.
    pub restarts: SightingTally,
    /// How many buffers those left behind.
    pub abandoned: u64,
    /// The same, as far as only the pattern of messages shows it.
    pub cuts: Vec<CutOff>,
    /// Messages that the client did not send.
    pub dropped: SightingTally,
    /// Frames of a type that is no message's; `number`: the type.
    pub unknown_frames: SightingTally,
    /// Device ids that are no device's but a process's; `number`: the id.
    pub device_pids: SightingTally,
    /// Buffer types, device ids and sizes that no client means; `number`: the value.
    pub odd_fields: SightingTally,
    /// Connections that ended inside a frame.
    pub torn: SightingTally,
    /// Frames that hold pieces of several messages.
    pub mixed: SightingTally,
    /// Sound messages since the first frame that is none, and frames that are none since then.
    pub sound_since: u64,
    pub odd_since: u64,
    /// What was live when the record ended.
    pub live: SightingTally,
    /// Buffers that a process had when it was swept, and of which no FREE came since.
    pub swept_live: SightingTally,
    /// Of both: those that were live for longer than nearly all lives that the record shows, twice
    /// over.
    pub outlived: u64,
    /// The most addresses at which something was live or open.
    pub peak_live: u64,
    /// The lowest generation of each device that an ALLOC showed.
    pub first_generations: FxHashMap<i32, u64>,
    /// Messages of normal lives: from ALLOC to FREE, from FREE to the next ALLOC, from FREE to
    /// FREE.
    pub lives: Gaps,
    pub idle: Gaps,
    pub cycles: Gaps,
    /// Addresses that were not followed because too many were live.
    pub not_followed: u64,
    /// Divergences, as the check without truth counts them.
    pub kinds: BTreeMap<Kind, u64>,
    pub first: Option<(Kind, Sighting)>,
}

impl Facts {
    pub fn count(&mut self, kind: Kind, sighting: &Sighting) {
        *self.kinds.entry(kind).or_default() += 1;
        if self.first.is_none() {
            self.first = Some((kind, sighting.clone()));
        }
    }

    /// An ALLOC on `device` names `generation`.
    pub fn see_generation(&mut self, device: i32, generation: u64) {
        let room = self.first_generations.len() < MAX_DEVICES;
        match self.first_generations.get_mut(&device) {
            Some(first) => *first = generation.min(*first),
            None if room => _ = self.first_generations.insert(device, generation),
            None => {}
        }
    }

    /// The lowest generation that an ALLOC on `device` named; 0 where there was none.
    pub fn first_generation(&self, device: i32) -> u64 {
        self.first_generations.get(&device).copied().unwrap_or(0)
    }

    /// A life that began at `from` was there at `end`, and no FREE came.
    pub fn outlive(&mut self, from: MessageAt, end: MessageAt) {
        let longer = self.lives.share_longer_than(end.since(from) / 2);
        self.outlived += u64::from(longer < NEARLY_ALL);
    }

    /// A FREE of a life whose ALLOC the record shows.
    pub fn see_free(&mut self, at: MessageAt) {
        if self.known_frees.len() < MAX_FREES {
            self.known_frees.push(at.number);
        }
    }

    /// How many FREEs of lives that the record shows came before the middle one of those that it
    /// does not show.
    pub fn known_frees_before_unknown(&self) -> usize {
        let mut unknown = self.unknown_frees.clone();
        unknown.sort_unstable();
        let middle = unknown.get(unknown.len() / 2).copied().unwrap_or(0);
        self.known_frees.partition_point(|number| *number < middle)
    }

    /// Frames and messages that make no sense.
    pub fn odd(&self) -> u64 {
        self.unknown_frames.count + self.device_pids.count + self.odd_fields.count
    }
}
