//! The events of a picture: one row each where one looks, and how many there are everywhere.
//!
//! Up to [`MOST_ROWS`] events have a row. Of a longer record only those have that stand at its
//! beginning and around each divergence; [`Density`] counts all of them, bucket by bucket. So
//! memory does not grow with the record, and [`EventTable::left_out`] says what has no row.

use std::collections::VecDeque;

use serde::Serialize;

use super::columns::{Column, put, put_signed};
use super::kinds::{EventClass, EventWord, Remark};

/// Events that have rows, at most.
pub(crate) const MOST_ROWS: usize = 1_250_000;
/// Of a longer record: rows at its beginning, and on either side of a divergence.
const FIRST_ROWS: u32 = 100_000;
const AROUND: u32 = 4_000;
/// The most lanes; who comes later shares the last one.
pub(crate) const MOST_LANES: usize = 48;

/// One event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventRow {
    pub(crate) lane: u16,
    pub(crate) word: EventWord,
    pub(crate) remark: Remark,
    /// The life that it is about, by its number from 1; 0: none.
    pub(crate) life: u32,
    /// A lock, a connection, a slot; of what the server takes: how many events ago it was sent.
    pub(crate) arg: u32,
    /// Where its source has it.
    pub(crate) position: u64,
    pub(crate) mark: EventMark,
}

/// What is special about the place of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventMark {
    /// It is part of the step before, as a text timeline counts them.
    pub(crate) same_step: bool,
    /// The thread before could have gone on.
    pub(crate) preempts: bool,
    /// It shows a divergence, listed or not.
    pub(crate) diverges: bool,
}

/// The rows and the density.
#[derive(Debug)]
pub(crate) struct EventTable {
    keeps_all: bool,
    most: usize,
    count: u32,
    /// Rows to come that stand close behind a divergence.
    after: u32,
    before: VecDeque<(u32, EventRow)>,
    /// First event and number of events of each stretch that has rows.
    stretches: Vec<(u32, u32)>,
    lanes: Vec<u16>,
    words: Vec<u8>,
    remarks: Vec<u8>,
    lives: Vec<u8>,
    args: Vec<u8>,
    positions: Vec<u64>,
    /// By lane, the life of its last row.
    last_life: Vec<u32>,
    density: Density,
}

/// The packed table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PackedEvents {
    /// How many events there are.
    pub(crate) count: u32,
    stretches: Vec<(u32, u32)>,
    lane: Column,
    word: Column,
    remark: Column,
    life: Column,
    arg: Column,
    /// Absent where the position of an event is its number from 1.
    position: Option<Column>,
    density: PackedDensity,
}

impl EventTable {
    /// For a record of so many events, as far as that is known.
    pub(crate) fn new(events: Option<u64>) -> EventTable {
        EventTable::with_limit(events, MOST_ROWS)
    }

    fn with_limit(events: Option<u64>, most: usize) -> EventTable {
        EventTable {
            keeps_all: events.is_none_or(|events| events <= most as u64),
            most,
            count: 0,
            after: 0,
            before: VecDeque::new(),
            stretches: Vec::new(),
            lanes: Vec::new(),
            words: Vec::new(),
            remarks: Vec::new(),
            lives: Vec::new(),
            args: Vec::new(),
            positions: Vec::new(),
            last_life: Vec::new(),
            density: Density::default(),
        }
    }

    /// Events so far: the index of the next one.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Takes the next event.
    #[inline]
    pub(crate) fn push(&mut self, row: EventRow) {
        let index = self.count;
        self.count += 1;
        self.density.add(index, row.lane, row.word.class());
        if self.keeps_all && self.words.len() < self.most {
            self.write(index, row);
        } else if index < FIRST_ROWS || self.after > 0 {
            self.after = self.after.saturating_sub(1);
            self.write(index, row);
        } else {
            if self.before.len() == AROUND as usize {
                self.before.pop_front();
            }
            self.before.push_back((index, row));
        }
    }

    /// The last event shows a divergence: what is around it is kept.
    pub(crate) fn look_here(&mut self) {
        while let Some((index, row)) = self.before.pop_front() {
            self.write(index, row);
        }
        self.after = AROUND;
    }

    /// Events that have no row.
    pub(crate) fn left_out(&self) -> u64 {
        u64::from(self.count) - self.words.len() as u64
    }

    fn write(&mut self, index: u32, row: EventRow) {
        if self.words.len() >= self.most {
            return;
        }
        match self.stretches.last_mut() {
            Some((first, count)) if *first + *count == index => *count += 1,
            _ => self.stretches.push((index, 1)),
        }
        let lane = usize::from(row.lane);
        if self.last_life.len() <= lane {
            self.last_life.resize(lane + 1, 0);
        }
        let last = std::mem::replace(&mut self.last_life[lane], row.life);
        put_signed(&mut self.lives, i64::from(row.life) - i64::from(last));
        self.lanes.push(row.lane);
        let mark = u8::from(row.mark.same_step) << 7 | u8::from(row.mark.preempts) << 6;
        self.words.push(row.word as u8 | mark);
        (self.remarks).push(row.remark as u8 | u8::from(row.mark.diverges) << 7);
        put(&mut self.args, u64::from(row.arg));
        self.positions.push(row.position);
    }

    /// Packs it.
    pub(crate) fn pack(&self) -> PackedEvents {
        let rows = self.words.len();
        let indexes = (self.stretches.iter()).flat_map(|(first, count)| *first..*first + *count);
        let plain = self
            .positions
            .iter()
            .zip(indexes)
            .all(|(position, index)| *position == u64::from(index) + 1);
        PackedEvents {
            count: self.count,
            stretches: self.stretches.clone(),
            lane: Column::shorts(&self.lanes),
            word: Column::bytes(&self.words),
            remark: Column::bytes(&self.remarks),
            life: Column::varints(rows, &self.lives),
            arg: Column::varints(rows, &self.args),
            position: (!plain).then(|| Column::deltas(self.positions.iter().copied())),
            density: self.density.pack(),
        }
    }
}

/// How many events of each sort every lane has, bucket by bucket.
#[derive(Debug, Default)]
struct Density {
    /// The width of a bucket is 2 to this power.
    shift: u32,
    lanes: Vec<Vec<[u32; SORTS]>>,
}

/// Memory, messages, locks, and what is left.
const SORTS: usize = 4;
/// The most buckets of a lane; where there would be more, each becomes twice as wide.
const MOST_BUCKETS: usize = 4096;
/// The narrowest bucket has 2 to this power of events.
const FIRST_SHIFT: u32 = 4;

/// The packed density.
#[derive(Clone, Debug, Serialize)]
struct PackedDensity {
    width: u64,
    buckets: usize,
    counts: Column,
}

impl Density {
    #[inline]
    fn add(&mut self, index: u32, lane: u16, class: EventClass) {
        self.shift = self.shift.max(FIRST_SHIFT);
        while (index >> self.shift) as usize >= MOST_BUCKETS {
            self.widen();
        }
        let lane = usize::from(lane);
        if self.lanes.len() <= lane {
            self.lanes.resize(lane + 1, Vec::new());
        }
        let bucket = (index >> self.shift) as usize;
        let buckets = &mut self.lanes[lane];
        if buckets.len() <= bucket {
            buckets.resize(bucket + 1, [0; SORTS]);
        }
        let sort = match class {
            EventClass::Alloc | EventClass::Free => 0,
            EventClass::Send | EventClass::Receive => 1,
            EventClass::Lock | EventClass::Wait => 2,
            EventClass::Trouble | EventClass::Step => 3,
        };
        buckets[bucket][sort] += 1;
    }

    fn widen(&mut self) {
        self.shift += 1;
        for buckets in &mut self.lanes {
            let pairs = buckets.chunks(2).map(|pair| {
                let mut sum = [0; SORTS];
                for counts in pair {
                    for (sum, count) in sum.iter_mut().zip(counts) {
                        *sum += count;
                    }
                }
                sum
            });
            *buckets = pairs.collect();
        }
    }

    fn pack(&self) -> PackedDensity {
        let buckets = self.lanes.iter().map(Vec::len).max().unwrap_or(0);
        let mut counts = Vec::with_capacity(self.lanes.len() * buckets * SORTS);
        for lane in &self.lanes {
            counts.extend(lane.iter().flatten());
            counts.resize(counts.len() + (buckets - lane.len()) * SORTS, 0);
        }
        PackedDensity {
            width: 1 << self.shift,
            buckets,
            counts: Column::words(&counts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> EventRow {
        EventRow {
            lane: 0,
            word: EventWord::Publish,
            remark: Remark::None,
            life: 0,
            arg: 0,
            position: 0,
            mark: EventMark::default(),
        }
    }

    #[test]
    fn of_a_long_record_what_is_around_a_divergence_has_rows() {
        let events = 400_000;
        let mut table = EventTable::with_limit(Some(events), 200_000);
        for index in 0..events {
            table.push(row());
            if index == 300_000 {
                table.look_here();
            }
        }
        let (first, around) = (u64::from(FIRST_ROWS), u64::from(AROUND));
        assert_eq!(table.left_out(), events - first - 2 * around);
        let stretches: Vec<(u32, u32)> = table.stretches.clone();
        assert_eq!(stretches, [(0, FIRST_ROWS), (296_001, 2 * AROUND)]);
        let counted: u32 = table.density.lanes[0].iter().flatten().sum();
        assert_eq!(u64::from(counted), events);
    }

    #[test]
    fn of_a_short_record_every_event_has_a_row() {
        let mut table = EventTable::new(None);
        for _ in 0..200_000 {
            table.push(row());
        }
        assert_eq!((table.left_out(), table.stretches.len()), (0, 1));
    }
}
