//! The device allocator's lifecycle as a loom user would model it: the peer for proofs.
//!
//! Each of `threads` threads allocates and releases `pairs` buffers of its own on one device. What is
//! shared is loom's (four mutexes, the buffers' status and publication), what the mutexes hold is
//! plain std. The model's main thread is the first of the `threads`, and the `Arc` around the world
//! is std's, so that loom has no more to branch over than the lifecycle itself.
//!
//! A divergence is noted when it happens and raised at rest, as a panic: it is the only way to stop
//! loom. By then no other thread is alive that would have to be unwound half-way.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool as PlainBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use loom::sync::{Mutex, MutexGuard};
use loom::thread;

const SIZE: u64 = 0x400;
const LOCKED: &str = "no thread panics while it holds a lock";
/// Between two looks at the clock, in iterations.
const INTERVAL: usize = 64;

/// Which locks are held around a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// The lifecycle lock from the address to its message, and from the message to the release.
    Wide,
    /// The lifecycle lock around the send only.
    Narrow,
    /// One mutex around each send.
    TrackerMutex,
    /// None.
    Unlocked,
}

/// What is explored. Loom takes at most five threads.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    pub threads: usize,
    pub pairs: usize,
    pub discipline: Discipline,
    /// Is an address given back before FREE is sent, rather than after?
    pub free_first: bool,
}

/// What loom can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoomOutcome {
    /// No interleaving diverges (within the preemption bound, if there is one).
    Proved { iterations: usize },
    /// Some interleaving diverges; loom stops there.
    Diverged,
    /// The budget was spent before either.
    NotDone { iterations: usize },
}

/// The payload of the panic that stops loom.
struct Divergence;

/// A block that is in use, or what the server knows of one.
#[derive(Clone, Copy, PartialEq)]
struct Block {
    address: u64,
    generation: u64,
}

fn search(blocks: &[Block], address: u64) -> Result<usize, usize> {
    blocks.binary_search_by_key(&address, |block| block.address)
}

/// First fit over the blocks in use, by address: the lowest free address is reused at once.
#[derive(Default)]
struct Allocator {
    blocks: Vec<Block>,
    generation: u64,
}

impl Allocator {
    fn allocate(&mut self) -> Block {
        let in_place = |(block, slot): &(&Block, u64)| block.address == slot * SIZE;
        let at = self.blocks.iter().zip(0..).take_while(in_place).count();
        self.generation += 1;
        let block = Block {
            address: at as u64 * SIZE,
            generation: self.generation,
        };
        self.blocks.insert(at, block);
        block
    }

    fn free(&mut self, block: Block) {
        let at = search(&self.blocks, block.address).expect("a thread frees what it owns");
        self.blocks.remove(at);
    }
}

/// The tracking server's registry, by address. False: the message is not about what it knows.
#[derive(Default)]
struct Registry(Vec<Block>);

impl Registry {
    fn alloc(&mut self, block: Block) -> bool {
        let known = search(&self.0, block.address);
        match known {
            Ok(at) => self.0[at] = block,
            Err(at) => self.0.insert(at, block),
        }
        known.is_err()
    }

    fn free(&mut self, block: Block) -> bool {
        search(&self.0, block.address).is_ok_and(|at| self.0.remove(at) == block)
    }
}

/// One execution's shared state.
struct World {
    model: Model,
    lifecycle: Mutex<()>,
    tracker: Mutex<()>,
    allocator: Mutex<Allocator>,
    connection: Mutex<Registry>,
    diverged: PlainBool,
}

impl World {
    fn new(model: Model) -> World {
        World {
            model,
            lifecycle: Mutex::default(),
            tracker: Mutex::default(),
            allocator: Mutex::default(),
            connection: Mutex::default(),
            diverged: PlainBool::new(false),
        }
    }

    /// The lifecycle lock, if it is held over this stretch under this discipline.
    fn lifecycle(&self, over: Discipline) -> Option<MutexGuard<'_, ()>> {
        (self.model.discipline == over).then(|| self.lifecycle.lock().expect(LOCKED))
    }

    fn send(&self, apply: impl FnOnce(&mut Registry) -> bool) {
        let _lifecycle = self.lifecycle(Discipline::Narrow);
        let unlocked = self.model.discipline == Discipline::Unlocked;
        let _tracker = (!unlocked).then(|| self.tracker.lock().expect(LOCKED));
        if !apply(&mut self.connection.lock().expect(LOCKED)) {
            self.diverged.store(true, Relaxed);
        }
    }

    fn allocate(&self, live: &AtomicBool) -> Block {
        let _lifecycle = self.lifecycle(Discipline::Wide);
        let block = self.allocator.lock().expect(LOCKED).allocate();
        live.store(true, SeqCst);
        self.send(|registry| registry.alloc(block));
        block
    }

    fn release(&self, block: Block, live: &AtomicBool) {
        if !live.load(SeqCst) {
            return;
        }
        let _lifecycle = self.lifecycle(Discipline::Wide);
        let free = || self.allocator.lock().expect(LOCKED).free(block);
        if self.model.free_first {
            free();
        }
        self.send(|registry| registry.free(block));
        if !self.model.free_first {
            free();
        }
        live.store(false, SeqCst);
    }

    /// One thread. Its buffers follow one another in one place, which others could see.
    fn work(&self) {
        let (live, published) = (AtomicBool::new(false), AtomicU64::new(0));
        for _ in 0..self.model.pairs {
            let block = self.allocate(&live);
            published.store(block.address, SeqCst);
            self.release(block, &live);
        }
    }

    /// After the last thread: did every message fit, and do both sides agree at rest?
    fn diverged(&mut self) -> bool {
        let truth = self.allocator.get_mut().expect(LOCKED);
        let picture = self.connection.get_mut().expect(LOCKED);
        self.diverged.load(Relaxed) || truth.blocks != picture.0
    }
}

/// Runs one interleaving, and unwinds if it diverged.
fn execute(model: Model) {
    let mut world = Arc::new(World::new(model));
    let spawn = |_| {
        let world = Arc::clone(&world);
        thread::spawn(move || world.work())
    };
    let threads: Vec<_> = (1..model.threads).map(spawn).collect();
    world.work();
    for thread in threads {
        thread.join().expect("a divergence is raised only at rest");
    }
    let world = Arc::get_mut(&mut world).expect("every thread was joined");
    if world.diverged() {
        // Unwinds past the panic hook, which is the whole process's and stays as it is.
        resume_unwind(Box::new(Divergence));
    }
}

/// Explores all interleavings (with at most so many preemptions) until one diverges or the budget
/// (of wall time) is spent. A panic that is not about a divergence, such as a deadlock, passes through.
pub fn check(model: &Model, budget: Duration, preemption_bound: Option<usize>) -> LoomOutcome {
    let model = *model;
    let mut builder = loom::model::Builder::new();
    builder.max_threads = model.threads;
    builder.max_branches = 1_000 + 64 * model.threads * model.pairs;
    builder.max_permutations = None;
    builder.max_duration = Some(budget);
    builder.preemption_bound = preemption_bound;
    builder.checkpoint_file = None;
    builder.checkpoint_interval = INTERVAL;
    (builder.location, builder.log) = (false, false);

    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let start = Instant::now();
    let run = catch_unwind(AssertUnwindSafe(|| {
        builder.check(move || {
            counted.fetch_add(1, Relaxed);
            execute(model);
        })
    }));
    let iterations = count.load(Relaxed);
    match run {
        Err(panic) if panic.is::<Divergence>() => LoomOutcome::Diverged,
        Err(panic) => resume_unwind(panic),
        // Loom does not say why it returned. It gives up only at an interval's end, past the budget.
        Ok(()) if start.elapsed() >= budget && (iterations + 1).is_multiple_of(INTERVAL) => {
            LoomOutcome::NotDone { iterations }
        }
        Ok(()) => LoomOutcome::Proved { iterations },
    }
}
