//! The fewest operations of a workload with which a target still fails in the same way.
//!
//! A candidate leaves out threads, buffers with all their operations, or single releases; it is
//! taken if one of a few schedules of it fails so: whoever runs goes on first, then what is left in
//! the order in which it failed, then those that a search would draw. What is left is a local
//! minimum of what was tried, not a proved one. All budgets are counts, so that the same failure is
//! always shrunk to the same program.
//!
//! A workload that ends well where nobody is preempted, whoever goes first, is not made one that
//! does not: without the release that a thread waits for there is a deadlock that is no mistake of
//! the target's.

use std::collections::{BTreeMap, BTreeSet};

use super::super::director::Director;
use super::super::execution::{Execution, FailureKind};
use super::super::identity::FailureIdentity;
use super::super::launcher::{LaunchError, Launcher, MOST_HUNG};
use super::super::minimise::told_again;
use super::super::plan::{RunPlan, RunStrategy};
use super::super::steps::Steps;
use super::super::symbols::Symbols;
use super::super::work_limit::WorkCut;
use super::TargetSetup;
use super::guide::OrderOfOps;
use crate::scenario::op::{Op, SlotId};

/// Schedules of a candidate.
const SCHEDULES: u64 = 80;

/// Schedules of all of them, and their steps: a large workload has fewer.
const MOST_SCHEDULES: u64 = 20_000;
const MOST_STEPS: u64 = 40_000_000;
/// Steps of one candidate.
const CANDIDATE_STEPS: u64 = 2_000_000;

/// Of a long workload so many operations of each thread are tried first.
const FEW: [usize; 6] = [2, 4, 8, 32, 128, 512];

/// What is left.
#[derive(Clone, Debug)]
pub(crate) struct ShrunkOps {
    /// The plan that fails, and the execution.
    pub(crate) plan: RunPlan,
    /// The execution.
    pub(crate) execution: Execution,
    /// How many operations there were.
    pub(crate) before: u64,
    /// Schedules that it took.
    pub(crate) tried: u64,
    /// Why not all was tried.
    pub(crate) cut: Option<WorkCut>,
}

/// Leaves operations out of what `launcher` does with its target, of which `failed` shows the
/// failure. The launcher does what is left from then on.
pub(crate) fn shrink_ops(
    launcher: &mut Launcher,
    (plan, failed): (&RunPlan, &Execution),
    keep_going: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<ShrunkOps>, LaunchError> {
    // How long a run of real threads took says nothing of one under control.
    let is_controlled = plan.strategy.is_controlled();
    launcher.ending_what_hangs(failed.taken().filter(|_| is_controlled), |launcher| {
        leave_out(launcher, (plan, failed), keep_going)
    })
}

fn leave_out(
    launcher: &mut Launcher,
    (plan, failed): (&RunPlan, &Execution),
    keep_going: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<ShrunkOps>, LaunchError> {
    let (Some(setup), Some(failure)) = (launcher.setup().cloned(), &failed.failure) else {
        return Ok(None);
    };
    let symbols = Symbols::new(launcher.maps());
    let controlled = plan.strategy.is_controlled();
    // What real threads showed may show as something else where one runs at a time.
    let identity = match controlled {
        true => FailureIdentity::of(&told_again(launcher, plan, failed)?, &symbols),
        false => None,
    };
    if controlled && identity.is_none() {
        return Ok(None);
    }
    let first = unpreempted(plan);
    let order = match controlled {
        true => {
            let again = launcher.run(&plan.again(failed.steps.clone()))?;
            Some(order_of(launcher, &again, &setup)?)
        }
        false => None,
    };
    let ends_well = failure.kind == FailureKind::DEADLOCK && ends_well(launcher, &first)?.0;
    let mut shrinker = Shrinker {
        launcher,
        first,
        identity,
        may_hang: controlled || failed.timed_out,
        ends_well,
        symbols,
        best: setup.clone(),
        order,
        found: None,
        tried: 0,
        steps: 0,
        hung: 0,
        keep_going,
    };
    // What was found by real threads need not show under control at all.
    if !controlled && !shrinker.is_shown_under_control(&setup)? {
        return Ok(None);
    }
    let mut before = u64::MAX;
    while shrinker.best.count() < before && shrinker.cut().is_none() {
        before = shrinker.best.count();
        shrinker.leave_out_threads()?;
        shrinker.make_one_thread()?;
        shrinker.leave_out_buffers()?;
        shrinker.leave_out_releases()?;
    }
    let cut = shrinker.cut();
    let Shrinker {
        best, found, tried, ..
    } = shrinker;
    launcher.drive(best)?;
    let Some((plan, execution)) = found else {
        return Ok(None);
    };
    Ok(Some(ShrunkOps {
        plan,
        execution,
        before: setup.count(),
        tried,
        cut,
    }))
}

struct Shrinker<'a> {
    launcher: &'a mut Launcher,
    /// The schedule in which nobody is preempted.
    first: RunPlan,
    /// What every candidate must show; any failure, if none.
    identity: Option<FailureIdentity>,
    /// A schedule without an end may be the failure: not where real threads showed another one. Of
    /// so many operations it takes longer under control than it may.
    may_hang: bool,
    /// Nobody is left waiting where nobody is preempted, and that must stay so.
    ends_well: bool,
    symbols: Symbols,
    best: TargetSetup,
    /// How it failed.
    order: Option<OrderOfOps>,
    found: Option<(RunPlan, Execution)>,
    tried: u64,
    steps: u64,
    hung: u64,
    keep_going: &'a mut dyn FnMut(u64) -> bool,
}

/// A buffer's life.
pub(super) type SlotLife = (SlotId, u32);

impl Shrinker<'_> {
    /// Whether the workload, or what a few operations of each thread are of it, fails.
    fn is_shown_under_control(&mut self, setup: &TargetSetup) -> Result<bool, LaunchError> {
        let longest = setup.ops.iter().map(Vec::len).max().unwrap_or(0);
        let few = FEW.into_iter().filter(|few| *few < longest);
        for length in few.chain([longest]) {
            let first = |ops: &Vec<Op>| ops.iter().take(length).copied().collect();
            if self.offer(setup.ops.iter().map(first).collect())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn leave_out_threads(&mut self) -> Result<(), LaunchError> {
        let mut thread = self.best.ops.len();
        while thread > 0 && self.best.ops.len() > 1 {
            thread -= 1;
            let mut ops = self.best.ops.clone();
            if thread < ops.len() {
                ops.remove(thread);
                self.offer(ops)?;
            }
        }
        Ok(())
    }

    /// What one thread shows is no matter of schedules: all operations, of one thread after the
    /// other, of each in turn, and in the order in which it failed.
    fn make_one_thread(&mut self) -> Result<(), LaunchError> {
        let ops = &self.best.ops;
        if ops.len() < 2 {
            return Ok(());
        }
        let (behind, in_turn) = (one_by_one(ops, false), one_by_one(ops, true));
        let as_they_came = self.order.as_ref();
        let as_they_came = as_they_came.map(|order| order.one_after_another(ops));
        let as_they_came = as_they_came.into_iter().flatten();
        for ops in [behind, in_turn].into_iter().flatten().chain(as_they_came) {
            if self.offer(vec![ops])? {
                break;
            }
        }
        Ok(())
    }

    /// Halves of the buffers, quarters and so on (Zeller and Hildebrandt 2002).
    fn leave_out_buffers(&mut self) -> Result<(), LaunchError> {
        let mut length = lives(&self.best.ops).len().div_ceil(2);
        while length > 0 {
            let mut begin = 0;
            let mut smaller = false;
            loop {
                let all = lives(&self.best.ops);
                let Some(rest) = all.get(begin..).filter(|rest| !rest.is_empty()) else {
                    break;
                };
                if self.cut().is_some() {
                    return Ok(());
                }
                let out: BTreeSet<SlotLife> = rest.iter().take(length).copied().collect();
                let ops = without(&self.best.ops, &out);
                if self.offer(ops)? {
                    smaller = true;
                } else {
                    begin += length;
                }
            }
            if length == 1 && !smaller {
                break;
            }
            length = if length == 1 { 1 } else { length.div_ceil(2) };
        }
        Ok(())
    }

    fn leave_out_releases(&mut self) -> Result<(), LaunchError> {
        let count = self.best.ops.len();
        for thread in (0..count).rev() {
            let mut at = self.best.ops.get(thread).map_or(0, Vec::len);
            while at > 0 && self.cut().is_none() {
                at -= 1;
                if matches!(self.best.ops[thread][at], Op::Allocate { .. }) {
                    continue;
                }
                let mut ops = self.best.ops.clone();
                ops[thread].remove(at);
                self.offer(ops)?;
            }
        }
        Ok(())
    }

    /// Why nothing more is to be tried, if that is so.
    fn cut(&mut self) -> Option<WorkCut> {
        match self.launcher.cut() {
            None if self.tried >= MOST_SCHEDULES || self.steps >= MOST_STEPS => {
                Some(WorkCut::Schedules)
            }
            None if self.hung >= MOST_HUNG => Some(WorkCut::Hung),
            None if !(self.keep_going)(self.tried) => Some(WorkCut::Interrupted),
            cut => cut,
        }
    }

    /// Whether these operations fail, too: then they are the best so far.
    fn offer(&mut self, ops: Vec<Vec<Op>>) -> Result<bool, LaunchError> {
        if self.cut().is_some() {
            return Ok(false);
        }
        let ordered = self.order.as_ref();
        let ordered = ordered.and_then(|order| order.of_what_is_left(&self.best.ops, &ops));
        let ops = normalised(ops);
        if ops.is_empty() || !can_be_done(&ops) {
            return Ok(false);
        }
        let setup = self.best.with_ops(ops);
        self.launcher.drive(setup.clone())?;
        let drawn = RunPlan {
            strategy: RunStrategy::Mix,
            ..self.first.clone()
        };
        let mut director = Director::new(drawn, 0);
        let before = self.steps;
        if self.ends_well {
            let (ends_well, tried, steps) = ends_well(self.launcher, &self.first)?;
            self.tried += tried;
            self.steps += steps;
            if !ends_well {
                return Ok(false);
            }
        }
        let ordered = ordered.map(|steps| RunPlan {
            steps,
            ..self.first.clone()
        });
        let given: Vec<RunPlan> = [self.first.clone()].into_iter().chain(ordered).collect();
        for number in 0..SCHEDULES {
            if self.cut().is_some() || self.steps - before >= CANDIDATE_STEPS {
                return Ok(false);
            }
            self.tried += 1;
            let drawn = (number as usize).checked_sub(given.len());
            let plan = match drawn {
                Some(drawn) => director.plan(drawn as u64),
                None => given[number as usize].clone(),
            };
            let execution = self.launcher.run(&plan)?;
            self.steps += execution.step_count;
            self.hung += u64::from(execution.timed_out);
            let failure = execution.failure.as_ref();
            let hangs = failure.is_some_and(|failure| failure.kind == FailureKind::Livelock);
            let identity =
                FailureIdentity::of(&execution, &self.symbols).filter(|_| self.may_hang || !hangs);
            if identity.is_some() && (self.identity.is_none() || identity == self.identity) {
                self.identity = identity;
                self.order = Some(order_of(self.launcher, &execution, &setup)?);
                self.best = setup;
                let plan = RunPlan {
                    stacks: false,
                    ..plan
                };
                self.found = Some((plan, execution));
                return Ok(true);
            }
            // One thread that makes no others has one schedule.
            if is_alone(&setup, &execution) {
                return Ok(false);
            }
            if drawn.is_some() {
                let events = self
                    .launcher
                    .first_events(&execution, super::super::learnt::MOST_EVENTS)?;
                director.learn(&plan, &execution.steps, &events);
            }
        }
        Ok(false)
    }
}

/// The order in which it did what it did; it is the launcher's last.
fn order_of(
    launcher: &Launcher,
    execution: &Execution,
    setup: &TargetSetup,
) -> Result<OrderOfOps, LaunchError> {
    let events = launcher.events(execution)?;
    Ok(OrderOfOps::of(&execution.steps, &events, setup.ops.len()))
}

/// The schedule of a workload in which nobody is preempted. It tells where threads wait.
fn unpreempted(plan: &RunPlan) -> RunPlan {
    RunPlan {
        strategy: RunStrategy::First,
        index: 0,
        strict: false,
        stacks: true,
        ..plan.again(Steps::new())
    }
}

/// Whether nobody is left waiting where nobody is preempted, whichever thread goes first; in how
/// many schedules that was seen, of how many steps.
fn ends_well(launcher: &mut Launcher, first: &RunPlan) -> Result<(bool, u64, u64), LaunchError> {
    let execution = launcher.run(first)?;
    let (mut tried, mut steps) = (1, execution.step_count);
    if execution.failure.is_some() {
        return Ok((false, tried, steps));
    }
    // The main thread makes the others, and waits for them.
    let begin: Vec<_> = execution.steps.runs().iter().take(1).copied().collect();
    for thread in 2..execution.threads {
        let order = begin.iter().copied().chain([(thread, 1)]);
        let execution = launcher.run(&RunPlan {
            steps: order.collect(),
            ..first.clone()
        })?;
        tried += 1;
        steps += execution.step_count;
        if execution.failure.is_some() {
            return Ok((false, tried, steps));
        }
    }
    Ok((true, tried, steps))
}

/// Whether no other thread was there than the main one and that of the workload.
fn is_alone(setup: &TargetSetup, execution: &Execution) -> bool {
    setup.ops.len() == 1 && execution.threads <= 2
}

pub(super) fn lives(ops: &[Vec<Op>]) -> Vec<SlotLife> {
    ops.iter()
        .flatten()
        .filter_map(|op| match op {
            Op::Allocate { slot, epoch, .. } => Some((*slot, *epoch)),
            _ => None,
        })
        .collect()
}

pub(super) fn without(ops: &[Vec<Op>], out: &BTreeSet<SlotLife>) -> Vec<Vec<Op>> {
    let is_kept = |op: &&Op| match op {
        Op::Allocate { slot, epoch, .. } | Op::Release { slot, epoch } => {
            !out.contains(&(*slot, *epoch))
        }
        _ => true,
    };
    ops.iter()
        .map(|ops| ops.iter().filter(is_kept).copied().collect())
        .collect()
}

/// The operations of all threads as those of one, each as soon as it can be done; none where one
/// waits for good.
fn one_by_one(ops: &[Vec<Op>], in_turn: bool) -> Option<Vec<Op>> {
    let mut at = vec![0; ops.len()];
    let mut there: BTreeSet<SlotLife> = BTreeSet::new();
    let mut all = Vec::new();
    let mut thread = 0;
    let mut passed = 0;
    while passed < ops.len() {
        match ops[thread].get(at[thread]) {
            Some(op @ (Op::Allocate { slot, epoch, .. } | Op::Release { slot, epoch }))
                if matches!(op, Op::Allocate { .. }) || there.contains(&(*slot, *epoch)) =>
            {
                there.insert((*slot, *epoch));
                all.push(*op);
                at[thread] += 1;
                passed = 0;
                if !in_turn {
                    continue;
                }
            }
            _ => passed += 1,
        }
        thread = (thread + 1) % ops.len();
    }
    let done: usize = at.iter().sum();
    (done == ops.iter().map(Vec::len).sum::<usize>()).then_some(all)
}

/// Each life of a buffer in a slot of its own, with as many releases as there are, and no thread
/// without operations.
pub(super) fn normalised(mut ops: Vec<Vec<Op>>) -> Vec<Vec<Op>> {
    let lives = lives(&ops);
    let numbers: BTreeMap<SlotLife, usize> = lives.iter().copied().zip(0..).collect();
    let number = |life: &SlotLife| numbers.get(life).copied();
    let mut released = vec![0u8; lives.len()];
    for op in ops.iter().flatten() {
        if let Op::Release { slot, epoch } = op
            && let Some(life) = number(&(*slot, *epoch))
        {
            released[life] = released[life].saturating_add(1);
        }
    }
    for ops in &mut ops {
        ops.retain_mut(|op| match op {
            Op::Allocate {
                slot,
                epoch,
                request,
            } => {
                let Some(life) = number(&(*slot, *epoch)) else {
                    return false;
                };
                request.releases = released[life];
                (*slot, *epoch) = (SlotId(life as u32), 1);
                true
            }
            Op::Release { slot, epoch } => {
                let Some(life) = number(&(*slot, *epoch)) else {
                    return false;
                };
                (*slot, *epoch) = (SlotId(life as u32), 1);
                true
            }
            _ => true,
        });
    }
    ops.retain(|ops| !ops.is_empty());
    ops
}

/// Whether all of it can be done one after another in some order: no operation waits for good.
pub(crate) fn can_be_done(ops: &[Vec<Op>]) -> bool {
    let mut at = vec![0; ops.len()];
    let mut there: BTreeSet<SlotLife> = BTreeSet::new();
    loop {
        let waiting = (0..at.len())
            .filter(|one| at[*one] < ops[*one].len())
            .count();
        let next = (0..at.len()).find(|one| match ops[*one].get(at[*one]) {
            None => false,
            Some(Op::Release { slot, epoch }) => there.contains(&(*slot, *epoch)),
            Some(Op::AwaitOthers) => waiting == 1,
            Some(_) => true,
        });
        let Some(thread) = next else {
            return waiting == 0;
        };
        match ops[thread][at[thread]] {
            Op::Allocate { slot, epoch, .. } => {
                there.insert((slot, epoch));
            }
            Op::Throw => at[thread] = ops[thread].len() - 1,
            _ => {}
        }
        at[thread] += 1;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The operations of each thread, as a script has them.
    pub(crate) fn parsed(ops: &[&[&str]]) -> Vec<Vec<Op>> {
        let thread = |ops: &&[&str]| ops.iter().map(|op| op.parse().unwrap()).collect();
        ops.iter().map(thread).collect()
    }

    #[test]
    fn what_is_left_stands_for_itself() {
        let ops = parsed(&[
            &["allocate s4#7 64 l1 d0 releases=2", "release s4#7"],
            &["release s3#1", "allocate s3#2 64 l1 d0", "release s3#2"],
        ]);
        let expected = parsed(&[
            &["allocate s0#1 64 l1 d0", "release s0#1"],
            &["allocate s1#1 64 l1 d0", "release s1#1"],
        ]);
        assert_eq!(normalised(ops), expected);
    }

    #[test]
    fn what_would_wait_for_good_is_no_candidate() {
        assert!(can_be_done(&parsed(&[
            &["allocate s0#1 64 l1 d0"],
            &["release s0#1"]
        ])));
        assert!(!can_be_done(&parsed(&[
            &["release s1#1", "allocate s0#1 64 l1 d0"],
            &["release s0#1", "allocate s1#1 64 l1 d0"]
        ])));
    }
}
