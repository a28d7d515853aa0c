//! Notices when threads wait for each other for good.

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

/// Notices when nothing can go on.
#[derive(Debug, Default)]
pub(super) struct DeadlockWatch {
    suspected: Option<(Suspicion, Instant)>,
    looks: u32,
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
        match (suspicion, &self.suspected) {
            (None, _) => self.suspected = None,
            (Some(now), Some((before, since))) if now == *before => {
                self.looks += 1;
                if since.elapsed() > DEADLOCK_AFTER && self.looks > DEADLOCK_LOOKS {
                    if world.stopped().is_none() {
                        log::warn!("stuck for good: {now}");
                    }
                    world.stop(StopReason::Deadlock);
                }
            }
            (Some(now), _) => {
                log::trace!("stuck for now: {now}");
                self.suspected = Some((now, Instant::now()));
                self.looks = 0;
            }
        }
    }
}
