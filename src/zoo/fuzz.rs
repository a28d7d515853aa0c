//! A small fuzzer over schedule bytes (see [`Bytes`]): mutation with feedback, in process.
//!
//! An input that brings allocations, releases and messages about in an order not seen before is
//! kept, and later ones are made from those that are kept. The feedback is that order, not code
//! coverage: real coverage-guided fuzzing of the same bytes is `fuzz/`.

use std::hash::Hasher;
use std::sync::Arc;

use rustc_hash::{FxHashSet, FxHasher};

use crate::engine::controlled::machine::{Machine, RunEnd, Setup};
use crate::engine::controlled::observe::{ObservedRun, observe};
use crate::engine::controlled::schedulers::Bytes;
use crate::engine::controlled::world::EventSink;
use crate::scenario::random::{Purpose, Random};
use crate::trace::event::Event;

/// Inputs that are kept.
const MAX_POOL: usize = 256;
/// The longest input.
const MAX_BYTES: usize = 256;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Fuzzer {
    setup: Arc<Setup>,
    machine: Machine,
    random: Random,
    pool: Vec<Vec<u8>>,
    seen: FxHashSet<u64>,
}

impl Fuzzer {
    pub(crate) fn new(setup: &Arc<Setup>, seed: u64) -> Fuzzer {
        Fuzzer {
            machine: Machine::new(setup),
            setup: Arc::clone(setup),
            random: Random::new(seed, 0, Purpose::Schedule, 2),
            pool: vec![Vec::new()],
            seen: FxHashSet::default(),
        }
    }

    /// Runs one more input; the run in full where something may have diverged.
    pub(crate) fn next(&mut self) -> Option<ObservedRun> {
        let input = self.mutated();
        self.machine.reset();
        let mut order = Order::default();
        let end = self
            .machine
            .run(&mut Bytes::new(&input), &mut order, u64::MAX);
        let suspicious =
            end != RunEnd::Completed || self.machine.alarmed() || self.machine.differs_at_rest();
        if self.seen.insert(order.0.finish()) {
            if self.pool.len() == MAX_POOL {
                let victim = self.random.below(MAX_POOL as u64) as usize;
                self.pool.swap_remove(victim);
            }
            self.pool.push(input.clone());
        }
        suspicious.then(|| observe(&self.setup, Bytes::new(&input), 0, u64::MAX).0)
    }

    fn mutated(&mut self) -> Vec<u8> {
        let parent = self.random.below(self.pool.len() as u64) as usize;
        let mut input = self.pool[parent].clone();
        for _ in 0..=self.random.below(4) {
            let at = self.random.below(input.len() as u64 + 1) as usize;
            let byte = self.random.below(8) as u8;
            match self.random.below(4) {
                0 => input.truncate(at),
                1 if at < input.len() => input[at] = byte,
                // A preemption later on, with nothing in between.
                2 => {
                    let zeros = self.random.below(24) as usize;
                    input.extend(std::iter::repeat_n(0, zeros));
                    input.push(1 + byte);
                }
                _ => input.insert(at, byte),
            }
        }
        input.truncate(MAX_BYTES);
        input
    }
}

/// The order of what matters to others, as a hash.
#[derive(Default)]
struct Order(FxHasher);

impl EventSink for Order {
    fn record(&mut self, stream: u16, event: &Event) {
        let what = match event {
            Event::Alloc { .. } => 1,
            Event::Free { .. } => 2,
            Event::Send { .. } => 3,
            Event::Receive { .. } => 4,
            Event::Lock { .. } => 5,
            _ => return,
        };
        self.0.write_u32(u32::from(stream) << 8 | what);
    }
}
