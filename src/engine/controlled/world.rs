//! The world of a controlled run: every object that the threads of a scenario share but the server
//! and the way to it (see [`super::server`]), as plain data.
//!
//! An action either happens at once or is refused as blocked and changes nothing; nothing waits.
//! Objects count their touches exactly as under real threads, so that the events of both engines
//! are comparable. Whoever is refused is noted down, so that the driver need not ask again before
//! it can have changed: see [`World::take_woken`].

mod shared;
mod shared_view;

use crate::device::{BufferKind, ConfigError, Device, DeviceId, Memory, Status};
use crate::engine::backend::{Backend, BufferView, Flow, Outgoing, PartAt, StopReason, Touch};
use crate::engine::code::{Code, Pc};
use crate::engine::slot::SlotWord;
use crate::lifecycle::{Lock, ProgramKind};
use crate::scenario::objects::{ConnId, LockId, Objects};
use crate::scenario::op::{MAX_PARTS, Op, Request, SlotId};
use crate::scenario::{Scenario, VIEW_GENERATION};
use crate::trace::event::{Event, FreeOutcome, ReceiveCode, SendOutcome};
use crate::trace::file::SERVER_STREAM;
use crate::tracking::sent::Handle;

pub(crate) use shared::SharedWorld;

/// Everything that the threads of a scenario share.
#[derive(Debug)]
pub struct World {
    objects: Objects,
    locks: Vec<LockState>,
    devices: Vec<Device>,
    counters: Vec<u64>,
    slots: Vec<SlotState>,
    /// Address and generation of each part of each slot; generation 0: it has none.
    parts: Vec<(u64, u64)>,
    /// Places in `parts` for each slot.
    parts_per_slot: u8,
    cell: Versioned<Option<ConnId>>,
    opened: u16,
    conns: Vec<u64>,
    running: u16,
    /// Who waits for a slot's word to change, or for the others to end.
    waiters: u64,
    woken: u64,
    /// Where the views of other buffers' memory are, where a planted mistake tracks them.
    view_address: Option<u64>,
    /// Cells, ledgers and the like, where the discipline has any.
    shared: Option<Box<SharedWorld>>,
}

/// A mutex: who holds it, its version, and who waits for it. Of an allocator's mutex the version is
/// its device's.
#[derive(Clone, Copy, Debug, Default)]
struct LockState {
    holder: Option<u16>,
    version: u64,
    waiters: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Versioned<T> {
    value: T,
    version: u64,
}

/// A slot and what was asked for it.
#[derive(Clone, Copy, Debug)]
struct SlotState {
    word: SlotWord,
    request: Request,
}

/// What a slot that was never opened holds.
const NOTHING: SlotState = SlotState {
    word: SlotWord(0),
    request: Request {
        kind: BufferKind::Owned,
        device: DeviceId(0),
        parts: 0,
        memory: Memory::Dram,
        size_bytes: 0,
        releases: 0,
    },
};

impl World {
    /// The world before the first step.
    pub fn new(scenario: &Scenario) -> Result<World, ConfigError> {
        let objects = scenario.objects();
        let geometries = scenario.profile.geometries();
        let devices = (0..scenario.devices)
            .map(|id| {
                Device::new(DeviceId(id), &geometries, scenario.allocator)
                    .map(|device| device.with_planted(scenario.planted))
            })
            .collect::<Result<_, _>>()?;
        let parts_per_slot = if scenario.has_mesh() { MAX_PARTS } else { 1 };
        Ok(World {
            objects,
            locks: vec![LockState::default(); usize::from(objects.locks())],
            devices,
            counters: vec![0; usize::from(scenario.devices)],
            slots: vec![NOTHING; objects.slots as usize],
            parts: vec![(0, 0); objects.slots as usize * usize::from(parts_per_slot)],
            parts_per_slot,
            cell: Versioned::default(),
            opened: 0,
            conns: vec![0; usize::from(objects.conns)],
            running: scenario.threads,
            waiters: 0,
            woken: 0,
            view_address: scenario.view_address(),
            shared: SharedWorld::new(scenario),
        })
    }

    /// Back to before the first step of `threads` threads.
    pub(crate) fn reset(&mut self, threads: u16) {
        self.locks.fill(LockState::default());
        self.devices.iter_mut().for_each(Device::reset);
        self.counters.fill(0);
        self.slots.fill(NOTHING);
        self.parts.fill((0, 0));
        self.cell = Versioned::default();
        self.opened = 0;
        self.conns.fill(0);
        self.running = threads;
        self.waiters = 0;
        self.woken = 0;
        if let Some(shared) = &mut self.shared {
            shared.reset();
        }
    }

    /// What the handle of a part says, once it has an address.
    #[inline]
    pub(crate) fn handle(&self, at: PartAt) -> Option<Handle> {
        let request = &self.slots[at.slot.index()].request;
        let (address, generation) = *self.parts.get(self.part_index(at))?;
        (generation != 0 && at.part < request.parts).then(|| Handle {
            device: self.device_of(request, at.part),
            memory: request.memory,
            address,
            size_bytes: request.size_bytes,
            generation,
        })
    }

    /// Whether the allocator has the life that `handle` means.
    #[inline]
    pub(crate) fn is_live(&self, handle: &Handle) -> bool {
        let device = &self.devices[usize::from(handle.device.0)];
        device.generation(handle.memory, handle.address) == Some(handle.generation)
    }

    /// A slot's word, and what was asked for it.
    #[inline]
    pub(crate) fn slot(&self, slot: SlotId) -> (SlotWord, &Request) {
        let state = &self.slots[slot.index()];
        (state.word, &state.request)
    }

    /// The devices.
    #[inline]
    pub(crate) fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// The last sequence number of each device.
    pub(crate) fn counters(&self) -> &[u64] {
        &self.counters
    }

    /// The connection that all threads use, once one is stored, and how many were opened (lazy
    /// connect).
    pub(crate) fn connections(&self) -> (Option<ConnId>, u16) {
        (self.cell.value, self.opened)
    }

    /// Who was refused and might not be now: a bit for each thread, modulo 64. Empties the set.
    #[inline]
    pub(crate) fn take_woken(&mut self) -> u64 {
        std::mem::take(&mut self.woken)
    }

    /// A thread was told to end: what it holds is released as by guards, and the others need not
    /// wait for it.
    pub(crate) fn give_up(&mut self, thread: u16) {
        self.end();
        for lock in 0..self.objects.locks() {
            if self.locks[usize::from(lock)].holder == Some(thread) {
                self.release(LockId(lock));
            }
        }
    }

    /// Releases a lock, whoever holds it.
    #[inline]
    pub(crate) fn release(&mut self, lock: LockId) {
        let state = &mut self.locks[usize::from(lock.0)];
        state.holder = None;
        state.version += 1;
        self.woken |= std::mem::take(&mut state.waiters);
        if let Some(device) = self.objects.allocator_of(lock) {
            self.devices[usize::from(device.0)].touch();
        }
    }

    fn end(&mut self) {
        self.running -= 1;
        self.wake_waiters();
    }

    #[inline]
    fn wake_waiters(&mut self) {
        self.woken |= std::mem::take(&mut self.waiters);
    }

    #[inline]
    fn part_index(&self, at: PartAt) -> usize {
        at.slot.index() * usize::from(self.parts_per_slot) + usize::from(at.part)
    }

    #[inline]
    fn device_of(&self, request: &Request, part: u8) -> DeviceId {
        self.objects.device_of(request.device, part)
    }
}

impl Clone for World {
    fn clone(&self) -> World {
        World {
            objects: self.objects,
            locks: self.locks.clone(),
            devices: self.devices.clone(),
            counters: self.counters.clone(),
            slots: self.slots.clone(),
            parts: self.parts.clone(),
            conns: self.conns.clone(),
            shared: self.shared.clone(),
            ..*self
        }
    }

    /// Keeps the memory that it has: the search clones all the time.
    fn clone_from(&mut self, source: &World) {
        self.objects = source.objects;
        self.locks.clone_from(&source.locks);
        self.devices.clone_from(&source.devices);
        self.counters.clone_from(&source.counters);
        self.slots.clone_from(&source.slots);
        self.parts.clone_from(&source.parts);
        self.parts_per_slot = source.parts_per_slot;
        self.cell = source.cell;
        self.opened = source.opened;
        self.conns.clone_from(&source.conns);
        self.running = source.running;
        self.waiters = source.waiters;
        self.woken = source.woken;
        self.view_address = source.view_address;
        match (&mut self.shared, &source.shared) {
            (Some(kept), Some(shared)) => kept.clone_from_other(shared),
            (kept, shared) => kept.clone_from(shared),
        }
    }
}

/// Takes down what happened.
pub trait EventSink {
    /// `stream` is the thread, or the server's number.
    fn record(&mut self, stream: u16, event: &Event);
}

/// Where messages go, once they are written.
pub trait Network {
    /// Writes one chunk of the message about `handle`; `None`: there is no room, and the sender
    /// waits.
    fn send(
        &mut self,
        world: &World,
        thread: u16,
        handle: &Handle,
        chunk: &Outgoing,
    ) -> Option<SendOutcome>;

    /// The process that `thread` stands for has ended in the middle of its work, and the server has
    /// noticed.
    fn process_ended(&mut self, _thread: u16) {}

    /// What a server that takes each frame as soon as it is written made of the last write.
    fn take_received(&mut self) -> Option<(ConnId, ReceiveCode)> {
        None
    }
}

/// The world as one of its threads sees it, for the length of a step.
pub struct ThreadView<'w, O, R, N> {
    /// The world.
    pub world: &'w mut World,
    /// Who steps.
    pub thread: u16,
    /// Where the thread's operations come from.
    pub ops: &'w mut O,
    /// What happened in the step goes here.
    pub record: &'w mut R,
    /// The way to the server.
    pub network: &'w mut N,
    /// The run is over: whatever would block ends instead.
    pub stop: Option<StopReason>,
}

impl<O, R, N> ThreadView<'_, O, R, N> {
    /// The run is over, or the thread has to wait.
    #[inline]
    fn refuse<T>(&self) -> Flow<T> {
        match self.stop {
            Some(reason) => Flow::Stop(reason),
            None => Flow::Blocked,
        }
    }

    #[inline]
    fn bit(&self) -> u64 {
        1 << (self.thread & 63)
    }

    #[inline]
    fn wait_for_slots<T>(&mut self) -> Flow<T> {
        self.world.waiters |= self.bit();
        self.refuse()
    }

    #[inline]
    fn wait_for_lock<T>(&mut self, lock: LockId) -> Flow<T> {
        let bit = self.bit();
        self.world.locks[usize::from(lock.0)].waiters |= bit;
        self.refuse()
    }

    /// The device's allocator mutex, where another thread's program holds it and this thread has to
    /// wait.
    #[inline]
    fn shut_by(&self, device: DeviceId) -> Option<LockId> {
        let lock = self
            .world
            .objects
            .resolve(Lock::Allocator, device)
            .expect("allocator locks are no table");
        let held = self.world.locks[usize::from(lock.0)]
            .holder
            .is_some_and(|holder| holder != self.thread);
        (held || self.stop.is_some()).then_some(lock)
    }

    #[inline]
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

impl<O: Iterator<Item = Op>, R: EventSink, N: Network> Backend for ThreadView<'_, O, R, N> {
    #[inline]
    fn next_op(&mut self) -> Option<Op> {
        self.ops.next()
    }

    #[inline]
    fn record(&mut self, event: &Event) {
        if matches!(event, Event::Finish) {
            self.world.end();
        }
        self.record.record(self.thread, event);
        if matches!(event, Event::Send { .. })
            && let Some((conn, code)) = self.network.take_received()
        {
            self.record
                .record(SERVER_STREAM, &Event::Receive { conn, code });
        }
        if matches!(event, Event::Open { op: Op::Throw, .. }) {
            self.network.process_ended(self.thread);
        }
    }

    #[inline]
    fn before(&mut self, _code: &Code, _pc: Pc) {}

    #[inline]
    fn open_allocate(&mut self, slot: SlotId, epoch: u32, request: &Request) -> Flow<u64> {
        if self.stop.is_some() || !self.world.slots[slot.index()].word.may_allocate(epoch) {
            return self.wait_for_slots();
        }
        let (_, version) = self.update(slot, |word| word.opened(epoch, request.releases));
        self.world.slots[slot.index()].request = *request;
        let first = self.world.part_index(PartAt { slot, part: 0 });
        match &mut self.world.parts[first..][..usize::from(request.parts)] {
            [only] => *only = (0, 0),
            parts => parts.fill((0, 0)),
        }
        if let Some(shared) = &mut self.world.shared {
            shared.open(slot.0, self.thread);
        }
        if let Some(address) = self.world.view_address
            && !request.kind.owns_memory()
        {
            self.world.parts[first] = (address, VIEW_GENERATION);
        }
        Flow::Done(version)
    }

    #[inline]
    fn open_release(&mut self, at: PartAt, epoch: u32) -> Flow<u64> {
        let word = self.world.slots[at.slot.index()].word;
        if self.stop.is_some() || !word.may_release(epoch, at.part) {
            return self.wait_for_slots();
        }
        Flow::Done(self.update(at.slot, |word| word).1)
    }

    fn await_others(&mut self) -> Flow<()> {
        if self.stop.is_none() && self.world.running == 1 {
            Flow::Done(())
        } else {
            self.wait_for_slots()
        }
    }

    fn next_live_on(&mut self, device: DeviceId, from: PartAt) -> Option<PartAt> {
        (from.slot.0..self.world.objects.slots)
            .map(SlotId)
            .find_map(|slot| {
                let SlotState { word, request } = &self.world.slots[slot.index()];
                let first = if slot == from.slot { from.part } else { 0 };
                (first..request.parts)
                    .find(|part| {
                        word.status(*part) == Status::Live
                            && self.world.device_of(request, *part) == device
                    })
                    .map(|part| PartAt { slot, part })
            })
    }

    #[inline]
    fn buffer(&self, slot: SlotId) -> BufferView {
        let request = &self.world.slots[slot.index()].request;
        BufferView {
            kind: request.kind,
            parts: request.parts,
            device: request.device,
        }
    }

    #[inline]
    fn has_address(&self, at: PartAt) -> bool {
        self.world.handle(at).is_some()
    }

    #[inline]
    fn touch(&mut self, at: PartAt, touch: Touch) -> (bool, u64) {
        let (before, version) = self.update(at.slot, |word| touch.apply(word, at.part));
        if matches!(touch, Touch::Publish(_) | Touch::Vacate) {
            self.world.wake_waiters();
        }
        (before.status(at.part) == Status::Live, version)
    }

    #[inline]
    fn lock(&mut self, lock: LockId) -> Flow<u64> {
        let state = &mut self.world.locks[usize::from(lock.0)];
        if state.holder.is_some() || self.stop.is_some() {
            return self.wait_for_lock(lock);
        }
        state.holder = Some(self.thread);
        state.version += 1;
        Flow::Done(match self.world.objects.allocator_of(lock) {
            Some(device) => self.world.devices[usize::from(device.0)].touch(),
            None => state.version,
        })
    }

    #[inline]
    fn unlock(&mut self, lock: LockId) {
        self.world.release(lock);
    }

    #[inline]
    fn alloc(&mut self, at: PartAt, device: DeviceId) -> Flow<(Option<u64>, u64)> {
        if let Some(lock) = self.shut_by(device) {
            return self.wait_for_lock(lock);
        }
        let request = &self.world.slots[at.slot.index()].request;
        let memories = &mut self.world.devices[usize::from(device.0)];
        let allocation = memories
            .allocate(request.memory, request.size_bytes, request.kind.direction())
            .ok();
        let version = memories.version();
        if let Some(allocation) = allocation {
            let index = self.world.part_index(at);
            self.world.parts[index] = (allocation.address, allocation.generation);
        }
        Flow::Done((allocation.map(|allocation| allocation.address), version))
    }

    #[inline]
    fn free(&mut self, at: PartAt, device: DeviceId) -> Flow<(FreeOutcome, u64)> {
        if let Some(lock) = self.shut_by(device) {
            return self.wait_for_lock(lock);
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

    #[inline]
    fn send(&mut self, chunk: &Outgoing) -> Flow<(SendOutcome, u64)> {
        let Some(handle) = self.world.handle(chunk.at) else {
            // A program that sends before it has an address, which no lint passes: there is nothing
            // to say.
            return Flow::Done((
                SendOutcome::Failed,
                self.world.conns[usize::from(chunk.conn.0)],
            ));
        };
        if self.stop.is_some() {
            return self.refuse();
        }
        match self.network.send(self.world, self.thread, &handle, chunk) {
            Some(outcome) => {
                let version = &mut self.world.conns[usize::from(chunk.conn.0)];
                *version += 1;
                Flow::Done((outcome, *version))
            }
            None => self.refuse(),
        }
    }

    #[inline]
    fn debug_log(&mut self, _at: PartAt, _program: ProgramKind) {}

    shared_view::delegated!();
}
