//! What happens before what in a schedule, and which of its steps race.

use super::step::{ExploredStep, overlap};

/// The steps of a schedule, with the order that all schedules of its kind share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ordered {
    steps: Vec<ExploredStep>,
    /// For each step, how many steps of each thread happen before it, its own included.
    clocks: Vec<Clock>,
    /// The number of each step among those of its thread, from 1.
    numbers: Vec<u32>,
    /// Every two steps of different threads conflict.
    blind: bool,
}

type Clock = Vec<u32>;

/// Two steps of which the first could have come after the second.
#[derive(Clone, Debug)]
pub(crate) struct StepRace {
    pub(crate) first: usize,
    /// There is nothing between the two that has to be.
    pub(crate) immediate: bool,
    /// What happens before the second step in its own thread.
    own: Clock,
    /// What happens before it at all.
    before: Clock,
    /// Who takes the second.
    pub(crate) thread: u32,
}

impl Ordered {
    /// Without steps. `blind`: nothing is known of what steps touch.
    pub(crate) fn new(blind: bool) -> Ordered {
        Ordered {
            blind,
            ..Ordered::default()
        }
    }

    pub(crate) fn steps(&self) -> &[ExploredStep] {
        &self.steps
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        self.steps.truncate(length);
        self.clocks.truncate(length);
        self.numbers.truncate(length);
    }

    /// The process ended by the last step.
    pub(crate) fn last_ends(&mut self) {
        if let Some(last) = self.steps.last_mut() {
            last.ends = true;
        }
    }

    /// Adds a step, and says which steps before race with it.
    pub(crate) fn push(&mut self, step: ExploredStep) -> Vec<StepRace> {
        let (races, mut clock) = self.races_with(&step);
        let number = 1 + clock.get(step.thread as usize).copied().unwrap_or(0);
        set(&mut clock, step.thread, number);
        self.steps.push(step);
        self.clocks.push(clock);
        self.numbers.push(number);
        races
    }

    /// Which steps race with one that comes next, and what happens before it.
    pub(crate) fn races_with(&self, step: &ExploredStep) -> (Vec<StepRace>, Clock) {
        let own = self
            .steps
            .iter()
            .rposition(|before| before.thread == step.thread)
            .map_or_else(Clock::new, |at| self.clocks[at].clone());
        let mut clock = own.clone();
        let mut found = Vec::new();
        for at in (0..self.steps.len()).rev() {
            let before = &self.steps[at];
            if before.thread == step.thread || !(self.blind || before.conflicts(step)) {
                continue;
            }
            let may_have_made_it_wait = step.blocks
                && !self.is_in(at, &own)
                && touches_what_it_waits_for(before, step)
                && !frees_for(before, step);
            if may_have_made_it_wait {
                found.push((at, false));
            }
            if !self.is_in(at, &clock) {
                join(&mut clock, &self.clocks[at]);
                found.push((at, true));
            }
        }
        let races = found
            .into_iter()
            .filter(|(at, immediate)| !immediate || !frees_for(&self.steps[*at], step))
            .map(|(first, immediate)| StepRace {
                first,
                immediate,
                own: own.clone(),
                before: clock.clone(),
                thread: step.thread,
            })
            .collect();
        (races, clock)
    }

    /// Who can take the first step of what leads to the second step of the race without the first.
    pub(crate) fn initials(&self, race: &StepRace) -> u64 {
        let mut seen: Vec<(u32, u32)> = Vec::new();
        let mut initials = 0;
        for at in race.first + 1..self.steps.len() {
            let left_out = if race.immediate {
                self.is_in(race.first, &self.clocks[at])
            } else {
                !self.is_in(at, &race.own)
            };
            let thread = self.steps[at].thread;
            if left_out || seen.iter().any(|(other, _)| *other == thread) {
                continue;
            }
            if !comes_after(&seen, &self.clocks[at]) {
                initials |= super::step::only(thread);
            }
            seen.push((thread, self.numbers[at]));
        }
        let before = if race.immediate {
            &race.before
        } else {
            &race.own
        };
        let first = seen.iter().all(|(other, _)| *other != race.thread);
        if first && !comes_after(&seen, before) {
            initials |= super::step::only(race.thread);
        }
        initials
    }

    fn is_in(&self, at: usize, clock: &Clock) -> bool {
        let thread = self.steps[at].thread as usize;
        clock.get(thread).copied().unwrap_or(0) >= self.numbers[at]
    }
}

fn comes_after(steps: &[(u32, u32)], clock: &Clock) -> bool {
    steps
        .iter()
        .any(|(thread, number)| clock.get(*thread as usize).copied().unwrap_or(0) >= *number)
}

/// Whether `before` may be why `step` had to wait.
fn touches_what_it_waits_for(before: &ExploredStep, step: &ExploredStep) -> bool {
    let waits_for = step.touched.place();
    let second = (before.touched.with, 4);
    before.ends
        || before.touched.how == super::step::TouchKind::All
        || overlap(before.touched.place(), waits_for)
        || (before.touched.with != 0 && overlap(second, waits_for))
}

/// Whether `step` waits for what nobody could have before `before`.
fn frees_for(before: &ExploredStep, step: &ExploredStep) -> bool {
    let (address, size) = step.touched.place();
    let freed = |at: u64| overlap((at, 4), (address, size));
    step.blocks && before.frees.is_some_and(freed)
}

fn set(clock: &mut Clock, thread: u32, number: u32) {
    let thread = thread as usize;
    if clock.len() <= thread {
        clock.resize(thread + 1, 0);
    }
    clock[thread] = number;
}

fn join(clock: &mut Clock, other: &Clock) {
    if clock.len() < other.len() {
        clock.resize(other.len(), 0);
    }
    for (mine, theirs) in clock.iter_mut().zip(other) {
        *mine = (*mine).max(*theirs);
    }
}
