//! Tracking under `run`: the program's connection to its tracking server reaches heisenbed, and
//! what it sends is held against what its allocator says that it does.
//!
//! The runtime writes both into a [`log`] in the page that it shares with heisenbed, which judges
//! them when the schedule is over, by [`TrafficRules`]: no socket is on the way, and a schedule
//! costs no more for it. Only an answer is given at once: the runtime asks for it, and waits. The
//! [`Tracker`] is this side of both. The log is what the program wrote, so nothing in it is
//! believed to be a length before it was looked at.

mod log;
mod probe;
pub(crate) mod symbols;
mod tally;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use heisenbed_runtime::protocol as wire;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use serde::{Deserialize, Serialize};

use super::anew::ready;
use super::page::{PageMemory, WROTE_OVER};
use crate::oracle::traffic::{TrafficEvent, TrafficReport, TrafficRules};
use crate::registry::Semantics;
use crate::server::offline::OfflineServer;
use crate::tracking::Layout;

use self::symbols::TruthSymbol;

pub(crate) use self::tally::TrackedTally;

/// Where tracking servers listen.
pub(crate) const USUAL_PATH: &str = "/tmp/tt_allocation_server.sock";

/// How a program is tracked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct TrackingPlan {
    /// The path that it connects to.
    pub(crate) path: String,
    /// How the server understands ALLOC and FREE.
    pub(crate) semantics: Semantics,
    /// The layout of clients that say nothing of it; `None`: found out from the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) layout: Option<Layout>,
    /// How many devices there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) devices: Option<u32>,
    /// How many bytes a connection holds before the server takes them; 0: no end.
    #[serde(default)]
    pub(crate) room: u32,
    /// Functions that allocate and release, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) symbols: Vec<TruthSymbol>,
    /// A command that reports totals when the program has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) probe: Option<String>,
    /// A function of the program that does so when it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) probe_symbol: Option<String>,
}

impl TrackingPlan {
    /// The longest path that can be connected to.
    pub(crate) const MAX_PATH_BYTES: usize = 107;

    /// How its messages are checked.
    pub(crate) fn rules(&self) -> TrafficRules {
        TrafficRules {
            semantics: self.semantics,
            layout: self.layout,
            devices: self.devices,
        }
    }

    /// As it stands in the page, as far as the runtime reads it: to the last symbol.
    fn config(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let symbols = self.symbols.len().min(wire::MAX_TRUTH_SYMBOLS);
        for number in [1, self.room, symbols as u32, 0] {
            bytes.extend(number.to_le_bytes());
        }
        put_text(&mut bytes, &self.path, wire::TRACK_PATH_BYTES);
        let probe = self.probe_symbol.as_deref().unwrap_or_default();
        put_text(&mut bytes, probe, wire::TRACK_PATH_BYTES);
        for symbol in &self.symbols[..symbols] {
            symbol.put(&mut bytes);
        }
        bytes
    }
}

/// A text that ends in zeroes; cut where it is too long.
fn put_text(bytes: &mut Vec<u8>, text: &str, room: usize) {
    let end = bytes.len() + room;
    bytes.extend(text.bytes().take(room - 1));
    bytes.resize(end, 0);
}

/// Bytes of the log's head that count: the rest is of symbols, once for each process.
const COUNTED: usize = 24;

/// The log follows its head.
const AT_LOG: usize = (wire::AT_TRACK_LOG - wire::AT_TRACK_HEAD) as usize;

/// So much of a log is read with its head.
const SHORT_LOG: usize = 4096;

/// heisenbed's side of a tracked program.
pub(super) struct Tracker {
    plan: TrackingPlan,
    config: Vec<u8>,
    asks: OwnedFd,
    server: OfflineServer,
    /// Of each connection, what was sent and not taken.
    untaken: Vec<VecDeque<Vec<u8>>>,
    /// How much of the log the server has taken.
    taken: u64,
}

impl std::fmt::Debug for Tracker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracker").field("plan", &self.plan).finish()
    }
}

impl Tracker {
    /// For a program that is about to be started, and the socket on which it will ask.
    pub(super) fn new(plan: &TrackingPlan, page: &PageMemory) -> io::Result<(Tracker, OwnedFd)> {
        let (asks, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let config = plan.config();
        page.write(wire::AT_TRACK, &config)?;
        let tracker = Tracker {
            config,
            server: OfflineServer::new(plan.rules().server()),
            plan: plan.clone(),
            asks,
            untaken: Vec::new(),
            taken: 0,
        };
        Ok((tracker, theirs))
    }

    /// Before each schedule.
    pub(super) fn begin(&mut self, page: &PageMemory) -> io::Result<()> {
        page.write(wire::AT_TRACK, &self.config)?;
        page.write(wire::AT_TRACK_HEAD, &[0; COUNTED])?;
        while self.receive().is_some() {}
        self.server = OfflineServer::new(self.plan.rules().server());
        self.untaken.clear();
        self.taken = 0;
        Ok(())
    }

    /// Answers what the program asks until there is something to read from one of `awaited`: the
    /// number of the first; none if that did not come in time.
    pub(super) fn serve_until(
        &mut self,
        awaited: &[&UnixStream],
        page: &PageMemory,
        limit: Duration,
    ) -> io::Result<Option<usize>> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut sockets: Vec<_> = awaited.iter().map(AsFd::as_fd).collect();
            sockets.push(self.asks.as_fd());
            match ready(&sockets, left)? {
                None => return Ok(None),
                Some(first) if first < awaited.len() => return Ok(Some(first)),
                Some(_) => {}
            }
            if let Some(ask) = self.receive() {
                self.answer(page, ask)?;
            }
        }
    }

    /// An ask that has come: the connection, and how long the log is.
    fn receive(&self) -> Option<(u32, u64)> {
        let mut bytes = [0; wire::ASK_BYTES];
        let (_, whole) = recv(
            &self.asks,
            &mut bytes,
            RecvFlags::DONTWAIT | RecvFlags::TRUNC,
        )
        .ok()?;
        if whole != wire::ASK_BYTES {
            // What is no ask is not answered: who sent it waits in vain, as long as it may.
            return Some((u32::MAX, 0)).filter(|_| whole > 0);
        }
        let conn = bytes.first_chunk().map(|word| u32::from_le_bytes(*word));
        let used = bytes.last_chunk().map(|word| u64::from_le_bytes(*word));
        conn.zip(used)
    }

    fn answer(&mut self, page: &PageMemory, (conn, used): (u32, u64)) -> io::Result<()> {
        if conn == u32::MAX {
            return Ok(());
        }
        let used = used.min(wire::TRACK_LOG_BYTES);
        if used > self.taken {
            let mut bytes = vec![0; (used - self.taken) as usize];
            page.read(wire::AT_TRACK_LOG + self.taken, &mut bytes)?;
            self.taken = used;
            for event in log::events(&bytes).0 {
                self.take(&event);
            }
            self.server.take_frames();
        }
        let conn = conn as usize;
        self.server.settle(conn);
        self.server.take_frames();
        let (answers, frame) = self.server.answers(conn, wire::MAX_ANSWER);
        let mut reply = Vec::with_capacity(16 + answers.len());
        let more = u32::from(answers.len() + frame > wire::MAX_ANSWER);
        for number in [answers.len() as u32, frame as u32, more, 0] {
            reply.extend(number.to_le_bytes());
        }
        reply.extend(answers);
        // Who does not take its answers must not hold heisenbed up.
        let _ = send(
            &self.asks,
            &reply,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        );
        Ok(())
    }

    /// The model takes what the server took by then. A client whose layout is not known yet has
    /// paused by the time that another one is heard.
    fn take(&mut self, event: &TrafficEvent) {
        if let TrafficEvent::Sent { conn, .. } | TrafficEvent::Taken { conn } = event {
            for other in (0..self.untaken.len()).filter(|other| *other != *conn as usize) {
                self.server.settle(other);
            }
        }
        match event {
            TrafficEvent::Opened => {
                self.server.connect(None);
                self.untaken.push(VecDeque::new());
            }
            TrafficEvent::Sent {
                conn,
                bytes,
                at_once: true,
                ..
            } => self.server.feed(*conn as usize, bytes),
            TrafficEvent::Sent { conn, bytes, .. } => {
                if let Some(untaken) = self.untaken.get_mut(*conn as usize) {
                    untaken.push_back(bytes.clone());
                }
            }
            TrafficEvent::Taken { conn } => {
                let untaken = self.untaken.get_mut(*conn as usize);
                if let Some(bytes) = untaken.and_then(VecDeque::pop_front) {
                    self.server.feed(*conn as usize, &bytes);
                }
            }
            _ => {}
        }
    }

    /// What the schedule that is over comes to. `ended`: the program came to an end of its own.
    pub(super) fn report(
        &self,
        page: &PageMemory,
        ended: bool,
        in_words: bool,
    ) -> io::Result<Result<TrafficReport, String>> {
        let mut bytes = vec![0; AT_LOG + SHORT_LOG];
        page.read(wire::AT_TRACK_HEAD, &mut bytes)?;
        let head = log::Head::parse(&bytes[..wire::TRACK_HEAD_BYTES]);
        let used = head.used.min(wire::TRACK_LOG_BYTES) as usize;
        bytes.resize(AT_LOG + used, 0);
        if used > SHORT_LOG {
            let rest = wire::AT_TRACK_LOG + SHORT_LOG as u64;
            page.read(rest, &mut bytes[AT_LOG + SHORT_LOG..])?;
        }
        let (mut events, whole) = log::events(&bytes[AT_LOG..]);
        if !whole || head.used > wire::TRACK_LOG_BYTES {
            return Ok(Err(WROTE_OVER.to_owned()));
        }
        if head.full {
            return Ok(Err(
                "it sent more than 64 MiB, or opened more than 64 connections, in one schedule"
                    .to_owned(),
            ));
        }
        let is_total = |event: &TrafficEvent| matches!(event, TrafficEvent::Total { .. });
        if let (Some(name), true) = (&self.plan.probe_symbol, ended && head.connections > 0)
            && !events.iter().any(is_total)
        {
            return Ok(Err(format!(
                "--probe-symbol {name}: the program exports no such function, or it knows no total \
                 (a program's own function is exported with -rdynamic)"
            )));
        }
        if let (Some(command), true) = (&self.plan.probe, ended) {
            match probe::run(command) {
                Ok(totals) => events.extend(totals),
                Err(why) => return Ok(Err(why)),
            }
        }
        let at_rest = ended && head.unfinished == Some(0);
        let distrust = symbols::distrust(&self.plan.symbols, &head);
        let rules = self.plan.rules();
        let mut found = rules.check_without(distrust, &events, at_rest, in_words);
        if let (true, Some(left @ 1..), Some(note)) =
            (ended, head.unfinished, &mut found.report.note)
        {
            *note = format!(
                "{note} ({} were at work when it ended)",
                crate::numbers::plural(left.into(), "thread")
            );
        }
        Ok(Ok(found))
    }
}
