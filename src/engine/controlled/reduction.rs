//! Partial-order reduction: which step can be taken at once, without asking what happens if another
//! thread goes first.
//!
//! A step is *safe* when no step that another thread could take before it depends on it: the set of
//! that one thread is then persistent (Godefroid 1996), and since schedules are finite, exploring
//! it alone loses no divergence, deadlock or state at rest. Safe are:
//!
//! - steps that touch a slot which one thread alone uses, or nothing that is shared;
//! - a release of a lock, and a thread's end: they can only let others go on;
//! - a touch of a device's allocator, sequence counter or table at the server, while the thread
//!   holds a lock under which *every* such touch of that device is done, by both programs;
//! - taking a lock that is only ever taken while another one is held, by a thread that holds that
//!   one.
//!
//! What the oracle finds at a message depends on the table at the server and on the allocator: a
//! message counts as a touch of both.

use crate::engine::code::{Code, Safe, SafeSteps};
use crate::lifecycle::{BufferPath, Discipline, Lock, MicroStep, ProgramKind};
use crate::scenario::Scenario;
use crate::scenario::op::Op;

/// The steps of `scenario` that are safe; its threads do `ops`, to a server that takes part in the
/// schedule or does not.
pub(crate) fn safe_steps(
    scenario: &Scenario,
    code: &Code,
    ops: &[Box<[Op]>],
    server_takes_part: bool,
) -> SafeSteps {
    let objects = scenario.objects();
    let used = objects.devices_of(ops.iter().flatten());
    let in_bounds = |lock: Lock| {
        used.iter()
            .all(|device| objects.resolve(lock, *device).is_some())
    };
    let is_one = |lock: Lock| {
        used.len() <= 1 || matches!(lock, Lock::Tracker | Lock::Global | Lock::LifecycleOf(_))
    };
    // Written in pieces, the messages of all devices share one stream.
    let in_pieces = scenario.transport.chunks > 1;
    let paths = paths_of(scenario);
    let guards: Vec<Lock> = guards_of(&scenario.discipline, paths)
        .into_iter()
        .filter(|lock| !server_takes_part && in_bounds(*lock) && (!in_pieces || is_one(*lock)))
        .collect();
    let covered: Vec<(Lock, Lock)> = covered_locks(&scenario.discipline, paths)
        .into_iter()
        // A mutex that goes by several names may be taken under another one by one name and alone
        // by another.
        .filter(|(inner, _)| matches!(inner, Lock::Tracker | Lock::Global | Lock::Allocator))
        .filter(|(inner, outer)| in_bounds(*inner) && in_bounds(*outer) && is_one(*outer))
        .collect();
    let judge = |step: MicroStep, held: &[Lock]| match step {
        // Where there is nothing to unlock it is no action, and the next one is taken in its place.
        MicroStep::Unlock(lock) => always_if(in_bounds(lock)),
        MicroStep::DebugLog => Safe::Always,
        MicroStep::Lock(lock) => always_if(
            covered
                .iter()
                .any(|(inner, outer)| *inner == lock && held.contains(outer)),
        ),
        MicroStep::Alloc | MicroStep::Free | MicroStep::Stamp | MicroStep::Send(_) => {
            always_if(guards.iter().any(|guard| held.contains(guard)))
        }
        MicroStep::CheckLive
        | MicroStep::CheckLiveUnguarded
        | MicroStep::Claim
        | MicroStep::MarkLive
        | MicroStep::MarkDead
        | MicroStep::Publish => Safe::OnPrivateSlot,
        // What comes next depends on how many devices there are.
        MicroStep::EachDevice | MicroStep::End | MicroStep::Shared(_) => Safe::Never,
    };
    let mut judged: [[Vec<Safe>; 2]; 2] = Default::default();
    walk(
        &scenario.discipline,
        &BufferPath::ALL,
        |path, kind, step, held| {
            judged[path as usize][kind as usize].push(judge(step, held));
        },
    );
    let instructions = code.origins().map(|(path, kind, index)| {
        let step = judged[path as usize][kind as usize].get(index).copied();
        step.unwrap_or(match path {
            BufferPath::Plain => Safe::AtEnd,
            // Its parts are no more than one another's neighbours.
            BufferPath::Mesh => Safe::Never,
        })
    });
    SafeSteps {
        instructions: instructions.collect(),
        sends_in_pieces: !server_takes_part
            && scenario.transport.connections != crate::scenario::Connections::Lazy,
        ends: true,
        private: private_slots(ops, objects.slots).into(),
    }
}

fn always_if(always: bool) -> Safe {
    if always { Safe::Always } else { Safe::Never }
}

/// Locks that are held, in both programs, at every touch of the allocator, the sequence counter and
/// the connection. Taking the allocator's mutex is a touch of the allocator: it keeps `alloc` and
/// `free` of others from going on.
fn guards_of(discipline: &Discipline, paths: &[BufferPath]) -> Vec<Lock> {
    let mut common: Option<Vec<Lock>> = None;
    walk(discipline, paths, |_, _, step, held| {
        let takes_allocator = step == MicroStep::Lock(Lock::Allocator);
        if !takes_allocator
            && !matches!(
                step,
                MicroStep::Alloc | MicroStep::Free | MicroStep::Stamp | MicroStep::Send(_)
            )
        {
            return;
        }
        let mut held = held.to_vec();
        if takes_allocator {
            held.push(Lock::Allocator);
        }
        match &mut common {
            Some(common) => common.retain(|lock| held.contains(lock)),
            None => common = Some(held),
        }
    });
    common.unwrap_or_default()
}

/// Pairs of locks: the first is only ever taken while the second is held. The allocator's mutex is
/// also taken by `alloc` and `free` themselves.
fn covered_locks(discipline: &Discipline, paths: &[BufferPath]) -> Vec<(Lock, Lock)> {
    let mut pairs: Vec<(Lock, Option<Vec<Lock>>)> = Vec::new();
    let mut taken = |lock: Lock, held: &[Lock]| {
        let outer: Vec<Lock> = held.iter().copied().filter(|held| *held != lock).collect();
        match pairs.iter_mut().find(|(inner, _)| *inner == lock) {
            Some((_, Some(common))) => common.retain(|lock| outer.contains(lock)),
            Some((_, none)) => *none = Some(outer),
            None => pairs.push((lock, Some(outer))),
        }
    };
    walk(discipline, paths, |_, _, step, held| match step {
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

/// The paths that buffers of `scenario` take.
fn paths_of(scenario: &Scenario) -> &'static [BufferPath] {
    if scenario.has_mesh() {
        &BufferPath::ALL
    } else {
        &[BufferPath::Plain]
    }
}

/// Each step of the programs on `paths`, with the locks that are held before it. A table that a
/// device is beyond guards nothing, and is left out by `resolve` for that device. Of a device's own
/// mutex it is not counted on that it is still held where another device's turn begins.
fn walk(
    discipline: &Discipline,
    paths: &[BufferPath],
    mut visit: impl FnMut(BufferPath, ProgramKind, MicroStep, &[Lock]),
) {
    let programs = discipline.programs();
    for (path, kind, program) in programs.filter(|(path, ..)| paths.contains(path)) {
        let mut held: Vec<Lock> = Vec::new();
        for step in program.steps().iter().copied() {
            visit(path, kind, step, &held);
            match step {
                MicroStep::Lock(lock) => held.push(lock),
                MicroStep::Unlock(lock) => held.retain(|other| *other != lock),
                MicroStep::EachDevice | MicroStep::End => {
                    held.retain(|lock| matches!(lock, Lock::Tracker | Lock::Global));
                }
                _ => {}
            }
        }
    }
}

/// Which slots one thread alone names. A device is closed only when every other thread has ended,
/// so that closing it shares nothing.
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
        guards_of(
            &lifecycle::load(name).expect("built in"),
            &[BufferPath::Plain],
        )
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
        let covered = covered_locks(&wide, &[BufferPath::Plain]);
        assert!(covered.contains(&(Lock::Tracker, Lock::Lifecycle)));
        assert!(!covered.contains(&(Lock::Lifecycle, Lock::Tracker)));
    }
}
