//! Sightings: where in a record something was seen, and how often.
//!
//! A [`RecordPoint`] is a place in a record. A [`Sighting`] is one piece of evidence: the positions
//! that show it, and the device and the address that it is about. [`Sightings`] counts pieces of
//! one kind and keeps the first few, so its size is bounded.

use smallvec::SmallVec;

use crate::tracking::entry::Class;

/// Sightings of a kind that are kept; more are counted.
pub const MAX_SIGHTINGS: usize = 32;

/// A point of the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RecordPoint {
    /// Where it stands in its source: what evidence refers to.
    pub position: u64,
    /// How many messages came before it: what gaps are measured in.
    pub number: u64,
    /// What its record says beside the message.
    pub told: RecordTold,
}

/// What an allocator's own record says of who did something, when, and to a buffer of which size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RecordTold {
    /// From 1; 0 where it says none.
    at_ns: u64,
    /// Numbers that are equal where threads and sizes are; 0 where it says none.
    thread: u32,
    size: u32,
}

impl RecordTold {
    pub(super) fn new(at_ns: Option<u64>, thread: Option<u64>, size: Option<u64>) -> RecordTold {
        // Two of them are seldom one number.
        let short = |told: Option<u64>| {
            told.map_or(0, |told| {
                let folded = (told ^ (told >> 32)) as u32;
                folded.saturating_add(1)
            })
        };
        RecordTold {
            at_ns: at_ns.map_or(0, |at_ns| at_ns.saturating_add(1)),
            thread: short(thread),
            size: short(size),
        }
    }
}

impl RecordPoint {
    /// Messages between an earlier point and this one.
    pub(super) fn since(self, earlier: RecordPoint) -> u64 {
        self.number.saturating_sub(earlier.number)
    }

    /// Whether the record says that one thread did both.
    pub(super) fn is_of_thread_of(self, other: RecordPoint) -> bool {
        self.told.thread != 0 && self.told.thread == other.told.thread
    }

    /// Whether it was before `other` by the times that the record states.
    pub(super) fn is_earlier_than(self, other: RecordPoint) -> bool {
        self.told.at_ns != 0 && self.told.at_ns < other.told.at_ns
    }

    /// Whether the record states two sizes.
    pub(super) fn has_other_size_than(self, other: RecordPoint) -> bool {
        let (size, other) = (self.told.size, other.told.size);
        size != 0 && other != 0 && size != other
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
    /// What its messages are about, where it is about an address.
    pub class: Option<Class>,
    /// The process or another number that the sentence names.
    pub number: Option<i64>,
}

impl Sighting {
    /// Something at one point, about no address.
    pub(super) fn at(point: RecordPoint) -> Sighting {
        Sighting {
            positions: [point.position].into_iter().collect(),
            ..Sighting::default()
        }
    }

    /// The same, about this number.
    pub(super) fn with_number(self, number: i64) -> Sighting {
        Sighting {
            number: Some(number),
            ..self
        }
    }
}

/// How often something was seen, and where first.
#[derive(Clone, Debug, Default)]
pub(super) struct Sightings {
    pub count: u64,
    /// Of those: how many the record itself settles, by generations or by the client's own account.
    pub proven: u64,
    pub kept: Vec<Sighting>,
}

impl Sightings {
    pub(super) fn add(&mut self, sighting: Sighting) {
        self.count += 1;
        if self.kept.len() < MAX_SIGHTINGS {
            self.kept.push(sighting);
        }
    }

    pub(super) fn add_proven(&mut self, sighting: Sighting) {
        self.add_as(true, sighting);
    }

    pub(super) fn add_as(&mut self, is_proven: bool, sighting: Sighting) {
        self.proven += u64::from(is_proven);
        self.add(sighting);
    }

    /// Those that only the pattern of messages suggests.
    pub(super) fn inferred(&self) -> u64 {
        self.count - self.proven
    }
}
