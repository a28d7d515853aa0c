//! The walk over the events of a run, which writes its history.
//!
//! It follows threads, slots, buffers and locks from event to event. Alongside go the oracle's
//! checker, which says what diverges, and the server's view.

use crate::device::{BufferKind, DeviceId};
use crate::oracle::{Checker, Divergence, Kind};
use crate::registry::Semantics;
use crate::scenario::objects::{ConnId, LockId};
use crate::scenario::op::Op;
use crate::trace::event::{Event, FreeOutcome, SendOutcome};
use crate::trace::file::SERVER_STREAM;
use crate::trace::merge::MergedEvent;
use crate::trace::sends::{Senders, ThreadPosition};
use crate::trace::shared_event::SharedEvent;
use crate::tracking::sent::SentKind;

use super::history::{
    BlockedThread, BufferEnd, BufferHistory, BufferId, Deed, DeedKind, LockHold, Mark, RunHistory,
    RunStep, StepNumber,
};
use super::input::Timeline;
use super::server_view::ServerView;

/// The history of what `timeline` shows.
pub(super) fn history(timeline: &Timeline<'_>) -> RunHistory {
    let mut walk = Walk::new(timeline);
    for (index, merged) in timeline.events.iter().enumerate() {
        let known = walk.checker.listed().len();
        walk.checker.observe(merged);
        walk.event(index, merged);
        walk.mark(known, true);
    }
    walk.finish()
}

/// The history so far, and where threads, buffers and the server are.
struct Walk<'a> {
    timeline: &'a Timeline<'a>,
    history: RunHistory,
    checker: Checker,
    server: ServerView,
    server_recorded: bool,
    senders: Senders,
    /// The buffer in each part of each slot.
    parts: Vec<Vec<Option<BufferId>>>,
}

/// A chunk of a message, and whether its connection took it.
struct SentChunk {
    kind: SentKind,
    chunk: u8,
    conn: ConnId,
    outcome: SendOutcome,
}

impl<'a> Walk<'a> {
    fn new(timeline: &'a Timeline<'a>) -> Walk<'a> {
        let scenario = timeline.scenario;
        let objects = scenario.objects();
        let server_recorded = timeline
            .events
            .iter()
            .any(|merged| matches!(merged.event, Event::Receive { .. }));
        Walk {
            timeline,
            history: RunHistory {
                objects,
                cells: scenario.cells(),
                tells_server: !scenario.discipline.shares() || scenario.discipline.sends(),
                threads: scenario.threads,
                chunks: scenario.transport.chunks,
                mixes_memories: false,
                keys_without_memory: matches!(
                    scenario.semantics,
                    Semantics::Overwrite | Semantics::Refcount
                ),
                steps: Vec::new(),
                buffers: Vec::new(),
                holds: Vec::new(),
                blocked: Vec::new(),
                marks: Vec::new(),
                late: Vec::new(),
                shown: Vec::new(),
                reconstructs: server_recorded || objects.conns == 1,
                completed: timeline.completed,
                contradiction: None,
            },
            checker: Checker::new(scenario, server_recorded),
            server: ServerView::new(scenario, objects.conns),
            server_recorded,
            senders: Senders::new(scenario),
            parts: vec![Vec::new(); objects.slots as usize],
        }
    }

    /// Takes the next event.
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
        if usize::from(merged.stream) < self.senders.threads() {
            self.act(merged.stream, &merged.event);
        }
    }

    /// Whether the message taken now is the one that the last step sent, so that one row can show
    /// both.
    fn answers_last_step(&self, index: usize, conn: ConnId) -> bool {
        let sends_it = |step: &RunStep| match step.event {
            Event::Send {
                conn: on, outcome, ..
            } => on == conn && outcome == SendOutcome::Sent,
            _ => false,
        };
        self.timeline.deciding != Some(index)
            && self.server.has_one_frame(conn)
            && self.history.steps.last().is_some_and(sends_it)
    }

    /// Follows the thread of an event, before the event is noted.
    fn advance(&mut self, merged: &MergedEvent) {
        let thread = usize::from(merged.stream);
        if thread >= self.senders.threads() {
            return;
        }
        if let Event::Open {
            op: Op::Allocate { slot, request, .. },
            ..
        } = merged.event
        {
            self.parts[slot.index()] = vec![None; usize::from(request.parts)];
        }
        // An event outside of its operation is the checker's to report.
        let _ = self.senders.observe(thread, &merged.event);
    }

    /// Begins the step of this event.
    fn begin(&mut self, index: usize, merged: &MergedEvent) {
        let thread = usize::from(merged.stream);
        let position = self.senders.position(thread).unwrap_or_default();
        let of_thread = position.ops > 0;
        let number = self.history.steps.len() + 1;
        let step = RunStep {
            number,
            index,
            stream: merged.stream,
            event: merged.event,
            buffer: self.buffer_at(&position).filter(|_| of_thread),
            position,
            request: of_thread.then(|| self.senders.request(thread)).flatten(),
            taken: Vec::new(),
            holding: self.note_locks(number, merged),
        };
        self.history.steps.push(step);
    }

    fn buffer_at(&self, position: &ThreadPosition) -> Option<BufferId> {
        let parts = self.parts.get(position.slot as usize)?;
        *parts.get(usize::from(position.part))?
    }

    /// The buffer that `thread` has at hand.
    fn buffer_of(&self, thread: u16) -> Option<BufferId> {
        self.buffer_at(&self.senders.position(usize::from(thread))?)
    }

    /// The threads that hold a lock before or after this event.
    fn note_locks(&mut self, number: StepNumber, merged: &MergedEvent) -> Vec<u16> {
        let thread = merged.stream;
        if let Event::Lock { lock, .. } | Event::Shared(SharedEvent::LockShared { lock, .. }) =
            merged.event
        {
            self.history.holds.push(LockHold {
                thread,
                lock,
                from: number,
                to: StepNumber::MAX,
            });
        }
        let holds = &mut self.history.holds;
        let open = |hold: &&mut LockHold| hold.to == StepNumber::MAX;
        let mut holding: Vec<u16> = holds
            .iter_mut()
            .filter(open)
            .map(|hold| hold.thread)
            .collect();
        holding.sort_unstable();
        holding.dedup();
        if let Event::Unlock { lock }
        | Event::Shared(SharedEvent::UnlockShared { lock, .. } | SharedEvent::Wait { lock }) =
            merged.event
            && let Some(hold) = holds
                .iter_mut()
                .filter(open)
                .find(|hold| hold.thread == thread && hold.lock == lock)
        {
            hold.to = number;
        }
        holding
    }

    /// A process was ended, and the system took its buffers back.
    fn kill(&mut self, thread: u16, process: u16) {
        let processes = self.timeline.scenario.processes();
        let step = self.history.steps.len();
        for buffer in &mut self.history.buffers {
            if buffer.thread % processes == process {
                buffer.ended.get_or_insert(BufferEnd { step, thread });
            }
        }
    }

    /// Notes what the step at hand did to the buffer at hand.
    fn act(&mut self, thread: u16, event: &Event) {
        match *event {
            Event::Open {
                op: Op::Allocate { request, .. },
                ..
            } if !request.kind.owns_memory() => self.view(thread),
            Event::Alloc { .. } => self.alloc(thread),
            Event::Free { outcome, .. } => self.free(thread, outcome),
            Event::Publish { .. } => self.deed(thread, DeedKind::Published),
            Event::Check { live: true, .. } | Event::Claim { won: true, .. } => {
                self.deed(thread, DeedKind::Passed);
            }
            Event::MarkDead { .. } => self.deed(thread, DeedKind::MarkedDead),
            Event::Send {
                kind,
                chunk,
                conn,
                outcome,
                ..
            } => self.send(
                thread,
                &SentChunk {
                    kind,
                    chunk,
                    conn,
                    outcome,
                },
            ),
            Event::Shared(SharedEvent::Kill { process }) => self.kill(thread, process),
            Event::Shared(
                SharedEvent::BlockedOnCell { .. } | SharedEvent::BlockedOnNotify { .. },
            ) => self.block(thread, None),
            Event::BlockedOnLock { lock } => self.block(thread, Some(lock)),
            Event::BlockedOnOp { .. } | Event::BlockedOnSend { .. } => self.block(thread, None),
            _ => {}
        }
    }

    /// The step at hand did this to its buffer.
    fn deed(&mut self, thread: u16, kind: DeedKind) {
        let step = self.history.steps.len();
        if let Some(buffer) = self.history.steps.last().and_then(|step| step.buffer) {
            self.history.buffers[buffer]
                .deeds
                .push(Deed { step, thread, kind });
        }
    }

    /// The buffer at hand has an address now.
    fn alloc(&mut self, thread: u16) {
        let index = usize::from(thread);
        let at_hand = (self.senders.position(index)).zip(self.senders.request(index));
        let Some(((position, request), handle)) = at_hand.zip(self.senders.handle(index)) else {
            return;
        };
        let Some(part) = self.parts[position.slot as usize].get_mut(usize::from(position.part))
        else {
            return;
        };
        let buffer = self.history.buffers.len();
        *part = Some(buffer);
        self.history.mixes_memories |= self.history.buffers.iter().any(|other| {
            let place = (other.handle.device, other.handle.address);
            place == (handle.device, handle.address) && other.handle.memory != handle.memory
        });
        self.history.buffers.push(BufferHistory {
            handle,
            circular: request.kind == BufferKind::Circular,
            thread,
            allocated: self.history.steps.len(),
            ended: None,
            deeds: Vec::new(),
        });
        if let Some(step) = self.history.steps.last_mut() {
            step.buffer = Some(buffer);
        }
    }

    /// A buffer that does not own its memory, where a planted mistake tracks it: never live, and
    /// yet messages are about it.
    fn view(&mut self, thread: u16) {
        if self.timeline.scenario.view_address().is_some() {
            self.alloc(thread);
            if let Some(view) = self.buffer_of(thread) {
                self.history.buffers[view].ended = Some(BufferEnd {
                    step: self.history.steps.len(),
                    thread,
                });
            }
        }
    }

    fn free(&mut self, thread: u16, outcome: FreeOutcome) {
        self.deed(thread, DeedKind::Freed(outcome));
        let Some(mine) = self
            .buffer_of(thread)
            .map(|buffer| self.history.buffers[buffer].handle)
        else {
            return;
        };
        let step = self.history.steps.len();
        let live = self.history.buffers.iter_mut().find(|buffer| {
            let place = (
                buffer.handle.device,
                buffer.handle.memory,
                buffer.handle.address,
            );
            buffer.ended.is_none() && place == (mine.device, mine.memory, mine.address)
        });
        if let Some(live) = live.filter(|_| outcome != FreeOutcome::NotAllocated) {
            live.ended = Some(BufferEnd { step, thread });
        }
    }

    fn send(&mut self, thread: u16, sent: &SentChunk) {
        let SentChunk {
            kind,
            chunk,
            conn,
            outcome,
        } = *sent;
        if chunk == 0 || outcome != SendOutcome::Sent {
            self.deed(thread, DeedKind::Sent(kind, outcome));
        }
        if outcome != SendOutcome::Sent || !self.history.reconstructs {
            return;
        }
        let Some(sent) = self.senders.sent(usize::from(thread), kind) else {
            return;
        };
        self.server.write(conn, sent, chunk);
        while !self.server_recorded && self.server.has_frame(conn) {
            self.receive(conn, true);
        }
    }

    /// `thread` could not go on.
    fn block(&mut self, thread: u16, lock: Option<LockId>) {
        let held = |hold: &&LockHold| Some(hold.lock) == lock && hold.to == StepNumber::MAX;
        self.history.blocked.push(BlockedThread {
            step: self.history.steps.len(),
            thread,
            lock,
            holder: self.history.holds.iter().find(held).map(|hold| hold.thread),
        });
    }

    /// The server takes a frame in the step at hand, which sent it itself where `own`.
    fn receive(&mut self, conn: ConnId, own: bool) {
        let taken = self.server.take(conn, own, &self.history.buffers);
        let step = self.history.steps.len();
        for taken in &taken {
            if let Some(buffer) = taken.buffer.filter(|_| !taken.torn) {
                self.history.buffers[buffer].deeds.push(Deed {
                    step,
                    thread: taken.thread,
                    kind: DeedKind::Received(taken.kind, taken.effect),
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

    fn finish(mut self) -> RunHistory {
        if let Some(blocked) = self.history.blocked.last().copied() {
            self.history.marks.push(Mark {
                divergence: Divergence {
                    kind: Kind::Deadlock,
                    device: DeviceId(0),
                    memory: None,
                    address: None,
                    thread: Some(blocked.thread),
                    op: Some(self.senders.op(usize::from(blocked.thread))),
                },
                step: Some(blocked.step),
            });
        } else if self.timeline.completed {
            let known = self.checker.listed().len();
            self.checker.rest();
            self.mark(known, false);
            self.history.late = self.server.flush(&self.history.buffers);
        }
        self.history.contradiction = self.checker.contradiction().map(str::to_owned);
        self.history.shown = self.server.shown();
        self.history
    }
}
