//! The live blocks of one address space, in order of address: the state that all allocators share.
//!
//! Free ranges are not stored but derived: they are what lies between neighbours. So there is
//! nothing to coalesce, and two lists with the same live blocks are equal whatever led to them. A
//! sorted vector was chosen for the sizes at hand: up to some thousand blocks for a stress run,
//! fewer than ten for the model checker, which clones and hashes it all the time.

use super::allocator::{AllocError, Block, FreeError, Stats};
use super::config::Space;

/// Disjoint blocks inside a space, ascending. Which space it is, every call is told anew.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Blocks {
    ascending: Vec<Block>,
}

impl Clone for Blocks {
    fn clone(&self) -> Blocks {
        Blocks {
            ascending: self.ascending.clone(),
        }
    }

    /// Keeps the memory that it has.
    fn clone_from(&mut self, source: &Blocks) {
        self.ascending.clone_from(&source.ascending);
    }
}

/// A maximal free range: what lies before the block of the same index, or after the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FreeGap {
    /// Where a block in this gap goes in the list.
    pub(crate) index: usize,
    pub(crate) start: u64,
    /// Not below `start`, and equal to it between neighbours that touch.
    pub(crate) end: u64,
}

impl Blocks {
    /// Number of blocks; there is one gap more.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.ascending.len()
    }

    /// The gap before the block with that index, or after the last one.
    #[inline]
    pub(crate) fn gap(&self, space: &Space, index: usize) -> FreeGap {
        let start = if index == 0 {
            space.base()
        } else {
            self.ascending[index - 1].end()
        };
        let end = self
            .ascending
            .get(index)
            .map_or(space.end(), |next| next.address);
        FreeGap { index, start, end }
    }

    /// The gaps, ascending, including empty ones.
    pub(crate) fn gaps(&self, space: &Space) -> impl Iterator<Item = FreeGap> {
        (0..=self.len()).map(|index| self.gap(space, index))
    }

    /// The lengths in bytes of the gaps, ascending, including empty ones.
    #[inline]
    pub(crate) fn gap_lengths_up(&self, space: &Space) -> impl Iterator<Item = u64> {
        let mut start = space.base();
        let top = Block {
            address: space.end(),
            size_bytes: 0,
        };
        self.ascending
            .iter()
            .copied()
            .chain([top])
            .map(move |next| {
                let length_bytes = next.address - start;
                start = next.end();
                length_bytes
            })
    }

    /// The lengths in bytes of the gaps, descending, including empty ones.
    #[inline]
    pub(crate) fn gap_lengths_down(&self, space: &Space) -> impl Iterator<Item = u64> {
        let mut end = space.end();
        let bottom = Block {
            address: space.base(),
            size_bytes: 0,
        };
        self.ascending
            .iter()
            .rev()
            .copied()
            .chain([bottom])
            .map(move |previous| {
                let length_bytes = end - previous.end();
                end = previous.address;
                length_bytes
            })
    }

    /// The index at which `block` can be inserted, or why it cannot be.
    pub(crate) fn vacancy(&self, block: Block) -> Result<usize, AllocError> {
        let index = self
            .ascending
            .partition_point(|live| live.end() <= block.address);
        match self.ascending.get(index) {
            Some(&live) if live.address < block.end() => Err(AllocError::Overlap {
                address: block.address,
                size_bytes: block.size_bytes,
                live,
            }),
            _ => Ok(index),
        }
    }

    /// Inserts `block` at the index that [`gaps`](Self::gaps) or [`vacancy`](Self::vacancy) gave.
    #[inline]
    pub(crate) fn insert(&mut self, index: usize, block: Block) {
        debug_assert!(index == 0 || self.ascending[index - 1].end() <= block.address);
        debug_assert!(
            self.ascending
                .get(index)
                .is_none_or(|next| block.end() <= next.address)
        );
        self.ascending.insert(index, block);
    }

    /// Takes out the block that starts at `address`.
    #[inline]
    pub(crate) fn remove(&mut self, address: u64) -> Result<Block, FreeError> {
        match self
            .ascending
            .binary_search_by_key(&address, |live| live.address)
        {
            Ok(index) => Ok(self.ascending.remove(index)),
            Err(index) => {
                let before = index.checked_sub(1).map(|index| self.ascending[index]);
                Err(match before {
                    Some(live) if live.end() > address => FreeError::InsideBlock { address, live },
                    _ => FreeError::NotAllocated { address },
                })
            }
        }
    }

    /// The block that starts at `address`.
    pub(crate) fn lookup(&self, address: u64) -> Option<Block> {
        let index = self
            .ascending
            .binary_search_by_key(&address, |live| live.address)
            .ok()?;
        Some(self.ascending[index])
    }

    /// The blocks, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Block> {
        self.ascending.iter().copied()
    }

    /// Forgets all blocks.
    pub(crate) fn clear(&mut self) {
        self.ascending.clear();
    }

    /// The figures, by one pass over the blocks.
    pub(crate) fn stats(&self, space: &Space) -> Stats {
        let allocated_bytes = self.ascending.iter().map(|live| live.size_bytes).sum();
        Stats {
            allocated_bytes,
            free_bytes: space.capacity_bytes() - allocated_bytes,
            largest_free_bytes: self
                .gaps(space)
                .map(|gap| gap.end - gap.start)
                .max()
                .unwrap_or(0),
            lowest_occupied_address: self.ascending.first().map(|live| live.address),
        }
    }

    /// The error of an allocation that found no gap.
    #[cold]
    pub(crate) fn exhausted(&self, space: &Space, requested_bytes: u64) -> AllocError {
        AllocError::Exhausted {
            requested_bytes,
            stats: self.stats(space),
        }
    }
}
