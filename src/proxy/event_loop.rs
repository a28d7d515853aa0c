//! The proxy's loop: waits with epoll, lets connections forward in turns, keeps the record.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::connection::{CLIENT, ProxiedConnection, SERVER, Shared};
use super::{LAST_WORDS, ProxyConfig, ProxyError, ProxyReport};
use crate::server::socket::{self, SocketFile};
use crate::trace::capture::{CaptureEvent, CaptureRecord, CaptureWriter};
use crate::trace::file::{CaptureHeader, CaptureSource};

/// What was forwarded is in the capture's file so long after at the latest.
pub(crate) const FLUSH_AFTER: Duration = Duration::from_millis(100);

const READ_BYTES: usize = 64 << 10;
const MAX_EVENTS: usize = 256;
const LISTENER: u64 = u64::MAX;
/// How long the proxy stays awake for more: a query's answer comes within this, and to wake a
/// processor that has gone to sleep takes longer than all that the proxy does (`cargo bench -p
/// heisenbed-benches --bench tracking -- proxy`: 12 to 17 µs a message with it, 14 to 35 µs
/// without, on two cores).
const AWAKE: Duration = Duration::from_micros(60);
const NOT_AT_ALL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};
/// After so long without bytes a client's layout is decided from what is there.
const QUIET: Duration = Duration::from_millis(20);

pub(super) struct ProxyLoop {
    epoll: OwnedFd,
    listener: OwnedFd,
    file: Option<SocketFile>,
    upstream: SocketAddrUnix,
    connections: Vec<Option<ProxiedConnection>>,
    vacant: Vec<usize>,
    next_number: u32,
    buffer: Vec<u8>,
    config: ProxyConfig,
    recording: Recording,
    report: ProxyReport,
    /// Whether there was something to do the last time.
    was_busy: bool,
    /// When it was last seen to what is due.
    tended: Instant,
}

/// The capture, as far as it can be written.
struct Recording {
    writer: Option<CaptureWriter>,
    started: Instant,
    last_flush: Instant,
    error: Option<String>,
}

impl ProxyLoop {
    pub(crate) fn new(
        mut config: ProxyConfig,
        listener: OwnedFd,
        file: SocketFile,
    ) -> Result<ProxyLoop, ProxyError> {
        let system = |error: Errno| ProxyError::System(error.into());
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(system)?;
        epoll::add(
            &epoll,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )
        .map_err(system)?;
        let header = CaptureHeader {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            source: CaptureSource::Proxy,
            layout: config.layout,
            started_unix_ns: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_nanos() as u64),
        };
        let writer = config
            .record
            .take()
            .map(|file| CaptureWriter::create(file, header))
            .transpose()?;
        let now = Instant::now();
        Ok(ProxyLoop {
            epoll,
            listener,
            file: Some(file),
            upstream: SocketAddrUnix::new(&config.upstream).map_err(system)?,
            connections: Vec::new(),
            vacant: Vec::new(),
            next_number: 0,
            buffer: vec![0; READ_BYTES],
            config,
            recording: Recording {
                writer,
                started: now,
                last_flush: now,
                error: None,
            },
            report: ProxyReport::default(),
            was_busy: false,
            tended: now,
        })
    }

    pub(crate) fn run(mut self, stop: &Arc<AtomicBool>) -> ProxyReport {
        let mut events: Vec<Event> = Vec::with_capacity(MAX_EVENTS);
        while !stop.load(Ordering::Relaxed) {
            events.clear();
            self.wait(&mut events);
            self.was_busy = !events.is_empty();
            let mut acceptable = false;
            for event in &events {
                match event.data.u64() {
                    LISTENER => acceptable = true,
                    socket => self.wake(socket as usize / 2, socket as usize % 2, event.flags),
                }
            }
            if acceptable {
                self.accept_all();
            }
            if !self.config.faults.is_empty() {
                self.tend();
            }
            self.recording.flush_if_old();
        }
        self.end()
    }

    /// Waits for events; none: the time to wait is over, or a signal came.
    fn wait(&self, events: &mut Vec<Event>) {
        let awake_until = Instant::now() + AWAKE;
        // What faults hold back is due at times of its own.
        let stays_awake = self.was_busy && self.config.faults.is_empty();
        loop {
            let awake = stays_awake && Instant::now() < awake_until;
            let timeout = if awake { NOT_AT_ALL } else { self.timeout() };
            let room = rustix::buffer::spare_capacity(events);
            match epoll::wait(&self.epoll, room, Some(&timeout)) {
                // Others that could run, client and server among them, go first.
                Ok(0) if awake => std::thread::yield_now(),
                Ok(_) | Err(Errno::INTR) => return,
                Err(error) => {
                    unreachable!("epoll_wait on a valid set fails only with EINTR: {error}")
                }
            }
        }
    }

    /// How long to wait: until something that was held back is due.
    fn timeout(&self) -> Timespec {
        let now = Instant::now();
        let mut wait = FLUSH_AFTER;
        if !self.config.faults.is_empty() {
            for connection in self.connections.iter().flatten() {
                // What has fallen due since nobody has seen to yet.
                if let Some(due) = connection.due(self.tended) {
                    wait = wait.min(due.saturating_duration_since(now));
                }
                if connection.is_undecided() {
                    wait = wait.min(QUIET / 4);
                }
            }
        }
        Timespec {
            tv_sec: 0,
            tv_nsec: wait.as_nanos() as i64,
        }
    }

    /// A socket of connection `slot` is ready.
    fn wake(&mut self, slot: usize, side: usize, flags: EventFlags) {
        if flags.intersects(EventFlags::HUP | EventFlags::ERR)
            && let Some(Some(connection)) = self.connections.get_mut(slot)
            && !connection.gone[side]
        {
            connection.gone[side] = true;
            // It would be reported again and again.
            let _ = epoll::delete(&self.epoll, &connection.sockets[side]);
            connection.waits_for[side] = None;
        }
        self.with(slot, |connection, shared| {
            let mut alive = true;
            if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                alive &= connection.forward(side, shared);
            }
            if alive && flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR) {
                alive &= connection.forward(1 - side, shared);
            }
            alive
        });
    }

    /// Lets what was held back on purpose go when it is due.
    fn tend(&mut self) {
        self.tended = Instant::now();
        for slot in 0..self.connections.len() {
            let undecided = match &self.connections[slot] {
                Some(connection) => connection.is_undecided(),
                None => continue,
            };
            self.with(slot, |connection, shared| {
                if undecided {
                    connection.settle(QUIET, shared)
                } else {
                    connection.forward(CLIENT, shared)
                }
            });
        }
    }

    /// Lets connection `slot` work, and closes it where `work` says that it is over.
    fn with(
        &mut self,
        slot: usize,
        work: impl FnOnce(&mut ProxiedConnection, &mut Shared<'_>) -> bool,
    ) {
        let Some(mut connection) = self.connections.get_mut(slot).and_then(Option::take) else {
            return;
        };
        let number = connection.number();
        let (recording, report) = (&mut self.recording, &mut self.report);
        let mut record = |what: CaptureEvent<'_>| {
            match what {
                CaptureEvent::ToServer(bytes) => report.to_server_bytes += bytes.len() as u64,
                CaptureEvent::ToClient(bytes) => report.to_client_bytes += bytes.len() as u64,
                CaptureEvent::Fault(kind, _) => *report.faults.entry(kind).or_default() += 1,
                CaptureEvent::Opened | CaptureEvent::Closed => {}
            }
            recording.record(number, what);
        };
        let mut shared = Shared {
            buffer: &mut self.buffer,
            faults: &self.config.faults,
            seed: self.config.seed,
            record: &mut record,
        };
        if !work(&mut connection, &mut shared) {
            // Closing the descriptors takes them out of the epoll set.
            drop(connection);
            self.recording.record(number, CaptureEvent::Closed);
            return self.vacant.push(slot);
        }
        self.update_interest(slot, &mut connection);
        self.connections[slot] = Some(connection);
    }

    fn update_interest(&self, slot: usize, connection: &mut ProxiedConnection) {
        let now = Instant::now();
        for side in [CLIENT, SERVER] {
            let wanted = connection.interest(side, now);
            if connection.gone[side] || connection.waits_for[side] == Some(wanted) {
                continue;
            }
            let mut flags = EventFlags::empty();
            flags.set(EventFlags::IN, wanted.0);
            flags.set(EventFlags::OUT, wanted.1);
            let data = EventData::new_u64((2 * slot + side) as u64);
            // A descriptor that is open and in the set can be changed; memory for it is there.
            let _ = epoll::modify(&self.epoll, &connection.sockets[side], data, flags);
            connection.waits_for[side] = Some(wanted);
        }
    }

    fn accept_all(&mut self) {
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(&self.listener, flags) {
                Ok(client) => self.admit(client),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => return,
            }
        }
    }

    fn admit(&mut self, client: OwnedFd) {
        let open = self.connections.len() - self.vacant.len();
        if open >= self.config.max_connections || !socket::is_same_user(&client) {
            self.report.refused += 1;
            return;
        }
        let Ok(server) = self.connect() else {
            self.report.unreachable += 1;
            return;
        };
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        let number = self.next_number;
        let cuts = !self.config.faults.is_empty();
        let mut connection =
            ProxiedConnection::new(number, client, server, cuts, self.config.layout);
        for side in [CLIENT, SERVER] {
            let data = EventData::new_u64((2 * slot + side) as u64);
            if epoll::add(&self.epoll, &connection.sockets[side], data, EventFlags::IN).is_err() {
                self.report.refused += 1;
                return self.vacant.push(slot);
            }
            connection.waits_for[side] = Some((true, false));
        }
        self.next_number += 1;
        self.report.connections += 1;
        self.recording.record(number, CaptureEvent::Opened);
        self.connections[slot] = Some(connection);
    }

    fn connect(&self) -> Result<OwnedFd, Errno> {
        let flags = SocketFlags::CLOEXEC;
        let server =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // Waits where the server's backlog is full, as the client itself would.
        rustix::net::connect(&server, &self.upstream)?;
        rustix::io::ioctl_fionbio(&server, true)?;
        Ok(server)
    }

    /// Forwards what has arrived, closes everything, and ends the capture.
    fn end(mut self) -> ProxyReport {
        self.file = None;
        let until = Instant::now() + LAST_WORDS;
        for slot in 0..self.connections.len() {
            let mut idle = 0;
            while idle < 2 && self.connections[slot].is_some() && Instant::now() < until {
                let before = (self.report.to_server_bytes, self.report.to_client_bytes);
                self.with(slot, |connection, shared| {
                    connection.forward(CLIENT, shared) && connection.forward(SERVER, shared)
                });
                let after = (self.report.to_server_bytes, self.report.to_client_bytes);
                idle = if before == after { idle + 1 } else { 0 };
            }
            if let Some(connection) = self.connections[slot].take() {
                self.recording
                    .record(connection.number(), CaptureEvent::Closed);
            }
        }
        let Recording { writer, error, .. } = self.recording;
        match writer.map(CaptureWriter::end) {
            Some(Ok(bytes)) => self.report.recorded_bytes = Some(bytes),
            Some(Err(error)) => self.report.record_error = Some(error.to_string()),
            None => self.report.record_error = error,
        }
        self.report
    }
}

impl Recording {
    fn record(&mut self, conn: u32, what: CaptureEvent<'_>) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        let record = CaptureRecord {
            at_ns: self.started.elapsed().as_nanos() as u64,
            conn,
            what,
        };
        let written = writer.record(&record);
        self.note(written);
    }

    fn flush_if_old(&mut self) {
        if self.last_flush.elapsed() < FLUSH_AFTER {
            return;
        }
        self.last_flush = Instant::now();
        if let Some(writer) = &mut self.writer {
            let written = writer.flush();
            self.note(written);
        }
    }

    fn note(&mut self, written: std::io::Result<()>) {
        if let Err(error) = written {
            crate::say!("warning: the capture ends here, forwarding goes on: {error}");
            self.error = Some(error.to_string());
            self.writer = None;
        }
    }
}
