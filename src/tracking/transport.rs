//! The client's side: one connection to a tracking server, used by many threads at once.
//!
//! Which thread writes to which connection, and who opens it when, is decided by whoever interprets
//! the steps of a discipline: here is only what one connection does.
//!
//! A [`Connection`]'s writes are atomic towards each other, as the kernel's are for one `send`, and
//! each takes the next *version* of its connection inside the critical section: the order in which
//! the connection's bytes flow.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, sockopt};
use serde::{Deserialize, Serialize};

use super::message::{Message, MessageKind};
use super::table::{self, TABLE_FRAME_BYTES, TableFrame};
use super::wire::{self, DeviceInfo, Layout, MAX_FRAME_BYTES, Response};
use crate::tracking::entry::Entry;

/// What a write does when the socket's buffer is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SendMode {
    /// Waits for room.
    Blocking,
    /// Drops the bytes (MSG_DONTWAIT). Bytes that the kernel took in part are finished by waiting:
    /// a stream that ends inside a message would desynchronise every later one, and loss is to be
    /// studied apart from that.
    DontWait,
}

/// What became of one write. `version` is the write's place in its connection's order, from 1.
#[derive(Debug)]
pub enum WriteOutcome {
    /// The kernel took all bytes.
    Sent {
        /// The write's place.
        version: u64,
    },
    /// The socket's buffer was full and the mode is [`SendMode::DontWait`]: nothing was written.
    /// This is the truth about the loss.
    Dropped {
        /// The write's place.
        version: u64,
    },
    /// The connection is unusable.
    Closed {
        /// The write's place.
        version: u64,
        /// The system's reason.
        error: io::Error,
    },
}

/// Why an answer didn't come.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The connection failed, ended, or the time was up.
    #[error("no answer: {0}")]
    Io(#[from] io::Error),
    /// Something else came back.
    #[error("the answer is of the wrong kind (type byte {0})")]
    WrongKind(u8),
    /// The table is only served in the extended layout.
    #[error("the whole table is served in the extended layout only, not in {0}")]
    WrongLayout(Layout),
    /// The end frame counts other entries than came.
    #[error("the table is incomplete: {received} of {announced} entries")]
    Incomplete {
        /// Entries that came.
        received: u64,
        /// Entries that the end frame counts.
        announced: u64,
    },
}

/// One connection. Writes and requests may come from any thread.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    layout: Layout,
    /// How many writes there were.
    version: Mutex<u64>,
    /// Held for the length of a request, so that answers go to who asked.
    request: Mutex<()>,
}

impl Connection {
    /// Connects, and says hello when the layout is the extended one. The hello is no write:
    /// versions start after it.
    pub fn open(
        path: &Path,
        layout: Layout,
        send_buffer_bytes: Option<usize>,
    ) -> io::Result<Connection> {
        let stream = UnixStream::connect(path)?;
        if let Some(bytes) = send_buffer_bytes {
            sockopt::set_socket_send_buffer_size(&stream, bytes)?;
        }
        let connection = Connection {
            stream,
            layout,
            version: Mutex::new(0),
            request: Mutex::new(()),
        };
        if layout == Layout::Extended {
            connection.send_all(&wire::encode_hello(layout), SendMode::Blocking)?;
        }
        Ok(connection)
    }

    /// Writes `bytes` in one piece, after and before every other write of this connection.
    pub fn write(&self, bytes: &[u8], mode: SendMode) -> WriteOutcome {
        let mut versions = self.version.lock();
        *versions += 1;
        let version = *versions;
        match self.send_all(bytes, mode) {
            Ok(true) => WriteOutcome::Sent { version },
            Ok(false) => WriteOutcome::Dropped { version },
            Err(error) => WriteOutcome::Closed { version, error },
        }
    }

    /// Asks for the totals of a device. `timeout` bounds the wait for room for the question, and
    /// that for each piece of the answer.
    pub fn query(&self, device: i32, timeout: Duration) -> Result<Response, RequestError> {
        self.ask(MessageKind::Query, device, timeout, wire::decode_response)
    }

    /// Asks for the properties of a device (-1: the number of devices only).
    pub(crate) fn device_info(
        &self,
        device: i32,
        timeout: Duration,
    ) -> Result<DeviceInfo, RequestError> {
        self.ask(
            MessageKind::DeviceInfoQuery,
            device,
            timeout,
            wire::decode_device_info,
        )
    }

    /// Asks for the whole live table, sorted; extended layout only.
    pub fn full_table(&self, timeout: Duration) -> Result<Vec<Entry>, RequestError> {
        if self.layout != Layout::Extended {
            return Err(RequestError::WrongLayout(self.layout));
        }
        let _request = self.request.lock();
        self.stream.set_read_timeout(Some(timeout))?;
        self.put_request(&table::encode_request(), timeout)?;
        let mut reader = io::BufReader::with_capacity(TABLE_FRAME_BYTES * 512, &self.stream);
        let mut entries = Vec::new();
        loop {
            let mut frame = [0; TABLE_FRAME_BYTES];
            io::Read::read_exact(&mut reader, &mut frame)?;
            match table::decode(&frame) {
                Some(TableFrame::Entry(entry)) => entries.push(entry),
                Some(TableFrame::End(announced)) => {
                    let received = entries.len() as u64;
                    let complete = received == announced;
                    return if complete {
                        Ok(entries)
                    } else {
                        Err(RequestError::Incomplete {
                            received,
                            announced,
                        })
                    };
                }
                None => return Err(RequestError::WrongKind(frame[0])),
            }
        }
    }

    fn ask<T>(
        &self,
        kind: MessageKind,
        device: i32,
        timeout: Duration,
        decode: fn(Layout, &[u8]) -> Option<T>,
    ) -> Result<T, RequestError> {
        let _request = self.request.lock();
        self.ask_locked(kind, device, timeout, decode)
    }

    fn ask_locked<T>(
        &self,
        kind: MessageKind,
        device: i32,
        timeout: Duration,
        decode: fn(Layout, &[u8]) -> Option<T>,
    ) -> Result<T, RequestError> {
        self.stream.set_read_timeout(Some(timeout))?;
        self.put_request(
            wire::encode(self.layout, &request(kind, device)).as_bytes(),
            timeout,
        )?;
        let mut frame = [0; MAX_FRAME_BYTES];
        let frame = &mut frame[..self.layout.frame_bytes()];
        io::Read::read_exact(&mut &self.stream, frame)?;
        decode(self.layout, frame).ok_or(RequestError::WrongKind(frame[0]))
    }

    /// Writes a question, as [`Connection::write`] does, and does not wait for ever: a server that
    /// has stopped leaves no room, neither for this write nor for one that is at it.
    fn put_request(&self, mut bytes: &[u8], timeout: Duration) -> io::Result<()> {
        let too_late = || io::Error::from(io::ErrorKind::TimedOut);
        let deadline = Instant::now() + timeout.min(LONGEST_WAIT);
        let mut versions = self.version.try_lock_until(deadline).ok_or_else(too_late)?;
        *versions += 1;
        while !bytes.is_empty() {
            match rustix::net::send(
                &self.stream,
                bytes,
                SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
            ) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let left = Timespec::try_from(left).map_err(io::Error::other)?;
                    let mut room = [PollFd::new(&self.stream, PollFlags::OUT)];
                    match poll(&mut room, Some(&left)) {
                        Ok(0) => return Err(too_late()),
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// A write fails that the peer leaves no room for in so long a time. Without this it waits as
    /// long as the peer lets it.
    pub(crate) fn limit_writes(&self, patience: Duration) -> io::Result<()> {
        self.stream.set_write_timeout(Some(patience))
    }

    /// Says that nothing more will be written; what was written stays readable.
    pub fn finish(&self) {
        // It can fail only when the connection is gone, and then it is finished.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Breaks the connection in both directions; a write or read that waits fails.
    pub fn abort(&self) {
        // As in `finish`.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// Whether all was sent; nothing is, when not.
    fn send_all(&self, mut bytes: &[u8], mode: SendMode) -> io::Result<bool> {
        let mut flags = SendFlags::NOSIGNAL;
        flags.set(SendFlags::DONTWAIT, mode == SendMode::DontWait);
        while !bytes.is_empty() {
            match rustix::net::send(&self.stream, bytes, flags) {
                Ok(sent) => {
                    bytes = &bytes[sent..];
                    flags = SendFlags::NOSIGNAL;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if mode == SendMode::DontWait => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

/// Nobody waits for longer, whatever timeout was asked for.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// A message that only asks.
fn request(kind: MessageKind, device: i32) -> Message {
    Message::bare(kind, device, std::process::id().cast_signed())
}
