//! Notices when threads wait for each other for good.
//!
//! A thread that is not scheduled still counts as waiting, although what it waits for has come, and
//! the watcher may be held up between any two of its reads. So a suspicion counts only when each
//! waiting thread has looked again, in vain, since it began, and none has stopped waiting when all
//! this was read: then nothing can change any more, however loaded the machine is.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::world::ThreadsWorld;
use crate::engine::backend::StopReason;
use crate::scenario::objects::LockId;

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
    /// How many waits of each thread had ended, before it was looked who waits.
    ended: Vec<u32>,
}

impl Suspected {
    /// Whether it is the same that is suspected now, when so many waits of each have ended. Beside
    /// a cycle other threads go on.
    fn stays(&self, now: &Suspicion, ended: &[u32]) -> bool {
        let mut each = (0u16..).zip(self.ended.iter().zip(ended));
        *now == self.what && each.all(|(thread, (was, is))| !self.concerns(thread) || was == is)
    }

    /// Whether every thread that it is about has looked in vain since it began.
    fn is_certain(&self, waiting: &Waiting) -> bool {
        let mut before = (0u16..).zip(&self.looks);
        before.all(|(thread, looks)| {
            !self.concerns(thread) || waiting.has_looked_in_vain(thread, *looks, LOOKS_IN_VAIN)
        })
    }

    fn concerns(&self, thread: u16) -> bool {
        match &self.what {
            Suspicion::Cycle(threads) => threads.contains(&thread),
            Suspicion::AllWait => true,
        }
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
        let running = || threads - world.finished.load(Ordering::SeqCst).min(threads);
        if let Some(stuck) = self.stuck_while(&world.waiting, running, || ()) {
            if world.stopped().is_none() {
                log::warn!("stuck for good: {stuck}");
            }
            world.stop(StopReason::Deadlock);
        }
    }

    /// What is stuck for good, of so many threads that are `running`; `meanwhile` happens between
    /// each two reads.
    ///
    /// Which waits have ended is read last: whoever goes on after his looks were read ends one
    /// before he waits anew. What a new suspicion is compared with is read first.
    fn stuck_while(
        &mut self,
        waiting: &Waiting,
        running: impl FnOnce() -> u16,
        mut meanwhile: impl FnMut(),
    ) -> Option<&Suspicion> {
        let ended = waiting.ended();
        let suspected = self.suspected.as_ref();
        let is_certain = suspected.is_some_and(|before| before.is_certain(waiting));
        meanwhile();
        let running = usize::from(running());
        let suspicion = match waiting.cycle() {
            Some(cycle) => Some(Suspicion::Cycle(cycle)),
            None if running > 0 && waiting.all_wait(running) => Some(Suspicion::AllWait),
            None => None,
        };
        meanwhile();
        let stays = (suspicion.as_ref().zip(self.suspected.as_ref()))
            .is_some_and(|(now, before)| before.stays(now, &waiting.ended()));
        if !stays {
            self.looks = 0;
            self.suspected = suspicion.map(|what| {
                log::trace!("stuck for now: {what}");
                Suspected {
                    what,
                    since: Instant::now(),
                    looks: waiting.looks_in_vain(),
                    ended,
                }
            });
            return None;
        }
        self.looks += 1;
        let suspected = self.suspected.as_ref()?;
        let is_long = suspected.since.elapsed() > DEADLOCK_AFTER && self.looks > DEADLOCK_LOOKS;
        (is_long && is_certain).then_some(&suspected.what)
    }
}

/// Who waits for which lock and who holds it, so that a deadlock can be told from slow progress.
///
/// A reader may see a mixture of moments, so what it sees counts only when it stays: see
/// [`DeadlockWatch`].
#[derive(Debug)]
pub(super) struct Waiting {
    /// Per thread: the lock it waits for plus one; 0: none.
    wants: Vec<AtomicU32>,
    /// Per lock: the holding thread plus one; 0: nobody.
    holders: Vec<AtomicU32>,
    /// Per thread: whether it waits for a slot.
    on_slot: Vec<AtomicBool>,
    /// Per thread: how often it has looked in vain at what it waits for.
    looks: Vec<AtomicU32>,
    /// Per thread: how many of its waits have ended.
    ended: Vec<AtomicU32>,
}

impl Waiting {
    pub(super) fn new(threads: u16, locks: u16) -> Waiting {
        Waiting {
            wants: (0..threads).map(|_| AtomicU32::new(0)).collect(),
            holders: (0..locks).map(|_| AtomicU32::new(0)).collect(),
            on_slot: (0..threads).map(|_| AtomicBool::new(false)).collect(),
            looks: (0..threads).map(|_| AtomicU32::new(0)).collect(),
            ended: (0..threads).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// `thread` waits for a lock, or no longer does.
    pub(crate) fn waits(&self, thread: u16, lock: Option<LockId>) {
        let wanted = lock.map_or(0, |lock| u32::from(lock.0) + 1);
        self.wants[usize::from(thread)].store(wanted, Ordering::SeqCst);
        self.has_ended(thread, lock.is_none());
    }

    /// As [`Waiting::waits`], for a slot.
    pub(crate) fn waits_for_slot(&self, thread: u16, waits: bool) {
        self.on_slot[usize::from(thread)].store(waits, Ordering::SeqCst);
        self.has_ended(thread, !waits);
    }

    /// Counted once it no longer shows as waiting: whoever shows so after the count was read, and
    /// has the same count later, has waited all the time.
    fn has_ended(&self, thread: u16, ended: bool) {
        if ended {
            self.ended[usize::from(thread)].fetch_add(1, Ordering::SeqCst);
        }
    }

    /// `thread`, which waits, has looked again: it still must.
    pub(crate) fn looked(&self, thread: u16) {
        self.looks[usize::from(thread)].fetch_add(1, Ordering::SeqCst);
    }

    /// How often each thread has looked in vain.
    pub(crate) fn looks_in_vain(&self) -> Vec<u32> {
        let looks = self.looks.iter();
        looks.map(|looks| looks.load(Ordering::SeqCst)).collect()
    }

    /// How many waits of each thread have ended.
    pub(crate) fn ended(&self) -> Vec<u32> {
        let ended = self.ended.iter();
        ended.map(|ended| ended.load(Ordering::SeqCst)).collect()
    }

    /// Whether `thread` has looked in vain `times` more than `before`; true of one that does not
    /// wait.
    pub(crate) fn has_looked_in_vain(&self, thread: u16, before: u32, times: u32) -> bool {
        let index = usize::from(thread);
        let waits = self.wants[index].load(Ordering::SeqCst) != 0
            || self.on_slot[index].load(Ordering::SeqCst);
        let looks = self.looks[index].load(Ordering::SeqCst);
        !waits || looks.wrapping_sub(before) >= times
    }

    #[inline]
    pub(crate) fn holds(&self, lock: LockId, thread: Option<u16>) {
        self.holders[usize::from(lock.0)].store(
            thread.map_or(0, |thread| u32::from(thread) + 1),
            Ordering::Relaxed,
        );
    }

    /// The threads of a cycle in which each waits for a lock that the next holds, from its smallest
    /// member.
    pub(crate) fn cycle(&self) -> Option<Vec<u16>> {
        let next = |thread: usize| {
            let wanted = self.wants[thread].load(Ordering::SeqCst).checked_sub(1)?;
            let holder = self.holders[wanted as usize]
                .load(Ordering::SeqCst)
                .checked_sub(1)?;
            Some(holder as usize)
        };
        (0..self.wants.len()).find_map(|start| {
            let mut path = vec![start as u16];
            let mut at = next(start)?;
            while at != start && !path.contains(&(at as u16)) {
                path.push(at as u16);
                at = next(at)?;
            }
            (at == start).then_some(path)
        })
    }

    /// Whether `threads` running threads all wait, for locks or slots.
    pub(crate) fn all_wait(&self, running: usize) -> bool {
        let waits = self
            .wants
            .iter()
            .zip(&self.on_slot)
            .filter(|(wants, on_slot)| {
                wants.load(Ordering::SeqCst) != 0 || on_slot.load(Ordering::SeqCst)
            });
        waits.count() >= running
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two threads that wait for each other's locks, and a watch that has suspected it for long.
    fn two_that_wait() -> (Waiting, DeadlockWatch) {
        let waiting = Waiting::new(2, 2);
        waiting.holds(LockId(0), Some(0));
        waiting.holds(LockId(1), Some(1));
        waiting.waits(0, Some(LockId(1)));
        waiting.waits(1, Some(LockId(0)));
        let mut watch = DeadlockWatch::default();
        assert_eq!(watch.stuck_while(&waiting, || 2, || ()), None);
        let suspected = watch.suspected.as_mut().expect("a cycle is there");
        suspected.since -= 2 * DEADLOCK_AFTER;
        watch.looks = 2 * DEADLOCK_LOOKS;
        (waiting, watch)
    }

    fn look_in_vain(waiting: &Waiting, thread: u16) {
        (0..LOOKS_IN_VAIN).for_each(|_| waiting.looked(thread));
    }

    /// Thread 0 gets its lock, gives both back, and waits for another thing.
    fn go_on(waiting: &Waiting) {
        waiting.waits(0, None);
        waiting.holds(LockId(1), Some(0));
        waiting.holds(LockId(1), None);
        waiting.holds(LockId(0), None);
        waiting.waits_for_slot(0, true);
        look_in_vain(waiting, 0);
    }

    #[test]
    fn two_that_look_in_vain_are_stuck() {
        let (waiting, mut watch) = two_that_wait();
        look_in_vain(&waiting, 0);
        assert_eq!(watch.stuck_while(&waiting, || 2, || ()), None);
        look_in_vain(&waiting, 1);
        let cycle = Suspicion::Cycle(vec![0, 1]);
        assert_eq!(watch.stuck_while(&waiting, || 2, || ()), Some(&cycle));
    }

    /// However long the watcher is held up between two of its reads.
    #[test]
    fn who_goes_on_between_two_reads_and_waits_anew_is_not_taken_for_stuck() {
        for suspicion in [Suspicion::Cycle(vec![0, 1]), Suspicion::AllWait] {
            for moment in 0..2 {
                let (waiting, mut watch) = two_that_wait();
                if suspicion == Suspicion::AllWait {
                    waiting.holds(LockId(1), None);
                    let suspected = watch.suspected.as_mut().expect("it is suspected");
                    suspected.what = Suspicion::AllWait;
                }
                (0..2).for_each(|thread| look_in_vain(&waiting, thread));
                let mut reads = 0;
                let meanwhile = || {
                    if reads == moment {
                        go_on(&waiting);
                    }
                    reads += 1;
                };
                let stuck = watch.stuck_while(&waiting, || 2, meanwhile);
                assert_eq!(stuck, None, "{suspicion}, after read {moment}");
            }
        }
    }

    /// Its wait ended while it was looked who waits: that is no wait to compare with.
    #[test]
    fn a_wait_that_ends_while_a_suspicion_begins_is_none_that_stays() {
        let (waiting, mut watch) = two_that_wait();
        watch.suspected = None;
        waiting.holds(LockId(1), None);
        let mut reads = 0;
        let _ = watch.stuck_while(
            &waiting,
            || 2,
            || {
                if reads == 1 {
                    go_on(&waiting);
                }
                reads += 1;
            },
        );
        let suspected = watch.suspected.as_mut().expect("all seemed to wait");
        suspected.since -= 2 * DEADLOCK_AFTER;
        watch.looks = 2 * DEADLOCK_LOOKS;
        look_in_vain(&waiting, 0);
        look_in_vain(&waiting, 1);
        assert_eq!(watch.stuck_while(&waiting, || 2, || ()), None);
    }
}
