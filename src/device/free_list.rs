//! The free list: heisenbed's own allocator, a stand-in for the one in the runtime under study.
//!
//! Its whole behaviour is one sentence: among the maximal free ranges that are long enough, take
//! the one that the [`Fit`] prefers (among equals, the first in the direction of the allocation),
//! and within it the end that the direction names. So an address is a function of the
//! configuration, the live blocks and the call, never of history, and two free lists with the same
//! configuration and live blocks are equal.
//!
//! Cost: a release is a binary search and a move of the blocks above; an allocation adds a linear
//! pass over the blocks, which ends early at a range that cannot be bettered. Not for millions of
//! live blocks.

use std::hash::{Hash, Hasher};
use std::hint::select_unpredictable;

use super::allocator::{AllocError, Block, DeviceAllocator, FreeError, Stats};
use super::blocks::{Blocks, FreeGap};
use super::config::{ADDRESS_LIMIT, AllocatorConfig, ConfigError, Direction, Fit, Policy, Space};

/// A best-fit, first-fit or segregated-fit allocator; see the [module](self) for its behaviour.
///
/// Its hash covers the live blocks only; equality covers the configuration too.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FreeList {
    space: Space,
    fit: Fit,
    direction: Direction,
    blocks: Blocks,
}

impl FreeList {
    /// A free list with nothing allocated. [`Policy::Range`], which names another allocator, is
    /// taken as the fit which that allocator has: best-fit.
    pub(crate) fn new(config: &AllocatorConfig) -> Result<FreeList, ConfigError> {
        let fit = match config.policy {
            Policy::BestFit | Policy::Range => Fit::Best,
            Policy::FirstFit => Fit::First,
            Policy::Segregated => Fit::Segregated,
        };
        let space = Space::new(config)?;
        Ok(FreeList {
            space,
            fit,
            direction: config.direction,
            blocks: Blocks::default(),
        })
    }

    /// The gap that the policy prefers for `reserved_bytes`.
    #[inline]
    fn find(&self, reserved_bytes: u64, direction: Direction) -> Option<FreeGap> {
        let index = match direction {
            Direction::BottomUp => {
                self.find_in(self.blocks.gap_lengths_up(&self.space), reserved_bytes)
            }
            Direction::TopDown => {
                let from_top =
                    self.find_in(self.blocks.gap_lengths_down(&self.space), reserved_bytes);
                from_top.map(|position| self.blocks.len() - position)
            }
        };
        index.map(|index| self.blocks.gap(&self.space, index))
    }

    #[inline]
    fn find_in(
        &self,
        mut lengths: impl Iterator<Item = u64>,
        reserved_bytes: u64,
    ) -> Option<usize> {
        match self.fit {
            Fit::First => lengths.position(|length_bytes| length_bytes >= reserved_bytes),
            // What would be left over; of a range that is too short this wraps around to a rank
            // beyond all others.
            Fit::Best => lowest_rank(lengths, 0, |length_bytes| {
                length_bytes.wrapping_sub(reserved_bytes)
            }),
            Fit::Segregated => lowest_rank(lengths, size_class(reserved_bytes), |length_bytes| {
                // Which lengths fit is as good as random: selecting is faster than branching.
                select_unpredictable(
                    length_bytes >= reserved_bytes,
                    size_class(length_bytes),
                    TOO_SHORT,
                )
            }),
        }
    }
}

impl Clone for FreeList {
    fn clone(&self) -> FreeList {
        FreeList {
            blocks: self.blocks.clone(),
            ..*self
        }
    }

    /// Keeps the memory that it has.
    fn clone_from(&mut self, source: &FreeList) {
        self.space = source.space;
        self.fit = source.fit;
        self.direction = source.direction;
        self.blocks.clone_from(&source.blocks);
    }
}

impl Hash for FreeList {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.blocks.hash(state);
    }
}

impl DeviceAllocator for FreeList {
    #[inline]
    fn allocate(&mut self, size_bytes: u64) -> Result<u64, AllocError> {
        self.allocate_towards(size_bytes, self.direction)
    }

    #[inline(always)]
    fn allocate_towards(
        &mut self,
        size_bytes: u64,
        direction: Direction,
    ) -> Result<u64, AllocError> {
        let found = self
            .space
            .reserved_bytes(size_bytes)
            .and_then(|reserved_bytes| {
                Some((reserved_bytes, self.find(reserved_bytes, direction)?))
            });
        let Some((reserved_bytes, gap)) = found else {
            return Err(self.blocks.exhausted(&self.space, size_bytes));
        };
        let address = match direction {
            Direction::BottomUp => gap.start,
            Direction::TopDown => gap.end - reserved_bytes,
        };
        self.blocks.insert(
            gap.index,
            Block {
                address,
                size_bytes: reserved_bytes,
            },
        );
        Ok(address)
    }

    fn allocate_at(&mut self, address: u64, size_bytes: u64) -> Result<u64, AllocError> {
        let block = self.space.block_at(address, size_bytes)?;
        let index = self.blocks.vacancy(block)?;
        self.blocks.insert(index, block);
        Ok(address)
    }

    #[inline]
    fn free(&mut self, address: u64) -> Result<Block, FreeError> {
        self.blocks.remove(address)
    }

    fn stats(&self) -> Stats {
        self.blocks.stats(&self.space)
    }

    fn live_blocks(&self, visit: &mut dyn FnMut(Block)) {
        self.blocks.iter().for_each(visit);
    }

    fn lookup(&self, address: u64) -> Option<Block> {
        self.blocks.lookup(address)
    }

    fn clear(&mut self) {
        self.blocks.clear();
    }
}

/// Ranks from here on are those of lengths that are too short.
const TOO_SHORT: u64 = ADDRESS_LIMIT + 1;

/// The position of the first length with the lowest rank below [`TOO_SHORT`]. A length with the
/// rank `ideal` cannot be bettered.
#[inline]
fn lowest_rank(
    lengths: impl Iterator<Item = u64>,
    ideal: u64,
    rank: impl Fn(u64) -> u64,
) -> Option<usize> {
    let (mut lowest, mut best) = (u64::MAX, 0);
    for (position, length_bytes) in lengths.enumerate() {
        let rank = rank(length_bytes);
        best = select_unpredictable(rank < lowest, position, best);
        lowest = lowest.min(rank);
        if rank == ideal {
            break;
        }
    }
    (lowest < TOO_SHORT).then_some(best)
}

/// The power-of-two class of a length: 0 for 0, 1 for 1, 2 for 2 and 3, 3 for 4 to 7…
#[inline]
fn size_class(length_bytes: u64) -> u64 {
    u64::from(u64::BITS - length_bytes.leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0..320 in units of 16, with free ranges of 48 at 16, 32 at 96, 32 at 160 and 96 at 224 (to
    /// the end).
    fn fragmented(policy: Policy) -> FreeList {
        let config = AllocatorConfig {
            policy,
            direction: Direction::BottomUp,
            alignment_bytes: 16,
            minimum_bytes: 16,
            base_address: 0,
            capacity_bytes: 320,
        };
        let mut list = FreeList::new(&config).expect("valid");
        for (address, size_bytes) in [(0, 16), (64, 32), (128, 32), (192, 32)] {
            list.allocate_at(address, size_bytes).expect("free");
        }
        list
    }

    fn places(policy: Policy, size_bytes: u64) -> (u64, u64) {
        let place = |direction| {
            fragmented(policy)
                .allocate_towards(size_bytes, direction)
                .expect("fits")
        };
        (place(Direction::BottomUp), place(Direction::TopDown))
    }

    #[test]
    fn best_fit_takes_the_smallest_range_and_breaks_ties_by_direction() {
        assert_eq!(places(Policy::BestFit, 32), (96, 160));
        assert_eq!(places(Policy::BestFit, 16), (96, 176));
        assert_eq!(places(Policy::BestFit, 48), (16, 16));
    }

    #[test]
    fn first_fit_takes_the_first_range_in_its_direction() {
        assert_eq!(places(Policy::FirstFit, 16), (16, 304));
        assert_eq!(places(Policy::FirstFit, 64), (224, 256));
    }

    #[test]
    fn segregated_fit_takes_the_first_range_of_the_lowest_class() {
        // 48 and 32 are of one class, 96 of the next.
        assert_eq!(places(Policy::Segregated, 32), (16, 160));
        assert_eq!(places(Policy::Segregated, 48), (16, 16));
    }

    #[test]
    fn neighbours_released_in_any_order_leave_one_range() {
        for order in [
            [0, 16, 32],
            [0, 32, 16],
            [16, 0, 32],
            [16, 32, 0],
            [32, 0, 16],
            [32, 16, 0],
        ] {
            let mut list = fragmented(Policy::BestFit);
            list.clear();
            let empty = list.clone();
            for address in [0, 16, 32] {
                assert_eq!(list.allocate(1), Ok(address));
            }
            for address in order {
                list.free(address).expect("live");
            }
            assert_eq!(list, empty);
            assert_eq!(list.stats().largest_free_bytes, 320);
            assert_eq!(list.allocate(320), Ok(0));
        }
    }
}
