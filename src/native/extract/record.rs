//! Schedules of a program, run for what its operations do.

use super::operation::{self, Operation};
use crate::native::execution::FailureKind;
use crate::native::launcher::{LaunchError, Launcher};
use crate::native::plan::{RunPlan, RunStrategy};
use crate::oracle::Kind;

/// Which schedules are run.
#[derive(Clone, Debug)]
pub(crate) struct RecordPlan {
    /// Where draws come from.
    pub(crate) seed: u64,
    /// How many.
    pub(crate) schedules: u64,
    /// The most steps of one.
    pub(crate) max_steps: u64,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// Schedules that ran.
    pub(crate) schedules: u64,
    /// Those of them in which something went wrong.
    pub(crate) failures: u64,
    /// Those of them that did not come to their ends by it: a crash, a deadlock.
    pub(crate) broken: u64,
    /// Those that say nothing, and why the first does not.
    pub(crate) unusable: u64,
    pub(crate) unusable_why: Option<String>,
    /// Whole operations, of all schedules.
    pub(super) operations: Vec<Operation>,
    /// Operations that did not come to their end.
    pub(crate) cut: u64,
    /// Addresses that changed hands outside of operations.
    pub(crate) outside: u64,
    /// The program marks no operations: they are inferred.
    pub(crate) inferred: bool,
}

/// More would not fit into memory; who needs more has one kind of operation many times.
const MOST_ACTS: usize = 4_000_000;

/// In turn: how the schedules are drawn. The first is that of a program left alone.
const STRATEGIES: [RunStrategy; 4] = [
    RunStrategy::First,
    RunStrategy::Random,
    RunStrategy::Pos,
    RunStrategy::Pct { depth: 3 },
];

impl Recorded {
    /// How many operations were seen whole.
    pub(crate) fn operations(&self) -> u64 {
        self.operations.len() as u64
    }

    /// The number of the schedule that an operation was in.
    pub(super) fn schedule_of(&self, operation: usize) -> u64 {
        self.operations[operation].execution
    }

    /// Runs them. `keep_going` is told how many ran, and says whether to go on.
    pub(crate) fn run(
        launcher: &mut Launcher,
        plan: &RecordPlan,
        mut keep_going: impl FnMut(u64) -> bool,
    ) -> Result<Recorded, LaunchError> {
        let mut recorded = Recorded::default();
        let mut acts = 0;
        for index in 0..plan.schedules {
            if !keep_going(index) || acts > MOST_ACTS {
                break;
            }
            let strategy = STRATEGIES[index as usize % STRATEGIES.len()];
            let run = RunPlan {
                stacks: true,
                operations: true,
                max_steps: plan.max_steps,
                ..RunPlan::new(strategy, plan.seed, index)
            };
            let execution = launcher.run(&run)?;
            if let Some(why) = execution.unusable() {
                recorded.unusable += 1;
                recorded.unusable_why.get_or_insert(why);
                continue;
            }
            recorded.schedules += 1;
            // What the tracking server makes of it does not keep operations from their ends.
            let failure = execution.failure.as_ref().map(|failure| failure.kind);
            let diverged = matches!(
                failure,
                Some(FailureKind::Diverged(kind)) if kind != Kind::Deadlock
            );
            recorded.failures += u64::from(failure.is_some());
            recorded.broken += u64::from(failure.is_some() && !diverged);
            let events = launcher.events(&execution)?;
            let Some(tracked) = &execution.tracked else {
                continue;
            };
            let read = operation::read(index, &events, &tracked.spoken);
            acts += read.whole.iter().map(|one| one.acts.len()).sum::<usize>();
            recorded.operations.extend(read.whole);
            recorded.cut += read.cut;
            recorded.outside += read.outside;
            recorded.inferred |= read.inferred;
        }
        Ok(recorded)
    }
}
