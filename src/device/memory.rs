//! A device: its memories, each a set of equal banks with one allocator, and the version that
//! orders what happens to them.
//!
//! A buffer's pages are spread round-robin over all banks of its memory, and the buffer has the
//! same address in each of them: the offset of its share of pages. So one allocator, with the
//! capacity of one bank, serves a whole memory.
//!
//! Versions count attempts, whatever their outcome, and are history, not state: two devices with
//! the same live blocks behave alike whatever their versions. Therefore equality and hash of a
//! [`Device`] leave versions and generations out; who needs them compares [`Device::version`] and
//! [`Device::generation`].

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::allocator::{AllocError, AnyAllocator, Block, DeviceAllocator, FreeError};
use super::config::{AllocatorConfig, ConfigError, Direction, Policy};
use super::{DeviceId, Memory};
use crate::planted::Planted;

/// The shape of one memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MemoryGeometry {
    /// Number of banks; not zero.
    pub(crate) banks: u32,
    /// Bytes that the allocator manages in each bank.
    pub(crate) bank_bytes: u64,
    /// The offset in each bank of the first byte that the allocator manages.
    pub(crate) base_address: u64,
    /// Alignment and least size of a buffer's share in each bank.
    pub(crate) alignment_bytes: u64,
    /// The unit in which buffers are spread over the banks; not zero.
    pub(crate) page_bytes: u64,
}

impl MemoryGeometry {
    /// A buffer's share of each bank, before the allocator aligns it: its pages dealt out evenly,
    /// rounded up. Saturates where that exceeds every memory.
    #[inline]
    pub(crate) fn share_bytes(&self, size_bytes: u64) -> u64 {
        // Most buffers have at most one page in each bank: no need to divide.
        let row_bytes = self.page_bytes.saturating_mul(u64::from(self.banks));
        if size_bytes <= row_bytes {
            return if size_bytes == 0 { 0 } else { self.page_bytes };
        }
        let pages = size_bytes.div_ceil(self.page_bytes);
        pages
            .div_ceil(u64::from(self.banks))
            .saturating_mul(self.page_bytes)
    }
}

/// The shape of each memory, in the order of [`Memory::ALL`].
pub(crate) type Geometries = [MemoryGeometry; 4];

/// What an allocation on a device returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Allocation {
    /// The buffer's offset in each bank.
    pub(crate) address: u64,
    /// The size as asked for, over all banks.
    pub(crate) size_bytes: u64,
    /// The device's version at this allocation: which life of the address this is. Never 0.
    pub(crate) generation: u64,
}

/// What a release on a device returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Release {
    /// What was reserved in each bank.
    pub(crate) block: Block,
    /// The generation of the allocation that was released.
    pub(crate) generation: u64,
}

/// One device's memories. See the [module](self) on equality.
#[derive(Debug)]
pub(crate) struct Device {
    id: DeviceId,
    /// Shared by clones: a model checker clones devices all the time.
    geometries: Arc<Geometries>,
    allocators: [AnyAllocator; 4],
    /// Attempts so far.
    version: u64,
    /// Of every live block, its generation. Ascending by memory and address.
    generations: Vec<((Memory, u64), u64)>,
    planted: Option<Planted>,
}

impl Device {
    /// A device with nothing allocated, at version 0; every memory uses `policy`.
    pub(crate) fn new(
        id: DeviceId,
        geometries: &Geometries,
        policy: Policy,
    ) -> Result<Device, ConfigError> {
        let allocator = |memory: Memory| {
            let geometry = geometries[memory as usize];
            let MemoryGeometry {
                banks, page_bytes, ..
            } = geometry;
            if banks == 0 || page_bytes == 0 {
                return Err(ConfigError::Geometry { banks, page_bytes });
            }
            AnyAllocator::new(&AllocatorConfig {
                policy,
                direction: Direction::BottomUp,
                alignment_bytes: geometry.alignment_bytes,
                minimum_bytes: geometry.alignment_bytes,
                base_address: geometry.base_address,
                capacity_bytes: geometry.bank_bytes,
            })
        };
        let [dram, l1, l1_small, trace] = Memory::ALL;
        let allocators = [
            allocator(dram)?,
            allocator(l1)?,
            allocator(l1_small)?,
            allocator(trace)?,
        ];
        Ok(Device {
            id,
            geometries: Arc::new(*geometries),
            allocators,
            version: 0,
            generations: Vec::new(),
            planted: None,
        })
    }

    /// The same with a mistake of its own; see [`crate::planted`].
    pub(crate) fn with_planted(self, planted: Option<Planted>) -> Device {
        Device { planted, ..self }
    }

    /// Allocates a buffer of `size_bytes` over the banks of `memory`. Bumps the version, also on
    /// failure.
    ///
    /// In the error, sizes are those of one bank.
    #[inline]
    pub(crate) fn allocate(
        &mut self,
        memory: Memory,
        size_bytes: u64,
        direction: Direction,
    ) -> Result<Allocation, AllocError> {
        self.version += 1;
        if self.planted.is_some()
            && let Some(address) = self.allocate_wrongly(memory, size_bytes)
        {
            return Ok(self.remember(memory, address, size_bytes));
        }
        let share_bytes = self.geometries[memory as usize].share_bytes(size_bytes);
        let address = self.allocators[memory as usize].allocate_towards(share_bytes, direction)?;
        Ok(self.remember(memory, address, size_bytes))
    }

    /// Releases the buffer at `address` of `memory`. Bumps the version, also on failure.
    #[inline]
    pub(crate) fn free(&mut self, memory: Memory, address: u64) -> Result<Release, FreeError> {
        self.version += 1;
        if let Some(planted) = self.planted {
            return self.free_wrongly(planted, memory, address);
        }
        let block = self.allocators[memory as usize].free(address)?;
        let index = self
            .position(memory, address)
            .expect("every live block has a generation");
        let (_, generation) = self.generations.remove(index);
        Ok(Release { block, generation })
    }

    /// Back to version 0, with nothing allocated.
    pub(crate) fn reset(&mut self) {
        if !self.generations.is_empty() || self.planted.is_some() {
            self.allocators.iter_mut().for_each(DeviceAllocator::clear);
            self.generations.clear();
        }
        self.version = 0;
    }

    /// How many blocks are live, in all memories.
    #[inline]
    pub(crate) fn live(&self) -> usize {
        self.generations.len()
    }

    /// Bumps the version for a touch that is neither: its mutex was taken or released by a
    /// discipline. The version.
    #[inline]
    pub(crate) fn touch(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Which device it is.
    pub(crate) fn id(&self) -> DeviceId {
        self.id
    }

    /// Attempts to allocate or free so far; right after an attempt, that attempt's own number, from
    /// 1.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The generation of the block that is live at `address` of `memory`.
    #[inline]
    pub(crate) fn generation(&self, memory: Memory, address: u64) -> Option<u64> {
        self.position(memory, address)
            .ok()
            .map(|index| self.generations[index].1)
    }

    /// Visits the live blocks of `memory` in ascending order of address.
    pub(crate) fn live_blocks(&self, memory: Memory, visit: &mut dyn FnMut(Block)) {
        self.allocators[memory as usize].live_blocks(visit);
    }

    /// The address of a request that a planted mistake takes for one of nothing: one unit does not
    /// fill an allocator's unit, and is rounded the wrong way. All of them get the first address of
    /// the memory, whether it is live or not.
    #[cold]
    fn allocate_wrongly(&mut self, memory: Memory, size_bytes: u64) -> Option<u64> {
        let geometry = self.geometries[memory as usize];
        let shares =
            self.planted == Some(Planted::SharedZeroSize) && size_bytes < geometry.alignment_bytes;
        let address = geometry.base_address;
        // Where it is live already, nothing is reserved a second time.
        shares.then(|| {
            let _ = self.allocators[memory as usize].allocate_at(address, 1);
            address
        })
    }

    /// A release by an allocator that makes a planted mistake: what it answers is the truth about
    /// lives, what it keeps reserved is not.
    #[cold]
    fn free_wrongly(
        &mut self,
        planted: Planted,
        memory: Memory,
        address: u64,
    ) -> Result<Release, FreeError> {
        let allocator = &mut self.allocators[memory as usize];
        let block = allocator.free(address);
        if planted == Planted::GreedyCoalescing
            && let Ok(block) = &block
        {
            let _ = allocator.free(block.end());
        }
        let index = self
            .position(memory, address)
            .map_err(|_| FreeError::NotAllocated { address })?;
        let (_, generation) = self.generations.remove(index);
        let nothing = Block {
            address,
            size_bytes: 0,
        };
        Ok(Release {
            block: block.unwrap_or(nothing),
            generation,
        })
    }

    /// Writes down the generation of the block just allocated.
    #[inline]
    fn remember(&mut self, memory: Memory, address: u64, size_bytes: u64) -> Allocation {
        let generation = self.version;
        match self.position(memory, address) {
            Err(index) => self
                .generations
                .insert(index, ((memory, address), generation)),
            Ok(index) => {
                assert!(
                    self.planted.is_some(),
                    "a live address is not handed out again"
                );
                self.generations[index].1 = generation;
            }
        }
        Allocation {
            address,
            size_bytes,
            generation,
        }
    }

    #[inline]
    fn position(&self, memory: Memory, address: u64) -> Result<usize, usize> {
        self.generations
            .binary_search_by_key(&(memory, address), |&(key, _)| key)
    }
}

impl Clone for Device {
    fn clone(&self) -> Device {
        Device {
            id: self.id,
            geometries: Arc::clone(&self.geometries),
            allocators: self.allocators.clone(),
            version: self.version,
            generations: self.generations.clone(),
            planted: self.planted,
        }
    }

    /// Keeps the memory that it has: a search clones devices all the time.
    fn clone_from(&mut self, source: &Device) {
        self.id = source.id;
        self.geometries.clone_from(&source.geometries);
        self.allocators.clone_from(&source.allocators);
        self.version = source.version;
        self.generations.clone_from(&source.generations);
        self.planted = source.planted;
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Device) -> bool {
        self.id == other.id
            && self.geometries == other.geometries
            && self.allocators == other.allocators
    }
}

impl Eq for Device {}

impl Hash for Device {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
        self.allocators.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    const GEOMETRY: MemoryGeometry = MemoryGeometry {
        banks: 3,
        bank_bytes: 256,
        base_address: 32,
        alignment_bytes: 32,
        page_bytes: 20,
    };

    fn device() -> Device {
        Device::new(DeviceId(0), &[GEOMETRY; 4], Policy::BestFit).expect("valid")
    }

    #[test]
    fn a_share_is_the_pages_of_the_fullest_bank() {
        let shares =
            [0, 1, 20, 60, 61, 120, 121].map(|size_bytes| GEOMETRY.share_bytes(size_bytes));
        assert_eq!(shares, [0, 20, 20, 20, 40, 40, 60]);
        assert!(GEOMETRY.share_bytes(u64::MAX) > GEOMETRY.bank_bytes);
    }

    #[test]
    fn a_memory_without_banks_or_pages_is_refused() {
        for broken in [
            MemoryGeometry {
                banks: 0,
                ..GEOMETRY
            },
            MemoryGeometry {
                page_bytes: 0,
                ..GEOMETRY
            },
        ] {
            let mut geometries = [GEOMETRY; 4];
            geometries[Memory::Trace as usize] = broken;
            let error =
                Device::new(DeviceId(0), &geometries, Policy::BestFit).expect_err("holds nothing");
            assert!(matches!(error, ConfigError::Geometry { .. }));
        }
    }

    #[test]
    fn a_buffer_reserves_its_aligned_share_in_each_bank() {
        let mut device = device();
        let first = device
            .allocate(Memory::L1, 100, Direction::BottomUp)
            .expect("fits");
        let second = device
            .allocate(Memory::L1, 100, Direction::TopDown)
            .expect("fits");
        assert_eq!((first.address, first.size_bytes), (32, 100));
        assert_eq!(second.address, 32 + 256 - 64);
        assert_eq!(
            device.allocators[Memory::L1 as usize]
                .stats()
                .allocated_bytes,
            128
        );
    }

    #[test]
    fn memories_are_separate_address_spaces() {
        let mut device = device();
        for (memory, generation) in Memory::ALL.into_iter().zip(1..) {
            let allocation = device
                .allocate(memory, 1, Direction::BottomUp)
                .expect("fits");
            assert_eq!(
                allocation,
                Allocation {
                    address: 32,
                    size_bytes: 1,
                    generation
                }
            );
        }
        assert_eq!(device.free(Memory::L1, 32).expect("live").generation, 2);
        assert_eq!(device.generation(Memory::L1, 32), None);
        assert_eq!(device.generation(Memory::Trace, 32), Some(4));
    }

    #[test]
    fn every_attempt_bumps_the_version_and_a_release_returns_its_generation() {
        let mut device = device();
        let first = device
            .allocate(Memory::Dram, 1, Direction::BottomUp)
            .expect("fits");
        device
            .allocate(Memory::Dram, u64::MAX, Direction::BottomUp)
            .expect_err("too large");
        device.free(Memory::Dram, 999).expect_err("not live");
        let second = device
            .allocate(Memory::Dram, 1, Direction::BottomUp)
            .expect("fits");
        assert_eq!(
            (first.generation, second.generation, device.version()),
            (1, 4, 4)
        );
        assert_eq!(
            device
                .free(Memory::Dram, 32)
                .map(|release| release.generation),
            Ok(1)
        );
        let third = device
            .allocate(Memory::Dram, 1, Direction::BottomUp)
            .expect("fits");
        assert_eq!((third.address, third.generation), (32, 6));
    }

    #[test]
    fn equality_and_hash_leave_versions_out() {
        let hasher = RandomState::new();
        let (mut long, mut short) = (device(), device());
        long.free(Memory::Dram, 32).expect_err("not live");
        for device in [&mut long, &mut short] {
            device
                .allocate(Memory::Dram, 1, Direction::BottomUp)
                .expect("fits");
        }
        assert_ne!(long.version(), short.version());
        assert_eq!(long, short);
        assert_eq!(hasher.hash_one(&long), hasher.hash_one(&short));
        short.free(Memory::Dram, 32).expect("live");
        assert_ne!(long, short);
    }
}
