//! The client side of a run: its connections, and the questions it asks the server at the end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::Mutex;

use crate::engine::backend::Outgoing;
use crate::oracle::rest;
use crate::scenario::{Connections, Scenario};
use crate::trace::event::{ConnId, SendOutcome};
use crate::trace::file::AtRest;
use crate::trace::message::chunk_range;
use crate::tracking::transport::{Connection, SendMode, WriteOutcome};
use crate::tracking::{Layout, Message, wire};

/// How long to wait for each piece of an answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// A run's connections, numbered in the order of opening, which is also the order in which the server accepts them.
#[derive(Debug)]
pub(super) struct Client {
    path: PathBuf,
    layout: Layout,
    mode: SendMode,
    chunks: u8,
    send_buffer_bytes: Option<usize>,
    connections: Box<[OnceLock<Connection>]>,
    /// Connections opened; held while one is opened.
    opened: Mutex<u16>,
}

impl Client {
    /// A client for `scenario`, with the connections that are there before the threads start.
    pub fn open(scenario: &Scenario, path: &Path) -> io::Result<Client> {
        let transport = scenario.transport;
        let client = Client {
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
    pub fn connect(&self) -> io::Result<ConnId> {
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
    pub fn send(&self, message: &Message, outgoing: &Outgoing) -> (SendOutcome, u64) {
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

    /// Waits until the server has taken what was sent on every connection, and asks what it shows: its whole table
    /// if it is one of ours, else its totals.
    pub fn ask(&self, path: &Path, scenario: &Scenario) -> AtRest {
        for connection in self.connections.iter().filter_map(OnceLock::get) {
            if connection.query(0, ANSWER_PATIENCE).is_err() {
                return AtRest::Unknown;
            }
        }
        if self.layout == Layout::Extended {
            let table = Connection::open(path, Layout::Extended, None)
                .map_err(Into::into)
                .and_then(|connection| connection.full_table(ANSWER_PATIENCE));
            if let Ok(table) = table {
                return AtRest::Table(rest::entries(&table));
            }
        }
        let Some(connection) = self.connections.iter().find_map(OnceLock::get) else {
            return AtRest::Unknown;
        };
        let totals = |device: u16| {
            let response = connection.query(i32::from(device), ANSWER_PATIENCE).ok()?;
            Some([
                response.dram_bytes,
                response.l1_bytes.saturating_add(response.cb_bytes),
                response.l1_small_bytes,
                response.trace_bytes,
            ])
        };
        (0..scenario.devices)
            .map(totals)
            .collect::<Option<Vec<_>>>()
            .map_or(AtRest::Unknown, AtRest::Totals)
    }

    /// Breaks every connection, so that a send that waits for a server that does not read fails at once.
    pub fn abort(&self) {
        self.connections
            .iter()
            .filter_map(OnceLock::get)
            .for_each(Connection::abort);
    }

    /// Ends what is said on every connection.
    pub fn close(&self) {
        self.connections
            .iter()
            .filter_map(OnceLock::get)
            .for_each(Connection::finish);
    }
}
