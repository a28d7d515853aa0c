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
use crate::engine::controlled::actors::{Actor, Actors};
use crate::engine::controlled::machine::{Machine, Setup};
use crate::engine::step::Next;
use crate::lifecycle::{Discipline, Lock, MicroStep, ProgramKind};
use crate::scenario::op::Op;
use crate::trace::event::LockId;
use crate::trace::objects::Objects;

/// What follows from a scenario alone.
#[derive(Clone, Debug)]
pub struct Reduction {
    objects: Objects,
    /// By slot: whether one thread alone uses it.
    private: Vec<bool>,
    /// Of each device: locks under which each touch of its allocator and its messages is done.
    guards: Vec<Vec<LockId>>,
    /// Locks that are taken only under another, with that one.
    covered: Vec<(LockId, LockId)>,
    threads: u16,
}

impl Reduction {
    /// What can be reduced in `setup`.
    pub fn new(setup: &Setup) -> Reduction {
        let scenario = &setup.scenario;
        let objects = scenario.objects();
        let used = used_devices(setup);
        let discipline = &scenario.discipline;
        // Where messages are written in pieces, or the server takes part, those of all devices share a connection.
        let shares_connection = scenario.transport.chunks > 1 || setup.has_server_actors();
        let guards = (0..scenario.devices)
            .map(DeviceId)
            .map(|device| {
                guards_of(discipline)
                    .into_iter()
                    .filter(|_| !setup.has_server_actors())
                    .filter(|lock| !shares_connection || used.len() <= 1 || is_one_for_all(*lock))
                    .filter_map(|lock| objects.resolve(lock, device))
                    .collect()
            })
            .collect();
        let mut covered = Vec::new();
        for (inner, outer) in covered_locks(discipline) {
            if used.len() > 1 && !is_one_for_all(outer) {
                continue;
            }
            for device in used.iter().copied() {
                covered.extend(
                    objects
                        .resolve(inner, device)
                        .zip(objects.resolve(outer, device)),
                );
            }
        }
        Reduction {
            objects,
            private: private_slots(setup, objects.slots),
            guards,
            covered,
            threads: scenario.threads,
        }
    }

    /// A thread whose next step is safe, if there is one; `among` are the candidates.
    pub fn safe(&self, machine: &Machine, among: Actors) -> Option<Actor> {
        among
            .take_while(|actor| actor.0 < self.threads)
            .find(|actor| self.is_safe(machine, *actor))
    }

    /// Whether one thread alone uses the slot.
    pub fn is_private(&self, slot: usize) -> bool {
        self.private[slot]
    }

    fn is_safe(&self, machine: &Machine, actor: Actor) -> bool {
        let held = machine.threads()[usize::from(actor.0)].held();
        match machine.next_of(actor) {
            Some(Next::Slot(slot)) => self.private[slot.index()],
            Some(Next::Release | Next::Nothing) => true,
            Some(Next::Device(device) | Next::Send(device)) => self.guards[usize::from(device.0)]
                .iter()
                .any(|guard| held.contains(guard)),
            Some(Next::Lock(lock)) => self
                .covered
                .iter()
                .any(|(inner, outer)| *inner == lock && held.contains(outer)),
            Some(Next::Anything | Next::Ended) | None => false,
        }
    }

    /// The scenario's objects.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }
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

/// Whether the lock is the same mutex for buffers of all devices.
fn is_one_for_all(lock: Lock) -> bool {
    matches!(lock, Lock::Tracker | Lock::Global)
}

fn used_devices(setup: &Setup) -> Vec<DeviceId> {
    let objects = setup.scenario.objects();
    let mut used: Vec<DeviceId> = setup
        .ops()
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
fn private_slots(setup: &Setup, slots: u32) -> Vec<bool> {
    let mut owner: Vec<Option<usize>> = vec![None; slots as usize];
    let mut private = vec![true; slots as usize];
    for (thread, ops) in setup.ops().iter().enumerate() {
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
