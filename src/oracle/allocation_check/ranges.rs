//! The bytes that are live: an allocation of some of them is one of memory that is in use, whatever
//! its address.
//!
//! Not every source has them: a sharded buffer has its size spread over banks, a pool and what it
//! is cut into are both in some logs. What holds: once an overlap was found, a later one may go
//! unseen behind it; one that is found is there.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::Key;

/// Live buffers of every address space, by their first byte.
#[derive(Debug, Default)]
pub(super) struct LiveRanges {
    /// The byte after the last one, by the first.
    ends: FxHashMap<(u32, i32, u8), BTreeMap<u64, u64>>,
}

impl LiveRanges {
    /// A buffer is live now; whether it has bytes of one that was, and begins elsewhere.
    pub(super) fn allocated(&mut self, key: Key, size_bytes: u64) -> bool {
        let (space, start) = parts(key);
        let end = start.saturating_add(size_bytes);
        let ends = self.ends.entry(space).or_default();
        let inside = ends.range(start.saturating_add(1)..end.max(start.saturating_add(1)));
        let before = ends.range(..start).next_back();
        let overlaps = inside.into_iter().next().is_some()
            || size_bytes > 0 && before.is_some_and(|(_, end)| *end > start);
        if size_bytes > 0 {
            let last = ends.entry(start).or_default();
            *last = end.max(*last);
        }
        overlaps
    }

    /// None that begins there is live any more.
    pub(super) fn released(&mut self, key: Key) {
        let (space, start) = parts(key);
        if let Some(ends) = self.ends.get_mut(&space) {
            ends.remove(&start);
        }
    }
}

fn parts((process, device, buffer_type, address): Key) -> ((u32, i32, u8), u64) {
    ((process, device, buffer_type), address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(address: u64) -> Key {
        (0, 0, 1, address)
    }

    #[test]
    fn bytes_of_a_live_buffer_are_in_use_from_both_sides() {
        let mut ranges = LiveRanges::default();
        assert!(!ranges.allocated(at(100), 50));
        for (address, size_bytes, overlaps) in [
            (0, 100, false),
            (150, 1, false),
            (149, 1, true),
            (99, 2, true),
            (90, 100, true),
            (101, 0, false),
            (100, 50, false),
        ] {
            let mut ranges = LiveRanges::default();
            ranges.allocated(at(100), 50);
            let found = ranges.allocated(at(address), size_bytes);
            assert_eq!(found, overlaps, "{address} {size_bytes}");
        }
    }

    #[test]
    fn released_bytes_and_those_of_another_space_are_free() {
        let mut ranges = LiveRanges::default();
        ranges.allocated(at(100), 50);
        assert!(!ranges.allocated((0, 1, 1, 120), 5));
        ranges.released(at(100));
        assert!(!ranges.allocated(at(120), 5));
    }

    #[test]
    fn the_last_byte_there_is_wraps_around_to_nothing() {
        let mut ranges = LiveRanges::default();
        assert!(!ranges.allocated(at(u64::MAX - 1), 10));
        assert!(ranges.allocated(at(u64::MAX - 3), 3));
        assert!(!ranges.allocated(at(0), 10));
    }
}
