//! One pass over what a program did, with its truth on one hand and a server on the other.

use std::collections::{BTreeMap, BTreeSet};

use super::events::TrafficEvent;
use super::lives::{self, ToldLives};
use super::senders::{self, SentFrame, SentStream};
use super::spoken::Spoken;
use super::totals::SaidTotals;
use super::{TrafficRules, words};
use crate::device::{DeviceId, Memory};
use crate::numbers::plural;
use crate::oracle::judge::Judge;
use crate::oracle::kind::{Divergence, Kind};
use crate::oracle::observation_check::ObservationCheck;
use crate::registry::Outcome;
use crate::server::offline::{OfflineServer, TakenFrame};
use crate::trace::observation::{Observation, Observed};
use crate::tracking::entry::Class;

/// What was found so far.
#[derive(Default)]
pub(super) struct Sound {
    pub(super) divergences: BTreeMap<Kind, u64>,
    pub(super) first: Option<Divergence>,
    pub(super) first_event: Option<usize>,
}

/// A check that is under way.
pub(super) struct TrafficCheck {
    pub(super) server: OfflineServer,
    pub(super) connections: Vec<SentStream>,
    pub(super) lives: ToldLives,
    pub(super) judge: Judge,
    pub(super) totals: SaidTotals,
    pub(super) messages_only: ObservationCheck,
    pub(super) devices: u16,
    /// Whether the allocator's history is there, and was not found to contradict itself.
    pub(super) has_truth: bool,
    pub(super) contradiction: Option<String>,
    /// What was found before the truth was known to contradict itself.
    pub(super) sound: Option<Sound>,
    pub(super) first_event: Option<usize>,
    pub(super) words: Option<Vec<String>>,
    /// The same as data, where words were asked for.
    pub(super) spoken: BTreeMap<usize, Spoken>,
    pub(super) events: u64,
    pub(super) messages: u64,
    pub(super) observed: u64,
    pub(super) torn: bool,
    /// Devices that the frames at hand were about.
    pub(super) touched: BTreeSet<DeviceId>,
    pub(super) elsewhere: Option<String>,
    /// The thread of each observation.
    pub(super) speakers: Vec<(u16, usize)>,
}

impl TrafficCheck {
    pub(super) fn new(
        rules: &TrafficRules,
        events: &[TrafficEvent],
        in_words: bool,
    ) -> TrafficCheck {
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
            lives: ToldLives::default(),
            judge: Judge::of_devices(devices),
            totals: SaidTotals::default(),
            messages_only: ObservationCheck::default(),
            devices,
            has_truth,
            contradiction: None,
            sound: None,
            first_event: None,
            words: in_words.then(|| vec![String::new(); events.len()]),
            spoken: BTreeMap::new(),
            events: 0,
            messages: 0,
            observed: 0,
            torn: false,
            touched: BTreeSet::new(),
            elsewhere: None,
            speakers: Vec::new(),
        }
    }

    pub(super) fn observe(&mut self, at: usize, event: &TrafficEvent) {
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
                self.note_truth(at, true, (device, address));
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
                self.note_truth(at, false, (device, address));
                if let Some((device, memory)) = self.place(device, memory) {
                    self.free(thread, device, memory, address);
                }
            }
            TrafficEvent::Total {
                device,
                memory,
                bytes,
                at_rest,
            } => {
                if at_rest {
                    self.take_all();
                }
                if let Some((device, memory)) = self.place(device, memory) {
                    let registry = at_rest.then(|| self.server.registry());
                    self.totals.say(device, memory, bytes, registry);
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
    pub(super) fn note_first(&mut self, at: Option<usize>) {
        if let (None, Some(first), Some(at)) = (self.first_event, self.judge.first, at) {
            self.first_event = Some(at);
            self.say(at, || format!("  ← {}", first.kind));
        }
    }

    fn note_truth(&mut self, at: usize, allocates: bool, (device, address): (u32, u64)) {
        if self.words.is_some() {
            let truth = Spoken::Truth {
                allocates,
                device,
                address,
            };
            self.spoken.insert(at, truth);
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

    /// The truth is none: what is found from now on says nothing.
    pub(super) fn contradict(&mut self, why: impl FnOnce() -> String) {
        if self.contradiction.is_none() {
            self.contradiction = Some(why());
            self.sound = Some(Sound {
                divergences: self.judge.divergences.clone(),
                first: self.judge.first,
                first_event: self.first_event,
            });
        }
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
            None if self.lives.was_ever(device, memory, address) => {
                self.judge.count(Divergence {
                    kind: Kind::DoubleFree,
                    device,
                    memory: Some(memory),
                    address: Some(address),
                    thread: Some(thread),
                    op: None,
                });
            }
            None => self.contradict(|| {
                format!(
                    "the truth takes back {address:#x} of device {device}, {}, which it never \
                     handed out: is every path that allocates told?",
                    memory.name()
                )
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
        if self.words.is_some() {
            let whole = frames.iter().filter_map(|frame| frame.message.clone());
            self.spoken.insert(at, Spoken::Sent(whole.collect()));
        }
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
        if self.words.is_some() {
            self.spoken.insert(at, Spoken::Dropped(message.clone()));
        }
        let earlier = self.connections[conn].drop_of(thread, bytes, message);
        if let Some(lost) = earlier {
            self.lose(&lost);
        }
    }

    pub(super) fn lose(&mut self, lost: &senders::Unsent) {
        let about = lost
            .message
            .as_ref()
            .and_then(|message| self.lives.about(lost.thread, message));
        if let Some(about) = about {
            self.judge.lost(&about);
        }
    }

    /// The server takes bytes of a connection.
    pub(super) fn take(&mut self, at: usize, conn: usize, bytes: &[u8]) {
        self.feed(conn, bytes);
        self.took(Some(at));
    }

    /// What means nothing is not to spoil what the others say.
    pub(super) fn feed(&mut self, conn: usize, bytes: &[u8]) {
        if !self.connections[conn].is_doubtful() {
            self.server.feed(conn, bytes);
        }
    }

    pub(super) fn took(&mut self, at: Option<usize>) {
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
        // The server has taken all of these frames by now: its totals are those after the last.
        for device in std::mem::take(&mut self.touched) {
            let shown = self.server.registry().totals(i32::from(device.0));
            self.judge.show(device, &self.lives.without_foreign(shown));
            self.note_first(at);
        }
    }

    fn judge_frame(&mut self, taken: &TakenFrame, sent: Option<&SentFrame>, at: Option<usize>) {
        let connection = self.connections.get_mut(taken.client);
        // What comes after a torn frame may follow from it.
        if self.torn || connection.as_ref().is_some_and(|conn| conn.is_doubtful()) {
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
            let size_bytes = about.handle.size_bytes;
            let is_other = *outcome == Outcome::Inserted && message.size_bytes != size_bytes;
            if let (true, Some(at)) = (is_other, at) {
                self.say(at, || format!(", of {size_bytes} bytes to the allocator"));
            }
            self.judge.judge_late(message, outcome, Some(&about));
            if is_other {
                self.judge.count(Divergence {
                    kind: Kind::StaleMetadata,
                    device: about.handle.device,
                    memory: Some(about.handle.memory),
                    address: Some(about.handle.address),
                    thread: Some(thread),
                    op: Some(about.op),
                });
            }
            self.touched.insert(about.handle.device);
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
}
