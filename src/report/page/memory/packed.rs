//! The pictures as a page has them: columns, and what was left out.

use serde::Serialize;

use super::{Difference, MemoryPictures, NEVER, Rectangle, Spot};
use crate::report::page::columns::Column;
use crate::report::page::totals::{PackedTotals, Peak};

/// The packed pictures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PackedMemory {
    spaces: Vec<String>,
    pub(crate) has_truth: bool,
    pub(crate) has_server: bool,
    lives: PackedRectangles,
    entries: PackedRectangles,
    differences: PackedDifferences,
    totals: PackedTotals,
    /// Rectangles that were left out, the shortest ones.
    pub(crate) left_out: u64,
    /// Differences that were not on their way.
    pub(crate) wrong: u64,
}

impl PackedMemory {
    /// The names of the spaces.
    pub(crate) fn spaces(&self) -> &[String] {
        &self.spaces
    }

    /// The peak of all spaces together, and of each.
    pub(crate) fn peaks(&self) -> impl Iterator<Item = (&str, Peak)> {
        let several = self.totals.peaks.len() > 1;
        let all = several.then_some(("all", self.totals.peak));
        let each = self.spaces.iter().map(String::as_str);
        all.into_iter()
            .chain(each.zip(self.totals.peaks.iter().copied()))
    }
}

#[derive(Clone, Debug, Serialize)]
struct PackedRectangles {
    number: Column,
    space: Column,
    address: Column,
    size: Column,
    reach: Column,
    from: Column,
    to: Column,
    lane: Column,
    of: Column,
}

#[derive(Clone, Debug, Serialize)]
struct PackedDifferences {
    kind: Column,
    on_its_way: Column,
    space: Column,
    address: Column,
    size: Column,
    reach: Column,
    from: Column,
    to: Column,
    life: Column,
}

impl MemoryPictures {
    /// The record has ended: packs it.
    pub(crate) fn pack(mut self, end: u32, has_truth: bool, has_server: bool) -> PackedMemory {
        let open: Vec<Difference> = (self.spots.values())
            .filter_map(|state| state.difference)
            .map(|difference| Difference {
                to: NEVER,
                ..difference
            })
            .collect();
        self.differences.extend(open);
        let mut lives = self.lives.finish(self.open_lives.into_values().collect());
        lives.sort_unstable_by_key(|life| life.number);
        let mut entries = (self.entries).finish(self.open_entries.into_values().collect());
        entries.sort_unstable_by_key(|entry| entry.number);
        let mut differences = std::mem::take(&mut self.differences);
        differences.sort_unstable_by_key(|d| (d.from, d.spot, d.kind as u8));
        let taken = MemoryPictures {
            taken: self.taken,
            shapes: self.shapes,
            ..MemoryPictures::default()
        };
        let reach = |spot: Spot, size: u64| taken.reach(spot, size);
        let ways: Vec<u8> = differences
            .iter()
            .map(|difference| u8::from(taken.was_on_its_way(difference)))
            .collect();
        PackedMemory {
            spaces: self.spaces,
            has_truth,
            has_server,
            wrong: ways.iter().filter(|way| **way == 0).count() as u64,
            left_out: self.lives.dropped + self.entries.dropped + self.dropped_differences,
            lives: pack_rectangles(&lives, reach),
            entries: pack_rectangles(&entries, reach),
            differences: pack_differences(&differences, &ways, reach),
            totals: self.totals.pack(end),
        }
    }
}

fn pack_rectangles(all: &[Rectangle], reach: impl Fn(Spot, u64) -> u64) -> PackedRectangles {
    let places: Vec<_> = all.iter().map(|one| (one.spot, one.size_bytes)).collect();
    let [space, address, size, reach] = pack_places(&places, reach);
    PackedRectangles {
        number: Column::deltas(all.iter().map(|one| u64::from(one.number))),
        space,
        address,
        size,
        reach,
        from: Column::deltas(all.iter().map(|one| u64::from(one.from))),
        to: Column::deltas(all.iter().map(|one| u64::from(one.to))),
        lane: Column::shorts(&all.iter().map(|one| one.lane).collect::<Vec<_>>()),
        of: Column::words(&all.iter().map(|one| one.of).collect::<Vec<_>>()),
    }
}

fn pack_differences(
    all: &[Difference],
    ways: &[u8],
    reach: impl Fn(Spot, u64) -> u64,
) -> PackedDifferences {
    let places: Vec<_> = all.iter().map(|one| (one.spot, one.size_bytes)).collect();
    let [space, address, size, reach] = pack_places(&places, reach);
    let kinds: Vec<u8> = all.iter().map(|one| one.kind as u8).collect();
    PackedDifferences {
        kind: Column::bytes(&kinds),
        on_its_way: Column::bytes(ways),
        space,
        address,
        size,
        reach,
        from: Column::deltas(all.iter().map(|one| u64::from(one.from))),
        to: Column::deltas(all.iter().map(|one| u64::from(one.to))),
        life: Column::words(&all.iter().map(|one| one.life).collect::<Vec<_>>()),
    }
}

/// Of what lies at these spots with these sizes: space, address, size and reach.
fn pack_places(places: &[(Spot, u64)], reach: impl Fn(Spot, u64) -> u64) -> [Column; 4] {
    let longs = |of: &dyn Fn(&(Spot, u64)) -> u64| {
        Column::longs(&places.iter().map(of).collect::<Vec<_>>())
    };
    let spaces: Vec<_> = places.iter().map(|(spot, _)| spot.space).collect();
    [
        Column::shorts(&spaces),
        longs(&|(spot, _)| spot.address),
        longs(&|(_, size)| *size),
        longs(&|(spot, size)| reach(*spot, *size)),
    ]
}
