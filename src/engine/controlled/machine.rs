//! The machine: a scenario's world, its threads and its server together, one step at a time, and
//! the loop that runs it under a scheduler from the first step to the end.
//!
//! Every step of an actor is one step of the interpreter or one frame that the server takes. What a
//! thread cannot do costs no step and changes nothing. The machine knows which actors were refused
//! and have not been woken since, so that a scheduler is asked about the others only.

use std::sync::Arc;

use thiserror::Error;

use crate::device::ConfigError;
use crate::engine::backend::StopReason;
use crate::engine::code::{Code, SafeSteps};
use crate::engine::step::{Stepped, Thread};
use crate::scenario::Scenario;
use crate::scenario::objects::ConnId;
use crate::scenario::op::{Op, SlotId};
use crate::trace::event::Event;
use crate::trace::file::SERVER_STREAM;
use crate::trace::merge::MergedEvent;

use super::actors::{Actor, Actors};
use super::observe::NoRecording;
use super::reduction::{SafeFor, safe_steps};
use super::schedulers::Scheduler;
use super::server::ControlledServer;
use super::world::{EventSink, ThreadView, World};

/// What all schedules of a scenario share.
#[derive(Debug)]
pub struct Setup {
    /// The scenario.
    pub scenario: Scenario,
    code: Code,
    ops: Vec<Box<[Op]>>,
    connections: u16,
    /// For samplers, and for searches.
    safe: [SafeSteps; 2],
}

/// Why a scenario cannot be explored.
#[derive(Debug, Error)]
pub enum SetupError {
    /// Its devices cannot be built.
    #[error("devices: {0}")]
    Device(#[from] ConfigError),
    /// Schedules name actors by a bit each.
    #[error(
        "{threads} threads and {connections} connections to a server that takes part are more than the {max} actors of a \
         controlled run; give fewer --threads",
        max = Actors::MAX
    )]
    TooManyActors {
        /// Threads.
        threads: u16,
        /// Connections.
        connections: u16,
    },
    /// Its operations would not fit in memory.
    #[error(
        "more than {MAX_OPS} operations in all; a controlled run holds them in memory: give fewer --ops"
    )]
    TooManyOps,
    /// Its slots would not fit in memory as often as they are copied.
    #[error(
        "{0} slots are more than the {MAX_SLOTS} of a controlled run; number them from s0 without gaps"
    )]
    TooManySlots(u32),
}

/// The most slots of a controlled run.
const MAX_SLOTS: u32 = 1 << 16;

/// The most operations of a controlled run, over all threads.
const MAX_OPS: usize = 4_000_000;

impl Setup {
    /// Prepares run `run` of `scenario`, which must have been checked.
    pub fn new(scenario: Scenario, run: u64) -> Result<Arc<Setup>, SetupError> {
        let mut total = 0;
        let mut ops = Vec::new();
        for thread in 0..scenario.threads {
            let of_thread: Box<[Op]> = scenario
                .ops_of(thread, run)
                .take(MAX_OPS + 1 - total)
                .collect();
            total += of_thread.len();
            if total > MAX_OPS {
                return Err(SetupError::TooManyOps);
            }
            ops.push(of_thread);
        }
        let slots = scenario.objects().slots;
        if slots > MAX_SLOTS {
            return Err(SetupError::TooManySlots(slots));
        }
        let connections = ControlledServer::new(&scenario).connections();
        if usize::from(scenario.threads) + usize::from(connections) > Actors::MAX {
            return Err(SetupError::TooManyActors {
                threads: scenario.threads,
                connections,
            });
        }
        World::new(&scenario)?;
        let code = Code::new(&scenario);
        Ok(Arc::new(Setup {
            safe: [SafeFor::Samplers, SafeFor::Searches].map(|whom| match scenario.planted {
                // What other threads do may depend on any step of one with cells or branches.
                None if !scenario.discipline.shares() => {
                    safe_steps(&scenario, &code, &ops, connections > 0, whom)
                }
                _ => SafeSteps::none(&code, scenario.objects().slots),
            }),
            code,
            scenario,
            ops,
            connections,
        }))
    }

    /// Whether a message takes effect as it is sent: the server takes no part in the schedule.
    pub(crate) fn is_served_at_once(&self) -> bool {
        self.connections == 0
    }

    /// The operations of each thread.
    pub fn ops(&self) -> &[Box<[Op]>] {
        &self.ops
    }

    /// Whether one thread alone uses the slot.
    pub(crate) fn is_private(&self, slot: SlotId) -> bool {
        self.safe[SafeFor::Samplers as usize].is_private(slot)
    }

    /// Every actor.
    pub(crate) fn actors(&self) -> Actors {
        Actors::first(self.scenario.threads + self.connections)
    }

    /// The actor of that name, if this scenario has it.
    pub(crate) fn actor_of(&self, name: ActorName) -> Option<Actor> {
        match name {
            ActorName::Thread(thread) => (thread < self.scenario.threads).then_some(Actor(thread)),
            ActorName::Server(conn) => {
                (conn.0 < self.connections).then(|| Actor(self.scenario.threads + conn.0))
            }
        }
    }

    /// An actor's name in schedules: `t0`, or `s0` for the server's taking from connection 0.
    pub(crate) fn name_of(&self, actor: Actor) -> String {
        match actor.0.checked_sub(self.scenario.threads) {
            Some(conn) => format!("s{conn}"),
            None => format!("t{}", actor.0),
        }
    }
}

/// Who an actor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ActorName {
    /// A thread.
    Thread(u16),
    /// The server, taking from a connection.
    Server(ConnId),
}

/// A scenario in the middle of a schedule.
#[derive(Debug)]
pub struct Machine {
    setup: Arc<Setup>,
    world: World,
    server: ControlledServer,
    threads: Vec<Thread>,
    /// How many of its operations each thread has taken up.
    taken: Vec<u32>,
    /// Actors that were not refused since they could last have been let go on.
    ready: Actors,
    /// Threads that have not ended.
    alive: Actors,
    /// Something outside the server that may be a divergence: an address given back twice, a lock
    /// out of bounds.
    alarmed: bool,
    steps: u64,
}

/// How a schedule ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// Every thread has ended, and the server has taken what it was sent.
    Completed,
    /// Nobody can go on.
    Deadlock,
    /// The scheduler gave up, or the schedule came to the most steps allowed.
    CutShort,
}

impl Machine {
    /// Before the first step.
    pub fn new(setup: &Arc<Setup>) -> Machine {
        let scenario = &setup.scenario;
        let threads = scenario.threads;
        Machine {
            world: World::new(scenario).expect("built once in Setup::new"),
            server: ControlledServer::new(scenario),
            threads: (0..threads).map(Thread::new).collect(),
            taken: vec![0; usize::from(threads)],
            ready: Actors::first(threads),
            alive: Actors::first(threads),
            alarmed: false,
            steps: 0,
            setup: Arc::clone(setup),
        }
    }

    /// Back to before the first step.
    pub fn reset(&mut self) {
        let threads = self.setup.scenario.threads;
        self.world.reset(threads);
        self.server.reset();
        for (index, thread) in (0..).zip(&mut self.threads) {
            *thread = Thread::new(index);
        }
        self.taken.fill(0);
        self.ready = Actors::first(threads);
        self.alive = Actors::first(threads);
        self.alarmed = false;
        self.steps = 0;
    }

    /// Runs from here to the end under `scheduler`, at most `max_steps` steps. Where the scheduler
    /// fuses, it is not asked before a safe step: whoever took the last one goes on.
    #[inline]
    pub fn run<S: Scheduler, R: EventSink>(
        &mut self,
        scheduler: &mut S,
        record: &mut R,
        max_steps: u64,
    ) -> RunEnd {
        let mut current = None;
        loop {
            if self.ready.is_empty() {
                return self.finish(record);
            }
            if self.steps >= max_steps || self.world.is_cut() {
                return RunEnd::CutShort;
            }
            let Some(actor) = scheduler.pick(self.ready, current) else {
                // A schedule that was recorded to its end says nothing of those who were refused
                // for good.
                if self.ready.into_iter().any(|actor| self.can_step(actor)) {
                    return RunEnd::CutShort;
                }
                return self.finish(record);
            };
            if self.advance::<R>(actor, record, S::FUSES, max_steps, |actor| {
                scheduler.took(actor)
            }) {
                current = Some(actor);
            }
        }
    }

    /// Lets `actor` take a step; `false`: it cannot, and nothing has changed.
    #[inline]
    pub(crate) fn step<R: EventSink>(&mut self, actor: Actor, record: &mut R) -> bool {
        self.advance(actor, record, false, u64::MAX, |_| {})
    }

    /// Whether `actor` could take a step now.
    pub(crate) fn can_step(&self, actor: Actor) -> bool {
        self.ready.contains(actor) && self.clone().step(actor, &mut NoRecording)
    }

    /// Lets `actor` take a step and, where it `fuses`, all safe ones after it; tells `took` of
    /// each.
    #[inline]
    fn advance<R: EventSink>(
        &mut self,
        actor: Actor,
        record: &mut R,
        fuses: bool,
        max_steps: u64,
        mut took: impl FnMut(Actor),
    ) -> bool {
        let index = usize::from(actor.0);
        let Some(thread) = self.threads.get_mut(index) else {
            let served = self.serve(actor, record);
            if served {
                took(actor);
            }
            return served;
        };
        let setup = &*self.setup;
        let safe = &setup.safe[SafeFor::Samplers as usize];
        let mut hand = ThreadView {
            world: &mut self.world,
            thread: actor.0,
            ops: &mut Ops {
                ops: &setup.ops[index],
                taken: &mut self.taken[index],
            },
            record: &mut Watch {
                record,
                alarmed: &mut self.alarmed,
            },
            network: &mut self.server,
            stop: None,
        };
        let mut steps = self.steps;
        loop {
            match thread.step(&setup.code, &mut hand) {
                Stepped::Ran => {}
                Stepped::Blocked => {
                    self.ready.remove(actor);
                    break;
                }
                Stepped::Finished => {
                    self.ready.remove(actor);
                    self.alive.remove(actor);
                    steps += 1;
                    took(actor);
                    break;
                }
            }
            steps += 1;
            took(actor);
            if !fuses || steps >= max_steps || !thread.is_safe(safe, || hand.ops.upcoming()) {
                break;
            }
        }
        let ran = steps > self.steps;
        self.steps = steps;
        if let Some(process) = self.world.take_killed() {
            self.kill(process);
        }
        self.ready
            .add(self.world.take_woken() | self.server.take_woken());
        ran
    }

    /// Ends the threads of a process, wherever they are.
    #[cold]
    fn kill(&mut self, process: u16) {
        let processes = self.setup.scenario.processes();
        for actor in self.alive {
            if actor.0 % processes != process {
                continue;
            }
            if let Some(thread) = self.threads.get_mut(usize::from(actor.0)) {
                thread.kill();
                self.world.forget_thread(actor.0);
                self.ready.remove(actor);
                self.alive.remove(actor);
            }
        }
    }

    fn serve<R: EventSink>(&mut self, actor: Actor, record: &mut R) -> bool {
        let conn = ConnId(actor.0 - self.setup.scenario.threads);
        let Some(code) = self.server.receive(conn, &self.world) else {
            self.ready.remove(actor);
            return false;
        };
        self.steps += 1;
        record.record(SERVER_STREAM, &Event::Receive { conn, code });
        self.ready.add(self.server.take_woken());
        if !self.server.has_frame(conn) {
            self.ready.remove(actor);
        }
        true
    }

    /// Ends a run in which nobody can go on: all have ended, or else those that have not are waits
    /// to, and say what they waited for.
    pub(crate) fn finish<R: EventSink>(&mut self, record: &mut R) -> RunEnd {
        if self.alive.is_empty() {
            return RunEnd::Completed;
        }
        let mut events: Vec<MergedEvent> = Vec::new();
        for actor in self.alive {
            let index = usize::from(actor.0);
            let mut hand = ThreadView {
                world: &mut self.world,
                thread: actor.0,
                ops: &mut Ops {
                    ops: &self.setup.ops[index],
                    taken: &mut self.taken[index],
                },
                record: &mut events,
                network: &mut self.server,
                stop: Some(StopReason::Deadlock),
            };
            self.threads[index].step(&self.setup.code, &mut hand);
        }
        // What each waits for comes before the first lets go of what another waits for.
        let (waits, rest): (Vec<MergedEvent>, Vec<MergedEvent>) = events
            .into_iter()
            .partition(|merged| merged.event.is_blocked());
        for MergedEvent { stream, event } in waits.iter().chain(&rest) {
            record.record(*stream, event);
        }
        self.alive = Actors::default();
        RunEnd::Deadlock
    }

    /// Whether the next step of `actor` is safe: no other that could go first depends on it (see
    /// [`super::reduction`]).
    #[inline]
    pub(crate) fn is_safe(&self, actor: Actor) -> bool {
        let index = usize::from(actor.0);
        self.threads.get(index).is_some_and(|thread| {
            let upcoming = || self.setup.ops[index].get(self.taken[index] as usize);
            thread.is_safe(&self.setup.safe[SafeFor::Searches as usize], upcoming)
        })
    }

    /// Whether something may have diverged so far; what stands at rest apart.
    #[inline]
    pub fn alarmed(&self) -> bool {
        self.alarmed || self.server.alarmed() || self.world.shared_alarm()
    }

    /// Forgets the alarm.
    pub(crate) fn clear_alarm(&mut self) {
        self.alarmed = false;
        self.server.clear_alarm();
        self.world.clear_shared_alarm();
    }

    /// Whether, now that all have ended, the server's picture may differ from what is live.
    #[inline]
    pub fn differs_at_rest(&self) -> bool {
        // What cells and ledgers must agree with is the oracle's to say.
        self.world.shared().is_some() || self.server.differs_at_rest(&self.world)
    }

    /// Buffers that are live.
    pub(crate) fn live(&self) -> usize {
        self.world
            .devices()
            .iter()
            .map(crate::device::Device::live)
            .sum()
    }

    /// Actors that were not refused since they could last have been let go on.
    pub(crate) fn ready(&self) -> Actors {
        self.ready
    }

    /// Steps so far.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// What all schedules share.
    pub(crate) fn setup(&self) -> &Arc<Setup> {
        &self.setup
    }

    /// The threads.
    pub(crate) fn threads(&self) -> &[Thread] {
        &self.threads
    }

    /// How many of its operations a thread has begun or, where it is between two, taken up.
    pub(crate) fn taken(&self, thread: usize) -> u32 {
        self.taken[thread]
    }

    /// The world.
    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// The server.
    pub(crate) fn server(&self) -> &ControlledServer {
        &self.server
    }
}

impl Clone for Machine {
    fn clone(&self) -> Machine {
        Machine {
            setup: Arc::clone(&self.setup),
            world: self.world.clone(),
            server: self.server.clone(),
            threads: self.threads.clone(),
            taken: self.taken.clone(),
            ..*self
        }
    }

    /// Keeps the memory that it has: the search clones all the time.
    fn clone_from(&mut self, source: &Machine) {
        // It is the same one mostly, and its count of owners is every worker's.
        if !Arc::ptr_eq(&self.setup, &source.setup) {
            self.setup.clone_from(&source.setup);
        }
        self.world.clone_from(&source.world);
        self.server.clone_from(&source.server);
        self.threads.clone_from(&source.threads);
        self.taken.clone_from(&source.taken);
        self.ready = source.ready;
        self.alive = source.alive;
        self.alarmed = source.alarmed;
        self.steps = source.steps;
    }
}

/// A thread's operations, from the next one on.
struct Ops<'a> {
    ops: &'a [Op],
    taken: &'a mut u32,
}

impl Ops<'_> {
    /// The next one, which is not taken yet.
    #[inline]
    fn upcoming(&self) -> Option<&Op> {
        self.ops.get(*self.taken as usize)
    }
}

impl Iterator for Ops<'_> {
    type Item = Op;

    #[inline]
    fn next(&mut self) -> Option<Op> {
        let op = self.ops.get(*self.taken as usize)?;
        *self.taken += 1;
        Some(*op)
    }
}

/// Passes events on, and raises the alarm for those that are divergences by themselves.
struct Watch<'a, R> {
    record: &'a mut R,
    alarmed: &'a mut bool,
}

impl<R: EventSink> EventSink for Watch<'_, R> {
    #[inline]
    fn record(&mut self, stream: u16, event: &Event) {
        use crate::trace::event::FreeOutcome;
        match event {
            Event::Free { outcome, .. } => *self.alarmed |= *outcome != FreeOutcome::Freed,
            Event::LockOutOfBounds { .. } => *self.alarmed = true,
            _ => {}
        }
        self.record.record(stream, event);
    }
}
