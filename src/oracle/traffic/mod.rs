//! The check of a real program: what it sent to a tracking server, byte by byte, against what its
//! allocator says that it did.
//!
//! [`TrafficEvent`]s come in the order in which they happened, wherever they were seen; the server
//! is [`OfflineServer`], and differences are those of every other check. What is known of the truth
//! decides how strong it is:
//! - The allocator's own history ([`TrafficEvent::Alloc`], [`TrafficEvent::Free`]): exact. Each
//!   message is held against the life that its sender meant ([`lives`] says which), totals at every
//!   message against what is in flight, and the live tables against each other at rest.
//! - Totals only ([`TrafficEvent::Total`]): at rest, by device and memory.
//! - Nothing: the messages against each other.
//!
//! What holds: a connection whose bytes don't fit its layout is not judged, and said; a frame made
//! of pieces that several threads sent is `torn-frame` only where it is no frame that a client
//! sends; a message that had no room is lost only if its sender did not send it again.

mod lives;
mod senders;
mod totals;
mod words;

use crate::device::{DeviceId, Memory};
use crate::numbers::plural;
use crate::registry::{Outcome, Semantics};
use crate::server::listener::{DeviceInfo, ServerConfig};
use crate::server::offline::{OfflineServer, TakenFrame};
use crate::tracking::Layout;
use crate::tracking::entry::Class;

use self::lives::Lives;
use self::senders::{Connection, SentFrame};
use self::totals::SaidTotals;
use super::judge::Judge;
use super::kind::{Divergence, Kind, Report, Strength, Verdict};
use super::message_check::MessageFinding;
use super::observation_check::ObservationCheck;
use super::rest;
use crate::trace::observation::{Observation, Observed};

/// One thing that a program did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TrafficEvent {
    /// The allocator handed out an address.
    Alloc {
        /// The thread.
        thread: u16,
        /// The device, as said.
        device: u32,
        /// The memory, as said.
        memory: u32,
        /// The address.
        address: u64,
        /// The size.
        size_bytes: u64,
    },
    /// It took one back.
    Free {
        /// The thread.
        thread: u16,
        /// The device, as said.
        device: u32,
        /// The memory, as said.
        memory: u32,
        /// The address.
        address: u64,
    },
    /// What it says is live in a memory.
    Total {
        /// The device, as said.
        device: u32,
        /// The memory, as said.
        memory: u32,
        /// How much.
        bytes: u64,
    },
    /// A connection was opened; they are numbered from 0 in this order.
    Opened,
    /// Bytes were sent.
    Sent {
        /// The thread.
        thread: u16,
        /// The connection.
        conn: u32,
        /// The bytes.
        bytes: Vec<u8>,
        /// Whether the server takes them at once.
        at_once: bool,
    },
    /// The server takes the oldest bytes of a connection that it has not taken.
    Taken {
        /// The connection.
        conn: u32,
    },
    /// There was no room, and the sender did not wait.
    Dropped {
        /// The thread.
        thread: u16,
        /// The connection.
        conn: u32,
        /// What it wanted to send.
        bytes: Vec<u8>,
    },
    /// A connection to another path.
    Elsewhere {
        /// The path.
        path: String,
    },
}

/// How messages are read and understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrafficRules {
    /// How the server understands ALLOC and FREE.
    pub(crate) semantics: Semantics,
    /// What clients speak that say nothing of it; `None`: found out from the content.
    pub(crate) layout: Option<Layout>,
    /// How many devices there are; `None`: ids to 255 are taken.
    pub(crate) devices: Option<u32>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrafficReport {
    /// As of any other check.
    pub(crate) report: Report,
    /// The event that showed the first divergence; none if that was seen at rest.
    pub(crate) first_event: Option<usize>,
    /// Of each event, what it was in words; empty where that is nothing.
    pub(crate) words: Vec<String>,
}

impl TrafficRules {
    /// The configuration of a server that goes by them.
    pub(crate) fn server(&self) -> ServerConfig {
        let mut config = ServerConfig::new("", self.semantics);
        config.layout = self.layout;
        config.device_info = DeviceInfo {
            num_devices: self.devices.unwrap_or(0),
            ..config.device_info
        };
        if let Some(devices) = self.devices {
            config.limits.devices = devices;
        }
        config
    }

    /// Checks a program's `events`. `completed`: it came to an end of its own; `in_words`: tell
    /// what each event was.
    pub(crate) fn check(
        &self,
        events: &[TrafficEvent],
        completed: bool,
        in_words: bool,
    ) -> TrafficReport {
        let mut check = TrafficCheck::new(self, events, in_words);
        for (at, event) in events.iter().enumerate() {
            check.observe(at, event);
        }
        check.finish(completed)
    }
}

struct TrafficCheck {
    server: OfflineServer,
    connections: Vec<Connection>,
    lives: Lives,
    judge: Judge,
    totals: SaidTotals,
    messages_only: ObservationCheck,
    devices: u16,
    /// Whether the allocator's history is there, and was not found to contradict itself.
    has_truth: bool,
    contradiction: Option<String>,
    first_event: Option<usize>,
    words: Option<Vec<String>>,
    events: u64,
    messages: u64,
    observed: u64,
    torn: bool,
    elsewhere: Option<String>,
    /// The thread of each observation.
    speakers: Vec<(u16, usize)>,
}

impl TrafficCheck {
    fn new(rules: &TrafficRules, events: &[TrafficEvent], in_words: bool) -> TrafficCheck {
        let config = rules.server();
        let limit = config.limits.devices;
        let mut server = OfflineServer::new(config);
        let mut connections = senders::connections(events, rules.layout);
        for connection in &mut connections {
            server.connect(connection.layout);
        }
        let has_truth = events.iter().any(|event| {
            matches!(
                event,
                TrafficEvent::Alloc { .. } | TrafficEvent::Free { .. }
            )
        });
        let devices = u16::try_from(limit).unwrap_or(u16::MAX);
        TrafficCheck {
            server,
            connections,
            lives: Lives::default(),
            judge: Judge::of_devices(devices),
            totals: SaidTotals::default(),
            messages_only: ObservationCheck::default(),
            devices,
            has_truth,
            contradiction: None,
            first_event: None,
            words: in_words.then(|| vec![String::new(); events.len()]),
            events: 0,
            messages: 0,
            observed: 0,
            torn: false,
            elsewhere: None,
            speakers: Vec::new(),
        }
    }

    fn observe(&mut self, at: usize, event: &TrafficEvent) {
        self.events += 1;
        match *event {
            TrafficEvent::Alloc {
                thread,
                device,
                memory,
                address,
                size_bytes,
            } => {
                self.say(at, || {
                    words::truth("hands out", device, memory, address, Some(size_bytes))
                });
                if let Some((device, memory)) = self.place(device, memory) {
                    self.alloc(thread, device, memory, address, size_bytes);
                }
            }
            TrafficEvent::Free {
                thread,
                device,
                memory,
                address,
            } => {
                self.say(at, || {
                    words::truth("takes back", device, memory, address, None)
                });
                if let Some((device, memory)) = self.place(device, memory) {
                    self.free(thread, device, memory, address);
                }
            }
            TrafficEvent::Total {
                device,
                memory,
                bytes,
            } => {
                if let Some((device, memory)) = self.place(device, memory) {
                    self.totals.say(device, memory, bytes);
                }
            }
            TrafficEvent::Opened => {}
            TrafficEvent::Elsewhere { ref path } => {
                self.elsewhere.get_or_insert_with(|| path.clone());
            }
            TrafficEvent::Sent {
                thread,
                conn,
                ref bytes,
                at_once,
            } => self.sent(at, thread, conn as usize, bytes, at_once),
            TrafficEvent::Taken { conn } => {
                let connection = self.connections.get_mut(conn as usize);
                if let Some(bytes) = connection.and_then(|conn| conn.untaken.pop_front()) {
                    self.take(at, conn as usize, &bytes);
                }
            }
            TrafficEvent::Dropped {
                thread,
                conn,
                ref bytes,
            } => self.dropped(at, thread, conn as usize, bytes),
        }
        self.note_first(Some(at));
    }

    /// The first divergence was seen with this event.
    fn note_first(&mut self, at: Option<usize>) {
        if let (None, Some(first), Some(at)) = (self.first_event, self.judge.first, at) {
            self.first_event = Some(at);
            self.say(at, || format!("  ← {}", first.kind));
        }
    }

    fn say(&mut self, at: usize, words: impl FnOnce() -> String) {
        if let Some(said) = self.words.as_mut().and_then(|all| all.get_mut(at)) {
            said.push_str(&words());
        }
    }

    fn say_taken(&mut self, at: usize, taken: &TakenFrame, sent: Option<&SentFrame>) {
        let said = self.words.as_ref().and_then(|all| all.get(at));
        if let (Some(sent), true) = (sent, said.is_some_and(String::is_empty)) {
            self.say(at, || words::frame(sent));
        }
        self.say(at, || words::effects(taken));
    }

    fn place(&mut self, device: u32, memory: u32) -> Option<(DeviceId, Memory)> {
        let known = u16::try_from(device)
            .ok()
            .filter(|device| *device < self.devices);
        let memory_known = u8::try_from(memory).ok().and_then(Memory::from_index);
        if known.is_none() || memory_known.is_none() {
            self.contradict(|| {
                format!(
                    "the truth names device {device} and memory {memory}; devices are those from 0 \
                     to below --devices (256), memories 0 (DRAM), 1 (L1), 2 (L1_SMALL), 3 (TRACE)"
                )
            });
        }
        Some((DeviceId(known?), memory_known?))
    }

    fn contradict(&mut self, why: impl FnOnce() -> String) {
        self.contradiction.get_or_insert_with(why);
    }

    fn alloc(&mut self, thread: u16, device: DeviceId, memory: Memory, address: u64, size: u64) {
        let (origin, generation, was_live) =
            self.lives.begin(thread, device, memory, address, size);
        if was_live {
            return self.contradict(|| {
                format!(
                    "the truth hands out {address:#x} of device {device}, {}, which is live: either \
                     the allocator does so, or the truth is not told under its lock",
                    memory.name()
                )
            });
        }
        self.judge.truth.alloc(origin, generation, false);
        self.judge.check_prefix(device, memory);
    }

    fn free(&mut self, thread: u16, device: DeviceId, memory: Memory, address: u64) {
        let ended = self.lives.end(thread, device, memory, address);
        match ended {
            Some(handle) => {
                self.judge.truth.free(&handle);
                self.judge.check_prefix(device, memory);
            }
            None => self.judge.count(Divergence {
                kind: Kind::DoubleFree,
                device,
                memory: Some(memory),
                address: Some(address),
                thread: Some(thread),
                op: None,
            }),
        }
    }

    fn sent(&mut self, at: usize, thread: u16, conn: usize, bytes: &[u8], at_once: bool) {
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        if let Some(lost) = connection.next_send_of(thread, bytes) {
            self.lose(&lost);
        }
        let connection = &mut self.connections[conn];
        let frames = connection.send(thread, bytes);
        let mut told = Vec::new();
        for frame in frames {
            if self.words.is_some() {
                told.push(words::frame(&frame));
            }
            let about = frame
                .message
                .as_ref()
                .and_then(|message| self.lives.about(frame.thread, message));
            self.connections[conn]
                .untold
                .push_back(SentFrame { about, ..frame });
        }
        self.say(at, || match told.is_empty() {
            true => format!("{} of a message", plural(bytes.len() as u64, "byte")),
            false => told.join(", "),
        });
        if at_once {
            self.take(at, conn, bytes);
        } else {
            self.connections[conn].untaken.push_back(bytes.to_vec());
        }
    }

    fn dropped(&mut self, at: usize, thread: u16, conn: usize, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        let message = connection.decode_one(bytes);
        self.say(at, || match &message {
            Some(message) => format!("{}: no room", words::message(message)),
            None => "no room".to_owned(),
        });
        let earlier = self.connections[conn].drop_of(thread, bytes, message);
        if let Some(lost) = earlier {
            self.lose(&lost);
        }
    }

    fn lose(&mut self, lost: &senders::Unsent) {
        let about = lost
            .message
            .as_ref()
            .and_then(|message| self.lives.about(lost.thread, message));
        if let Some(about) = about {
            self.judge.lost(&about);
        }
    }

    /// The server takes bytes of a connection.
    fn take(&mut self, at: usize, conn: usize, bytes: &[u8]) {
        self.feed(conn, bytes);
        self.took(Some(at));
    }

    /// What means nothing is not to spoil what the others say.
    fn feed(&mut self, conn: usize, bytes: &[u8]) {
        if !self.connections[conn].is_doubtful() {
            self.server.feed(conn, bytes);
        }
    }

    fn took(&mut self, at: Option<usize>) {
        for taken in self.server.take_frames() {
            let sent = self
                .connections
                .get_mut(taken.client)
                .and_then(|connection| connection.untold.pop_front());
            self.messages += u64::from(taken.message.is_some());
            if let Some(at) = at {
                self.say_taken(at, &taken, sent.as_ref());
            }
            self.judge_frame(&taken, sent.as_ref(), at);
            self.note_first(at);
        }
    }

    fn judge_frame(&mut self, taken: &TakenFrame, sent: Option<&SentFrame>, at: Option<usize>) {
        let connection = self.connections.get_mut(taken.client);
        if connection.as_ref().is_some_and(|conn| conn.is_doubtful()) {
            return;
        }
        if let (Some(connection), Some(sent)) = (connection, sent)
            && sent.torn
        {
            connection.torn = true;
            self.torn = true;
            let about = sent.about;
            let device = about.map_or(DeviceId(0), |about| about.handle.device);
            self.judge.count(Divergence {
                kind: Kind::TornFrame,
                device,
                memory: None,
                address: None,
                thread: Some(sent.thread),
                op: None,
            });
            return;
        }
        let thread = sent.map_or(0, |sent| sent.thread);
        self.observe_message(taken, thread, at);
        if !self.has_truth {
            return;
        }
        self.judge.messages += 1;
        for (message, outcome) in &taken.effects {
            let own = taken.message.as_ref() == Some(message);
            let about = match own {
                true => sent.and_then(|sent| sent.about),
                false => self.lives.held(message),
            };
            if let (Outcome::Held, Some(about)) = (outcome, about) {
                self.lives.hold(message, about);
            }
            let Some(about) = about else {
                let is_unknown = *outcome == Outcome::UnknownFree;
                if is_unknown && own && lives::is_plain_release(message) {
                    self.judge.count(Divergence {
                        kind: Kind::UnknownFree,
                        device: DeviceId(u16::try_from(message.device).unwrap_or(0)),
                        memory: None,
                        address: Some(message.address),
                        thread: Some(thread),
                        op: None,
                    });
                }
                continue;
            };
            if message.kind.class() == Some(Class::Circular) {
                self.lives.see_circular(&mut self.judge.truth, &about);
            }
            self.judge.judge_late(message, outcome, Some(&about));
            let device = about.handle.device;
            let shown = self.server.registry().totals(i32::from(device.0));
            self.judge.show(device, &self.lives.without_foreign(device, shown));
        }
    }

    /// For the check that knows no truth.
    fn observe_message(&mut self, taken: &TakenFrame, thread: u16, at: Option<usize>) {
        let Some(message) = &taken.message else {
            return;
        };
        self.observed += 1;
        self.speakers.push((thread, at.unwrap_or(usize::MAX)));
        self.messages_only.observe(&Observation {
            position: self.observed,
            at_ns: None,
            conn: None,
            what: Observed::Message {
                message: message.clone(),
                complete: true,
                server_answer: None,
            },
        });
    }

    fn finish(mut self, completed: bool) -> TrafficReport {
        if completed {
            self.bring_to_rest();
        }
        let doubt = self.connections.iter().find_map(|conn| conn.doubt.clone());
        let truth_is_usable = self.has_truth && self.contradiction.is_none();
        let mut strength = Strength::Messages;
        if completed && doubt.is_none() && !self.torn {
            if truth_is_usable {
                let table = rest::table(self.server.registry());
                self.judge.compare_table(&self.lives.without_foreign_entries(table));
                strength = Strength::Exact;
            } else if self.contradiction.is_none() && !self.totals.is_empty() {
                for (kind, device, memory) in self.totals.compare(self.server.registry()) {
                    self.judge.count(totals::divergence(kind, device, memory));
                }
                strength = Strength::Totals;
            }
        } else if truth_is_usable && doubt.is_none() {
            strength = Strength::Exact;
        }
        if !truth_is_usable {
            self.add_messages_only();
        }
        self.report(completed, strength, doubt)
    }

    fn bring_to_rest(&mut self) {
        for conn in 0..self.connections.len() {
            while let Some(bytes) = self.connections[conn].untaken.pop_front() {
                self.feed(conn, &bytes);
                self.took(None);
            }
        }
        self.server.finish();
        self.took(None);
        for conn in 0..self.connections.len() {
            for lost in self.connections[conn].never_sent() {
                self.lose(&lost);
            }
            let connection = &self.connections[conn];
            let torn = self.server.torn_bytes(conn) > 0;
            if torn && !connection.is_doubtful() {
                self.torn = true;
                self.judge.count(Divergence {
                    kind: Kind::TornFrame,
                    device: DeviceId(0),
                    memory: None,
                    address: None,
                    thread: connection.last_sender,
                    op: None,
                });
            }
        }
    }

    /// What the messages say without truth.
    fn add_messages_only(&mut self) {
        let check = std::mem::take(&mut self.messages_only);
        let found = check.finish();
        for (finding, count) in &found.findings {
            *self.judge.divergences.entry(kind_of(*finding)).or_default() += count;
        }
        if let (Some(first), None) = (found.first, self.judge.first) {
            let speaker = self.speakers.get((first.line as usize).saturating_sub(1));
            let (thread, at) = speaker.copied().unwrap_or((0, usize::MAX));
            let device = first.device.and_then(|device| u16::try_from(device).ok());
            self.judge.first = Some(Divergence {
                kind: kind_of(first.kind),
                device: DeviceId(device.unwrap_or(0)),
                memory: None,
                address: Some(first.address),
                thread: Some(thread),
                op: None,
            });
            self.note_first((at != usize::MAX).then_some(at));
        }
    }

    fn report(self, completed: bool, strength: Strength, doubt: Option<String>) -> TrafficReport {
        let (note, complete) = self.note(completed, strength, doubt);
        let diverged = !self.judge.divergences.is_empty();
        let mut leaked: Vec<_> = match completed && self.has_truth {
            true => self.judge.truth.leaks().collect(),
            false => Vec::new(),
        };
        leaked.sort_unstable();
        let report = Report {
            verdict: match (diverged, &note) {
                (true, _) => Verdict::Diverged,
                (false, None) => Verdict::Clean,
                (false, Some(_)) => Verdict::Inconclusive,
            },
            strength,
            divergences: self.judge.divergences,
            first: self.judge.first,
            leaks: leaked.len() as u64,
            leaked: Vec::new(),
            events: self.events,
            messages: self.messages,
            ops: self.lives.operations(),
            allocs_failed: 0,
            peak_live: self.judge.truth.peak_live(),
            note: note.filter(|_| !diverged),
            complete,
        };
        TrafficReport {
            report,
            first_event: self.first_event,
            words: self.words.unwrap_or_default(),
        }
    }

    /// Why it says less than everything, and whether all that was asked for was looked at.
    fn note(
        &self,
        completed: bool,
        strength: Strength,
        doubt: Option<String>,
    ) -> (Option<String>, bool) {
        let note = if let Some(doubt) = doubt {
            doubt
        } else if let Some(why) = &self.contradiction {
            why.clone()
        } else if self.connections.is_empty() {
            match &self.elsewhere {
                Some(path) => format!(
                    "it never connected to its tracking server, but to {path}: --tracking {path} \
                     takes that for the server's"
                ),
                None => "it never connected to its tracking server: nothing was checked".to_owned(),
            }
        } else if self.messages == 0 {
            "it connected and sent no message: nothing was checked".to_owned()
        } else if !completed {
            "it did not come to its end: what is live was not compared".to_owned()
        } else if strength == Strength::Messages {
            return (
                Some(
                    "its allocator says nothing of what it does (hb_truth_alloc, --truth-symbols, \
                     --probe): its messages do not contradict each other"
                        .to_owned(),
                ),
                true,
            );
        } else {
            return (None, true);
        };
        (Some(note), false)
    }
}

fn kind_of(finding: MessageFinding) -> Kind {
    match finding {
        MessageFinding::UnknownFree => Kind::UnknownFree,
        MessageFinding::DuplicateAlloc => Kind::DuplicateAlloc,
        MessageFinding::StaleMetadata => Kind::StaleMetadata,
        MessageFinding::Misattributed => Kind::Misattributed,
        MessageFinding::DoubleFree => Kind::DoubleFree,
    }
}

#[cfg(test)]
mod tests;
