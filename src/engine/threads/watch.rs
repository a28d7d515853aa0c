//! Notices when threads wait for each other for good.
//!
//! A thread that is not scheduled still counts as waiting, although what it waits for has come. So
//! a suspicion counts only when each waiting thread has looked again, in vain, since it began, and
//! none stopped waiting: then nothing can change any more, however loaded the machine is.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::world::ThreadsWorld;
use crate::engine::backend::StopReason;

/// A cycle of waiting threads, or all of them waiting, that stays this long is a deadlock.
const DEADLOCK_AFTER: Duration = Duration::from_millis(400);

/// How many looks in a row must see the same before it counts: a watcher that was not scheduled saw
/// nothing.
const DEADLOCK_LOOKS: u32 = 40;

/// How often each waiting thread must look in vain: the first look may have begun before.
const LOOKS_IN_VAIN: u32 = 2;

/// Notices when nothing can go on.
#[derive(Debug, Default)]
pub(super) struct DeadlockWatch {
    suspected: Option<Suspected>,
    looks: u32,
}

/// A suspicion, and what was so when it began.
#[derive(Debug)]
struct Suspected {
    what: Suspicion,
    since: Instant,
    /// How often each thread had looked in vain.
    looks: Vec<u32>,
    /// How often one had stopped waiting.
    moves: u32,
}

impl Suspected {
    /// Whether it is the same that is suspected now, when so many waits have ended.
    fn stays(&self, now: &Suspicion, moves: u32) -> bool {
        // Beside a cycle other threads go on.
        let is_still = matches!(now, Suspicion::Cycle(_)) || moves == self.moves;
        *now == self.what && is_still
    }

    /// Whether every thread that it is about has looked in vain since it began.
    fn is_certain(&self, world: &ThreadsWorld) -> bool {
        let concerns = |thread: u16| match &self.what {
            Suspicion::Cycle(threads) => threads.contains(&thread),
            Suspicion::AllWait => true,
        };
        let before = (0u16..).zip(&self.looks);
        before
            .filter(|(thread, _)| concerns(*thread))
            .all(|(thread, looks)| {
                world
                    .waiting
                    .has_looked_in_vain(thread, *looks, LOOKS_IN_VAIN)
            })
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Suspicion {
    Cycle(Vec<u16>),
    AllWait,
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Suspicion::Cycle(threads) => {
                write!(f, "threads {threads:?} wait for each other's locks")
            }
            Suspicion::AllWait => f.write_str("every thread waits"),
        }
    }
}

impl DeadlockWatch {
    /// Looks once; what stays for long enough stops the run.
    pub(super) fn look(&mut self, world: &ThreadsWorld, threads: u16) {
        let running = usize::from(threads - world.finished.load(Ordering::Acquire).min(threads));
        let suspicion = match world.waiting.cycle() {
            Some(cycle) => Some(Suspicion::Cycle(cycle)),
            None if running > 0 && world.waiting.all_wait(running) => Some(Suspicion::AllWait),
            None => None,
        };
        let moves = world.waiting.moves();
        match (suspicion, &self.suspected) {
            (None, _) => self.suspected = None,
            (Some(now), Some(before)) if before.stays(&now, moves) => {
                self.looks += 1;
                let is_long =
                    before.since.elapsed() > DEADLOCK_AFTER && self.looks > DEADLOCK_LOOKS;
                if is_long && before.is_certain(world) {
                    if world.stopped().is_none() {
                        log::warn!("stuck for good: {now}");
                    }
                    world.stop(StopReason::Deadlock);
                }
            }
            (Some(now), _) => {
                log::trace!("stuck for now: {now}");
                self.suspected = Some(Suspected {
                    what: now,
                    since: Instant::now(),
                    looks: world.waiting.looks_in_vain(),
                    moves,
                });
                self.looks = 0;
            }
        }
    }
}
