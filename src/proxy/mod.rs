//! The proxy: stands between tracking clients and their server, forwards, and records both
//! directions.
//!
//! What holds:
//! - Without faults every byte is forwarded unchanged and in order, both ways, and an end of a
//!   direction is passed on as an end.
//! - Each side's pace is the other's: the proxy holds at most one read of a direction, then stops
//!   reading from its source.
//! - Bytes are forwarded first and recorded then. The record is written a block at a time, and at
//!   the latest after [`event_loop::FLUSH_AFTER`], so that a proxy that is killed leaves a capture
//!   that ends at most so long before.
//! - A record that can't be written any more (a full disk) ends the recording, never the
//!   forwarding; the report says so.
//! - Faults are decided by the seed, the connection's number and the frame's number in it, and by
//!   nothing else.
//!
//! Rooms: [`fault`] says what is done to which frames, `connection` forwards one connection,
//! `event_loop` waits.

mod connection;
mod event_loop;
pub(crate) mod fault;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::server::socket;
use crate::trace::capture::FaultKind;
use crate::tracking::Layout;

pub(crate) use crate::server::listener::ListenError;
use fault::Fault;

/// How to proxy.
#[derive(Debug)]
pub struct ProxyConfig {
    /// Where clients connect.
    pub listen: PathBuf,
    /// Where the server listens.
    pub upstream: PathBuf,
    /// Where the capture goes.
    pub record: Option<File>,
    /// What to do to which frames.
    pub faults: Vec<Fault>,
    /// What faults are decided by.
    pub seed: u64,
    /// The layout of clients that don't announce theirs; else it is found out. For faults only.
    pub layout: Option<Layout>,
    /// Connections at once.
    pub max_connections: usize,
}

/// What a proxy did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyReport {
    /// Connections that were forwarded.
    pub connections: u64,
    /// Clients that were turned away: too many, or another user's.
    pub refused: u64,
    /// Clients for which the server could not be reached.
    pub unreachable: u64,
    /// Bytes forwarded to the server.
    pub to_server_bytes: u64,
    /// Bytes forwarded to clients.
    pub to_client_bytes: u64,
    /// Faults that were put in.
    pub faults: BTreeMap<FaultKind, u64>,
    /// Size of the capture, where one was written to its end.
    pub recorded_bytes: Option<u64>,
    /// Why the recording ended early.
    pub record_error: Option<String>,
}

/// Why a proxy can't start.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// It can't listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// There is no server.
    #[error(
        "{path}: {source}; start the server first, listening there, or wait for it with --wait"
    )]
    Upstream {
        /// Where.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The capture can't be begun, or the system refuses what the proxy needs.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// A proxy that listens.
pub struct Proxy(event_loop::ProxyLoop);

impl Proxy {
    /// Listens, and begins the capture.
    pub fn start(config: ProxyConfig) -> Result<Proxy, ProxyError> {
        let upstream = |source: std::io::Error| ProxyError::Upstream {
            path: config.upstream.clone(),
            source,
        };
        // Whether it is there, and not whether it answers: a server may not like a client that says
        // nothing.
        let file = std::fs::metadata(&config.upstream).map_err(upstream)?;
        if !std::os::unix::fs::FileTypeExt::is_socket(&file.file_type()) {
            return Err(upstream(std::io::Error::other("it is no socket")));
        }
        let (listener, file) = socket::listen(&config.listen)?;
        Ok(Proxy(event_loop::ProxyLoop::new(config, listener, file)?))
    }

    /// Forwards until `stop` is set. It is looked at [`FLUSH_AFTER`] later at the latest.
    pub fn run(self, stop: &Arc<AtomicBool>) -> ProxyReport {
        self.0.run(stop)
    }
}

/// Waits until a server listens at `path`, for `patience` at most where it has an end, or until
/// `stop` is set. It is seen by a connection that says nothing: a socket's file may be a dead
/// server's.
pub(crate) fn wait_for_server(
    path: &Path,
    patience: Option<Duration>,
    stop: &AtomicBool,
) -> Result<(), ProxyError> {
    let started = Instant::now();
    loop {
        let source = match UnixStream::connect(path) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let over = patience.is_some_and(|patience| started.elapsed() >= patience);
        if over {
            return Err(ProxyError::Upstream {
                path: path.to_owned(),
                source,
            });
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        thread::sleep(WAIT_POLL);
    }
}

/// How often it is looked for a server that isn't there yet.
const WAIT_POLL: Duration = Duration::from_millis(10);
/// How long a client or server that doesn't take its bytes is waited for when the proxy stops.
const LAST_WORDS: Duration = Duration::from_millis(200);
