//! Whether a target can do what a workload needs: what it cannot is named, never left out in
//! silence.

use super::TargetAbout;
use crate::device::{BufferKind, Memory};
use crate::scenario::Scenario;
use crate::scenario::op::Op;

/// What the operations need and the target lacks, if anything.
pub(crate) fn refusal(about: &TargetAbout, ops: &[Vec<Op>]) -> Option<String> {
    ops.iter().flatten().find_map(|op| lacking(about, op))
}

fn lacking(about: &TargetAbout, op: &Op) -> Option<String> {
    let lacks = |it_has: bool, what: &str| (!it_has).then(|| what.to_owned());
    match op {
        Op::Allocate { request, .. } => {
            let memory = request.memory;
            lacks(about.has_memory(memory), &no_memory(about, &[memory]))
                .or_else(|| match request.kind {
                    BufferKind::Owned => None,
                    BufferKind::Mesh => lacks(
                        about.has_mesh(),
                        "buffers over several devices (allocate_mesh is NULL, or refused one)",
                    ),
                    BufferKind::Circular => lacks(
                        about.has_circular(),
                        "circular buffers (allocate refused HB_TARGET_CIRCULAR)",
                    ),
                    BufferKind::Preallocated => lacks(
                        about.has_preallocated(),
                        "pre-allocated buffers (allocate refused HB_TARGET_PREALLOCATED)",
                    ),
                })
                .or_else(|| {
                    lacks(
                        request.releases <= 1 || about.shares_releases(),
                        "buffers that two threads release (its abilities lack \
                     HB_TARGET_SHARED_RELEASE)",
                    )
                })
        }
        Op::Close { .. } => lacks(
            about.closes_devices(),
            "the closing of a device (close_device is NULL)",
        ),
        Op::Run { .. } => lacks(false, "a program of the discipline's own"),
        Op::Kill { .. } => lacks(false, "a process that is ended from outside"),
        Op::Release { .. } | Op::AwaitOthers | Op::Throw => None,
    }
}

/// What it said of these memories, what it has instead, and what to do.
fn no_memory(about: &TargetAbout, lacking: &[Memory]) -> String {
    let names = |memories: &[Memory], between: &str| {
        let names: Vec<&str> = memories.iter().map(|memory| memory.name()).collect();
        names.join(between)
    };
    let has: Vec<Memory> = Memory::ALL
        .into_iter()
        .filter(|memory| about.has_memory(*memory))
        .collect();
    let refused: Vec<String> = lacking
        .iter()
        .map(|memory| about.refusal_words(*memory))
        .collect();
    let rest = match has.first() {
        None => "no memory at all gave a buffer: let allocate take one, or say so as \
                 HB_TARGET_UNSUPPORTED"
            .to_owned(),
        Some(first) => format!(
            "it has {}; a scenario of those has `memories = {{ {first} = 1 }}` under [workload]",
            names(&has, " and "),
            first = first.name(),
        ),
    };
    format!(
        "memory {} ({}; {rest})",
        names(lacking, " or "),
        refused.join(", ")
    )
}

/// The scenario without the drawn memories that the target lacks, and what they are; `Err`: none is
/// left. A script stays as it is: what it needs is refused by name.
pub(crate) fn only_memories(
    about: &TargetAbout,
    mut scenario: Scenario,
) -> Result<(Scenario, Vec<Memory>), String> {
    if scenario.workload.script.is_some() {
        return Ok((scenario, Vec::new()));
    }
    let memories = &mut scenario.workload.memories;
    let mut left_out = Vec::new();
    for (memory, weight) in Memory::ALL.into_iter().zip([
        &mut memories.dram,
        &mut memories.l1,
        &mut memories.l1_small,
        &mut memories.trace,
    ]) {
        if *weight > 0 && !about.has_memory(memory) {
            *weight = 0;
            left_out.push(memory);
        }
    }
    if scenario.workload.memories.total() == 0 {
        return Err(no_memory(about, &left_out));
    }
    Ok((scenario, left_out))
}
