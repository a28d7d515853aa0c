//! Who sees what a server sees: logs, journals, recorders. An observer may be absent, and two make
//! one.

use super::listener::ClientId;
use crate::registry::{Outcome, Registry};
use crate::tracking::codec::Detection;
use crate::tracking::entry::Entry;
use crate::tracking::{Layout, Message};

/// Sees what the server sees, in the order in which the server sees it. Called on the server's
/// thread. `()` sees nothing and costs nothing.
pub trait Observer: Send + 'static {
    /// A client was accepted.
    fn on_accept(&mut self, _client: ClientId) {}

    /// A client was turned away because of a limit.
    fn on_refused(&mut self, _why: Refused) {}

    /// It is known how a client's messages are to be read.
    fn on_layout(&mut self, _client: ClientId, _layout: Layout, _why: Detection) {}

    /// The first message of a client is about to come in: of this layout.
    fn on_first_message(&mut self, _client: ClientId, _layout: Layout) {}

    /// A whole message came in; what becomes of it is told next.
    fn on_received(&mut self, _client: ClientId, _message: &Message) {}

    /// A message had an outcome. A message that was [`Outcome::Held`] comes again with its effect;
    /// `client` is then the one whose message let it take place, or at the shutdown an id that no
    /// client has.
    fn on_message(&mut self, _client: ClientId, _message: &Message, _outcome: &Outcome) {}

    /// A frame that is no message; the first byte is its type.
    fn on_unknown(&mut self, _client: ClientId, _frame: &[u8]) {}

    /// A client asked for a dump to the log (DUMP_REMAINING or DUMP_KERNELS).
    fn on_dump(&mut self, _client: ClientId, _request: &Message, _registry: &Registry) {}

    /// Whatever waited for an earlier sequence number takes effect.
    fn on_flush(&mut self) {}

    /// The process with this pid is dead, and what it had left is dropped.
    fn on_sweep(&mut self, _pid: i32, _removed: &[Entry]) {}

    /// A process is dead, and what it held of entries that others hold too is dropped; the counts
    /// are those of the dropped references.
    fn on_loosened(&mut self, _loosened: &[Entry]) {}

    /// Answers are about to leave: what they show must be safe by now.
    fn before_answers(&mut self) {}

    /// A client is gone.
    fn on_close(&mut self, _client: ClientId) {}

    /// Everything that was ready has been served; a good time to flush a log.
    fn on_idle(&mut self) {}

    /// Whether [`Observer::on_idle`] has something to write later: it is then called soon, also
    /// when nothing happens.
    fn has_unwritten(&self) -> bool {
        false
    }
}

impl Observer for () {}

/// Sees nothing where there is none.
impl<O: Observer> Observer for Option<O> {
    fn on_accept(&mut self, client: ClientId) {
        if let Some(observer) = self {
            observer.on_accept(client);
        }
    }

    fn on_refused(&mut self, why: Refused) {
        if let Some(observer) = self {
            observer.on_refused(why);
        }
    }

    fn on_layout(&mut self, client: ClientId, layout: Layout, why: Detection) {
        if let Some(observer) = self {
            observer.on_layout(client, layout, why);
        }
    }

    fn on_first_message(&mut self, client: ClientId, layout: Layout) {
        if let Some(observer) = self {
            observer.on_first_message(client, layout);
        }
    }

    #[inline]
    fn on_received(&mut self, client: ClientId, message: &Message) {
        if let Some(observer) = self {
            observer.on_received(client, message);
        }
    }

    #[inline]
    fn on_message(&mut self, client: ClientId, message: &Message, outcome: &Outcome) {
        if let Some(observer) = self {
            observer.on_message(client, message, outcome);
        }
    }

    fn on_unknown(&mut self, client: ClientId, frame: &[u8]) {
        if let Some(observer) = self {
            observer.on_unknown(client, frame);
        }
    }

    fn on_dump(&mut self, client: ClientId, request: &Message, registry: &Registry) {
        if let Some(observer) = self {
            observer.on_dump(client, request, registry);
        }
    }

    fn on_flush(&mut self) {
        if let Some(observer) = self {
            observer.on_flush();
        }
    }

    fn on_sweep(&mut self, pid: i32, removed: &[Entry]) {
        if let Some(observer) = self {
            observer.on_sweep(pid, removed);
        }
    }

    fn on_loosened(&mut self, loosened: &[Entry]) {
        if let Some(observer) = self {
            observer.on_loosened(loosened);
        }
    }

    fn before_answers(&mut self) {
        if let Some(observer) = self {
            observer.before_answers();
        }
    }

    fn on_close(&mut self, client: ClientId) {
        if let Some(observer) = self {
            observer.on_close(client);
        }
    }

    fn on_idle(&mut self) {
        if let Some(observer) = self {
            observer.on_idle();
        }
    }

    fn has_unwritten(&self) -> bool {
        self.as_ref().is_some_and(O::has_unwritten)
    }
}

/// Both see everything, the first one first.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn on_accept(&mut self, client: ClientId) {
        self.0.on_accept(client);
        self.1.on_accept(client);
    }

    fn on_refused(&mut self, why: Refused) {
        self.0.on_refused(why);
        self.1.on_refused(why);
    }

    fn on_layout(&mut self, client: ClientId, layout: Layout, why: Detection) {
        self.0.on_layout(client, layout, why);
        self.1.on_layout(client, layout, why);
    }

    fn on_first_message(&mut self, client: ClientId, layout: Layout) {
        self.0.on_first_message(client, layout);
        self.1.on_first_message(client, layout);
    }

    #[inline]
    fn on_received(&mut self, client: ClientId, message: &Message) {
        self.0.on_received(client, message);
        self.1.on_received(client, message);
    }

    #[inline]
    fn on_message(&mut self, client: ClientId, message: &Message, outcome: &Outcome) {
        self.0.on_message(client, message, outcome);
        self.1.on_message(client, message, outcome);
    }

    fn on_unknown(&mut self, client: ClientId, frame: &[u8]) {
        self.0.on_unknown(client, frame);
        self.1.on_unknown(client, frame);
    }

    fn on_dump(&mut self, client: ClientId, request: &Message, registry: &Registry) {
        self.0.on_dump(client, request, registry);
        self.1.on_dump(client, request, registry);
    }

    fn on_flush(&mut self) {
        self.0.on_flush();
        self.1.on_flush();
    }

    fn on_sweep(&mut self, pid: i32, removed: &[Entry]) {
        self.0.on_sweep(pid, removed);
        self.1.on_sweep(pid, removed);
    }

    fn on_loosened(&mut self, loosened: &[Entry]) {
        self.0.on_loosened(loosened);
        self.1.on_loosened(loosened);
    }

    fn before_answers(&mut self) {
        self.0.before_answers();
        self.1.before_answers();
    }

    fn on_close(&mut self, client: ClientId) {
        self.0.on_close(client);
        self.1.on_close(client);
    }

    fn on_idle(&mut self) {
        self.0.on_idle();
        self.1.on_idle();
    }

    fn has_unwritten(&self) -> bool {
        self.0.has_unwritten() || self.1.has_unwritten()
    }
}

/// Why a client was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There are [`super::ServerConfig::max_clients`].
    TooManyClients,
    /// It is another user's.
    AnotherUser,
    /// There is no file descriptor left.
    NoDescriptor,
    /// An ALLOC: the client has [`super::ServerConfig::max_client_buffers`] live.
    TooManyBuffers,
    /// It left more than [`super::ServerConfig::max_unread_bytes`] unread, and was dropped.
    TooMuchUnread,
}

impl Refused {
    /// Why, in words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Refused::TooManyClients => "as many as may be are connected",
            Refused::AnotherUser => "it is another user's",
            Refused::NoDescriptor => "no file descriptor is left",
            Refused::TooManyBuffers => "it has as many buffers live as it may",
            Refused::TooMuchUnread => "it leaves its answers unread",
        }
    }
}
