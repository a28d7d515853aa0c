//! Notices when threads of several processes wait for each other for good.
//!
//! A thread that waits says so, and counts its looks in vain. It may not have noticed yet that what
//! it waits for has come, and the controller may be held up between any two of its reads, for as
//! long as the system likes. So it is only quiet when every thread waits, each has looked in vain
//! since the last thing that anybody did, and that still is the last when all this was read: then
//! nobody can go on by himself, however loaded the machine is.

use super::driver::AskedFor;
use super::shared::{Commons, Of};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct QuietWatch {
    before: Option<Quiet>,
}

/// What was so when everybody seemed to wait.
#[derive(Debug)]
struct Quiet {
    /// Events and threads at their end, over all.
    done: u64,
    looks: Vec<u64>,
}

impl QuietWatch {
    /// Somebody may go on who has not looked yet.
    pub(super) fn let_go(&mut self) {
        self.before = None;
    }

    /// Whether nobody can go on by himself.
    pub(super) fn is_quiet(&mut self, shared: &Commons) -> bool {
        self.is_quiet_while(shared, || ())
    }

    /// As [`QuietWatch::is_quiet`]; `meanwhile` happens between each two reads.
    ///
    /// What was done is read last: whoever goes on after his looks were read does something, or
    /// asks, before he waits anew. Only where it is as before, all looks in vain were made while
    /// nothing was done.
    fn is_quiet_while(&mut self, shared: &Commons, mut meanwhile: impl FnMut()) -> bool {
        let looks = looks(shared);
        meanwhile();
        // Whoever asks looks in vain until the controller has answered.
        let is_asked = (0..shared.threads).any(|thread| {
            let asked = AskedFor::of(shared.load(thread, Of::Asked));
            asked.is_some_and(|asked| asked != AskedFor::Kill)
        });
        meanwhile();
        let waiting: Vec<u16> = shared.unfinished().collect();
        let all_wait = (waiting.iter()).all(|thread| shared.load(*thread, Of::Waits) != 0);
        if is_asked || !all_wait {
            self.before = None;
            return false;
        }
        meanwhile();
        let appended = (0..shared.threads).map(|thread| shared.region.appended(thread));
        let done = appended.sum::<u64>() + u64::from(shared.threads) - waiting.len() as u64;
        match &self.before {
            Some(before) if before.done == done => (waiting.iter()).all(|thread| {
                let index = usize::from(*thread);
                // The first look may have begun before.
                looks[index] >= before.looks[index] + 2
            }),
            _ => {
                meanwhile();
                // Looks count from here on: after what was done.
                let looks = self::looks(shared);
                self.before = Some(Quiet { done, looks });
                false
            }
        }
    }
}

/// How often each thread has looked in vain.
fn looks(shared: &Commons) -> Vec<u64> {
    let looks = (0..shared.threads).map(|thread| shared.load(thread, Of::Looks));
    looks.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::scenario::ScenarioFile;
    use crate::trace::event::Event;

    /// What two threads share that wait, and a watch that has seen them.
    fn two_that_wait() -> (Commons, QuietWatch) {
        let file: ScenarioFile =
            toml::from_str("name = 'two'\nthreads = 2").expect("the test's text is a scenario");
        let scenario = file.resolve().expect("it resolves");
        let shared = Commons::new(&scenario).expect("there is memory");
        let mut watch = QuietWatch::default();
        (0..2).for_each(|thread| look_in_vain(&shared, thread));
        assert!(!watch.is_quiet(&shared), "nothing to compare with yet");
        (shared, watch)
    }

    fn look_in_vain(shared: &Commons, thread: u16) {
        shared.set(thread, Of::Waits, 1);
        shared.of(thread, Of::Looks).fetch_add(3, Ordering::SeqCst);
    }

    #[test]
    fn two_that_look_in_vain_are_stuck() {
        let (shared, mut watch) = two_that_wait();
        look_in_vain(&shared, 0);
        assert!(!watch.is_quiet(&shared), "thread 1 has not looked");
        look_in_vain(&shared, 1);
        assert!(watch.is_quiet(&shared));
    }

    /// Thread 0 was let go, and its wait ends at any moment of the controller's look: it does
    /// something and waits anew. Thread 1, which looked in vain before, could go on now.
    #[test]
    fn who_goes_on_between_two_reads_and_waits_anew_is_not_taken_for_stuck() {
        for moment in 0..3 {
            let (shared, mut watch) = two_that_wait();
            look_in_vain(&shared, 1);
            let mut reads = 0;
            let is_quiet = watch.is_quiet_while(&shared, || {
                if reads == moment {
                    shared.append(0, &Event::DebugLog);
                    look_in_vain(&shared, 0);
                }
                reads += 1;
            });
            assert!(!is_quiet, "after read {moment}");
        }
    }

    /// As above, while the controller takes down what it will compare with.
    #[test]
    fn looks_before_the_last_event_do_not_count() {
        let (shared, mut watch) = two_that_wait();
        watch.let_go();
        let mut reads = 0;
        watch.is_quiet_while(&shared, || {
            if reads == 0 {
                look_in_vain(&shared, 1);
                shared.append(0, &Event::DebugLog);
            }
            reads += 1;
        });
        look_in_vain(&shared, 0);
        assert!(!watch.is_quiet(&shared), "thread 1 has not looked since");
        look_in_vain(&shared, 1);
        assert!(watch.is_quiet(&shared));
    }

    #[test]
    fn who_asks_is_not_taken_for_stuck() {
        let (shared, mut watch) = two_that_wait();
        shared.set(0, Of::Asked, AskedFor::Alloc as u64);
        (0..2).for_each(|thread| look_in_vain(&shared, thread));
        assert!(!watch.is_quiet(&shared));
    }

    #[test]
    fn who_was_answered_and_has_not_looked_is_not_taken_for_stuck() {
        let (shared, mut watch) = two_that_wait();
        shared.set(0, Of::Asked, AskedFor::Forget as u64);
        (0..2).for_each(|thread| look_in_vain(&shared, thread));
        shared.set(0, Of::Asked, 0);
        watch.let_go();
        assert!(!watch.is_quiet(&shared));
    }
}
