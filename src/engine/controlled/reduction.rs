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
//!
//! A search takes more for safe than a sampler, whose schedules are to stay what they were:
//!
//! - an operation waits for its slot until nobody else uses it: beginning it, making its handle
//!   visible and ending it can only let others go on. What an allocation does to its slot before
//!   the handle is visible nobody sees; nor what the only release of it does, unless the allocation
//!   goes on with it after that;
//! - a message with a sequence number, to a server that takes messages in their order: what it
//!   makes of them does not depend on the order in which they come.

use crate::engine::code::{Code, Safe, SafeSteps, SlotUse};
use crate::lifecycle::{BufferPath, Discipline, Lock, MicroStep, ProgramKind};
use crate::registry::Semantics;
use crate::scenario::op::Op;
use crate::scenario::{Connections, Scenario};
use crate::tracking::Layout;

/// For whom steps are safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SafeFor {
    /// Who draws schedules.
    Samplers,
    /// Who goes through all of them.
    Searches,
}

/// The steps of `scenario` that are safe; its threads do `ops`, to a server that takes part in the
/// schedule or does not.
pub(crate) fn safe_steps(
    scenario: &Scenario,
    code: &Code,
    ops: &[Box<[Op]>],
    server_takes_part: bool,
    whom: SafeFor,
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
    let searches = whom == SafeFor::Searches;
    let in_turn = searches
        && !ops
            .iter()
            .flatten()
            .any(|op| matches!(op, Op::Close { .. }));
    let by_stamp = searches && !server_takes_part && goes_by_stamp(scenario, paths);
    let guards: Vec<Lock> = guards_of(&scenario.discipline, paths, by_stamp)
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
    let sees_slot_late = late_touches(&scenario.discipline, paths);
    let on_slot = |kind: ProgramKind, published: bool| match (kind, in_turn) {
        (_, false) => Safe::OnPrivateSlot,
        (ProgramKind::Allocate, true) if !published => Safe::Always,
        (ProgramKind::Deallocate, true) if !sees_slot_late => Safe::OnHandedSlot,
        _ => Safe::OnPrivateSlot,
    };
    let judge = |kind: ProgramKind, step: MicroStep, held: &[Lock], published: bool| match step {
        // Where there is nothing to unlock it is no action, and the next one is taken in its place.
        MicroStep::Unlock(lock) => always_if(in_bounds(lock)),
        MicroStep::DebugLog => Safe::Always,
        MicroStep::Lock(lock) => always_if(
            covered
                .iter()
                .any(|(inner, outer)| *inner == lock && held.contains(outer)),
        ),
        MicroStep::Send(_) if by_stamp => Safe::Always,
        MicroStep::Alloc | MicroStep::Free | MicroStep::Stamp | MicroStep::Send(_) => {
            always_if(guards.iter().any(|guard| held.contains(guard)))
        }
        MicroStep::Publish if in_turn => Safe::Always,
        MicroStep::CheckLive
        | MicroStep::CheckLiveUnguarded
        | MicroStep::Claim
        | MicroStep::MarkLive
        | MicroStep::MarkDead
        | MicroStep::Publish => on_slot(kind, published),
        // What comes next depends on how many devices there are.
        MicroStep::EachDevice | MicroStep::End | MicroStep::Shared(_) => Safe::Never,
    };
    let mut judged: [[Vec<Safe>; 2]; 2] = Default::default();
    walk(
        &scenario.discipline,
        &BufferPath::ALL,
        |path, kind, step, held, published| {
            judged[path as usize][kind as usize].push(judge(kind, step, held, published));
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
        slots: slot_uses(ops, objects.slots).into(),
        in_turn,
    }
}

/// Whether the server takes every message in the order of its number, whenever it comes: then what
/// it makes of them follows from who took which number.
fn goes_by_stamp(scenario: &Scenario, paths: &[BufferPath]) -> bool {
    let is_stamped = scenario
        .discipline
        .programs()
        .filter(|(path, ..)| paths.contains(path))
        .all(|(_, _, program)| {
            let mut stamped = false;
            program.steps().iter().all(|step| match step {
                // Each device takes numbers of its own.
                MicroStep::EachDevice | MicroStep::End => {
                    stamped = false;
                    true
                }
                MicroStep::Stamp => {
                    stamped = true;
                    true
                }
                MicroStep::Send(_) => stamped,
                _ => true,
            })
        });
    is_stamped
        && scenario.semantics == Semantics::Sequenced
        && scenario.transport.layout == Layout::Extended
        && scenario.transport.chunks == 1
        && scenario.transport.connections == Connections::Shared
}

/// Whether an allocation goes on with its slot after its handle is visible.
fn late_touches(discipline: &Discipline, paths: &[BufferPath]) -> bool {
    let mut late = false;
    walk(discipline, paths, |_, kind, step, _, published| {
        let touches = matches!(
            step,
            MicroStep::CheckLive
                | MicroStep::CheckLiveUnguarded
                | MicroStep::Claim
                | MicroStep::MarkLive
                | MicroStep::MarkDead
        );
        late |= kind == ProgramKind::Allocate && published && touches;
    });
    late
}

fn always_if(always: bool) -> Safe {
    if always { Safe::Always } else { Safe::Never }
}

/// Locks that are held, in both programs, at every touch of the allocator, the sequence counter and
/// the connection. Taking the allocator's mutex is a touch of the allocator: it keeps `alloc` and
/// `free` of others from going on.
fn guards_of(discipline: &Discipline, paths: &[BufferPath], by_stamp: bool) -> Vec<Lock> {
    let mut common: Option<Vec<Lock>> = None;
    walk(discipline, paths, |_, _, step, held, _| {
        let takes_allocator = match step {
            MicroStep::Lock(Lock::Allocator) => true,
            // They take it themselves, for as long as they take.
            MicroStep::Alloc | MicroStep::Free => by_stamp,
            MicroStep::Stamp => false,
            MicroStep::Send(_) if !by_stamp => false,
            _ => return,
        };
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
    walk(discipline, paths, |_, _, step, held, _| match step {
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

/// Each step of the programs on `paths`, with the locks that are held before it, and whether the
/// program has made a handle visible. A table that a
/// device is beyond guards nothing, and is left out by `resolve` for that device. Of a device's own
/// mutex it is not counted on that it is still held where another device's turn begins.
fn walk(
    discipline: &Discipline,
    paths: &[BufferPath],
    mut visit: impl FnMut(BufferPath, ProgramKind, MicroStep, &[Lock], bool),
) {
    let programs = discipline.programs();
    for (path, kind, program) in programs.filter(|(path, ..)| paths.contains(path)) {
        let mut held: Vec<Lock> = Vec::new();
        let mut published = false;
        for step in program.steps().iter().copied() {
            visit(path, kind, step, &held, published);
            match step {
                MicroStep::Publish => published = true,
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

/// Who uses each slot. A device is closed only when every other thread has ended, so that closing
/// it shares nothing.
fn slot_uses(ops: &[Box<[Op]>], slots: u32) -> Vec<SlotUse> {
    let mut owner: Vec<Option<usize>> = vec![None; slots as usize];
    let mut uses = vec![SlotUse::Private; slots as usize];
    let several = |uses: &mut SlotUse, releases: u8| {
        *uses = match (*uses, releases) {
            (SlotUse::Contended, _) | (_, 2..) => SlotUse::Contended,
            _ => SlotUse::HandedOn,
        };
    };
    let mut most_releases = vec![0; slots as usize];
    for op in ops.iter().flatten() {
        if let Op::Allocate { slot, request, .. } = op {
            let most = &mut most_releases[slot.index()];
            *most = request.releases.max(*most);
        }
    }
    for (thread, ops) in ops.iter().enumerate() {
        for op in ops {
            if let Op::Allocate { slot, .. } | Op::Release { slot, .. } = op {
                let owner = owner[slot.index()].get_or_insert(thread);
                if *owner != thread {
                    several(&mut uses[slot.index()], most_releases[slot.index()]);
                }
            }
        }
    }
    uses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle;

    fn guards(name: &str) -> Vec<Lock> {
        guards_of(
            &lifecycle::load(name).expect("built in"),
            &[BufferPath::Plain],
            false,
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
