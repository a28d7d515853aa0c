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

use super::history::{BufferHistory, LifeId, ShownEntry, TableEffect, Taken};

/// A registry with what is on its way to it.
#[derive(Debug)]
pub(super) struct ShownTable {
    layout: Layout,
    chunks: u8,
    registry: Registry,
    wires: Vec<InFlight>,
    /// Chunks written to each connection and not taken.
    in_flight: Vec<usize>,
    planted: Option<Planted>,
    /// Whose the entries of the table are.
    owners: Vec<(EntryId, LifeId)>,
}

/// Which entry of the table is meant: device, class, address and buffer type.
type EntryId = (DeviceId, Class, u64, u8);

impl ShownTable {
    pub fn new(scenario: &Scenario) -> ShownTable {
        let transport = scenario.transport;
        let conns = scenario.objects().conns;
        ShownTable {
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
    pub fn write(&mut self, conn: ConnId, sent: Sent, chunk: u8) {
        self.wires[usize::from(conn.0)].push(sent, chunk);
        self.in_flight[usize::from(conn.0)] += 1;
    }

    /// Whether a whole frame is there.
    pub fn has_frame(&self, conn: ConnId) -> bool {
        self.wires[usize::from(conn.0)].has_frame()
    }

    /// Whether just one frame is there.
    pub fn has_one_frame(&self, conn: ConnId) -> bool {
        self.in_flight[usize::from(conn.0)] == usize::from(self.chunks)
    }

    /// Takes a frame; what came of it, and of what was held back for it. `own`: it is taken in the
    /// step that sent it.
    pub fn take(&mut self, conn: ConnId, own: bool, lives: &[BufferHistory]) -> Vec<Taken> {
        let Some(frame) = self.wires[usize::from(conn.0)].pop() else {
            return Vec::new();
        };
        let left = &mut self.in_flight[usize::from(conn.0)];
        *left = left.saturating_sub(usize::from(self.chunks));
        let (sent, is_torn) = (*frame.sent(), frame.is_torn());
        let Some(message) = frame.message(self.layout, self.planted) else {
            return vec![Taken {
                life: life_of(lives, sent.handle.device, sent.handle.generation),
                kind: sent.kind,
                thread: sent.thread,
                effect: TableEffect::Garbage,
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
                    ..self.take_effect(message, outcome, first.then_some(&sent), lives)
                }
            })
            .collect()
    }

    /// All is over: what is held back takes effect.
    pub fn flush(&mut self, lives: &[BufferHistory]) -> Vec<Taken> {
        let mut late = Vec::new();
        self.registry
            .flush(&mut |message, outcome| late.push((message.clone(), outcome)));
        late.iter()
            .map(|(message, outcome)| self.take_effect(message, outcome, None, lives))
            .collect()
    }

    /// The live table.
    pub fn shown(&self) -> Vec<ShownEntry> {
        let one = |entry: &Entry| {
            let shown = rest::entries(&[*entry]).into_iter().next()?;
            Some(ShownEntry {
                device: DeviceId(shown.device),
                memory: Memory::from_index(shown.memory)?,
                address: shown.address,
                size_bytes: shown.size_bytes,
                refcount: shown.refcount,
                life: self.owner(entry),
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
        lives: &[BufferHistory],
    ) -> Taken {
        let device = u16::try_from(message.device).ok().map(DeviceId);
        let life = match (message.extension, sent) {
            (Some(extension), _) => {
                device.and_then(|device| life_of(lives, device, extension.generation))
            }
            (None, Some(sent)) => life_of(lives, sent.handle.device, sent.handle.generation),
            (None, None) => None,
        };
        let (kind, class) = match message.kind {
            MessageKind::Alloc => (SentKind::Alloc, Class::Plain),
            MessageKind::CbAlloc => (SentKind::CbAlloc, Class::Circular),
            MessageKind::CbFree => (SentKind::CbFree, Class::Circular),
            _ => (SentKind::Free, Class::Plain),
        };
        let effect = match *outcome {
            Outcome::Inserted => TableEffect::Inserted,
            Outcome::Replaced { old } => TableEffect::Replaced(self.disown(&old)),
            Outcome::Incremented { kept } => {
                TableEffect::Incremented(self.owner(&kept), kept.refcount)
            }
            Outcome::Removed { entry } => TableEffect::Removed(self.disown(&entry)),
            Outcome::Decremented { left } => {
                TableEffect::Decremented(self.owner(&left), left.refcount)
            }
            Outcome::UnknownFree => TableEffect::UnknownFree,
            Outcome::Held => TableEffect::Held,
            Outcome::Rejected(reason) => TableEffect::Rejected(reason),
            Outcome::Ignored => TableEffect::Ignored,
        };
        if let (TableEffect::Inserted | TableEffect::Replaced(_), Some(device), Some(life)) =
            (effect, device, life)
        {
            let entry = (device, class, message.address, message.buffer_type);
            self.owners.push((entry, life));
        }
        Taken {
            life,
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

    fn owner(&self, entry: &Entry) -> Option<LifeId> {
        let id = entry_id(entry);
        let found = self.owners.iter().find(|(of, _)| *of == id);
        found.map(|(_, life)| *life)
    }

    /// The entry is gone; whose it was.
    fn disown(&mut self, entry: &Entry) -> Option<LifeId> {
        let life = self.owner(entry);
        let id = entry_id(entry);
        self.owners.retain(|(of, _)| *of != id);
        life
    }
}

/// The life that the allocator numbered so.
fn life_of(lives: &[BufferHistory], device: DeviceId, generation: u64) -> Option<LifeId> {
    lives
        .iter()
        .position(|life| (life.handle.device, life.handle.generation) == (device, generation))
}

fn entry_id(entry: &Entry) -> EntryId {
    (entry.device, entry.class, entry.address, entry.buffer_type)
}
