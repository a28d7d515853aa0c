//! The server without sockets, for bytes that come from elsewhere: the same frames, registry,
//! limits and answers as [`super::listener`]'s, at once and on the caller's thread. Who feeds it
//! decides in which order clients are served.

use std::time::Duration;

use super::client::{ClientAccount, Output};
use super::frames::Core;
use super::listener::{ClientId, Counters, ServerConfig};
use super::observer::Observer;
use crate::registry::{Outcome, Registry};
use crate::tracking::codec::{DecodedFrame, FrameDecoder};
use crate::tracking::{Layout, Message};

/// See the [module](self).
pub(crate) struct OfflineServer {
    core: Core<Effects>,
    clients: Vec<OfflineClient>,
    taken: Vec<TakenFrame>,
}

struct OfflineClient {
    decoder: FrameDecoder,
    output: Output,
    account: ClientAccount,
    torn_bytes: usize,
}

/// One frame that the server took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TakenFrame {
    /// Of which client, in the order of [`OfflineServer::connect`].
    pub(crate) client: usize,
    /// What it said; `None`: it is no message.
    pub(crate) message: Option<Message>,
    /// What came of it, and of messages that waited for it, in order.
    pub(crate) effects: Vec<(Message, Outcome)>,
}

#[derive(Debug, Default)]
struct Effects(Vec<(Message, Outcome)>);

impl Observer for Effects {
    fn on_message(&mut self, _client: ClientId, message: &Message, outcome: &Outcome) {
        self.0.push((message.clone(), *outcome));
    }
}

impl OfflineServer {
    /// A server that nobody has connected to. Its path is not looked at.
    pub(crate) fn new(config: ServerConfig) -> OfflineServer {
        let registry = Registry::new(config.semantics, config.limits)
            .with_planted(config.planted)
            .like_reference(config.like_reference);
        OfflineServer {
            core: Core {
                config,
                registry,
                counters: Counters::default(),
                observer: Effects::default(),
                delay: Duration::ZERO,
            },
            clients: Vec::new(),
            taken: Vec::new(),
        }
    }

    /// A client connects; `layout` is what it speaks unless it says so itself, or the
    /// configuration's.
    pub(crate) fn connect(&mut self, layout: Option<Layout>) -> usize {
        let layout = layout.or(self.core.config.layout);
        self.clients.push(OfflineClient {
            decoder: layout.map_or_else(FrameDecoder::detecting, FrameDecoder::fixed),
            output: Output::default(),
            account: ClientAccount::default(),
            torn_bytes: 0,
        });
        self.clients.len() - 1
    }

    /// Takes bytes of a client; one that never connected is not heard.
    pub(crate) fn feed(&mut self, client: usize, bytes: &[u8]) {
        self.decode(client, |decoder, mut sink| decoder.feed(bytes, &mut sink));
    }

    /// The client has paused: it waits for an answer.
    pub(crate) fn settle(&mut self, client: usize) {
        self.decode(client, |decoder, mut sink| decoder.settle(&mut sink));
    }

    /// No client sends any more: what is left takes effect.
    pub(crate) fn finish(&mut self) {
        for client in 0..self.clients.len() {
            let mut torn_bytes = 0;
            self.decode(client, |decoder, mut sink| {
                torn_bytes = decoder.finish(&mut sink).torn_bytes;
            });
            self.clients[client].torn_bytes = torn_bytes;
        }
        let mut effects = Vec::new();
        let registry = &mut self.core.registry;
        registry.flush(&mut |message, outcome| effects.push((message.clone(), outcome)));
        if !effects.is_empty() {
            self.taken.push(TakenFrame {
                client: usize::MAX,
                message: None,
                effects,
            });
        }
    }

    /// What it took since this was last asked for.
    pub(crate) fn take_frames(&mut self) -> Vec<TakenFrame> {
        std::mem::take(&mut self.taken)
    }

    /// What it answers to a client: at most `most` bytes, in whole frames, and how long one is.
    pub(crate) fn answers(&mut self, client: usize, most: usize) -> (Vec<u8>, usize) {
        let Some(client) = self.clients.get_mut(client) else {
            return (Vec::new(), 0);
        };
        let Some(layout) = client.decoder.layout() else {
            return (Vec::new(), 0);
        };
        let frame_bytes = layout.frame_bytes();
        (client.output.take(most, frame_bytes), frame_bytes)
    }

    /// After [`OfflineServer::finish`]: bytes of a last frame that never became whole.
    pub(crate) fn torn_bytes(&self, client: usize) -> usize {
        self.clients
            .get(client)
            .map_or(0, |client| client.torn_bytes)
    }

    /// What it believes to be live.
    pub(crate) fn registry(&self) -> &Registry {
        &self.core.registry
    }

    fn decode(
        &mut self,
        client: usize,
        decode: impl FnOnce(&mut FrameDecoder, &mut dyn FnMut(DecodedFrame<'_>)),
    ) {
        let Some(OfflineClient {
            decoder,
            output,
            account,
            ..
        }) = self.clients.get_mut(client)
        else {
            return;
        };
        let (core, taken) = (&mut self.core, &mut self.taken);
        decode(decoder, &mut |frame| {
            let message = match frame {
                DecodedFrame::Message(message, _) => Some(message.clone()),
                DecodedFrame::TableRequest | DecodedFrame::Unknown(_) => None,
            };
            core.take(ClientId(client as u64), frame, output, account);
            taken.push(TakenFrame {
                client,
                message,
                effects: std::mem::take(&mut core.observer.0),
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::registry::Semantics;
    use crate::tracking::MessageKind;
    use crate::tracking::wire::{decode_response, encode};

    fn alloc(address: u64) -> Message {
        Message {
            size_bytes: 4096,
            buffer_type: 1,
            address,
            ..Message::bare(MessageKind::Alloc, 0, 7)
        }
    }

    #[test]
    fn a_query_is_answered_with_what_was_taken_before_it() {
        let mut server =
            OfflineServer::new(ServerConfig::new(PathBuf::new(), Semantics::Overwrite));
        let client = server.connect(None);
        let other = server.connect(None);
        for (from, message) in [
            (client, alloc(64)),
            (other, alloc(128)),
            (client, Message::bare(MessageKind::Query, 0, 7)),
        ] {
            server.feed(from, encode(Layout::V112, &message).as_bytes());
            server.settle(from);
        }
        let (answer, frame_bytes) = server.answers(client, 1000);
        assert_eq!(frame_bytes, 112);
        let response = decode_response(Layout::V112, &answer).expect("a response");
        assert_eq!(response.l1_bytes, 8192);
        assert_eq!(server.take_frames().len(), 3);
        assert!(server.answers(client, 1000).0.is_empty());
    }

    #[test]
    fn a_client_that_never_connected_is_not_heard() {
        let mut server =
            OfflineServer::new(ServerConfig::new(PathBuf::new(), Semantics::Overwrite));
        server.feed(3, &[1; 200]);
        server.finish();
        assert!(server.take_frames().is_empty());
        assert_eq!(server.answers(3, 100), (Vec::new(), 0));
    }
}
