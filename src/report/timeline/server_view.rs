//! The server's side of a history: what each message did to the table, and whose entries it met.
//!
//! It is the registry that the oracle feeds too, fed in the same way, and kept apart from the
//! oracle's because here it matters whose entry a message replaced or removed, in every wire
//! layout.

use crate::device::{DeviceId, Memory};
use crate::oracle::rest;
use crate::planted::Planted;
use crate::registry::{Outcome, Registry};
use crate::scenario::Scenario;
use crate::scenario::objects::ConnId;
use crate::trace::in_flight::InFlight;
use crate::trace::sends::Sent;
use crate::tracking::entry::{Class, Entry};
use crate::tracking::sent::SentKind;
use crate::tracking::{Layout, Message, MessageKind};

use super::history::{BufferHistory, BufferId, ServerEffect, ShownEntry, Taken};

/// A registry with what is on its way to it.
#[derive(Debug)]
pub(super) struct ServerView {
    layout: Layout,
    chunks: u8,
    registry: Registry,
    /// By connection, what was written to it and not taken.
    wires: Vec<InFlight>,
    /// By connection, how many chunks that is.
    in_flight: Vec<usize>,
    planted: Option<Planted>,
    /// Whose the entries of the table are.
    owners: Vec<(EntryId, BufferId)>,
}

/// Which entry of the table is meant: device, class, address and buffer type.
type EntryId = (DeviceId, Class, u64, u8);

impl ServerView {
    pub(crate) fn new(scenario: &Scenario, conns: u16) -> ServerView {
        let transport = scenario.transport;
        ServerView {
            layout: transport.layout,
            chunks: scenario.writes_per_frame(),
            planted: scenario.planted,
            registry: scenario.registry(),
            wires: InFlight::of_all(scenario),
            in_flight: vec![0; usize::from(conns)],
            owners: Vec::new(),
        }
    }

    /// Chunk `chunk` of a message was written.
    pub(crate) fn write(&mut self, conn: ConnId, sent: Sent, chunk: u8) {
        self.wires[usize::from(conn.0)].push(sent, chunk);
        self.in_flight[usize::from(conn.0)] += 1;
    }

    /// Whether a whole frame is there.
    pub(crate) fn has_frame(&self, conn: ConnId) -> bool {
        self.wires[usize::from(conn.0)].has_frame()
    }

    /// Whether just one frame is there.
    pub(crate) fn has_one_frame(&self, conn: ConnId) -> bool {
        self.in_flight[usize::from(conn.0)] == usize::from(self.chunks)
    }

    /// Takes a frame; what came of it, and of what was held back for it. `own`: it is taken in the
    /// step that sent it.
    pub(crate) fn take(
        &mut self,
        conn: ConnId,
        own: bool,
        buffers: &[BufferHistory],
    ) -> Vec<Taken> {
        let Some(frame) = self.wires[usize::from(conn.0)].pop() else {
            return Vec::new();
        };
        let left = &mut self.in_flight[usize::from(conn.0)];
        *left = left.saturating_sub(usize::from(self.chunks));
        let (sent, is_torn) = (*frame.sent(), frame.is_torn());
        let Some(message) = frame.message(self.layout, self.planted) else {
            return vec![Taken {
                buffer: buffer_of(buffers, sent.handle.device, sent.handle.generation),
                kind: sent.kind,
                thread: sent.thread,
                effect: ServerEffect::Garbage,
                torn: true,
                own,
            }];
        };
        let mut outcomes = Vec::new();
        self.registry.apply(&message, &mut |taken, outcome| {
            outcomes.push((taken.clone(), outcome));
        });
        let mut first = true;
        outcomes
            .iter()
            .map(|(message, outcome)| {
                let first = std::mem::take(&mut first);
                Taken {
                    torn: first && is_torn,
                    own: first && own,
                    ..self.take_effect(message, outcome, first.then_some(&sent), buffers)
                }
            })
            .collect()
    }

    /// All is over: what is held back takes effect.
    pub(crate) fn flush(&mut self, buffers: &[BufferHistory]) -> Vec<Taken> {
        let mut late = Vec::new();
        self.registry
            .flush(&mut |message, outcome| late.push((message.clone(), outcome)));
        late.iter()
            .map(|(message, outcome)| self.take_effect(message, outcome, None, buffers))
            .collect()
    }

    /// The live table.
    pub(crate) fn shown(&self) -> Vec<ShownEntry> {
        let one = |entry: &Entry| {
            let shown = rest::entries(&[*entry]).into_iter().next()?;
            Some(ShownEntry {
                device: DeviceId(shown.device),
                memory: Memory::from_index(shown.memory)?,
                address: shown.address,
                size_bytes: shown.size_bytes,
                refcount: shown.refcount,
                buffer: self.owner(entry),
            })
        };
        self.registry.live().iter().filter_map(one).collect()
    }

    /// What a message did to the table, and whose entries it met. `sent`: who sent it, where that
    /// is at hand.
    fn take_effect(
        &mut self,
        message: &Message,
        outcome: &Outcome,
        sent: Option<&Sent>,
        buffers: &[BufferHistory],
    ) -> Taken {
        let device = u16::try_from(message.device).ok().map(DeviceId);
        let buffer = match (message.extension, sent) {
            (Some(extension), _) => {
                device.and_then(|device| buffer_of(buffers, device, extension.generation))
            }
            (None, Some(sent)) => buffer_of(buffers, sent.handle.device, sent.handle.generation),
            (None, None) => None,
        };
        let (kind, class) = match message.kind {
            MessageKind::Alloc => (SentKind::Alloc, Class::Plain),
            MessageKind::CbAlloc => (SentKind::CbAlloc, Class::Circular),
            MessageKind::CbFree => (SentKind::CbFree, Class::Circular),
            _ => (SentKind::Free, Class::Plain),
        };
        let effect = match *outcome {
            Outcome::Inserted => ServerEffect::Inserted,
            Outcome::Replaced { old } => ServerEffect::Replaced(self.disown(&old)),
            Outcome::Incremented { kept } => {
                ServerEffect::Incremented(self.owner(&kept), kept.refcount)
            }
            Outcome::Removed { entry } => ServerEffect::Removed(self.disown(&entry)),
            Outcome::Decremented { left } => {
                ServerEffect::Decremented(self.owner(&left), left.refcount)
            }
            Outcome::UnknownFree => ServerEffect::UnknownFree,
            Outcome::Held => ServerEffect::Held,
            Outcome::Rejected(reason) => ServerEffect::Rejected(reason),
            Outcome::Ignored => ServerEffect::Ignored,
        };
        if let (ServerEffect::Inserted | ServerEffect::Replaced(_), Some(device), Some(buffer)) =
            (effect, device, buffer)
        {
            let entry = (device, class, message.address, message.buffer_type);
            self.owners.push((entry, buffer));
        }
        Taken {
            buffer,
            kind,
            thread: message
                .extension
                .and_then(|extension| u16::try_from(extension.thread).ok())
                .or(sent.map(|sent| sent.thread))
                .unwrap_or_default(),
            effect,
            torn: false,
            own: false,
        }
    }

    fn owner(&self, entry: &Entry) -> Option<BufferId> {
        let id = entry_id(entry);
        let found = self.owners.iter().find(|(of, _)| *of == id);
        found.map(|(_, buffer)| *buffer)
    }

    /// The entry is gone; whose it was.
    fn disown(&mut self, entry: &Entry) -> Option<BufferId> {
        let buffer = self.owner(entry);
        let id = entry_id(entry);
        self.owners.retain(|(of, _)| *of != id);
        buffer
    }
}

/// The buffer that the allocator numbered so.
fn buffer_of(buffers: &[BufferHistory], device: DeviceId, generation: u64) -> Option<BufferId> {
    buffers
        .iter()
        .position(|buffer| (buffer.handle.device, buffer.handle.generation) == (device, generation))
}

fn entry_id(entry: &Entry) -> EntryId {
    (entry.device, entry.class, entry.address, entry.buffer_type)
}
