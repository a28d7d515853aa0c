//! The walk over the events: threads, slots, buffers and locks, with the oracle's checker and the
//! server alongside.

use crate::device::{BufferKind, DeviceId};
use crate::oracle::{Checker, Divergence, Kind};
use crate::registry::Semantics;
use crate::scenario::objects::{ConnId, LockId};
use crate::scenario::op::{Op, Request};
use crate::scenario::{Scenario, VIEW_GENERATION};
use crate::trace::event::{Event, FreeOutcome, SendOutcome};
use crate::trace::file::SERVER_STREAM;
use crate::trace::merge::MergedEvent;
use crate::trace::sends::Sent;
use crate::tracking::sent::Handle;
use crate::tracking::sent::SentKind;

use super::history::{
    BlockedThread, BufferHistory, Deed, History, Hold, LifeId, Mark, StepNumber, ThreadPosition,
    TimelineStep, What,
};
use super::shown_table::ShownTable;

/// The history of a run of `scenario`, of which these are the events; see
/// [`Timeline`](super::Timeline).
pub(super) fn history(
    scenario: &Scenario,
    events: &[MergedEvent],
    deciding: Option<usize>,
    completed: bool,
) -> History {
    let mut walk = Walk::new(scenario, events, deciding, completed);
    for (index, merged) in events.iter().enumerate() {
        let known = walk.checker.listed().len();
        walk.checker.observe(merged);
        walk.event(index, merged);
        walk.mark(known, true);
    }
    walk.finish()
}

/// The walk over the events.
struct Walk<'a> {
    scenario: &'a Scenario,
    deciding: Option<usize>,
    history: History,
    checker: Checker,
    server: ShownTable,
    server_recorded: bool,
    contexts: Vec<ThreadPosition>,
    requests: Vec<Option<Request>>,
    /// The buffer in each part of each slot.
    parts: Vec<Vec<Option<LifeId>>>,
}

impl<'a> Walk<'a> {
    fn new(
        scenario: &'a Scenario,
        events: &[MergedEvent],
        deciding: Option<usize>,
        completed: bool,
    ) -> Walk<'a> {
        let objects = scenario.objects();
        let server_recorded = events
            .iter()
            .any(|merged| matches!(merged.event, Event::Receive { .. }));
        Walk {
            scenario,
            deciding,
            history: History {
                objects,
                threads: scenario.threads,
                chunks: scenario.transport.chunks,
                mixes_memories: false,
                keys_without_memory: matches!(
                    scenario.semantics,
                    Semantics::Overwrite | Semantics::Refcount
                ),
                steps: Vec::new(),
                lives: Vec::new(),
                holds: Vec::new(),
                waits: Vec::new(),
                marks: Vec::new(),
                late: Vec::new(),
                shown: Vec::new(),
                reconstructs: server_recorded || objects.conns == 1,
                completed,
                contradiction: None,
            },
            checker: Checker::new(scenario, server_recorded),
            server: ShownTable::new(scenario),
            server_recorded,
            contexts: vec![ThreadPosition::default(); usize::from(scenario.threads)],
            requests: vec![None; objects.slots as usize],
            parts: vec![Vec::new(); objects.slots as usize],
        }
    }

    fn event(&mut self, index: usize, merged: &MergedEvent) {
        if let (SERVER_STREAM, Event::Receive { conn, .. }) = (merged.stream, merged.event) {
            let own = self.answers_last_step(index, conn);
            if !own {
                self.begin(index, merged);
            }
            return self.receive(conn, own);
        }
        self.advance(merged);
        self.begin(index, merged);
        if usize::from(merged.stream) < self.contexts.len() {
            self.act(merged.stream, &merged.event);
        }
    }

    /// Whether the message taken now is the one that the last step sent, so that one row can show
    /// both.
    fn answers_last_step(&self, index: usize, conn: ConnId) -> bool {
        self.deciding != Some(index)
            && self.server.has_one_frame(conn)
            && self.history.steps.last().is_some_and(|step| {
                matches!(step.event, Event::Send { conn: sent, outcome: SendOutcome::Sent, .. } if sent == conn)
            })
    }

    /// Notes where the thread is, before its event is.
    fn advance(&mut self, merged: &MergedEvent) {
        let Some(context) = self.contexts.get_mut(usize::from(merged.stream)) else {
            return;
        };
        match merged.event {
            Event::Open { op, .. } => {
                context.ops += 1;
                context.part = 0;
                context.sequence = 0;
                match op {
                    Op::Allocate { slot, request, .. } => {
                        context.slot = slot.0;
                        self.requests[slot.index()] = Some(request);
                        self.parts[slot.index()] = vec![None; usize::from(request.parts)];
                    }
                    Op::Release { slot, .. } => context.slot = slot.0,
                    _ => {}
                }
            }
            Event::Part { part, .. } => context.part = part,
            Event::CloseBuffer { slot, part, .. } => {
                context.slot = slot;
                context.part = part;
            }
            Event::Stamp { sequence, .. } => context.sequence = sequence,
            _ => {}
        }
    }

    fn begin(&mut self, index: usize, merged: &MergedEvent) {
        let at = self
            .contexts
            .get(usize::from(merged.stream))
            .copied()
            .unwrap_or_default();
        let of_thread = merged.stream != SERVER_STREAM && at.ops > 0;
        let slot = at.slot as usize;
        let request = self.requests.get(slot).copied().flatten();
        let number = self.history.steps.len() + 1;
        let step = TimelineStep {
            number,
            index,
            stream: merged.stream,
            event: merged.event,
            life: if of_thread { self.life_at(&at) } else { None },
            at,
            request: request.filter(|_| of_thread),
            taken: Vec::new(),
            holding: self.note_locks(number, merged),
        };
        self.history.steps.push(step);
    }

    fn life_at(&self, at: &ThreadPosition) -> Option<LifeId> {
        let parts = self.parts.get(at.slot as usize)?;
        *parts.get(usize::from(at.part))?
    }

    /// The threads that hold a lock before or after this event.
    fn note_locks(&mut self, number: StepNumber, merged: &MergedEvent) -> Vec<u16> {
        let thread = merged.stream;
        if let Event::Lock { lock, .. } = merged.event {
            self.history.holds.push(Hold {
                thread,
                lock,
                from: number,
                to: StepNumber::MAX,
            });
        }
        let holds = &mut self.history.holds;
        let open = |hold: &&mut Hold| hold.to == StepNumber::MAX;
        let mut holding: Vec<u16> = holds
            .iter_mut()
            .filter(open)
            .map(|hold| hold.thread)
            .collect();
        holding.sort_unstable();
        holding.dedup();
        if let Event::Unlock { lock } = merged.event
            && let Some(hold) = holds
                .iter_mut()
                .filter(open)
                .find(|hold| hold.thread == thread && hold.lock == lock)
        {
            hold.to = number;
        }
        holding
    }

    fn act(&mut self, thread: u16, event: &Event) {
        let at = self.contexts[usize::from(thread)];
        match *event {
            Event::Open {
                op: Op::Allocate { request, .. },
                ..
            } if !request.kind.owns_memory() => self.view(thread, &at, request.device),
            Event::Alloc {
                device,
                address,
                version,
            } => self.alloc(thread, &at, device, address, version),
            Event::Free { outcome, .. } => self.free(thread, &at, outcome),
            Event::Publish { .. } => self.deed(thread, What::Published),
            Event::Check { live: true, .. } | Event::Claim { won: true, .. } => {
                self.deed(thread, What::Passed);
            }
            Event::MarkDead { .. } => self.deed(thread, What::MarkedDead),
            Event::Send {
                kind,
                chunk,
                conn,
                outcome,
                ..
            } => self.send(thread, &at, (kind, chunk), conn, outcome),
            Event::BlockedOnLock { lock } => self.wait(thread, Some(lock)),
            Event::BlockedOnOp { .. } | Event::BlockedOnSend { .. } => self.wait(thread, None),
            _ => {}
        }
    }

    /// The step at hand did `what` to its buffer.
    fn deed(&mut self, thread: u16, what: What) {
        let step = self.history.steps.len();
        if let Some(life) = self.history.steps.last().and_then(|step| step.life) {
            self.history.lives[life]
                .deeds
                .push(Deed { step, thread, what });
        }
    }

    fn alloc(
        &mut self,
        thread: u16,
        at: &ThreadPosition,
        device: DeviceId,
        address: u64,
        generation: u64,
    ) {
        let slot = at.slot as usize;
        let life = self.history.lives.len();
        let Some((request, part)) = self
            .requests
            .get(slot)
            .copied()
            .flatten()
            .zip(self.parts[slot].get_mut(usize::from(at.part)))
        else {
            return;
        };
        *part = Some(life);
        self.history.mixes_memories |= self.history.lives.iter().any(|other| {
            let place = (other.handle.device, other.handle.address);
            place == (device, address) && other.handle.memory != request.memory
        });
        self.history.lives.push(BufferHistory {
            handle: Handle {
                device,
                memory: request.memory,
                address,
                size_bytes: request.size_bytes,
                generation,
            },
            circular: request.kind == BufferKind::Circular,
            thread,
            allocated: self.history.steps.len(),
            ended: None,
            deeds: Vec::new(),
        });
        if let Some(step) = self.history.steps.last_mut() {
            step.life = Some(life);
        }
    }

    /// A buffer that does not own its memory, where a planted mistake tracks it: never live, and
    /// yet messages are about it.
    fn view(&mut self, thread: u16, at: &ThreadPosition, device: DeviceId) {
        if let Some(address) = self.scenario.view_address() {
            self.alloc(thread, at, device, address, VIEW_GENERATION);
            if let Some(view) = self.life_at(at) {
                self.history.lives[view].ended = Some((self.history.steps.len(), thread));
            }
        }
    }

    fn free(&mut self, thread: u16, at: &ThreadPosition, outcome: FreeOutcome) {
        self.deed(thread, What::Freed(outcome));
        let Some(mine) = self.life_at(at).map(|life| self.history.lives[life].handle) else {
            return;
        };
        let step = self.history.steps.len();
        let live = self.history.lives.iter_mut().find(|life| {
            let place = (life.handle.device, life.handle.memory, life.handle.address);
            life.ended.is_none() && place == (mine.device, mine.memory, mine.address)
        });
        if let Some(live) = live.filter(|_| outcome != FreeOutcome::NotAllocated) {
            live.ended = Some((step, thread));
        }
    }

    fn send(
        &mut self,
        thread: u16,
        at: &ThreadPosition,
        (kind, chunk): (SentKind, u8),
        conn: ConnId,
        outcome: SendOutcome,
    ) {
        if chunk == 0 || outcome != SendOutcome::Sent {
            self.deed(thread, What::Sent(kind, outcome));
        }
        let Some(life) = self.life_at(at) else {
            return;
        };
        if outcome != SendOutcome::Sent || !self.history.reconstructs {
            return;
        }
        let sent = Sent {
            kind,
            handle: self.history.lives[life].handle,
            thread,
            op: at.ops.saturating_sub(1),
            sequence: at.sequence,
        };
        self.server.write(conn, sent, chunk);
        while !self.server_recorded && self.server.has_frame(conn) {
            self.receive(conn, true);
        }
    }

    fn wait(&mut self, thread: u16, lock: Option<LockId>) {
        let held = |hold: &&Hold| Some(hold.lock) == lock && hold.to == StepNumber::MAX;
        self.history.waits.push(BlockedThread {
            step: self.history.steps.len(),
            thread,
            lock,
            holder: self.history.holds.iter().find(held).map(|hold| hold.thread),
        });
    }

    /// The server takes a frame in the step at hand, which sent it itself where `own`.
    fn receive(&mut self, conn: ConnId, own: bool) {
        let taken = self.server.take(conn, own, &self.history.lives);
        let step = self.history.steps.len();
        for taken in &taken {
            if let Some(life) = taken.life.filter(|_| !taken.torn) {
                self.history.lives[life].deeds.push(Deed {
                    step,
                    thread: taken.thread,
                    what: What::Heard(taken.kind, taken.effect),
                });
            }
        }
        if let Some(last) = self.history.steps.last_mut() {
            last.taken.extend(taken);
        }
    }

    /// Notes what the checker has found beyond the first `known` divergences.
    fn mark(&mut self, known: usize, in_step: bool) {
        let step = in_step.then_some(self.history.steps.len());
        for divergence in &self.checker.listed()[known..] {
            self.history.marks.push(Mark {
                divergence: *divergence,
                step,
            });
        }
    }

    fn finish(mut self) -> History {
        if let Some(wait) = self.history.waits.last().copied() {
            let at = self.contexts[usize::from(wait.thread)];
            self.history.marks.push(Mark {
                divergence: Divergence {
                    kind: Kind::Deadlock,
                    device: DeviceId(0),
                    memory: None,
                    address: None,
                    thread: Some(wait.thread),
                    op: Some(at.ops.saturating_sub(1)),
                },
                step: Some(wait.step),
            });
        } else if self.history.completed {
            let known = self.checker.listed().len();
            self.checker.rest();
            self.mark(known, false);
            self.history.late = self.server.flush(&self.history.lives);
        }
        self.history.contradiction = self.checker.contradiction().map(str::to_owned);
        self.history.shown = self.server.shown();
        self.history
    }
}
