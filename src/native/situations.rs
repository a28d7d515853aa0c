//! Situations that executions of a program came to: where each thread stood. A schedule that goes
//! back to one that came about seldom, and on from there, sees more than one that begins anew: what
//! needs many preemptions is come to a few at a time.
//!
//! The idea is Go-Explore's (Ecoffet, Huizinga, Lehman, Stanley, Clune, *First return, then
//! explore*, Nature 590, 2021). A situation is what each thread is about to do, at a moment where
//! another thread goes on: places of the code, in the order in which they were first seen, so that
//! nothing depends on where the program was loaded. What memory holds is no part of it.

use std::hash::Hasher as _;

use heisenbed_runtime::protocol::MAX_THREADS;
use heisenbed_sampling::Stream;
use rustc_hash::{FxHashMap, FxHasher};

use super::execution::VisibleAction;
use super::steps::Steps;

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(super) struct Situations {
    all: Vec<Situation>,
    /// By the number of [`Situations::key`].
    known: FxHashMap<u64, usize>,
    places: FxHashMap<u64, u32>,
    /// Runs of steps of all of them.
    runs: usize,
}

#[derive(Clone, Debug)]
struct Situation {
    /// How it is come to.
    steps: Steps,
    /// How often executions came to it by themselves.
    seen: u64,
    /// How often one was sent there.
    sent: u64,
}

const MOST_SITUATIONS: usize = 1 << 16;
/// 32 MB.
const MOST_RUNS: usize = 1 << 22;
/// What comes after so many runs of steps of an execution is not looked at.
const LONGEST: usize = 1 << 10;
/// Of so many that are drawn, the rarest is taken.
const DRAWN: u64 = 16;
/// One of so many schedules begins anew.
const ANEW: u64 = 4;
/// To be sent to a situation counts as much as to have come there so often.
const WEIGHT_OF_SENT: u64 = 4;
/// In one of so many cases another way to a situation is taken though it is longer: they are not
/// all the same situation.
const OTHER_WAY: u64 = 16;
/// Of a thread that does nothing more.
const NOTHING: u32 = u32::MAX;

impl Situations {
    /// The steps to one that came about seldom; none, to begin anew.
    pub(super) fn rare(&mut self, stream: &mut Stream) -> Steps {
        if self.all.is_empty() || stream.below(ANEW) == 0 {
            return Steps::new();
        }
        let count = self.all.len() as u64;
        let rarest = (0..DRAWN)
            .map(|_| stream.below(count) as usize)
            .min_by_key(|at| self.all[*at].times())
            .expect("some are drawn");
        self.all[rarest].sent += 1;
        self.all[rarest].steps.clone()
    }

    /// What an execution came to, after the steps that it was given.
    pub(super) fn add(
        &mut self,
        steps: &Steps,
        given: u64,
        events: &[VisibleAction],
        stream: &mut Stream,
    ) {
        let places: Vec<u32> = events.iter().map(|event| self.place(event.pc)).collect();
        let mut done = 0;
        for (run, key) in moments(steps, events, &places).into_iter().enumerate() {
            done += u64::from(steps.runs()[run].1);
            if done > given {
                self.come_to(key, steps, run + 1, stream);
            }
        }
    }

    fn come_to(&mut self, key: u64, steps: &Steps, runs: usize, stream: &mut Stream) {
        let prefix = || steps.runs()[..runs].iter().copied().collect::<Steps>();
        if let Some(at) = self.known.get(&key) {
            let known = &mut self.all[*at];
            known.seen += 1;
            let own = known.steps.runs().len();
            if runs < own || stream.below(OTHER_WAY) == 0 {
                self.runs = self.runs - own + runs;
                known.steps = prefix();
            }
            return;
        }
        if self.all.len() >= MOST_SITUATIONS || self.runs + runs > MOST_RUNS {
            return;
        }
        self.known.insert(key, self.all.len());
        self.runs += runs;
        self.all.push(Situation {
            steps: prefix(),
            seen: 1,
            sent: 0,
        });
    }

    fn place(&mut self, pc: u64) -> u32 {
        let next = self.places.len() as u32;
        *self.places.entry(pc).or_insert(next)
    }
}

impl Situation {
    fn times(&self) -> u64 {
        self.seen + self.sent * WEIGHT_OF_SENT
    }
}

/// The situation at the end of each run of steps.
fn moments(steps: &Steps, events: &[VisibleAction], places: &[u32]) -> Vec<u64> {
    let ends = ends_of_runs(steps, events);
    let threads = events
        .iter()
        .map(|event| event.thread as usize + 1)
        .max()
        .unwrap_or(0)
        .min(MAX_THREADS);
    // What a thread is about to do is what it does next: so from the end.
    let mut next = vec![NOTHING; threads];
    let mut event = events.len();
    let mut moments = Vec::with_capacity(ends.len());
    for end in ends.iter().rev() {
        while event > *end {
            event -= 1;
            if let Some(next) = next.get_mut(events[event].thread as usize) {
                *next = places[event];
            }
        }
        moments.push(key(&next));
    }
    moments.reverse();
    moments
}

/// For each run of steps: how many events there were when it ended. As far as both fit together,
/// and not the last, which nothing comes after.
fn ends_of_runs(steps: &Steps, events: &[VisibleAction]) -> Vec<usize> {
    let mut at = 0;
    let mut ends = Vec::new();
    for (thread, _) in steps.runs().iter().take(LONGEST) {
        let own = events[at..]
            .iter()
            .take_while(|event| event.thread == *thread)
            .count();
        at += own;
        if own == 0 || at == events.len() {
            break;
        }
        ends.push(at);
    }
    ends
}

fn key(next: &[u32]) -> u64 {
    let mut hasher = FxHasher::default();
    for place in next {
        hasher.write_u32(*place);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events of threads at places.
    fn events(all: &[(u32, u64)]) -> Vec<VisibleAction> {
        all.iter()
            .map(|(thread, pc)| VisibleAction {
                kind: 0,
                thread: *thread,
                after_preemption: false,
                object: None,
                own_steps: 0,
                pc: *pc,
                address: 0,
                value: 0,
                stack: Vec::new(),
            })
            .collect()
    }

    fn steps(text: &str) -> Steps {
        text.parse().unwrap()
    }

    fn stream() -> Stream {
        Stream::seed(1)
    }

    #[test]
    fn a_situation_is_where_another_goes_on_and_is_told_from_others_by_what_comes_next() {
        let mut situations = Situations::default();
        let mut add = |text: &str, all: &[(u32, u64)]| {
            situations.add(&steps(text), 0, &events(all), &mut stream());
            situations.all.len()
        };
        // Steps that nobody sees count for who takes them.
        assert_eq!(add("t0*5 t1*2 t0", &[(0, 1), (0, 2), (1, 7), (0, 3)]), 2);
        // The same situations, come to otherwise.
        assert_eq!(add("t0*2 t1*2 t0", &[(0, 2), (1, 7), (0, 3)]), 2);
        // Another, for the first goes on elsewhere.
        assert_eq!(add("t0 t1 t0", &[(0, 2), (1, 7), (0, 4)]), 4);
        assert_eq!(situations.all[0].seen, 2);
        assert_eq!(situations.all[2].seen, 1);
        assert_eq!(situations.all[3].steps, steps("t0 t1"));
    }

    #[test]
    fn what_was_given_is_not_counted_as_come_to() {
        let mut situations = Situations::default();
        let all = events(&[(0, 1), (1, 7), (0, 2), (1, 8)]);
        situations.add(&steps("t0 t1 t0 t1"), 2, &all, &mut stream());
        assert_eq!(situations.all.len(), 1);
        assert_eq!(situations.all[0].steps, steps("t0 t1 t0"));
    }

    #[test]
    fn steps_and_events_that_do_not_fit_end_there() {
        let mut situations = Situations::default();
        for (text, all) in [
            ("t0 t1", &[][..]),
            ("t0 t1", &[(1, 7), (0, 1)]),
            ("", &[(0, 1), (1, 7)]),
            ("t0 t1 t2", &[(0, 1), (2, 3)]),
        ] {
            situations.add(&steps(text), 0, &events(all), &mut stream());
        }
        // Of the last, that thread 0 had stopped.
        assert_eq!(situations.all.len(), 1);
        assert_eq!(situations.all[0].steps, steps("t0"));
    }

    #[test]
    fn who_comes_seldom_is_gone_back_to_more_often() {
        let mut situations = Situations::default();
        assert_eq!(situations.rare(&mut stream()), Steps::new());
        for _ in 0..2_000 {
            let all = events(&[(0, 1), (1, 7)]);
            situations.add(&steps("t0 t1"), 0, &all, &mut stream());
        }
        let all = events(&[(1, 7), (0, 1), (1, 8)]);
        situations.add(&steps("t1 t0 t1"), 0, &all, &mut stream());
        let mut stream = stream();
        let drawn: Vec<Steps> = (0..400).map(|_| situations.rare(&mut stream)).collect();
        let times = |text: &str| drawn.iter().filter(|one| **one == steps(text)).count();
        assert!((60..140).contains(&times("")), "{}", times(""));
        assert_eq!(times("t0"), 0);
        assert!(times("t1") > 100 && times("t1 t0") > 100);
    }
}
