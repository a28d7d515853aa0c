//! What the server takes of a run: frames off their connections, and what they do to its picture.

use smallvec::SmallVec;

use super::RunWalk;
use crate::device::{DeviceId, Memory};
use crate::registry::Outcome;
use crate::report::page::events::EventMark;
use crate::report::page::kinds::{EventWord, Remark};
use crate::report::page::memory::LifeNumber;
use crate::scenario::objects::ConnId;
use crate::trace::event::{ReceiveCode, receive_code};
use crate::trace::file::SERVER_STREAM;
use crate::tracking::Message;
use crate::tracking::entry::{Class, Entry};

impl RunWalk<'_> {
    pub(super) fn has_one_frame(&self, conn: ConnId) -> bool {
        let wire = self.wires.get(usize::from(conn.0));
        wire.is_some_and(|wire| wire.from.len() == usize::from(self.scenario.writes_per_frame()))
    }

    /// The server takes a frame.
    pub(super) fn receive(&mut self, conn: ConnId, code: Option<ReceiveCode>, own: bool) {
        let now = self.events.count();
        let taken = self.take(conn, now);
        let (sent_at, life, remark) = taken.unwrap_or((now, 0, Remark::Unknown));
        let remark = code.map_or(remark, remark_of);
        let mark = EventMark {
            same_step: own,
            diverges: self.diverges,
            preempts: self.preemptions.binary_search(&(now as usize)).is_ok(),
        };
        let ago = now - sent_at;
        self.push_marked(SERVER_STREAM, EventWord::Receive, remark, life, ago, mark);
    }

    /// Takes a frame off a connection: when it was sent, of which life it is, and what came of it.
    pub(super) fn take(&mut self, conn: ConnId, now: u32) -> Option<(u32, LifeNumber, Remark)> {
        let wire = self.wires.get_mut(usize::from(conn.0))?;
        let frame = wire.content.pop()?;
        let left = wire.content.writes().len();
        let gone = wire.from.len().saturating_sub(left);
        let (sent_at, life) = wire.from.drain(..gone).next().unwrap_or((now, 0));
        let Some(message) = frame.message(self.layout, self.scenario.planted) else {
            return Some((sent_at, life, Remark::Unknown));
        };
        let mut outcomes: SmallVec<[(Message, Outcome); 1]> = SmallVec::new();
        self.registry.apply(&message, &mut |message, outcome| {
            outcomes.push((message.clone(), outcome));
        });
        let mut remark = Remark::Ignored;
        for (number, (message, outcome)) in outcomes.iter().enumerate() {
            let sequence = message.extension.map_or(0, |extension| extension.sequence);
            let key = (message.device, sequence);
            let life = match number {
                0 => life,
                _ => self.held.remove(&key).unwrap_or(0),
            };
            if number == 0 {
                remark = remark_of(receive_code(outcome));
            }
            match outcome {
                Outcome::Held => {
                    self.held.insert(key, life);
                }
                _ => self.effect(now, message, outcome, life),
            }
        }
        Some((sent_at, life, remark))
    }

    /// A message did this to the table.
    pub(super) fn effect(
        &mut self,
        now: u32,
        message: &Message,
        outcome: &Outcome,
        life: LifeNumber,
    ) {
        if life != 0 {
            self.memory.took(now, life, message.kind.opens());
        }
        match outcome {
            Outcome::Inserted => {
                let device = u16::try_from(message.device).unwrap_or(u16::MAX);
                let spot = self.spot(DeviceId(device), entry_type(message), message.address);
                let class = message.kind.class().unwrap_or(Class::Plain);
                (self.memory).show(now, spot, class, message.size_bytes, life);
            }
            Outcome::Replaced { old } => {
                self.hide(now, old);
                let spot = self.spot(old.device, entry_type(message), message.address);
                (self.memory).show(now, spot, old.class, message.size_bytes, life);
            }
            Outcome::Removed { entry } => self.hide(now, entry),
            _ => {}
        }
    }

    fn hide(&mut self, now: u32, entry: &Entry) {
        let buffer_type = match entry.class {
            Class::Circular => Memory::L1.buffer_type(),
            _ => entry.buffer_type,
        };
        let spot = self.spot(entry.device, buffer_type, entry.address);
        self.memory.hide(now, spot, entry.class);
    }
}

/// The memory in which an entry is shown: circular buffers live in L1, whatever type they state.
fn entry_type(message: &Message) -> u8 {
    match message.kind.class() {
        Some(Class::Circular) => Memory::L1.buffer_type(),
        _ => message.buffer_type,
    }
}

/// What a code says, as a remark.
fn remark_of(code: ReceiveCode) -> Remark {
    match code {
        ReceiveCode::Inserted => Remark::Inserted,
        ReceiveCode::Replaced => Remark::Replaced,
        ReceiveCode::Incremented => Remark::Incremented,
        ReceiveCode::Removed => Remark::Removed,
        ReceiveCode::Decremented => Remark::Decremented,
        ReceiveCode::UnknownFree => Remark::UnknownFree,
        ReceiveCode::Held => Remark::Held,
        ReceiveCode::Rejected => Remark::Rejected,
        ReceiveCode::Ignored => Remark::Ignored,
        ReceiveCode::Unknown => Remark::Unknown,
    }
}
