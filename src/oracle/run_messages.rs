//! The messages of a recorded run as [`Observation`]s, and the truth that they should lead to: what `replay --to` plays to
//! any server and compares its totals with.
//!
//! A run's trace has no messages, only the steps that sent them: they are read back here by the [`Checker`], which follows
//! the run anyway. It judges nothing; where the trace contradicts itself, there is neither truth nor further message.

use crate::planted::Planted;
use crate::trace::event::{ConnId, Event, SendOutcome};
use crate::trace::file::{RunHeader, SERVER_STREAM};
use crate::trace::import::server_log::Said;
use crate::trace::merge::Merged;
use crate::trace::observation::{Observation, Observed};
use crate::tracking::Layout;

use super::checker::Checker;
use super::wire::Wire;

/// Follows the merged schedule of a run. Positions count its events.
#[derive(Debug)]
pub struct RunMessages {
    layout: Layout,
    planted: Option<Planted>,
    server_recorded: bool,
    threads: usize,
    checker: Checker,
    wires: Vec<Wire>,
    events: u64,
}

/// Bytes that an allocator has live on one device at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveBytes {
    /// Buffers, by memory: DRAM, L1, L1_SMALL, TRACE.
    pub plain: [u64; 4],
    /// Circular buffers, which live in L1.
    pub circular: u64,
}

impl RunMessages {
    /// Before the first event.
    pub fn new(header: &RunHeader) -> RunMessages {
        let scenario = &header.scenario;
        let transport = scenario.transport;
        RunMessages {
            layout: transport.layout,
            planted: scenario.planted,
            server_recorded: header.server_recorded,
            threads: usize::from(scenario.threads),
            checker: Checker::new(scenario, header.server_recorded),
            wires: (0..scenario.objects().conns)
                .map(|_| Wire::new(scenario))
                .collect(),
            events: 0,
        }
    }

    /// Takes the next event; the message that it shows, if any: when the server took it where the trace says so, else when it
    /// was sent.
    pub fn observe(&mut self, merged: &Merged) -> Option<Observation> {
        self.events += 1;
        self.checker.observe(merged);
        let thread = usize::from(merged.stream);
        if self.checker.contradiction().is_some()
            || (thread >= self.threads && merged.stream != SERVER_STREAM)
        {
            return None;
        }
        let (conn, what) = match merged.event {
            Event::Receive { conn, code } => (conn, self.take(conn, Said::from_code(code))?),
            Event::Connect { conn } => (conn, Observed::Opened),
            Event::Send {
                kind,
                chunk,
                conn,
                outcome,
                ..
            } => {
                let sent = self.checker.sent(thread, kind)?;
                match outcome {
                    SendOutcome::Sent => {
                        self.wires.get_mut(usize::from(conn.0))?.push(sent, chunk);
                        if self.server_recorded {
                            return None;
                        }
                        (conn, self.take(conn, None)?)
                    }
                    SendOutcome::Dropped if chunk == 0 => {
                        let message = sent.message(self.layout, self.planted);
                        (conn, Observed::Dropped { message })
                    }
                    SendOutcome::Dropped | SendOutcome::Failed => return None,
                }
            }
            _ => return None,
        };
        Some(Observation {
            position: self.events,
            at_ns: None,
            conn: Some(u32::from(conn.0)),
            what,
        })
    }

    /// What is wrong with the events, where something is.
    pub fn contradiction(&self) -> Option<&str> {
        self.checker.contradiction()
    }

    /// What the allocators have live now, by device.
    pub fn live_bytes(&self, devices: u16) -> Vec<LiveBytes> {
        let mut live = vec![LiveBytes::default(); usize::from(devices)];
        for (origin, circular) in self.checker.live() {
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

    /// Takes a whole frame off a connection, if there is one.
    fn take(&mut self, conn: ConnId, said: Option<Said>) -> Option<Observed> {
        let (sent, torn) = self.wires.get_mut(usize::from(conn.0))?.pop()?;
        let message = match torn {
            None => sent.message(self.layout, self.planted),
            Some(Some(message)) => message,
            // Pieces of several messages that make up none: a type that no message has.
            Some(None) => return Some(Observed::UnknownFrame { kind: 0 }),
        };
        Some(Observed::Message {
            message,
            complete: true,
            said,
        })
    }
}
