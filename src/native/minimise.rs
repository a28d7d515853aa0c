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
    mut keep_going: impl FnMut(u64) -> bool,
) -> Result<Minimised, LaunchError> {
    let symbols = Symbols::new(launcher.maps());
    let told = told_again(launcher, plan, failed)?;
    let mut best = Minimised::none(plan, failed);
    let Some(identity) = FailureIdentity::of(&told, &symbols) else {
        best.cut = launcher.cut().or(Some(WorkCut::Differs));
        return Ok(best);
    };
    let (mut improved, mut hung) = (true, 0);
    while improved && !best.execution.preempted.is_empty() {
        improved = false;
        for candidate in candidates(&best.execution) {
            best.cut = match launcher.cut() {
                None if best.tried >= MAX_TRIED => Some(WorkCut::Schedules),
                None if hung >= MOST_HUNG => Some(WorkCut::Hung),
                None if !keep_going(best.tried) => Some(WorkCut::Interrupted),
                cut => cut,
            };
            if best.cut.is_some() {
                return Ok(best);
            }
            let tried = RunPlan {
                strategy: RunStrategy::First,
                steps: candidate,
                strict: false,
                stacks: needs_stacks(failed),
                ..plan.clone()
            };
            best.tried += 1;
            let execution = launcher.run(&tried)?;
            best.cut = launcher.cut().filter(|_| execution.timed_out);
            if best.cut.is_some() {
                return Ok(best);
            }
            let fewer = execution.preempted.len() < best.execution.preempted.len();
            if fewer && identity.is_of(&execution, &symbols) {
                best.plan = plan.again(execution.steps.clone());
                best.execution = execution;
                improved = true;
                break;
            }
            hung += u64::from(execution.timed_out);
        }
    }
    Ok(best)
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
