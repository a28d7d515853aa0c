//! What is under way on one connection: messages written and not yet received, and which of them tore.

use std::collections::VecDeque;

use crate::planted::Planted;
use crate::scenario::Scenario;
use crate::trace::message::chunk_range;
use crate::tracking::{Layout, Message, wire};

use super::checker::Sent;

/// The writes of one connection, in order.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    layout: Layout,
    chunks: u8,
    /// How many writes the server takes for a frame.
    per_frame: u8,
    planted: Option<Planted>,
    writes: VecDeque<(Sent, u8)>,
}

/// A frame off the wire: one of the messages in it, and if it is torn, what the server makes of its bytes.
pub(crate) type Frame = (Sent, Option<Option<Message>>);

impl Wire {
    /// A connection of `scenario`, with nothing under way.
    pub fn new(scenario: &Scenario) -> Wire {
        Wire {
            layout: scenario.transport.layout,
            chunks: scenario.transport.chunks.max(1),
            per_frame: scenario.writes_per_frame(),
            planted: scenario.planted,
            writes: VecDeque::new(),
        }
    }

    /// Chunk `chunk` of a message was written.
    #[inline]
    pub fn push(&mut self, sent: Sent, chunk: u8) {
        self.writes.push_back((sent, chunk));
    }

    /// The writes that are under way, in order, each with the number of its chunk.
    pub fn writes(&self) -> impl ExactSizeIterator<Item = &(Sent, u8)> {
        self.writes.iter()
    }

    /// Forgets what is under way.
    pub fn clear(&mut self) {
        self.writes.clear();
    }

    /// Whether a whole frame is there.
    pub fn has_frame(&self) -> bool {
        let least = if self.planted == Some(Planted::PartialRead) {
            1
        } else {
            usize::from(self.per_frame)
        };
        self.writes.len() >= least
    }

    /// Takes a whole frame.
    #[inline]
    pub fn pop(&mut self) -> Option<Frame> {
        if self.per_frame == 1 {
            return self.writes.pop_front().map(|(sent, _)| (sent, None));
        }
        if !self.has_frame() {
            return None;
        }
        let read = usize::from(self.per_frame).min(self.writes.len());
        let frame: Vec<(Sent, u8)> = self.writes.drain(..read).collect();
        let (sent, _) = frame[0];
        let whole = frame.len() == usize::from(self.chunks)
            && frame
                .iter()
                .zip(0..)
                .all(|((piece, chunk), expected)| *piece == sent && *chunk == expected);
        Some((sent, (!whole).then(|| self.decode(&frame))))
    }

    /// Takes a message that was written and never received.
    pub fn pop_unreceived(&mut self) -> Option<Sent> {
        loop {
            let (sent, chunk) = self.writes.pop_front()?;
            if chunk == 0 {
                return Some(sent);
            }
        }
    }

    /// What a server reads from pieces of several messages.
    fn decode(&self, pieces: &[(Sent, u8)]) -> Option<Message> {
        let written = self.layout.frame_bytes();
        let server = Planted::server_layout(self.planted, self.layout);
        let length = server.frame_bytes();
        let mut bytes = Vec::with_capacity(length);
        for (sent, chunk) in pieces {
            let message = wire::encode(self.layout, &sent.message(self.layout, self.planted));
            let piece = message
                .as_bytes()
                .get(chunk_range(written, self.chunks, *chunk));
            bytes.extend_from_slice(piece.unwrap_or_default());
        }
        bytes.resize(length, 0);
        wire::decode(server, &bytes).ok()
    }
}
