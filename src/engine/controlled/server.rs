//! The server of a controlled run and the way to it: connections with their real semantics, as
//! plain data, and the registry that real servers run.
//!
//! Where the server's timing cannot matter (one connection without bounds), it is *inlined*: it
//! takes each frame the moment that the last chunk is written. Otherwise it is a *participant*:
//! each connection is an actor of the schedule that takes one whole frame a step, so that the
//! mutual order of connections is free and a bounded connection fills up.
//!
//! The server also keeps watch: [`ControlledServer::alarmed`] says that something *may* have
//! diverged. It never stays silent where the oracle would find a divergence; what an alarm is
//! worth, the oracle says, over the recorded events of the same schedule.

use crate::device::{Device, Memory};
use crate::engine::backend::Outgoing;
use crate::planted::Planted;
use crate::registry::{Outcome, Registry};
use crate::scenario::objects::ConnId;
use crate::scenario::{Connections, Scenario};
use crate::trace::event::{ReceiveCode, SendOutcome, receive_code};
use crate::trace::in_flight::InFlight;
use crate::trace::sends::Sent;
use crate::tracking::entry::{Class, Entry};
use crate::tracking::sent::Handle;
use crate::tracking::transport::SendMode;
use crate::tracking::{Layout, Message};

use super::world::{Network, World};

/// The server, with what is under way to it.
#[derive(Debug)]
pub(crate) struct ControlledServer {
    registry: Registry,
    wires: Vec<InFlight>,
    way: Way,
    now: Now,
}

/// How messages travel: the same for the whole run.
#[derive(Clone, Copy, Debug)]
struct Way {
    layout: Layout,
    mode: SendMode,
    /// Writes that a connection holds.
    room: usize,
    inlined: bool,
    /// Writes that it takes for a frame.
    per_frame: u8,
    planted: Option<Planted>,
    /// How many messages the server takes before it stops reading.
    reads: u64,
    first_actor: u16,
}

/// What changes from message to message.
#[derive(Clone, Copy, Debug, Default)]
struct Now {
    messages: u64,
    alarmed: bool,
    received: Option<(ConnId, ReceiveCode)>,
    /// Threads that wait for room, a bit each.
    waiters: u64,
    /// Threads for which there may be room now, and connections (see
    /// [`ControlledServer::connections`]) that may have a frame.
    woken: u64,
}

impl ControlledServer {
    /// The server of a scenario, before the first message.
    pub(crate) fn new(scenario: &Scenario) -> ControlledServer {
        let transport = &scenario.transport;
        let frame_bytes = transport.layout.frame_bytes() as u64;
        let room = match u64::from(transport.send_buffer_bytes) {
            0 => usize::MAX,
            bytes => usize::from(transport.chunks) * (bytes / frame_bytes).max(1) as usize,
        };
        let stops = scenario.server.stops_after;
        let inlined = transport.connections == Connections::Shared
            && room == usize::MAX
            && stops.is_none()
            && scenario.planted != Some(Planted::PartialRead);
        ControlledServer {
            registry: scenario.registry(),
            wires: InFlight::of_all(scenario),
            way: Way {
                layout: transport.layout,
                mode: transport.mode,
                room,
                inlined,
                per_frame: scenario.writes_per_frame(),
                planted: scenario.planted,
                reads: stops.unwrap_or(u64::MAX),
                first_actor: scenario.threads,
            },
            now: Now::default(),
        }
    }

    /// Back to before the first message.
    pub(crate) fn reset(&mut self) {
        self.registry.clear();
        self.wires.iter_mut().for_each(InFlight::clear);
        self.now = Now::default();
    }

    /// Connections that are actors of the schedule; none where the server is inlined.
    pub(crate) fn connections(&self) -> u16 {
        if self.way.inlined {
            0
        } else {
            self.wires.len() as u16
        }
    }

    /// Whether the server would take a frame off the connection.
    pub(crate) fn has_frame(&self, conn: ConnId) -> bool {
        self.now.messages < self.way.reads && self.wires[usize::from(conn.0)].has_frame()
    }

    /// Takes one whole frame off a connection. `None`: there is none, or the server has stopped.
    pub(crate) fn receive(&mut self, conn: ConnId, world: &World) -> Option<ReceiveCode> {
        if !self.has_frame(conn) {
            return None;
        }
        let code = self.take_frame(conn, world.devices());
        self.now.woken |= std::mem::take(&mut self.now.waiters);
        Some(code)
    }

    /// See [`World::take_woken`]; a connection's bit follows those of the threads.
    #[inline]
    pub(crate) fn take_woken(&mut self) -> u64 {
        std::mem::take(&mut self.now.woken)
    }

    /// Whether something may have diverged.
    #[inline]
    pub(crate) fn alarmed(&self) -> bool {
        self.now.alarmed
    }

    /// Forgets the alarm.
    pub(crate) fn clear_alarm(&mut self) {
        self.now.alarmed = false;
    }

    /// Messages that were taken.
    pub(crate) fn messages(&self) -> u64 {
        self.now.messages
    }

    /// The registry.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What is under way on each connection.
    pub(super) fn wires(&self) -> &[InFlight] {
        &self.wires
    }

    /// How many messages it has taken, where it stops after a number of them; else 0.
    pub(super) fn messages_before_stop(&self) -> u64 {
        if self.way.reads == u64::MAX {
            0
        } else {
            self.now.messages
        }
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.wires.iter().all(|wire| wire.writes().len() == 0)
    }

    /// Whether the server's picture at rest may differ from what is live.
    pub(crate) fn differs_at_rest(&self, world: &World) -> bool {
        let live: usize = world.devices().iter().map(Device::live).sum();
        if !self.is_idle() || self.registry.held() > 0 || self.registry.len() != live {
            return true;
        }
        live > 0
            && !self
                .registry
                .live()
                .iter()
                .all(|entry| self.is_live(entry, world))
    }

    /// Whether it knows, or is about to be told, of a buffer that is gone.
    pub(crate) fn has_past_lives(&self, world: &World) -> bool {
        self.wires.iter().any(|wire| wire.writes().len() > 0)
            || self
                .registry
                .live()
                .iter()
                .any(|entry| !self.is_live(entry, world))
    }

    fn is_live(&self, entry: &Entry, world: &World) -> bool {
        // Who owns an entry of another layout, or in which life, is not to be seen here.
        self.way.layout == Layout::Extended
            && entry.class == Class::Plain
            && Memory::from_buffer_type(entry.buffer_type).is_some_and(|memory| {
                let device = world.devices().get(usize::from(entry.device.0));
                device.is_some_and(|device| {
                    device.generation(memory, entry.address) == Some(entry.generation)
                })
            })
    }

    #[inline(never)]
    fn take_frame(&mut self, conn: ConnId, devices: &[Device]) -> ReceiveCode {
        let frame = self.wires[usize::from(conn.0)]
            .pop()
            .expect("the caller saw a whole frame");
        self.now.alarmed |= frame.is_torn();
        let handle = frame.sent().handle;
        match frame.message(self.way.layout, self.way.planted) {
            Some(message) => self.apply(&message, &handle, devices),
            None => {
                self.now.messages += 1;
                ReceiveCode::Unknown
            }
        }
    }

    #[inline(always)]
    fn apply(&mut self, message: &Message, handle: &Handle, devices: &[Device]) -> ReceiveCode {
        self.now.messages += 1;
        let mut code = None;
        // What a planted mistake does to totals no outcome shows: the oracle has to look.
        let mut alarmed = self.now.alarmed | self.way.planted.is_some();
        self.registry.apply(message, &mut |taken, outcome| {
            code.get_or_insert(receive_code(&outcome));
            alarmed |= match outcome {
                Outcome::Inserted | Outcome::Held => false,
                Outcome::Removed { entry } => is_suspicious(&entry, taken, handle, devices),
                _ => true,
            };
        });
        self.now.alarmed = alarmed;
        code.unwrap_or(ReceiveCode::Ignored)
    }
}

/// Whether the removal of `entry` may have hit another life of its address than the one that
/// `message` meant.
#[inline]
fn is_suspicious(entry: &Entry, message: &Message, handle: &Handle, devices: &[Device]) -> bool {
    let Some(extension) = &message.extension else {
        return is_suspicious_without_generation(entry, handle, devices);
    };
    Memory::from_buffer_type(entry.buffer_type) != Some(extension.memory)
        || entry.generation != extension.generation
}

#[inline(never)]
fn is_suspicious_without_generation(entry: &Entry, handle: &Handle, devices: &[Device]) -> bool {
    let device = devices.get(usize::from(entry.device.0));
    let live = device.and_then(|device| device.generation(handle.memory, entry.address));
    Memory::from_buffer_type(entry.buffer_type) != Some(handle.memory)
        || entry.size_bytes != handle.size_bytes
        || live.is_some_and(|live| live != handle.generation)
}

impl Network for ControlledServer {
    #[inline]
    fn send(
        &mut self,
        world: &World,
        thread: u16,
        handle: &Handle,
        chunk: &Outgoing,
    ) -> Option<SendOutcome> {
        let sent = Sent {
            kind: chunk.kind,
            handle: *handle,
            thread,
            op: 0,
            sequence: chunk.sequence,
        };
        if self.way.inlined && self.way.per_frame == 1 {
            let code = self.apply(
                &sent.message(self.way.layout, self.way.planted),
                handle,
                world.devices(),
            );
            self.now.received = Some((chunk.conn, code));
            return Some(SendOutcome::Sent);
        }
        let wire = &mut self.wires[usize::from(chunk.conn.0)];
        if wire.writes().len() >= self.way.room {
            if self.way.mode == SendMode::DontWait {
                self.now.alarmed = true;
                return Some(SendOutcome::Dropped);
            }
            self.now.waiters |= 1 << (thread & 63);
            return None;
        }
        wire.push(sent, chunk.chunk);
        if self.way.inlined {
            if self.wires[usize::from(chunk.conn.0)].has_frame() {
                let code = self.take_frame(chunk.conn, world.devices());
                self.now.received = Some((chunk.conn, code));
            }
        } else if self.has_frame(chunk.conn) {
            self.now.woken |= 1 << ((self.way.first_actor + chunk.conn.0) & 63);
        }
        Some(SendOutcome::Sent)
    }

    fn process_ended(&mut self, thread: u16) {
        if self.way.planted.is_some() {
            self.registry.process_ended(thread);
        }
    }

    #[inline]
    fn take_received(&mut self) -> Option<(ConnId, ReceiveCode)> {
        self.now.received.take()
    }
}

impl Clone for ControlledServer {
    fn clone(&self) -> ControlledServer {
        ControlledServer {
            registry: self.registry.clone(),
            wires: self.wires.clone(),
            ..*self
        }
    }

    /// Keeps the memory that it has.
    fn clone_from(&mut self, source: &ControlledServer) {
        self.registry.clone_from(&source.registry);
        self.wires.clone_from(&source.wires);
        self.way = source.way;
        self.now = source.now;
    }
}
