//! What is under way on one connection: messages written and not yet received, and which of them
//! tore.

use std::collections::VecDeque;

use super::sends::Sent;
use crate::planted::Planted;
use crate::scenario::Scenario;
use crate::tracking::sent::chunk_range;
use crate::tracking::{Layout, Message, wire};

/// The writes of one connection, in order.
#[derive(Clone, Debug)]
pub(crate) struct InFlight {
    layout: Layout,
    chunks: u8,
    /// How many writes the server takes for a frame.
    per_frame: u8,
    planted: Option<Planted>,
    writes: VecDeque<(Sent, u8)>,
}

/// A frame, as a server takes it from a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// One message as it was sent.
    Whole(Sent),
    /// Pieces of several messages, of which this is the first; together they read as a message that
    /// nobody sent.
    Torn(Sent, Message),
    /// Pieces of several messages, of which this is the first; together they are no message.
    Garbage(Sent),
}

impl Frame {
    /// The first of the messages in it.
    #[inline]
    pub(crate) fn sent(&self) -> &Sent {
        match self {
            Frame::Whole(sent) | Frame::Torn(sent, _) | Frame::Garbage(sent) => sent,
        }
    }

    /// Whether it is not one message as it was sent.
    #[inline]
    pub(crate) fn is_torn(&self) -> bool {
        !matches!(self, Frame::Whole(_))
    }

    /// What a server reads of it, whose clients write `layout`; `None` where that is no message.
    #[inline]
    pub(crate) fn message(self, layout: Layout, planted: Option<Planted>) -> Option<Message> {
        match self {
            Frame::Whole(sent) => Some(sent.message(layout, planted)),
            Frame::Torn(_, message) => Some(message),
            Frame::Garbage(_) => None,
        }
    }
}

impl InFlight {
    /// A connection of `scenario`, with nothing under way.
    pub(crate) fn new(scenario: &Scenario) -> InFlight {
        InFlight {
            layout: scenario.transport.layout,
            chunks: scenario.transport.chunks.max(1),
            per_frame: scenario.writes_per_frame(),
            planted: scenario.planted,
            writes: VecDeque::new(),
        }
    }

    /// Every connection that a run of `scenario` may open.
    pub(crate) fn of_all(scenario: &Scenario) -> Vec<InFlight> {
        (0..scenario.objects().conns)
            .map(|_| InFlight::new(scenario))
            .collect()
    }

    /// Chunk `chunk` of a message was written.
    #[inline]
    pub(crate) fn push(&mut self, sent: Sent, chunk: u8) {
        self.writes.push_back((sent, chunk));
    }

    /// The writes that are under way, in order, each with the number of its chunk.
    pub(crate) fn writes(&self) -> impl ExactSizeIterator<Item = &(Sent, u8)> {
        self.writes.iter()
    }

    /// Forgets what is under way.
    pub(crate) fn clear(&mut self) {
        self.writes.clear();
    }

    /// Whether a whole frame is there.
    pub(crate) fn has_frame(&self) -> bool {
        let least = if self.planted == Some(Planted::PartialRead) {
            1
        } else {
            usize::from(self.per_frame)
        };
        self.writes.len() >= least
    }

    /// Takes a frame, where one is there.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Frame> {
        if self.per_frame == 1 {
            return self.writes.pop_front().map(|(sent, _)| Frame::Whole(sent));
        }
        if !self.has_frame() {
            return None;
        }
        let read = usize::from(self.per_frame).min(self.writes.len());
        let pieces: Vec<(Sent, u8)> = self.writes.drain(..read).collect();
        let (sent, _) = pieces[0];
        let is_whole = pieces.len() == usize::from(self.chunks)
            && pieces
                .iter()
                .zip(0..)
                .all(|((piece, chunk), expected)| *piece == sent && *chunk == expected);
        Some(match is_whole {
            true => Frame::Whole(sent),
            false => match self.decode(&pieces) {
                Some(message) => Frame::Torn(sent, message),
                None => Frame::Garbage(sent),
            },
        })
    }

    /// Takes a message that was written and never received.
    pub(crate) fn pop_unreceived(&mut self) -> Option<Sent> {
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
