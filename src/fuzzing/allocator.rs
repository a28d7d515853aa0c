//! Arbitrary calls to every allocator and to a naive model: an unordered list of live ranges,
//! scanned for everything.
//!
//! For the free list the model predicts each address, figure and error. Of the third-party
//! allocator it takes the address as given and checks that it is free, in range and aligned; all
//! else it predicts too.
//!
//! Input: one byte for the configuration, then calls, drawn by [`arbitrary`].

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use arbitrary::{Arbitrary, Unstructured};

use crate::device::{
    AllocError, AllocatorConfig, AnyAllocator, Block, DeviceAllocator, Direction, FreeError,
    Policy, Stats,
};

/// The model scans; longer inputs only take longer.
const MAX_OPS: usize = 256;

/// Runs the target.
pub fn run(bytes: &[u8]) {
    let Some((config, ops)) = parts(bytes) else {
        return;
    };
    let mut pair = Pair::new(config);
    for (index, op) in ops.iter().take(MAX_OPS).enumerate() {
        if let Err(error) = pair.apply(op) {
            panic!("op {index} {op:?}, {config:?}: {error}");
        }
    }
    pair.check_canonical(&mut |count| count / 2);
}

/// The configuration, and the calls.
pub(crate) fn decode(bytes: &[u8]) -> String {
    let Some((config, ops)) = parts(bytes) else {
        return String::new();
    };
    let calls = ops.iter().take(MAX_OPS).map(|op| format!("{op:?}\n"));
    format!("{config:?}\n{}", calls.collect::<String>())
}

fn parts(bytes: &[u8]) -> Option<(AllocatorConfig, Vec<AllocatorOp>)> {
    let (&config, bytes) = bytes.split_first()?;
    let configs = configs();
    let config = configs[usize::from(config) % configs.len()];
    let ops = <Vec<AllocatorOp>>::arbitrary_take_rest(Unstructured::new(bytes)).ok()?;
    Some((config, ops))
}

/// Every policy × direction × alignment, each with and without a minimum above the alignment and a
/// base.
pub fn configs() -> Vec<AllocatorConfig> {
    let mut configs = Vec::new();
    for policy in Policy::ALL {
        for direction in [Direction::BottomUp, Direction::TopDown] {
            for alignment_bytes in [1, 8, 32] {
                for (minimum_bytes, base_address) in
                    [(0, 0), (alignment_bytes + 1, 5 * alignment_bytes)]
                {
                    let capacity_bytes = 40 * alignment_bytes;
                    configs.push(AllocatorConfig {
                        policy,
                        direction,
                        alignment_bytes,
                        minimum_bytes,
                        base_address,
                        capacity_bytes,
                    });
                }
            }
        }
    }
    configs
}

/// A call; sizes and addresses are made for spaces of some hundred bytes.
#[derive(Clone, Debug)]
pub enum AllocatorOp {
    /// In the configured direction.
    Allocate(u64),
    /// In a direction of its own.
    AllocateTowards(u64, Direction),
    /// At an address, so many bytes.
    AllocateAt(u64, u64),
    /// Of the live block with this index, modulo their number.
    FreeLive(usize),
    /// At an address, live or not.
    Free(u64),
    /// All that is live.
    Clear,
}

impl<'a> Arbitrary<'a> for AllocatorOp {
    /// Small numbers mostly: spaces have some hundred bytes.
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<AllocatorOp> {
        let kind = u8::arbitrary(u)?;
        let number = |u: &mut Unstructured<'a>| match u8::arbitrary(u)? {
            255 => u64::arbitrary(u),
            small if small % 8 == 7 => Ok(u64::from(u16::arbitrary(u)?)),
            small => Ok(u64::from(small)),
        };
        Ok(match kind % 16 {
            0..5 => AllocatorOp::Allocate(number(u)?),
            5..8 => AllocatorOp::AllocateTowards(number(u)?, Direction::arbitrary(u)?),
            8..10 => AllocatorOp::AllocateAt(number(u)?, number(u)?),
            10..14 => AllocatorOp::FreeLive(usize::from(u8::arbitrary(u)?)),
            14 => AllocatorOp::Free(number(u)?),
            _ if kind == u8::MAX => AllocatorOp::Clear,
            _ => AllocatorOp::AllocateAt(8 * number(u)?.min(1 << 60), number(u)?),
        })
    }
}

/// An allocator and the model of it.
#[derive(Clone, Debug)]
pub struct Pair {
    subject: AnyAllocator,
    model: Model,
}

impl Pair {
    /// Nothing allocated, under one of [`configs`].
    pub fn new(config: AllocatorConfig) -> Pair {
        let subject = AnyAllocator::new(&config).expect("the configurations are valid");
        Pair {
            subject,
            model: Model {
                config,
                live: Vec::new(),
            },
        }
    }

    /// Does `op` to both and compares the results, the figures and the live blocks.
    pub fn apply(&mut self, op: &AllocatorOp) -> Result<(), String> {
        let configured = self.model.config.direction;
        match *op {
            AllocatorOp::Allocate(size_bytes) => {
                let result = self.subject.allocate(size_bytes);
                self.model.allocated(size_bytes, configured, result)?;
            }
            AllocatorOp::AllocateTowards(size_bytes, direction) => {
                let result = self.subject.allocate_towards(size_bytes, direction);
                self.model.allocated(size_bytes, direction, result)?;
            }
            AllocatorOp::AllocateAt(address, size_bytes) => {
                let result = self.subject.allocate_at(address, size_bytes);
                same(
                    "allocate_at",
                    result,
                    self.model.allocate_at(address, size_bytes),
                )?;
            }
            AllocatorOp::FreeLive(index) => {
                if let Some(&live) = self.model.live.get(index % self.model.live.len().max(1)) {
                    same("lookup", self.subject.lookup(live.address), Some(live))?;
                    same(
                        "free",
                        self.subject.free(live.address),
                        self.model.free(live.address),
                    )?;
                }
            }
            AllocatorOp::Free(address) => {
                same("free", self.subject.free(address), self.model.free(address))?
            }
            AllocatorOp::Clear => {
                self.subject.clear();
                self.model.live.clear();
            }
        }
        same("stats", self.subject.stats(), self.model.stats())?;
        let mut live = Vec::new();
        self.subject.live_blocks(&mut |block| live.push(block));
        let mut expected = self.model.live.clone();
        expected.sort();
        same("live blocks", live, expected)
    }

    /// A clone, and an allocator that got the same blocks in another order, are equal to the
    /// subject. `pick` chooses that order: an index below what it is given.
    pub fn check_canonical(&self, pick: &mut impl FnMut(usize) -> usize) {
        let mut other = Pair::new(self.model.config).subject;
        let mut waiting = self.model.live.clone();
        while !waiting.is_empty() {
            let block = waiting.swap_remove(pick(waiting.len()));
            other
                .allocate_at(block.address, block.size_bytes)
                .expect("live blocks are disjoint");
        }
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        for twin in [other, self.subject.clone()] {
            assert_eq!(twin, self.subject);
            assert_eq!(hasher.hash_one(&twin), hasher.hash_one(&self.subject));
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: T, expected: T) -> Result<(), String> {
    if is == expected {
        Ok(())
    } else {
        Err(format!("{what}: is {is:?}, expected {expected:?}"))
    }
}

/// What an allocator should do, worked out from scratch at every call.
#[derive(Clone, Debug)]
struct Model {
    config: AllocatorConfig,
    /// In no order.
    live: Vec<Block>,
}

impl Model {
    fn end(&self) -> u64 {
        self.config.base_address + self.config.capacity_bytes
    }

    /// The size after rounding; wide, because the largest sizes do not fit after it.
    fn reserved(&self, size_bytes: u64) -> u128 {
        let unit = u128::from(self.config.alignment_bytes);
        let wanted = u128::from(size_bytes.max(self.config.minimum_bytes).max(1));
        wanted.div_ceil(unit) * unit
    }

    /// Start and length of each free range, ascending: it begins at the base or after a block.
    fn free_ranges(&self) -> Vec<(u64, u64)> {
        let starts = self
            .live
            .iter()
            .map(|block| block.address + block.size_bytes);
        let mut ranges = Vec::new();
        for start in starts.chain([self.config.base_address]) {
            let next = self
                .live
                .iter()
                .map(|block| block.address)
                .filter(|address| *address >= start)
                .min();
            let end = next.unwrap_or(self.end());
            let inside = self
                .live
                .iter()
                .any(|block| block.address < start && start < block.address + block.size_bytes);
            if start < end && !inside {
                ranges.push((start, end - start));
            }
        }
        ranges.sort();
        ranges
    }

    fn predict(&self, size_bytes: u64, direction: Direction) -> Option<u64> {
        let reserved = self.reserved(size_bytes);
        let mut fitting = self.free_ranges();
        fitting.retain(|&(_, length)| u128::from(length) >= reserved);
        if direction == Direction::TopDown {
            fitting.reverse();
        }
        let class = |length: u64| (0..64).rev().find(|bit| length >> bit & 1 == 1);
        let smallest = fitting.iter().map(|&(_, length)| length).min()?;
        let (start, length) = match self.config.policy {
            Policy::FirstFit => fitting.first().copied(),
            Policy::BestFit | Policy::Range => {
                fitting.into_iter().find(|&(_, length)| length == smallest)
            }
            Policy::Segregated => fitting
                .into_iter()
                .find(|&(_, length)| class(length) == class(smallest)),
        }?;
        Some(match direction {
            Direction::BottomUp => start,
            Direction::TopDown => start + length - reserved as u64,
        })
    }

    /// Checks the result of an allocation and follows it.
    fn allocated(
        &mut self,
        size_bytes: u64,
        direction: Direction,
        result: Result<u64, AllocError>,
    ) -> Result<(), String> {
        let expected = self.predict(size_bytes, direction);
        match result {
            Ok(address) if self.config.policy == Policy::Range && expected.is_some() => {
                // Fails unless the range is free, inside the space and aligned.
                same(
                    "placement",
                    self.allocate_at(address, size_bytes),
                    Ok(address),
                )
            }
            result => {
                let exhausted = AllocError::Exhausted {
                    requested_bytes: size_bytes,
                    stats: self.stats(),
                };
                same("allocate", result, expected.ok_or(exhausted))?;
                if let Some(address) = expected {
                    self.live.push(Block {
                        address,
                        size_bytes: self.reserved(size_bytes) as u64,
                    });
                }
                Ok(())
            }
        }
    }

    fn allocate_at(&mut self, address: u64, size_bytes: u64) -> Result<u64, AllocError> {
        let AllocatorConfig {
            alignment_bytes,
            base_address,
            ..
        } = self.config;
        if !address.is_multiple_of(alignment_bytes) {
            return Err(AllocError::Misaligned {
                address,
                alignment_bytes,
            });
        }
        let reserved = self.reserved(size_bytes);
        let end_address = self.end();
        if address < base_address || u128::from(address) + reserved > u128::from(end_address) {
            return Err(AllocError::OutOfRange {
                address,
                size_bytes,
                base_address,
                end_address,
            });
        }
        let block = Block {
            address,
            size_bytes: reserved as u64,
        };
        let overlaps = |live: &&Block| {
            live.address < address + block.size_bytes && address < live.address + live.size_bytes
        };
        if let Some(&live) = self.live.iter().filter(overlaps).min() {
            return Err(AllocError::Overlap {
                address,
                size_bytes: block.size_bytes,
                live,
            });
        }
        self.live.push(block);
        Ok(address)
    }

    fn free(&mut self, address: u64) -> Result<Block, FreeError> {
        if let Some(index) = self.live.iter().position(|block| block.address == address) {
            return Ok(self.live.swap_remove(index));
        }
        let around =
            |block: &&Block| block.address < address && address < block.address + block.size_bytes;
        match self.live.iter().find(around) {
            Some(&live) => Err(FreeError::InsideBlock { address, live }),
            None => Err(FreeError::NotAllocated { address }),
        }
    }

    fn stats(&self) -> Stats {
        let allocated_bytes = self.live.iter().map(|block| block.size_bytes).sum();
        Stats {
            allocated_bytes,
            free_bytes: self.config.capacity_bytes - allocated_bytes,
            largest_free_bytes: self
                .free_ranges()
                .iter()
                .map(|&(_, length)| length)
                .max()
                .unwrap_or(0),
            lowest_occupied_address: self.live.iter().map(|block| block.address).min(),
        }
    }
}
