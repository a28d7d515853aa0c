//! The listener's thread: waits with epoll, reads in turns, answers.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags};

use super::client::{ClientAccount, Fate, Output, ServedClient};
use super::frames::{Core, finish};
use super::listener::{ClientId, Counters, Observer, Refused, ServerConfig, ServerReport};
use super::processes::{Owner, Processes};
use super::socket::{self, SocketFile};
use crate::numbers::plural;
use crate::registry::{Registry, SweptEntries};
use crate::tracking::codec::FrameDecoder;
use crate::tracking::entry::Entry;

/// Bytes read from one client in its turn.
const READ_BYTES: usize = 256 << 10;
/// The same for a deliberately slow server: the rest stays in the socket, so that it fills up.
const SLOW_READ_BYTES: usize = 4 << 10;
const MAX_EVENTS: usize = 256;
/// New clients in one turn: those that have closed again are let go before they fill the places of
/// others.
const ACCEPTS_PER_TURN: usize = 64;
/// After so long without bytes an undecided client is settled.
const QUIET: Duration = Duration::from_millis(20);
const QUIET_POLL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 5_000_000,
};
/// How soon an observer that has something to write gets to do so when nothing happens.
const IDLE_POLL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

const LISTENER: u64 = u64::MAX;
const STOP: u64 = u64::MAX - 1;
/// … plus the number of a process whose pidfd it is; those of clients are below.
const PROCESS: u64 = 1 << 32;

pub(super) struct ServerLoop<O> {
    epoll: OwnedFd,
    listener: OwnedFd,
    file: Option<SocketFile>,
    /// Given up for a moment when no descriptor is left, to turn a client away.
    spare: Option<OwnedFd>,
    clients: Vec<Option<ServedClient>>,
    vacant: Vec<usize>,
    undecided: Vec<usize>,
    processes: Processes,
    next_id: u64,
    buffer: Vec<u8>,
    core: Core<O>,
    /// Kept so that the descriptor in the epoll set stays open.
    _stop: Arc<OwnedFd>,
}

impl<O: Observer> ServerLoop<O> {
    pub(super) fn new(
        config: ServerConfig,
        listener: OwnedFd,
        file: SocketFile,
        stop: Arc<OwnedFd>,
        registry: Registry,
        observer: O,
    ) -> Result<ServerLoop<O>, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )?;
        epoll::add(&epoll, &*stop, EventData::new_u64(STOP), EventFlags::IN)?;
        let delay = Duration::from_micros(config.delay_per_message_us);
        let read_bytes = if delay.is_zero() {
            READ_BYTES
        } else {
            SLOW_READ_BYTES
        };
        let registry = registry
            .with_planted(config.planted)
            .like_reference(config.like_reference);
        let core = Core {
            config,
            registry,
            counters: Counters::default(),
            observer,
            delay,
        };
        Ok(ServerLoop {
            epoll,
            listener,
            file: Some(file),
            spare: open_spare(),
            clients: Vec::new(),
            vacant: Vec::new(),
            undecided: Vec::new(),
            processes: Processes::default(),
            next_id: 0,
            buffer: vec![0; read_bytes],
            core,
            _stop: stop,
        })
    }

    pub(super) fn run(mut self) -> ServerReport<O> {
        let mut events: Vec<Event> = Vec::with_capacity(MAX_EVENTS);
        let mut stopping = false;
        while !stopping {
            events.clear();
            let timeout = if !self.undecided.is_empty() {
                Some(&QUIET_POLL)
            } else if self.core.observer.has_unwritten() {
                Some(&IDLE_POLL)
            } else {
                None
            };
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                timeout,
            ) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    unreachable!("epoll_wait on a valid set fails only with EINTR: {error}")
                }
            }
            let mut acceptable = false;
            for event in &events {
                match event.data.u64() {
                    LISTENER => acceptable = true,
                    STOP => stopping = true,
                    process if process >= PROCESS => self.process_exited(process - PROCESS),
                    slot => self.serve(slot as usize, event.flags),
                }
            }
            // After the clients, so that no event of this batch meets a newcomer in a reused slot.
            if acceptable {
                self.accept(ACCEPTS_PER_TURN);
            }
            self.settle_quiet();
            self.core.observer.on_idle();
        }
        self.drain()
    }

    fn serve(&mut self, slot: usize, flags: EventFlags) {
        let Some(mut client) = self.clients.get_mut(slot).and_then(Option::take) else {
            return;
        };
        let mut fate = Fate::Keep;
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) && !client.at_end {
            fate = self.read(&mut client, READ_BYTES).0;
        }
        self.keep_or_close(slot, client, fate);
    }

    /// Reads once, at most `limit` bytes; returns how many came.
    fn read(&mut self, client: &mut ServedClient, limit: usize) -> (Fate, usize) {
        let limit = limit.min(self.buffer.len());
        match rustix::net::recv(&client.fd, &mut self.buffer[..limit], RecvFlags::DONTWAIT) {
            Ok((0, _)) => {
                client.at_end = true;
                (Fate::Keep, 0)
            }
            Ok((count, _)) => {
                client.last_read = Instant::now();
                self.core.counters.bytes += count as u64;
                let ServedClient {
                    decoder,
                    output,
                    id,
                    account,
                    ..
                } = client;
                let core = &mut self.core;
                decoder.feed(&self.buffer[..count], &mut |frame| {
                    core.take(*id, frame, output, account)
                });
                (Fate::Keep, count)
            }
            Err(Errno::AGAIN | Errno::INTR) => (Fate::Keep, 0),
            Err(_) => (Fate::Close, 0),
        }
    }

    /// Sends what is queued, then puts the client back or lets it go.
    fn keep_or_close(&mut self, slot: usize, mut client: ServedClient, fate: Fate) {
        if client.at_end {
            finish(&mut self.core, &mut client);
        }
        self.core.tell_layout(&mut client);
        let mut fate = if fate == Fate::Keep {
            self.core.send(&mut client)
        } else {
            fate
        };
        let waiting = client.output.waiting_bytes();
        if fate == Fate::Keep && waiting > self.core.config.max_unread_bytes {
            self.core.counters.dropped_clients += 1;
            log::warn!(
                "client {} is dropped: it leaves {waiting} bytes unread",
                client.id
            );
            self.core.observer.on_refused(Refused::TooMuchUnread);
            fate = Fate::Close;
        }
        if fate == Fate::Close || (client.at_end && waiting == 0) {
            return self.close(slot, client);
        }
        let awaits_writable = waiting > 0;
        if awaits_writable != client.awaits_writable || client.at_end {
            let mut interest = EventFlags::empty();
            interest.set(EventFlags::IN, !client.at_end);
            interest.set(EventFlags::OUT, awaits_writable);
            if epoll::modify(
                &self.epoll,
                &client.fd,
                EventData::new_u64(slot as u64),
                interest,
            )
            .is_err()
            {
                return self.close(slot, client);
            }
            client.awaits_writable = awaits_writable;
        }
        if client.decoder.is_undecided() && !client.listed_undecided {
            client.listed_undecided = true;
            self.undecided.push(slot);
        }
        self.clients[slot] = Some(client);
    }

    fn close(&mut self, slot: usize, mut client: ServedClient) {
        finish(&mut self.core, &mut client);
        self.core.observer.on_close(client.id);
        log::debug!(
            "client {} disconnected, {} live",
            client.id,
            plural(client.account.buffers, "buffer")
        );
        let ServedClient { owner, account, .. } = client;
        // The descriptor is closed by now, which takes it out of the epoll set.
        self.undecided.retain(|&listed| listed != slot);
        self.vacant.push(slot);
        if let Some(owner) = owner
            && self.processes.disconnect(owner, account.opened)
        {
            self.sweep(owner);
        }
    }

    fn process_exited(&mut self, number: u64) {
        let Some(owner) = u16::try_from(number).ok().and_then(Owner::new) else {
            return;
        };
        let Some((dead, pidfd)) = self.processes.exited(owner) else {
            return;
        };
        // It would be reported again and again.
        let _ = epoll::delete(&self.epoll, pidfd);
        if dead {
            self.sweep(owner);
        }
    }

    /// Drops what a dead process left.
    fn sweep(&mut self, owner: Owner) {
        self.processes.forget(owner);
        let SweptEntries { removed, loosened } = self.core.registry.sweep(owner.get());
        self.core.counters.swept += removed.len() as u64;
        if !loosened.is_empty() {
            self.core.observer.on_loosened(&loosened);
        }
        // A process that is several ones to others (a proxy) is as many dead ones.
        let mut pids: Vec<i32> = removed.iter().map(|entry| entry.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        for pid in pids {
            let its = |entry: &&Entry| entry.pid == pid;
            let removed: Vec<Entry> = removed.iter().filter(its).copied().collect();
            log::info!(
                "process {pid} is dead: {} swept",
                plural(removed.len() as u64, "buffer")
            );
            self.core.observer.on_sweep(pid, &removed);
        }
    }

    /// The process at the other end, watched from now on.
    fn watch(&mut self, client: &OwnedFd) -> Option<Owner> {
        if !self.core.config.sweeps {
            return None;
        }
        let watch = self.processes.connect(socket::peer_process(client))?;
        let owner = watch.owner;
        if let Some(pidfd) = watch.pidfd {
            let data = EventData::new_u64(PROCESS + u64::from(owner.get()));
            // One that can't be watched is never held for dead.
            let _ = epoll::add(&self.epoll, pidfd, data, EventFlags::IN);
        }
        Some(owner)
    }

    fn settle_quiet(&mut self) {
        for slot in std::mem::take(&mut self.undecided) {
            let Some(mut client) = self.clients.get_mut(slot).and_then(Option::take) else {
                continue;
            };
            client.listed_undecided = false;
            if client.last_read.elapsed() >= QUIET {
                let ServedClient {
                    decoder,
                    output,
                    id,
                    account,
                    ..
                } = &mut client;
                let core = &mut self.core;
                decoder.settle(&mut |frame| core.take(*id, frame, output, account));
            }
            self.keep_or_close(slot, client, Fate::Keep);
        }
    }

    fn accept(&mut self, most: usize) {
        for _ in 0..most {
            match rustix::net::accept_with(
                &self.listener,
                SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            ) {
                Ok(fd) => self.admit(fd),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::MFILE | Errno::NFILE) => {
                    self.spare = None;
                    let turned_away = rustix::net::accept(&self.listener).is_ok();
                    self.spare = open_spare();
                    if !turned_away {
                        return;
                    }
                    self.core.refuse(Refused::NoDescriptor);
                }
                Err(_) => return,
            }
        }
    }

    fn admit(&mut self, fd: OwnedFd) {
        let serving = self.clients.len() - self.vacant.len();
        if serving >= self.core.config.max_clients {
            return self.core.refuse(Refused::TooManyClients);
        }
        if !socket::is_same_user(&fd) {
            return self.core.refuse(Refused::AnotherUser);
        }
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.clients.len() - 1
        });
        if epoll::add(
            &self.epoll,
            &fd,
            EventData::new_u64(slot as u64),
            EventFlags::IN,
        )
        .is_err()
        {
            self.core.refuse(Refused::NoDescriptor);
            return self.vacant.push(slot);
        }
        let id = ClientId(self.next_id);
        self.next_id += 1;
        self.core.counters.connections += 1;
        log::debug!(
            "client {id} connected, {} of {} served",
            serving + 1,
            self.core.config.max_clients
        );
        self.core.observer.on_accept(id);
        let owner = self.watch(&fd);
        self.clients[slot] = Some(ServedClient {
            fd,
            id,
            decoder: self
                .core
                .config
                .layout
                .map_or_else(FrameDecoder::detecting, FrameDecoder::fixed),
            output: Output::default(),
            last_read: Instant::now(),
            at_end: false,
            awaits_writable: false,
            listed_undecided: false,
            told_layout: false,
            owner,
            account: ClientAccount {
                owner: owner.map_or(0, Owner::get),
                ..ClientAccount::default()
            },
        });
    }

    /// Takes in everything that the kernel holds, and ends.
    fn drain(mut self) -> ServerReport<O> {
        log::debug!("shutting down: draining the clients");
        self.core.delay = Duration::ZERO;
        self.file = None;
        self.accept(usize::MAX);
        for slot in 0..self.clients.len() {
            let Some(mut client) = self.clients[slot].take() else {
                continue;
            };
            // What has arrived by now, and no more: a client that never stops sending can't hold up
            // the end.
            let mut arrived = rustix::io::ioctl_fionread(&client.fd).unwrap_or(0);
            while arrived > 0 && !client.at_end {
                let limit = usize::try_from(arrived).unwrap_or(usize::MAX);
                let (fate, count) = self.read(&mut client, limit);
                if fate == Fate::Close || count == 0 {
                    break;
                }
                arrived -= count as u64;
            }
            finish(&mut self.core, &mut client);
            self.core.tell_layout(&mut client);
            self.core.send(&mut client);
            self.core.observer.on_close(client.id);
        }
        let Core {
            mut registry,
            mut counters,
            mut observer,
            ..
        } = self.core;
        observer.on_flush();
        let gaps = registry.flush(&mut |message, outcome| {
            counters.count(&outcome);
            observer.on_message(ClientId(self.next_id), message, &outcome);
        });
        observer.on_idle();
        log::info!(
            "stopped: {} of {}, {} live",
            plural(counters.messages, "message"),
            plural(counters.connections, "client"),
            plural(registry.len() as u64, "buffer")
        );
        ServerReport {
            registry,
            counters,
            gaps,
            observer,
        }
    }
}

fn open_spare() -> Option<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}
