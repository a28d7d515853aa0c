//! The walk over a run whose truth is known: a recorded trace, or a schedule that was run under
//! control. It makes the pictures, and has the oracle beside it, which says what diverges.

mod taken;

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::events::{EventMark, EventRow, EventTable, MOST_LANES};
use super::kinds::{EventWord, Remark};
use super::memory::{LifeNumber, MemoryPictures, Spot};
use super::picture::{DivergenceRow, LaneShown, Picture};
use crate::device::DeviceId;
use crate::numbers::grouped;
use crate::oracle::{Checker, Divergence, Kind, Report};
use crate::registry::{Outcome, Registry};
use crate::scenario::Scenario;
use crate::scenario::objects::{ConnId, LockId, Objects};
use crate::scenario::op::Op;
use crate::trace::event::{Event, FreeOutcome, SendOutcome};
use crate::trace::file::{End, SERVER_STREAM};
use crate::trace::in_flight::InFlight;
use crate::trace::merge::MergedEvent;
use crate::trace::sends::Senders;
use crate::trace::shared_event::SharedEvent;
use crate::tracking::entry::BUFFER_TYPE_NAMES;
use crate::tracking::sent::SentKind;
use crate::tracking::{Layout, Message};

/// Divergences that have a row; more are counted.
pub(crate) const MOST_DIVERGENCES: usize = 2_000;

/// Follows a run.
pub(crate) struct RunWalk<'a> {
    scenario: &'a Scenario,
    objects: Objects,
    layout: Layout,
    server_recorded: bool,
    checker: Checker,
    senders: Senders,
    /// By slot, the life of each part.
    parts: Vec<SmallVec<[LifeNumber; 1]>>,
    wires: Vec<Wire>,
    registry: Registry,
    /// Messages that the server holds back.
    held: FxHashMap<(i32, u64), LifeNumber>,
    events: EventTable,
    memory: MemoryPictures,
    preemptions: &'a [usize],
    deciding: Option<usize>,
    /// The connection that the last event wrote to.
    sent_on: Option<ConnId>,
    rows: Vec<DivergenceRow>,
    last_lives: FxHashMap<u16, LifeNumber>,
    /// The event at hand shows a divergence.
    diverges: bool,
    /// Steps so far, as a text timeline counts them.
    steps: u64,
    /// The last event that says that a thread could not go on.
    waits_at: Option<u32>,
    /// Whether it is known in which order the server took its messages.
    reconstructs: bool,
}

/// What a walk comes to.
pub(crate) struct WalkedRun {
    /// What the oracle says.
    pub(crate) report: Report,
    /// What contradicts itself in the events: then no verdict should be trusted.
    pub(crate) contradiction: Option<String>,
    pub(crate) divergences: Vec<DivergenceRow>,
    pub(crate) picture: Picture,
}

/// What is under way on a connection: its content, and by write the event and life that it is from.
struct Wire {
    content: InFlight,
    from: VecDeque<(u32, LifeNumber)>,
}

impl<'a> RunWalk<'a> {
    /// Before the first of so many events. `preemptions` are the indexes, ascending, of events that
    /// run because of one.
    pub(crate) fn new(
        scenario: &'a Scenario,
        server_recorded: bool,
        events: u64,
        preemptions: &'a [usize],
        deciding: Option<usize>,
    ) -> RunWalk<'a> {
        let objects = scenario.objects();
        RunWalk {
            scenario,
            objects,
            layout: scenario.transport.layout,
            server_recorded,
            checker: Checker::new(scenario, server_recorded).listing(MOST_DIVERGENCES),
            senders: Senders::new(scenario),
            parts: vec![SmallVec::new(); objects.slots as usize],
            wires: InFlight::of_all(scenario)
                .into_iter()
                .map(|content| Wire {
                    content,
                    from: VecDeque::new(),
                })
                .collect(),
            registry: scenario.registry(),
            held: FxHashMap::default(),
            events: EventTable::new(Some(events)),
            memory: MemoryPictures::of_run(scenario.profile.geometries()),
            preemptions,
            deciding,
            sent_on: None,
            rows: Vec::new(),
            last_lives: FxHashMap::default(),
            diverges: false,
            steps: 0,
            waits_at: None,
            reconstructs: server_recorded || objects.conns == 1,
        }
    }

    /// Takes the next event.
    pub(crate) fn observe(&mut self, merged: &MergedEvent) {
        let (known, counted) = (self.checker.listed().len(), self.checker.counted());
        self.checker.observe(merged);
        self.diverges = self.checker.counted() > counted;
        self.memory.tick(self.events.count());
        let on = self.sent_on.take();
        match (merged.stream, &merged.event) {
            (SERVER_STREAM, Event::Receive { conn, code }) => {
                let own = on == Some(*conn)
                    && self.deciding != Some(self.events.count() as usize)
                    && self.has_one_frame(*conn);
                self.receive(*conn, Some(*code), own);
            }
            (SERVER_STREAM, _) => self.push(merged.stream, EventWord::Accept, Remark::None, 0, 0),
            (thread, event) => self.act(thread, event),
        }
        self.note(known);
    }

    /// Ends the walk, as [`Checker::finish`] ends a check.
    pub(crate) fn finish(mut self, end: Option<&End>, prefix: Option<String>) -> WalkedRun {
        let completed = end.is_some_and(|end| end.completed) && prefix.is_none();
        let now = self.events.count();
        if completed {
            let mut late: SmallVec<[(Message, Outcome); 1]> = SmallVec::new();
            self.registry.flush(&mut |message, outcome| {
                late.push((message.clone(), outcome));
            });
            for (message, outcome) in &late {
                let sequence = message.extension.map_or(0, |extension| extension.sequence);
                let life = self.held.remove(&(message.device, sequence)).unwrap_or(0);
                self.effect(now, message, outcome, life);
            }
        }
        let known = self.checker.listed().len();
        let fresh = Checker::new(self.scenario, self.server_recorded);
        let checker = std::mem::replace(&mut self.checker, fresh);
        let contradiction = checker.contradiction().map(str::to_owned);
        let (report, listed) = checker.finish_listed(end, prefix);
        for divergence in &listed[known..] {
            let event = self.waits_at.filter(|_| divergence.kind == Kind::Deadlock);
            let row = self.row(divergence, event);
            self.rows.push(row);
        }
        if self.events.left_out() > 0 {
            // Where events have no rows, events are counted.
            for row in &mut self.rows {
                if let Some(event) = row.event {
                    row.at = format!("event {}", grouped(u64::from(event) + 1));
                }
            }
        }
        let lanes = self.lanes();
        let locks = (0..self.objects.locks())
            .map(|lock| self.objects.lock_name(LockId(lock)))
            .collect();
        WalkedRun {
            report,
            contradiction,
            divergences: self.rows,
            picture: Picture {
                position: "event",
                lanes,
                locks,
                texts: Vec::new(),
                text: None,
                stacks: Vec::new(),
                deciding: self.deciding.map(|index| index as u32),
                left_out: self.events.left_out(),
                events: self.events.pack(),
                memory: self.memory.pack(now, true, self.reconstructs),
            },
        }
    }

    fn lanes(&self) -> Vec<LaneShown> {
        let mut lanes: Vec<LaneShown> = (0..self.scenario.threads)
            .take(MOST_LANES - 1)
            .map(|thread| LaneShown::thread(format!("t{thread}")))
            .collect();
        if usize::from(self.scenario.threads) >= MOST_LANES {
            let last = MOST_LANES - 2;
            lanes[last] = LaneShown::thread(format!("t{last} and on"));
        }
        lanes.push(LaneShown::server());
        lanes
    }

    /// What the checker has found beyond the first `known`.
    fn note(&mut self, known: usize) {
        if !self.diverges {
            return;
        }
        self.events.look_here();
        let found: SmallVec<[Divergence; 2]> =
            self.checker.listed()[known..].iter().copied().collect();
        let index = self.events.count() - 1;
        for divergence in &found {
            let row = self.row(divergence, Some(index));
            self.rows.push(row);
        }
        let lives: SmallVec<[LifeNumber; 4]> = self.last_lives.values().copied().collect();
        for life in lives {
            self.memory.pin(life);
        }
    }

    fn row(&self, divergence: &Divergence, event: Option<u32>) -> DivergenceRow {
        DivergenceRow {
            kind: divergence.kind.name().to_owned(),
            says: divergence.kind.explain().to_owned(),
            event,
            at: match event {
                Some(_) => format!("step {}", grouped(self.steps)),
                None => "at rest".to_owned(),
            },
            space: divergence.memory.map_or_else(
                || format!("device {}", divergence.device),
                |memory| space_name(divergence.device.0, memory.buffer_type()),
            ),
            address: divergence.address.map(|address| format!("{address:#x}")),
            lane: divergence.thread.map(|thread| format!("t{thread}")),
            op: divergence.op,
        }
    }

    fn lane(&self, stream: u16) -> u16 {
        let threads = (self.scenario.threads).min(MOST_LANES as u16 - 1);
        match stream {
            SERVER_STREAM => threads,
            thread => thread.min(threads.saturating_sub(1)),
        }
    }

    fn push(&mut self, stream: u16, word: EventWord, remark: Remark, life: LifeNumber, arg: u32) {
        let index = self.events.count();
        self.push_marked(
            stream,
            word,
            remark,
            life,
            arg,
            EventMark {
                same_step: false,
                diverges: self.diverges,
                preempts: self.preemptions.binary_search(&(index as usize)).is_ok(),
            },
        );
    }

    fn push_marked(
        &mut self,
        stream: u16,
        word: EventWord,
        remark: Remark,
        life: LifeNumber,
        arg: u32,
        mark: EventMark,
    ) {
        self.steps += u64::from(!mark.same_step);
        if life != 0 {
            self.last_lives.insert(stream, life);
        }
        self.events.push(EventRow {
            lane: self.lane(stream),
            word,
            remark,
            life,
            arg,
            position: u64::from(self.events.count()) + 1,
            mark,
        });
    }

    /// Follows a thread up to this event: what it has at hand, and what its process has.
    fn follow(&mut self, thread: u16, event: &Event) {
        if let Event::Open {
            op: Op::Allocate { slot, request, .. },
            ..
        } = *event
        {
            let parts = &mut self.parts[slot.index()];
            parts.clear();
            parts.resize(usize::from(request.parts), 0);
        }
        // An event outside of its operation is the checker's to report.
        let _ = self.senders.observe(usize::from(thread), event);
        if let Event::Open {
            op: Op::Allocate { request, .. },
            ..
        } = event
            && !request.kind.owns_memory()
            && self.scenario.view_address().is_some()
        {
            let life = self.memory.stillborn();
            self.set_life(thread, life);
        }
        if let Event::Open { op: Op::Throw, .. } = event {
            self.registry.process_ended(thread);
        }
        if event.is_blocked() {
            self.waits_at = Some(self.events.count());
        }
    }

    /// A thread's event.
    fn act(&mut self, thread: u16, event: &Event) {
        if usize::from(thread) >= self.senders.threads() {
            return self.push(0, EventWord::Stopped, Remark::None, 0, 0);
        }
        self.follow(thread, event);
        let life = self.life_of(thread);
        let now = self.events.count();
        match *event {
            Event::Open { op, .. } => {
                let (remark, slot) = match op {
                    Op::Allocate { slot, .. } => (Remark::Allocate, slot.0),
                    Op::Release { slot, .. } => (Remark::Release, slot.0),
                    _ => (Remark::Other, 0),
                };
                let life = if remark == Remark::Release { life } else { 0 };
                self.push(thread, EventWord::Open, remark, life, slot);
            }
            Event::Part { part, .. } => {
                self.push(thread, EventWord::Part, Remark::None, life, u32::from(part));
            }
            Event::CloseBuffer { slot, .. } => {
                self.push(thread, EventWord::CloseBuffer, Remark::None, life, slot);
            }
            Event::Vacate { .. } => {
                self.push(thread, EventWord::Vacate, Remark::None, life, 0);
            }
            Event::Lock { lock, .. } => {
                self.push(thread, EventWord::Lock, Remark::None, life, lock.0.into());
            }
            Event::Unlock { lock } => {
                self.push(thread, EventWord::Unlock, Remark::None, life, lock.0.into());
            }
            Event::LockOutOfBounds { .. } => {
                self.push(thread, EventWord::LockOutOfBounds, Remark::None, life, 0);
            }
            Event::Alloc { .. } => {
                let life = self.alloc(thread, now);
                self.push(thread, EventWord::Alloc, Remark::None, life, 0);
            }
            Event::AllocFailed { .. } => {
                self.push(thread, EventWord::AllocFailed, Remark::None, 0, 0);
            }
            Event::Free { outcome, .. } => self.free(thread, life, outcome, now),
            Event::Stamp { sequence, .. } => {
                let number = u32::try_from(sequence).unwrap_or(u32::MAX);
                self.push(thread, EventWord::Stamp, Remark::None, life, number);
            }
            Event::Check { live, .. } => {
                let remark = if live { Remark::Live } else { Remark::NotLive };
                self.push(thread, EventWord::Check, remark, life, 0);
            }
            Event::Claim { won, .. } => {
                let remark = if won { Remark::Won } else { Remark::Lost };
                self.push(thread, EventWord::Claim, remark, life, 0);
            }
            Event::MarkLive { .. } => self.push(thread, EventWord::MarkLive, Remark::None, life, 0),
            Event::MarkDead { .. } => self.push(thread, EventWord::MarkDead, Remark::None, life, 0),
            Event::Publish { .. } => self.push(thread, EventWord::Publish, Remark::None, life, 0),
            Event::ConnRead { .. } | Event::Connect { .. } | Event::ConnStore { .. } => {
                self.push(thread, EventWord::Connection, Remark::None, 0, 0);
            }
            Event::Send {
                kind,
                chunk,
                conn,
                outcome,
                ..
            } => self.send(thread, life, kind, chunk, conn, outcome),
            Event::DebugLog => self.push(thread, EventWord::DebugLog, Remark::None, life, 0),
            Event::BlockedOnLock { lock } => {
                self.push(
                    thread,
                    EventWord::WaitLock,
                    Remark::None,
                    life,
                    lock.0.into(),
                );
            }
            Event::BlockedOnOp { .. } => {
                self.push(thread, EventWord::WaitOp, Remark::None, 0, 0);
            }
            Event::BlockedOnSend { conn } => {
                self.push(
                    thread,
                    EventWord::WaitRoom,
                    Remark::None,
                    life,
                    conn.0.into(),
                );
            }
            Event::Shared(shared) => {
                self.push(thread, shared_word(&shared), Remark::None, life, 0);
            }
            Event::Stopped => self.push(thread, EventWord::Stopped, Remark::None, 0, 0),
            Event::Finish => self.push(thread, EventWord::Finish, Remark::None, 0, 0),
            Event::Accept { .. } | Event::Receive { .. } => {
                self.push(thread, EventWord::Accept, Remark::None, 0, 0);
            }
        }
    }

    /// The life at hand; 0 where there is none.
    fn life_of(&self, thread: u16) -> LifeNumber {
        let position = self.senders.position(usize::from(thread));
        position
            .filter(|position| position.ops > 0)
            .and_then(|position| {
                let parts = self.parts.get(position.slot as usize)?;
                parts.get(usize::from(position.part)).copied()
            })
            .unwrap_or(0)
    }

    fn set_life(&mut self, thread: u16, life: LifeNumber) {
        let Some(position) = self.senders.position(usize::from(thread)) else {
            return;
        };
        let parts = self.parts.get_mut(position.slot as usize);
        if let Some(part) = parts.and_then(|parts| parts.get_mut(usize::from(position.part))) {
            *part = life;
        }
    }

    fn spot(&mut self, device: DeviceId, buffer_type: u8, address: u64) -> Spot {
        let name = || space_name(device.0, buffer_type);
        let space = (self.memory).space(0, i32::from(device.0), buffer_type, name);
        Spot { space, address }
    }

    fn alloc(&mut self, thread: u16, now: u32) -> LifeNumber {
        let Some(handle) = self.senders.handle(usize::from(thread)) else {
            return 0;
        };
        let spot = self.spot(handle.device, handle.memory.buffer_type(), handle.address);
        let lane = self.lane(thread);
        let life = (self.memory).begin(now, spot, handle.size_bytes, lane, 0);
        self.set_life(thread, life);
        life
    }

    fn free(&mut self, thread: u16, life: LifeNumber, outcome: FreeOutcome, now: u32) {
        let remark = match outcome {
            FreeOutcome::Freed => Remark::None,
            FreeOutcome::NotAllocated => Remark::NotAllocated,
            FreeOutcome::FreedAnother => Remark::NotItsOwn,
        };
        let handle = self.senders.handle(usize::from(thread));
        if let (Some(handle), true) = (handle, outcome != FreeOutcome::NotAllocated) {
            let spot = self.spot(handle.device, handle.memory.buffer_type(), handle.address);
            if let Some(live) = self.memory.live_at(spot) {
                self.memory.end(now, live);
            }
        }
        self.push(thread, EventWord::Free, remark, life, 0);
    }

    fn send(
        &mut self,
        thread: u16,
        life: LifeNumber,
        kind: SentKind,
        chunk: u8,
        conn: ConnId,
        outcome: SendOutcome,
    ) {
        let remark = match kind {
            SentKind::Alloc => Remark::Alloc,
            SentKind::Free => Remark::Free,
            SentKind::CbAlloc => Remark::CbAlloc,
            SentKind::CbFree => Remark::CbFree,
        };
        let now = self.events.count();
        let word = match outcome {
            SendOutcome::Sent => EventWord::Send,
            SendOutcome::Dropped => EventWord::Dropped,
            SendOutcome::Failed => EventWord::SendFailed,
        };
        self.push(thread, word, remark, life, conn.0.into());
        if outcome != SendOutcome::Sent {
            return;
        }
        self.sent_on = Some(conn);
        let sent = self.senders.sent(usize::from(thread), kind);
        let Some((sent, wire)) = sent.zip(self.wires.get_mut(usize::from(conn.0))) else {
            return;
        };
        wire.content.push(sent, chunk);
        wire.from.push_back((now, life));
        if !self.server_recorded && self.reconstructs {
            // What the server takes is taken in the step that sends it.
            while self.take(conn, now).is_some() {}
        }
    }
}

/// A space in words.
pub(super) fn space_name(device: u16, buffer_type: u8) -> String {
    let memory = BUFFER_TYPE_NAMES.get(usize::from(buffer_type));
    match memory {
        Some(memory) => format!("device {device} {memory}"),
        None => format!("device {device} type {buffer_type}"),
    }
}

/// The word for a step on what threads share beside locks and allocators.
fn shared_word(event: &SharedEvent) -> EventWord {
    match event {
        SharedEvent::Cell { .. } | SharedEvent::BlockedOnCell { .. } => EventWord::Cell,
        SharedEvent::Ledger { .. } => EventWord::Ledger,
        SharedEvent::Use { .. } => EventWord::Use,
        SharedEvent::LockShared { .. } => EventWord::LockShared,
        SharedEvent::UnlockShared { .. } => EventWord::UnlockShared,
        SharedEvent::TryFailed { .. } => EventWord::TryFailed,
        SharedEvent::Wait { .. } | SharedEvent::BlockedOnNotify { .. } => EventWord::WaitNotified,
        SharedEvent::Notify { .. } => EventWord::Notify,
        SharedEvent::Kill { .. } | SharedEvent::Reclaim { .. } => EventWord::Killed,
        SharedEvent::OutOfRounds => EventWord::OutOfRounds,
    }
}
