//! Every allocator against a naive model: an unordered list of live ranges, scanned for everything.
//!
//! For the free list the model predicts each address, figure and error. Of the third-party allocator it
//! takes the address as given and checks that it is free, in range and aligned; all else it predicts too.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use heisenbed::device::{
    AllocError, AllocatorConfig, AnyAllocator, Block, DeviceAllocator, Direction, FreeError,
    Policy, Stats,
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const OPS_PER_CONFIG: usize = 22_000;

#[test]
fn a_million_seeded_operations_agree_with_the_model() {
    let configs = configs();
    assert!(configs.len() * OPS_PER_CONFIG >= 1_000_000);
    for (seed, config) in (0..).zip(configs) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut pair = Pair::new(config);
        for index in 0..OPS_PER_CONFIG {
            // Waves, so that the space is both crowded and nearly empty for a while.
            let op = random_op(&mut rng, &config, (index / 200) % 3);
            pair.apply(&op).unwrap_or_else(|error| {
                panic!("seed {seed}, op {index} {op:?}, {config:?}: {error}")
            });
            if index % 64 == 0 {
                pair.check_canonical(&mut rng);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn short_histories_agree_with_the_model(
        config in proptest::sample::select(configs()),
        ops in proptest::collection::vec(any_op(), 1..80),
    ) {
        let mut pair = Pair::new(config);
        for op in &ops {
            pair.apply(op).map_err(TestCaseError::fail)?;
        }
    }
}

/// Every policy × direction × alignment, each with and without a minimum above the alignment and a base.
fn configs() -> Vec<AllocatorConfig> {
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
enum Op {
    Allocate(u64),
    AllocateTowards(u64, Direction),
    AllocateAt(u64, u64),
    /// Of the live block with this index, modulo their number.
    FreeLive(usize),
    Free(u64),
    Clear,
}

fn any_op() -> impl Strategy<Value = Op> {
    let size = || prop_oneof![20 => 0..100_u64, 4 => 0..2000_u64, 1 => any::<u64>()];
    let address = || prop_oneof![20 => 0..1500_u64, 1 => any::<u64>()];
    let aligned = (0..48_u64, 0..3_u32).prop_map(|(unit, power)| unit << [0, 3, 5][power as usize]);
    let direction = prop_oneof![Just(Direction::BottomUp), Just(Direction::TopDown)];
    prop_oneof![
        6 => size().prop_map(Op::Allocate),
        3 => (size(), direction).prop_map(|(size_bytes, direction)| Op::AllocateTowards(size_bytes, direction)),
        2 => (prop_oneof![address().boxed(), aligned.boxed()], size()).prop_map(|(address, size)| Op::AllocateAt(address, size)),
        6 => any::<usize>().prop_map(Op::FreeLive),
        1 => address().prop_map(Op::Free),
        1 => Just(Op::Clear),
    ]
}

/// `wave` 0 favours allocations, 1 releases, 2 neither.
fn random_op(rng: &mut Xoshiro256PlusPlus, config: &AllocatorConfig, wave: usize) -> Op {
    let unit = config.alignment_bytes;
    let top = config.base_address + config.capacity_bytes + 2 * unit;
    let size = match rng.random_range(0..100) {
        0 => rng.random(),
        1 => u64::MAX,
        2..8 => rng.random_range(0..=config.capacity_bytes + 1),
        _ => rng.random_range(0..6 * unit),
    };
    let releases = [30, 70, 50][wave];
    match rng.random_range(0..100) {
        0..4 => Op::Free(rng.random_range(0..top)),
        4 if rng.random_ratio(1, 20) => Op::Clear,
        4..10 => Op::AllocateAt(rng.random_range(0..top / unit) * unit, size),
        10..12 => Op::AllocateAt(rng.random_range(0..top), size),
        12 => Op::AllocateAt(rng.random(), size),
        roll if roll >= 100 - releases => Op::FreeLive(rng.random_range(0..1000)),
        roll if roll % 3 == 0 => Op::AllocateTowards(size, Direction::TopDown),
        roll if roll % 3 == 1 => Op::AllocateTowards(size, Direction::BottomUp),
        _ => Op::Allocate(size),
    }
}

/// An allocator and the model of it.
struct Pair {
    subject: AnyAllocator,
    model: Model,
}

impl Pair {
    fn new(config: AllocatorConfig) -> Pair {
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
    fn apply(&mut self, op: &Op) -> Result<(), String> {
        let configured = self.model.config.direction;
        match *op {
            Op::Allocate(size_bytes) => {
                let result = self.subject.allocate(size_bytes);
                self.model.allocated(size_bytes, configured, result)?;
            }
            Op::AllocateTowards(size_bytes, direction) => {
                let result = self.subject.allocate_towards(size_bytes, direction);
                self.model.allocated(size_bytes, direction, result)?;
            }
            Op::AllocateAt(address, size_bytes) => {
                let result = self.subject.allocate_at(address, size_bytes);
                same(
                    "allocate_at",
                    result,
                    self.model.allocate_at(address, size_bytes),
                )?;
            }
            Op::FreeLive(index) => {
                if let Some(&live) = self.model.live.get(index % self.model.live.len().max(1)) {
                    same("lookup", self.subject.lookup(live.address), Some(live))?;
                    same(
                        "free",
                        self.subject.free(live.address),
                        self.model.free(live.address),
                    )?;
                }
            }
            Op::Free(address) => {
                same("free", self.subject.free(address), self.model.free(address))?
            }
            Op::Clear => {
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

    /// A clone, and an allocator that got the same blocks in another order, are equal to the subject.
    fn check_canonical(&self, rng: &mut Xoshiro256PlusPlus) {
        let mut other = Pair::new(self.model.config).subject;
        let mut waiting = self.model.live.clone();
        while !waiting.is_empty() {
            let block = waiting.swap_remove(rng.random_range(0..waiting.len()));
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
