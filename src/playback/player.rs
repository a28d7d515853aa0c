//! Plays observations to a server, one after the other, and feeds the same messages to a registry
//! of our own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::registry::{Limits, Outcome, Registry, Semantics};
use crate::trace::observation::{Observation, Observed};
use crate::tracking::transport::{Connection, SendMode, WriteOutcome};
use crate::tracking::wire::{self, FrameBuffer, Response};
use crate::tracking::{Layout, Message, MessageKind};

use super::PlaybackError;
use super::compare::ComparedTotals;

/// How long to wait for each piece of an answer, and for the server to take a message.
const TIMEOUT: Duration = Duration::from_secs(10);
/// No more connections are opened at a time; those above it share them.
const MAX_CONNECTIONS: usize = 256;
/// Totals of no more devices are compared.
const MAX_DEVICES: usize = 4096;
/// The server is asked to catch up after so many messages over several connections.
const MAX_IN_FLIGHT: usize = 1 << 16;
/// Between two looks at the interrupt while waiting.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How fast messages are played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Pace {
    /// As fast as the server takes them
    #[default]
    Full,
    /// As far apart as they were recorded
    Recorded,
}

/// What was played, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Played {
    /// Messages that were sent.
    pub(crate) messages: u64,
    /// Connections that they went over.
    pub(crate) connections: usize,
    /// Messages that cannot be played, because the recording does not state all that a server uses
    /// of them.
    pub(crate) incomplete: u64,
    /// Frames that were cut off by the end of their connection, which are not played.
    pub(crate) torn: u64,
    /// Frames that hold pieces of several messages: played as the recorded server read them.
    pub(crate) mixed: u64,
    /// Messages that were never sent when it was recorded, and are not now.
    pub(crate) dropped: u64,
    /// Whether connections of the recording had to share one.
    pub(crate) shared: bool,
    /// How many messages about buffers our registry took.
    pub(crate) taken: u64,
    /// How many it rejected, as no server can take them.
    pub(crate) rejected: u64,
    /// Whether there were more devices than are compared.
    pub(crate) more_devices: bool,
    /// How often the server showed other totals of a device than before: when something was live
    /// for the first time, and at the end.
    pub(crate) noticed: usize,
    /// What was shown of each device.
    pub(crate) devices: BTreeMap<u16, ShownTotals>,
}

/// What was shown of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShownTotals {
    /// By the server, before the first message about it.
    pub(crate) before: ComparedTotals,
    /// By the server, at the end.
    pub(crate) after: ComparedTotals,
    /// By our registry, which took the same messages and began with nothing.
    pub(crate) registry: ComparedTotals,
}

/// Who sends: a recorded connection, or where none is recorded, a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Origin {
    Conn(u32),
    Process(i32),
}

/// Plays to one server.
#[derive(Debug)]
pub(crate) struct Player<'a> {
    path: PathBuf,
    layout: Layout,
    pace: Pace,
    interrupt: &'a AtomicBool,
    connections: Vec<Connection>,
    origins: FxHashMap<Origin, usize>,
    /// For each key that the server may not yet have heard of all messages about: over which
    /// connection they went.
    in_flight: FxHashMap<(i32, u64), usize>,
    registry: Registry,
    before: BTreeMap<u16, ComparedTotals>,
    /// Devices of which nothing was live yet.
    untouched: BTreeSet<u16>,
    /// When playing began, and at which recorded time.
    began: Option<(Instant, u64)>,
    played: Played,
}

impl<'a> Player<'a> {
    /// Connects to the server at `path` and asks for its totals in `layout`. Our registry takes
    /// messages under `semantics`.
    pub(crate) fn open(
        path: &Path,
        layout: Layout,
        pace: Pace,
        semantics: Semantics,
        interrupt: &'a AtomicBool,
    ) -> Result<Player<'a>, PlaybackError> {
        let limits = Limits {
            devices: 1 << 16,
            // As large as the registry allows.
            size_bytes: u64::MAX,
            ..Limits::default()
        };
        let mut player = Player {
            path: path.to_owned(),
            layout,
            pace,
            interrupt,
            connections: Vec::new(),
            origins: FxHashMap::default(),
            in_flight: FxHashMap::default(),
            registry: Registry::new(semantics, limits),
            before: BTreeMap::new(),
            untouched: BTreeSet::new(),
            began: None,
            played: Played {
                messages: 0,
                connections: 0,
                taken: 0,
                rejected: 0,
                incomplete: 0,
                torn: 0,
                mixed: 0,
                dropped: 0,
                shared: false,
                more_devices: false,
                noticed: 0,
                devices: BTreeMap::new(),
            },
        };
        player.connect()?;
        Ok(player)
    }

    /// Plays one observation. `what` says what positions of the recording count.
    pub(crate) fn take(
        &mut self,
        observation: &Observation,
        what: &'static str,
    ) -> Result<(), PlaybackError> {
        let origin = |pid| observation.conn.map_or(Origin::Process(pid), Origin::Conn);
        match &observation.what {
            Observed::Message {
                complete: false, ..
            } => self.played.incomplete += 1,
            Observed::Message { message, .. } => {
                self.wait(observation, what)?;
                let conn = self.connection(origin(message.pid))?;
                self.send(conn, message, observation, what)?;
            }
            Observed::UnknownFrame { kind } => match u8::try_from(*kind) {
                Ok(kind) if MessageKind::from_byte(kind).is_none() => {
                    self.wait(observation, what)?;
                    let conn = self.connection(origin(0))?;
                    let mut frame = vec![0; self.layout.frame_bytes()];
                    frame[0] = kind;
                    self.write(conn, &frame, observation, what)?;
                }
                // A type byte has no such value: the log says something else.
                _ => self.played.incomplete += 1,
            },
            Observed::TornFrame { .. } => self.played.torn += 1,
            Observed::MixedFrame => self.played.mixed += 1,
            Observed::Dropped { .. } => self.played.dropped += 1,
            Observed::Opened => drop(self.connection(origin(0))?),
            // Connections stay open until the totals were asked for: a server may drop what a
            // client leaves.
            Observed::Closed
            | Observed::Swept { .. }
            | Observed::ServerStarted
            // It was played when it was received.
            | Observed::TookEffect { .. } => {}
        }
        Ok(())
    }

    /// Waits until the server has taken everything, and asks what it shows.
    pub(crate) fn finish(mut self) -> Result<Played, PlaybackError> {
        self.settle_all()?;
        let devices: Vec<(u16, ComparedTotals)> = self
            .before
            .iter()
            .map(|(device, before)| (*device, *before))
            .collect();
        for (device, before) in devices {
            let response = self.query(0, i32::from(device), "the last QUERY")?;
            let shown = ShownTotals {
                before,
                after: ComparedTotals::of_response(&response),
                registry: ComparedTotals::of_registry(
                    &self.registry.answered_totals(i32::from(device)),
                ),
            };
            self.played.noticed += usize::from(shown.after != before);
            self.played.devices.insert(device, shown);
        }
        self.played.connections = self.connections.len();
        self.release_all();
        Ok(self.played)
    }

    /// Releases what the recording leaves live, so that it can be played again.
    fn release_all(&self) {
        let connection = &self.connections[0];
        for entry in self.registry.live() {
            let release = entry.release();
            let extension = (release.extension).filter(|_| self.layout == Layout::Extended);
            let message = Message {
                extension,
                ..release
            };
            let frame = wire::encode(self.layout, &message);
            for _ in 0..entry.refcount {
                // The totals are known: a server that fails now fails at nothing that was recorded.
                let _ = connection.write(frame.as_bytes(), SendMode::Blocking);
            }
        }
        let _ = connection.query(0, TIMEOUT);
    }

    fn send(
        &mut self,
        conn: usize,
        message: &Message,
        observation: &Observation,
        what: &'static str,
    ) -> Result<(), PlaybackError> {
        match message.kind {
            // Its answer is read, so that the server never waits for us.
            MessageKind::Query => {
                let at = at(observation, what);
                self.query(conn, message.device, &at)?;
                self.played.messages += 1;
                self.settled(conn);
                Ok(())
            }
            MessageKind::DeviceInfoQuery => {
                let asked = self.connections[conn].device_info(message.device, TIMEOUT);
                self.played.messages += 1;
                asked
                    .map(drop)
                    .map_err(|error| failed(&at(observation, what), &error))
            }
            kind => {
                let mut message = message.clone();
                if self.layout != Layout::Extended {
                    message.extension = None;
                }
                if kind.class().is_some() {
                    self.note_before(message.device)?;
                    self.in_order(conn, (message.device, message.address))?;
                }
                let frame: FrameBuffer = wire::encode(self.layout, &message);
                self.write(conn, frame.as_bytes(), observation, what)?;
                let Played {
                    taken, rejected, ..
                } = &mut self.played;
                self.registry
                    .apply(&message, &mut |message, outcome| match outcome {
                        Outcome::Rejected(_) => *rejected += 1,
                        Outcome::UnknownFree => {}
                        _ => *taken += u64::from(message.kind.class().is_some()),
                    });
                self.look_at_first(conn, message.device)
            }
        }
    }

    fn write(
        &mut self,
        conn: usize,
        bytes: &[u8],
        observation: &Observation,
        what: &'static str,
    ) -> Result<(), PlaybackError> {
        self.played.messages += 1;
        match self.connections[conn].write(bytes, SendMode::Blocking) {
            WriteOutcome::Closed { error, .. } => Err(failed(&at(observation, what), &error)),
            WriteOutcome::Sent { .. } | WriteOutcome::Dropped { .. } => Ok(()),
        }
    }

    /// What the server shows of a device that no message was about yet.
    fn note_before(&mut self, device: i32) -> Result<(), PlaybackError> {
        let Ok(device) = u16::try_from(device) else {
            return Ok(());
        };
        if self.before.contains_key(&device) {
            return Ok(());
        }
        if self.before.len() >= MAX_DEVICES {
            self.played.more_devices = true;
            return Ok(());
        }
        let response = self.query(0, i32::from(device), "a QUERY")?;
        self.before
            .insert(device, ComparedTotals::of_response(&response));
        self.untouched.insert(device);
        Ok(())
    }

    /// Asks for a device's totals when something that they show is live there for the first time,
    /// over the connection that said so: at the end of most recordings nothing is, and a server
    /// that takes no message shows that as well.
    fn look_at_first(&mut self, conn: usize, device: i32) -> Result<(), PlaybackError> {
        let known = u16::try_from(device).ok();
        let Some(number) = known.filter(|number| self.untouched.contains(number)) else {
            return Ok(());
        };
        let live = ComparedTotals::of_registry(&self.registry.answered_totals(device));
        if live.is_shown_by(self.layout) {
            self.untouched.remove(&number);
            let response = self.query(conn, device, "a QUERY")?;
            let shown = ComparedTotals::of_response(&response);
            self.played.noticed += usize::from(shown != self.before[&number]);
        }
        Ok(())
    }

    /// Makes sure that the coming message over `conn` does not overtake an earlier one about the
    /// same key.
    fn in_order(&mut self, conn: usize, key: (i32, u64)) -> Result<(), PlaybackError> {
        if self.connections.len() == 1 {
            return Ok(());
        }
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            self.settle_all()?;
        }
        if let Some(before) = self.in_flight.insert(key, conn)
            && before != conn
        {
            self.settle(before)?;
            self.in_flight.insert(key, conn);
        }
        Ok(())
    }

    /// Waits until the server has taken what was sent over a connection.
    fn settle(&mut self, conn: usize) -> Result<(), PlaybackError> {
        self.query(conn, 0, "a QUERY")?;
        self.settled(conn);
        Ok(())
    }

    fn settle_all(&mut self) -> Result<(), PlaybackError> {
        for conn in 0..self.connections.len() {
            self.query(conn, 0, "a QUERY")?;
        }
        self.in_flight.clear();
        Ok(())
    }

    fn settled(&mut self, conn: usize) {
        self.in_flight.retain(|_, over| *over != conn);
    }

    fn query(&self, conn: usize, device: i32, what: &str) -> Result<Response, PlaybackError> {
        self.connections[conn]
            .query(device, TIMEOUT)
            .map_err(|error| failed(what, &error))
    }

    /// The connection of a sender, opened if there is none.
    fn connection(&mut self, origin: Origin) -> Result<usize, PlaybackError> {
        if let Some(conn) = self.origins.get(&origin) {
            return Ok(*conn);
        }
        // The first one was opened to ask for the totals.
        let mut conn = self.origins.len();
        if conn >= MAX_CONNECTIONS {
            conn = match origin {
                Origin::Conn(number) => number as usize,
                Origin::Process(pid) => pid.unsigned_abs() as usize,
            } % MAX_CONNECTIONS;
            self.played.shared = true;
        } else if conn >= self.connections.len() {
            // What went over the only connection was not kept track of.
            self.settle_all()?;
            self.connect()?;
        }
        // Those that share are not remembered: a recording may have any number of them.
        if self.origins.len() < MAX_CONNECTIONS {
            self.origins.insert(origin, conn);
        }
        Ok(conn)
    }

    fn connect(&mut self) -> Result<(), PlaybackError> {
        let refused = |source| PlaybackError::Connect {
            path: self.path.clone(),
            source,
        };
        let connection = Connection::open(&self.path, self.layout, None).map_err(refused)?;
        connection.limit_writes(TIMEOUT).map_err(refused)?;
        // The first message of a connection is one whose layout can be told from its answer.
        if let Err(error) = connection.query(0, TIMEOUT) {
            return Err(PlaybackError::Layout {
                path: self.path.clone(),
                layout: self.layout,
                why: error.to_string(),
            });
        }
        self.connections.push(connection);
        Ok(())
    }

    /// Waits for the recorded time of an observation.
    fn wait(&mut self, observation: &Observation, what: &'static str) -> Result<(), PlaybackError> {
        if self.pace == Pace::Full {
            return Ok(());
        }
        let position = observation.position;
        let at_ns = observation
            .at_ns
            .ok_or(PlaybackError::NoTime { what, position })?;
        let (began, first_ns) = *self.began.get_or_insert((Instant::now(), at_ns));
        // Times need not be monotone: what is late is sent at once.
        let due = Duration::from_nanos(at_ns.saturating_sub(first_ns));
        while !self.interrupt.load(Ordering::Relaxed) {
            let Some(left) = due
                .checked_sub(began.elapsed())
                .filter(|left| !left.is_zero())
            else {
                break;
            };
            thread::sleep(left.min(POLL_INTERVAL));
        }
        Ok(())
    }
}

fn at(observation: &Observation, what: &str) -> String {
    format!("{what} {}", observation.position)
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> PlaybackError {
    PlaybackError::Server {
        what: format!("at {what}"),
        why: error.to_string(),
    }
}
