//! Replay: the merged schedule of a recorded trace, run again in a controlled world.
//!
//! Every event must come out again exactly: every address, version, status, outcome and message;
//! then the registry that is fed with the same messages must take each as the server did. What the
//! world cannot decide, whether the kernel had room for a message, is taken from the recording. The
//! first event that differs ends the replay.

use std::collections::VecDeque;

use thiserror::Error;

use crate::device::ConfigError;
use crate::engine::backend::Outgoing;
use crate::engine::code::Code;
use crate::engine::step::{Stepped, Thread};
use crate::oracle::{CheckError, Checker, Report};
use crate::scenario::op::Op;
use crate::trace::event::{Event, SendOutcome};
use crate::trace::file::{Header, SERVER_STREAM, TraceFile};
use crate::trace::merge::{Merge, MergeEnd, MergedEvent};
use crate::trace::shared_event::SharedEvent;
use crate::tracking::sent::Handle;

use super::machine::ActorName;
use super::world::{EventSink, Network, ThreadView, World};

/// What a replay showed.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Events that came out as recorded.
    pub events: u64,
    /// Changes of the running thread where the one before could have gone on.
    pub preemptions: u64,
    /// What the oracle says of the events that came out.
    pub report: Report,
}

/// Why a replay is not the run that was recorded.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The trace cannot be read as a run.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The devices cannot be built.
    #[error("devices: {0}")]
    Device(#[from] ConfigError),
    /// Something else happened.
    #[error("event {number} (thread {thread}): recorded {recorded:?}, replayed {replayed}")]
    Differs {
        /// Which event of the merged schedule, from 1.
        number: u64,
        /// Whose.
        thread: u16,
        /// What was recorded.
        recorded: Box<Event>,
        /// What came out.
        replayed: String,
    },
}

/// A network of which the recording says what becomes of each write.
struct RecordedOutcome(SendOutcome);

impl Network for RecordedOutcome {
    fn send(
        &mut self,
        _world: &World,
        _thread: u16,
        _handle: &Handle,
        _chunk: &Outgoing,
    ) -> Option<SendOutcome> {
        Some(self.0)
    }
}

impl EventSink for VecDeque<Event> {
    fn record(&mut self, _stream: u16, event: &Event) {
        self.push_back(*event);
    }
}

/// Replays `trace`. `progress` is told the number of events from time to time.
pub fn replay(trace: &TraceFile, progress: impl FnMut(u64)) -> Result<Replayed, ReplayError> {
    replay_trace(trace, progress, |_| {})
}

/// Replays `trace`, and tells `note` who took each step.
pub(crate) fn replay_noting(
    trace: &TraceFile,
    note: impl FnMut(ActorName),
) -> Result<Replayed, ReplayError> {
    replay_trace(trace, |_| {}, note)
}

fn replay_trace(
    trace: &TraceFile,
    mut progress: impl FnMut(u64),
    mut note: impl FnMut(ActorName),
) -> Result<Replayed, ReplayError> {
    const PROGRESS_EVENTS: u64 = 1 << 20;
    let Header::Run(header) = trace.header() else {
        return Err(CheckError::NoEvents.into());
    };
    let scenario = &header.scenario;
    scenario.check().map_err(CheckError::from)?;
    let mut world = World::new(scenario)?;
    world.unbound_loops();
    let mut stage = Stage {
        world,
        code: Code::new(scenario),
        actors: (0..scenario.threads)
            .map(|thread| Actor {
                thread: Thread::new(thread),
                ops: scenario.ops_of(thread, header.run),
                events: VecDeque::new(),
                stopped: false,
            })
            .collect(),
        cut_short: trace.end().is_none_or(|end| !end.completed),
        letting_go: false,
    };
    let mut merge = Merge::new(trace, header);
    let mut checker = Checker::new(scenario, header.server_recorded);
    let (mut events, mut preemptions) = (0, 0);
    let mut last: Option<u16> = None;
    while let Some(merged) = merge.next_event() {
        events += 1;
        // That is a part of the end of a process, in which it has been done.
        let is_of_kill = matches!(merged.event, Event::Shared(SharedEvent::Reclaim { .. }));
        if merged.stream != SERVER_STREAM && !is_of_kill {
            if stage.play(events, &merged)? {
                note(ActorName::Thread(merged.stream));
            }
            preemptions +=
                u64::from(last.is_some_and(|last| last != merged.stream && !stage.has_ended(last)));
            last = Some(merged.stream);
        } else if let Event::Receive { conn, .. } = merged.event {
            note(ActorName::Server(conn));
        }
        checker.observe(&merged);
        if events.is_multiple_of(PROGRESS_EVENTS) {
            progress(events);
        }
    }
    let prefix = match merge.end().map_err(CheckError::from)? {
        MergeEnd::Complete => None,
        MergeEnd::Prefix { why } => Some(why),
    };
    if let Some(why) = checker.contradiction() {
        return Err(CheckError::Events(why.to_owned()).into());
    }
    Ok(Replayed {
        events,
        preemptions,
        report: checker.finish(trace.end(), prefix),
    })
}

/// The world and everyone in it.
struct Stage {
    world: World,
    code: Code,
    actors: Vec<Actor>,
    /// The run was given up: threads ended where they were.
    cut_short: bool,
    /// A thread was told to end and releases what it holds: others may find free what they waited
    /// for.
    letting_go: bool,
}

/// A thread, with what it did and the recording has not come to yet.
struct Actor {
    thread: Thread,
    ops: Box<dyn Iterator<Item = Op> + Send>,
    events: VecDeque<Event>,
    /// It was told to end.
    stopped: bool,
}

impl Stage {
    /// Lets the thread of `recorded` do its next step, which must be just that. Whether it was a
    /// step of its own, and not more of the one before.
    fn play(&mut self, number: u64, recorded: &MergedEvent) -> Result<bool, ReplayError> {
        let differs = |replayed: String| ReplayError::Differs {
            number,
            thread: recorded.stream,
            recorded: Box::new(recorded.event),
            replayed,
        };
        let Some(actor) = self.actors.get_mut(usize::from(recorded.stream)) else {
            return Err(differs("no such thread".to_owned()));
        };
        if self.cut_short
            && actor.events.is_empty()
            && let Some(result) = self.end_early(recorded)
        {
            return result.map(|()| false).map_err(differs);
        }
        let actor = &mut self.actors[usize::from(recorded.stream)];
        let steps = actor.events.is_empty();
        if steps {
            let stepped = self.step(recorded);
            let actor = &mut self.actors[usize::from(recorded.stream)];
            if actor.events.is_empty() {
                return Err(differs(format!("nothing: {stepped:?}")));
            }
        }
        if let Some(process) = self.world.take_killed() {
            self.bury(process);
        }
        let actor = &mut self.actors[usize::from(recorded.stream)];
        match actor.events.pop_front() {
            Some(event) if event == recorded.event => Ok(steps),
            Some(event) => Err(differs(format!("{event:?}"))),
            None => Err(differs("nothing".to_owned())),
        }
    }

    /// The threads of a process that was ended are no more.
    fn bury(&mut self, process: u16) {
        for (thread, actor) in (0..).zip(&mut self.actors) {
            if thread % self.code.processes == process && !actor.thread.has_ended() {
                actor.thread.kill();
                self.world.forget_thread(thread);
            }
        }
    }

    fn step(&mut self, recorded: &MergedEvent) -> Stepped {
        let actor = &mut self.actors[usize::from(recorded.stream)];
        let mut hand = ThreadView {
            world: &mut self.world,
            thread: recorded.stream,
            ops: &mut actor.ops,
            record: &mut actor.events,
            network: &mut RecordedOutcome(match recorded.event {
                Event::Send { outcome, .. } => outcome,
                _ => SendOutcome::Sent,
            }),
            stop: None,
        };
        actor.thread.step(&self.code, &mut hand)
    }

    /// What a thread does that was told to end, or that sees between two operations that the run is
    /// over. `None`: this event is not of that sort.
    fn end_early(&mut self, recorded: &MergedEvent) -> Option<Result<(), String>> {
        let index = usize::from(recorded.stream);
        match recorded.event {
            // Until the first thread lets go of its locks, that a thread cannot go on must come out
            // again.
            event if event.is_blocked() && !self.letting_go => match self.step(recorded) {
                Stepped::Blocked => {}
                other => return Some(Err(format!("it could go on: {other:?}"))),
            },
            event if event.is_blocked() => {}
            Event::Stopped => {
                self.actors[index].stopped = true;
                self.letting_go = true;
            }
            Event::Unlock { lock } if self.actors[index].stopped => self.world.release(lock),
            Event::Shared(SharedEvent::UnlockShared { lock, .. }) if self.actors[index].stopped => {
                self.world.give_back_shared(lock, recorded.stream);
            }
            Event::Finish if !self.actors[index].thread.has_ended() => {
                self.world.give_up(recorded.stream);
            }
            _ => return None,
        }
        Some(Ok(()))
    }

    fn has_ended(&self, thread: u16) -> bool {
        self.actors[usize::from(thread)].thread.has_ended()
    }
}
