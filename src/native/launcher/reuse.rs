//! A launcher and a target: what is done with it, and schedules that share a process.
//!
//! What is reported was seen in a process of its own, or came to a good end in one whose first
//! schedule came out the same when it was run twice: see [`Anew`](super::super::anew::Anew).

use heisenbed_runtime::protocol as wire;
use rustix::process::{Pid, Signal, kill_process};

use super::{Execution, LaunchError, Launcher, RunPlan, VisibleAction, system};
use crate::native::anew::SeenAction;
use crate::native::target::TargetSetup;

/// So many actions are compared where a schedule is run twice.
const COMPARED_EVENTS: usize = 4_096;

impl Launcher {
    /// Runs the program once: a target in the process of the schedule before, where it can begin
    /// anew.
    pub(crate) fn run(&mut self, plan: &RunPlan) -> Result<Execution, LaunchError> {
        if self.anew.is_due() {
            self.repeats()?;
        }
        let mut plan = plan.clone();
        plan.anew = self.anew.suits(&plan);
        plan.swift = self.anew.swift;
        let (execution, is_first) = self.run_once(&plan)?;
        if execution.page.outcome == wire::outcome::NOT_SWIFT {
            self.anew.swift = false;
            return self.run(&plan);
        }
        if is_first {
            return self.first_repeats(&plan, execution);
        }
        if is_plain(&execution) {
            return Ok(execution);
        }
        // Whatever is not as usual must be so in a process of its own.
        self.end_live()?;
        plan.anew = false;
        let (alone, _) = self.run_once(&plan)?;
        if alone.timed_out && self.cut().is_some() {
            return Ok(alone);
        }
        // What corrupts memory may well fail in another way there.
        let same = match (&execution.failure, &alone.failure) {
            (None, None) => alone.step_count == execution.step_count,
            (ours, theirs) => ours.is_some() == theirs.is_some(),
        };
        // What a schedule aims at are places in memory, which may be others in a process that ran
        // some: then the steps that failed fail here, too.
        if !same && execution.failure.is_some() {
            let followed = RunPlan {
                anew: false,
                ..plan.again(execution.steps.clone())
            };
            let (followed, _) = self.run_once(&followed)?;
            let kind = |execution: &Execution| execution.failure.as_ref().map(|one| one.kind);
            if kind(&followed) == kind(&execution) && followed.strayed.is_none() {
                return Ok(followed);
            }
        }
        if !same && self.cut().is_none() {
            let what = match &execution.failure {
                Some(failure) => format!("schedule {} failed ({})", plan.index, failure.kind),
                None => format!("schedule {} came out otherwise", plan.index),
            };
            self.anew
                .give_up(&format!("{what} after others, and not in a new process"));
        }
        Ok(alone)
    }

    /// Why each schedule has a process of its own, where that was not meant to be.
    pub(crate) fn not_anew(&self) -> Option<&str> {
        self.anew.why_not.as_deref()
    }

    /// Of a target: what is done with it.
    pub(crate) fn setup(&self) -> Option<&TargetSetup> {
        self.target.as_ref().map(|(_, setup)| setup)
    }

    /// Of `setup`, what was begun in the last execution; all of it where that is not known.
    pub(crate) fn begun(
        &self,
        execution: &Execution,
        setup: &TargetSetup,
    ) -> Result<TargetSetup, LaunchError> {
        let mut begun = vec![0usize; setup.ops.len()];
        let events = self.events(execution)?;
        if events.len() >= wire::MAX_EVENTS {
            return Ok(setup.clone());
        }
        for event in events.iter().filter(|event| event.action() == "op") {
            // Where threads are not controlled, both are in the address.
            let (thread, number) = match event.address {
                0 => (event.thread as usize, event.value as usize),
                both => ((both >> 32) as usize, both as u32 as usize),
            };
            let own = thread.checked_sub(1).and_then(|at| begun.get_mut(at));
            if let Some(count) = own {
                *count = (*count).max(number + 1);
            }
        }
        let ops = setup.ops.iter().zip(&begun);
        let ops = ops.map(|(ops, begun)| ops[..(*begun).min(ops.len())].to_vec());
        Ok(setup.with_ops(ops.collect()))
    }

    /// Does this with the target from now on.
    pub(crate) fn drive(&mut self, setup: TargetSetup) -> Result<(), LaunchError> {
        self.end_live()?;
        self.anew.first = None;
        if let Some((files, known)) = &mut self.target {
            files
                .replace_plan(&setup)
                .map_err(system("the driver's plan"))?;
            *known = setup;
        }
        Ok(())
    }

    /// The next schedule has a process of its own, which reads what may have changed.
    pub(super) fn end_live(&mut self) -> Result<(), LaunchError> {
        let Some(live) = self.anew.live.take() else {
            return Ok(());
        };
        if self.anew.ask(wire::DO_RUN).is_err()
            && let Some(pid) = Pid::from_raw(live.pid)
        {
            let _ = kill_process(pid, Signal::KILL);
        }
        self.expect_reply(Some(live.pid)).map(drop)
    }

    /// The first schedule of a process, once more in the same process: it must come out the same.
    fn first_repeats(
        &mut self,
        plan: &RunPlan,
        execution: Execution,
    ) -> Result<Execution, LaunchError> {
        if !self.anew.wants_proof() || !is_plain(&execution) {
            return Ok(execution);
        }
        let seen = self.digest(&execution)?;
        self.anew.first = Some((plan.clone(), seen));
        if self.repeats()? {
            return Ok(execution);
        }
        // What was read of it is not in the page any more.
        let alone = RunPlan {
            anew: false,
            ..plan.clone()
        };
        Ok(self.run_once(&alone)?.0)
    }

    /// Whether the schedule that was first still comes out the same; if not, no process has
    /// another one from now on.
    fn repeats(&mut self) -> Result<bool, LaunchError> {
        let Some((mut plan, first)) = self.anew.first.clone() else {
            return Ok(true);
        };
        plan.swift = self.anew.swift;
        let (mut again, _) = self.run_once(&plan)?;
        if again.page.outcome == wire::outcome::NOT_SWIFT {
            self.anew.swift = false;
            plan.swift = false;
            // In a new process, and then in one that has run a schedule.
            self.run_once(&plan)?;
            again = self.run_once(&plan)?.0;
        }
        let seen = self.digest(&again)?;
        let is_cut = again.timed_out && self.cut().is_some();
        if is_cut || is_plain(&again) && seen == first {
            return Ok(true);
        }
        let same = first.iter().zip(&seen).take_while(|(a, b)| a == b).count();
        self.anew.give_up(&format!(
            "the same schedule, run twice, differs from its action {} on",
            same + 1
        ));
        self.end_live()?;
        Ok(false)
    }

    /// What was done, as far as it must be the same each time: not where in memory.
    fn digest(&self, execution: &Execution) -> Result<Vec<SeenAction>, LaunchError> {
        let events = self.first_events(execution, COMPARED_EVENTS)?;
        let seen = |event: VisibleAction| (event.kind, event.thread, event.object, event.value);
        Ok(events.into_iter().map(seen).collect())
    }
}

/// Whether it came to a good end, so far as the runtime says.
fn is_plain(execution: &Execution) -> bool {
    execution.failure.is_none() && execution.strayed.is_none() && execution.unusable().is_none()
}
