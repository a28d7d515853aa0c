//! What the runtime tells of a schedule for an exhaustive search, read from the page and checked.

use std::io;

use heisenbed_runtime::protocol as wire;

use super::super::page::PageMemory;
use super::super::plan::RunPlan;
use super::step::{ExploredStep, Threads, TouchKind, Touched};

/// What was told of a schedule.
#[derive(Clone, Debug, Default)]
pub(super) struct ToldSchedule {
    /// How many steps came before the first that is told: all of the main thread.
    pub(super) alone: u64,
    pub(super) steps: Vec<ExploredStep>,
    pub(super) pending: Vec<ExploredStep>,
    /// Bits of [`wire::limit`].
    pub(super) limits: u32,
    /// Files of the program whose loads and stores are seen.
    pub(super) instrumented: u32,
    /// Steps were taken of which nothing is told: calls were left to the system.
    pub(super) gaps: bool,
}

/// Writes what the next schedule is to heed.
pub(in crate::native) fn prepare(memory: &PageMemory, plan: &RunPlan) -> io::Result<()> {
    let room = (wire::AT_PENDING - wire::AT_EXPLORATION) as usize;
    let mut bytes = vec![0; room + wire::MAX_EXPLORED * wire::TRANSITION_BYTES];
    bytes[..16].copy_from_slice(&heeded(plan));
    memory.write(wire::AT_EXPLORATION, &bytes)
}

fn heeded(plan: &RunPlan) -> [u8; 16] {
    let steps: u64 = plan.steps.runs().iter().map(|run| u64::from(run.1)).sum();
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&plan.asleep.to_le_bytes());
    bytes[8..].copy_from_slice(&steps.saturating_sub(1).to_le_bytes());
    bytes
}

/// Reads what was told of the last schedule; nothing if the program wrote over it.
pub(super) fn read(memory: &PageMemory, plan: &RunPlan) -> io::Result<Option<ToldSchedule>> {
    let mut head = vec![0; wire::EXPLORATION_BYTES];
    memory.read(wire::AT_EXPLORATION, &mut head)?;
    if head[..16] != heeded(plan) {
        return Ok(None);
    }
    let count = (number(&head, 16) as usize).min(wire::MAX_TRANSITIONS);
    let mut told = ToldSchedule {
        limits: number(&head, 20),
        instrumented: number(&head, 24),
        ..ToldSchedule::default()
    };
    let mut bytes = vec![0; count * wire::TRANSITION_BYTES];
    memory.read(wire::AT_TRANSITIONS, &mut bytes)?;
    for (at, bytes) in bytes.chunks_exact(wire::TRANSITION_BYTES).enumerate() {
        let Some((flags, step)) = step(bytes) else {
            return Ok(None);
        };
        if flags & wire::transition::EXTRA != 0 {
            let Some(last) = told.steps.last_mut() else {
                return Ok(None);
            };
            last.extra = Some(step.touched);
            continue;
        }
        if at == 0 {
            told.alone = long(bytes, 16);
        }
        // One after another: what is left out would be missed.
        told.gaps |= long(bytes, 16) != told.alone + told.steps.len() as u64;
        told.steps.push(step);
    }
    let mut bytes = vec![0; wire::MAX_EXPLORED * wire::TRANSITION_BYTES];
    memory.read(wire::AT_PENDING, &mut bytes)?;
    for (thread, bytes) in bytes.chunks_exact(wire::TRANSITION_BYTES).enumerate() {
        let Some((flags, step)) = step(bytes) else {
            return Ok(None);
        };
        if flags & wire::transition::PENDING != 0 && step.thread == thread as u32 {
            told.pending.push(step);
        }
    }
    Ok(Some(told))
}

/// A step and its flags; none if it cannot be one.
fn step(bytes: &[u8]) -> Option<(u8, ExploredStep)> {
    let thread = u32::from(number(bytes, 0) as u16);
    let flags = bytes[4];
    let touched = Touched {
        how: match bytes[5] {
            wire::touch::NOTHING => TouchKind::Nothing,
            wire::touch::READ => TouchKind::Read,
            wire::touch::WRITE => TouchKind::Write,
            wire::touch::ALL => TouchKind::All,
            _ => return None,
        },
        size: number(bytes, 8),
        address: long(bytes, 24),
        with: long(bytes, 32),
        advances: flags & wire::transition::ADVANCES != 0,
    };
    let is = |flag: u8| flags & flag != 0;
    // A wait gives back the lock, not the condition variable.
    let freed = if touched.with == 0 {
        touched.address
    } else {
        touched.with
    };
    let step = ExploredStep {
        thread: Some(thread).filter(|thread| *thread < Threads::BITS)?,
        touched,
        extra: None,
        blocks: is(wire::transition::BLOCKS),
        frees: is(wire::transition::FREES).then_some(freed),
        ends: false,
        able: long(bytes, 40),
        asleep: long(bytes, 48),
        held: long(bytes, 56),
        costs: is(wire::transition::COSTS),
    };
    Some((flags, step))
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    u32::from_le_bytes(word.copied().unwrap_or_default())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    u64::from_le_bytes(word.copied().unwrap_or_default())
}
