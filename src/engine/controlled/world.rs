//! The world of a controlled run: every shared object of the scenario, as plain data.
//!
//! An action either happens at once or is refused as blocked and changes nothing; nothing waits. Objects count their
//! touches exactly as under real threads, so that the events of both engines are comparable.

use std::collections::VecDeque;

use crate::device::{BufferKind, ConfigError, Device, DeviceId, Memory, Status};
use crate::engine::backend::{Backend, BufferView, Flow, Outgoing, PartAt, Touch};
use crate::engine::slot::SlotWord;
use crate::lifecycle::{Lock, ProgramKind};
use crate::scenario::Scenario;
use crate::scenario::op::{Op, Request, SlotId};
use crate::trace::event::{ConnId, Event, FreeOutcome, LockId, SendOutcome};
use crate::trace::message::Handle;
use crate::trace::objects::Objects;

/// Everything that the threads of a scenario share.
#[derive(Clone, Debug)]
pub struct World {
    objects: Objects,
    locks: Vec<LockState>,
    devices: Vec<Device>,
    counters: Vec<u64>,
    slots: Vec<SlotState>,
    cell: Versioned<Option<ConnId>>,
    opened: u16,
    conns: Vec<u64>,
    running: u16,
}

/// A mutex: who holds it, and its version. Of an allocator's mutex the version is its device's.
#[derive(Clone, Copy, Debug, Default)]
struct LockState {
    holder: Option<u16>,
    version: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Versioned<T> {
    value: T,
    version: u64,
}

/// A slot and what the buffer in it is.
#[derive(Clone, Debug, Default)]
struct SlotState {
    word: SlotWord,
    request: Option<Request>,
    /// Address and generation of each part, once allocated.
    parts: smallvec::SmallVec<[Option<(u64, u64)>; 1]>,
}

impl World {
    /// The world before the first step.
    pub fn new(scenario: &Scenario) -> Result<World, ConfigError> {
        let objects = scenario.objects();
        let geometries = scenario.profile.geometries();
        let devices = (0..scenario.devices)
            .map(|id| Device::new(DeviceId(id), &geometries, scenario.allocator))
            .collect::<Result<_, _>>()?;
        Ok(World {
            objects,
            locks: vec![LockState::default(); usize::from(objects.locks())],
            devices,
            counters: vec![0; usize::from(scenario.devices)],
            slots: vec![SlotState::default(); objects.slots as usize],
            cell: Versioned::default(),
            opened: 0,
            conns: vec![0; usize::from(objects.conns)],
            running: scenario.threads,
        })
    }

    /// What the handle of a part says, once it has an address.
    pub fn handle(&self, at: PartAt) -> Option<Handle> {
        let slot = &self.slots[at.slot.index()];
        let request = slot.request?;
        let (address, generation) = (*slot.parts.get(usize::from(at.part))?)?;
        Some(Handle {
            device: self.device_of(&request, at.part),
            memory: request.memory,
            address,
            size_bytes: request.size_bytes,
            generation,
        })
    }

    /// A thread was told to end: what it holds is released as by guards, and the others need not wait for it.
    pub fn give_up(&mut self, thread: u16) {
        self.running -= 1;
        for lock in 0..self.objects.locks() {
            if self.locks[usize::from(lock)].holder == Some(thread) {
                self.release(LockId(lock));
            }
        }
    }

    /// Releases a lock, whoever holds it.
    pub fn release(&mut self, lock: LockId) {
        let state = &mut self.locks[usize::from(lock.0)];
        state.holder = None;
        state.version += 1;
        if let Some(device) = self.objects.allocator_of(lock) {
            self.devices[usize::from(device.0)].touch();
        }
    }

    fn device_of(&self, request: &Request, part: u8) -> DeviceId {
        self.objects.device_of(request.device, part)
    }

    fn request(&self, slot: SlotId) -> Request {
        self.slots[slot.index()].request.unwrap_or(NOTHING)
    }
}

/// What a slot that was never opened holds.
const NOTHING: Request = Request {
    kind: BufferKind::Owned,
    device: DeviceId(0),
    parts: 0,
    memory: Memory::Dram,
    size_bytes: 0,
    releases: 0,
};

/// The world as one of its threads sees it, for the length of a step.
pub struct Hand<'w, N> {
    /// The world.
    pub world: &'w mut World,
    /// Who steps.
    pub thread: u16,
    /// Where the thread's operations come from.
    pub ops: &'w mut N,
    /// What happened in the step goes here.
    pub events: &'w mut VecDeque<Event>,
    /// What the kernel answers to a send.
    pub send_outcome: SendOutcome,
}

impl<N> Hand<'_, N> {
    /// Whether the device's allocator mutex can be entered: it is free, or this thread's program holds it.
    fn may_enter(&self, device: DeviceId) -> bool {
        let lock = self
            .world
            .objects
            .resolve(Lock::Allocator, device)
            .expect("allocator locks are no table");
        self.world.locks[usize::from(lock.0)]
            .holder
            .is_none_or(|holder| holder == self.thread)
    }

    fn update(
        &mut self,
        slot: SlotId,
        change: impl FnOnce(SlotWord) -> SlotWord,
    ) -> (SlotWord, u64) {
        let word = &mut self.world.slots[slot.index()].word;
        let before = *word;
        *word = change(before).touched();
        (before, word.version())
    }
}

impl<N: Iterator<Item = Op>> Backend for Hand<'_, N> {
    fn next_op(&mut self) -> Option<Op> {
        self.ops.next()
    }

    fn record(&mut self, event: &Event) {
        if matches!(event, Event::Finish) {
            self.world.running -= 1;
        }
        self.events.push_back(*event);
    }

    fn before(&mut self, _program: ProgramKind, _index: usize) {}

    fn open_allocate(&mut self, slot: SlotId, epoch: u32, request: &Request) -> Flow<u64> {
        if !self.world.slots[slot.index()].word.may_allocate(epoch) {
            return Flow::Blocked;
        }
        let (_, version) = self.update(slot, |word| word.opened(epoch, request.releases));
        let state = &mut self.world.slots[slot.index()];
        state.request = Some(*request);
        state.parts.clear();
        state.parts.resize(usize::from(request.parts), None);
        Flow::Done(version)
    }

    fn open_release(&mut self, at: PartAt, epoch: u32) -> Flow<u64> {
        if !self.world.slots[at.slot.index()]
            .word
            .may_release(epoch, at.part)
        {
            return Flow::Blocked;
        }
        Flow::Done(self.update(at.slot, |word| word).1)
    }

    fn await_others(&mut self) -> Flow<()> {
        if self.world.running == 1 {
            Flow::Done(())
        } else {
            Flow::Blocked
        }
    }

    fn next_live_on(&mut self, device: DeviceId, from: PartAt) -> Option<PartAt> {
        (from.slot.0..self.world.objects.slots)
            .map(SlotId)
            .find_map(|slot| {
                let request = self.world.request(slot);
                let word = self.world.slots[slot.index()].word;
                let first = if slot == from.slot { from.part } else { 0 };
                (first..request.parts)
                    .find(|part| {
                        word.status(*part) == Status::Live
                            && self.world.device_of(&request, *part) == device
                    })
                    .map(|part| PartAt { slot, part })
            })
    }

    fn buffer(&self, slot: SlotId) -> BufferView {
        let request = self.world.request(slot);
        BufferView {
            kind: request.kind,
            parts: request.parts,
            device: request.device,
        }
    }

    fn has_address(&self, at: PartAt) -> bool {
        self.world.handle(at).is_some()
    }

    fn touch(&mut self, at: PartAt, touch: Touch) -> (bool, u64) {
        let (before, version) = self.update(at.slot, |word| touch.apply(word, at.part));
        (before.status(at.part) == Status::Live, version)
    }

    fn lock(&mut self, lock: LockId) -> Flow<u64> {
        let state = &mut self.world.locks[usize::from(lock.0)];
        if state.holder.is_some() {
            return Flow::Blocked;
        }
        state.holder = Some(self.thread);
        state.version += 1;
        Flow::Done(match self.world.objects.allocator_of(lock) {
            Some(device) => self.world.devices[usize::from(device.0)].touch(),
            None => state.version,
        })
    }

    fn unlock(&mut self, lock: LockId) {
        self.world.release(lock);
    }

    fn alloc(&mut self, at: PartAt, device: DeviceId) -> Flow<(Option<u64>, u64)> {
        if !self.may_enter(device) {
            return Flow::Blocked;
        }
        let request = self.world.request(at.slot);
        let memories = &mut self.world.devices[usize::from(device.0)];
        let allocation = memories
            .allocate(request.memory, request.size_bytes, request.kind.direction())
            .ok();
        let version = memories.version();
        if let Some(allocation) = allocation {
            self.world.slots[at.slot.index()].parts[usize::from(at.part)] =
                Some((allocation.address, allocation.generation));
        }
        Flow::Done((allocation.map(|allocation| allocation.address), version))
    }

    fn free(&mut self, at: PartAt, device: DeviceId) -> Flow<(FreeOutcome, u64)> {
        if !self.may_enter(device) {
            return Flow::Blocked;
        }
        let Some(handle) = self.world.handle(at) else {
            let version = self.world.devices[usize::from(device.0)].touch();
            return Flow::Done((FreeOutcome::NotAllocated, version));
        };
        let memories = &mut self.world.devices[usize::from(device.0)];
        let outcome = match memories.free(handle.memory, handle.address) {
            Ok(release) if release.generation == handle.generation => FreeOutcome::Freed,
            Ok(_) => FreeOutcome::FreedAnother,
            Err(_) => FreeOutcome::NotAllocated,
        };
        Flow::Done((outcome, memories.version()))
    }

    fn stamp(&mut self, device: DeviceId) -> u64 {
        let counter = &mut self.world.counters[usize::from(device.0)];
        *counter += 1;
        *counter
    }

    fn shared_connection(&mut self) -> (Option<ConnId>, u64) {
        self.world.cell.version += 1;
        (self.world.cell.value, self.world.cell.version)
    }

    fn connect(&mut self) -> Flow<ConnId> {
        self.world.opened += 1;
        Flow::Done(ConnId(self.world.opened - 1))
    }

    fn share_connection(&mut self, conn: ConnId) -> u64 {
        self.world.cell.value = Some(conn);
        self.world.cell.version += 1;
        self.world.cell.version
    }

    fn send(&mut self, message: &Outgoing) -> Flow<(SendOutcome, u64)> {
        let version = &mut self.world.conns[usize::from(message.conn.0)];
        *version += 1;
        Flow::Done((self.send_outcome, *version))
    }

    fn debug_log(&mut self, _at: PartAt, _program: ProgramKind) {}
}
