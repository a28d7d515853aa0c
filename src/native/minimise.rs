//! A failing schedule with fewer preemptions: fewer places to look at.
//!
//! A candidate is a prefix of steps, after which whoever runs goes on as long as it can. It is
//! taken if the program fails in the same way with fewer preemptions. What is left is a local
//! minimum: no single preemption can be left out.

use super::execution::{Execution, FailureKind};
use super::identity::FailureIdentity;
use super::launcher::{LaunchError, Launcher, MOST_HUNG};
use super::plan::{RunPlan, RunStrategy};
use super::steps::Steps;
use super::symbols::Symbols;
use super::work_limit::WorkCut;

/// What became of a failing schedule.
#[derive(Clone, Debug)]
pub(crate) struct Minimised {
    /// The plan that gives it.
    pub(crate) plan: RunPlan,
    /// The execution.
    pub(crate) execution: Execution,
    /// Preemptions that it had before.
    pub(crate) preemptions_before: usize,
    /// Executions that it took.
    pub(crate) tried: u64,
    /// Why not all was tried. If all was, none of its preemptions can be left out.
    pub(crate) cut: Option<WorkCut>,
}

/// The most executions that are tried.
const MAX_TRIED: u64 = 3_000;

/// Of fewer runs of steps each preemption is tried alone.
const LEAST_WINDOW: usize = 4;

/// Takes preemptions out of `failed`, which came from `plan`. `keep_going` is told how many were
/// tried.
pub(crate) fn minimise(
    launcher: &mut Launcher,
    plan: &RunPlan,
    failed: &Execution,
    keep_going: impl FnMut(u64) -> bool,
) -> Result<Minimised, LaunchError> {
    launcher.ending_what_hangs(failed.taken(), |launcher| {
        take_out(launcher, plan, failed, keep_going)
    })
}

fn take_out(
    launcher: &mut Launcher,
    plan: &RunPlan,
    failed: &Execution,
    keep_going: impl FnMut(u64) -> bool,
) -> Result<Minimised, LaunchError> {
    let symbols = Symbols::new(launcher.maps());
    let told = told_again(launcher, plan, failed)?;
    let mut best = Minimised::none(plan, failed);
    let Some(identity) = FailureIdentity::of(&told, &symbols) else {
        best.cut = launcher.cut().or(Some(WorkCut::Differs));
        return Ok(best);
    };
    let mut shrinking = Shrinking {
        launcher,
        plan,
        stacks: needs_stacks(failed),
        identity,
        symbols,
        best,
        hung: 0,
        keep_going,
    };
    shrinking.many_at_once()?;
    while shrinking.one_less()? {}
    Ok(shrinking.best)
}

/// A failing schedule while it becomes smaller.
struct Shrinking<'a, F> {
    launcher: &'a mut Launcher,
    plan: &'a RunPlan,
    stacks: bool,
    identity: FailureIdentity,
    symbols: Symbols,
    best: Minimised,
    hung: u64,
    keep_going: F,
}

impl<F: FnMut(u64) -> bool> Shrinking<'_, F> {
    /// In halves of the schedule, then in quarters, and so on, each thread takes its steps without
    /// interruption: of many preemptions few may matter.
    fn many_at_once(&mut self) -> Result<(), LaunchError> {
        let mut size = self.best.execution.steps.runs().len() / 2;
        while size >= LEAST_WINDOW {
            let mut from = 0;
            while from < self.best.execution.steps.runs().len() {
                let runs = self.best.execution.steps.runs();
                let candidate = uninterrupted(runs, from, size);
                if candidate == self.best.execution.steps || !self.takes(candidate)? {
                    from += size;
                }
                if self.best.cut.is_some() {
                    return Ok(());
                }
            }
            size /= 2;
        }
        Ok(())
    }

    /// Whether something could be left out of what is the smallest yet.
    fn one_less(&mut self) -> Result<bool, LaunchError> {
        for candidate in candidates(&self.best.execution) {
            if self.takes(candidate)? {
                return Ok(true);
            }
            if self.best.cut.is_some() {
                break;
            }
        }
        Ok(false)
    }

    /// Whether the program fails in the same way with fewer preemptions, by these steps.
    fn takes(&mut self, candidate: Steps) -> Result<bool, LaunchError> {
        let best = &mut self.best;
        best.cut = match self.launcher.cut() {
            None if best.tried >= MAX_TRIED => Some(WorkCut::Schedules),
            None if self.hung >= MOST_HUNG => Some(WorkCut::Hung),
            None if !(self.keep_going)(best.tried) => Some(WorkCut::Interrupted),
            cut => cut,
        };
        if best.cut.is_some() || best.execution.preempted.is_empty() {
            return Ok(false);
        }
        let tried = RunPlan {
            strategy: RunStrategy::First,
            steps: candidate,
            strict: false,
            stacks: self.stacks,
            ..self.plan.clone()
        };
        best.tried += 1;
        let execution = self.launcher.run(&tried)?;
        best.cut = self.launcher.cut().filter(|_| execution.timed_out);
        let fewer = execution.preempted.len() < best.execution.preempted.len();
        if best.cut.is_none() && fewer && self.identity.is_of(&execution, &self.symbols) {
            best.plan = self.plan.again(execution.steps.clone());
            best.execution = execution;
            return Ok(true);
        }
        self.hung += u64::from(execution.timed_out && best.cut.is_none());
        Ok(false)
    }
}

impl Minimised {
    /// Nothing is taken out.
    pub(crate) fn none(plan: &RunPlan, failed: &Execution) -> Minimised {
        Minimised {
            plan: plan.again(failed.steps.clone()),
            execution: failed.clone(),
            preemptions_before: failed.preempted.len(),
            tried: 0,
            cut: None,
        }
    }
}

/// Which deadlock it is hangs on where threads wait.
pub(super) fn needs_stacks(failed: &Execution) -> bool {
    failed.kind() == Some(FailureKind::DEADLOCK)
}

/// A failing execution with what its identity takes: run once more, where that has to be.
pub(super) fn told_again(
    launcher: &mut Launcher,
    plan: &RunPlan,
    failed: &Execution,
) -> Result<Execution, LaunchError> {
    if !needs_stacks(failed) {
        return Ok(failed.clone());
    }
    launcher.run(&RunPlan {
        stacks: true,
        ..plan.again(failed.steps.clone())
    })
}

/// Of the runs from `from` on, `size` of them, each thread's together, in the order in which they
/// first came.
fn uninterrupted(runs: &[(u32, u32)], from: usize, size: usize) -> Steps {
    let to = runs.len().min(from + size);
    let mut together: Vec<(u32, u32)> = Vec::new();
    for (thread, count) in &runs[from..to] {
        match together.iter_mut().find(|(known, _)| known == thread) {
            Some((_, all)) => *all = all.saturating_add(*count),
            None => together.push((*thread, *count)),
        }
    }
    let around = [&runs[..from], &together, &runs[to..]].concat();
    around.into_iter().collect()
}

/// Schedules with fewer preemptions than this one, the greatest changes first.
fn candidates(execution: &Execution) -> impl Iterator<Item = Steps> + use<> {
    let runs = execution.steps.runs().to_vec();
    let preempted = execution.preempted.clone();
    let ends = preempted.clone();
    let prefixes = {
        let runs = runs.clone();
        // As far as some preemption; after it whoever runs goes on.
        std::iter::once(0)
            .chain(ends)
            .map(move |run| runs.iter().copied().take(run + 1).collect())
    };
    let removed = preempted.into_iter().rev().flat_map(move |run| {
        [without(&runs, run, true), without(&runs, run, false)]
            .into_iter()
            .flatten()
    });
    prefixes.chain(removed)
}

/// The thread that lost its turn at the start of `run` goes on with what it did next; or it goes on
/// to its end.
fn without(runs: &[(u32, u32)], run: usize, only_next: bool) -> Option<Steps> {
    // Before the first run there is only the main thread.
    let thread = match run.checked_sub(1) {
        Some(before) => runs.get(before)?.0,
        None => 0,
    };
    let later: Vec<usize> = (run..runs.len())
        .filter(|at| runs[*at].0 == thread)
        .collect();
    let moved: &[usize] = if only_next {
        later.get(..1)?
    } else {
        later
            .get(..later.len().max(2))
            .filter(|_| later.len() > 1)?
    };
    let mut steps: Steps = runs[..run].iter().copied().collect();
    for at in moved {
        steps.push(thread, runs[*at].1);
    }
    for (at, (thread, count)) in runs.iter().enumerate().skip(run) {
        if !moved.contains(&at) {
            steps.push(*thread, *count);
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_part_of_a_schedule_each_thread_goes_on_without_interruption() {
        let steps: Steps = "t0 t1 t0*2 t1*3 t2 t0".parse().unwrap();
        let of = |from, size| uninterrupted(steps.runs(), from, size).to_string();
        assert_eq!(of(0, 4), "t0*3 t1*4 t2 t0");
        assert_eq!(of(1, 3), "t0 t1*4 t0*2 t2 t0");
        assert_eq!(of(4, 9), steps.to_string());
    }
}
