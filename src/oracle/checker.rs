//! The checker: walks the merged schedule of a run once, with the truth on one hand and the
//! reconstruction on the other, and counts every difference.
//!
//! Three strengths, all in one pass. *At every message*: the registry says how it took the message,
//! and that must be what the truth implies. *At every prefix*: totals are off by at most what is in
//! flight. *At rest*: the live tables are equal, entry by entry. Memory is bounded by what is live
//! or in flight, not by the length of the run.
//!
//! The truth is the allocator's own history: `Alloc` and `Free` events in the order of their
//! device's versions. The reconstruction is the same registry that servers run, fed in the order in
//! which the server received; what the real server showed at rest is compared as well, where it was
//! asked.

use crate::device::{BufferKind, DeviceId};
use crate::planted::Planted;
use crate::registry::Registry;
use crate::scenario::Scenario;
use crate::scenario::cells::CellId;
use crate::scenario::objects::{ConnId, LockId, Objects};
use crate::scenario::op::Op;
use crate::trace::event::{Event, FreeOutcome, ReceiveCode, SendOutcome, receive_code};
use crate::trace::file::{AtRest, End, SERVER_STREAM};
use crate::trace::in_flight::InFlight;
use crate::trace::merge::MergedEvent;
use crate::trace::sends::Senders;
use crate::trace::shared_event::SharedEvent;
use crate::tracking::Layout;
use crate::tracking::sent::SentKind;

use super::judge::Judge;
use super::kind::{Divergence, Kind, Leak, Report, Strength, Verdict};
use super::rest;
use super::shared::{Doer, SharedCheck};

/// Leaks listed one by one; more are counted.
const MAX_LEAKS_LISTED: usize = 1000;

/// Checks one run, event by event.
#[derive(Debug)]
pub struct Checker {
    objects: Objects,
    layout: Layout,
    server_recorded: bool,
    planted: Option<Planted>,
    connections: u16,
    senders: Senders,
    wires: Vec<InFlight>,
    registry: Registry,
    judge: Judge,
    /// What cells and ledgers must agree with, where the discipline has any.
    shared: Option<Box<SharedCheck>>,
    blocked: Vec<Blocked>,
    events: u64,
    ops: u64,
    allocs_failed: u64,
    contradiction: Option<String>,
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
    Cell(CellId),
    Notify(LockId),
}

impl Checker {
    /// A checker for a run of `scenario`; `server_recorded`: the trace has the server's own stream.
    pub fn new(scenario: &Scenario, server_recorded: bool) -> Checker {
        let objects = scenario.objects();
        Checker {
            objects,
            layout: scenario.transport.layout,
            server_recorded,
            connections: objects.conns,
            senders: Senders::new(scenario),
            wires: InFlight::of_all(scenario),
            registry: scenario.registry(),
            planted: scenario.planted,
            judge: Judge::new(scenario),
            shared: SharedCheck::new(scenario),
            blocked: Vec::new(),
            events: 0,
            ops: 0,
            allocs_failed: 0,
            contradiction: None,
        }
    }

    /// The same, which lists so many divergences one by one.
    pub(crate) fn listing(mut self, most: usize) -> Checker {
        self.judge.most_listed = most;
        self
    }

    /// Takes the next event of the merged schedule.
    #[inline]
    pub fn observe(&mut self, merged: &MergedEvent) {
        self.events += 1;
        match &merged.event {
            Event::Receive { conn, code } if merged.stream == SERVER_STREAM => {
                self.receive(*conn, Some(*code));
            }
            Event::Accept { .. } => {}
            event => {
                if usize::from(merged.stream) < self.senders.threads() {
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
    pub(crate) fn blocked_threads(&self) -> Vec<u16> {
        self.blocked.iter().map(|blocked| blocked.thread).collect()
    }

    /// What contradicts itself in the trace, if anything does: then no verdict should be trusted.
    pub fn contradiction(&self) -> Option<&str> {
        self.contradiction.as_deref()
    }

    /// The divergences so far, in order: the first 64 of them, or as many as
    /// [`Checker::listing`] says.
    pub(crate) fn listed(&self) -> &[Divergence] {
        &self.judge.listed
    }

    /// How many divergences there are so far, listed or not.
    #[inline]
    pub(crate) fn counted(&self) -> u64 {
        self.judge.counted
    }

    /// What the allocators have live now, in no order.
    pub(crate) fn live(&self) -> impl Iterator<Item = (&Leak, bool)> {
        let lives = self.judge.truth.lives();
        lives.map(|(_, life)| (&life.origin, life.circular))
    }

    /// Brings a completed run to rest whose server is the checker's own registry: what is still
    /// held takes effect, and what the registry then shows is compared with what is live.
    /// [`Checker::listed`] says what that found.
    pub(crate) fn rest(&mut self) {
        self.settle();
        if self.reconstructs() && self.is_told() {
            self.judge.compare_table(&rest::table(&self.registry));
        }
        if let Some(shared) = &self.shared {
            shared.rest(&mut self.judge);
        }
    }

    /// Ends the check. `end` is the trace's end block, where there is one; `prefix` says why the
    /// events end early.
    pub fn finish(self, end: Option<&End>, prefix: Option<String>) -> Report {
        self.finish_listed(end, prefix).0
    }

    /// The same, with the divergences that are listed: those of the end are behind those that
    /// [`Checker::listed`] had.
    pub(crate) fn finish_listed(
        mut self,
        end: Option<&End>,
        prefix: Option<String>,
    ) -> (Report, Vec<Divergence>) {
        let completed = end.is_some_and(|end| end.completed) && prefix.is_none();
        if let Some(blocked) = self.blocked.first() {
            self.judge.count(blocked.divergence);
        }
        let mut strength = Strength::Messages;
        if completed {
            self.settle();
            if let Some(shared) = &self.shared {
                shared.rest(&mut self.judge);
            }
            strength = match end.map(|end| &end.server) {
                // What it is told of is in the program.
                _ if !self.is_told() => Strength::Exact,
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
        let mut leaked: Vec<Leak> = if completed {
            self.judge.truth.leaks().collect()
        } else {
            Vec::new()
        };
        leaked.sort_unstable();
        let leaks = leaked.len() as u64;
        leaked.truncate(MAX_LEAKS_LISTED);
        let mut report = Report {
            verdict: Verdict::Clean,
            strength,
            divergences: self.judge.divergences,
            first: self.judge.first,
            leaks,
            leaked,
            events: self.events,
            messages: self.judge.messages,
            shared_steps: self.shared.as_ref().map_or(0, |shared| shared.checked),
            ops: self.ops,
            allocs_failed: self.allocs_failed,
            peak_live: self.judge.truth.peak_live(),
            note,
            complete: completed,
        };
        // What a server elsewhere received is not in the trace.
        let sent = end.map_or(0, |end| end.client_sent + end.client_dropped);
        let sent = sent.max(report.messages);
        if completed && let Some(why) = report.nothing_checked(sent) {
            report.note = Some(why.to_owned());
            report.complete = false;
        }
        report.verdict = match (diverged, &report.note) {
            (true, _) => Verdict::Diverged,
            (false, None) => Verdict::Clean,
            (false, Some(_)) => Verdict::Inconclusive,
        };
        (report, self.judge.listed)
    }

    /// Whether the messages can be put in the order in which the server got them.
    fn reconstructs(&self) -> bool {
        self.server_recorded || self.connections == 1
    }

    /// Whether the server is told of buffers: not where all tracking is the program's own.
    fn is_told(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.sends)
    }

    /// A step on what the discipline shares.
    fn share(&mut self, thread: usize, event: &SharedEvent) {
        let doer = self.doer(thread);
        let Some(shared) = &mut self.shared else {
            return self.contradict(|| "a step that the discipline does not have".to_owned());
        };
        if let Err(why) = shared.step(&doer, event, &mut self.judge) {
            self.contradict(|| why);
        }
    }

    fn doer(&self, thread: usize) -> Doer {
        let position = self.senders.position(thread).unwrap_or_default();
        let request = self.senders.request(thread);
        let handle = self.senders.handle(thread);
        Doer {
            thread: thread as u16,
            op: self.senders.op(thread),
            slot: position.slot,
            handle,
            device: (handle.map(|handle| handle.device))
                .or(request.map(|request| request.device))
                .unwrap_or(DeviceId(0)),
            memory: request.map(|request| request.memory),
        }
    }

    #[inline]
    fn act(&mut self, stream: u16, event: &Event) {
        let thread = usize::from(stream);
        match *event {
            Event::Open { ref op, .. } => {
                let _ = self.senders.observe(thread, event);
                if let Some(shared) = &mut self.shared {
                    shared.open(stream, op);
                }
                self.ops += u64::from(op.counts());
                if *op == Op::Throw {
                    self.registry.process_ended(stream);
                }
            }
            Event::Alloc { .. } => self.alloc(thread, event),
            Event::AllocFailed { .. } => self.allocs_failed += 1,
            Event::Free { outcome, .. } => self.free(thread, outcome),
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
            Event::Shared(SharedEvent::BlockedOnCell { cell }) => {
                self.block(stream, Wait::Cell(cell));
            }
            Event::Shared(SharedEvent::BlockedOnNotify { lock }) => {
                self.block(stream, Wait::Notify(lock));
            }
            Event::Shared(ref event) => self.share(thread, event),
            Event::BlockedOnLock { lock } => self.block(stream, Wait::Lock(lock)),
            Event::BlockedOnOp { op } => self.block(stream, Wait::Op(op)),
            Event::BlockedOnSend { conn } => self.block(stream, Wait::Send(conn)),
            _ => {
                let fits = self.senders.observe(thread, event);
                debug_assert!(
                    fits.is_ok(),
                    "only an allocation may be outside of its operation"
                );
            }
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
                Wait::Cell(cell) => {
                    let name = self.shared.as_ref().map(|shared| shared.cell_name(cell));
                    let name = name.unwrap_or_default();
                    format!("thread {thread} waits for {name} to change")
                }
                Wait::Notify(lock) => {
                    let name = self.objects.lock_name(lock);
                    format!("thread {thread} waits on the lock {name} to be notified")
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

    fn alloc(&mut self, thread: usize, event: &Event) {
        if self.senders.observe(thread, event).is_err() {
            return self
                .contradict(|| format!("thread {thread} allocates outside of its operation"));
        }
        let Some((handle, request)) =
            (self.senders.handle(thread)).zip(self.senders.request(thread))
        else {
            return;
        };
        let leak = Leak {
            device: handle.device,
            memory: handle.memory,
            address: handle.address,
            size_bytes: handle.size_bytes,
            thread: thread as u16,
            op: self.senders.op(thread),
        };
        self.judge.truth.alloc(
            leak,
            handle.generation,
            request.kind == BufferKind::Circular,
        );
        self.judge.check_prefix(handle.device, handle.memory);
        let doer = self.doer(thread);
        if let Some(shared) = &mut self.shared {
            shared.alloc(&doer);
        }
    }

    fn free(&mut self, thread: usize, outcome: FreeOutcome) {
        let Some(handle) = self.senders.handle(thread) else {
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
        let Some(sent) = self.senders.sent(thread, kind) else {
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
        let Some(frame) = self.wires[usize::from(conn.0)].pop() else {
            return self.contradict(|| {
                format!(
                    "the server received more on connection {} than was sent",
                    conn.0
                )
            });
        };
        self.judge.messages += 1;
        let sent = *frame.sent();
        if frame.is_torn() {
            self.judge.torn(&sent);
        }
        let message = frame.message(self.layout, self.planted);
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

    fn divergence(&self, thread: usize, kind: Kind) -> Divergence {
        let request = self.senders.request(thread);
        let handle = self.senders.handle(thread);
        Divergence {
            kind,
            device: handle
                .map(|h| h.device)
                .or(request.map(|r| r.device))
                .unwrap_or(DeviceId(0)),
            memory: request.map(|request| request.memory),
            address: handle.map(|handle| handle.address),
            thread: Some(thread as u16),
            op: Some(self.senders.op(thread)),
        }
    }

    #[cold]
    fn contradict(&mut self, why: impl FnOnce() -> String) {
        let events = self.events;
        self.contradiction
            .get_or_insert_with(|| format!("event {events}: {}", why()));
    }
}
