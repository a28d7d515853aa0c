//! Steps on what a program itself shares: cells, ledgers, and locks that are more than a mutex; and
//! where they branch to. What no other thread can see is no step of its own.

use crate::engine::backend::{Backend, Flow, PartAt};
use crate::engine::code::{CellOperand, Code, Computed, Local, Operand, SharedAction};
use crate::lifecycle::shared::{CellKind, Name, Operator};
use crate::scenario::cells::{CellContext, CellId};
use crate::scenario::objects::LockId;
use crate::scenario::op::{Op, SlotId};
use crate::trace::event::Event;
use crate::trace::shared_event::{CellAccess, LedgerAction, SharedEvent};

use super::{At, Stepped, Thread};

impl Thread {
    /// Begins a program of the discipline's own, with the buffer of `on` at hand.
    pub(super) fn begin_run<B: Backend>(
        &mut self,
        code: &Code,
        program: Name,
        on: Option<(SlotId, u32)>,
        backend: &mut B,
    ) {
        self.place = PartAt {
            slot: on.map_or(SlotId(0), |(slot, _)| slot),
            part: 0,
        };
        let mut lacks_address = false;
        if on.is_some() {
            let buffer = backend.buffer(self.place.slot);
            self.kind = buffer.kind;
            self.parts = buffer.parts;
            self.device = code.objects.device_of(buffer.device, 0);
            // Where its allocation failed, there is nothing to do with it.
            lacks_address = self.kind.owns_memory() && !backend.has_address(self.place);
        } else {
            self.kind = crate::device::BufferKind::Owned;
            self.device = crate::device::DeviceId(0);
        }
        self.sequence = 0;
        match code.named(program, self.kind) {
            Some(span) => {
                self.pc = if lacks_address { span.end } else { span.first };
                self.at = At::Program;
            }
            // Scenarios are checked for it.
            None => self.at = At::Idle,
        }
    }

    #[inline(never)]
    pub(super) fn run_shared<B: Backend>(
        &mut self,
        code: &Code,
        number: u16,
        backend: &mut B,
    ) -> Option<Stepped> {
        let action = code.shared(number);
        match action {
            SharedAction::Clear => {
                *backend.locals() = Default::default();
                backend.program_ended();
            }
            SharedAction::EndRun => {
                self.at = At::Idle;
                return None;
            }
            SharedAction::Set(to, sum) => {
                let value = self.computed(code, sum, backend);
                self.set(to, value, backend);
            }
            SharedAction::Unless {
                left,
                relation,
                right,
                otherwise,
            } => {
                let left = self.computed(code, left, backend);
                let right = self.computed(code, right, backend);
                if !relation.holds(left, right) {
                    self.pc = otherwise;
                    return None;
                }
            }
            SharedAction::Jump(to) => {
                self.pc = to;
                return None;
            }
            SharedAction::FirstRound(counter) => self.set(counter, 0, backend),
            SharedAction::Round {
                counter,
                most,
                behind,
            } => {
                let done = backend.locals()[usize::from(counter)];
                if done >= u64::from(most) {
                    return self.out_of_rounds(behind, counter, backend);
                }
                self.set(counter, done + 1, backend);
            }
            SharedAction::Return { end, abandons } => {
                *backend.locals() = Default::default();
                backend.program_ended();
                if abandons {
                    return Some(self.abandon(backend));
                }
                self.release_held(backend);
                self.pc = end;
                return None;
            }
            _ => return self.run_visible(code, action, backend),
        }
        self.pc += 1;
        None
    }

    /// A loop has done its rounds: goes on behind it, or gives up where it must not.
    fn out_of_rounds<B: Backend>(
        &mut self,
        behind: Option<u16>,
        counter: Local,
        backend: &mut B,
    ) -> Option<Stepped> {
        if let Some(behind) = behind {
            self.pc = behind;
            return None;
        }
        // What has no end by itself is searched no further; real threads just go on.
        match backend.out_of_rounds() {
            Flow::Done(false) | Flow::Blocked => {
                self.set(counter, 0, backend);
                None
            }
            Flow::Done(true) => {
                backend.record(&Event::Shared(SharedEvent::OutOfRounds));
                Some(Stepped::Ran)
            }
            Flow::Stop(_) => Some(self.give_up(backend)),
        }
    }

    fn run_visible<B: Backend>(
        &mut self,
        code: &Code,
        action: SharedAction,
        backend: &mut B,
    ) -> Option<Stepped> {
        match action {
            SharedAction::Load(to, cell) => {
                let found = self.access(code, cell, CellAccess::Load, backend);
                self.set(to, found, backend);
            }
            SharedAction::Store(cell, sum) => {
                let value = self.computed(code, sum, backend);
                self.access(code, cell, CellAccess::Store(value), backend);
            }
            SharedAction::Fetch {
                to,
                cell,
                by,
                subtracts,
            } => {
                let by = self.operand(code, by, backend);
                let access = match subtracts {
                    true => CellAccess::Sub(by),
                    false => CellAccess::Add(by),
                };
                let found = self.access(code, cell, access, backend);
                self.set_if(to, found, backend);
            }
            SharedAction::Swap {
                to,
                cell,
                expected,
                desired,
            } => {
                let wanted = self.operand(code, expected, backend);
                let access = CellAccess::Swap {
                    expected: wanted,
                    desired: self.computed(code, desired, backend),
                };
                let found = self.access(code, cell, access, backend);
                if let Operand::Local(local) = expected {
                    self.set(local, found, backend);
                }
                self.set_if(to, u64::from(found == wanted), backend);
            }
            SharedAction::Tell(cell) => {
                self.access(code, cell, CellAccess::Tell, backend);
            }
            SharedAction::Join(cell) => {
                self.access(code, cell, CellAccess::Join, backend);
            }
            SharedAction::Leave(cell) => {
                self.access(code, cell, CellAccess::Leave, backend);
            }
            SharedAction::Await(cell, relation, value) => {
                let value = self.operand(code, value, backend);
                let cell = self.cell(code, cell, backend);
                match backend.await_cell(cell, |found| relation.holds(found, value)) {
                    Flow::Done((found, version)) => {
                        record_access(cell, CellAccess::Load, found, version, backend);
                    }
                    Flow::Blocked => return Some(Stepped::Blocked),
                    Flow::Stop(reason) => {
                        let blocked = Event::Shared(SharedEvent::BlockedOnCell { cell });
                        return Some(self.stop(reason, blocked, backend));
                    }
                }
            }
            SharedAction::Find(to, at) => {
                let found = self.ledger(code, at, LedgerAction::Find, backend);
                self.set(to, found, backend);
            }
            SharedAction::Insert(to, at) => {
                if self.looks_first(code, at, backend) {
                    return Some(Stepped::Ran);
                }
                let found = self.ledger(code, at, LedgerAction::Insert, backend);
                self.set_if(to, found, backend);
            }
            SharedAction::Erase(to, at) => {
                if self.looks_first(code, at, backend) {
                    return Some(Stepped::Ran);
                }
                let found = self.ledger(code, at, LedgerAction::Erase, backend);
                self.set_if(to, found, backend);
            }
            SharedAction::Use(buffer) => {
                let buffer = self.operand(code, buffer, backend);
                if buffer == 0 {
                    self.pc += 1;
                    return None;
                }
                match backend.use_buffer(buffer) {
                    Flow::Done((device, version)) => {
                        backend.record(&Event::Shared(SharedEvent::Use {
                            buffer,
                            device,
                            version,
                        }));
                    }
                    other => return Some(self.blocked_on_allocator(code, other, backend)),
                }
            }
            _ => return self.run_on_lock(action, backend),
        }
        self.pc += 1;
        Some(Stepped::Ran)
    }

    /// Steps on locks that are more than a mutex. Those have no table, so that each device has one.
    fn run_on_lock<B: Backend>(
        &mut self,
        action: SharedAction,
        backend: &mut B,
    ) -> Option<Stepped> {
        let (SharedAction::LockShared(row)
        | SharedAction::UnlockShared(row)
        | SharedAction::TryLock(_, row)
        | SharedAction::LockRobust(_, row)
        | SharedAction::Wait(row)
        | SharedAction::Notify { row, .. }) = action
        else {
            self.pc += 1;
            return None;
        };
        let Some(lock) = row.at(self.device) else {
            self.pc += 1;
            return None;
        };
        match action {
            SharedAction::LockShared(_) => match backend.lock_shared(lock) {
                Flow::Done(version) => {
                    self.held.push_shared(lock);
                    backend.record(&Event::Shared(SharedEvent::LockShared { lock, version }));
                }
                other => return Some(self.blocked_on_lock(other, lock, backend)),
            },
            SharedAction::UnlockShared(_) => {
                self.held.remove_shared(lock);
                self.unlock_shared(lock, backend);
            }
            SharedAction::TryLock(to, _) => {
                let taken = backend.try_lock(lock);
                match taken {
                    Some(version) => {
                        self.held.push(lock);
                        backend.record(&Event::Lock { lock, version });
                    }
                    None => backend.record(&Event::Shared(SharedEvent::TryFailed { lock })),
                }
                self.set(to, u64::from(taken.is_some()), backend);
            }
            SharedAction::LockRobust(to, _) => match backend.lock_robust(lock) {
                Flow::Done((from_dead, version)) => {
                    self.held.push(lock);
                    backend.record(&Event::Lock { lock, version });
                    self.set(to, u64::from(from_dead), backend);
                }
                other => return Some(self.blocked_on_lock(other, lock, backend)),
            },
            SharedAction::Wait(_) => {
                self.held.remove(lock);
                backend.record(&Event::Shared(SharedEvent::Wait { lock }));
                backend.wait(lock);
                self.at = At::Waiting(lock);
                return Some(Stepped::Ran);
            }
            SharedAction::Notify { all, .. } => {
                backend.notify(lock, all);
                backend.record(&Event::Shared(SharedEvent::Notify { lock, all }));
            }
            _ => {}
        }
        self.pc += 1;
        Some(Stepped::Ran)
    }

    /// Waits to be notified, and for the lock.
    pub(super) fn wake<B: Backend>(&mut self, lock: LockId, backend: &mut B) -> Stepped {
        match backend.wake(lock) {
            Flow::Done(version) => {
                self.held.push(lock);
                backend.record(&Event::Lock { lock, version });
                self.at = At::Program;
                self.pc += 1;
                Stepped::Ran
            }
            Flow::Blocked => Stepped::Blocked,
            Flow::Stop(reason) => {
                let blocked = Event::Shared(SharedEvent::BlockedOnNotify { lock });
                self.stop(reason, blocked, backend)
            }
        }
    }

    /// Releases a lock that is shared with others.
    pub(super) fn unlock_shared<B: Backend>(&self, lock: LockId, backend: &mut B) {
        let version = backend.unlock_shared(lock);
        backend.record(&Event::Shared(SharedEvent::UnlockShared { lock, version }));
    }

    /// A plain ledger is looked into before it is written, unless the program just did.
    fn looks_first<B: Backend>(&self, code: &Code, at: CellOperand, backend: &mut B) -> bool {
        let ledger = self.cell(code, at, backend);
        let looks = at.row.spec.kind == CellKind::Ledger && !backend.has_looked(ledger);
        if looks {
            self.ledger(code, at, LedgerAction::Find, backend);
        }
        looks
    }

    fn ledger<B: Backend>(
        &self,
        code: &Code,
        at: CellOperand,
        action: LedgerAction,
        backend: &mut B,
    ) -> u64 {
        let ledger = self.cell(code, at, backend);
        let plain = at.row.spec.kind == CellKind::Ledger;
        let (found, version) = backend.ledger(ledger, plain, action, self.place, self.device);
        backend.record(&Event::Shared(SharedEvent::Ledger {
            ledger,
            action,
            found,
            version,
        }));
        found
    }

    fn access<B: Backend>(
        &self,
        code: &Code,
        cell: CellOperand,
        access: CellAccess,
        backend: &mut B,
    ) -> u64 {
        let cell = self.cell(code, cell, backend);
        let (found, version) = backend.cell(cell, access);
        record_access(cell, access, found, version, backend);
        found
    }

    fn cell<B: Backend>(&self, code: &Code, cell: CellOperand, backend: &mut B) -> CellId {
        let index = cell.index.map(|index| self.operand(code, index, backend));
        cell.row.at(self.context(code, backend), index)
    }

    fn context<B: Backend>(&self, code: &Code, backend: &B) -> CellContext {
        CellContext {
            device: self.device,
            memory: backend.at_hand(self.place.slot).memory,
            process: self.process(code),
            thread: self.index,
            slot: self.place.slot,
        }
    }

    fn process(&self, code: &Code) -> u16 {
        self.index % code.processes
    }

    fn computed<B: Backend>(&self, code: &Code, sum: Computed, backend: &mut B) -> u64 {
        let first = self.operand(code, sum.first, backend);
        let Some((how, second)) = sum.rest else {
            return first;
        };
        let second = self.operand(code, second, backend);
        match how {
            Operator::Plus => first.wrapping_add(second),
            Operator::Minus => first.wrapping_sub(second),
            Operator::MinusOrZero => first.saturating_sub(second),
        }
    }

    fn operand<B: Backend>(&self, code: &Code, operand: Operand, backend: &mut B) -> u64 {
        let has_buffer = !matches!(self.op, Op::Run { on: None, .. });
        match operand {
            Operand::Number(number) => number,
            Operand::Local(local) => backend.locals()[usize::from(local)],
            Operand::Size if has_buffer => backend.at_hand(self.place.slot).size_bytes,
            Operand::Buffer if has_buffer => backend.at_hand(self.place.slot).name,
            Operand::Size | Operand::Buffer => 0,
            Operand::Thread => u64::from(self.index) + 1,
            Operand::Process => u64::from(self.process(code)) + 1,
            Operand::Device => u64::from(self.device.0),
        }
    }

    fn set<B: Backend>(&self, to: Local, value: u64, backend: &mut B) {
        backend.locals()[usize::from(to)] = value;
    }

    fn set_if<B: Backend>(&self, to: Option<Local>, value: u64, backend: &mut B) {
        if let Some(to) = to {
            self.set(to, value, backend);
        }
    }
}

fn record_access<B: Backend>(
    cell: CellId,
    access: CellAccess,
    found: u64,
    version: u64,
    backend: &mut B,
) {
    backend.record(&Event::Shared(SharedEvent::Cell {
        cell,
        access,
        found,
        version,
    }));
}
