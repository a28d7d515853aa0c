//! The step function: what a thread does next, one micro-step at a time, against a [`Backend`].
//!
//! This is the only interpreter of disciplines. It knows where a thread is in its program and what
//! the next visible action is; the backend knows what locks, allocators, slots and connections are.
//! Every visible action is recorded here, so that all engines write the same events.
//!
//! Programs come decoded (see [`super::code`]): what is no action for a buffer is not there and
//! costs no step. An early return releases what the program holds in the same step, as lock guards
//! do.

mod held;
mod position;
mod sends;
mod shared;
mod whole;

use crate::device::{BufferKind, DeviceId, Status};
use crate::engine::backend::{Backend, Flow, PartAt, StopReason, Touch};
use crate::engine::code::{Action, Code, Pc};
use crate::lifecycle::{Lock, ProgramKind};
use crate::scenario::objects::{ConnId, LockId};
use crate::scenario::op::{Op, SlotId};
use crate::trace::event::Event;
use crate::trace::shared_event::SharedEvent;
use crate::tracking::sent::SentKind;

use held::HeldLocks;

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped {
    /// An action was taken.
    Ran,
    /// The thread waits.
    Blocked,
    /// The thread has ended.
    Finished,
}

/// Where a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Thread {
    index: u16,
    at: At,
    op: Op,
    program: ProgramKind,
    place: PartAt,
    parts: u8,
    kind: BufferKind,
    device: DeviceId,
    pc: Pc,
    sequence: u64,
    held: HeldLocks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// Between two operations.
    Idle,
    /// Waiting for the operation's slot.
    Opening,
    /// Waiting for the next part's handle.
    NextPart,
    /// In a program, about to run the instruction at `pc`.
    Program,
    /// In the middle of a send of this kind.
    Sending(SentKind, SendPhase),
    /// Looking for the next live buffer of the device that is being closed, at or after `place`.
    Closing,
    /// Asleep on a lock until it is notified.
    Waiting(LockId),
    /// At its end.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum SendPhase {
    Connect,
    Share(ConnId),
    Write { conn: ConnId, chunk: u8 },
}

impl Thread {
    /// A thread before its first operation.
    pub fn new(index: u16) -> Thread {
        Thread {
            index,
            at: At::Idle,
            op: Op::AwaitOthers,
            program: ProgramKind::Allocate,
            place: PartAt {
                slot: SlotId(0),
                part: 0,
            },
            parts: 0,
            kind: BufferKind::Owned,
            device: DeviceId(0),
            pc: 0,
            sequence: 0,
            held: HeldLocks::default(),
        }
    }

    /// Takes one step. What most steps come to is inlined, so that a driver that takes many of them
    /// keeps its state at hand.
    #[inline(always)]
    pub fn step<B: Backend>(&mut self, code: &Code, backend: &mut B) -> Stepped {
        loop {
            let stepped = if self.at == At::Program {
                self.run_instruction(code, backend)
            } else {
                self.keep_going(code, backend)
            };
            if let Some(stepped) = stepped {
                return stepped;
            }
        }
    }

    /// What a thread does that is not about to run an instruction, or `None` where it was no
    /// visible action.
    #[inline(never)]
    fn keep_going<B: Backend>(&mut self, code: &Code, backend: &mut B) -> Option<Stepped> {
        Some(match self.at {
            At::Program => return None,
            At::Idle => match backend.next_op() {
                Some(op) => {
                    self.op = op;
                    self.at = At::Opening;
                    self.open(code, backend)
                }
                None => self.end(backend),
            },
            At::Opening => self.open(code, backend),
            At::NextPart => self.next_part(code, backend),
            At::Sending(kind, phase) => self.send(code, kind, phase, backend),
            At::Closing => return self.close_next(code, backend),
            At::Waiting(lock) => self.wake(lock, backend),
            At::Ended => Stepped::Finished,
        })
    }

    #[inline]
    fn open<B: Backend>(&mut self, code: &Code, backend: &mut B) -> Stepped {
        let op = self.op;
        let flow = match op {
            Op::Allocate {
                slot,
                epoch,
                ref request,
            } => backend.open_allocate(slot, epoch, request),
            Op::Release { slot, epoch } => backend.open_release(PartAt { slot, part: 0 }, epoch),
            Op::AwaitOthers => backend.await_others().map(|()| 0),
            Op::Run {
                on: Some((slot, epoch)),
                ..
            } => backend.open_run(PartAt { slot, part: 0 }, epoch),
            Op::Close { .. } | Op::Throw | Op::Run { on: None, .. } | Op::Kill { .. } => {
                Flow::Done(0)
            }
        };
        let version = match flow {
            Flow::Done(version) => version,
            Flow::Blocked => return Stepped::Blocked,
            Flow::Stop(reason) => return self.stop(reason, Event::BlockedOnOp { op }, backend),
        };
        backend.record(&Event::Open { op, version });
        match op {
            Op::Allocate { slot, .. } => self.begin(
                code,
                ProgramKind::Allocate,
                PartAt { slot, part: 0 },
                backend,
            ),
            Op::Release { slot, .. } => self.begin(
                code,
                ProgramKind::Deallocate,
                PartAt { slot, part: 0 },
                backend,
            ),
            Op::AwaitOthers => self.at = At::Idle,
            Op::Close { .. } => {
                self.place = PartAt {
                    slot: SlotId(0),
                    part: 0,
                };
                self.at = At::Closing;
            }
            Op::Throw => return self.end(backend),
            Op::Run { program, on } => self.begin_run(code, program, on, backend),
            Op::Kill { process } => {
                backend.kill(process);
                backend.record(&Event::Shared(SharedEvent::Kill { process }));
                self.at = At::Idle;
            }
        }
        Stepped::Ran
    }

    #[inline(always)]
    fn begin<B: Backend>(&mut self, code: &Code, program: ProgramKind, place: PartAt, backend: &B) {
        let buffer = backend.buffer(place.slot);
        let span = code.program(program, buffer.kind);
        self.program = program;
        self.place = place;
        self.parts = buffer.parts;
        self.kind = buffer.kind;
        self.device = code.objects.device_of(buffer.device, place.part);
        self.sequence = 0;
        self.at = At::Program;
        let is_nothing_to_release = program == ProgramKind::Deallocate
            && self.kind.owns_memory()
            && !backend.has_address(place);
        // Where its allocation failed, there is nothing to release.
        self.pc = if is_nothing_to_release {
            span.end
        } else if program == ProgramKind::Deallocate && self.kind == BufferKind::Mesh {
            self.first_of_mesh_release(code, backend)
        } else {
            span.first
        };
    }

    #[inline(never)]
    fn next_part<B: Backend>(&mut self, code: &Code, backend: &mut B) -> Stepped {
        let (part, block) = match code.at(self.pc) {
            Action::EachDevice { end, .. } => (0, Some((self.pc + 1, end))),
            Action::EndEach { first } => (self.place.part + 1, Some((first, self.pc))),
            _ => (self.place.part + 1, None),
        };
        let next = PartAt { part, ..self.place };
        let version = match self.op {
            Op::Release { epoch, .. } => match backend.open_release(next, epoch) {
                Flow::Done(version) => version,
                Flow::Blocked => return Stepped::Blocked,
                Flow::Stop(reason) => {
                    return self.stop(reason, Event::BlockedOnOp { op: self.op }, backend);
                }
            },
            _ => backend.touch(next, Touch::Nothing).1,
        };
        backend.record(&Event::Part {
            part: next.part,
            version,
        });
        match block {
            None => self.begin(code, self.program, next, backend),
            Some((first, end)) => {
                self.reach(code, next, backend);
                self.at = At::Program;
                let is_nothing_to_release =
                    self.program == ProgramKind::Deallocate && !backend.has_address(next);
                self.pc = if is_nothing_to_release { end } else { first };
            }
        }
        Stepped::Ran
    }

    #[inline(never)]
    fn close_next<B: Backend>(&mut self, code: &Code, backend: &mut B) -> Option<Stepped> {
        let Op::Close { device } = self.op else {
            self.at = At::Idle;
            return None;
        };
        match backend.next_live_on(device, self.place) {
            Some(mut place) => {
                // It is released as a whole.
                let is_mesh = backend.buffer(place.slot).kind == BufferKind::Mesh;
                if is_mesh && code.unannounced().is_some() {
                    place.part = 0;
                }
                let (_, version) = backend.touch(place, Touch::Nothing);
                backend.record(&Event::CloseBuffer {
                    slot: place.slot.0,
                    part: place.part,
                    version,
                });
                self.begin(code, ProgramKind::Deallocate, place, backend);
                Some(Stepped::Ran)
            }
            None => {
                self.at = At::Idle;
                None
            }
        }
    }

    /// One instruction, or `None` where it was no visible action.
    #[inline(always)]
    fn run_instruction<B: Backend>(&mut self, code: &Code, backend: &mut B) -> Option<Stepped> {
        let action = code.at(self.pc);
        if action.is_done() {
            backend.before(code, self.pc);
        }
        let place = self.place;
        match action {
            Action::Lock(row) => match row.at(self.device) {
                Some(id) => match backend.lock(id) {
                    Flow::Done(version) => {
                        self.held.push(id);
                        backend.record(&Event::Lock { lock: id, version });
                    }
                    other => return Some(self.blocked_on_lock(other, id, backend)),
                },
                None => backend.record(&Event::LockOutOfBounds {
                    device: self.device,
                }),
            },
            Action::Unlock(row) => {
                let Some(id) = row.at(self.device) else {
                    // Its lock was out of bounds: there is nothing to release.
                    self.pc += 1;
                    return None;
                };
                self.held.remove(id);
                backend.record(&Event::Unlock { lock: id });
                backend.unlock(id);
            }
            Action::Alloc => match backend.alloc(place, self.device) {
                Flow::Done((Some(address), version)) => {
                    backend.record(&Event::Alloc {
                        device: self.device,
                        address,
                        version,
                    });
                }
                Flow::Done((None, version)) => {
                    backend.record(&Event::AllocFailed {
                        device: self.device,
                        version,
                    });
                    return Some(self.abandon(backend));
                }
                other => return Some(self.blocked_on_allocator(code, other, backend)),
            },
            Action::Free => match backend.free(place, self.device) {
                Flow::Done((outcome, version)) => {
                    backend.record(&Event::Free {
                        device: self.device,
                        outcome,
                        version,
                    });
                }
                other => return Some(self.blocked_on_allocator(code, other, backend)),
            },
            Action::Stamp => {
                self.sequence = backend.stamp(self.device);
                backend.record(&Event::Stamp {
                    device: self.device,
                    sequence: self.sequence,
                });
            }
            Action::CheckLive | Action::CheckLiveUnguarded => {
                let (live, version) = backend.touch(place, Touch::Check);
                backend.record(&Event::Check { live, version });
                if !live && action == Action::CheckLiveUnguarded {
                    self.pc = code.program(self.program, self.kind).end;
                    return Some(Stepped::Ran);
                }
                if !live {
                    return Some(self.return_early(code, backend));
                }
            }
            Action::Claim => {
                let (won, version) = backend.touch(place, Touch::Claim);
                backend.record(&Event::Claim { won, version });
                if !won {
                    return Some(self.return_early(code, backend));
                }
            }
            Action::MarkLive => {
                let (_, version) = backend.touch(place, Touch::Mark(Status::Live));
                backend.record(&Event::MarkLive { version });
            }
            Action::MarkDead => {
                let (_, version) = backend.touch(place, Touch::Mark(Status::Dead));
                backend.record(&Event::MarkDead { version });
            }
            Action::Publish => {
                let (_, version) = backend.touch(place, Touch::Publish(self.visible_parts(code)));
                backend.record(&Event::Publish { version });
            }
            Action::Send(kind) => return Some(self.begin_send(code, kind, backend)),
            Action::DebugLog => {
                backend.debug_log(place, self.program);
                backend.record(&Event::DebugLog);
            }
            Action::End => return self.finish_part(backend),
            Action::Shared(number) => return self.run_shared(code, number, backend),
            Action::EachDevice { .. }
            | Action::EndEach { .. }
            | Action::PublishWhole
            | Action::EndWhole => {
                return self.run_mesh_instruction(code, action, backend);
            }
        }
        self.pc += 1;
        Some(Stepped::Ran)
    }

    /// Which handles a `publish` makes visible: late, a buffer with all its parts at once, when the
    /// last is there.
    fn visible_parts(&self, code: &Code) -> u8 {
        if code.early {
            1 << self.place.part
        } else if !self.has_next_part() {
            u8::MAX
        } else {
            0
        }
    }

    #[inline]
    fn has_next_part(&self) -> bool {
        self.place.part + 1 < self.parts
    }

    #[inline]
    fn finish_part<B: Backend>(&mut self, backend: &mut B) -> Option<Stepped> {
        if matches!(self.op, Op::Close { .. }) {
            self.place.part += 1;
            self.at = At::Closing;
            return None;
        }
        if self.has_next_part() {
            self.at = At::NextPart;
            return None;
        }
        self.at = At::Idle;
        if self.program == ProgramKind::Deallocate {
            let (_, version) = backend.touch(self.place, Touch::Vacate);
            backend.record(&Event::Vacate { version });
            return Some(Stepped::Ran);
        }
        None
    }

    #[inline(never)]
    fn return_early<B: Backend>(&mut self, code: &Code, backend: &mut B) -> Stepped {
        self.release_held(backend);
        self.pc = code.program(self.program, self.kind).end;
        Stepped::Ran
    }

    /// The allocation failed: its handle becomes visible as what it is, dead.
    #[inline(never)]
    fn abandon<B: Backend>(&mut self, backend: &mut B) -> Stepped {
        self.release_held(backend);
        let (_, version) = backend.touch(self.place, Touch::Publish(u8::MAX));
        backend.record(&Event::Publish { version });
        self.at = At::Idle;
        Stepped::Ran
    }

    fn release_held<B: Backend>(&mut self, backend: &mut B) {
        while let Some(lock) = self.held.pop() {
            if let Some(shared) = HeldLocks::is_shared(lock) {
                self.unlock_shared(shared, backend);
                continue;
            }
            backend.record(&Event::Unlock { lock });
            backend.unlock(lock);
        }
    }

    fn blocked_on_lock<T, B: Backend>(
        &mut self,
        flow: Flow<T>,
        lock: LockId,
        backend: &mut B,
    ) -> Stepped {
        match flow {
            Flow::Stop(reason) => self.stop(reason, Event::BlockedOnLock { lock }, backend),
            _ => Stepped::Blocked,
        }
    }

    fn blocked_on_allocator<T, B: Backend>(
        &mut self,
        code: &Code,
        flow: Flow<T>,
        backend: &mut B,
    ) -> Stepped {
        let lock = code.objects.resolve(Lock::Allocator, self.device);
        self.blocked_on_lock(flow, lock.expect("allocator locks are no table"), backend)
    }

    /// The run is over while this thread waits: a deadlock says for what.
    #[inline(never)]
    fn stop<B: Backend>(&mut self, reason: StopReason, blocked: Event, backend: &mut B) -> Stepped {
        if reason == StopReason::Deadlock {
            backend.record(&blocked);
        }
        self.give_up(backend)
    }

    fn give_up<B: Backend>(&mut self, backend: &mut B) -> Stepped {
        backend.record(&Event::Stopped);
        self.end(backend)
    }

    /// The end, planned or not: locks are released as guards would.
    #[inline(never)]
    fn end<B: Backend>(&mut self, backend: &mut B) -> Stepped {
        self.release_held(backend);
        backend.record(&Event::Finish);
        self.at = At::Ended;
        Stepped::Finished
    }
}
