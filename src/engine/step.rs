//! The step function: what a thread does next, one micro-step at a time, against a [`Backend`].
//!
//! This is the only interpreter of disciplines. It knows where a thread is in its program and what the
//! next visible action is; the backend knows what locks, allocators, slots and connections are. Every visible
//! action is recorded here, so that all engines write the same events.
//!
//! A step that its buffer has no part in (tracking a buffer that does not own its memory) is no action and
//! costs no step. An early return releases what the program holds in the same step, as lock guards do.

use crate::device::{BufferKind, DeviceId, Status};
use crate::engine::backend::{Backend, BufferView, Flow, Outgoing, PartAt, StopReason, Touch};
use crate::lifecycle::{Discipline, MicroStep, ProgramKind, Publication, SendKind};
use crate::scenario::op::{Op, SlotId};
use crate::scenario::{Connections, Scenario};
use crate::trace::event::{ConnId, Event, LockId, SendOutcome, SentKind};
use crate::trace::objects::Objects;

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

/// The programs of a scenario, ready to run.
#[derive(Clone, Debug)]
pub struct Code {
    allocate: Box<[MicroStep]>,
    deallocate: Box<[MicroStep]>,
    early: bool,
    connections: Connections,
    chunks: u8,
    objects: Objects,
    debug_log: bool,
}

impl Code {
    /// The programs of `scenario`.
    pub fn new(scenario: &Scenario) -> Code {
        let steps = |discipline: &Discipline, kind| discipline.program(kind).steps().into();
        Code {
            allocate: steps(&scenario.discipline, ProgramKind::Allocate),
            deallocate: steps(&scenario.discipline, ProgramKind::Deallocate),
            early: scenario.discipline.publication() == Publication::Early,
            connections: scenario.transport.connections,
            chunks: scenario.transport.chunks,
            objects: scenario.objects(),
            debug_log: scenario.debug_log.enabled,
        }
    }

    /// Whether `step` is none for a buffer that does or does not own its memory.
    #[inline]
    pub fn is_no_action(&self, step: MicroStep, owns_memory: bool) -> bool {
        match step {
            MicroStep::Alloc | MicroStep::Free | MicroStep::Send(_) | MicroStep::Stamp => {
                !owns_memory
            }
            MicroStep::DebugLog => !self.debug_log,
            _ => false,
        }
    }

    /// The steps of a program.
    #[inline]
    pub fn program(&self, kind: ProgramKind) -> &[MicroStep] {
        match kind {
            ProgramKind::Allocate => &self.allocate,
            ProgramKind::Deallocate => &self.deallocate,
        }
    }

    #[inline]
    fn device_of(&self, buffer: &BufferView, part: u8) -> DeviceId {
        self.objects.device_of(buffer.device, part)
    }
}

/// Steps that can be taken at once, whatever other threads are about to do; why, says who made the table.
#[derive(Clone, Debug)]
pub struct SafeSteps {
    /// Of allocate and deallocate; of buffers that do not own their memory, and of those that do.
    pub programs: [[SafeProgram; 2]; 2],
    /// Whether a send is safe in all its pieces where its step is.
    pub sends_in_pieces: bool,
    /// By slot: whether one thread alone uses it.
    pub private: Box<[bool]>,
}

/// One program's part of [`SafeSteps`], a bit for each step; the bit after the last stands for what follows the program.
#[derive(Clone, Copy, Debug, Default)]
pub struct SafeProgram {
    /// Steps that are safe.
    pub always: u128,
    /// Steps that are safe on a slot that one thread alone uses.
    pub on_private_slot: u128,
    /// How many steps the program has.
    pub len: u32,
}

impl SafeSteps {
    #[inline]
    fn is_private(&self, slot: SlotId) -> bool {
        self.private[slot.index()]
    }
}

/// Whether beginning `op`, or ending where there is none, is safe.
#[inline]
fn opens_safely(safe: &SafeSteps, op: Option<&Op>) -> bool {
    match op {
        Some(Op::Allocate { slot, .. } | Op::Release { slot, .. }) => safe.is_private(*slot),
        Some(Op::Throw) | None => true,
        Some(Op::AwaitOthers | Op::Close { .. }) => false,
    }
}

/// The locks that a thread holds, in the order in which it took them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Held {
    locks: [LockId; Held::MAX],
    len: u8,
}

impl Held {
    /// A program holds one lock of each sort at most, taking one twice is a deadlock with itself. A thread that never
    /// unlocks on many devices may come to more: those it does not release when it ends.
    const MAX: usize = 12;

    #[inline]
    fn push(&mut self, lock: LockId) {
        if let Some(place) = self.locks.get_mut(usize::from(self.len)) {
            *place = lock;
            self.len += 1;
        }
    }

    fn pop(&mut self) -> Option<LockId> {
        self.len = self.len.checked_sub(1)?;
        Some(std::mem::replace(
            &mut self.locks[usize::from(self.len)],
            LockId(0),
        ))
    }

    #[inline]
    fn remove(&mut self, lock: LockId) {
        if self.as_slice().last() == Some(&lock) {
            self.pop();
        } else if let Some(index) = self.as_slice().iter().position(|held| *held == lock) {
            self.locks[index..].rotate_left(1);
            self.pop();
        }
    }

    fn as_slice(&self) -> &[LockId] {
        &self.locks[..usize::from(self.len)]
    }
}

impl Default for Held {
    fn default() -> Held {
        Held {
            locks: [LockId(0); Held::MAX],
            len: 0,
        }
    }
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
    pc: u8,
    sequence: u64,
    held: Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// Between two operations.
    Idle,
    /// Waiting for the operation's slot.
    Opening,
    /// Waiting for the next part's handle.
    NextPart,
    /// In a program, about to take step `pc`.
    Program,
    /// In the middle of a send.
    Sending(SendPhase),
    /// Looking for the next live buffer of the device that is being closed, at or after `place`.
    Closing,
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
            held: Held::default(),
        }
    }

    /// Whether it has come to its end.
    pub fn has_ended(&self) -> bool {
        self.at == At::Ended
    }

    /// Whether it has begun its operation; `false` between two, also while it waits to begin the next.
    pub fn is_inside(&self) -> bool {
        !matches!(self.at, At::Idle | At::Opening | At::Ended)
    }

    /// Whether it has taken up its next operation and waits to begin it.
    pub fn has_taken_up(&self) -> bool {
        self.at == At::Opening
    }

    /// Whether it is closing a device.
    pub fn is_closing(&self) -> bool {
        self.is_inside() && matches!(self.op, Op::Close { .. })
    }

    /// The locks that it holds, in the order in which it took them.
    pub fn held(&self) -> &[LockId] {
        self.held.as_slice()
    }

    /// The buffer at hand.
    pub fn place(&self) -> PartAt {
        self.place
    }

    /// Where it is, in words that decide all that it does from here on, given its operations, the slots and the locks
    /// that it holds: phase, program, step, the connection and chunk of a send, the part at hand, and the sequence number.
    pub fn position(&self) -> [u64; 3] {
        let (phase, conn, chunk) = match self.at {
            At::Idle | At::Opening => return [0; 3],
            At::NextPart => (1, 0, 0),
            At::Program => (2, 0, 0),
            At::Sending(SendPhase::Connect) => (3, 0, 0),
            At::Sending(SendPhase::Share(conn)) => (4, conn.0, 0),
            At::Sending(SendPhase::Write { conn, chunk }) => (5, conn.0, chunk),
            At::Closing => (6, 0, 0),
            At::Ended => return [7, 0, 0],
        };
        let bytes = [
            phase,
            self.program as u8,
            self.pc,
            chunk,
            self.place.part,
            0,
            0,
            0,
        ];
        [u64::from_le_bytes(bytes), u64::from(conn), self.sequence]
    }

    /// Whether its next step is one of those in `safe`; `upcoming` is the operation after the one at hand.
    #[inline]
    pub fn is_safe(&self, safe: &SafeSteps, upcoming: Option<&Op>) -> bool {
        match self.at {
            At::Program => {
                let kind = usize::from(self.program == ProgramKind::Deallocate);
                let steps = &safe.programs[kind][usize::from(self.kind.owns_memory())];
                let pc = u32::from(self.pc);
                if steps.always >> pc & 1 == 1 {
                    return true;
                }
                if steps.on_private_slot >> pc & 1 == 0 {
                    return false;
                }
                if pc < steps.len {
                    return safe.is_private(self.place.slot);
                }
                // It is at the end of its program: what follows is the slot's, or the next operation.
                match self.op {
                    Op::Close { .. } => false,
                    _ if self.place.part + 1 < self.parts
                        || self.program == ProgramKind::Deallocate =>
                    {
                        safe.is_private(self.place.slot)
                    }
                    _ => opens_safely(safe, upcoming),
                }
            }
            At::Sending(_) => {
                safe.sends_in_pieces && {
                    let kind = usize::from(self.program == ProgramKind::Deallocate);
                    let steps = &safe.programs[kind][usize::from(self.kind.owns_memory())];
                    steps.always >> self.pc & 1 == 1
                }
            }
            At::NextPart => safe.is_private(self.place.slot),
            At::Idle => opens_safely(safe, upcoming),
            At::Opening => opens_safely(safe, Some(&self.op)),
            At::Closing | At::Ended => false,
        }
    }

    /// Takes one step.
    #[inline]
    pub fn step<B: Backend>(&mut self, code: &Code, backend: &mut B) -> Stepped {
        loop {
            match self.at {
                At::Idle => match backend.next_op() {
                    Some(op) => {
                        self.op = op;
                        self.at = At::Opening;
                    }
                    None => return self.end(backend),
                },
                At::Opening => return self.open(code, backend),
                At::NextPart => return self.next_part(code, backend),
                At::Program => {
                    if let Some(stepped) = self.micro_step(code, backend) {
                        return stepped;
                    }
                }
                At::Sending(phase) => return self.send(code, phase, backend),
                At::Closing => {
                    if let Some(stepped) = self.close_next(code, backend) {
                        return stepped;
                    }
                }
                At::Ended => return Stepped::Finished,
            }
        }
    }

    fn open<B: Backend>(&mut self, code: &Code, backend: &mut B) -> Stepped {
        let op = self.op;
        let flow = match op {
            Op::Allocate {
                slot,
                epoch,
                ref request,
            } => backend.open_allocate(slot, epoch, request),
            Op::Release { slot, epoch } => backend.open_release(PartAt { slot, part: 0 }, epoch),
            Op::AwaitOthers => match backend.await_others() {
                Flow::Done(()) => Flow::Done(0),
                Flow::Blocked => Flow::Blocked,
                Flow::Stop(reason) => Flow::Stop(reason),
            },
            Op::Close { .. } | Op::Throw => Flow::Done(0),
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
        }
        Stepped::Ran
    }

    fn begin<B: Backend>(&mut self, code: &Code, program: ProgramKind, place: PartAt, backend: &B) {
        let buffer = backend.buffer(place.slot);
        self.program = program;
        self.place = place;
        self.parts = buffer.parts;
        self.kind = buffer.kind;
        self.device = code.device_of(&buffer, place.part);
        self.pc = 0;
        self.sequence = 0;
        self.at = At::Program;
        if program == ProgramKind::Deallocate
            && self.kind.owns_memory()
            && !backend.has_address(place)
        {
            // Its allocation failed: there is nothing to release.
            self.pc = code.program(program).len() as u8;
        }
    }

    fn next_part<B: Backend>(&mut self, code: &Code, backend: &mut B) -> Stepped {
        let next = PartAt {
            part: self.place.part + 1,
            ..self.place
        };
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
        self.begin(code, self.program, next, backend);
        Stepped::Ran
    }

    fn close_next<B: Backend>(&mut self, code: &Code, backend: &mut B) -> Option<Stepped> {
        let Op::Close { device } = self.op else {
            self.at = At::Idle;
            return None;
        };
        match backend.next_live_on(device, self.place) {
            Some(place) => {
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

    /// One micro-step, or `None` where it was no visible action.
    #[inline]
    fn micro_step<B: Backend>(&mut self, code: &Code, backend: &mut B) -> Option<Stepped> {
        let index = usize::from(self.pc);
        let Some(step) = code.program(self.program).get(index).copied() else {
            return self.finish_part(backend);
        };
        if code.is_no_action(step, self.kind.owns_memory()) {
            self.pc += 1;
            return None;
        }
        backend.before(self.program, index);
        let place = self.place;
        match step {
            MicroStep::Lock(lock) => match code.objects.resolve(lock, self.device) {
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
            MicroStep::Unlock(lock) => {
                let Some(id) = code.objects.resolve(lock, self.device) else {
                    // Its lock was out of bounds: there is nothing to release.
                    self.pc += 1;
                    return None;
                };
                self.held.remove(id);
                backend.record(&Event::Unlock { lock: id });
                backend.unlock(id);
            }
            MicroStep::Alloc => match backend.alloc(place, self.device) {
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
            MicroStep::Free => match backend.free(place, self.device) {
                Flow::Done((outcome, version)) => {
                    backend.record(&Event::Free {
                        device: self.device,
                        outcome,
                        version,
                    });
                }
                other => return Some(self.blocked_on_allocator(code, other, backend)),
            },
            MicroStep::Stamp => {
                self.sequence = backend.stamp(self.device);
                backend.record(&Event::Stamp {
                    device: self.device,
                    sequence: self.sequence,
                });
            }
            MicroStep::CheckLive | MicroStep::CheckLiveUnguarded => {
                let (live, version) = backend.touch(place, Touch::Check);
                backend.record(&Event::Check { live, version });
                if !live && step == MicroStep::CheckLiveUnguarded {
                    self.pc = code.program(self.program).len() as u8;
                    return Some(Stepped::Ran);
                }
                if !live {
                    return Some(self.return_early(code, backend));
                }
            }
            MicroStep::Claim => {
                let (won, version) = backend.touch(place, Touch::Claim);
                backend.record(&Event::Claim { won, version });
                if !won {
                    return Some(self.return_early(code, backend));
                }
            }
            MicroStep::MarkLive => {
                let (_, version) = backend.touch(place, Touch::Mark(Status::Live));
                backend.record(&Event::MarkLive { version });
            }
            MicroStep::MarkDead => {
                let (_, version) = backend.touch(place, Touch::Mark(Status::Dead));
                backend.record(&Event::MarkDead { version });
            }
            MicroStep::Publish => {
                let (_, version) = backend.touch(place, Touch::Publish(self.visible_parts(code)));
                backend.record(&Event::Publish { version });
            }
            MicroStep::Send(_) => return Some(self.begin_send(code, backend)),
            MicroStep::DebugLog => {
                backend.debug_log(place, self.program);
                backend.record(&Event::DebugLog);
            }
        }
        self.pc += 1;
        Some(Stepped::Ran)
    }

    /// Which handles a `publish` makes visible: late, a buffer with all its parts at once, when the last is there.
    fn visible_parts(&self, code: &Code) -> u8 {
        if code.early {
            1 << self.place.part
        } else if self.place.part + 1 == self.parts {
            u8::MAX
        } else {
            0
        }
    }

    fn finish_part<B: Backend>(&mut self, backend: &mut B) -> Option<Stepped> {
        if matches!(self.op, Op::Close { .. }) {
            self.place.part += 1;
            self.at = At::Closing;
            return None;
        }
        if self.place.part + 1 < self.parts {
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

    fn return_early<B: Backend>(&mut self, code: &Code, backend: &mut B) -> Stepped {
        self.release_held(backend);
        self.pc = code.program(self.program).len() as u8;
        Stepped::Ran
    }

    /// The allocation failed: its handle becomes visible as what it is, dead.
    fn abandon<B: Backend>(&mut self, backend: &mut B) -> Stepped {
        self.release_held(backend);
        let (_, version) = backend.touch(self.place, Touch::Publish(u8::MAX));
        backend.record(&Event::Publish { version });
        self.at = At::Idle;
        Stepped::Ran
    }

    fn release_held<B: Backend>(&mut self, backend: &mut B) {
        while let Some(lock) = self.held.pop() {
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
        let lock = code
            .objects
            .resolve(crate::lifecycle::Lock::Allocator, self.device);
        self.blocked_on_lock(flow, lock.expect("allocator locks are no table"), backend)
    }

    fn begin_send<B: Backend>(&mut self, code: &Code, backend: &mut B) -> Stepped {
        let phase = match code.connections {
            Connections::Shared => SendPhase::Write {
                conn: ConnId(0),
                chunk: 0,
            },
            Connections::PerThread => SendPhase::Write {
                conn: ConnId(self.index),
                chunk: 0,
            },
            Connections::Lazy => {
                let (found, version) = backend.shared_connection();
                backend.record(&Event::ConnRead { found, version });
                self.at = At::Sending(match found {
                    Some(conn) => SendPhase::Write { conn, chunk: 0 },
                    None => SendPhase::Connect,
                });
                return Stepped::Ran;
            }
        };
        self.at = At::Sending(phase);
        self.send(code, phase, backend)
    }

    fn send<B: Backend>(&mut self, code: &Code, phase: SendPhase, backend: &mut B) -> Stepped {
        match phase {
            SendPhase::Connect => match backend.connect() {
                Flow::Done(conn) => {
                    backend.record(&Event::Connect { conn });
                    self.at = At::Sending(SendPhase::Share(conn));
                }
                Flow::Blocked => return Stepped::Blocked,
                Flow::Stop(_) => return self.give_up(backend),
            },
            SendPhase::Share(conn) => {
                let version = backend.share_connection(conn);
                backend.record(&Event::ConnStore { conn, version });
                self.at = At::Sending(SendPhase::Write { conn, chunk: 0 });
            }
            SendPhase::Write { conn, chunk } => {
                let kind = self.message_kind(code);
                let outgoing = Outgoing {
                    kind,
                    at: self.place,
                    sequence: self.sequence,
                    conn,
                    chunk,
                };
                match backend.send(&outgoing) {
                    Flow::Done((outcome, version)) => {
                        backend.record(&Event::Send {
                            kind,
                            chunk,
                            conn,
                            outcome,
                            version,
                        });
                        if outcome == SendOutcome::Sent && chunk + 1 < code.chunks {
                            self.at = At::Sending(SendPhase::Write {
                                conn,
                                chunk: chunk + 1,
                            });
                        } else {
                            self.pc += 1;
                            self.at = At::Program;
                        }
                    }
                    Flow::Blocked => return Stepped::Blocked,
                    Flow::Stop(reason) => {
                        return self.stop(reason, Event::BlockedOnSend { conn }, backend);
                    }
                }
            }
        }
        Stepped::Ran
    }

    fn message_kind(&self, code: &Code) -> SentKind {
        let circular = self.kind == BufferKind::Circular;
        match code.program(self.program).get(usize::from(self.pc)) {
            Some(MicroStep::Send(SendKind::Alloc)) if !circular => SentKind::Alloc,
            Some(MicroStep::Send(SendKind::Free)) if !circular => SentKind::Free,
            Some(MicroStep::Send(SendKind::Alloc | SendKind::CbAlloc)) => SentKind::CbAlloc,
            _ => SentKind::CbFree,
        }
    }

    /// The run is over while this thread waits: a deadlock says for what.
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
    fn end<B: Backend>(&mut self, backend: &mut B) -> Stepped {
        self.release_held(backend);
        backend.record(&Event::Finish);
        self.at = At::Ended;
        Stepped::Finished
    }
}
