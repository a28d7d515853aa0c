//! What is under way on one connection: messages written and not yet received, and which of them tore.

use std::collections::VecDeque;

use super::event::SentKind;
use super::message::{Handle, chunk_range, message};
use crate::tracking::{Layout, Message, wire};

/// A message as its sender meant it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub kind: SentKind,
    pub handle: Handle,
    pub thread: u16,
    pub op: u64,
    pub sequence: u64,
}

impl Sent {
    /// The message as `layout` carries it.
    #[inline]
    pub fn message(&self, layout: Layout) -> Message {
        message(layout, self.kind, &self.handle, self.thread, self.sequence)
    }
}

/// The writes of one connection, in order.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    layout: Layout,
    chunks: u8,
    writes: VecDeque<(Sent, u8)>,
}

/// A frame off the wire: one of the messages in it, and if it is torn, what the server makes of its bytes.
pub(crate) type Frame = (Sent, Option<Option<Message>>);

impl Wire {
    pub fn new(layout: Layout, chunks: u8) -> Wire {
        Wire {
            layout,
            chunks: chunks.max(1),
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
        self.writes.len() >= usize::from(self.chunks)
    }

    /// Takes a whole frame.
    #[inline]
    pub fn pop(&mut self) -> Option<Frame> {
        if self.chunks == 1 {
            return self.writes.pop_front().map(|(sent, _)| (sent, None));
        }
        if !self.has_frame() {
            return None;
        }
        let frame: Vec<(Sent, u8)> = self.writes.drain(..usize::from(self.chunks)).collect();
        let (sent, _) = frame[0];
        let whole = frame
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
        let length = self.layout.frame_bytes();
        let mut bytes = Vec::with_capacity(length);
        for (sent, chunk) in pieces {
            let message = wire::encode(self.layout, &sent.message(self.layout));
            let piece = message
                .as_bytes()
                .get(chunk_range(length, self.chunks, *chunk));
            bytes.extend_from_slice(piece.unwrap_or_default());
        }
        bytes.resize(length, 0);
        wire::decode(self.layout, &bytes).ok()
    }
}
