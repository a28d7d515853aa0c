//! What a recorded run shows of messages: those that the server took, in its order, and what it
//! answered to each.
//!
//! Where the server's stream was not recorded, a message counts as taken when it was sent; with
//! several connections that order is a guess, which [`Seen::order`] says. A message that the server
//! holds back until earlier ones have come appears when it was received, and once more when it
//! takes effect.

use std::ops::ControlFlow;

use super::{LiveBytes, ObserveError, Seen, Visit};
use crate::oracle::{CheckError, Checker};
use crate::planted::Planted;
use crate::registry::{Outcome, Registry};
use crate::scenario::Scenario;
use crate::scenario::objects::ConnId;
use crate::trace::event::{Event, SendOutcome, receive_code};
use crate::trace::file::{RunHeader, SERVER_STREAM, TraceFile};
use crate::trace::in_flight::InFlight;
use crate::trace::merge::{Merge, MergeEnd, MergedEvent};
use crate::trace::observation::{Observation, Observed, ServerAnswer};
use crate::trace::sends::Senders;
use crate::tracking::{Layout, Message};

/// Visits what the run in `trace` shows.
pub(super) fn each(
    trace: &TraceFile,
    header: &RunHeader,
    visit: &mut Visit,
) -> Result<Seen, ObserveError> {
    let scenario = &header.scenario;
    scenario.check().map_err(CheckError::from)?;
    let mut merge = Merge::new(trace, header);
    let mut run = RunMessages::new(scenario, header.server_recorded);
    let mut checker = Checker::new(scenario, header.server_recorded);
    let mut flow = ControlFlow::Continue(());
    let mut push = |observation| {
        if flow.is_continue() {
            flow = visit(observation);
        }
        flow.is_break()
    };
    let mut stopped = false;
    while !stopped && let Some(merged) = merge.next_in_place() {
        checker.observe(merged);
        run.observe(merged, &mut |observation| stopped |= push(observation));
    }
    if let Some(why) = checker.contradiction() {
        return Err(CheckError::Events(why.to_owned()).into());
    }
    let damage = match merge.end() {
        _ if stopped => None,
        Ok(MergeEnd::Complete) => None,
        Ok(MergeEnd::Prefix { why }) => Some(why),
        Err(contradiction) => return Err(CheckError::from(contradiction).into()),
    };
    let complete = !stopped && damage.is_none() && trace.end().is_some_and(|end| end.completed);
    if complete {
        run.finish(&mut |observation| {
            push(observation);
        });
    }
    Ok(Seen {
        position_word: "event",
        complete,
        positions: run.events,
        damage,
        order: run.order(),
        frames: Some(run.frames),
        truth: complete.then(|| live_bytes(&checker, scenario.devices)),
        ..Seen::default()
    })
}

/// What the allocators have live, by device.
fn live_bytes(checker: &Checker, devices: u16) -> Vec<LiveBytes> {
    let mut live = vec![LiveBytes::default(); usize::from(devices)];
    for (origin, circular) in checker.live() {
        let Some(on) = live.get_mut(usize::from(origin.device.0)) else {
            continue;
        };
        let bytes = if circular {
            &mut on.circular
        } else {
            &mut on.plain[origin.memory as usize]
        };
        *bytes = bytes.wrapping_add(origin.size_bytes);
    }
    live
}

/// Follows the events of a run and reports what they show of messages. Positions count events.
#[derive(Debug)]
pub(crate) struct RunMessages {
    senders: Senders,
    wires: Vec<InFlight>,
    registry: Registry,
    layout: Layout,
    planted: Option<Planted>,
    server_recorded: bool,
    events: u64,
    frames: u64,
    /// Connections that were opened.
    opened: u16,
}

impl RunMessages {
    /// Before the first event of a run of `scenario`; `server_recorded`: the server's own stream is
    /// among the events.
    pub(crate) fn new(scenario: &Scenario, server_recorded: bool) -> RunMessages {
        RunMessages {
            senders: Senders::new(scenario),
            wires: InFlight::of_all(scenario),
            registry: scenario.registry(),
            layout: scenario.transport.layout,
            planted: scenario.planted,
            server_recorded,
            events: 0,
            frames: 0,
            opened: 0,
        }
    }

    /// Takes the next event of the merged schedule. What contradicts itself is passed over: the
    /// checker says that.
    pub(crate) fn observe(&mut self, merged: &MergedEvent, sink: &mut dyn FnMut(Observation)) {
        self.events += 1;
        if merged.stream == SERVER_STREAM {
            if let Event::Receive { conn, .. } = merged.event {
                self.receive(conn, sink);
            }
            return;
        }
        let thread = usize::from(merged.stream);
        if thread >= self.senders.threads() || self.senders.observe(thread, &merged.event).is_err()
        {
            return;
        }
        match merged.event {
            Event::Connect { conn } => self.open(conn, sink),
            Event::Send {
                kind,
                chunk,
                conn,
                outcome,
                ..
            } => {
                let Some(sent) = self.senders.sent(thread, kind) else {
                    return;
                };
                match outcome {
                    SendOutcome::Sent => {
                        self.open(conn, sink);
                        let Some(wire) = self.wires.get_mut(usize::from(conn.0)) else {
                            return;
                        };
                        wire.push(sent, chunk);
                        while !self.server_recorded && self.wires[usize::from(conn.0)].has_frame() {
                            self.receive(conn, sink);
                        }
                    }
                    SendOutcome::Dropped if chunk == 0 => {
                        let message = sent.message(self.layout, self.planted);
                        sink(self.seen(Some(conn), Observed::Dropped { message }));
                    }
                    SendOutcome::Dropped | SendOutcome::Failed => {}
                }
            }
            _ => {}
        }
    }

    /// The run has ended with all its threads.
    pub(crate) fn finish(&mut self, sink: &mut dyn FnMut(Observation)) {
        let position = self.events;
        self.registry.flush(&mut |message, outcome| {
            sink(took_effect(position, None, message, &outcome));
        });
        for conn in 0..self.opened {
            sink(self.seen(Some(ConnId(conn)), Observed::Closed));
        }
    }

    /// What keeps the order of messages from being the server's.
    fn order(&self) -> Option<&'static str> {
        let guessed = !self.server_recorded && self.opened > 1;
        guessed.then_some(
            "the server's own record is missing: the order between its connections is a guess; use a server that records",
        )
    }

    /// Connections up to `conn` are open: those that a run opens before its threads start have no
    /// event.
    fn open(&mut self, conn: ConnId, sink: &mut dyn FnMut(Observation)) {
        while self.opened <= conn.0 {
            let opened = ConnId(self.opened);
            self.opened += 1;
            sink(self.seen(Some(opened), Observed::Opened));
        }
    }

    /// The server takes a frame.
    fn receive(&mut self, conn: ConnId, sink: &mut dyn FnMut(Observation)) {
        let Some(frame) = (self.wires.get_mut(usize::from(conn.0))).and_then(InFlight::pop) else {
            return;
        };
        self.frames += 1;
        if frame.is_torn() {
            sink(self.seen(Some(conn), Observed::MixedFrame));
        }
        match frame.message(self.layout, self.planted) {
            Some(message) => self.apply(conn, &message, sink),
            None => sink(self.seen(Some(conn), Observed::UnknownFrame { kind: 0 })),
        }
    }

    fn apply(&mut self, conn: ConnId, message: &Message, sink: &mut dyn FnMut(Observation)) {
        let position = self.events;
        let mut received = false;
        self.registry.apply(message, &mut |taken, outcome| {
            let first = !std::mem::replace(&mut received, true);
            sink(match first {
                true => Observation {
                    position,
                    at_ns: None,
                    conn: Some(u32::from(conn.0)),
                    what: Observed::Message {
                        message: taken.clone(),
                        complete: true,
                        server_answer: answer(&outcome),
                    },
                },
                false => took_effect(position, Some(conn), taken, &outcome),
            });
        });
    }

    fn seen(&self, conn: Option<ConnId>, what: Observed) -> Observation {
        Observation {
            position: self.events,
            at_ns: None,
            conn: conn.map(|conn| u32::from(conn.0)),
            what,
        }
    }
}

fn took_effect(
    position: u64,
    conn: Option<ConnId>,
    message: &Message,
    outcome: &Outcome,
) -> Observation {
    Observation {
        position,
        at_ns: None,
        conn: conn.map(|conn| u32::from(conn.0)),
        what: Observed::TookEffect {
            message: message.clone(),
            server_answer: answer(outcome),
        },
    }
}

fn answer(outcome: &Outcome) -> Option<ServerAnswer> {
    ServerAnswer::from_code(receive_code(outcome))
}
