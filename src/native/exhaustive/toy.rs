//! Small programs in memory, for tests: threads of reads, writes, locks and semaphores.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use super::step::{
    Explorable, ExploredRun, ExploredStep, ScheduleEnd, Threads, TouchKind, Touched, each, only,
};

/// What a thread does next. A register holds what was read last.
#[derive(Clone, Copy, Debug)]
pub(super) enum ToyOp {
    Read(usize),
    Write(usize, i64),
    /// Adds to the register, and writes it.
    WriteSum(usize, i64),
    Lock(usize),
    Unlock(usize),
    /// Takes it if it is free; the register says whether.
    TryLock(usize),
    Post(usize),
    Take(usize),
    /// Where to go on if the register is so.
    GotoIf(i64, usize),
    /// Another read of an array of variables, at the register's place.
    End,
    /// The program ends.
    Exit,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ToyState {
    variables: BTreeMap<usize, i64>,
    holders: BTreeMap<usize, u32>,
    places: Vec<usize>,
    registers: Vec<i64>,
    exited: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Toy {
    pub(super) threads: Vec<Vec<ToyOp>>,
    /// How the schedules that were run to their end ended.
    pub(super) ends: BTreeSet<ToyState>,
    pub(super) traces: BTreeMap<ToyTrace, u32>,
}

/// For each step, by thread and number, what has to come before.
pub(super) type ToyTrace = Vec<Vec<(u32, u32)>>;

const LOCKS: u64 = 1 << 20;

impl Toy {
    pub(super) fn new(threads: Vec<Vec<ToyOp>>) -> Toy {
        Toy {
            threads,
            ends: BTreeSet::new(),
            traces: BTreeMap::new(),
        }
    }

    fn begin(&self) -> ToyState {
        let mut state = ToyState {
            variables: BTreeMap::new(),
            holders: BTreeMap::new(),
            places: vec![0; self.threads.len()],
            registers: vec![0; self.threads.len()],
            exited: false,
        };
        (0..self.threads.len()).for_each(|thread| self.settle(&mut state, thread));
        state
    }

    /// Takes what is no step.
    fn settle(&self, state: &mut ToyState, thread: usize) {
        while let Some(ToyOp::GotoIf(value, place)) = self.op(state, thread) {
            let jumps = state.registers[thread] == value;
            state.places[thread] = if jumps {
                place
            } else {
                state.places[thread] + 1
            };
        }
    }

    fn op(&self, state: &ToyState, thread: usize) -> Option<ToyOp> {
        self.threads[thread].get(state.places[thread]).copied()
    }

    fn finished(&self, state: &ToyState, thread: usize) -> bool {
        state.exited || matches!(self.op(state, thread), None | Some(ToyOp::End))
    }

    fn able(&self, state: &ToyState) -> Threads {
        let mut able = 0;
        for thread in 0..self.threads.len() {
            let can = match self.op(state, thread) {
                _ if self.finished(state, thread) => false,
                Some(ToyOp::Lock(lock)) => !state.holders.contains_key(&lock),
                Some(ToyOp::Take(place)) => state.variables.get(&place).is_some_and(|v| *v > 0),
                _ => true,
            };
            if can {
                able |= only(thread as u32);
            }
        }
        able
    }

    fn step(&self, state: &ToyState, thread: usize) -> ExploredStep {
        let touch = |how, address: u64| Touched {
            how,
            address,
            size: 1,
            ..Touched::default()
        };
        let (touched, blocks, frees) = match self.op(state, thread) {
            Some(ToyOp::Read(at)) => (touch(TouchKind::Read, 1 + at as u64), false, false),
            Some(ToyOp::Write(at, _) | ToyOp::WriteSum(at, _) | ToyOp::Post(at)) => {
                (touch(TouchKind::Write, 1 + at as u64), false, false)
            }
            Some(ToyOp::Take(at)) => (touch(TouchKind::Write, 1 + at as u64), true, false),
            Some(ToyOp::Lock(at)) => (touch(TouchKind::Write, LOCKS + at as u64), true, false),
            Some(ToyOp::TryLock(at)) => (touch(TouchKind::Write, LOCKS + at as u64), false, false),
            Some(ToyOp::Unlock(at)) => (touch(TouchKind::Write, LOCKS + at as u64), false, true),
            Some(ToyOp::Exit) => (touch(TouchKind::All, 0), false, false),
            Some(ToyOp::GotoIf(..) | ToyOp::End) | None => (Touched::default(), false, false),
        };
        ExploredStep {
            thread: thread as u32,
            frees: frees.then_some(touched.address),
            touched,
            blocks,
            able: self.able(state),
            ..ExploredStep::default()
        }
    }

    fn take(&self, state: &mut ToyState, thread: usize) {
        let register = state.registers[thread];
        match self.op(state, thread) {
            Some(ToyOp::Read(at)) => {
                state.registers[thread] = state.variables.get(&at).copied().unwrap_or(0);
            }
            Some(ToyOp::Write(at, value)) => {
                state.variables.insert(at, value);
            }
            Some(ToyOp::WriteSum(at, value)) => {
                state.variables.insert(at, register + value);
            }
            Some(ToyOp::Lock(at)) => {
                state.holders.insert(at, thread as u32);
            }
            Some(ToyOp::TryLock(at)) => {
                let free = !state.holders.contains_key(&at);
                state.holders.entry(at).or_insert(thread as u32);
                state.registers[thread] = free.into();
            }
            Some(ToyOp::Unlock(at)) => {
                state.holders.remove(&at);
            }
            Some(ToyOp::Post(at)) => *state.variables.entry(at).or_insert(0) += 1,
            Some(ToyOp::Take(at)) => *state.variables.entry(at).or_insert(0) -= 1,
            Some(ToyOp::Exit) => state.exited = true,
            Some(ToyOp::GotoIf(..) | ToyOp::End) | None => {}
        }
        state.places[thread] += 1;
        self.settle(state, thread);
    }

    /// Each final state, and each trace, by running every schedule.
    pub(super) fn naive(&self) -> (BTreeSet<ToyState>, BTreeSet<ToyTrace>) {
        let mut found = (BTreeSet::new(), BTreeSet::new());
        self.search(&self.begin(), &mut Vec::new(), &mut found);
        found
    }

    /// Each final state that a schedule with at most so many preemptions has.
    pub(super) fn within(&self, most: u32) -> BTreeSet<ToyState> {
        let mut found = BTreeSet::new();
        let mut left = vec![(self.begin(), None, 0)];
        while let Some((state, last, spent)) = left.pop() {
            let able = self.able(&state);
            if able == 0 {
                found.insert(state.clone());
            }
            for thread in each(able) {
                let preempts = last.is_some_and(|last| last != thread && able & only(last) != 0);
                let spent = spent + u32::from(preempts);
                if spent <= most {
                    let mut next = state.clone();
                    self.take(&mut next, thread as usize);
                    left.push((next, Some(thread), spent));
                }
            }
        }
        found
    }

    fn search(
        &self,
        state: &ToyState,
        steps: &mut Vec<ExploredStep>,
        found: &mut (BTreeSet<ToyState>, BTreeSet<ToyTrace>),
    ) {
        let able = self.able(state);
        if able == 0 {
            found.0.insert(state.clone());
            found.1.insert(trace(steps));
        }
        for thread in each(able) {
            let mut next = state.clone();
            steps.push(self.step(state, thread as usize));
            self.take(&mut next, thread as usize);
            self.search(&next, steps, found);
            steps.pop();
        }
    }
}

/// What schedules that come to the same have in common: for each step, by thread and number, the
/// last of each other thread that has to come before.
pub(super) fn trace(steps: &[ExploredStep]) -> ToyTrace {
    let mut clocks: Vec<BTreeMap<u32, u32>> = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let mut clock = BTreeMap::new();
        for before in 0..at {
            if steps[before].thread == step.thread || steps[before].conflicts(step) {
                for (thread, number) in clocks[before].clone() {
                    let mine = clock.entry(thread).or_insert(0);
                    *mine = number.max(*mine);
                }
            }
        }
        *clock.entry(step.thread).or_insert(0) += 1;
        clocks.push(clock);
    }
    let mut all: Vec<(u32, Vec<(u32, u32)>)> = steps
        .iter()
        .zip(clocks)
        .map(|(step, clock)| (step.thread, clock.into_iter().collect()))
        .collect();
    all.sort();
    all.into_iter().map(|(_, clock)| clock).collect()
}

impl Explorable for Toy {
    type Error = Infallible;

    fn run(&mut self, prefix: &[u32], asleep: Threads) -> Result<ExploredRun, Infallible> {
        let mut state = self.begin();
        let (mut steps, mut sleeping): (Vec<ExploredStep>, Threads) = (Vec::new(), 0);
        let mut end = ScheduleEnd::Whole;
        loop {
            let able = self.able(&state);
            if able == 0 {
                break;
            }
            if steps.len() + 1 == prefix.len() {
                sleeping = asleep;
            }
            let last = steps.last().map(|step| step.thread);
            let awake = able & !sleeping;
            let next = match prefix.get(steps.len()) {
                Some(next) => *next,
                None if awake == 0 => {
                    end = ScheduleEnd::Asleep;
                    break;
                }
                None => last
                    .filter(|last| awake & only(*last) != 0)
                    .or(each(awake).next())
                    .expect("somebody is awake"),
            };
            let mut step = self.step(&state, next as usize);
            step.asleep = sleeping;
            step.costs = last.is_some_and(|last| able & only(last) != 0);
            for thread in each(sleeping) {
                if step.conflicts(&self.step(&state, thread as usize)) {
                    sleeping &= !only(thread);
                }
            }
            self.take(&mut state, next as usize);
            steps.push(step);
        }
        let pending = (0..self.threads.len())
            .filter(|thread| !matches!(self.op(&state, *thread), None | Some(ToyOp::End)))
            .map(|thread| self.step(&state, thread))
            .collect();
        if end == ScheduleEnd::Whole {
            *self.traces.entry(trace(&steps)).or_insert(0) += 1;
            self.ends.insert(state);
        }
        Ok(ExploredRun {
            steps,
            pending,
            end,
        })
    }
}
