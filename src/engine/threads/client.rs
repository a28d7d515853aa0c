//! The client side of a run: its connections, and the questions it asks the server at the end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::Mutex;

use crate::engine::backend::Outgoing;
use crate::oracle::rest;
use crate::scenario::objects::ConnId;
use crate::scenario::{Connections, Scenario};
use crate::trace::event::SendOutcome;
use crate::trace::file::AtRest;
use crate::tracking::sent::chunk_range;
use crate::tracking::transport::{Connection, SendMode, WriteOutcome};
use crate::tracking::{Layout, Message, wire};

/// How long to wait for each piece of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The same before the run, when nothing keeps the server busy.
const FIRST_ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// A run's connections, numbered in the order of opening, which is also the order in which the
/// server accepts them.
#[derive(Debug)]
pub(super) struct SendingClient {
    path: PathBuf,
    layout: Layout,
    mode: SendMode,
    chunks: u8,
    send_buffer_bytes: Option<usize>,
    connections: Box<[OnceLock<Connection>]>,
    /// Connections opened; held while one is opened.
    opened: Mutex<u16>,
}

impl SendingClient {
    /// A client for `scenario`, with the connections that are there before the threads start.
    pub(crate) fn open(scenario: &Scenario, path: &Path) -> io::Result<SendingClient> {
        let transport = scenario.transport;
        let client = SendingClient {
            path: path.to_owned(),
            layout: transport.layout,
            mode: transport.mode,
            chunks: transport.chunks,
            send_buffer_bytes: (transport.send_buffer_bytes > 0)
                .then_some(transport.send_buffer_bytes as usize),
            connections: (0..scenario.objects().conns)
                .map(|_| OnceLock::new())
                .collect(),
            opened: Mutex::new(0),
        };
        if transport.connections != Connections::Lazy {
            for _ in 0..client.connections.len() {
                client.connect()?;
            }
        }
        Ok(client)
    }

    /// Opens the next connection.
    pub(crate) fn connect(&self) -> io::Result<ConnId> {
        let mut opened = self.opened.lock();
        let place = self
            .connections
            .get(usize::from(*opened))
            .ok_or_else(|| io::Error::other("more connections than threads"))?;
        let connection = Connection::open(&self.path, self.layout, self.send_buffer_bytes)?;
        let fresh = place.set(connection).is_ok();
        assert!(fresh, "each place is filled once, under the lock");
        *opened += 1;
        Ok(ConnId(*opened - 1))
    }

    /// Writes one chunk of a message. The connection's version.
    #[inline]
    pub(crate) fn send(&self, message: &Message, outgoing: &Outgoing) -> (SendOutcome, u64) {
        let connection = self.connections[usize::from(outgoing.conn.0)]
            .get()
            .expect("a thread sends on connections it was given");
        let frame = wire::encode(self.layout, message);
        let bytes = frame.as_bytes();
        let chunk = &bytes[chunk_range(bytes.len(), self.chunks, outgoing.chunk)];
        match connection.write(chunk, self.mode) {
            WriteOutcome::Sent { version } => (SendOutcome::Sent, version),
            WriteOutcome::Dropped { version } => (SendOutcome::Dropped, version),
            WriteOutcome::Closed { version, .. } => (SendOutcome::Failed, version),
        }
    }

    /// Waits until the server has taken what was sent on every connection, and asks what it shows:
    /// its whole table if it is one of ours, else its totals.
    pub(crate) fn ask(&self, path: &Path, scenario: &Scenario) -> AtRest {
        for connection in self.connections.iter().filter_map(OnceLock::get) {
            if connection.query(0, ANSWER_TIMEOUT).is_err() {
                return AtRest::Unknown;
            }
        }
        let Some(connection) = self.connections.iter().find_map(OnceLock::get) else {
            return AtRest::Unknown;
        };
        shown(path, connection, self.layout, scenario.devices)
    }

    /// Sends messages that are no part of the run, and waits until the server has taken them or is
    /// gone.
    pub(crate) fn clean_up(&self, messages: impl Iterator<Item = Message>) {
        let Some(connection) = self.connections.iter().find_map(OnceLock::get) else {
            return;
        };
        for message in messages {
            let frame = wire::encode(self.layout, &message);
            if let WriteOutcome::Closed { .. } =
                connection.write(frame.as_bytes(), SendMode::Blocking)
            {
                return;
            }
        }
        // A server that is gone has nothing left.
        let _ = connection.query(0, ANSWER_TIMEOUT);
    }

    /// Breaks every connection, so that a send that waits for a server that does not read fails at
    /// once.
    pub(crate) fn abort(&self) {
        self.connections
            .iter()
            .filter_map(OnceLock::get)
            .for_each(Connection::abort);
    }

    /// Ends what is said on every connection.
    pub(crate) fn close(&self) {
        self.connections
            .iter()
            .filter_map(OnceLock::get)
            .for_each(Connection::finish);
    }
}

/// What the server at `path` shows before a run: nothing of it is the run's. An error where it
/// answers no query.
pub(super) fn shown_before(scenario: &Scenario, path: &Path) -> io::Result<AtRest> {
    let layout = scenario.transport.layout;
    let connection = Connection::open(path, layout, None)?;
    if let Err(error) = connection.query(0, FIRST_ANSWER_PATIENCE) {
        return Err(io::Error::other(format!(
            "a QUERY in the {layout} layout is not answered ({error}); name the server's layout with --transport layout=112 \
             (or 72, 128, 144, 648)"
        )));
    }
    Ok(shown(path, &connection, layout, scenario.devices))
}

/// What the server at `path` shows: its whole table if it is one of ours and asked in its own
/// layout, else its totals.
fn shown(path: &Path, connection: &Connection, layout: Layout, devices: u16) -> AtRest {
    if layout == Layout::Extended {
        let table = Connection::open(path, Layout::Extended, None)
            .map_err(Into::into)
            .and_then(|connection| connection.full_table(ANSWER_TIMEOUT));
        if let Ok(table) = table {
            return AtRest::Table(rest::entries(&table));
        }
    }
    let totals = |device: u16| {
        let response = connection.query(i32::from(device), ANSWER_TIMEOUT).ok()?;
        Some([
            response.dram_bytes,
            response.l1_bytes.saturating_add(response.cb_bytes),
            response.l1_small_bytes,
            response.trace_bytes,
        ])
    };
    (0..devices)
        .map(totals)
        .collect::<Option<Vec<_>>>()
        .map_or(AtRest::Unknown, AtRest::Totals)
}

/// What of `now` was not there `before`. A total that fell below what was there before comes out
/// near 2^64: the run has released nothing that it had not allocated.
pub(super) fn since(before: &AtRest, now: AtRest) -> AtRest {
    match (before, now) {
        (AtRest::Table(before), AtRest::Table(mut table)) => {
            table.retain(|entry| before.binary_search(entry).is_err());
            AtRest::Table(table)
        }
        (AtRest::Totals(before), AtRest::Totals(mut totals)) => {
            for (now, before) in totals.iter_mut().flatten().zip(before.iter().flatten()) {
                *now = now.wrapping_sub(*before);
            }
            AtRest::Totals(totals)
        }
        (AtRest::Unknown | AtRest::Table(_) | AtRest::Totals(_), now) => now,
    }
}
