//! The device allocator's lifecycle as a shuttle user would model it: the peer for speed.
//!
//! Each of `threads` threads allocates and releases `pairs` buffers of its own on one device. What
//! is shared is shuttle's (four mutexes, the buffers' status and publication), what the mutexes
//! hold is plain std: every scheduling point is a step of the lifecycle. The model's main thread is
//! the first of the `threads`, so that the search has no thread to spare.
//!
//! A divergence is noted in a flag that shuttle does not see, and the schedules go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool as PlainBool, AtomicU64 as PlainU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use shuttle::current::context_switches;
use shuttle::scheduler::{DfsScheduler, RandomScheduler, Scheduler};
use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use shuttle::sync::{Mutex, MutexGuard};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner, thread};

use super::clock::ThreadClock;

include!("lifecycle.rs");

/// The status and the publication of a thread's buffers, which follow one another in one place.
fn own_buffer() -> (AtomicBool, AtomicU64) {
    const { (AtomicBool::new(false), AtomicU64::new(0)) }
}

/// What a search found, and what it took.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub schedules: usize,
    /// Scheduling decisions, over all schedules.
    pub steps: u64,
    /// Did the server's picture differ from the allocator's truth in any schedule?
    pub diverged: bool,
    /// CPU time of the calling thread, on which shuttle runs everything.
    pub seconds: f64,
}

/// Runs one schedule. Did it diverge?
fn execute(model: Model) -> bool {
    let world = Arc::new(World::new(model));
    let spawn = |_| {
        let world = Arc::clone(&world);
        thread::spawn(move || world.work())
    };
    let threads: Vec<_> = (1..model.threads).map(spawn).collect();
    world.work();
    for thread in threads {
        thread.join().expect("a divergence is no panic");
    }
    let mut world = Arc::into_inner(world).expect("every thread was joined");
    world.diverged()
}

fn explore(model: Model, by: impl Scheduler + 'static, max_time: Option<Duration>) -> Outcome {
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::None;
    config.max_time = max_time;
    let found = Arc::new((PlainBool::new(false), PlainU64::new(0)));
    let noted = Arc::clone(&found);
    let clock = ThreadClock::start();
    let schedules = Runner::new(by, config).run(move || {
        if execute(model) {
            noted.0.store(true, Relaxed);
        }
        noted.1.fetch_add(context_switches() as u64, Relaxed);
    });
    let seconds = clock.seconds();
    Outcome {
        schedules,
        steps: found.1.load(Relaxed),
        diverged: found.0.load(Relaxed),
        seconds,
    }
}

/// So many random schedules. (`SHUTTLE_RANDOM_SEED` in the environment would take `seed`'s place.)
pub fn random(model: &Model, schedules: usize, seed: u64) -> Outcome {
    let scheduler = RandomScheduler::new_from_seed(seed, schedules);
    explore(*model, scheduler, None)
}

/// Depth first through all schedules, as far as the budget (of wall time) reaches. Was that all?
pub fn depth_first(model: &Model, budget: Duration) -> (Outcome, bool) {
    let start = Instant::now();
    let outcome = explore(*model, DfsScheduler::new(None, false), Some(budget));
    // Shuttle's clock starts later and is read earlier: if it saw the budget spent, so does this
    // one.
    (outcome, start.elapsed() <= budget)
}
