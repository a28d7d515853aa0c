//! Memory over time, in two pictures: what the allocators had live, and what the server showed; and
//! where they differ.
//!
//! A *place* is an address in a *space* (a memory of a device). A *life* is one buffer from its
//! address on until the address is given back. The server's entries have lives of their own. A
//! difference is *on its way* where the message that ends it was under way; all others are wrong.
//! Which it is can be said only at the end, so that is when it is said.
//!
//! Memory is bounded: of more than [`MOST_RECTANGLES`] rectangles the longest are kept, and those
//! that [`MemoryPictures::pin`] names. For each life that ever was 8 bytes stay.

mod packed;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::totals::TotalsOverTime;
use crate::device::Memory;
use crate::device::memory::{Geometries, MemoryGeometry};
use crate::tracking::entry::Class;

pub(crate) use packed::PackedMemory;

/// The most rectangles of each sort.
pub(crate) const MOST_RECTANGLES: usize = 150_000;
/// The most spaces; who comes later shares the last one.
const MOST_SPACES: usize = 64;
/// No event.
pub(crate) const NEVER: u32 = u32::MAX;

/// The number of a life, from 1; 0 is none.
pub(crate) type LifeNumber = u32;

/// An address in a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub(crate) space: u16,
    pub(crate) address: u64,
}

/// One rectangle: a buffer, or an entry of the server.
#[derive(Clone, Copy, Debug)]
struct Rectangle {
    number: LifeNumber,
    spot: Spot,
    size_bytes: u64,
    from: u32,
    to: u32,
    /// The lane of who allocated it; of an entry 0.
    lane: u16,
    /// Its call stack from 1; 0: not known. Of an entry: the life whose it is.
    of: u32,
}

/// How the pictures differ at a spot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum DifferenceKind {
    /// Live, and not shown.
    Missing = 0,
    /// Shown, and not live.
    Phantom = 1,
    /// Another buffer is live than is shown.
    Another = 2,
}

#[derive(Clone, Copy, Debug)]
struct Difference {
    kind: DifferenceKind,
    spot: Spot,
    size_bytes: u64,
    from: u32,
    to: u32,
    /// Whose message would end it.
    life: LifeNumber,
}

/// What is at a spot now.
#[derive(Debug, Default)]
struct SpotState {
    live: Option<(LifeNumber, u64)>,
    shown: SmallVec<[(LifeNumber, u64); 1]>,
    difference: Option<Difference>,
}

/// When the server took the messages of a life.
#[derive(Clone, Copy, Debug)]
struct TakenAt {
    start: u32,
    end: u32,
}

/// An entry of the server, as it is found again.
type EntryPlace = (Spot, Class);

/// The two pictures, event by event.
#[derive(Debug, Default)]
pub(crate) struct MemoryPictures {
    spaces: Vec<String>,
    /// The shape of each space's memory, where it is known: a buffer is spread over its banks.
    shapes: Vec<Option<MemoryGeometry>>,
    geometries: Option<Geometries>,
    space_ids: FxHashMap<(u32, i32, u8), u16>,
    /// Whether there is a truth to compare with, and whether there is a server.
    both: bool,
    open_lives: FxHashMap<LifeNumber, Rectangle>,
    lives: Kept,
    open_entries: FxHashMap<EntryPlace, Rectangle>,
    entries: Kept,
    spots: FxHashMap<Spot, SpotState>,
    differences: Vec<Difference>,
    taken: Vec<TakenAt>,
    pinned: FxHashSet<LifeNumber>,
    totals: TotalsOverTime,
    numbers: LifeNumber,
    entry_numbers: LifeNumber,
    dropped_differences: u64,
}

impl MemoryPictures {
    /// `both`: there are an allocator's truth and a server, and they can be compared.
    pub(crate) fn new(both: bool) -> MemoryPictures {
        MemoryPictures {
            both,
            entries: Kept {
                are_entries: true,
                ..Kept::default()
            },
            ..MemoryPictures::default()
        }
    }

    /// Of a record without truth: peaks are those of what the server shows.
    pub(crate) fn of_server() -> MemoryPictures {
        let mut pictures = MemoryPictures::new(false);
        pictures.totals.follow_entries();
        pictures
    }

    /// The space of a memory; `name` is asked for where it is new.
    pub(crate) fn space(
        &mut self,
        process: u32,
        device: i32,
        buffer_type: u8,
        name: impl FnOnce() -> String,
    ) -> u16 {
        let id = (process, device, buffer_type);
        if let Some(space) = self.space_ids.get(&id) {
            return *space;
        }
        if self.spaces.len() == MOST_SPACES {
            self.spaces[MOST_SPACES - 1] = "all others".to_owned();
            return MOST_SPACES as u16 - 1;
        }
        let space = self.spaces.len() as u16;
        self.spaces.push(name());
        let memory = Memory::from_buffer_type(buffer_type);
        let shape = (self.geometries)
            .zip(memory)
            .map(|(all, memory)| all[memory as usize]);
        self.shapes.push(shape);
        self.space_ids.insert(id, space);
        space
    }

    /// Of a run on devices of this shape.
    pub(crate) fn of_run(geometries: Geometries) -> MemoryPictures {
        MemoryPictures {
            geometries: Some(geometries),
            ..MemoryPictures::new(true)
        }
    }

    /// How many addresses a buffer takes: in each bank, where it is spread over several.
    fn reach(&self, spot: Spot, size_bytes: u64) -> u64 {
        let shape = self.shapes.get(usize::from(spot.space)).copied().flatten();
        shape.map_or(size_bytes, |shape| shape.share_bytes(size_bytes))
    }

    /// A buffer got an address.
    pub(crate) fn begin(
        &mut self,
        now: u32,
        spot: Spot,
        size_bytes: u64,
        lane: u16,
        stack: u32,
    ) -> LifeNumber {
        let number = self.stillborn();
        self.open_lives.insert(
            number,
            Rectangle {
                number,
                spot,
                size_bytes,
                from: now,
                to: NEVER,
                lane,
                of: stack,
            },
        );
        let reach = self.reach(spot, size_bytes);
        self.totals.begin_life(spot, size_bytes, reach);
        if let Some((earlier, _)) = self.spots.get(&spot).and_then(|state| state.live) {
            self.end(now, earlier);
        }
        let state = self.spots.entry(spot).or_default();
        state.live = Some((number, size_bytes));
        self.compare(now, spot);
        number
    }

    /// The number of a buffer that is never live, and that messages are about.
    pub(crate) fn stillborn(&mut self) -> LifeNumber {
        self.numbers += 1;
        self.taken.push(TakenAt {
            start: NEVER,
            end: NEVER,
        });
        self.numbers
    }

    /// A buffer's address was given back.
    pub(crate) fn end(&mut self, now: u32, life: LifeNumber) {
        let Some(rectangle) = self.open_lives.remove(&life) else {
            return;
        };
        let reach = self.reach(rectangle.spot, rectangle.size_bytes);
        (self.totals).end_life(rectangle.spot, rectangle.size_bytes, reach);
        self.lives.keep(
            Rectangle {
                to: now,
                ..rectangle
            },
            &self.pinned,
        );
        if let Some(state) = self.spots.get_mut(&rectangle.spot)
            && state.live.is_some_and(|(live, _)| live == life)
        {
            state.live = None;
        }
        self.compare(now, rectangle.spot);
    }

    /// The life that is at a spot now.
    pub(crate) fn live_at(&self, spot: Spot) -> Option<LifeNumber> {
        Some(self.spots.get(&spot)?.live?.0)
    }

    /// The server took a message about a life.
    pub(crate) fn took(&mut self, now: u32, life: LifeNumber, starts: bool) {
        let at = (life as usize).checked_sub(1);
        if let Some(taken) = at.and_then(|at| self.taken.get_mut(at)) {
            match starts {
                true if taken.start == NEVER => taken.start = now,
                false if taken.end == NEVER => taken.end = now,
                _ => {}
            }
        }
    }

    /// The server has an entry more.
    pub(crate) fn show(
        &mut self,
        now: u32,
        spot: Spot,
        class: Class,
        size_bytes: u64,
        life: LifeNumber,
    ) {
        self.hide(now, spot, class);
        self.entry_numbers += 1;
        self.open_entries.insert(
            (spot, class),
            Rectangle {
                number: self.entry_numbers,
                spot,
                size_bytes,
                from: now,
                to: NEVER,
                lane: 0,
                of: life,
            },
        );
        let reach = self.reach(spot, size_bytes);
        self.totals.begin_entry(spot, size_bytes, reach);
        let state = self.spots.entry(spot).or_default();
        state.shown.push((life, size_bytes));
        self.compare(now, spot);
    }

    /// The server has it no more; whose it was.
    pub(crate) fn hide(&mut self, now: u32, spot: Spot, class: Class) -> Option<LifeNumber> {
        let rectangle = self.open_entries.remove(&(spot, class))?;
        let reach = self.reach(spot, rectangle.size_bytes);
        self.totals.end_entry(spot, rectangle.size_bytes, reach);
        let entry = Rectangle {
            to: now,
            ..rectangle
        };
        self.entries.keep(entry, &self.pinned);
        if let Some(state) = self.spots.get_mut(&spot)
            && let Some(at) = (state.shown.iter()).position(|(life, _)| *life == rectangle.of)
        {
            state.shown.remove(at);
        }
        self.compare(now, spot);
        Some(rectangle.of)
    }

    /// Whose the entry at a spot is.
    pub(crate) fn shown_at(&self, spot: Spot, class: Class) -> Option<LifeNumber> {
        Some(self.open_entries.get(&(spot, class))?.of)
    }

    /// What this life did is shown in detail: its rectangle stays.
    pub(crate) fn pin(&mut self, life: LifeNumber) {
        if self.pinned.len() < MOST_RECTANGLES / 2 {
            self.pinned.insert(life);
        }
    }

    /// The next event begins.
    #[inline]
    pub(crate) fn tick(&mut self, now: u32) {
        self.totals.tick(now);
    }

    /// What the pictures differ in at a spot now.
    fn compare(&mut self, now: u32, spot: Spot) {
        if !self.both {
            let state = self.spots.get(&spot);
            if state.is_some_and(|state| state.live.is_none() && state.shown.is_empty()) {
                self.spots.remove(&spot);
            }
            return;
        }
        let Some(state) = self.spots.get_mut(&spot) else {
            return;
        };
        let differs = match (state.live, state.shown.as_slice()) {
            (None, []) => None,
            (Some((live, _)), [(shown, _)]) if live == *shown => None,
            (Some((live, size)), []) => Some((DifferenceKind::Missing, live, size)),
            (None, [(shown, size), ..]) => Some((DifferenceKind::Phantom, *shown, *size)),
            (Some(_), [(shown, size), ..]) => Some((DifferenceKind::Another, *shown, *size)),
        };
        let same = state.difference.is_some_and(|open| {
            differs.is_some_and(|(kind, life, _)| (open.kind, open.life) == (kind, life))
        });
        if same {
            return;
        }
        let open = differs.map(|(kind, life, size_bytes)| Difference {
            kind,
            spot,
            size_bytes,
            from: now,
            to: NEVER,
            life,
        });
        let ended = std::mem::replace(&mut state.difference, open);
        if state.live.is_none() && state.shown.is_empty() {
            self.spots.remove(&spot);
        }
        if let Some(ended) = ended.filter(|ended| ended.from < now) {
            self.differences.push(Difference { to: now, ..ended });
            self.forget_differences();
        }
    }

    /// Of too many differences those go that are known to have been on their way.
    fn forget_differences(&mut self) {
        if self.differences.len() < 2 * MOST_RECTANGLES {
            return;
        }
        let before = self.differences.len();
        let differences = std::mem::take(&mut self.differences);
        self.differences = differences
            .into_iter()
            .filter(|difference| !self.was_on_its_way(difference))
            .take(MOST_RECTANGLES)
            .collect();
        self.dropped_differences += (before - self.differences.len()) as u64;
    }

    fn was_on_its_way(&self, difference: &Difference) -> bool {
        let at = (difference.life as usize).checked_sub(1);
        let Some(taken) = at.and_then(|at| self.taken.get(at)) else {
            return false;
        };
        let by = |at: u32| at != NEVER && at >= difference.to;
        match difference.kind {
            DifferenceKind::Missing => {
                by(taken.start) || (taken.end != NEVER && taken.end <= difference.from)
            }
            DifferenceKind::Phantom | DifferenceKind::Another => by(taken.end),
        }
    }
}

/// Rectangles that have ended: the longest, where there are too many.
#[derive(Debug, Default)]
struct Kept {
    /// They are entries of the server, each of a life; else they are lives themselves.
    are_entries: bool,
    rectangles: Vec<Rectangle>,
    /// Shorter ones are not kept any more.
    least: u32,
    dropped: u64,
}

impl Kept {
    fn keep(&mut self, rectangle: Rectangle, pinned: &FxHashSet<LifeNumber>) {
        let are_entries = self.are_entries;
        let stays = |least: u32, rectangle: &Rectangle| {
            let life = match are_entries {
                true => rectangle.of,
                false => rectangle.number,
            };
            rectangle.to - rectangle.from >= least || pinned.contains(&life)
        };
        if !stays(self.least, &rectangle) {
            self.dropped += 1;
            return;
        }
        self.rectangles.push(rectangle);
        while self.rectangles.len() > MOST_RECTANGLES && self.least < NEVER / 2 {
            self.least = (2 * self.least).max(8);
            let (before, least) = (self.rectangles.len(), self.least);
            self.rectangles.retain(|rectangle| stays(least, rectangle));
            self.dropped += (before - self.rectangles.len()) as u64;
        }
    }

    fn finish(&mut self, open: Vec<Rectangle>) -> Vec<Rectangle> {
        let mut all = std::mem::take(&mut self.rectangles);
        all.extend(open);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPOT: Spot = Spot {
        space: 0,
        address: 0x1000,
    };

    fn differences(mut pictures: MemoryPictures) -> Vec<(DifferenceKind, u32, u32, bool)> {
        let open = pictures.spots.values().filter_map(|state| state.difference);
        let open: Vec<Difference> = open.collect();
        pictures.differences.extend(open);
        (pictures.differences.iter())
            .map(|d| (d.kind, d.from, d.to, pictures.was_on_its_way(d)))
            .collect()
    }

    #[test]
    fn what_its_own_message_ends_was_on_its_way() {
        let mut pictures = MemoryPictures::new(true);
        let life = pictures.begin(1, SPOT, 64, 0, 0);
        pictures.took(3, life, true);
        pictures.show(3, SPOT, Class::Plain, 64, life);
        pictures.end(5, life);
        pictures.took(8, life, false);
        pictures.hide(8, SPOT, Class::Plain);
        assert_eq!(
            differences(pictures),
            [
                (DifferenceKind::Missing, 1, 3, true),
                (DifferenceKind::Phantom, 5, 8, true)
            ]
        );
    }

    #[test]
    fn what_another_s_release_took_away_is_wrong() {
        let mut pictures = MemoryPictures::new(true);
        let first = pictures.begin(1, SPOT, 64, 0, 0);
        pictures.took(1, first, true);
        pictures.show(1, SPOT, Class::Plain, 64, first);
        pictures.end(2, first);
        let second = pictures.begin(3, SPOT, 64, 1, 0);
        pictures.took(4, second, true);
        pictures.show(4, SPOT, Class::Plain, 64, second);
        pictures.took(6, first, false);
        pictures.hide(6, SPOT, Class::Plain);
        assert_eq!(
            differences(pictures),
            [
                (DifferenceKind::Phantom, 2, 3, true),
                (DifferenceKind::Another, 3, 4, true),
                (DifferenceKind::Missing, 6, NEVER, false)
            ]
        );
    }

    #[test]
    fn of_too_many_lives_the_longest_stay() {
        let mut pictures = MemoryPictures::new(false);
        let spot = |address| Spot { space: 0, address };
        let long = pictures.begin(0, spot(1), 1, 0, 0);
        let ticks = 2 * MOST_RECTANGLES as u32;
        for now in 0..ticks {
            let life = pictures.begin(now, spot(2), 1, 0, 0);
            pictures.end(now + 1, life);
        }
        pictures.end(ticks, long);
        assert!(pictures.lives.rectangles.len() <= MOST_RECTANGLES);
        assert!(
            pictures
                .lives
                .rectangles
                .iter()
                .any(|life| life.number == long)
        );
        assert!(pictures.lives.dropped > 0);
    }
}
