//! Schedules: who took each step, as data and as text.
//!
//! The text is run-length: `t0*3 t1 s0*2` is three steps of thread 0, one of thread 1, and two
//! frames that the server takes from connection 0. Steps that were refused are not in it: a
//! schedule is replayed by picking exactly these.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::scenario::objects::ConnId;

use super::actors::Actor;
use super::machine::ActorName;
use super::schedulers::Scheduler;

/// Who took each step. Adjacent runs have different actors, and none is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    runs: Vec<(ActorName, u32)>,
}

/// Why a text is no schedule.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "`{word}` is no run of steps: expected `t0*3` (thread 0, three steps) or `s0` (the server takes from connection 0)"
)]
pub struct ScheduleError {
    word: String,
}

impl Schedule {
    /// The schedule of these picks, in a scenario of so many threads.
    pub(crate) fn of(picks: &[Actor], threads: u16) -> Schedule {
        let mut schedule = Schedule::default();
        for actor in picks {
            schedule.push(
                match actor.0.checked_sub(threads) {
                    Some(conn) => ActorName::Server(ConnId(conn)),
                    None => ActorName::Thread(actor.0),
                },
                1,
            );
        }
        schedule
    }

    /// The picks, in a scenario of so many threads. A thread that it does not have becomes an actor
    /// that is never ready.
    pub(crate) fn picks(&self, threads: u16) -> Vec<Actor> {
        let actor = |name: ActorName| match name {
            ActorName::Thread(thread) if thread < threads => Actor(thread),
            ActorName::Thread(_) => Actor::NOBODY,
            ActorName::Server(conn) => Actor(threads.saturating_add(conn.0).min(Actor::NOBODY.0)),
        };
        self.runs
            .iter()
            .flat_map(|(name, count)| std::iter::repeat_n(actor(*name), *count as usize))
            .collect()
    }

    /// How many steps it has.
    pub(crate) fn steps(&self) -> u64 {
        self.runs.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// The runs, in order.
    pub(crate) fn runs(&self) -> &[(ActorName, u32)] {
        &self.runs
    }

    fn push(&mut self, name: ActorName, count: u32) {
        match self.runs.last_mut() {
            Some((last, so_far)) if *last == name => *so_far = so_far.saturating_add(count),
            _ if count == 0 => {}
            _ => self.runs.push((name, count)),
        }
    }
}

/// The longest schedule that a text may stand for.
const MAX_STEPS: u64 = 100_000_000;

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, count)) in self.runs.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            match name {
                ActorName::Thread(thread) => write!(f, "t{thread}")?,
                ActorName::Server(conn) => write!(f, "s{}", conn.0)?,
            }
            if *count > 1 {
                write!(f, "*{count}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Schedule, ScheduleError> {
        let mut schedule = Schedule::default();
        let mut steps = 0u64;
        for word in text.split_ascii_whitespace() {
            let run = parse_run(word).filter(|(_, count)| {
                steps += u64::from(*count);
                *count > 0 && steps <= MAX_STEPS
            });
            let (name, count) = run.ok_or_else(|| ScheduleError {
                word: word.to_owned(),
            })?;
            schedule.push(name, count);
        }
        Ok(schedule)
    }
}

fn parse_run(word: &str) -> Option<(ActorName, u32)> {
    let (name, count) = word.split_once('*').unwrap_or((word, "1"));
    let (sort, number) = name.split_at_checked(1)?;
    let digits = |text: &str| {
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(())
    };
    digits(number)?;
    digits(count)?;
    let number = number.parse().ok()?;
    let name = match sort {
        "t" => ActorName::Thread(number),
        "s" => ActorName::Server(ConnId(number)),
        _ => return None,
    };
    Some((name, count.parse().ok()?))
}

serde_as_text!(Schedule);

/// Notes down the picks of another scheduler that took a step.
#[derive(Clone, Debug)]
pub(crate) struct NotingScheduler<S> {
    /// Who decides.
    pub(crate) scheduler: S,
    /// Who took each step.
    pub(crate) picks: Vec<Actor>,
}

impl<S> NotingScheduler<S> {
    /// Before the first step.
    pub(crate) fn new(scheduler: S) -> NotingScheduler<S> {
        NotingScheduler {
            scheduler,
            picks: Vec::new(),
        }
    }
}

impl<S: Scheduler> Scheduler for NotingScheduler<S> {
    const FUSES: bool = S::FUSES;

    fn begin(&mut self, index: u64) {
        self.picks.clear();
        self.scheduler.begin(index);
    }

    fn pick(&mut self, ready: super::actors::Actors, current: Option<Actor>) -> Option<Actor> {
        self.scheduler.pick(ready, current)
    }

    fn took(&mut self, actor: Actor) {
        self.picks.push(actor);
        self.scheduler.took(actor);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_schedule_is_run_length_text() {
        let picks: Vec<Actor> = [0, 0, 0, 1, 2, 2].into_iter().map(Actor).collect();
        let schedule = Schedule::of(&picks, 2);
        assert_eq!(schedule.to_string(), "t0*3 t1 s0*2");
        assert_eq!(schedule.picks(2), picks);
    }

    #[test]
    fn what_is_no_run_is_named() {
        for text in [
            "x0",
            "t",
            "t0*",
            "t0*0",
            "t-1",
            "t0*+3",
            "t99999999999",
            "é1",
            "t0*4000000000",
        ] {
            let error = text.parse::<Schedule>().expect_err(text);
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("`{text}` is no run"))
            );
        }
    }

    proptest! {
        #[test]
        fn the_text_of_a_schedule_is_that_schedule(picks in prop::collection::vec(0..5u16, 0..80)) {
            let picks: Vec<Actor> = picks.into_iter().map(Actor).collect();
            let schedule = Schedule::of(&picks, 3);
            prop_assert_eq!(schedule.to_string().parse(), Ok(schedule.clone()));
            prop_assert_eq!(schedule.picks(3), picks);
        }
    }
}
