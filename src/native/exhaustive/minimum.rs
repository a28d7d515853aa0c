//! The fewest preemptions with which a program fails, proved by running every schedule with fewer.

use std::fmt;

use super::super::identity::FailureIdentity;
use super::super::launcher::{LaunchError, Launcher, MOST_HUNG};
use super::super::minimise::{Minimised, needs_stacks, told_again};
use super::super::plan::RunPlan;
use super::super::symbols::Symbols;
use super::super::work_limit::WorkCut;
use super::{BoundedSearch, Explorer, ProgramRuns};

/// What is known of the fewest preemptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MinimumProof {
    /// No schedule with fewer fails in this way: all were run.
    pub(crate) proved: bool,
    /// Why not.
    pub(crate) why_not: Option<NotProved>,
    /// Schedules that were run for it.
    pub(crate) schedules: u64,
}

/// Why a minimum is not proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotProved {
    /// Not all schedules were run.
    Cut(WorkCut),
    /// They were, as far as can be: what stands against a proof.
    Limit(String),
}

impl MinimumProof {
    /// None was begun, for what comes before it was not ended.
    pub(crate) fn not_begun(cut: WorkCut) -> MinimumProof {
        MinimumProof {
            proved: false,
            why_not: Some(NotProved::Cut(cut)),
            schedules: 0,
        }
    }
}

impl fmt::Display for NotProved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotProved::Cut(cut) => cut.fmt(f),
            NotProved::Limit(limit) => f.write_str(limit),
        }
    }
}

/// Looks for a schedule that fails as `small` does with fewer preemptions, and takes its place if
/// there is one. Runs at most `most` schedules; `progress` is told how many were.
pub(crate) fn prove_minimum(
    launcher: &mut Launcher,
    plan: &RunPlan,
    small: &mut Minimised,
    most: u64,
    progress: impl FnMut(u64),
) -> Result<MinimumProof, LaunchError> {
    launcher.ending_what_hangs(small.execution.taken(), |launcher| {
        prove_within(launcher, plan, small, most, progress)
    })
}

fn prove_within(
    launcher: &mut Launcher,
    plan: &RunPlan,
    small: &mut Minimised,
    most: u64,
    mut progress: impl FnMut(u64),
) -> Result<MinimumProof, LaunchError> {
    let mut proof = MinimumProof {
        proved: true,
        why_not: None,
        schedules: 0,
    };
    if small.execution.preempted.is_empty() || most == 0 {
        proof.proved = small.execution.preempted.is_empty();
        return Ok(proof);
    }
    let symbols = Symbols::new(launcher.maps());
    let told = told_again(launcher, &small.plan, &small.execution)?;
    let identity = FailureIdentity::of(&told, &symbols);
    let plan = &RunPlan {
        stacks: needs_stacks(&small.execution),
        ..plan.clone()
    };
    let mut program = ProgramRuns::new(launcher, plan);
    Explorer::new(false).next(&mut program)?;
    let sees = program.unseen_file().is_none();
    let (mut bound, mut hung) = (0, 0);
    while bound < small.execution.preempted.len() {
        let mut search = BoundedSearch::new(bound as u32, sees);
        loop {
            let cut = match program.cut() {
                None if hung >= MOST_HUNG => Some(WorkCut::Hung),
                None if proof.schedules >= most => Some(WorkCut::Schedules),
                cut => cut,
            };
            if let Some(cut) = cut {
                proof.proved = false;
                proof.why_not = Some(NotProved::Cut(cut));
                return Ok(proof);
            }
            progress(proof.schedules);
            let next = search.next(&mut program)?;
            if search.strayed {
                program.note_strayed();
            }
            if next.is_none() || search.strayed {
                break;
            }
            proof.schedules += 1;
            let Some((run, execution, _)) = program.last.take() else {
                continue;
            };
            hung += u64::from(execution.timed_out);
            let fewer = execution.preempted.len() < small.execution.preempted.len();
            let fails_so = |identity: &FailureIdentity| identity.is_of(&execution, &symbols);
            if fewer && identity.as_ref().is_some_and(fails_so) {
                small.plan = run.again(execution.steps.clone());
                small.execution = execution;
                break;
            }
        }
        if let Some(limit) = program.limits.first() {
            proof.proved = false;
            proof.why_not = Some(NotProved::Limit(limit.clone()));
            return Ok(proof);
        }
        bound += 1;
    }
    Ok(proof)
}
