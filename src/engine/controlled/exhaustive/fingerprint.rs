//! Fingerprints: 128 bits for everything that decides what a machine can still do.
//!
//! Two machines with the same fingerprint have the same futures, up to names. Left out is what is
//! history only: versions, what a slot held that will not be looked at again (*dead slots*), and
//! which of several threads with the same program is which (*symmetry*). Generations are renamed in
//! the order in which they are met, those of each device by themselves: that two devices have come
//! to the same number says nothing. Addresses may be left out, too: see
//! [`addresses`](super::addresses).
//!
//! The hash is XXH3-128. A search of n states misses one by a collision with a probability below
//! n²/2¹²⁹: for 10⁹ states 10⁻²¹.

use xxhash_rust::xxh3::xxh3_128;

use crate::device::{DeviceId, Memory, Status};
use crate::engine::backend::PartAt;
use crate::engine::controlled::actors::Actor;
use crate::engine::controlled::machine::{Machine, Setup};
use crate::scenario::op::{Op, SlotId};
use crate::scenario::{Connections, Scenario};
use crate::tracking::sent::Handle;

/// Computes fingerprints, in memory of its own.
#[derive(Clone, Debug)]
pub(crate) struct Fingerprints {
    /// Of each thread: the class of threads that have the same program.
    class: Vec<u16>,
    /// Of each thread: the slots that it alone uses, in the order of its operations.
    own_slots: Vec<Vec<SlotId>>,
    shared_slots: Vec<SlotId>,
    form: SlotForm,
    keys: Vec<Vec<u8>>,
    order: Vec<u16>,
    rank: Vec<u16>,
    /// Whether each device has generations of its own: a message that names another device than its
    /// buffer's would mix them.
    by_device: bool,
    generations: Vec<(u16, u64)>,
    bytes: Vec<u8>,
}

impl Fingerprints {
    /// For the machines of `setup`. Without `symmetry` every thread is of its own class; without
    /// `dead_slots` what a slot last held stays part of the state.
    pub(crate) fn new(setup: &Setup, symmetry: bool, dead_slots: bool) -> Fingerprints {
        let threads = setup.ops().len();
        // Cells may hold the numbers of threads and slots, which these give other names.
        let shares = setup.scenario.discipline.shares();
        let (symmetry, dead_slots) = (symmetry && !shares, dead_slots && !shares);
        let own_slots: Vec<Vec<SlotId>> = setup
            .ops()
            .iter()
            .map(|ops| {
                let mut own: Vec<SlotId> = Vec::new();
                for op in ops {
                    if let Op::Allocate { slot, .. } | Op::Release { slot, .. } = op
                        && setup.is_private(*slot)
                        && !own.contains(slot)
                    {
                        own.push(*slot);
                    }
                }
                own
            })
            .collect();
        let mut shared_slots: Vec<SlotId> =
            (0..setup.scenario.objects().slots).map(SlotId).collect();
        let named = |slot: &SlotId| {
            let of = |op: &Op| matches!(op, Op::Allocate { slot: named, .. } | Op::Release { slot: named, .. } if named == slot);
            setup.ops().iter().flatten().any(of)
        };
        shared_slots.retain(|slot| !setup.is_private(*slot) && named(slot));
        let class = if symmetry {
            classes(&setup.scenario, setup.ops(), &own_slots)
        } else {
            (0..threads as u16).collect()
        };
        Fingerprints {
            class,
            own_slots,
            shared_slots,
            form: SlotForm {
                dead_slots,
                without_addresses: false,
            },
            keys: vec![Vec::new(); threads],
            order: (0..threads as u16).collect(),
            rank: vec![0; threads],
            by_device: setup.scenario.planted.is_none(),
            generations: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// The same, with addresses left out: for who knows that it does not matter which one a buffer
    /// has.
    pub(crate) fn without_addresses(mut self) -> Fingerprints {
        self.form.without_addresses = true;
        self
    }

    /// The fingerprint of `machine`, where `current` took the last step; give it only where that
    /// matters.
    pub(crate) fn of(&mut self, machine: &Machine, current: Option<(Actor, u32)>) -> u128 {
        self.sort_threads(machine);
        self.bytes.clear();
        self.generations.clear();
        let mut out = std::mem::take(&mut self.bytes);
        for index in 0..self.order.len() {
            let thread = usize::from(self.order[index]);
            out.extend_from_slice(&self.keys[thread]);
            for slot in 0..self.own_slots[thread].len() {
                self.slot_generations(machine, self.own_slots[thread][slot], &mut out);
            }
        }
        for slot in 0..self.shared_slots.len() {
            let slot = self.shared_slots[slot];
            self.form.slot(machine, slot, true, &mut out);
            self.slot_generations(machine, slot, &mut out);
        }
        self.devices(machine, &mut out);
        self.server(machine, &mut out);
        if let Some(shared) = machine.world().shared() {
            shared.state(&mut |value| put(&mut out, value));
        }
        if let Some((actor, preemptions)) = current {
            let rank = self
                .rank
                .get(usize::from(actor.0))
                .copied()
                .unwrap_or(actor.0);
            put(&mut out, u64::from(rank));
            put(&mut out, u64::from(preemptions));
        }
        let fingerprint = xxh3_128(&out);
        self.bytes = out;
        fingerprint
    }

    /// Puts the threads in an order that does not depend on which of a class is which.
    fn sort_threads(&mut self, machine: &Machine) {
        for thread in 0..self.keys.len() {
            let key = &mut self.keys[thread];
            key.clear();
            put(key, u64::from(self.class[thread]));
            let state = &machine.threads()[thread];
            let taken = machine.taken(thread) - u32::from(state.has_taken_up());
            put(key, u64::from(taken));
            for word in state.position() {
                put(key, word);
            }
            if state.is_inside() {
                // Where it closes a device, the buffer at hand is none that its operation names.
                put(
                    key,
                    u64::from(state.place().slot.0) * u64::from(state.is_closing()),
                );
            }
            put(key, state.held().len() as u64);
            for lock in state.held() {
                put(key, u64::from(lock.0));
            }
            for slot in &self.own_slots[thread] {
                self.form.slot(machine, *slot, false, key);
            }
        }
        let keys = &self.keys;
        self.order
            .sort_unstable_by(|a, b| keys[usize::from(*a)].cmp(&keys[usize::from(*b)]));
        for (rank, thread) in (0..).zip(&self.order) {
            self.rank[usize::from(*thread)] = rank;
        }
    }

    fn slot_generations(&mut self, machine: &Machine, slot: SlotId, out: &mut Vec<u8>) {
        let (_, request) = machine.world().slot(slot);
        if self.form.dead_slots && is_dead(machine, slot) {
            return;
        }
        for part in 0..request.parts {
            if let Some(handle) = machine.world().handle(PartAt { slot, part }) {
                self.generation(handle.device, handle.generation, out);
            }
        }
    }

    fn devices(&mut self, machine: &Machine, out: &mut Vec<u8>) {
        for (device, number) in machine.world().devices().iter().zip(0..) {
            for memory in Memory::ALL {
                let mut blocks = 0;
                device.live_blocks(memory, &mut |_| blocks += 1);
                put(out, blocks);
                if self.form.without_addresses {
                    continue;
                }
                device.live_blocks(memory, &mut |block| {
                    put(out, block.address);
                    put(out, block.size_bytes);
                    if let Some(generation) = device.generation(memory, block.address) {
                        self.generation(DeviceId(number), generation, out);
                    }
                });
            }
        }
        for counter in machine.world().counters() {
            put(out, *counter);
        }
        let (shared, opened) = machine.world().connections();
        put(out, shared.map_or(0, |conn| u64::from(conn.0) + 1));
        put(out, u64::from(opened));
    }

    fn server(&mut self, machine: &Machine, out: &mut Vec<u8>) {
        let server = machine.server();
        let registry = server.registry();
        put(out, registry.len() as u64);
        if self.form.without_addresses {
            self.entries_by_life(machine, out);
        } else if !registry.is_empty() {
            for entry in registry.live() {
                put(out, u64::from(entry.device.0));
                out.extend_from_slice(&[entry.class as u8, entry.buffer_type]);
                put(out, entry.address);
                put(out, entry.size_bytes);
                self.thread(entry.thread, out);
                self.generation(entry.device, entry.generation, out);
                put(out, u64::from(entry.refcount));
            }
        }
        for (device, sequence, message) in registry.held_messages() {
            out.push(1 + u8::from(message.is_some()));
            put(out, u64::from(device.0));
            put(out, sequence);
            let Some(message) = message else { continue };
            out.push(message.kind as u8);
            put(out, message.address);
            put(out, message.size_bytes);
            if let Some(extension) = message.extension {
                out.push(extension.memory as u8);
                self.thread(extension.thread, out);
                self.generation(device, extension.generation, out);
            }
        }
        out.push(0);
        put(out, server.messages_before_stop());
        for wire in server.wires() {
            put(out, wire.writes().len() as u64);
            for (sent, chunk) in wire.writes() {
                out.extend_from_slice(&[sent.kind as u8, *chunk]);
                self.thread(u32::from(sent.thread), out);
                put(out, sent.sequence);
                self.handle(&sent.handle, out);
            }
        }
    }

    /// What is live at the allocators and at the server, in an order that no address decides.
    fn entries_by_life(&mut self, machine: &Machine, out: &mut Vec<u8>) {
        let mut lives: Vec<Vec<u8>> = Vec::new();
        for (device, number) in machine.world().devices().iter().zip(0..) {
            for memory in Memory::ALL {
                device.live_blocks(memory, &mut |block| {
                    let mut life = Vec::new();
                    if let Some(generation) = device.generation(memory, block.address) {
                        self.generation(DeviceId(number), generation, &mut life);
                    }
                    life.push(memory as u8);
                    lives.push(life);
                });
            }
        }
        let allocated = lives.len();
        for entry in machine.server().registry().live() {
            let mut life = Vec::new();
            self.generation(entry.device, entry.generation, &mut life);
            life.extend_from_slice(&[entry.class as u8, entry.buffer_type]);
            put(&mut life, entry.size_bytes);
            self.thread(entry.thread, &mut life);
            put(&mut life, u64::from(entry.refcount));
            lives.push(life);
        }
        let (allocators, server) = lives.split_at_mut(allocated);
        for of in [allocators, server] {
            of.sort_unstable();
            of.iter().for_each(|life| out.extend_from_slice(life));
        }
    }

    fn handle(&mut self, handle: &Handle, out: &mut Vec<u8>) {
        put(out, u64::from(handle.device.0));
        out.push(handle.memory as u8);
        put(out, handle.address);
        put(out, handle.size_bytes);
        self.generation(handle.device, handle.generation, out);
    }

    fn thread(&self, thread: u32, out: &mut Vec<u8>) {
        let rank = self.rank.get(thread as usize).copied();
        put(out, rank.map_or(u64::from(thread), u64::from));
    }

    /// A name for `generation` that depends on nothing but the order in which names are asked for.
    fn generation(&mut self, device: DeviceId, generation: u64, out: &mut Vec<u8>) {
        let life = (if self.by_device { device.0 } else { 0 }, generation);
        let known = self.generations.iter().position(|known| *known == life);
        let name = known.unwrap_or_else(|| {
            self.generations.push(life);
            self.generations.len() - 1
        });
        put(out, name as u64);
    }
}

/// A slot that no one will look at again before it is opened anew: all releases are done, and
/// nothing in it is live, so that closing its device passes it by.
fn is_dead(machine: &Machine, slot: SlotId) -> bool {
    let (word, request) = machine.world().slot(slot);
    // One that is never released is vacant from the beginning.
    word.is_vacant()
        && request.releases > 0
        && (0..request.parts).all(|part| word.status(part) != Status::Live)
}

/// How much of a slot is part of a state.
#[derive(Clone, Copy, Debug)]
struct SlotForm {
    /// What it last held is left out where nobody will look at it again.
    dead_slots: bool,
    /// Addresses are left out: only which life is where counts.
    without_addresses: bool,
}

impl SlotForm {
    fn slot(self, machine: &Machine, slot: SlotId, epoch: bool, out: &mut Vec<u8>) {
        let (word, request) = machine.world().slot(slot);
        if self.dead_slots && is_dead(machine, slot) {
            put(
                out,
                if epoch {
                    u64::from(word.epoch()) << 1 | 1
                } else {
                    1
                },
            );
            return;
        }
        put(out, word.state() << 1);
        for part in 0..request.parts {
            let handle = machine.world().handle(PartAt { slot, part });
            let address = handle.map_or(0, |handle| match self.without_addresses {
                true => 1,
                false => handle.address + 1,
            });
            put(out, address);
            // Whether it is live, and known, in the life that the handle means: threads are told
            // apart by that as well.
            let live = handle.is_some_and(|handle| machine.world().is_live(&handle));
            out.push(u8::from(live));
        }
    }
}

/// Threads are interchangeable when their operations are the same but for the names of slots that
/// each has to itself, and nothing tells them apart by their number: no connections of their own,
/// and no walk over all slots.
fn classes(scenario: &Scenario, ops: &[Box<[Op]>], own_slots: &[Vec<SlotId>]) -> Vec<u16> {
    let renamed: Vec<Option<Vec<Op>>> = ops
        .iter()
        .zip(own_slots)
        .map(|(ops, own)| renamed(ops, own))
        .collect();
    let closes = ops
        .iter()
        .flatten()
        .any(|op| matches!(op, Op::Close { .. }));
    let alike = scenario.transport.connections == Connections::Shared && !closes;
    (0..ops.len())
        .map(|thread| {
            (0..thread)
                .find(|other| {
                    alike && renamed[thread].is_some() && renamed[*other] == renamed[thread]
                })
                .unwrap_or(thread) as u16
        })
        .collect()
}

fn renamed(ops: &[Op], own: &[SlotId]) -> Option<Vec<Op>> {
    let name = |slot: SlotId| {
        own.iter()
            .position(|own| *own == slot)
            .map(|index| SlotId(index as u32))
    };
    ops.iter()
        .map(|op| match *op {
            Op::Allocate {
                slot,
                epoch,
                request,
            } => Some(Op::Allocate {
                slot: name(slot)?,
                epoch,
                request,
            }),
            Op::Release { slot, epoch } => Some(Op::Release {
                slot: name(slot)?,
                epoch,
            }),
            Op::Throw => Some(Op::Throw),
            Op::Run { .. } | Op::Kill { .. } => None,
            Op::AwaitOthers | Op::Close { .. } => None,
        })
        .collect()
}

/// Appends a number whose end can be told from what follows.
#[inline]
fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
