//! What a recorded run shows of messages: those that the server took, in its order, and what it said of each.
//!
//! The truth in the trace is not looked at. Where the server's stream was not recorded, a message counts as taken when it was sent;
//! with several connections that order is a guess, which the note says. Messages that a server holds back until earlier ones have
//! come appear when they take effect.

use super::{Observation, ObserveError, Observed, Seen};
use crate::oracle::Checker;
use crate::oracle::wire::Wire;
use crate::planted::Planted;
use crate::scenario::Scenario;
use crate::server::registry::{Outcome, Registry};
use crate::trace::event::{ConnId, Event, SendOutcome, receive_code};
use crate::trace::file::{RunHeader, SERVER_STREAM, TraceFile};
use crate::trace::import::server_log::Said;
use crate::trace::merge::{Merge, MergeEnd, Merged};
use crate::tracking::Layout;

/// Tells what the run in `trace` shows.
pub(super) fn each(
    trace: &TraceFile,
    header: &RunHeader,
    tell: &mut dyn FnMut(Observation),
) -> Result<Seen, ObserveError> {
    let scenario = &header.scenario;
    let contradiction =
        |error: &dyn std::fmt::Display| ObserveError::Contradiction(error.to_string());
    scenario.check().map_err(|error| contradiction(&error))?;
    let mut merge = Merge::new(trace, scenario.objects(), scenario.transport.chunks);
    let mut run = RunMessages::new(scenario, header.server_recorded);
    while let Some(merged) = merge.next_in_place() {
        run.observe(merged, tell);
    }
    let prefix = match merge.end().map_err(|error| contradiction(&error))? {
        MergeEnd::Complete => None,
        MergeEnd::Prefix { why } => Some(why),
    };
    let complete = prefix.is_none() && trace.end().is_some_and(|end| end.completed);
    run.finish(complete, tell);
    Ok(Seen {
        position_word: "event",
        complete,
        positions: run.events,
        note: prefix.or_else(|| run.note()),
        ..Seen::default()
    })
}

/// Follows the events of a run and tells what they show of messages.
pub(crate) struct RunMessages {
    /// Knows which buffer each thread has at hand.
    checker: Checker,
    wires: Vec<Wire>,
    registry: Registry,
    layout: Layout,
    planted: Option<Planted>,
    threads: usize,
    server_recorded: bool,
    events: u64,
    opened: u16,
}

impl RunMessages {
    /// Before the first event of a run of `scenario`; `server_recorded`: the server's own stream is among the events.
    pub(crate) fn new(scenario: &Scenario, server_recorded: bool) -> RunMessages {
        RunMessages {
            checker: Checker::new(scenario, server_recorded),
            wires: (0..scenario.objects().conns)
                .map(|_| Wire::new(scenario))
                .collect(),
            registry: scenario.registry(),
            layout: scenario.transport.layout,
            planted: scenario.planted,
            threads: usize::from(scenario.threads),
            server_recorded,
            events: 0,
            opened: 0,
        }
    }

    /// Takes the next event of the merged schedule. What contradicts itself is passed over: that is the check's to say.
    pub(crate) fn observe(&mut self, merged: &Merged, tell: &mut dyn FnMut(Observation)) {
        self.events += 1;
        self.checker.observe(merged);
        let thread = usize::from(merged.stream);
        if merged.stream == SERVER_STREAM {
            if let Event::Receive { conn, .. } = merged.event {
                self.receive(conn, tell);
            }
            return;
        }
        if thread >= self.threads {
            return;
        }
        match merged.event {
            Event::Connect { conn } => self.open(conn, tell),
            Event::Send {
                kind,
                chunk,
                conn,
                outcome,
                ..
            } => {
                let Some(sent) = self.checker.sent(thread, kind) else {
                    return;
                };
                match outcome {
                    SendOutcome::Sent => {
                        self.open(conn, tell);
                        let Some(wire) = self.wires.get_mut(usize::from(conn.0)) else {
                            return;
                        };
                        wire.push(sent, chunk);
                        while !self.server_recorded && self.wires[usize::from(conn.0)].has_frame() {
                            self.receive(conn, tell);
                        }
                    }
                    SendOutcome::Dropped if chunk == 0 => {
                        let message = sent.message(self.layout, self.planted);
                        self.tell(Some(conn), Observed::Dropped { message }, tell);
                    }
                    SendOutcome::Dropped | SendOutcome::Failed => {}
                }
            }
            _ => {}
        }
    }

    /// The run has ended; `complete`: with all its threads.
    pub(crate) fn finish(&mut self, complete: bool, tell: &mut dyn FnMut(Observation)) {
        let position = self.events;
        if complete {
            self.registry.flush(&mut |message, outcome| {
                tell(observation(position, None, message, &outcome));
            });
            for conn in 0..self.opened {
                self.tell(Some(ConnId(conn)), Observed::Closed, tell);
            }
        }
    }

    /// What keeps the order of messages from being the server's.
    fn note(&self) -> Option<String> {
        let guessed = !self.server_recorded && self.opened > 1;
        guessed.then(|| {
            "the server's own record is missing: the order between its connections is a guess; use a server that records".to_owned()
        })
    }

    /// Connections up to `conn` are open: those that a run opens before its threads start have no event.
    fn open(&mut self, conn: ConnId, tell: &mut dyn FnMut(Observation)) {
        while self.opened <= conn.0 {
            let opened = ConnId(self.opened);
            self.opened += 1;
            self.tell(Some(opened), Observed::Opened, tell);
        }
    }

    /// The server takes a frame.
    fn receive(&mut self, conn: ConnId, tell: &mut dyn FnMut(Observation)) {
        let Some((sent, torn)) = self.wires.get_mut(usize::from(conn.0)).and_then(Wire::pop) else {
            return;
        };
        let position = self.events;
        match torn {
            Some(None) => self.tell(Some(conn), Observed::UnknownFrame { kind: 0 }, tell),
            Some(Some(message)) => self.apply(position, conn, &message, tell),
            None => self.apply(
                position,
                conn,
                &sent.message(self.layout, self.planted),
                tell,
            ),
        }
    }

    fn apply(
        &mut self,
        position: u64,
        conn: ConnId,
        message: &crate::tracking::Message,
        tell: &mut dyn FnMut(Observation),
    ) {
        self.registry.apply(message, &mut |taken, outcome| {
            if outcome != Outcome::Held {
                tell(observation(position, Some(conn), taken, &outcome));
            }
        });
    }

    fn tell(&self, conn: Option<ConnId>, what: Observed, tell: &mut dyn FnMut(Observation)) {
        tell(Observation {
            position: self.events,
            at_ns: None,
            conn: conn.map(|conn| u32::from(conn.0)),
            what,
        });
    }
}

fn observation(
    position: u64,
    conn: Option<ConnId>,
    message: &crate::tracking::Message,
    outcome: &Outcome,
) -> Observation {
    Observation {
        position,
        at_ns: None,
        conn: conn.map(|conn| u32::from(conn.0)),
        what: Observed::Message {
            message: message.clone(),
            complete: true,
            said: Said::from_code(receive_code(outcome)),
        },
    }
}
