//! One client: a connection in the extended layout, and what became of the messages that were
//! handed to it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use heisenbed::device::Memory;
use heisenbed::tracking::message::{Extension, Message, MessageKind};
use heisenbed::tracking::transport::{Connection, RequestError, SendMode, WriteOutcome};
use heisenbed::tracking::wire::{self, Layout, Response};

use crate::stamp::Stamps;

/// Why a call did not do what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The socket's buffer was full and the client does not wait.
    Dropped,
    /// A device, memory or size that no message can have.
    BadArgument,
    /// Nobody listens at the path.
    NoServer,
    /// The system refused the connection.
    CannotConnect,
    /// The server is gone.
    Closed,
    /// No answer in time, or none that can be read.
    NoAnswer,
    /// The client belongs to another process.
    Forked,
}

/// One buffer, as its runtime knows it.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    /// The device.
    pub device: u16,
    /// The address space.
    pub memory: Memory,
    /// The address: the buffer's id.
    pub address: u64,
    /// The size in bytes; not sent at a release.
    pub size_bytes: u64,
    /// Which life of the address this is.
    pub generation: u64,
    /// The device's sequence number of this message.
    pub sequence: Sequence,
    /// The thread; `None`: this one's number.
    pub thread: Option<u32>,
}

/// Where a message's sequence number comes from.
#[derive(Clone, Copy, Debug)]
pub enum Sequence {
    /// It has none.
    Unstamped,
    /// It is taken as the message is sent.
    Now,
    /// The caller took it before.
    Taken(u64),
}

/// What a message says of a buffer.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A buffer exists.
    Alloc,
    /// A buffer is gone.
    Free,
    /// A circular buffer exists.
    CbAlloc,
    /// A circular buffer is gone.
    CbFree,
}

/// A connected client.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    mode: SendMode,
    stamps: Arc<Stamps>,
    dropped: AtomicU64,
    pid: u32,
}

impl Client {
    /// Connects and says which layout is spoken.
    pub fn connect(path: &Path, mode: SendMode) -> Result<Client, Failure> {
        let connection =
            Connection::open(path, Layout::Extended, None).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failure::NoServer,
                _ => Failure::CannotConnect,
            })?;
        Ok(Client {
            connection,
            mode,
            stamps: Stamps::of(path),
            dropped: AtomicU64::new(0),
            pid: std::process::id(),
        })
    }

    /// Takes the next sequence number of `device`.
    pub fn stamp(&self, device: u16) -> Result<u64, Failure> {
        self.own()?;
        Ok(self.stamps.next(device))
    }

    /// Sends one message.
    pub fn send(&self, event: Event, buffer: &Buffer) -> Result<(), Failure> {
        self.own()?;
        let message = self.message(event, buffer)?;
        let frame = wire::encode(Layout::Extended, &message);
        match self.connection.write(frame.as_bytes(), self.mode) {
            WriteOutcome::Sent { .. } => Ok(()),
            WriteOutcome::Dropped { .. } => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                Err(Failure::Dropped)
            }
            WriteOutcome::Closed { .. } => Err(Failure::Closed),
        }
    }

    /// The bytes that are live on `device` as the server sees it. It has then seen all that was
    /// sent before.
    pub fn totals(&self, device: u16, timeout: Duration) -> Result<Response, Failure> {
        self.own()?;
        let answer = self.connection.query(i32::from(device), timeout);
        answer.map_err(|error| match error {
            RequestError::Io(error) if gone(error.kind()) => Failure::Closed,
            _ => {
                // A late answer must not pass for the answer to a later question.
                self.connection.abort();
                Failure::NoAnswer
            }
        })
    }

    /// How many messages were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Whether this process connected it.
    fn own(&self) -> Result<(), Failure> {
        if self.pid == std::process::id() {
            Ok(())
        } else {
            Err(Failure::Forked)
        }
    }

    fn message(&self, event: Event, buffer: &Buffer) -> Result<Message, Failure> {
        let (kind, opens) = match event {
            Event::Alloc => (MessageKind::Alloc, true),
            Event::Free => (MessageKind::Free, false),
            Event::CbAlloc => (MessageKind::CbAlloc, true),
            Event::CbFree => (MessageKind::CbFree, false),
        };
        if opens && buffer.size_bytes == 0 {
            return Err(Failure::BadArgument);
        }
        let sequence = match buffer.sequence {
            Sequence::Unstamped => 0,
            Sequence::Now => self.stamps.next(buffer.device),
            Sequence::Taken(number) => number,
        };
        Ok(Message {
            kind,
            device: i32::from(buffer.device),
            size_bytes: if opens { buffer.size_bytes } else { 0 },
            buffer_type: buffer.memory.buffer_type(),
            pid: self.pid.cast_signed(),
            address: buffer.address,
            timestamp_ns: if opens { now_ns() } else { 0 },
            extension: Some(Extension {
                memory: buffer.memory,
                sequence,
                generation: buffer.generation,
                thread: buffer.thread.unwrap_or_else(this_thread),
            }),
        })
    }
}

/// Whether an error says that the other side is gone, and not merely late.
fn gone(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
    )
}

/// This thread's number: 0 for the first thread that sent, 1 for the second, and so on.
fn this_thread() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    thread_local!(static NUMBER: u32 = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number)
}

/// The time of day, in ns. A clock before 1970 or after 2554 counts as 0.
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(0))
}
