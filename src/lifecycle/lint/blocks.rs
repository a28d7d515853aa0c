//! Blocks of a mesh path: `each device` … `end`.
//!
//! What is done to one device stands in a block, what is done once outside of one. A lock may be
//! taken in one block and released in a later one, but only a mutex that each device has of its
//! own: of any other the second device would wait for the first.

use super::super::discipline::{BufferPath, ProgramKind};
use super::super::step::{Lock, MicroStep};
use super::Findings;

/// Blocks that do not close, and steps on the wrong side of one.
pub(super) fn check(findings: &mut Findings, kind: ProgramKind) {
    let steps: Vec<MicroStep> = findings.program(kind).steps().to_vec();
    if findings.path == BufferPath::Plain {
        for (at, step) in steps.iter().enumerate() {
            // With branches, `end` closes those.
            let branches = *step == MicroStep::End && findings.discipline.shares();
            if is_bracket(*step) && !branches {
                findings.error(
                    kind,
                    Some(at),
                    format!("{step}: this program is for one device"),
                    "move it to the programs of `[mesh]`, or remove it".to_string(),
                );
            }
        }
        return;
    }
    let mut opened: Option<usize> = None;
    let mut blocks = 0;
    for (at, step) in steps.iter().copied().enumerate() {
        match (step, opened) {
            (MicroStep::EachDevice, None) => {
                opened = Some(at);
                blocks += 1;
            }
            (MicroStep::EachDevice, Some(_)) => findings.error(
                kind,
                Some(at),
                "each device: it stands in another block of this sort".to_string(),
                "write `end` before it".to_string(),
            ),
            (MicroStep::End, Some(from)) => {
                held_at_the_end(findings, kind, &steps[from + 1..at], from + 1);
                if at == from + 1 {
                    findings.error(
                        kind,
                        Some(at),
                        "end: nothing stands in the block".to_string(),
                        "write what is done to each device, or remove the block".to_string(),
                    );
                }
                opened = None;
            }
            (MicroStep::End, None) => findings.error(
                kind,
                Some(at),
                "end: no `each device` stands before it".to_string(),
                "write `each device` before it, or remove it".to_string(),
            ),
            (step, opened) => place(findings, kind, at, step, opened.is_some(), blocks),
        }
    }
    if let Some(from) = opened {
        findings.error(
            kind,
            Some(from),
            "each device: no `end` follows".to_string(),
            "write `end` behind what is done to each device".to_string(),
        );
    }
}

/// One step that is no bracket.
fn place(
    findings: &mut Findings,
    kind: ProgramKind,
    at: usize,
    step: MicroStep,
    inside: bool,
    blocks: usize,
) {
    let (wrong, why, remedy) = match step {
        MicroStep::Alloc
        | MicroStep::Free
        | MicroStep::Send(_)
        | MicroStep::Stamp
        | MicroStep::DebugLog
        | MicroStep::MarkLive
        | MicroStep::MarkDead => (
            !inside,
            "it is done to one device, and of which is not said",
            "put it between `each device` and `end`",
        ),
        MicroStep::Publish => (
            inside,
            "a mesh buffer becomes visible as a whole",
            "put it outside of the block",
        ),
        MicroStep::Claim | MicroStep::CheckLive | MicroStep::CheckLiveUnguarded => (
            inside || blocks > 0,
            "a mesh buffer is released as a whole, or not",
            "put it before the first `each device`",
        ),
        MicroStep::Lock(_)
        | MicroStep::Unlock(_)
        | MicroStep::EachDevice
        | MicroStep::End
        | MicroStep::Shared(_) => return,
    };
    if wrong {
        findings.error(kind, Some(at), format!("{step}: {why}"), remedy.to_string());
    }
}

/// Mutexes that are not each device's own, and not released in the block that takes them, or the
/// other way round.
fn held_at_the_end(findings: &mut Findings, kind: ProgramKind, block: &[MicroStep], first: usize) {
    let is_shared =
        |lock: Lock| matches!(lock, Lock::Tracker | Lock::Global | Lock::LifecycleOf(_));
    let mut held: Vec<(Lock, usize)> = Vec::new();
    for (at, step) in block.iter().copied().enumerate() {
        match step {
            MicroStep::Lock(lock) if is_shared(lock) => held.push((lock, first + at)),
            MicroStep::Unlock(lock) if is_shared(lock) => {
                match held.iter().position(|(other, _)| *other == lock) {
                    Some(place) => {
                        held.remove(place);
                    }
                    None => findings.error(
                        kind,
                        Some(first + at),
                        format!("{step}: it was locked once, and is unlocked for each device"),
                        "lock it in the same block, or unlock it behind `end`".to_string(),
                    ),
                }
            }
            _ => {}
        }
    }
    for (lock, at) in held {
        findings.error(
            kind,
            Some(at),
            format!("lock {lock}: the first device keeps it, and the second waits for it"),
            "unlock it in the same block, or lock it before `each device`".to_string(),
        );
    }
}

fn is_bracket(step: MicroStep) -> bool {
    matches!(step, MicroStep::EachDevice | MicroStep::End)
}
