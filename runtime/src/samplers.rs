//! The samplers as the C side of the runtime calls them. Compiled by `build.rs` into the runtime,
//! by `rustc` alone: it uses no crate but `core`, and no module but those of `sampling/`.
//!
//! One schedule at a time, and only the thread that has the turn calls: so one static is enough.

#![no_std]

#[path = "../../sampling/src/hold.rs"]
mod hold;
#[path = "../../sampling/src/pct.rs"]
mod pct;
#[path = "../../sampling/src/pos.rs"]
mod pos;
#[path = "../../sampling/src/stream.rs"]
mod stream;
#[path = "../../sampling/src/surw.rs"]
mod surw;

use core::cell::UnsafeCell;

use hold::{Aim, Held, Hold, Spot};
use pct::Pct;
use pos::Pos;
use stream::Stream;
use surw::{Share, Surw};

const MAX_THREADS: usize = 1024;
const MAX_DEPTH: usize = 64;
const MAX_AIMS: usize = 16;
const MAX_SELECTED: usize = 256;
const ALL_SELECTED: u32 = u32::MAX;
const EXPECTED_END: u64 = u64::MAX;

type PerThread = [u64; MAX_THREADS];
type Priorities = &'static mut PerThread;

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
    Pos(Pos<Priorities>),
    Pct(Pct<Priorities, Changes>),
    Surw(Surw<&'static mut [Share; MAX_THREADS]>, Selected),
    /// Some are held; of the others, the highest priority, which is drawn at each step or at the
    /// start.
    HeldPos(Holding, Pos<Priorities>),
    HeldRun(Holding, Pct<Priorities, Changes>),
}

type Holding = Hold<Aims, &'static mut [Held; MAX_THREADS]>;

type Aims = [Aim; MAX_AIMS];

/// Of the objects, those whose steps are selected; `None`: all steps are.
struct Selected(Option<&'static [u64]>);

impl Selected {
    fn has(&self, object: u64) -> bool {
        self.0
            .is_none_or(|objects| object != 0 && objects.contains(&object))
    }
}

/// What strategies keep. A schedule has few threads, and there is room for many: it stays where it
/// is, and only what a schedule used is made anew for the next.
struct Room {
    priorities: PerThread,
    shares: [Share; MAX_THREADS],
    held: [Held; MAX_THREADS],
    selected: [u64; MAX_SELECTED],
}

impl Room {
    /// As if it were new, where only the first `used` threads were ever spoken of.
    fn clean(&mut self, used: usize) {
        self.shares[..used].fill(Share::NONE);
        self.held[..used].fill(Held::NOBODY);
    }
}

/// `struct hb_aims`: see `protocol.h`.
#[repr(C)]
pub struct WireAims {
    aims: u32,
    selected: u32,
    aim: [WireAim; MAX_AIMS],
    select: [u64; MAX_SELECTED],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct WireAim {
    hold: u64,
    hold_object: u64,
    until: u64,
    until_object: u64,
    once: u32,
    skip: u32,
}

impl WireAims {
    fn hold(&self, held: &'static mut [Held; MAX_THREADS]) -> Holding {
        let mut aims = [Aim::default(); MAX_AIMS];
        let count = (self.aims as usize).min(MAX_AIMS);
        for (aim, wire) in aims.iter_mut().zip(&self.aim[..count]) {
            let spot = |place, object| Spot { place, object };
            *aim = Aim {
                hold: spot(wire.hold, wire.hold_object),
                until: spot(wire.until, wire.until_object),
                once: wire.once != 0,
                skip: wire.skip,
                over: false,
            };
        }
        Hold::new(aims, held)
    }

    fn selected(&self, room: &'static mut [u64; MAX_SELECTED]) -> Selected {
        if self.selected == ALL_SELECTED {
            return Selected(None);
        }
        let count = (self.selected as usize).min(MAX_SELECTED);
        let (chosen, _) = room.split_at_mut(count);
        chosen.copy_from_slice(&self.select[..count]);
        Selected(Some(chosen))
    }
}

struct Sampler {
    strategy: Strategy,
    stream: Stream,
    /// What is drawn beside the schedule: it does not change with the strategy's own draws.
    aside: Stream,
    /// Of the threads from here on nothing was said.
    used: usize,
}

impl Sampler {
    /// The actor that a thread is, which was spoken of from now on.
    fn actor(&mut self, thread: u32) -> usize {
        let actor = thread as usize % MAX_THREADS;
        self.used = self.used.max(actor + 1);
        actor
    }
}

struct Only<T>(UnsafeCell<T>);

// SAFETY: only the thread that has the turn calls in here, and the turn is handed over by a futex,
// which orders what was written before with what is read after.
unsafe impl<T> Sync for Only<T> {}

static SAMPLER: Only<Option<Sampler>> = Only(UnsafeCell::new(None));
static ROOM: Only<Room> = Only(UnsafeCell::new(Room {
    priorities: [0; MAX_THREADS],
    shares: [Share::NONE; MAX_THREADS],
    held: [Held::NOBODY; MAX_THREADS],
    selected: [0; MAX_SELECTED],
}));

fn sampler() -> Option<&'static mut Sampler> {
    // SAFETY: as above; no reference outlives the call that made it.
    unsafe { (*SAMPLER.0.get()).as_mut() }
}

/// The same, and the actor that a thread is.
fn sampler_of(thread: u32) -> Option<(&'static mut Sampler, usize)> {
    let sampler = sampler()?;
    let actor = sampler.actor(thread);
    Some((sampler, actor))
}

/// A schedule begins.
///
/// # Safety
/// `expected` points to room for 1,024 numbers, `aims` to what `protocol.h` calls so.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hb_sampler_begin(
    strategy: u32,
    seed: u64,
    index: u64,
    depth: u32,
    steps: u64,
    expected: *const PerThread,
    aims: *const WireAims,
) {
    // SAFETY: the caller's promise.
    let (expected, aims) = unsafe { (&*expected, &*aims) };
    let before = sampler().map_or(0, |sampler| sampler.used);
    // SAFETY: as for `sampler`, and what had the room before is gone: nothing else reaches it.
    let room: &'static mut Room = unsafe {
        *SAMPLER.0.get() = None;
        &mut *ROOM.0.get()
    };
    room.clean(before);
    let mut used = 0;
    let mut stream = Stream::of(seed, [index, 0, u64::from(strategy)]);
    let strategy = match strategy {
        0 => Strategy::Random,
        1 => Strategy::Pos(Pos::new(&mut room.priorities)),
        2 => {
            let changes = (depth.max(1) as usize - 1).min(MAX_DEPTH);
            let changes = Changes([0; MAX_DEPTH], changes);
            Strategy::Pct(Pct::new(
                &mut room.priorities,
                changes,
                steps.max(1),
                &mut stream,
            ))
        }
        3 => {
            let end = expected.iter().position(|both| *both == EXPECTED_END);
            used = end.unwrap_or(MAX_THREADS);
            // Who makes it is in the upper half.
            let shares = expected[..used]
                .iter()
                .map(|both| Share::new(*both as u32, (*both >> 32) as u32));
            Strategy::Surw(
                Surw::new(&mut room.shares, shares),
                aims.selected(&mut room.selected),
            )
        }
        5 => Strategy::HeldPos(aims.hold(&mut room.held), Pos::new(&mut room.priorities)),
        6 => {
            let changes = Changes([0; MAX_DEPTH], 0);
            let base = Pct::new(&mut room.priorities, changes, 1, &mut stream);
            Strategy::HeldRun(aims.hold(&mut room.held), base)
        }
        _ => Strategy::First,
    };
    let sampler = Sampler {
        strategy,
        stream,
        aside: Stream::of(seed, [index, 1, 0]),
        // The first is there from the start, whoever is spoken of.
        used: used.max(1),
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
        Strategy::Surw(surw, _) => surw.pick(actors, stream),
        Strategy::HeldPos(hold, pos) => {
            let free = actors.clone().filter(|actor| !hold.is_held(*actor));
            pos.pick(free, stream).or_else(|| pos.pick(actors, stream))
        }
        Strategy::HeldRun(hold, run) => {
            let free = actors.clone().filter(|actor| !hold.is_held(*actor));
            run.pick(free).or_else(|| run.pick(actors))
        }
    };
    picked.map_or(fallback, |actor| actor as u32)
}

/// `thread` is about to act at `place` on `object`.
#[unsafe(no_mangle)]
pub extern "C" fn hb_sampler_next(thread: u32, place: u64, object: u64) {
    let Some((sampler, actor)) = sampler_of(thread) else {
        return;
    };
    match &mut sampler.strategy {
        Strategy::Surw(surw, selected) => surw.announce(actor, selected.has(object)),
        Strategy::HeldPos(hold, _) | Strategy::HeldRun(hold, _) => {
            hold.announce(actor, Spot { place, object });
        }
        _ => {}
    }
}

/// `thread` has ended.
#[unsafe(no_mangle)]
pub extern "C" fn hb_sampler_ended(thread: u32) {
    let Some((sampler, actor)) = sampler_of(thread) else {
        return;
    };
    if let Strategy::Surw(surw, _) = &mut sampler.strategy {
        surw.ended(actor);
    }
}

/// `thread` took a step.
#[unsafe(no_mangle)]
pub extern "C" fn hb_sampler_took(thread: u32) {
    let Some((sampler, actor)) = sampler_of(thread) else {
        return;
    };
    match &mut sampler.strategy {
        Strategy::Pos(pos) => pos.took(actor),
        Strategy::Pct(pct) => pct.took(),
        Strategy::Surw(surw, _) => surw.took(actor),
        Strategy::HeldPos(hold, pos) => {
            hold.took(actor);
            pos.took(actor);
        }
        Strategy::HeldRun(hold, _) => hold.took(actor),
        Strategy::First | Strategy::Random => {}
    }
}

/// What `thread` is about to do depends on the step that was taken.
#[unsafe(no_mangle)]
pub extern "C" fn hb_sampler_depends(thread: u32) {
    let Some((sampler, actor)) = sampler_of(thread) else {
        return;
    };
    if let Strategy::Pos(pos) | Strategy::HeldPos(_, pos) = &mut sampler.strategy {
        pos.depends(actor);
    }
}

/// `thread` waits in a loop: the others go first.
#[unsafe(no_mangle)]
pub extern "C" fn hb_sampler_falls(thread: u32) {
    let Some((sampler, actor)) = sampler_of(thread) else {
        return;
    };
    match &mut sampler.strategy {
        Strategy::Pct(pct) => pct.fall(actor),
        Strategy::Surw(surw, _) => surw.fall(actor),
        Strategy::HeldRun(hold, pct) => {
            hold.fall(actor);
            pct.fall(actor);
        }
        Strategy::HeldPos(hold, _) => hold.fall(actor),
        _ => {}
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
