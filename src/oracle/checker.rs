//! The checker: walks the merged schedule of a run once, with the truth on one hand and the
//! reconstruction on the other, and counts every difference.
//!
//! Three strengths, all in one pass. *At every message*: the registry says how it took the message, and that must be
//! what the truth implies. *At every prefix*: totals are off by at most what is in flight. *At rest*: the live
//! tables are equal, entry by entry. Memory is bounded by what is live or in flight, not by the length of the run.
//!
//! The truth is the allocator's own history: `Alloc` and `Free` events in the order of their device's versions. The
//! reconstruction is the same registry that servers run, fed in the order in which the server received; what the
//! real server showed at rest is compared as well, where it was asked.

use crate::device::{BufferKind, DeviceId};
use crate::planted::Planted;
use crate::scenario::op::{Op, Request};
use crate::scenario::{Scenario, VIEW_GENERATION};
use crate::server::registry::Registry;
pub use crate::trace::event::receive_code;
use crate::trace::event::{ConnId, Event, FreeOutcome, LockId, ReceiveCode, SendOutcome, SentKind};
use crate::trace::file::{AtRest, End, SERVER_STREAM};
use crate::trace::merge::Merged;
use crate::trace::message::{Handle, message};
use crate::trace::objects::Objects;
use crate::tracking::{Layout, Message};

use super::judge::Judge;
use super::kind::{Divergence, Kind, Leak, Report, Strength, Verdict};
use super::rest;
use super::wire::Wire;

/// Leaks listed one by one; more are counted.
const MAX_LEAKS_LISTED: usize = 1000;

/// Checks one run, event by event.
#[derive(Debug)]
pub struct Checker {
    objects: Objects,
    layout: Layout,
    server_recorded: bool,
    planted: Option<Planted>,
    view_address: Option<u64>,
    connections: u16,
    threads: Vec<ThreadContext>,
    slots: Vec<SlotState>,
    wires: Vec<Wire>,
    registry: Registry,
    judge: Judge,
    blocked: Vec<Blocked>,
    events: u64,
    ops: u64,
    allocs_failed: u64,
    contradiction: Option<String>,
}

/// Where a thread is.
#[derive(Clone, Copy, Debug, Default)]
struct ThreadContext {
    slot: u32,
    part: u8,
    /// Operations begun.
    ops: u64,
    sequence: u64,
}

/// What a slot holds.
#[derive(Clone, Debug, Default)]
struct SlotState {
    request: Option<Request>,
    /// Address and generation of each part, once allocated.
    parts: smallvec::SmallVec<[Option<(u64, u64)>; 1]>,
}

/// A message as its sender meant it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub kind: SentKind,
    pub handle: Handle,
    pub thread: u16,
    pub op: u64,
    pub sequence: u64,
}

impl Sent {
    /// The message as `layout` carries it.
    #[inline]
    pub fn message(&self, layout: Layout, planted: Option<Planted>) -> Message {
        let mut message = message(layout, self.kind, &self.handle, self.thread, self.sequence);
        if let Some(planted) = planted {
            planted.distort(&mut message, self.kind, &self.handle);
        }
        message
    }
}

/// A thread that could not go on when the run was given up.
#[derive(Clone, Copy, Debug)]
struct Blocked {
    thread: u16,
    wait: Wait,
    divergence: Divergence,
}

/// What a thread waited for.
#[derive(Clone, Copy, Debug)]
enum Wait {
    Lock(LockId),
    Op(Op),
    Send(ConnId),
}

impl Checker {
    /// A checker for a run of `scenario`; `server_recorded`: the trace has the server's own stream.
    pub fn new(scenario: &Scenario, server_recorded: bool) -> Checker {
        let objects = scenario.objects();
        let wire = || Wire::new(scenario);
        Checker {
            objects,
            layout: scenario.transport.layout,
            server_recorded,
            connections: objects.conns,
            threads: vec![ThreadContext::default(); usize::from(scenario.threads)],
            slots: vec![SlotState::default(); objects.slots as usize],
            wires: (0..objects.conns).map(|_| wire()).collect(),
            registry: scenario.registry(),
            planted: scenario.planted,
            view_address: scenario.view_address(),
            judge: Judge::new(scenario),
            blocked: Vec::new(),
            events: 0,
            ops: 0,
            allocs_failed: 0,
            contradiction: None,
        }
    }

    /// Takes the next event of the merged schedule.
    #[inline]
    pub fn observe(&mut self, merged: &Merged) {
        self.events += 1;
        match &merged.event {
            Event::Receive { conn, code } if merged.stream == SERVER_STREAM => {
                self.receive(*conn, Some(*code));
            }
            Event::Accept { .. } => {}
            event => {
                if usize::from(merged.stream) < self.threads.len() {
                    self.act(merged.stream, event);
                } else {
                    self.contradict(|| {
                        format!("stream {} is beyond the scenario's threads", merged.stream)
                    });
                }
            }
        }
    }

    /// Threads that could not go on when the run was given up, in order.
    pub fn blocked_threads(&self) -> Vec<u16> {
        self.blocked.iter().map(|blocked| blocked.thread).collect()
    }

    /// What contradicts itself in the trace, if anything does: then no verdict should be trusted.
    pub fn contradiction(&self) -> Option<&str> {
        self.contradiction.as_deref()
    }

    /// The divergences so far, in order: the first 64 of them.
    pub fn listed(&self) -> &[Divergence] {
        &self.judge.listed
    }

    /// The message that `thread` sends with the event just observed; `None` outside of an operation.
    pub(crate) fn sent(&self, thread: usize, kind: SentKind) -> Option<Sent> {
        let handle = self.handle(thread)?;
        let context = self.threads[thread];
        Some(Sent {
            kind,
            handle,
            thread: thread as u16,
            op: context.ops - 1,
            sequence: context.sequence,
        })
    }

    /// What the allocators have live now, in no order.
    pub(super) fn live(&self) -> impl Iterator<Item = (&Leak, bool)> {
        let lives = self.judge.truth.lives();
        lives.map(|(_, life)| (&life.origin, life.circular))
    }

    /// Brings a completed run to rest whose server is the checker's own registry: what is still held takes effect, and
    /// what the registry then shows is compared with what is live. [`Checker::listed`] says what that found.
    pub fn rest(&mut self) {
        self.settle();
        if self.reconstructs() {
            self.judge.compare_table(&rest::table(&self.registry));
        }
    }

    /// Ends the check. `end` is the trace's end block, where there is one; `prefix` says why the events end early.
    pub fn finish(mut self, end: Option<&End>, prefix: Option<String>) -> Report {
        let completed = end.is_some_and(|end| end.completed) && prefix.is_none();
        if let Some(blocked) = self.blocked.first() {
            self.judge.count(blocked.divergence);
        }
        let mut strength = Strength::Messages;
        if completed {
            self.settle();
            strength = match end.map(|end| &end.server) {
                Some(AtRest::Table(table)) => {
                    self.judge.compare_table(table);
                    if self.reconstructs() {
                        Strength::Exact
                    } else {
                        Strength::Totals
                    }
                }
                Some(AtRest::Totals(totals)) => {
                    self.judge.compare_totals(totals);
                    Strength::Totals
                }
                _ => {
                    if self.reconstructs() {
                        self.judge.compare_table(&rest::table(&self.registry));
                    }
                    Strength::Messages
                }
            };
        }
        let diverged = !self.judge.divergences.is_empty();
        let note = match (prefix, completed, strength) {
            (Some(prefix), ..) => Some(prefix),
            (None, false, _) if !self.blocked.is_empty() => Some(self.who_waits()),
            (None, false, _) => Some("the run did not come to its end".to_owned()),
            (None, true, Strength::Messages) => {
                Some("the server did not say what it shows at rest".to_owned())
            }
            (None, true, _) => None,
        };
        let verdict = match (diverged, &note) {
            (true, _) => Verdict::Diverged,
            (false, None) => Verdict::Clean,
            (false, Some(_)) => Verdict::Inconclusive,
        };
        let mut leaked: Vec<Leak> = if completed {
            self.judge.truth.leaks().collect()
        } else {
            Vec::new()
        };
        leaked.sort_unstable();
        let leaks = leaked.len() as u64;
        leaked.truncate(MAX_LEAKS_LISTED);
        Report {
            verdict,
            strength,
            divergences: self.judge.divergences,
            first: self.judge.first,
            leaks,
            leaked,
            events: self.events,
            messages: self.judge.messages,
            ops: self.ops,
            allocs_failed: self.allocs_failed,
            peak_live: self.judge.truth.peak_live(),
            note,
        }
    }

    /// Whether the messages can be put in the order in which the server got them.
    fn reconstructs(&self) -> bool {
        self.server_recorded || self.connections == 1
    }

    #[inline]
    fn act(&mut self, stream: u16, event: &Event) {
        let thread = usize::from(stream);
        match *event {
            Event::Open { ref op, .. } => self.open(thread, op),
            Event::Part { part, .. } => self.threads[thread].part = part,
            Event::CloseBuffer { slot, part, .. } => {
                self.threads[thread].slot = slot;
                self.threads[thread].part = part;
            }
            Event::Alloc {
                device,
                address,
                version,
            } => self.alloc(thread, device, address, version),
            Event::AllocFailed { .. } => self.allocs_failed += 1,
            Event::Free { outcome, .. } => self.free(thread, outcome),
            Event::Stamp { sequence, .. } => self.threads[thread].sequence = sequence,
            Event::Send {
                kind,
                chunk,
                conn,
                outcome,
                ..
            } => self.send(thread, kind, chunk, conn, outcome),
            Event::LockOutOfBounds { device } => {
                let at = self.divergence(thread, Kind::LockOutOfBounds);
                self.judge.count(Divergence { device, ..at });
            }
            Event::BlockedOnLock { lock } => self.block(stream, Wait::Lock(lock)),
            Event::BlockedOnOp { op } => self.block(stream, Wait::Op(op)),
            Event::BlockedOnSend { conn } => self.block(stream, Wait::Send(conn)),
            _ => {}
        }
    }

    fn block(&mut self, thread: u16, wait: Wait) {
        let divergence = Divergence {
            memory: None,
            address: None,
            ..self.divergence(usize::from(thread), Kind::Deadlock)
        };
        self.blocked.push(Blocked {
            thread,
            wait,
            divergence,
        });
    }

    fn open(&mut self, thread: usize, op: &Op) {
        let context = &mut self.threads[thread];
        context.ops += 1;
        context.part = 0;
        context.sequence = 0;
        self.ops += u64::from(op.counts());
        match *op {
            Op::Allocate { slot, request, .. } => {
                context.slot = slot.0;
                let state = &mut self.slots[slot.index()];
                state.request = Some(request);
                state.parts.clear();
                state.parts.resize(usize::from(request.parts), None);
                if let Some(address) = self.view_address
                    && !request.kind.owns_memory()
                {
                    state.parts[0] = Some((address, VIEW_GENERATION));
                }
            }
            Op::Release { slot, .. } => context.slot = slot.0,
            Op::Throw => self.registry.process_ended(thread as u16),
            _ => {}
        }
    }

    /// Who waits for what, when the run was given up.
    fn who_waits(&self) -> String {
        let waits = |blocked: &Blocked| {
            let thread = blocked.thread;
            match blocked.wait {
                Wait::Lock(lock) => {
                    let name = self.objects.lock_name(lock);
                    format!("thread {thread} waits for the lock {name}")
                }
                Wait::Op(op @ Op::Release { .. }) => {
                    format!("thread {thread} waits to `{op}`: its handle was never published")
                }
                Wait::Op(op @ Op::Allocate { .. }) => {
                    format!(
                        "thread {thread} waits to `{op}`: the slot's last buffer was never released"
                    )
                }
                Wait::Op(op) => format!("thread {thread} waits to `{op}`"),
                Wait::Send(conn) => format!(
                    "thread {thread} waits for room on connection {}, which the server no longer reads",
                    conn.0
                ),
            }
        };
        self.blocked
            .iter()
            .map(waits)
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn alloc(&mut self, thread: usize, device: DeviceId, address: u64, generation: u64) {
        let context = self.threads[thread];
        let expected = self.device_at_hand(thread);
        let slot = &mut self.slots[context.slot as usize];
        let Some((request, part)) = slot
            .request
            .zip(slot.parts.get_mut(usize::from(context.part)))
            .filter(|_| expected == Some(device))
        else {
            return self
                .contradict(|| format!("thread {thread} allocates outside of its operation"));
        };
        *part = Some((address, generation));
        let leak = Leak {
            device,
            memory: request.memory,
            address,
            size_bytes: request.size_bytes,
            thread: thread as u16,
            op: context.ops - 1,
        };
        self.judge
            .truth
            .alloc(leak, generation, request.kind == BufferKind::Circular);
        self.judge.check_prefix(device, request.memory);
    }

    fn free(&mut self, thread: usize, outcome: FreeOutcome) {
        let Some(handle) = self.handle(thread) else {
            return self.contradict(|| format!("thread {thread} frees outside of an operation"));
        };
        let released = self.judge.truth.free(&handle);
        if released != outcome {
            return self.contradict(|| {
                format!(
                    "thread {thread} frees {:#x}: {outcome:?} was recorded, {released:?} follows",
                    handle.address
                )
            });
        }
        if outcome != FreeOutcome::Freed {
            let at = self.divergence(thread, Kind::DoubleFree);
            self.judge.count(at);
        }
        self.judge.check_prefix(handle.device, handle.memory);
    }

    fn send(
        &mut self,
        thread: usize,
        kind: SentKind,
        chunk: u8,
        conn: ConnId,
        outcome: SendOutcome,
    ) {
        let Some(sent) = self.sent(thread, kind) else {
            return self.contradict(|| format!("thread {thread} sends outside of an operation"));
        };
        match outcome {
            // Nobody can say in which order the server took these.
            SendOutcome::Sent if !self.reconstructs() => {}
            SendOutcome::Sent => {
                self.wires[usize::from(conn.0)].push(sent, chunk);
                if !self.server_recorded {
                    while self.wires[usize::from(conn.0)].has_frame() {
                        self.receive(conn, None);
                    }
                }
            }
            SendOutcome::Dropped if chunk == 0 => self.judge.lost(&sent),
            // The server is gone: that ends the run, and says nothing of the discipline.
            SendOutcome::Dropped | SendOutcome::Failed => {}
        }
    }

    #[inline]
    fn receive(&mut self, conn: ConnId, recorded: Option<ReceiveCode>) {
        let Some((sent, torn)) = self.wires[usize::from(conn.0)].pop() else {
            return self.contradict(|| {
                format!(
                    "the server received more on connection {} than was sent",
                    conn.0
                )
            });
        };
        self.judge.messages += 1;
        let message = match torn {
            None => Some(sent.message(self.layout, self.planted)),
            Some(frame) => {
                self.judge.torn(&sent);
                frame
            }
        };
        let mut code = ReceiveCode::Unknown;
        if let Some(message) = message {
            code = ReceiveCode::Ignored;
            let judge = &mut self.judge;
            let mut first = true;
            self.registry.apply(&message, &mut |taken, outcome| {
                if std::mem::take(&mut first) {
                    code = receive_code(&outcome);
                }
                judge.judge(taken, &outcome, &sent);
            });
        }
        let device = sent.handle.device;
        self.judge
            .show(device, &self.registry.totals(i32::from(device.0)));
        if recorded.is_some_and(|recorded| recorded != code) {
            self.contradict(|| {
                format!(
                    "the server took a message as {recorded:?}, its registry takes it as {code:?}"
                )
            });
        }
    }

    /// Takes what is still held or under way when all is over.
    fn settle(&mut self) {
        let judge = &mut self.judge;
        let nobody = None;
        self.registry
            .flush(&mut |taken, outcome| judge.judge_late(taken, &outcome, nobody));
        if self.reconstructs() {
            for wire in &mut self.wires {
                while let Some(sent) = wire.pop_unreceived() {
                    self.judge.lost(&sent);
                }
            }
        }
    }

    /// The device of the part at hand; `None` outside of an operation.
    #[inline]
    fn device_at_hand(&self, thread: usize) -> Option<DeviceId> {
        let context = self.threads[thread];
        let request = self.slots.get(context.slot as usize)?.request?;
        (context.ops > 0).then(|| self.objects.device_of(request.device, context.part))
    }

    /// What the handle at hand says.
    fn handle(&self, thread: usize) -> Option<Handle> {
        let context = self.threads[thread];
        let slot = self.slots.get(context.slot as usize)?;
        let request = slot.request?;
        let (address, generation) = (*slot.parts.get(usize::from(context.part))?)?;
        Some(Handle {
            device: self.device_at_hand(thread)?,
            memory: request.memory,
            address,
            size_bytes: request.size_bytes,
            generation,
        })
    }

    fn divergence(&self, thread: usize, kind: Kind) -> Divergence {
        let context = self.threads[thread];
        let request = self
            .slots
            .get(context.slot as usize)
            .and_then(|slot| slot.request);
        let handle = self.handle(thread);
        Divergence {
            kind,
            device: handle
                .map(|h| h.device)
                .or(request.map(|r| r.device))
                .unwrap_or(DeviceId(0)),
            memory: request.map(|request| request.memory),
            address: handle.map(|handle| handle.address),
            thread: Some(thread as u16),
            op: Some(context.ops.saturating_sub(1)),
        }
    }

    #[cold]
    fn contradict(&mut self, why: impl FnOnce() -> String) {
        let events = self.events;
        self.contradiction
            .get_or_insert_with(|| format!("event {events}: {}", why()));
    }
}
