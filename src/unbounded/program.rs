//! A program of a discipline as the abstraction runs it: what is held before each of its steps.

use crate::lifecycle::{Discipline, Lock, MicroStep, ProgramKind, SendKind};
use crate::registry::Semantics;
use crate::scenario::{Connections, Scenario};
use crate::tracking::Layout;
use crate::tracking::transport::SendMode;

use super::NotCovered;
use super::usage::Usage;

/// A set of locks, a bit each.
pub(super) type LockSet = u16;

/// Both programs, and the locks that they take.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    pub(super) allocate: SteppedProgram,
    pub(super) deallocate: SteppedProgram,
    /// The mutex that `alloc` and `free` take for themselves.
    pub(super) allocator: LockSet,
}

/// One program.
#[derive(Clone, Debug)]
pub(super) struct SteppedProgram {
    pub(super) steps: Vec<AbstractAction>,
    /// Before each step, and after the last.
    pub(super) held: Vec<LockSet>,
    /// Where each step stands in the program as it is written.
    pub(super) written: Vec<usize>,
}

/// What a step does to the watched address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AbstractAction {
    Lock(LockSet),
    Unlock,
    Alloc,
    Free,
    Announce,
    Retract,
    Publish,
    CheckLive,
    Claim,
    MarkLive,
    MarkDead,
}

impl Programs {
    /// The programs of a discipline.
    pub(super) fn of(scenario: &Scenario) -> Result<Programs, NotCovered> {
        let discipline = &scenario.discipline;
        let mut names: Vec<Lock> = vec![Lock::Allocator];
        let mut program = |kind| stepped(discipline, scenario.semantics, kind, &mut names);
        let allocate = program(ProgramKind::Allocate)?;
        let deallocate = program(ProgramKind::Deallocate)?;
        Ok(Programs {
            allocate,
            deallocate,
            allocator: 1,
        })
    }
}

/// Whether the rest of the scenario is what the abstraction takes it for.
pub(super) fn covered(scenario: &Scenario, usage: Usage) -> Result<(), NotCovered> {
    let transport = &scenario.transport;
    if scenario.planted.is_some() {
        return Err(NotCovered::Planted);
    }
    if transport.connections != Connections::Shared {
        return Err(NotCovered::Transport("several connections"));
    }
    if transport.mode != SendMode::Blocking {
        return Err(NotCovered::Transport("clients that do not wait"));
    }
    if transport.chunks > 1 {
        return Err(NotCovered::Transport("messages in pieces"));
    }
    let has_numbers = transport.layout == Layout::Extended;
    if scenario.semantics == Semantics::Sequenced && !has_numbers {
        return Err(NotCovered::Transport("messages without numbers"));
    }
    if usage.mixes_memories && !scenario.semantics.key_has_memory(transport.layout) {
        return Err(NotCovered::Memories(scenario.semantics));
    }
    if scenario.has_mesh() {
        return Err(NotCovered::Buffers("mesh"));
    }
    if scenario.processes() > 1 {
        return Err(NotCovered::Processes);
    }
    Ok(())
}

fn stepped(
    discipline: &Discipline,
    server: Semantics,
    kind: ProgramKind,
    names: &mut Vec<Lock>,
) -> Result<SteppedProgram, NotCovered> {
    let mut program = SteppedProgram {
        steps: Vec::new(),
        held: Vec::new(),
        written: Vec::new(),
    };
    let mut held: LockSet = 0;
    let steps = discipline.program(kind).steps();
    let is_ordered = server == Semantics::Sequenced;
    let mut is_stamped = false;
    for (at, step) in steps.iter().copied().enumerate() {
        let action = match step {
            MicroStep::Lock(lock) => AbstractAction::Lock(bit_of(lock, step, names)?),
            MicroStep::Unlock(_) => AbstractAction::Unlock,
            MicroStep::Alloc => AbstractAction::Alloc,
            MicroStep::Free => AbstractAction::Free,
            // Its place among the messages was taken with its number.
            MicroStep::Send(_) if std::mem::take(&mut is_stamped) => continue,
            MicroStep::Send(_) if is_ordered => return Err(NotCovered::Unnumbered(Box::new(step))),
            MicroStep::Send(send) => effect(send),
            MicroStep::Stamp if is_ordered => {
                is_stamped = true;
                numbered(&steps[at..]).ok_or(NotCovered::Refused)?
            }
            MicroStep::Publish => AbstractAction::Publish,
            MicroStep::CheckLive => AbstractAction::CheckLive,
            MicroStep::Claim => AbstractAction::Claim,
            MicroStep::MarkLive => AbstractAction::MarkLive,
            MicroStep::MarkDead => AbstractAction::MarkDead,
            // It changes nothing that anybody else sees.
            MicroStep::DebugLog | MicroStep::Stamp => continue,
            MicroStep::CheckLiveUnguarded
            | MicroStep::EachDevice
            | MicroStep::End
            | MicroStep::Shared(_) => return Err(NotCovered::Step(Box::new(step))),
        };
        program.steps.push(action);
        program.held.push(held);
        program.written.push(at);
        match step {
            MicroStep::Lock(lock) => held |= bit_of(lock, step, names)?,
            MicroStep::Unlock(lock) => held &= !bit_of(lock, step, names)?,
            _ => {}
        }
    }
    program.held.push(held);
    Ok(program)
}

/// What a message does to the server's entry.
fn effect(send: SendKind) -> AbstractAction {
    match send.announces() {
        true => AbstractAction::Announce,
        false => AbstractAction::Retract,
    }
}

/// What the message does that carries the number which the first of these steps takes.
fn numbered(steps: &[MicroStep]) -> Option<AbstractAction> {
    steps.iter().find_map(|step| match step {
        MicroStep::Send(send) => Some(effect(*send)),
        _ => None,
    })
}

/// The bit of a lock: the first is the allocator's.
fn bit_of(lock: Lock, step: MicroStep, names: &mut Vec<Lock>) -> Result<LockSet, NotCovered> {
    // Which device is watched is not said: its mutex is either that one or another, which guards
    // nothing here.
    if matches!(lock, Lock::LifecycleOf(_)) {
        return Err(NotCovered::Step(Box::new(step)));
    }
    if matches!(lock, Lock::LifecycleTable(_)) {
        return Err(NotCovered::Table(Box::new(step)));
    }
    let index = names
        .iter()
        .position(|known| *known == lock)
        .unwrap_or_else(|| {
            names.push(lock);
            names.len() - 1
        });
    Ok(1 << index)
}
