//! The device allocator's lifecycle as a loom user would model it: the peer for proofs.
//!
//! Loom takes at most five threads. Each of `threads` threads allocates and releases `pairs`
//! buffers of its own on one device. What is shared is loom's (four mutexes, the buffers' status
//! and publication), what the mutexes hold is plain std. The model's main thread is the first of
//! the `threads`, and the `Arc` around the world is std's, so that loom has no more to branch over
//! than the lifecycle itself.
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

include!("lifecycle.rs");

/// Between two looks at the clock, in iterations.
const INTERVAL: usize = 64;

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

/// The status and the publication of a thread's buffers, which follow one another in one place.
fn own_buffer() -> (AtomicBool, AtomicU64) {
    (AtomicBool::new(false), AtomicU64::new(0))
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
/// (of wall time) is spent. A panic that is not about a divergence, such as a deadlock, passes
/// through.
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
        // Loom does not say why it returned. It gives up only at an interval's end, past the
        // budget.
        Ok(()) if start.elapsed() >= budget && (iterations + 1).is_multiple_of(INTERVAL) => {
            LoomOutcome::NotDone { iterations }
        }
        Ok(()) => LoomOutcome::Proved { iterations },
    }
}
