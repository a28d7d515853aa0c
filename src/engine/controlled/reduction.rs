//! Partial-order reduction: which step can be taken at once, without asking what happens if another thread goes first.
//!
//! A step is *safe* when no step that another thread could take before it depends on it: the set of that one thread is then
//! persistent (Godefroid 1996), and since schedules are finite, exploring it alone loses no divergence, deadlock or state at rest. Safe are:
//!
//! - steps that touch a slot which one thread alone uses, or nothing that is shared;
//! - a release of a lock, and a thread's end: they can only let others go on;
//! - a touch of a device's allocator, sequence counter or table at the server, while the thread holds a lock under which
//!   *every* such touch of that device is done, by both programs;
//! - taking a lock that is only ever taken while another one is held, by a thread that holds that one.
//!
//! What the oracle finds at a message depends on the table at the server and on the allocator: a message counts as a touch of both.

use crate::device::DeviceId;
use crate::engine::step::{Code, SafeProgram, SafeSteps};
use crate::lifecycle::{Discipline, Lock, MicroStep, ProgramKind};
use crate::scenario::Scenario;
use crate::scenario::op::Op;
use crate::trace::objects::Objects;

/// The steps of `scenario` that are safe; its threads do `ops`, to a server that takes part in the schedule or does not.
pub fn safe_steps(
    scenario: &Scenario,
    code: &Code,
    ops: &[Box<[Op]>],
    server_takes_part: bool,
) -> SafeSteps {
    let objects = scenario.objects();
    let used = used_devices(&objects, ops);
    let in_bounds = |lock: Lock| {
        used.iter()
            .all(|device| objects.resolve(lock, *device).is_some())
    };
    let is_one = |lock: Lock| {
        used.len() <= 1 || matches!(lock, Lock::Tracker | Lock::Global | Lock::LifecycleOf(_))
    };
    // Written in pieces, the messages of all devices share one stream.
    let in_pieces = scenario.transport.chunks > 1;
    let guards: Vec<Lock> = guards_of(&scenario.discipline)
        .into_iter()
        .filter(|lock| !server_takes_part && in_bounds(*lock) && (!in_pieces || is_one(*lock)))
        .collect();
    let covered: Vec<(Lock, Lock)> = covered_locks(&scenario.discipline)
        .into_iter()
        // A mutex that goes by several names may be taken under another one by one name and alone by another.
        .filter(|(inner, _)| matches!(inner, Lock::Tracker | Lock::Global | Lock::Allocator))
        .filter(|(inner, outer)| in_bounds(*inner) && in_bounds(*outer) && is_one(*outer))
        .collect();
    let mut programs = [[SafeProgram::default(); 2]; 2];
    for (kind, of_kind) in ProgramKind::ALL.into_iter().zip(&mut programs) {
        for (owns_memory, safe) in [false, true].into_iter().zip(of_kind) {
            *safe = safe_program(code, kind, owns_memory, |step, held| match step {
                MicroStep::Unlock(_) | MicroStep::DebugLog => Safe::Always,
                MicroStep::Lock(lock) => Safe::when(
                    covered
                        .iter()
                        .any(|(inner, outer)| *inner == lock && held.contains(outer)),
                ),
                MicroStep::Alloc | MicroStep::Free | MicroStep::Stamp | MicroStep::Send(_) => {
                    Safe::when(guards.iter().any(|guard| held.contains(guard)))
                }
                MicroStep::CheckLive
                | MicroStep::CheckLiveUnguarded
                | MicroStep::Claim
                | MicroStep::MarkLive
                | MicroStep::MarkDead
                | MicroStep::Publish => Safe::OnPrivateSlot,
            });
        }
    }
    SafeSteps {
        programs,
        sends_in_pieces: !server_takes_part
            && scenario.transport.connections != crate::scenario::Connections::Lazy,
        private: private_slots(ops, objects.slots).into(),
    }
}

/// When a step is safe.
#[derive(Clone, Copy)]
enum Safe {
    Always,
    OnPrivateSlot,
    Never,
}

impl Safe {
    fn when(always: bool) -> Safe {
        if always { Safe::Always } else { Safe::Never }
    }
}

/// What `judge` says of each step of a program, given the locks that are held before it. A step that is no action is as safe as
/// the one after it: both are taken as one.
fn safe_program(
    code: &Code,
    kind: ProgramKind,
    owns_memory: bool,
    judge: impl Fn(MicroStep, &[Lock]) -> Safe,
) -> SafeProgram {
    let steps = code.program(kind);
    let mut held: Vec<Lock> = Vec::new();
    let judged: Vec<Option<Safe>> = steps
        .iter()
        .map(|step| {
            let safe = judge(*step, &held);
            match *step {
                MicroStep::Lock(lock) => held.push(lock),
                MicroStep::Unlock(lock) => held.retain(|other| *other != lock),
                _ => {}
            }
            (!code.is_no_action(*step, owns_memory)).then_some(safe)
        })
        .collect();
    let mut program = SafeProgram {
        len: steps.len() as u32,
        ..SafeProgram::default()
    };
    // What follows the program touches the slot, or opens the next one.
    let mut safe = Safe::OnPrivateSlot;
    for (pc, judged) in judged
        .into_iter()
        .chain([None])
        .enumerate()
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        safe = judged.unwrap_or(safe);
        match safe {
            Safe::Always => program.always |= 1 << pc,
            Safe::OnPrivateSlot => program.on_private_slot |= 1 << pc,
            Safe::Never => {}
        }
    }
    program
}

/// Locks that are held, in both programs, at every touch of the allocator, the sequence counter and the connection.
fn guards_of(discipline: &Discipline) -> Vec<Lock> {
    let mut common: Option<Vec<Lock>> = None;
    walk(discipline, |step, held| {
        if matches!(
            step,
            MicroStep::Alloc | MicroStep::Free | MicroStep::Stamp | MicroStep::Send(_)
        ) {
            match &mut common {
                Some(common) => common.retain(|lock| held.contains(lock)),
                None => common = Some(held.to_vec()),
            }
        }
    });
    common.unwrap_or_default()
}

/// Pairs of locks: the first is only ever taken while the second is held. The allocator's mutex is also taken by
/// `alloc` and `free` themselves.
fn covered_locks(discipline: &Discipline) -> Vec<(Lock, Lock)> {
    let mut pairs: Vec<(Lock, Option<Vec<Lock>>)> = Vec::new();
    let mut taken = |lock: Lock, held: &[Lock]| {
        let outer: Vec<Lock> = held.iter().copied().filter(|held| *held != lock).collect();
        match pairs.iter_mut().find(|(inner, _)| *inner == lock) {
            Some((_, Some(common))) => common.retain(|lock| outer.contains(lock)),
            Some((_, none)) => *none = Some(outer),
            None => pairs.push((lock, Some(outer))),
        }
    };
    walk(discipline, |step, held| match step {
        MicroStep::Lock(lock) => taken(lock, held),
        MicroStep::Alloc | MicroStep::Free => taken(Lock::Allocator, held),
        _ => {}
    });
    pairs
        .into_iter()
        .flat_map(|(inner, outer)| {
            outer
                .unwrap_or_default()
                .into_iter()
                .map(move |outer| (inner, outer))
        })
        .collect()
}

/// Each step of both programs, with the locks that are held before it. A table that a device is beyond guards nothing, and is
/// left out by `resolve` for that device.
fn walk(discipline: &Discipline, mut visit: impl FnMut(MicroStep, &[Lock])) {
    for kind in ProgramKind::ALL {
        let mut held: Vec<Lock> = Vec::new();
        for step in discipline.program(kind).steps().iter().copied() {
            visit(step, &held);
            match step {
                MicroStep::Lock(lock) => held.push(lock),
                MicroStep::Unlock(lock) => held.retain(|other| *other != lock),
                _ => {}
            }
        }
    }
}

fn used_devices(objects: &Objects, ops: &[Box<[Op]>]) -> Vec<DeviceId> {
    let mut used: Vec<DeviceId> = ops
        .iter()
        .flatten()
        .flat_map(|op| match op {
            Op::Allocate { request, .. } => (0..request.parts)
                .map(|part| objects.device_of(request.device, part))
                .collect(),
            _ => Vec::new(),
        })
        .collect();
    used.sort_unstable();
    used.dedup();
    used
}

/// Which slots one thread alone names. A device is closed only when every other thread has ended, so that closing it
/// shares nothing.
fn private_slots(ops: &[Box<[Op]>], slots: u32) -> Vec<bool> {
    let mut owner: Vec<Option<usize>> = vec![None; slots as usize];
    let mut private = vec![true; slots as usize];
    for (thread, ops) in ops.iter().enumerate() {
        for op in ops {
            if let Op::Allocate { slot, .. } | Op::Release { slot, .. } = op {
                let owner = owner[slot.index()].get_or_insert(thread);
                private[slot.index()] &= *owner == thread;
            }
        }
    }
    private
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle;

    fn guards(name: &str) -> Vec<Lock> {
        guards_of(&lifecycle::load(name).expect("built in"))
    }

    #[test]
    fn only_wide_sections_guard_allocator_and_messages() {
        assert_eq!(guards("lifecycle-wide"), [Lock::Lifecycle]);
        assert_eq!(guards("in-allocator"), [Lock::Allocator]);
        assert_eq!(guards("global-wide"), [Lock::Global]);
        for name in ["unlocked", "tracker-mutex", "lifecycle-narrow", "sequenced"] {
            assert_eq!(guards(name), [], "{name}");
        }
    }

    #[test]
    fn an_inner_lock_is_covered_by_the_outer_one_and_not_the_other_way_round() {
        let wide = lifecycle::load("lifecycle-wide").expect("built in");
        let covered = covered_locks(&wide);
        assert!(covered.contains(&(Lock::Tracker, Lock::Lifecycle)));
        assert!(!covered.contains(&(Lock::Lifecycle, Lock::Tracker)));
    }
}
