//! A third-party allocator, [`range_alloc::RangeAllocator`], behind the same trait.
//!
//! It shows that the testbed takes allocators that it did not write. The crate's type can neither
//! be cloned nor compared, and cannot reserve a given address; the wrapper keeps the live blocks
//! beside it and rebuilds it from them where needed. This is sound because the crate's choices
//! depend on its free ranges alone. Not for hot paths: it is there to be tested against.

use std::hash::{Hash, Hasher};

use range_alloc::RangeAllocator;

use super::allocator::{AllocError, Block, DeviceAllocator, FreeError, Stats};
use super::blocks::Blocks;
use super::config::{AllocatorConfig, ConfigError, Direction, Space};

/// Crate `range-alloc` as a [`DeviceAllocator`]: best-fit, bottom-up whatever direction is asked
/// for.
///
/// Invariant: `inner` is free exactly where `blocks` has gaps.
#[derive(Debug)]
pub(crate) struct RangeList {
    space: Space,
    blocks: Blocks,
    inner: RangeAllocator<u64>,
}

impl RangeList {
    /// A range allocator with nothing allocated; policy and direction of `config` play no part.
    pub(crate) fn new(config: &AllocatorConfig) -> Result<RangeList, ConfigError> {
        let space = Space::new(config)?;
        let inner = RangeAllocator::new(space.base()..space.end());
        Ok(RangeList {
            space,
            blocks: Blocks::default(),
            inner,
        })
    }
}

impl DeviceAllocator for RangeList {
    fn allocate(&mut self, size_bytes: u64) -> Result<u64, AllocError> {
        let allocated = self
            .space
            .reserved_bytes(size_bytes)
            .and_then(|reserved_bytes| {
                // Every block is a multiple of the alignment and so is the base: every free range
                // starts aligned.
                self.inner.allocate_range(reserved_bytes).ok()
            });
        let Some(range) = allocated else {
            return Err(self.blocks.exhausted(&self.space, size_bytes));
        };
        let block = Block {
            address: range.start,
            size_bytes: range.end - range.start,
        };
        let index = self
            .blocks
            .vacancy(block)
            .expect("free ranges are where no block is");
        self.blocks.insert(index, block);
        Ok(block.address)
    }

    fn allocate_towards(&mut self, size_bytes: u64, _: Direction) -> Result<u64, AllocError> {
        self.allocate(size_bytes)
    }

    fn allocate_at(&mut self, address: u64, size_bytes: u64) -> Result<u64, AllocError> {
        let block = self.space.block_at(address, size_bytes)?;
        let index = self.blocks.vacancy(block)?;
        self.blocks.insert(index, block);
        self.inner = rebuilt(&self.space, &self.blocks);
        Ok(address)
    }

    fn free(&mut self, address: u64) -> Result<Block, FreeError> {
        let block = self.blocks.remove(address)?;
        self.inner.free_range(block.address..block.end());
        Ok(block)
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
        self.inner.reset();
    }
}

impl Clone for RangeList {
    fn clone(&self) -> RangeList {
        let inner = rebuilt(&self.space, &self.blocks);
        RangeList {
            space: self.space,
            blocks: self.blocks.clone(),
            inner,
        }
    }
}

impl PartialEq for RangeList {
    fn eq(&self, other: &RangeList) -> bool {
        self.space == other.space && self.blocks == other.blocks
    }
}

impl Eq for RangeList {}

impl Hash for RangeList {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.blocks.hash(state);
    }
}

/// An allocator that is free exactly where `blocks` has gaps.
fn rebuilt(space: &Space, blocks: &Blocks) -> RangeAllocator<u64> {
    let mut inner = RangeAllocator::new(space.base()..space.end());
    inner
        .allocate_range(space.capacity_bytes())
        .expect("a new allocator has one free range, of its whole length");
    for gap in blocks.gaps(space).filter(|gap| gap.start < gap.end) {
        inner.free_range(gap.start..gap.end);
    }
    inner
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::config::Policy;

    #[test]
    fn a_clone_continues_as_the_original_does() {
        let config = AllocatorConfig {
            policy: Policy::Range,
            direction: Direction::BottomUp,
            alignment_bytes: 8,
            minimum_bytes: 8,
            base_address: 64,
            capacity_bytes: 256,
        };
        let mut original = RangeList::new(&config).expect("valid");
        let first = original.allocate(24).expect("fits");
        original.allocate(8).expect("fits");
        original.allocate_at(200, 40).expect("free");
        original.free(first).expect("live");
        let mut clone = original.clone();
        for size_bytes in [8, 100, 16, 80, 1] {
            assert_eq!(clone.allocate(size_bytes), original.allocate(size_bytes));
            assert_eq!(clone, original);
        }
    }
}
