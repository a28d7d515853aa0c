//! Every allocator against a naive model, which the fuzz target of the same name uses too.

use heisenbed::device::{AllocatorConfig, Direction};
use heisenbed::fuzzing::allocator::{AllocatorOp, Pair, configs};
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
                pair.check_canonical(&mut |count| rng.random_range(0..count));
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

fn any_op() -> impl Strategy<Value = AllocatorOp> {
    let size = || prop_oneof![20 => 0..100_u64, 4 => 0..2000_u64, 1 => any::<u64>()];
    let address = || prop_oneof![20 => 0..1500_u64, 1 => any::<u64>()];
    let aligned = (0..48_u64, 0..3_u32).prop_map(|(unit, power)| unit << [0, 3, 5][power as usize]);
    let direction = prop_oneof![Just(Direction::BottomUp), Just(Direction::TopDown)];
    prop_oneof![
        6 => size().prop_map(AllocatorOp::Allocate),
        3 => (size(), direction).prop_map(|(size_bytes, direction)| AllocatorOp::AllocateTowards(size_bytes, direction)),
        2 => (prop_oneof![address().boxed(), aligned.boxed()], size()).prop_map(|(address, size)| AllocatorOp::AllocateAt(address, size)),
        6 => any::<usize>().prop_map(AllocatorOp::FreeLive),
        1 => address().prop_map(AllocatorOp::Free),
        1 => Just(AllocatorOp::Clear),
    ]
}

/// `wave` 0 favours allocations, 1 releases, 2 neither.
fn random_op(rng: &mut Xoshiro256PlusPlus, config: &AllocatorConfig, wave: usize) -> AllocatorOp {
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
        0..4 => AllocatorOp::Free(rng.random_range(0..top)),
        4 if rng.random_ratio(1, 20) => AllocatorOp::Clear,
        4..10 => AllocatorOp::AllocateAt(rng.random_range(0..top / unit) * unit, size),
        10..12 => AllocatorOp::AllocateAt(rng.random_range(0..top), size),
        12 => AllocatorOp::AllocateAt(rng.random(), size),
        roll if roll >= 100 - releases => AllocatorOp::FreeLive(rng.random_range(0..1000)),
        roll if roll % 3 == 0 => AllocatorOp::AllocateTowards(size, Direction::TopDown),
        roll if roll % 3 == 1 => AllocatorOp::AllocateTowards(size, Direction::BottomUp),
        _ => AllocatorOp::Allocate(size),
    }
}
