//! Steps on cells, ledgers and other locks, as a thread of a controlled world takes them.

use crate::device::DeviceId;
use crate::engine::backend::{AtHand, Flow, PartAt, StopReason};
use crate::engine::code::Locals;
use crate::scenario::cells::CellId;
use crate::scenario::objects::LockId;
use crate::scenario::op::SlotId;
use crate::trace::shared_event::{CellAccess, LedgerAction, buffer_name, named_buffer};

use super::shared::SharedWorld;
use super::{ThreadView, World};

/// Holds a lock together with others: no thread has that number.
const READERS: u16 = u16::MAX;

/// The methods of the backend that are here, by the same name with `do_` before it.
macro_rules! delegated {
    () => {
        fn locals(&mut self) -> &mut crate::engine::code::Locals {
            self.do_locals()
        }

        fn program_ended(&mut self) {
            let thread = self.thread;
            self.world.shares().ledgers.ended(thread);
        }

        fn out_of_rounds(&mut self) -> Flow<bool> {
            match self.stop {
                Some(reason) => Flow::Stop(reason),
                None => Flow::Done(self.world.give_up_loops()),
            }
        }

        fn at_hand(&self, slot: SlotId) -> crate::engine::backend::AtHand {
            self.do_at_hand(slot)
        }

        fn open_run(&mut self, at: PartAt, epoch: u32) -> Flow<u64> {
            let word = self.world.slots[at.slot.index()].word;
            if self.stop.is_some() || !word.may_run(epoch, at.part) {
                return self.wait_for_slots();
            }
            Flow::Done(self.update(at.slot, |word| word).1)
        }

        fn kill(&mut self, process: u16) {
            self.world.end_process(process);
        }

        fn cell(
            &mut self,
            cell: crate::scenario::cells::CellId,
            access: crate::trace::shared_event::CellAccess,
        ) -> (u64, u64) {
            self.do_cell(cell, access)
        }

        fn await_cell(
            &mut self,
            cell: crate::scenario::cells::CellId,
            fits: impl Fn(u64) -> bool,
        ) -> Flow<(u64, u64)> {
            let value = self.world.shares().values[cell.index()];
            if self.stop.is_some() || !fits(value) {
                return self.wait_for_slots();
            }
            Flow::Done(self.do_cell(cell, crate::trace::shared_event::CellAccess::Load))
        }

        fn ledger(
            &mut self,
            ledger: crate::scenario::cells::CellId,
            plain: bool,
            action: crate::trace::shared_event::LedgerAction,
            at: PartAt,
            device: DeviceId,
        ) -> (u64, u64) {
            self.do_ledger(ledger, plain, action, at, device)
        }

        fn has_looked(&self, ledger: crate::scenario::cells::CellId) -> bool {
            let shared = self.world.shared.as_ref();
            shared.is_some_and(|shared| shared.ledgers.has_looked(self.thread, ledger.index()))
        }

        fn use_buffer(&mut self, buffer: u64) -> Flow<(DeviceId, u64)> {
            self.do_use_buffer(buffer)
        }

        fn lock_shared(&mut self, lock: LockId) -> Flow<u64> {
            self.do_lock_shared(lock)
        }

        fn unlock_shared(&mut self, lock: LockId) -> u64 {
            let bit = self.bit();
            self.world.release_shared(lock, bit)
        }

        fn try_lock(&mut self, lock: LockId) -> Option<u64> {
            if self.world.locks[usize::from(lock.0)].holder.is_some() {
                return None;
            }
            match self.lock(lock) {
                Flow::Done(version) => Some(version),
                _ => None,
            }
        }

        fn lock_robust(&mut self, lock: LockId) -> Flow<(bool, u64)> {
            let from_dead = self.stop.is_none() && self.world.take_from_dead(lock);
            self.lock(lock).map(|version| (from_dead, version))
        }

        fn wait(&mut self, lock: LockId) {
            let bit = self.bit();
            self.world.shares().sleepers[usize::from(lock.0)].asleep |= bit;
            self.world.release(lock);
        }

        fn wake(&mut self, lock: LockId) -> Flow<u64> {
            self.do_wake(lock)
        }

        fn notify(&mut self, lock: LockId, all: bool) {
            self.world.shares().notify(lock, all);
            self.world.wake_waiters();
        }
    };
}
pub(super) use delegated;

impl World {
    /// What the discipline shares, where it is known to share something.
    pub(super) fn shares(&mut self) -> &mut SharedWorld {
        let shared = self.shared.as_deref_mut();
        shared.expect("only programs with such steps come here")
    }

    /// As [`World::shares`], to look at.
    pub(crate) fn shared(&self) -> Option<&SharedWorld> {
        self.shared.as_deref()
    }

    /// Loops go on as long as they do: what is run again is known to end.
    pub(crate) fn unbound_loops(&mut self) {
        if let Some(shared) = &mut self.shared {
            shared.bounds_loops = false;
        }
    }

    /// Whether a loop came to the last round that is searched: nothing that follows is looked at.
    #[inline]
    pub(crate) fn is_cut(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.cut)
    }

    /// A loop has come to its last round; whether that ends the run.
    pub(super) fn give_up_loops(&mut self) -> bool {
        let shared = self.shares();
        shared.cut = shared.bounds_loops;
        shared.cut
    }

    /// Whether a step on what is shared may have diverged.
    #[inline]
    pub(crate) fn shared_alarm(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.alarmed)
    }

    /// Forgets that.
    #[inline]
    pub(crate) fn clear_shared_alarm(&mut self) {
        if let Some(shared) = &mut self.shared {
            shared.alarmed = false;
        }
    }

    /// Whether the buffer of that name is live.
    fn names_live(&self, buffer: u64) -> bool {
        let Some((slot, epoch)) = named_buffer(buffer) else {
            return false;
        };
        let at = PartAt {
            slot: SlotId(slot),
            part: 0,
        };
        let Some(state) = self.slots.get(at.slot.index()) else {
            return false;
        };
        let handle = self.handle(at);
        state.word.epoch() == epoch && handle.is_some_and(|handle| self.is_live(&handle))
    }

    /// The process that was just ended from outside.
    #[inline]
    pub(crate) fn take_killed(&mut self) -> Option<u16> {
        self.shared.as_mut().and_then(|shared| shared.killed.take())
    }

    /// A thread of a process that was ended.
    pub(crate) fn forget_thread(&mut self, thread: u16) {
        self.end();
        let bit = 1 << (thread & 63);
        let shared = self.shares();
        shared.locals[usize::from(thread)] = Locals::default();
        shared.ledgers.ended(thread);
        for sleepers in &mut shared.sleepers {
            sleepers.asleep &= !bit;
            sleepers.notified.iter_mut().for_each(|may| *may &= !bit);
            sleepers.notified.retain(|may| *may != 0);
        }
    }

    /// The system ends a process and takes back what it allocated.
    pub(super) fn end_process(&mut self, process: u16) {
        let shared = self.shares();
        shared.killed = Some(process);
        shared.dead |= 1 << (process & 63);
        let processes = shared.processes;
        let owners = shared.owners.clone();
        for (slot, owner) in (0..).zip(owners) {
            if owner % processes != process {
                continue;
            }
            let (_, request) = self.slot(SlotId(slot));
            for part in 0..request.parts {
                let at = PartAt {
                    slot: SlotId(slot),
                    part,
                };
                let Some(handle) = self.handle(at) else {
                    continue;
                };
                if self.is_live(&handle) {
                    let device = &mut self.devices[usize::from(handle.device.0)];
                    let _ = device.free(handle.memory, handle.address);
                }
            }
        }
        // Some may take locks from it.
        for lock in &mut self.locks {
            self.woken |= std::mem::take(&mut lock.waiters);
        }
        self.wake_waiters();
    }

    /// Nobody holds a lock any more that a thread of a process held which was ended; whether one
    /// did.
    pub(super) fn take_from_dead(&mut self, lock: LockId) -> bool {
        let Some(shared) = &self.shared else {
            return false;
        };
        let state = &mut self.locks[usize::from(lock.0)];
        let is_dead = |holder: &u16| {
            *holder != READERS && shared.dead >> ((holder % shared.processes) & 63) & 1 == 1
        };
        let taken = state.holder.is_some_and(|holder| is_dead(&holder));
        if taken {
            state.holder = None;
        }
        taken
    }

    /// A thread that was told to end releases a lock that it shared.
    pub(crate) fn give_back_shared(&mut self, lock: LockId, thread: u16) {
        self.release_shared(lock, 1 << (thread & 63));
    }

    /// A thread that shared a lock releases it. The lock's version.
    pub(super) fn release_shared(&mut self, lock: LockId, bit: u64) -> u64 {
        let readers = &mut self.shares().readers[usize::from(lock.0)];
        *readers &= !bit;
        let is_last = *readers == 0;
        let state = &mut self.locks[usize::from(lock.0)];
        if is_last {
            self.release(lock);
        } else {
            state.version += 1;
        }
        self.locks[usize::from(lock.0)].version
    }
}

impl<O, R, N> ThreadView<'_, O, R, N> {
    pub(super) fn do_locals(&mut self) -> &mut Locals {
        let thread = usize::from(self.thread);
        &mut self.world.shares().locals[thread]
    }

    pub(super) fn do_at_hand(&self, slot: SlotId) -> AtHand {
        let Some(state) = self.world.slots.get(slot.index()) else {
            // A program without a buffer, of a scenario without any.
            return AtHand {
                memory: crate::device::Memory::Dram,
                size_bytes: 0,
                name: 0,
            };
        };
        AtHand {
            memory: state.request.memory,
            size_bytes: state.request.size_bytes,
            name: buffer_name(slot.0, u32::from(state.word.epoch())),
        }
    }

    pub(super) fn do_cell(&mut self, cell: CellId, access: CellAccess) -> (u64, u64) {
        let thread = self.thread;
        let shared = self.world.shares();
        let process = thread % shared.processes;
        let (found, version) = shared.cell(cell, process, access);
        if access.writes(found) {
            self.world.wake_waiters();
        }
        (found, version)
    }

    pub(super) fn do_ledger(
        &mut self,
        ledger: CellId,
        plain: bool,
        action: LedgerAction,
        at: PartAt,
        device: DeviceId,
    ) -> (u64, u64) {
        let thread = self.thread;
        let address = self.world.handle(at).map_or(0, |handle| handle.address);
        let memory = self.world.slots[at.slot.index()].request.memory as u8;
        let key = (device.0, memory, address);
        let name = self.do_at_hand(at.slot).name;
        let shared = self.world.shares();
        shared.ledger(thread, ledger, plain, action, key, name)
    }

    pub(super) fn do_use_buffer(&mut self, buffer: u64) -> Flow<(DeviceId, u64)> {
        let slot = named_buffer(buffer).map(|(slot, _)| SlotId(slot));
        let state = slot.and_then(|slot| self.world.slots.get(slot.index()));
        let device = state.map_or(DeviceId(0), |state| state.request.device);
        if self.stop == Some(StopReason::Interrupted) {
            return self.refuse();
        }
        let lives = self.world.names_live(buffer);
        self.world.shares().alarmed |= !lives;
        Flow::Done((device, self.world.devices[usize::from(device.0)].touch()))
    }

    pub(super) fn do_lock_shared(&mut self, lock: LockId) -> Flow<u64> {
        let bit = self.bit();
        let state = &mut self.world.locks[usize::from(lock.0)];
        if state.holder.is_some_and(|holder| holder != READERS) || self.stop.is_some() {
            return self.wait_for_lock(lock);
        }
        state.holder = Some(READERS);
        state.version += 1;
        let version = state.version;
        self.world.shares().readers[usize::from(lock.0)] |= bit;
        Flow::Done(version)
    }

    pub(super) fn do_wake(&mut self, lock: LockId) -> Flow<u64> {
        let bit = self.bit();
        if self.stop.is_some() || !self.world.shares().is_notified(lock, bit) {
            return self.wait_for_slots();
        }
        let thread = self.thread;
        let state = &mut self.world.locks[usize::from(lock.0)];
        if state.holder.is_some() {
            return self.wait_for_lock(lock);
        }
        state.holder = Some(thread);
        state.version += 1;
        let version = state.version;
        self.world.shares().take_notification(lock, bit);
        Flow::Done(version)
    }
}
