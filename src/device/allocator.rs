//! The interface of device allocators: addresses out, addresses back, and figures about both.
//!
//! An allocator is pure data: it knows no threads, and every result is a function of its
//! configuration and of the set of live blocks. Not for the memory itself: nothing here is ever
//! read or written through.

use thiserror::Error;

use super::config::{AllocatorConfig, ConfigError, Direction, Policy};
use super::free_list::FreeList;
use super::range::RangeList;

/// Hands out addresses of one address space and takes them back.
///
/// Invariants of every implementation: live blocks lie in the space, are aligned, and never
/// overlap; no two live allocations share an address, not even those of size zero, which reserve
/// the minimum size; a call that fails changes nothing.
pub(crate) trait DeviceAllocator {
    /// Reserves `size_bytes` in the configured direction and returns the address.
    fn allocate(&mut self, size_bytes: u64) -> Result<u64, AllocError>;

    /// As [`allocate`](Self::allocate), from the end that `direction` names. An allocator without a
    /// notion of direction (its documentation says so) allocates as it always does.
    fn allocate_towards(
        &mut self,
        size_bytes: u64,
        direction: Direction,
    ) -> Result<u64, AllocError>;

    /// Reserves `size_bytes` at `address` and returns `address`.
    ///
    /// Checked in this order: alignment, range, overlap; it never reports exhaustion.
    fn allocate_at(&mut self, address: u64, size_bytes: u64) -> Result<u64, AllocError>;

    /// Takes back the block that starts at `address`.
    fn free(&mut self, address: u64) -> Result<Block, FreeError>;

    /// The figures of the moment.
    fn stats(&self) -> Stats;

    /// Visits the live blocks in ascending order of address.
    fn live_blocks(&self, visit: &mut dyn FnMut(Block));

    /// The live block that starts at `address`.
    fn lookup(&self, address: u64) -> Option<Block>;

    /// Forgets every live block.
    fn clear(&mut self);
}

/// A reserved range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Block {
    /// Its first address.
    pub(crate) address: u64,
    /// Its length as reserved: at least what was asked for, rounded up to minimum and alignment.
    pub(crate) size_bytes: u64,
}

impl Block {
    /// One past its last address.
    #[inline]
    pub(crate) fn end(&self) -> u64 {
        self.address + self.size_bytes
    }
}

/// How full an address space is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stats {
    /// Bytes reserved by live blocks.
    pub(crate) allocated_bytes: u64,
    /// Bytes not reserved; with the former, the capacity.
    pub(crate) free_bytes: u64,
    /// Length of the longest free range: the largest allocation that would succeed.
    pub(crate) largest_free_bytes: u64,
    /// Address of the lowest live block.
    pub(crate) lowest_occupied_address: Option<u64>,
}

/// Why an allocation failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum AllocError {
    /// No free range is long enough.
    #[error(
        "out of memory: {requested_bytes} bytes requested; allocated {} bytes, free {} bytes, largest free block {} \
         bytes, lowest occupied address {}",
        .stats.allocated_bytes, .stats.free_bytes, .stats.largest_free_bytes,
        OptionalAddress(.stats.lowest_occupied_address)
    )]
    Exhausted {
        /// The size as requested, before rounding.
        requested_bytes: u64,
        /// The figures at the failure.
        stats: Stats,
    },
    /// The wanted address is no multiple of the alignment.
    #[error("address {address:#x} is not a multiple of {alignment_bytes}")]
    Misaligned {
        /// The wanted address.
        address: u64,
        /// The alignment it breaks.
        alignment_bytes: u64,
    },
    /// The wanted range is not wholly inside the address space.
    #[error("{size_bytes} bytes at {address:#x} are outside {base_address:#x}..{end_address:#x}")]
    OutOfRange {
        /// The wanted address.
        address: u64,
        /// The size as requested, before rounding.
        size_bytes: u64,
        /// The lowest address of the space.
        base_address: u64,
        /// One past its highest address.
        end_address: u64,
    },
    /// The wanted range intersects a live block.
    #[error("{size_bytes} bytes at {address:#x} overlap the live block of {} bytes at {:#x}", .live.size_bytes, .live.address)]
    Overlap {
        /// The wanted address.
        address: u64,
        /// The size as reserved, after rounding.
        size_bytes: u64,
        /// The lowest live block that it intersects.
        live: Block,
    },
}

/// Why a release failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum FreeError {
    /// Nothing live covers the address.
    #[error("address {address:#x} is not allocated")]
    NotAllocated {
        /// The address that was to be released.
        address: u64,
    },
    /// The address lies inside a live block, not at its start.
    #[error("address {address:#x} is inside the live block of {} bytes at {:#x}, not its start", .live.size_bytes, .live.address)]
    InsideBlock {
        /// The address that was to be released.
        address: u64,
        /// The block around it.
        live: Block,
    },
}

/// Any of the allocators, chosen by [`Policy`] and dispatched without indirection.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) enum AnyAllocator {
    /// Our own free list.
    FreeList(FreeList),
    /// The third-party allocator; boxed so that it does not make the others larger.
    Range(Box<RangeList>),
}

impl AnyAllocator {
    /// The allocator that `config` describes, with nothing allocated.
    pub(crate) fn new(config: &AllocatorConfig) -> Result<AnyAllocator, ConfigError> {
        match config.policy {
            Policy::Range => RangeList::new(config)
                .map(Box::new)
                .map(AnyAllocator::Range),
            Policy::BestFit | Policy::FirstFit | Policy::Segregated => {
                FreeList::new(config).map(AnyAllocator::FreeList)
            }
        }
    }
}

impl Clone for AnyAllocator {
    fn clone(&self) -> AnyAllocator {
        match self {
            AnyAllocator::FreeList(inner) => AnyAllocator::FreeList(inner.clone()),
            AnyAllocator::Range(inner) => AnyAllocator::Range(inner.clone()),
        }
    }

    /// Keeps the memory that it has.
    fn clone_from(&mut self, source: &AnyAllocator) {
        match (self, source) {
            (AnyAllocator::FreeList(inner), AnyAllocator::FreeList(other)) => {
                inner.clone_from(other);
            }
            (other, source) => *other = source.clone(),
        }
    }
}

/// Calls the same method on whichever allocator it is.
macro_rules! dispatch {
    ($self:ident, $inner:ident => $call:expr) => {
        match $self {
            AnyAllocator::FreeList($inner) => $call,
            AnyAllocator::Range($inner) => $call,
        }
    };
}

impl DeviceAllocator for AnyAllocator {
    fn allocate(&mut self, size_bytes: u64) -> Result<u64, AllocError> {
        dispatch!(self, inner => inner.allocate(size_bytes))
    }

    #[inline]
    fn allocate_towards(
        &mut self,
        size_bytes: u64,
        direction: Direction,
    ) -> Result<u64, AllocError> {
        dispatch!(self, inner => inner.allocate_towards(size_bytes, direction))
    }

    fn allocate_at(&mut self, address: u64, size_bytes: u64) -> Result<u64, AllocError> {
        dispatch!(self, inner => inner.allocate_at(address, size_bytes))
    }

    #[inline]
    fn free(&mut self, address: u64) -> Result<Block, FreeError> {
        dispatch!(self, inner => inner.free(address))
    }

    fn stats(&self) -> Stats {
        dispatch!(self, inner => inner.stats())
    }

    fn live_blocks(&self, visit: &mut dyn FnMut(Block)) {
        dispatch!(self, inner => inner.live_blocks(visit))
    }

    fn lookup(&self, address: u64) -> Option<Block> {
        dispatch!(self, inner => inner.lookup(address))
    }

    fn clear(&mut self) {
        dispatch!(self, inner => inner.clear())
    }
}

/// An address or `none`, for error messages.
struct OptionalAddress(Option<u64>);

impl std::fmt::Display for OptionalAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(address) => write!(f, "{address:#x}"),
            None => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocator(policy: Policy) -> AnyAllocator {
        let config = AllocatorConfig {
            policy,
            direction: Direction::BottomUp,
            alignment_bytes: 16,
            minimum_bytes: 16,
            base_address: 64,
            capacity_bytes: 128,
        };
        AnyAllocator::new(&config).expect("valid")
    }

    #[test]
    fn every_policy_places_an_empty_space_from_its_base() {
        for policy in Policy::ALL {
            let mut allocator = allocator(policy);
            assert_eq!(allocator.allocate(1), Ok(64), "{policy:?}");
            assert_eq!(allocator.allocate(0), Ok(80), "{policy:?}");
            assert_eq!(
                allocator.free(64),
                Ok(Block {
                    address: 64,
                    size_bytes: 16
                }),
                "{policy:?}"
            );
            assert_eq!(
                allocator.lookup(80),
                Some(Block {
                    address: 80,
                    size_bytes: 16
                }),
                "{policy:?}"
            );
        }
    }

    #[test]
    fn exhaustion_names_the_request_and_every_figure() {
        for policy in Policy::ALL {
            let mut allocator = allocator(policy);
            allocator.allocate_at(96, 20).expect("free");
            let error = allocator.allocate(90).expect_err("too large");
            assert_eq!(
                error.to_string(),
                "out of memory: 90 bytes requested; allocated 32 bytes, free 96 bytes, largest free block 64 bytes, \
                 lowest occupied address 0x60"
            );
        }
    }

    #[test]
    fn releasing_what_is_not_live_is_an_error() {
        for policy in Policy::ALL {
            let mut allocator = allocator(policy);
            let live = Block {
                address: 64,
                size_bytes: 32,
            };
            assert_eq!(allocator.allocate(32), Ok(64));
            assert_eq!(
                allocator.free(80),
                Err(FreeError::InsideBlock { address: 80, live })
            );
            assert_eq!(
                allocator.free(96),
                Err(FreeError::NotAllocated { address: 96 })
            );
            assert_eq!(allocator.free(64), Ok(live));
            assert_eq!(
                allocator.free(64),
                Err(FreeError::NotAllocated { address: 64 })
            );
        }
    }

    #[test]
    fn a_wanted_address_is_refused_for_alignment_then_range_then_overlap() {
        for policy in Policy::ALL {
            let mut allocator = allocator(policy);
            assert_eq!(allocator.allocate_at(96, 32), Ok(96));
            let before = allocator.clone();
            assert!(matches!(
                allocator.allocate_at(7, 999),
                Err(AllocError::Misaligned { address: 7, .. })
            ));
            assert!(matches!(
                allocator.allocate_at(48, 32),
                Err(AllocError::OutOfRange { address: 48, .. })
            ));
            assert!(matches!(
                allocator.allocate_at(176, 17),
                Err(AllocError::OutOfRange { address: 176, .. })
            ));
            assert!(matches!(
                allocator.allocate_at(80, 17),
                Err(AllocError::Overlap { address: 80, .. })
            ));
            assert!(matches!(
                allocator.allocate_at(112, 1),
                Err(AllocError::Overlap { address: 112, .. })
            ));
            assert_eq!(allocator, before);
            assert_eq!(allocator.allocate_at(128, 64), Ok(128));
        }
    }
}
