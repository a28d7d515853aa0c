//! What a scenario must be to be run: every figure in its range, and a script that keeps its
//! promises.

use std::collections::BTreeMap;

use crate::device::{BufferKind, DeviceId, Memory};
use crate::lifecycle;
use crate::planted::Planted;
use crate::tracking::Layout;

use super::op::{Op, SlotId};
use super::{MAX_CHUNKS, Scenario, ScenarioError};

/// Limits that keep a hostile scenario from exhausting the machine.
const MAX_SLOTS: u64 = 1 << 20;

impl Scenario {
    /// Checks every figure. What is read from a trace's header goes through here too.
    pub fn check(&self) -> Result<(), ScenarioError> {
        self.check_system()?;
        self.check_workload()?;
        match &self.workload.script {
            Some(script) => self.check_script(script),
            None => self.check_slots(),
        }
    }

    fn out_of_range(&self, field: &'static str, problem: impl Into<String>) -> ScenarioError {
        ScenarioError::Range {
            scenario: self.name.clone(),
            field,
            problem: problem.into(),
        }
    }

    /// What runs: threads, devices, the wire, the discipline.
    fn check_system(&self) -> Result<(), ScenarioError> {
        let fail = |field, problem: String| Err(self.out_of_range(field, problem));
        for (field, figure, most) in [
            ("threads", self.threads, MAX_THREADS),
            ("devices", self.devices, MAX_DEVICES),
            (
                "transport.chunks",
                self.transport.chunks.into(),
                MAX_CHUNKS.into(),
            ),
        ] {
            if figure == 0 || figure > most {
                return fail(field, format!("{figure} is not in 1 to {most}"));
            }
        }
        if self.planted == Some(Planted::ForeignLayout) && self.transport.layout != Layout::V72 {
            return fail(
                "planted",
                "foreign-layout is about a client of the 72-byte layout; give transport.layout = \"72\""
                    .to_owned(),
            );
        }
        if let Some(finding) = lifecycle::lint(&self.discipline)
            .into_iter()
            .find(|finding| finding.severity == lifecycle::Severity::Error)
        {
            return fail("discipline", finding.message);
        }
        if self.discipline.shares() && self.threads > MAX_SHARING_THREADS {
            return fail(
                "threads",
                format!(
                    "{} are more than the {MAX_SHARING_THREADS} of a discipline with cells",
                    self.threads
                ),
            );
        }
        if self.discipline.shares() && self.has_views_or_mesh() {
            return fail(
                "workload",
                "a discipline with cells, ledgers or branches is for buffers of one device that own \
                 their memory; leave mesh and pre-allocated buffers out"
                    .to_owned(),
            );
        }
        if self.discipline.shares()
            && (self.order, self.publish)
                != (self.discipline.order(), self.discipline.publication())
        {
            return fail(
                "order",
                "a discipline with cells or branches stands as it is written; leave order and \
                 publish out"
                    .to_owned(),
            );
        }
        if self.debug_log.min_us > self.debug_log.max_us {
            return fail("debug-log", "min-us is larger than max-us".to_owned());
        }
        Ok(())
    }

    /// What the threads do, where no script says it.
    fn check_workload(&self) -> Result<(), ScenarioError> {
        let workload = &self.workload;
        let fail = |field, problem: String| Err(self.out_of_range(field, problem));
        if let Some(path) = &workload.import {
            return fail(
                "workload.import",
                format!("{path} was not read; `stress` and `explore` make a script of an import"),
            );
        }
        if workload.processes == 0 || workload.processes > self.threads {
            return fail(
                "workload.processes",
                format!(
                    "{} is not in 1 to {}, the threads",
                    workload.processes, self.threads
                ),
            );
        }
        if workload.memories.total() == 0 {
            return fail(
                "workload.memories",
                "every weight is 0; give at least one memory a weight".to_owned(),
            );
        }
        if !workload.sizes.are_sound() {
            return fail(
                "workload.sizes",
                "sizes begin at 1 byte, and the smallest comes first".to_owned(),
            );
        }
        if workload.throw_after.is_some() && (workload.handoff > 0 || workload.shared > 0) {
            return fail(
                "workload.throw-after",
                "a neighbour would wait for the buffers of a thread that threw: use no handoff or shared buffers"
                    .to_owned(),
            );
        }
        for (field, percent) in [
            ("workload.mesh-percent", workload.mesh_percent),
            ("workload.circular-percent", workload.circular_percent),
            (
                "workload.preallocated-percent",
                workload.preallocated_percent,
            ),
        ] {
            if percent > 100 {
                return fail(field, format!("{percent} is more than 100"));
            }
        }
        Ok(())
    }

    fn check_script(&self, script: &[Vec<String>]) -> Result<(), ScenarioError> {
        let fail = |problem: String| Err(self.out_of_range("workload.script", problem));
        if script.len() != usize::from(self.threads) {
            return fail(format!(
                "it has {} threads, the scenario {}",
                script.len(),
                self.threads
            ));
        }
        for text in script.iter().flatten() {
            match text.parse::<Op>() {
                Err(error) => return fail(error.to_string()),
                Ok(op) => self.check_op(&op)?,
            }
        }
        check_promises(&self.script().unwrap_or_default()).or_else(fail)
    }

    fn check_slots(&self) -> Result<(), ScenarioError> {
        let workload = &self.workload;
        let per_thread = u64::from(workload.private_slots)
            + 2 * (u64::from(workload.handoff) + u64::from(workload.shared))
            + u64::from(workload.leaks);
        if per_thread * u64::from(self.threads) > MAX_SLOTS {
            return Err(self.out_of_range(
                "workload",
                format!("more than {MAX_SLOTS} slots over all threads"),
            ));
        }
        Ok(())
    }

    fn check_op(&self, op: &Op) -> Result<(), ScenarioError> {
        let device = match op {
            Op::Allocate { request, .. } => request.device,
            Op::Close { device } => *device,
            _ => DeviceId(0),
        };
        let slot = match op {
            Op::Allocate { slot, .. } | Op::Release { slot, .. } => slot.0,
            Op::Run { on, .. } => on.map_or(0, |(slot, _)| slot.0),
            _ => 0,
        };
        if device.0 >= self.devices || u64::from(slot) >= MAX_SLOTS {
            return Err(self.out_of_range(
                "workload.script",
                format!(
                    "`{op}`: the scenario has {} devices and at most {MAX_SLOTS} slots",
                    self.devices
                ),
            ));
        }
        self.check_own_program(op)?;
        if let Op::Allocate { request, .. } = op
            && request.kind == BufferKind::Circular
            && request.memory != Memory::L1
        {
            return Err(self.out_of_range(
                "workload.script",
                format!("`{op}`: circular buffers live in l1, and their messages name no memory"),
            ));
        }
        Ok(())
    }
}

impl Scenario {
    /// A program that an operation runs must be there, and have a buffer where it needs one.
    fn check_own_program(&self, op: &Op) -> Result<(), ScenarioError> {
        let problem = match op {
            Op::Run { program, on } => match self.discipline.programs.get(program) {
                None => Some(format!("the discipline has no program `{program}`")),
                Some(steps) if on.is_none() => lifecycle::needs_buffer(&self.discipline, steps)
                    .map(|step| format!("`{step}` needs a buffer: `run {program} s0#1`")),
                Some(_) => None,
            },
            Op::Kill { .. } if !self.discipline.shares() => Some(
                "only a process of a discipline with cells, branches or programs of its own is \
                 ended from outside (docs/language.md)"
                    .to_owned(),
            ),
            Op::Kill { process } if *process >= self.processes() => Some(format!(
                "there are {} processes (workload.processes)",
                self.processes()
            )),
            _ => None,
        };
        match problem {
            Some(problem) => {
                Err(self.out_of_range("workload.script", format!("`{op}`: {problem}")))
            }
            None => Ok(()),
        }
    }
}

/// The last epoch of a slot in a script: epochs are told apart modulo 256.
const MAX_SCRIPT_EPOCH: u32 = 255;

/// The most threads under a discipline with cells, ledgers or locks that are shared: a bit each.
const MAX_SHARING_THREADS: u16 = 63;

/// The most threads a scenario may have.
pub(crate) const MAX_THREADS: u16 = 256;

/// The most devices a scenario may have.
pub(crate) const MAX_DEVICES: u16 = 256;

/// Checks what the operations of a script promise each other: each slot is allocated by one thread,
/// each epoch of it is opened once and released no more often than its allocate says, and a device
/// is closed only when every other thread has ended.
fn check_promises(script: &[Vec<Op>]) -> Result<(), String> {
    check_owners(script)?;
    let mut epochs: BTreeMap<(SlotId, u32), (u32, u8, u8)> = BTreeMap::new();
    for op in script.iter().flatten() {
        match *op {
            Op::Allocate {
                slot,
                epoch,
                request,
            } => {
                let (opened, promised, _) = epochs.entry((slot, epoch)).or_default();
                *opened += 1;
                *promised = request.releases;
            }
            Op::Release { slot, epoch } => {
                let (_, _, released) = epochs.entry((slot, epoch)).or_default();
                *released = released.saturating_add(1);
            }
            _ => {}
        }
    }
    let last: BTreeMap<SlotId, u32> = epochs.keys().copied().collect();
    for ((slot, epoch), (opened, promised, released)) in epochs {
        let at = format!("s{}#{epoch}", slot.0);
        if opened > 1 {
            return Err(format!(
                "{at} is allocated {opened} times; each epoch of a slot begins once"
            ));
        }
        if epoch > MAX_SCRIPT_EPOCH {
            return Err(format!(
                "{at}: a script has at most {MAX_SCRIPT_EPOCH} epochs of a slot"
            ));
        }
        if opened == 1 && promised == 0 && last[&slot] > epoch {
            return Err(format!(
                "{at} is never released (releases=0), and the slot is allocated again; give the next buffer a slot of its own"
            ));
        }
        if opened == 1 && released > promised {
            return Err(format!(
                "{at} is released {released} times and its allocate promises {promised} (releases=N)"
            ));
        }
    }
    for op in script.iter().flatten() {
        if let Op::Run {
            on: Some((slot, epoch)),
            ..
        } = op
            && last.get(slot) != Some(epoch)
        {
            return Err(format!(
                "`{op}`: it must name the last buffer of its slot; give that buffer a slot of its own"
            ));
        }
    }
    for thread in script {
        let mut alone = false;
        for op in thread {
            match op {
                Op::AwaitOthers => alone = true,
                Op::Close { .. } if !alone => {
                    return Err(format!("`{op}` needs `await-others` before it"));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// A slot is allocated by one thread. With early publication a buffer can be released while its
/// allocate still has messages to send; what that thread does next in the slot waits for it, what
/// another does would put the next buffer into the hands of the first.
fn check_owners(script: &[Vec<Op>]) -> Result<(), String> {
    let mut owners: BTreeMap<SlotId, usize> = BTreeMap::new();
    for (thread, ops) in script.iter().enumerate() {
        for op in ops {
            if let Op::Allocate { slot, .. } = op
                && *owners.entry(*slot).or_insert(thread) != thread
            {
                return Err(format!(
                    "s{} is allocated by t{} and by t{thread}; give each thread slots of its own",
                    slot.0, owners[slot]
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::ScenarioFile;

    #[test]
    fn a_circular_buffer_outside_l1_is_refused() {
        let check = |op: &str| {
            let mut file = ScenarioFile::load("own-buffers").expect("it is built in");
            file.threads = 1;
            file.workload.script = Some(vec![vec![op.to_owned()]]);
            file.resolve()
        };
        check("allocate s0#1 64 l1 d0 circular releases=0").expect("circular buffers live in l1");
        let error = check("allocate s0#1 64 dram d0 circular releases=0").expect_err("not in dram");
        assert!(error.to_string().contains("circular buffers live in l1"));
    }
}
