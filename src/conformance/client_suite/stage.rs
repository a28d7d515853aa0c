//! The server that is played towards the client under test: a sound one that fails on cue.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};

use crate::registry::{Limits, Registry, Semantics};
use crate::server::ServerConfig;
use crate::server::socket::{self, SocketFile};
use crate::tracking::codec::{DecodedFrame, FrameDecoder};
use crate::tracking::table::{self, TableFrame};
use crate::tracking::wire::{DeviceInfo, encode_device_info, encode_response};
use crate::tracking::{Layout, Message, MessageKind};

/// How the server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// It takes everything and answers.
    Serves,
    /// The same, so long after it was asked to begin: nobody listens until then.
    Late(Duration),
    /// It takes its time over every piece and every answer.
    Slow,
    /// After [`MESSAGES_BEFORE`] it closes every connection and its socket.
    Dies,
    /// The same, and a moment later one listens again that knows nothing.
    Restarts,
    /// After [`MESSAGES_BEFORE`] it neither accepts nor reads nor answers, and closes nothing.
    Stops,
    /// It closes every connection as soon as it has accepted it.
    TurnsAway,
    /// It answers in this layout, whatever the client speaks.
    Answers(Layout),
}

/// So many messages are taken before something happens.
pub(super) const MESSAGES_BEFORE: u64 = 10;
/// Or so many bytes: messages are counted when their layout is known.
const BYTES_BEFORE: u64 = 4096;
/// How long nobody listens when a server restarts.
const RESTART_PAUSE: Duration = Duration::from_millis(100);
/// What a slow server reads at a time, and how long it waits then and before it answers.
const SLOW_READ_BYTES: usize = 4096;
const SLOW_PAUSE: Duration = Duration::from_millis(2);
const SLOW_ANSWER: Duration = Duration::from_millis(50);
/// A slow server is not slow for longer than this in all.
const SLOW_AT_MOST: Duration = Duration::from_secs(3);
const READ_BYTES: usize = 64 << 10;
/// After so long without bytes a client's layout is decided from what is there.
const QUIET: Duration = Duration::from_millis(20);
const POLL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 2_000_000,
};
const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};
const DEVICES: u32 = 8;

/// What the server saw of its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SeenClient {
    /// Connections that were accepted.
    pub(crate) connects: u64,
    /// Of these, those after a restart.
    pub(crate) reconnects: u64,
    /// How long after the stage was opened the first of them came.
    pub(crate) first_connect: Option<Duration>,
    /// The most that were open at once.
    pub(crate) most_open: usize,
    pub(crate) messages: u64,
    /// Messages that ask for an answer.
    pub(crate) asked: u64,
    /// Connections that ended inside a frame.
    pub(crate) torn_frames: u64,
    /// Frames that are no message.
    pub(crate) unknown_frames: u64,
    pub(crate) layout: Option<Layout>,
}

/// A server that is played, on a thread of its own.
#[derive(Debug)]
pub(super) struct Stage {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<SeenClient>,
}

impl Stage {
    /// Listens at `path`, or will.
    pub(crate) fn open(path: &Path, manner: Manner) -> io::Result<Stage> {
        let mut server = PlayedServer {
            path: path.to_owned(),
            manner,
            listener: None,
            listens_at: None,
            connections: Vec::new(),
            registry: new_registry(),
            opened: Instant::now(),
            seen: SeenClient::default(),
            bytes: 0,
            slept: Duration::ZERO,
            is_over: false,
        };
        match manner {
            Manner::Late(delay) => server.listens_at = Some(Instant::now() + delay),
            _ => server.listen()?,
        }
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("played-server".into())
            .spawn(move || server.play(&told))?;
        Ok(Stage { stop, thread })
    }

    /// Takes what the client has sent, and ends.
    pub(crate) fn close(self) -> SeenClient {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

struct PlayedServer {
    path: PathBuf,
    manner: Manner,
    listener: Option<(OwnedFd, SocketFile)>,
    /// When it begins to listen, where it does not yet.
    listens_at: Option<Instant>,
    connections: Vec<HeardClient>,
    registry: Registry,
    opened: Instant,
    seen: SeenClient,
    bytes: u64,
    slept: Duration,
    /// Whether what was to happen has happened.
    is_over: bool,
}

struct HeardClient {
    fd: OwnedFd,
    decoder: FrameDecoder,
    last_read: Instant,
    is_at_end: bool,
}

impl PlayedServer {
    fn play(mut self, stop: &AtomicBool) -> SeenClient {
        while !stop.load(Ordering::Relaxed) {
            if self.is_over && self.manner == Manner::Stops {
                thread::sleep(Duration::from_millis(2));
                continue;
            }
            if self.listens_at.is_some_and(|at| Instant::now() >= at) {
                self.listens_at = None;
                // Where somebody else listens there now, the client finds that one.
                let _ = self.listen();
            }
            self.wait();
            self.turn();
            let is_due = self.seen.messages >= MESSAGES_BEFORE || self.bytes >= BYTES_BEFORE;
            if is_due && !self.is_over {
                self.happen();
            }
        }
        if !self.is_over || self.manner == Manner::Restarts {
            // The client has ended: everything is there.
            self.slept = SLOW_AT_MOST;
            self.turn();
            while self.connections.iter().any(|client| !client.is_at_end) && self.is_readable() {
                self.turn();
            }
        }
        for mut client in std::mem::take(&mut self.connections) {
            self.finish(&mut client);
        }
        self.seen
    }

    fn listen(&mut self) -> io::Result<()> {
        self.listener = Some(socket::listen(&self.path).map_err(io::Error::other)?);
        Ok(())
    }

    /// What the manner has come to.
    fn happen(&mut self) {
        match self.manner {
            Manner::Dies | Manner::Restarts => {
                self.is_over = true;
                self.listener = None;
                for mut client in std::mem::take(&mut self.connections) {
                    self.finish(&mut client);
                }
                if self.manner == Manner::Restarts {
                    self.registry = new_registry();
                    self.listens_at = Some(Instant::now() + RESTART_PAUSE);
                }
            }
            Manner::Stops => self.is_over = true,
            _ => {}
        }
    }

    /// Waits a moment for something to do.
    fn wait(&self) {
        let mut fds = self.poll_fds();
        if fds.is_empty() {
            return thread::sleep(Duration::from_millis(2));
        }
        let _ = poll(&mut fds, Some(&POLL));
    }

    fn is_readable(&self) -> bool {
        let mut fds = self.poll_fds();
        poll(&mut fds, Some(&AT_ONCE)).is_ok_and(|ready| ready > 0)
    }

    fn poll_fds(&self) -> Vec<PollFd<'_>> {
        let listener = self.listener.iter().map(|(fd, _)| fd);
        let clients = self.connections.iter().filter(|client| !client.is_at_end);
        listener
            .chain(clients.map(|client| &client.fd))
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect()
    }

    /// Accepts who is there, and reads once from each.
    fn turn(&mut self) {
        self.accept();
        let read_bytes = match self.manner {
            Manner::Slow => SLOW_READ_BYTES,
            _ => READ_BYTES,
        };
        let mut buffer = vec![0; read_bytes];
        let mut connections = std::mem::take(&mut self.connections);
        for client in &mut connections {
            match recv(&client.fd, buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((0, _)) => client.is_at_end = true,
                Ok((count, _)) => {
                    self.bytes += count as u64;
                    client.last_read = Instant::now();
                    self.hear(client, Some(&buffer[..count]));
                    self.be_slow(SLOW_PAUSE);
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {
                    if client.decoder.is_undecided() && client.last_read.elapsed() >= QUIET {
                        self.hear(client, None);
                    }
                }
                Err(_) => client.is_at_end = true,
            }
            if client.is_at_end {
                self.finish(client);
            }
        }
        connections.retain(|client| !client.is_at_end);
        self.connections = connections;
    }

    fn accept(&mut self) {
        let Some((listener, _)) = &self.listener else {
            return;
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(fd) = accept_with(listener, flags) {
            self.seen.connects += 1;
            self.seen.first_connect = self.seen.first_connect.or(Some(self.opened.elapsed()));
            self.seen.reconnects += u64::from(self.is_over);
            if self.manner == Manner::TurnsAway {
                continue;
            }
            self.connections.push(HeardClient {
                fd,
                decoder: FrameDecoder::detecting(),
                last_read: Instant::now(),
                is_at_end: false,
            });
            let open = self.connections.iter().filter(|client| client.is_open());
            self.seen.most_open = self.seen.most_open.max(open.count());
        }
    }

    /// Takes in bytes; `None`: no more come for now.
    fn hear(&mut self, client: &mut HeardClient, bytes: Option<&[u8]>) {
        let HeardClient { fd, decoder, .. } = client;
        let mut answers = VecDeque::new();
        let mut take = |frame: DecodedFrame<'_>| match frame {
            DecodedFrame::Message(message, raw) => {
                if let Some(answer) = self.take(message, raw) {
                    answers.push_back(answer);
                }
            }
            DecodedFrame::TableRequest => {
                let live = self.registry.live();
                let count = live.len() as u64;
                let entries = live.into_iter().map(TableFrame::Entry);
                let frames = entries.chain([TableFrame::End(count)]);
                answers.extend(frames.map(|frame| table::encode(&frame).to_vec()));
            }
            DecodedFrame::Unknown(_) => self.seen.unknown_frames += 1,
        };
        match bytes {
            Some(bytes) => decoder.feed(bytes, &mut take),
            None => decoder.settle(&mut take),
        }
        for answer in answers {
            self.be_slow(SLOW_ANSWER);
            // A client that does not read its answers goes without.
            let _ = send(&*fd, &answer, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
    }

    /// Takes in a message; what is answered.
    fn take(&mut self, message: &Message, raw: &[u8]) -> Option<Vec<u8>> {
        let own = Layout::from_frame_bytes(raw.len());
        self.seen.layout = self.seen.layout.or(own);
        self.seen.messages += 1;
        self.registry.apply(message, &mut |_, _| ());
        let layout = match self.manner {
            Manner::Answers(layout) => layout,
            _ => own?,
        };
        let frame = match message.kind {
            MessageKind::Query => encode_response(layout, &self.registry.response(message.device)),
            MessageKind::DeviceInfoQuery => encode_device_info(layout, &device_info(message)),
            _ => return None,
        };
        self.seen.asked += 1;
        Some(frame.as_bytes().to_vec())
    }

    fn be_slow(&mut self, pause: Duration) {
        if self.manner == Manner::Slow && self.slept < SLOW_AT_MOST {
            self.slept += pause;
            thread::sleep(pause);
        }
    }

    fn finish(&mut self, client: &mut HeardClient) {
        let seen = &mut self.seen;
        let registry = &mut self.registry;
        let tail = client.decoder.finish(&mut |frame| match frame {
            DecodedFrame::Message(message, raw) => {
                seen.layout = seen.layout.or(Layout::from_frame_bytes(raw.len()));
                seen.messages += 1;
                registry.apply(message, &mut |_, _| ());
            }
            DecodedFrame::Unknown(_) => seen.unknown_frames += 1,
            DecodedFrame::TableRequest => {}
        });
        seen.torn_frames += u64::from(tail.torn_bytes > 0);
    }
}

impl HeardClient {
    /// Whether the other end is open still; one that has closed it may have left bytes.
    fn is_open(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::empty())];
        let asked = poll(&mut fds, Some(&AT_ONCE));
        asked.is_ok() && !fds[0].revents().contains(PollFlags::HUP)
    }
}

/// Stamped messages take effect in their order, all others at once.
fn new_registry() -> Registry {
    Registry::new(Semantics::Sequenced, Limits::default())
}

fn device_info(query: &Message) -> DeviceInfo {
    let device = query.device;
    let all = ServerConfig::new("", Semantics::Typed).device_info;
    if u32::try_from(device).is_ok_and(|device| device < DEVICES) {
        return DeviceInfo {
            device,
            num_devices: DEVICES,
            ..all
        };
    }
    DeviceInfo {
        device,
        num_devices: DEVICES,
        ..DeviceInfo::default()
    }
}
