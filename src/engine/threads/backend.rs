//! The backend of a running thread: each action of the step function on real objects.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use smallvec::SmallVec;

use crate::device::{Device, DeviceId, Memory, Status};
use crate::engine::backend::{
    AtHand, Backend, BufferView, Flow, Outgoing, PartAt, StopReason, Touch,
};
use crate::engine::code::{Code, Locals, Pc};
use crate::engine::slot::SlotWord;
use crate::lifecycle::{Lock, ProgramKind};
use crate::registry::ledger::LedgerWrite;
use crate::scenario::cells::CellId;
use crate::scenario::objects::{ConnId, LockId};
use crate::scenario::op::{Op, Request, SlotId};
use crate::scenario::random::Random;
use crate::trace::event::{Event, FreeOutcome, SendOutcome};
use crate::trace::recorder::StreamRecorder;
use crate::trace::shared_event::{CellAccess, LedgerAction, buffer_name, named_buffer};
use crate::tracking::Layout;
use crate::tracking::sent::message;

use super::debug_log::LogBlock;
use super::perturb::Perturbation;
use super::shared::SharedThreads;
use super::world::{NO_ADDRESS, ThreadsWorld};

/// How long a thread sleeps on a lock before it looks whether the run is over.
const LOCK_TIMEOUT: Duration = Duration::from_millis(20);
/// Looks at a slot before a waiting thread yields, and before it sleeps.
const SPINS: u32 = 64;
const YIELDS: u32 = 512;
const POLL_INTERVAL: Duration = Duration::from_micros(50);
/// A program whose loops have come to their last round so often waits for what does not come.
const MAX_ROUNDS: u64 = 1 << 20;
/// Operations between two looks at the clock and the stop flag.
const TICK_OPS: u64 = 256;

/// One thread's hands.
pub(super) struct ThreadBackend<'run> {
    pub(crate) world: &'run ThreadsWorld,
    pub(crate) thread: u16,
    pub(crate) ops: Box<dyn Iterator<Item = Op> + Send>,
    pub(crate) recorder: Option<StreamRecorder>,
    pub(crate) perturbation: Option<Perturbation>,
    pub(crate) debug_random: Random,
    pub(crate) held: SmallVec<[(LockId, HeldGuard<'run>); 4]>,
    pub(crate) threads: u16,
    pub(crate) layout: Layout,
    pub(crate) begun: u64,
    /// Of these, those that progress has been told of.
    pub(crate) reported: u64,
    /// Messages that were sent, and that were not.
    pub(crate) messages: [u64; 2],
    /// Lock table entries that were asked for and do not exist.
    pub(crate) out_of_bounds: u64,
    /// Addresses given back that their handles no longer owned.
    pub(crate) double_frees: u64,
    /// The process id that messages carry.
    pub(crate) pid: i32,
    pub(crate) program_steps: [usize; 2],
    pub(crate) locals: Locals,
    /// How often loops of the program came to the last round that a search would take.
    pub(crate) rounds: u64,
}

/// A mutex that the thread's program holds.
pub(super) enum HeldGuard<'run> {
    /// A lock of the discipline.
    Plain(MutexGuard<'run, u64>),
    /// The allocator's own.
    Device(MutexGuard<'run, Device>),
    /// A lock of a discipline that also takes locks together with others.
    Write(RwLockWriteGuard<'run, AtomicU64>),
    /// One that is held together with others.
    Read(RwLockReadGuard<'run, AtomicU64>),
}

impl<'run> ThreadBackend<'run> {
    fn acquire<T>(&self, mutex: &'run Mutex<T>, lock: LockId) -> Flow<MutexGuard<'run, T>> {
        match mutex.try_lock() {
            Some(guard) => Flow::Done(guard),
            None => self.acquire_by(lock, || mutex.try_lock_for(LOCK_TIMEOUT)),
        }
    }

    /// As [`ThreadBackend::acquire`], where `try_it` waits for a while.
    fn acquire_by<G>(&self, lock: LockId, try_it: impl Fn() -> Option<G>) -> Flow<G> {
        self.world.waiting.waits(self.thread, Some(lock));
        let flow = loop {
            if let Some(guard) = try_it() {
                break Flow::Done(guard);
            }
            self.world.waiting.looked(self.thread);
            if let Some(reason) = self.world.stopped() {
                if reason == StopReason::Deadlock {
                    // Hold on until the others have noticed too: a lock released now would let one
                    // of them go on, and the recording would not show what it waited for.
                    std::thread::sleep(3 * LOCK_TIMEOUT);
                }
                break Flow::Stop(reason);
            }
        };
        self.world.waiting.waits(self.thread, None);
        flow
    }

    /// Runs `act` under the device's allocator mutex: the one that the program holds, or its own.
    fn with_device<T>(
        &mut self,
        device: DeviceId,
        act: impl FnOnce(&ThreadsWorld, &mut Device) -> T,
    ) -> Flow<T> {
        let world = self.world;
        for (_, held) in &mut self.held {
            if let HeldGuard::Device(guard) = held
                && guard.id() == device
            {
                return Flow::Done(act(world, guard));
            }
        }
        let lock = world
            .objects
            .resolve(Lock::Allocator, device)
            .expect("allocator locks are no table");
        self.acquire(&world.devices[usize::from(device.0)], lock)
            .map(|mut guard| act(world, &mut guard))
    }

    /// Waits until `try_once` gives something.
    fn wait_for<T>(&self, mut try_once: impl FnMut() -> Option<T>) -> Flow<T> {
        if let Some(done) = try_once() {
            return Flow::Done(done);
        }
        self.world.waiting.waits_for_slot(self.thread, true);
        let mut looks = 0u32;
        let flow = loop {
            if let Some(done) = try_once() {
                break Flow::Done(done);
            }
            if let Some(reason) = self.world.stopped() {
                break Flow::Stop(reason);
            }
            looks = looks.saturating_add(1);
            match looks {
                0..SPINS => std::hint::spin_loop(),
                SPINS..YIELDS => std::thread::yield_now(),
                _ => {
                    self.world.waiting.looked(self.thread);
                    std::thread::sleep(POLL_INTERVAL);
                }
            }
        };
        self.world.waiting.waits_for_slot(self.thread, false);
        flow
    }

    /// Changes the slot's word when `ready` says so; its new version.
    fn try_touch(
        &self,
        slot: SlotId,
        ready: impl Fn(SlotWord) -> bool,
        change: impl Fn(SlotWord) -> SlotWord,
    ) -> Option<u64> {
        let cell = &self.world.slots[slot.index()];
        if !ready(cell.load()) {
            return None;
        }
        // Only this thread can undo what made the slot ready: an epoch has one allocating thread,
        // and a visible handle stays visible until all its releases are done, this one included.
        let (before, after) = cell.update(&change);
        debug_assert!(ready(before));
        Some(after.version())
    }
}

impl Backend for ThreadBackend<'_> {
    fn next_op(&mut self) -> Option<Op> {
        // A debug log makes operations slow: then each is a reason to look at the clock.
        if self.begun.is_multiple_of(TICK_OPS) || self.world.debug_log.is_some() {
            let begun = self.begun - std::mem::replace(&mut self.reported, self.begun);
            self.world.ops.fetch_add(begun, Ordering::Relaxed);
            if let Some(recorder) = &mut self.recorder {
                recorder.tick();
            }
        }
        if self.world.stopped().is_some() {
            return None;
        }
        self.begun += 1;
        let op = self.ops.next()?;
        if let Some(perturbation) = &mut self.perturbation {
            perturbation.plan(self.program_steps[usize::from(matches!(op, Op::Release { .. }))]);
        }
        Some(op)
    }

    #[inline]
    fn record(&mut self, event: &Event) {
        match event {
            Event::LockOutOfBounds { .. } => self.out_of_bounds += 1,
            Event::Free { outcome, .. } if *outcome != FreeOutcome::Freed => self.double_frees += 1,
            _ => {}
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.record(event);
        }
    }

    #[inline]
    fn before(&mut self, code: &Code, pc: Pc) {
        if let Some(perturbation) = &mut self.perturbation {
            perturbation.before(code.step_at(pc), || code.step_goes_on(pc));
        }
    }

    fn open_allocate(&mut self, slot: SlotId, epoch: u32, request: &Request) -> Flow<u64> {
        let flow = self.wait_for(|| {
            self.try_touch(
                slot,
                |word| word.may_allocate(epoch),
                |word| word.opened(epoch, request.releases),
            )
        });
        if matches!(flow, Flow::Done(_)) {
            self.world.slots[slot.index()].describe(request, self.world.view_address);
            if let Some(shared) = &self.world.shared {
                shared.open(slot.0);
            }
        }
        flow
    }

    fn open_release(&mut self, at: PartAt, epoch: u32) -> Flow<u64> {
        self.wait_for(|| {
            self.try_touch(
                at.slot,
                |word| word.may_release(epoch, at.part),
                |word| word,
            )
        })
    }

    fn await_others(&mut self) -> Flow<()> {
        self.wait_for(|| {
            (self.world.finished.load(Ordering::Acquire) + 1 >= self.threads).then_some(())
        })
    }

    fn next_live_on(&mut self, device: DeviceId, from: PartAt) -> Option<PartAt> {
        (from.slot.0..self.world.objects.slots)
            .map(SlotId)
            .find_map(|slot| {
                let cell = &self.world.slots[slot.index()];
                let (word, buffer) = (cell.load(), cell.buffer());
                let first = if slot == from.slot { from.part } else { 0 };
                (first..buffer.parts)
                    .find(|part| {
                        word.status(*part) == Status::Live
                            && self.world.objects.device_of(buffer.device, *part) == device
                    })
                    .map(|part| PartAt { slot, part })
            })
    }

    fn buffer(&self, slot: SlotId) -> BufferView {
        self.world.slots[slot.index()].buffer()
    }

    fn has_address(&self, at: PartAt) -> bool {
        let part = &self.world.slots[at.slot.index()].parts[usize::from(at.part)];
        part.address.load(Ordering::Relaxed) != NO_ADDRESS
    }

    #[inline]
    fn touch(&mut self, at: PartAt, touch: Touch) -> (bool, u64) {
        let cell = &self.world.slots[at.slot.index()];
        let (before, after) = cell.update(|word| touch.apply(word, at.part));
        (before.status(at.part) == Status::Live, after.version())
    }

    fn lock(&mut self, lock: LockId) -> Flow<u64> {
        let world = self.world;
        let (version, held) = match world.objects.allocator_of(lock) {
            Some(device) => match self.acquire(&world.devices[usize::from(device.0)], lock) {
                Flow::Done(mut guard) => (guard.touch(), HeldGuard::Device(guard)),
                Flow::Blocked => return Flow::Blocked,
                Flow::Stop(reason) => return Flow::Stop(reason),
            },
            None if let Some(rw) = self.rw(lock) => {
                match self.acquire_by(lock, || rw.try_write_for(LOCK_TIMEOUT)) {
                    Flow::Done(mut guard) => {
                        let version = guard.get_mut();
                        *version += 1;
                        (*version, HeldGuard::Write(guard))
                    }
                    Flow::Blocked => return Flow::Blocked,
                    Flow::Stop(reason) => return Flow::Stop(reason),
                }
            }
            None => match self.acquire(&world.locks[usize::from(lock.0)], lock) {
                Flow::Done(mut guard) => {
                    *guard += 1;
                    (*guard, HeldGuard::Plain(guard))
                }
                Flow::Blocked => return Flow::Blocked,
                Flow::Stop(reason) => return Flow::Stop(reason),
            },
        };
        world.waiting.holds(lock, Some(self.thread));
        self.held.push((lock, held));
        Flow::Done(version)
    }

    fn unlock(&mut self, lock: LockId) {
        let Some(index) = self.held.iter().position(|(held, _)| *held == lock) else {
            return;
        };
        self.world.waiting.holds(lock, None);
        match &mut self.held[index].1 {
            HeldGuard::Plain(version) => **version += 1,
            HeldGuard::Device(device) => {
                device.touch();
            }
            HeldGuard::Write(version) => *version.get_mut() += 1,
            HeldGuard::Read(_) => {}
        }
        self.held.remove(index);
    }

    fn alloc(&mut self, at: PartAt, device: DeviceId) -> Flow<(Option<u64>, u64)> {
        self.with_device(device, |world, memories| {
            let slot = &world.slots[at.slot.index()];
            let size_bytes = slot.size_bytes.load(Ordering::Relaxed);
            match memories.allocate(slot.memory(), size_bytes, slot.buffer().kind.direction()) {
                Ok(allocation) => {
                    let part = &slot.parts[usize::from(at.part)];
                    part.address.store(allocation.address, Ordering::Relaxed);
                    part.generation
                        .store(allocation.generation, Ordering::Relaxed);
                    (Some(allocation.address), memories.version())
                }
                Err(_) => (None, memories.version()),
            }
        })
    }

    fn free(&mut self, at: PartAt, device: DeviceId) -> Flow<(FreeOutcome, u64)> {
        self.with_device(device, |world, memories| {
            let handle = world.handle(at, device);
            let outcome = match memories.free(handle.memory, handle.address) {
                Ok(release) if release.generation == handle.generation => FreeOutcome::Freed,
                Ok(_) => FreeOutcome::FreedAnother,
                Err(_) => FreeOutcome::NotAllocated,
            };
            (outcome, memories.version())
        })
    }

    fn stamp(&mut self, device: DeviceId) -> u64 {
        self.world.counters[usize::from(device.0)].fetch_add(1, Ordering::AcqRel) + 1
    }

    fn shared_connection(&mut self) -> (Option<ConnId>, u64) {
        self.world.cell.read()
    }

    fn connect(&mut self) -> Flow<ConnId> {
        match self.world.client.connect() {
            Ok(conn) => Flow::Done(conn),
            Err(_) => {
                self.world.stop(StopReason::Interrupted);
                Flow::Stop(StopReason::Interrupted)
            }
        }
    }

    fn share_connection(&mut self, conn: ConnId) -> u64 {
        self.world.cell.store(conn)
    }

    fn send(&mut self, outgoing: &Outgoing) -> Flow<(SendOutcome, u64)> {
        let buffer = self.world.slots[outgoing.at.slot.index()].buffer();
        let device = (self.world.objects).device_of(buffer.device, outgoing.at.part);
        let handle = self.world.handle(outgoing.at, device);
        let mut message = message(
            self.layout,
            self.pid,
            outgoing.kind,
            &handle,
            self.thread,
            outgoing.sequence,
        );
        if let Some(planted) = self.world.planted {
            planted.distort(&mut message, outgoing.kind, &handle);
        }
        let (outcome, version) = self.world.client.send(&message, outgoing);
        if outcome == SendOutcome::Failed {
            self.world.lose_server();
        }
        if outgoing.chunk == 0 {
            self.messages[usize::from(outcome != SendOutcome::Sent)] += 1;
        }
        Flow::Done((outcome, version))
    }

    fn debug_log(&mut self, at: PartAt, program: ProgramKind) {
        let Some(log) = &self.world.debug_log else {
            return;
        };
        let buffer = self.world.slots[at.slot.index()].buffer();
        let device = self.world.objects.device_of(buffer.device, at.part);
        let handle = self.world.handle(at, device);
        let block = LogBlock {
            program,
            handle,
            owns_data: buffer.kind.owns_memory(),
            slot: at.slot.0,
        };
        log.write(&block, &mut self.debug_random);
    }

    fn locals(&mut self) -> &mut Locals {
        &mut self.locals
    }

    fn program_ended(&mut self) {
        self.rounds = 0;
        self.shares().ledgers.lock().0.ended(self.thread);
    }

    fn out_of_rounds(&mut self) -> Flow<bool> {
        self.rounds += 1;
        if self.rounds > MAX_ROUNDS {
            self.world.stop(StopReason::Interrupted);
        }
        match self.world.stopped() {
            Some(reason) => Flow::Stop(reason),
            None => {
                std::thread::yield_now();
                Flow::Done(false)
            }
        }
    }

    fn at_hand(&self, slot: SlotId) -> AtHand {
        let Some(cell) = self.world.slots.get(slot.index()) else {
            return AtHand {
                memory: Memory::Dram,
                size_bytes: 0,
                name: 0,
            };
        };
        AtHand {
            memory: cell.memory(),
            size_bytes: cell.size_bytes.load(Ordering::Relaxed),
            name: buffer_name(slot.0, u32::from(cell.load().epoch())),
        }
    }

    fn open_run(&mut self, at: PartAt, epoch: u32) -> Flow<u64> {
        self.wait_for(|| self.try_touch(at.slot, |word| word.may_run(epoch, at.part), |word| word))
    }

    fn kill(&mut self, _process: u16) {
        unreachable!("such a scenario is refused before it begins");
    }

    fn cell(&mut self, cell: CellId, access: CellAccess) -> (u64, u64) {
        self.shares().cell(cell, access)
    }

    fn await_cell(&mut self, cell: CellId, fits: impl Fn(u64) -> bool) -> Flow<(u64, u64)> {
        self.wait_for(|| self.shares().try_await(cell, &fits))
    }

    fn ledger(
        &mut self,
        ledger: CellId,
        plain: bool,
        action: LedgerAction,
        at: PartAt,
        device: DeviceId,
    ) -> (u64, u64) {
        let handle = self.world.handle(at, device);
        let key = (device.0, handle.memory as u8, handle.address);
        let name = self.at_hand(at.slot).name;
        let mut shared = self.shares().ledgers.lock();
        let (ledgers, versions) = &mut *shared;
        let (thread, number) = (self.thread, ledger.index());
        let found = match action {
            LedgerAction::Find => ledgers.find(thread, number, key, plain),
            LedgerAction::Insert => ledgers.write(thread, number, key, LedgerWrite::Insert(name)),
            LedgerAction::Erase => ledgers.write(thread, number, key, LedgerWrite::Erase),
        };
        versions[number] += 1;
        (found, versions[number])
    }

    fn has_looked(&self, ledger: CellId) -> bool {
        let shared = self.shares().ledgers.lock();
        shared.0.has_looked(self.thread, ledger.index())
    }

    fn use_buffer(&mut self, buffer: u64) -> Flow<(DeviceId, u64)> {
        let slot = named_buffer(buffer).map(|(slot, _)| slot as usize);
        let cell = slot.and_then(|slot| self.world.slots.get(slot));
        let device = cell.map_or(DeviceId(0), |cell| cell.buffer().device);
        self.with_device(device, |_, memories| (device, memories.touch()))
    }

    fn lock_shared(&mut self, lock: LockId) -> Flow<u64> {
        let rw = self
            .rw(lock)
            .expect("a discipline that takes such locks has them");
        self.acquire_by(lock, || rw.try_read_for(LOCK_TIMEOUT))
            .map(|guard| {
                let version = guard.fetch_add(1, Ordering::AcqRel) + 1;
                self.held.push((lock, HeldGuard::Read(guard)));
                version
            })
    }

    fn unlock_shared(&mut self, lock: LockId) -> u64 {
        let held = self
            .held
            .iter()
            .position(|(held, guard)| *held == lock && matches!(guard, HeldGuard::Read(_)));
        match held.map(|index| self.held.remove(index)) {
            Some((_, HeldGuard::Read(guard))) => guard.fetch_add(1, Ordering::AcqRel) + 1,
            _ => 0,
        }
    }

    fn lock_robust(&mut self, lock: LockId) -> Flow<(bool, u64)> {
        // There is one process, so that none ends while others go on.
        self.lock(lock).map(|version| (false, version))
    }
}

impl<'run> ThreadBackend<'run> {
    /// What the discipline shares, where it is known to share something.
    fn shares(&self) -> &'run SharedThreads {
        let shared = self.world.shared.as_ref();
        shared.expect("only programs with such steps come here")
    }

    /// The lock as one that others may hold too, where the discipline takes any so.
    fn rw(&self, lock: LockId) -> Option<&'run RwLock<AtomicU64>> {
        let rw = self.world.shared.as_ref()?.rw.as_ref()?;
        rw.get(usize::from(lock.0))
    }
}
