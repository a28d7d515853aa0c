//! The samplers as the C side of the runtime calls them. Compiled by `build.rs` into the runtime,
//! by `rustc` alone: it uses no crate but `core`, and no module but those of `sampling/`.
//!
//! One schedule at a time, and only the thread that has the turn calls: so one static is enough.

#![no_std]

#[path = "../../sampling/src/pct.rs"]
mod pct;
#[path = "../../sampling/src/pos.rs"]
mod pos;
#[path = "../../sampling/src/stream.rs"]
mod stream;
#[path = "../../sampling/src/urw.rs"]
mod urw;

use core::cell::UnsafeCell;

use pct::Pct;
use pos::Pos;
use stream::Stream;
use urw::Urw;

const MAX_THREADS: usize = 1024;
const MAX_DEPTH: usize = 64;

type PerThread = [u64; MAX_THREADS];

/// Changes of PCT, of which only the first are used.
struct Changes([u64; MAX_DEPTH], usize);

impl AsRef<[u64]> for Changes {
    fn as_ref(&self) -> &[u64] {
        self.0.get(..self.1).unwrap_or(&[])
    }
}

impl AsMut<[u64]> for Changes {
    fn as_mut(&mut self) -> &mut [u64] {
        self.0.get_mut(..self.1).unwrap_or(&mut [])
    }
}

enum Strategy {
    First,
    Random,
    Pos(Pos<PerThread>),
    Pct(Pct<PerThread, Changes>),
    Urw(Urw<PerThread>),
}

struct Sampler {
    strategy: Strategy,
    stream: Stream,
    /// What is drawn beside the schedule: it does not change with the strategy's own draws.
    aside: Stream,
}

struct Only(UnsafeCell<Option<Sampler>>);

// SAFETY: only the thread that has the turn calls in here, and the turn is handed over by a futex,
// which orders what was written before with what is read after.
unsafe impl Sync for Only {}

static SAMPLER: Only = Only(UnsafeCell::new(None));

fn sampler() -> Option<&'static mut Sampler> {
    // SAFETY: as above; no reference outlives the call that made it.
    unsafe { (*SAMPLER.0.get()).as_mut() }
}

/// A schedule begins.
///
/// # Safety
/// `expected` points to 1,024 numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hb_sampler_begin(
    strategy: u32,
    seed: u64,
    index: u64,
    depth: u32,
    steps: u64,
    expected: *const PerThread,
) {
    let mut stream = Stream::of(seed, [index, 0, u64::from(strategy)]);
    let strategy = match strategy {
        0 => Strategy::Random,
        1 => Strategy::Pos(Pos::new([0; MAX_THREADS])),
        2 => {
            let changes = (depth.max(1) as usize - 1).min(MAX_DEPTH);
            let changes = Changes([0; MAX_DEPTH], changes);
            Strategy::Pct(Pct::new(
                [0; MAX_THREADS],
                changes,
                steps.max(1),
                &mut stream,
            ))
        }
        // SAFETY: the caller's promise.
        3 => Strategy::Urw(Urw::new(unsafe { *expected })),
        _ => Strategy::First,
    };
    let sampler = Sampler {
        strategy,
        stream,
        aside: Stream::of(seed, [index, 1, 0]),
    };
    // SAFETY: as for `sampler`.
    unsafe { *SAMPLER.0.get() = Some(sampler) };
}

/// Picks one of the `count` threads at `ready`, which are not none.
///
/// # Safety
/// `ready` points to `count` numbers of threads.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hb_sampler_pick(ready: *const u32, count: usize, current: u32) -> u32 {
    // SAFETY: the caller's promise.
    let ready = unsafe { core::slice::from_raw_parts(ready, count) };
    let fallback = if ready.contains(&current) {
        current
    } else {
        ready.first().copied().unwrap_or(0)
    };
    let Some(sampler) = sampler() else {
        return fallback;
    };
    let stream = &mut sampler.stream;
    let actors = ready.iter().map(|thread| *thread as usize % MAX_THREADS);
    let picked = match &mut sampler.strategy {
        Strategy::First => None,
        Strategy::Random => actors.clone().nth(stream.below(count as u64) as usize),
        Strategy::Pos(pos) => pos.pick(actors, stream),
        Strategy::Pct(pct) => pct.pick(actors),
        Strategy::Urw(urw) => urw.pick(actors, stream),
    };
    picked.map_or(fallback, |actor| actor as u32)
}

/// `thread` took a step.
#[unsafe(no_mangle)]
pub extern "C" fn hb_sampler_took(thread: u32) {
    let actor = thread as usize % MAX_THREADS;
    match sampler().map(|sampler| &mut sampler.strategy) {
        Some(Strategy::Pos(pos)) => pos.took(actor),
        Some(Strategy::Pct(pct)) => pct.took(),
        Some(Strategy::Urw(urw)) => urw.took(actor),
        _ => {}
    }
}

/// What `thread` is about to do depends on the step that was taken.
#[unsafe(no_mangle)]
pub extern "C" fn hb_sampler_depends(thread: u32) {
    if let Some(Strategy::Pos(pos)) = sampler().map(|sampler| &mut sampler.strategy) {
        pos.depends(thread as usize % MAX_THREADS);
    }
}

/// `thread` waits in a loop: the others go first.
#[unsafe(no_mangle)]
pub extern "C" fn hb_sampler_falls(thread: u32) {
    if let Some(Strategy::Pct(pct)) = sampler().map(|sampler| &mut sampler.strategy) {
        pct.fall(thread as usize % MAX_THREADS);
    }
}

/// 64 random bits that are no part of the schedule.
#[unsafe(no_mangle)]
pub extern "C" fn hb_sampler_bits() -> u64 {
    sampler().map_or(0, |sampler| sampler.aside.bits())
}

unsafe extern "C" {
    fn hb_sampler_panicked() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // SAFETY: it ends the process.
    unsafe { hb_sampler_panicked() }
}
