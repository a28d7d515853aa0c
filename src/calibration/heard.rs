//! What a server in this process hears of clients that it knows nothing of: their messages in the
//! order in which it takes them.

use std::io;
use std::path::Path;

use crate::registry::{Outcome, Semantics};
use crate::server::listener::{ClientId, Observer, Server, ServerConfig};
use crate::trace::observation::{Observation, Observed};
use crate::tracking::{Layout, Message};

/// Messages of a record that are kept.
const MAX_HEARD: usize = 1 << 20;

/// A server that listens.
pub(super) struct HearingServer(Server<Hearing>);

impl HearingServer {
    /// Listens at `path`; `layout`: of clients that do not announce theirs, where it is known.
    pub(super) fn start(
        path: &Path,
        semantics: Semantics,
        layout: Option<Layout>,
    ) -> io::Result<HearingServer> {
        let mut config = ServerConfig::new(path, semantics);
        config.layout = layout;
        let server = Server::start_with(config, Hearing::default());
        server.map(HearingServer).map_err(io::Error::other)
    }

    /// What it has heard, when all that was sent is in.
    pub(super) fn shutdown(self) -> Vec<Observation> {
        self.0.shutdown().observer.seen
    }
}

/// Writes down what comes in.
#[derive(Debug, Default)]
struct Hearing {
    seen: Vec<Observation>,
    messages: u64,
}

impl Hearing {
    fn see(&mut self, client: ClientId, what: Observed) {
        if self.seen.len() < MAX_HEARD {
            self.seen.push(Observation {
                position: self.messages.max(1),
                at_ns: None,
                conn: u32::try_from(client.0).ok(),
                what,
            });
        }
    }
}

impl Observer for Hearing {
    fn on_accept(&mut self, client: ClientId) {
        self.see(client, Observed::Opened);
    }

    fn on_received(&mut self, client: ClientId, message: &Message) {
        // Questions are about no buffer.
        if message.kind.role().is_some() {
            self.messages += 1;
            let what = Observed::Message {
                message: message.clone(),
                complete: true,
                server_answer: None,
            };
            self.see(client, what);
        }
    }

    fn on_message(&mut self, _client: ClientId, _message: &Message, _outcome: &Outcome) {}

    fn on_unknown(&mut self, client: ClientId, frame: &[u8]) {
        self.messages += 1;
        let kind = frame.first().copied().map_or(0, u64::from);
        self.see(client, Observed::UnknownFrame { kind });
    }

    fn on_close(&mut self, client: ClientId) {
        self.see(client, Observed::Closed);
    }
}
