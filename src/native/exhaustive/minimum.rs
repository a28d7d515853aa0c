//! The fewest preemptions with which a program fails, proved by running every schedule with fewer.

use super::super::identity::FailureIdentity;
use super::super::launcher::{LaunchError, Launcher, MOST_HUNG};
use super::super::minimise::{Minimised, needs_stacks, told_again};
use super::super::plan::RunPlan;
use super::super::symbols::Symbols;
use super::{BoundedSearch, Explorer, ProgramRuns};

/// What is known of the fewest preemptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MinimumProof {
    /// No schedule with fewer fails in this way: all were run.
    pub(crate) proved: bool,
    /// Why not.
    pub(crate) why_not: Option<String>,
    /// Schedules that were run for it.
    pub(crate) schedules: u64,
}

/// Looks for a schedule that fails as `small` does with fewer preemptions, and takes its place if
/// there is one. Runs at most `most` schedules; `keep_going` is told how many were.
pub(crate) fn prove_minimum(
    launcher: &mut Launcher,
    plan: &RunPlan,
    small: &mut Minimised,
    most: u64,
    keep_going: impl FnMut(u64) -> bool,
) -> Result<MinimumProof, LaunchError> {
    launcher.ending_what_hangs(small.execution.taken(), |launcher| {
        prove_within(launcher, plan, small, most, keep_going)
    })
}

fn prove_within(
    launcher: &mut Launcher,
    plan: &RunPlan,
    small: &mut Minimised,
    most: u64,
    mut keep_going: impl FnMut(u64) -> bool,
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
            if proof.schedules >= most || !keep_going(proof.schedules) {
                proof.proved = false;
                proof.why_not = Some("within the schedules that it may take".to_owned());
                return Ok(proof);
            }
            if hung >= MOST_HUNG {
                proof.proved = false;
                proof.why_not = Some("for schedules that hang".to_owned());
                return Ok(proof);
            }
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
            proof.why_not = Some(format!("for {limit}"));
            return Ok(proof);
        }
        bound += 1;
    }
    Ok(proof)
}
