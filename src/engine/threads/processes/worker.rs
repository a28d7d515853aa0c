//! A process of the run: its threads, and the backend through which they act on what all share.
//!
//! An action on a lock, a slot or a cell is begun by the method that does it and done by
//! [`Backend::record`], which the step function calls right after with the event (see
//! [`super::shared`]). The allocators and ledgers are the controller's, as a driver's are the
//! system's: a thread asks for them and waits for the answer, and the controller records what it
//! did.

use std::sync::atomic::Ordering;
use std::time::Duration;

use smallvec::SmallVec;

use crate::device::{DeviceId, Memory, Status};
use crate::engine::backend::{
    AtHand, Backend, BufferView, Flow, Outgoing, PartAt, StopReason, Touch,
};
use crate::engine::code::{Code, Locals, Pc};
use crate::engine::slot::SlotWord;
use crate::engine::step::{Stepped, Thread};
use crate::lifecycle::ProgramKind;
use crate::scenario::Scenario;
use crate::scenario::cells::CellId;
use crate::scenario::objects::{ConnId, LockId};
use crate::scenario::op::{Op, Request, SlotId};
use crate::trace::event::{Event, FreeOutcome, SendOutcome};
use crate::trace::shared_event::{CellAccess, LedgerAction, SharedEvent, buffer_name};

use super::super::perturb::Perturbation;
use super::driver::AskedFor;
use super::shared::{Commons, Global, ObjectAt, Of, stop};

/// Looks before a waiting thread yields, and before it sleeps.
const SPINS: u32 = 16;
const YIELDS: u32 = 64;
const POLL_INTERVAL: Duration = Duration::from_micros(50);
/// A program whose loops have come to their last round so often waits for what does not come.
const MAX_ROUNDS: u64 = 1 << 20;
/// A lock that one thread has for itself: this bit, and its number. Otherwise who shares it, a bit
/// a thread.
const ALONE: u64 = 1 << 63;

/// What the threads of a process need.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProcessWork<'run> {
    pub(super) scenario: &'run Scenario,
    pub(super) run: u64,
    pub(super) code: &'run Code,
    pub(super) shared: &'run Commons,
}

impl ProcessWork<'_> {
    /// Runs the threads of `process`, and waits to be ended: what it allocated is its own as long
    /// as it lives.
    pub(super) fn process(&self, process: u16) {
        let (threads, processes) = (self.scenario.threads, self.scenario.processes());
        while self.shared.global(Global::Go).load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        std::thread::scope(|scope| {
            for thread in (process..threads).step_by(usize::from(processes)).skip(1) {
                scope.spawn(move || self.thread(thread));
            }
            self.thread(process);
        });
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    fn thread(&self, thread: u16) {
        let scenario = self.scenario;
        let steps = |kind| scenario.discipline.program(kind).steps().len().max(1);
        let mut backend = ProcessBackend {
            shared: self.shared,
            thread,
            ops: scenario.ops_of(thread, self.run),
            perturbation: scenario
                .perturb
                .then(|| Perturbation::new(scenario.seed, self.run, thread)),
            program_steps: [steps(ProgramKind::Allocate), steps(ProgramKind::Deallocate)],
            begun: None,
            locals: Locals::default(),
            rounds: 0,
            looked: SmallVec::new(),
            has_ledgers: scenario
                .discipline
                .cells
                .values()
                .any(|cell| cell.kind.is_ledger()),
        };
        let mut stepper = Thread::new(thread);
        while stepper.step(self.code, &mut backend) != Stepped::Finished {
            backend.stop_at_gate();
        }
        self.shared.set(thread, Of::Finished, 1);
    }
}

/// An action that was begun.
#[derive(Clone, Copy, Debug)]
struct BegunAction {
    object: ObjectAt,
    value: u64,
    version: u64,
}

/// A thread's hands.
struct ProcessBackend<'run> {
    shared: &'run Commons,
    thread: u16,
    ops: Box<dyn Iterator<Item = Op> + Send>,
    perturbation: Option<Perturbation>,
    program_steps: [usize; 2],
    begun: Option<BegunAction>,
    locals: Locals,
    rounds: u64,
    /// Plain ledgers that the program has looked into since it wrote them.
    looked: SmallVec<[CellId; 2]>,
    has_ledgers: bool,
}

impl ProcessBackend<'_> {
    fn bit(&self) -> u64 {
        1 << (self.thread & 63)
    }

    fn alone(&self) -> u64 {
        ALONE | u64::from(self.thread)
    }

    fn stopped(&self) -> Option<StopReason> {
        match self.shared.global(Global::Stop).load(Ordering::SeqCst) {
            stop::NOT => None,
            stop::DEADLOCK => Some(StopReason::Deadlock),
            _ => Some(StopReason::Interrupted),
        }
    }

    /// Waits until `try_once` gives something.
    fn wait_for<T>(&mut self, mut try_once: impl FnMut(&mut Self) -> Option<T>) -> Flow<T> {
        let mut looks = 0u32;
        loop {
            if let Some(reason) = self.stopped() {
                self.await_the_others(reason);
                self.shared.set(self.thread, Of::Waits, 0);
                return Flow::Stop(reason);
            }
            if let Some(done) = try_once(self) {
                self.shared.set(self.thread, Of::Waits, 0);
                return Flow::Done(done);
            }
            self.shared.set(self.thread, Of::Waits, 1);
            let looked = self.shared.of(self.thread, Of::Looks);
            looked.fetch_add(1, Ordering::SeqCst);
            looks = looks.saturating_add(1);
            pause(looks);
        }
    }

    /// Where threads wait for each other: a lock that is given back now would let one of them go
    /// on, and the record would not show what it waited for. So each sees that it is over first.
    fn await_the_others(&self, reason: StopReason) {
        self.shared.set(self.thread, Of::Noticed, 1);
        let may_release = self.shared.global(Global::MayRelease);
        let mut looks = 0;
        while reason == StopReason::Deadlock && may_release.load(Ordering::SeqCst) == 0 {
            looks += 1;
            pause(looks);
        }
    }

    /// Waits until an object's value is as `change` wants it, which says what it becomes.
    fn begin_when(
        &mut self,
        object: ObjectAt,
        change: impl Fn(u64) -> Option<u64>,
    ) -> Flow<(u64, u64)> {
        self.wait_for(|hand| {
            // A look that others can't be held up by.
            change(hand.shared.value(object))?;
            let (found, version) = hand.shared.begin(hand.thread, object);
            let Some(value) = change(found) else {
                hand.shared.abandon(hand.thread, object);
                return None;
            };
            let version = version + 1;
            hand.begun = Some(BegunAction {
                object,
                value,
                version,
            });
            Some((found, version))
        })
    }

    /// Begins an action that needs not wait.
    fn begin(&mut self, object: ObjectAt, change: impl FnOnce(u64) -> u64) -> (u64, u64) {
        let (found, version) = self.shared.begin(self.thread, object);
        let (value, version) = (change(found), version + 1);
        self.begun = Some(BegunAction {
            object,
            value,
            version,
        });
        (found, version)
    }

    /// As [`ProcessBackend::begin_when`] for a slot, whose version is in its word.
    fn touch_slot(
        &mut self,
        slot: SlotId,
        ready: impl Fn(SlotWord) -> bool,
        change: impl Fn(SlotWord) -> SlotWord,
    ) -> Flow<u64> {
        let object = self.shared.slot(slot);
        self.begin_when(object, |word| {
            let word = SlotWord(word);
            ready(word).then(|| change(word).touched().0)
        })
        .map(|(found, _)| change(SlotWord(found)).touched().version())
    }

    /// Asks the controller, and waits for the answer.
    fn ask(&mut self, asked: AskedFor, first: u64, second: u64) -> Flow<(u64, u64)> {
        let (shared, thread) = (self.shared, self.thread);
        shared.set(thread, Of::First, first);
        shared.set(thread, Of::Second, second);
        shared.set(thread, Of::Asked, asked as u64);
        let flow = self.wait_for(|_| (shared.load(thread, Of::Asked) == 0).then_some(()));
        match flow {
            Flow::Done(()) => Flow::Done((
                shared.load(thread, Of::Found),
                shared.load(thread, Of::FoundToo),
            )),
            Flow::Blocked => Flow::Blocked,
            Flow::Stop(reason) => {
                // What is answered until it is taken back is answered.
                match shared.of(thread, Of::Asked).swap(0, Ordering::SeqCst) {
                    0 => Flow::Done((
                        shared.load(thread, Of::Found),
                        shared.load(thread, Of::FoundToo),
                    )),
                    _ => Flow::Stop(reason),
                }
            }
        }
    }

    /// Asks for what is always answered at once.
    fn ask_now(&mut self, asked: AskedFor, first: u64, second: u64) -> (u64, u64) {
        match self.ask(asked, first, second) {
            Flow::Done(answer) => answer,
            Flow::Blocked | Flow::Stop(_) => (0, 0),
        }
    }

    /// Where the controller has set a gate, the thread stops there: its process will be killed, or
    /// the gate goes.
    fn stop_at_gate(&mut self) {
        let (shared, thread) = (self.shared, self.thread);
        let is_there = || {
            let gate = shared.load(thread, Of::Gate);
            gate != 0 && shared.region.appended(thread) + 1 >= gate
        };
        if is_there() {
            let _ = self.wait_for(|_| (!is_there()).then_some(()));
        }
    }
}

fn pause(looks: u32) {
    match looks {
        0..SPINS => std::hint::spin_loop(),
        SPINS..YIELDS => std::thread::yield_now(),
        _ => std::thread::sleep(POLL_INTERVAL),
    }
}

impl Backend for ProcessBackend<'_> {
    fn next_op(&mut self) -> Option<Op> {
        if self.stopped().is_some() {
            return None;
        }
        let op = self.ops.next()?;
        if let Some(perturbation) = &mut self.perturbation {
            perturbation.plan(self.program_steps[usize::from(matches!(op, Op::Release { .. }))]);
        }
        Some(op)
    }

    fn record(&mut self, event: &Event) {
        if let Some(begun) = self.begun.take() {
            let left = (begun.value, begun.version);
            self.shared.commit(self.thread, begun.object, left, event);
            return;
        }
        match *event {
            // The controller has recorded these, with what it did.
            Event::Alloc { .. } | Event::AllocFailed { .. } | Event::Free { .. } => {}
            Event::Shared(
                SharedEvent::Use { .. } | SharedEvent::Ledger { .. } | SharedEvent::Kill { .. },
            ) => {}
            Event::Lock { .. } => {}
            Event::Unlock { lock } => {
                let object = self.shared.lock(lock);
                self.begin(object, |_| 0);
                self.record(event);
            }
            _ => self.shared.append(self.thread, event),
        }
    }

    fn before(&mut self, code: &Code, pc: Pc) {
        if let Some(perturbation) = &mut self.perturbation {
            perturbation.before(code.step_at(pc), || code.step_goes_on(pc));
        }
    }

    fn open_allocate(&mut self, slot: SlotId, epoch: u32, request: &Request) -> Flow<u64> {
        let flow = self.touch_slot(
            slot,
            |word| word.may_allocate(epoch),
            |word| word.opened(epoch, request.releases),
        );
        if matches!(flow, Flow::Done(_)) {
            // Nobody else looks at the slot before the handle is published.
            self.shared.describe(slot, request);
            self.shared.renew(slot);
        }
        flow
    }

    fn open_release(&mut self, at: PartAt, epoch: u32) -> Flow<u64> {
        self.touch_slot(
            at.slot,
            |word| word.may_release(epoch, at.part),
            |word| word,
        )
    }

    fn await_others(&mut self) -> Flow<()> {
        self.wait_for(|hand| {
            let mut others = (0..hand.shared.threads).filter(|thread| *thread != hand.thread);
            (others.all(|thread| hand.shared.load(thread, Of::Finished) != 0)).then_some(())
        })
    }

    fn next_live_on(&mut self, device: DeviceId, from: PartAt) -> Option<PartAt> {
        (from.slot.0..self.shared.slots())
            .map(SlotId)
            .find_map(|slot| {
                let word = SlotWord(self.shared.value(self.shared.slot(slot)));
                let buffer = self.shared.buffer(slot);
                let first = if slot == from.slot { from.part } else { 0 };
                (first..buffer.parts)
                    .find(|part| word.status(*part) == Status::Live && buffer.device == device)
                    .map(|part| PartAt { slot, part })
            })
    }

    fn buffer(&self, slot: SlotId) -> BufferView {
        let buffer = self.shared.buffer(slot);
        BufferView {
            kind: buffer.kind,
            parts: buffer.parts,
            device: buffer.device,
        }
    }

    fn has_address(&self, at: PartAt) -> bool {
        self.shared.buffer(at.slot).address.is_some()
    }

    fn touch(&mut self, at: PartAt, touch: Touch) -> (bool, u64) {
        let change = |word: u64| touch.apply(SlotWord(word), at.part).touched().0;
        let (found, _) = self.begin(self.shared.slot(at.slot), change);
        let found = SlotWord(found);
        let left = SlotWord(change(found.0));
        (found.status(at.part) == Status::Live, left.version())
    }

    fn lock(&mut self, lock: LockId) -> Flow<u64> {
        let alone = self.alone();
        let object = self.shared.lock(lock);
        self.begin_when(object, |value| (value == 0).then_some(alone))
            .map(|(_, version)| version)
    }

    fn unlock(&mut self, _lock: LockId) {
        // Done with its record.
    }

    fn alloc(&mut self, at: PartAt, device: DeviceId) -> Flow<(Option<u64>, u64)> {
        self.ask(AskedFor::Alloc, u64::from(at.slot.0), u64::from(device.0))
            .map(|(address, version)| (address.checked_sub(1), version))
    }

    fn free(&mut self, at: PartAt, device: DeviceId) -> Flow<(FreeOutcome, u64)> {
        // How it was is recorded.
        self.ask(AskedFor::Free, u64::from(at.slot.0), u64::from(device.0))
            .map(|(_, version)| (FreeOutcome::Freed, version))
    }

    fn stamp(&mut self, _device: DeviceId) -> u64 {
        unreachable!("what sends is not run by processes");
    }

    fn shared_connection(&mut self) -> (Option<ConnId>, u64) {
        unreachable!("what sends is not run by processes");
    }

    fn connect(&mut self) -> Flow<ConnId> {
        unreachable!("what sends is not run by processes");
    }

    fn share_connection(&mut self, _conn: ConnId) -> u64 {
        unreachable!("what sends is not run by processes");
    }

    fn send(&mut self, _message: &Outgoing) -> Flow<(SendOutcome, u64)> {
        unreachable!("what sends is not run by processes");
    }

    fn debug_log(&mut self, _at: PartAt, _program: ProgramKind) {}

    fn locals(&mut self) -> &mut Locals {
        &mut self.locals
    }

    fn program_ended(&mut self) {
        self.rounds = 0;
        self.looked.clear();
        if self.has_ledgers {
            self.ask_now(AskedFor::Forget, 0, 0);
        }
    }

    fn out_of_rounds(&mut self) -> Flow<bool> {
        self.rounds += 1;
        if self.rounds > MAX_ROUNDS {
            let word = self.shared.global(Global::Stop);
            word.store(stop::INTERRUPTED, Ordering::SeqCst);
        }
        match self.stopped() {
            Some(reason) => Flow::Stop(reason),
            None => {
                std::thread::yield_now();
                Flow::Done(false)
            }
        }
    }

    fn at_hand(&self, slot: SlotId) -> AtHand {
        if slot.0 >= self.shared.slots() {
            return AtHand {
                memory: Memory::Dram,
                size_bytes: 0,
                name: 0,
            };
        }
        let buffer = self.shared.buffer(slot);
        let word = SlotWord(self.shared.value(self.shared.slot(slot)));
        AtHand {
            memory: buffer.memory,
            size_bytes: buffer.size_bytes,
            name: buffer_name(slot.0, u32::from(word.epoch())),
        }
    }

    fn open_run(&mut self, at: PartAt, epoch: u32) -> Flow<u64> {
        self.touch_slot(at.slot, |word| word.may_run(epoch, at.part), |word| word)
    }

    fn kill(&mut self, process: u16) {
        self.ask_now(AskedFor::Kill, u64::from(process), 0);
    }

    fn cell(&mut self, cell: CellId, access: CellAccess) -> (u64, u64) {
        self.begin(self.shared.cell(cell), |found| access.leaves(found))
    }

    fn await_cell(&mut self, cell: CellId, fits: impl Fn(u64) -> bool) -> Flow<(u64, u64)> {
        let object = self.shared.cell(cell);
        self.begin_when(object, |value| fits(value).then_some(value))
    }

    fn ledger(
        &mut self,
        ledger: CellId,
        plain: bool,
        action: LedgerAction,
        at: PartAt,
        device: DeviceId,
    ) -> (u64, u64) {
        match action {
            LedgerAction::Find if plain => self.looked.push(ledger),
            LedgerAction::Find => {}
            LedgerAction::Insert | LedgerAction::Erase => self.looked.retain(|it| *it != ledger),
        }
        let what = u64::from(ledger.0) << 8 | u64::from(plain) << 4 | action as u64;
        let whose = u64::from(at.slot.0) << 16 | u64::from(device.0);
        self.ask_now(AskedFor::Ledger, what, whose)
    }

    fn has_looked(&self, ledger: CellId) -> bool {
        self.looked.contains(&ledger)
    }

    fn use_buffer(&mut self, buffer: u64) -> Flow<(DeviceId, u64)> {
        self.ask(AskedFor::Use, buffer, 0)
            .map(|(device, version)| (DeviceId(device as u16), version))
    }

    fn lock_shared(&mut self, lock: LockId) -> Flow<u64> {
        let bit = self.bit();
        let object = self.shared.lock(lock);
        self.begin_when(object, |value| (value & ALONE == 0).then_some(value | bit))
            .map(|(_, version)| version)
    }

    fn unlock_shared(&mut self, lock: LockId) -> u64 {
        let bit = self.bit();
        self.begin(self.shared.lock(lock), |value| value & !bit).1
    }

    fn lock_robust(&mut self, lock: LockId) -> Flow<(bool, u64)> {
        let (shared, alone) = (self.shared, self.alone());
        let is_free = move |value: u64| {
            value == 0 || value & ALONE != 0 && shared.load(value as u16, Of::Dead) != 0
        };
        self.begin_when(self.shared.lock(lock), |value| {
            is_free(value).then_some(alone)
        })
        .map(|(found, version)| (found != 0, version))
    }
}
