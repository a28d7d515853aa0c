//! The core that a program's threads share, and with them heisenbed's thread that gives them their
//! schedules: both take turns, and to wake somebody up on another core takes longer than a short
//! schedule of a target.
//!
//! Who is bound to a core hands that on to each thread and process that it makes: whoever makes one
//! gives up the core before ([`leave`]).

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// The core that a program's threads share. Where the system puts whoever wakes up, least is done:
/// so several heisenbeds at a time don't come together on one core. For that they are let go, for a
/// schedule, now and then.
#[derive(Debug)]
pub(super) struct SharedCore {
    number: Cell<u32>,
    /// Since when it is this one; none: the system has chosen nothing yet.
    since: Cell<Option<Instant>>,
}

/// So long they stay on a core: to move costs a short schedule a tenth of its time.
const STAYS: Duration = Duration::from_millis(20);

thread_local! {
    /// Where the thread is bound to, by us.
    static BOUND: Cell<Option<u32>> = const { Cell::new(None) };
}

/// What heisenbed may use; none where the system does not say.
static ALL: OnceLock<Option<CpuSet>> = OnceLock::new();

impl SharedCore {
    /// The one on which the caller is.
    pub(super) fn new() -> SharedCore {
        SharedCore {
            number: Cell::new(sched_getcpu() as u32),
            since: Cell::new(None),
        }
    }

    /// As the system numbers them.
    pub(super) fn number(&self) -> u32 {
        self.number.get()
    }

    /// Before each schedule whose threads are to share one: the caller goes there, too.
    pub(super) fn share(&self) {
        match self.since.get() {
            Some(since) if since.elapsed() <= STAYS => {}
            Some(_) => {
                self.since.set(None);
                return leave();
            }
            None => {
                leave();
                self.number.set(sched_getcpu() as u32);
                self.since.set(Some(Instant::now()));
            }
        }
        bind(self.number.get());
    }
}

/// The calling thread, and whom it makes, may be everywhere.
pub(super) fn leave() {
    let Some(all) = all() else {
        return;
    };
    if BOUND.take().is_some() {
        // It may: these are the cores that it had.
        let _ = sched_setaffinity(None, all);
    }
}

fn bind(core: u32) {
    if BOUND.get() == Some(core) || all().is_none() || core as usize >= CpuSet::MAX_CPU {
        return;
    }
    let mut one = CpuSet::new();
    one.set(core as usize);
    if sched_setaffinity(None, &one).is_ok() {
        BOUND.set(Some(core));
    }
}

fn all() -> Option<&'static CpuSet> {
    ALL.get_or_init(|| sched_getaffinity(None).ok()).as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn possible() -> u32 {
        sched_getaffinity(None).expect("the system says").count()
    }

    #[test]
    fn who_shares_a_core_has_all_of_them_again_afterwards_and_now_and_then() {
        let before = possible();
        let core = SharedCore::new();
        core.share();
        assert_eq!(possible(), 1);
        std::thread::sleep(STAYS + Duration::from_millis(1));
        core.share();
        assert_eq!(possible(), before);
        core.share();
        assert_eq!(possible(), 1);
        leave();
        assert_eq!(possible(), before);
    }
}
