//! The listener: one thread that serves many clients on a Unix socket and feeds a [`Registry`].
//!
//! Promises:
//! - The socket file is its owner's alone (mode 0600), and only this user's processes are served.
//! - No client can stop or corrupt another: reads take turns and are bounded, frames are
//!   reassembled a client, a client that sends requests and never reads is dropped once its answers
//!   exceed a limit, and what is out of range is rejected by the registry.
//! - A message that the kernel took from a client before the shutdown is counted: shutdown drains
//!   every socket.
//! - Entries outlive their client, and where [`ServerConfig::sweeps`] is set not their process;
//!   `processes` says when one is dead. What another process holds too stays for that one.
//!
//! QUERY and DEVICE_INFO_QUERY are answered in the client's own layout. The DUMP requests are for
//! the log, as with the reference servers: the observer sees them, and no bytes go back, which a
//! client would take for the answer to its next query.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::event::EventfdFlags;
use serde::Serialize;

use super::event_loop::ServerLoop;
use super::socket;
use crate::planted::Planted;
use crate::registry::{Limits, Registry, Semantics, SequenceGap};
use crate::tracking::Layout;

pub use super::observer::{Observer, Refused};
pub use super::socket::ListenError;
pub(crate) use crate::tracking::wire::DeviceInfo;

/// Which client, in the order of acceptance, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ClientId(pub u64);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where to listen.
    pub path: PathBuf,
    /// How messages are understood.
    pub semantics: Semantics,
    /// Bounds on messages.
    pub limits: Limits,
    /// The layout of clients that send no hello; `None`: found out from the content.
    pub layout: Option<Layout>,
    /// What DEVICE_INFO_QUERY tells of every device; `device` is filled in, and `num_devices` is
    /// how many are known to exist: those that messages were about are added to them.
    pub device_info: DeviceInfo,
    /// Whether it answers as the reference servers do also where they are wrong: see
    /// `reference_rules.rs`.
    pub like_reference: bool,
    /// How many clients are served at once; further ones are turned away.
    pub max_clients: usize,
    /// How many buffers one client may have live; further ones are rejected.
    pub max_client_buffers: u64,
    /// Whether what a dead process had left is dropped.
    pub sweeps: bool,
    /// How many bytes of answers a client may leave unread before it is dropped; a table counts
    /// with up to 172 KB, however long it is.
    pub max_unread_bytes: usize,
    /// Sleeps so long for every message, in µs: a deliberately slow server.
    pub delay_per_message_us: u64,
    /// A mistake that it makes on purpose.
    pub planted: Option<Planted>,
}

impl ServerConfig {
    /// The usual server on `path`.
    pub fn new(path: impl Into<PathBuf>, semantics: Semantics) -> ServerConfig {
        let limits = Limits::default();
        let device_info = DeviceInfo {
            device: 0,
            total_dram_bytes: 12 << 30,
            total_l1_bytes: 64 * 1_499_136,
            arch: 2,
            num_dram_channels: 12,
            dram_bytes_per_channel: 1 << 30,
            l1_bytes_per_core: 1_499_136,
            is_available: true,
            num_devices: 0,
        };
        ServerConfig {
            path: path.into(),
            semantics,
            limits,
            layout: None,
            device_info,
            like_reference: false,
            max_clients: 1024,
            max_client_buffers: limits.buffers,
            sweeps: false,
            max_unread_bytes: 4 << 20,
            delay_per_message_us: 0,
            planted: None,
        }
    }
}

/// What a server did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Whole messages received, of every kind.
    pub messages: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Clients accepted.
    pub connections: u64,
    /// Clients turned away: too many, another user, or no file descriptor left.
    pub refused: u64,
    /// Clients dropped because they left too much unread.
    pub dropped_clients: u64,
    /// Frames that are no message.
    pub unknown_frames: u64,
    /// Connections that ended inside a frame.
    pub torn_frames: u64,
    /// Releases of what wasn't live.
    pub unknown_frees: u64,
    /// Allocations of a live key: replaced or incremented.
    pub duplicate_allocs: u64,
    /// Messages out of bounds.
    pub rejected: u64,
    /// Buffers of dead processes that were dropped.
    pub swept: u64,
}

/// What is left of a server after its shutdown.
#[derive(Debug)]
pub struct ServerReport<O> {
    /// The final reconstruction.
    pub registry: Registry,
    /// What happened.
    pub counters: Counters,
    /// Sequence numbers that never came, when messages are sequenced.
    pub gaps: Vec<SequenceGap>,
    /// The observer.
    pub observer: O,
}

/// Tells a server to stop; from any thread.
#[derive(Clone, Debug)]
pub(crate) struct ShutdownHandle(Arc<OwnedFd>);

impl ShutdownHandle {
    /// Asks for the shutdown; returns at once.
    pub(crate) fn shutdown(&self) {
        // It can fail only when the counter is full: then it has been asked for before.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

/// A running server. Dropping it shuts it down.
#[derive(Debug)]
pub struct Server<O: Observer = ()> {
    path: PathBuf,
    stop: ShutdownHandle,
    thread: Option<JoinHandle<ServerReport<O>>>,
}

impl Server {
    /// Listens, and serves on a thread of its own.
    pub fn start(config: ServerConfig) -> Result<Server, ListenError> {
        Server::start_with(config, ())
    }
}

impl<O: Observer> Server<O> {
    /// As [`Server::start`], with an observer.
    pub fn start_with(config: ServerConfig, observer: O) -> Result<Server<O>, ListenError> {
        let registry = Registry::new(config.semantics, config.limits);
        Server::start_restored(config, registry, observer)
    }

    /// As [`Server::start_with`], with what is live already in `registry`, which has the
    /// configuration's semantics and limits.
    pub(crate) fn start_restored(
        config: ServerConfig,
        registry: Registry,
        observer: O,
    ) -> Result<Server<O>, ListenError> {
        let path = config.path.clone();
        let semantics = config.semantics;
        let system = |source| ListenError::System {
            path: path.clone(),
            source,
        };
        let (socket, file) = socket::listen(&config.path)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let stop = Arc::new(rustix::event::eventfd(0, flags).map_err(|e| system(e.into()))?);
        let event_loop =
            ServerLoop::new(config, socket, file, Arc::clone(&stop), registry, observer)
                .map_err(|source| system(source.into()))?;
        let thread = thread::Builder::new()
            .name("tracking-server".into())
            .spawn(move || event_loop.run())
            .map_err(system)?;
        log::info!("listening on {}, {semantics} semantics", path.display());
        Ok(Server {
            path,
            stop: ShutdownHandle(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A handle that stops it from elsewhere.
    pub(crate) fn shutdown_handle(&self) -> ShutdownHandle {
        self.stop.clone()
    }

    /// Drains every client, stops, and reports.
    pub fn shutdown(self) -> ServerReport<O> {
        self.stop.shutdown();
        self.wait()
    }

    /// Waits until somebody stops it, and reports.
    pub(crate) fn wait(mut self) -> ServerReport<O> {
        let thread = self
            .thread
            .take()
            .expect("the thread is taken here and on drop only");
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl<O: Observer> Drop for Server<O> {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.stop.shutdown();
            // A panic of the server's thread was printed when it happened.
            let _ = thread.join();
        }
    }
}
