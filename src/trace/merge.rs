//! The merge: turns the streams of a trace into one schedule.
//!
//! An event is due when every earlier touch of its object has been taken: versions are consecutive.
//! Of the events that are due, the server's go first, so that what is in flight stays as small as
//! it was. The order among unrelated events is fixed by the streams' numbers: the same trace always
//! merges to the same schedule.

use thiserror::Error;

use super::codec::{DecodedTouch, Decoder};
use super::event::{Event, SendOutcome};
use super::file::{RunHeader, SERVER_STREAM, TraceFile};
use super::shared_event::SharedEvent;
use crate::scenario::objects::{ConnId, ObjectId, SLOT_VERSION_MASK};
use crate::scenario::op::Op;

/// One event of the merged schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergedEvent {
    /// The stream it is from: a thread's index or [`SERVER_STREAM`].
    pub stream: u16,
    /// What happened.
    pub event: Event,
}

/// How a merge ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MergeEnd {
    /// Every event was used.
    Complete,
    /// Some events could not be used: they wait for events that are not in the file.
    Prefix {
        /// Why, with the place in the file where it is known.
        why: String,
    },
}

/// The streams contradict each other: the file is whole but no schedule fits it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the trace contradicts itself: {0}")]
pub struct Contradiction(String);

/// Iterates over the merged schedule of a trace.
#[derive(Debug)]
pub struct Merge<'a> {
    trace: &'a TraceFile,
    first_slot: ObjectId,
    streams: Vec<Stream>,
    versions: Vec<u64>,
    /// Chunks written to each connection and not yet received.
    in_flight: Vec<u64>,
    /// Writes that the server takes for a frame.
    per_frame: u64,
    connected: u16,
    current: usize,
    running: usize,
    processes: u16,
    /// Whether the first stream is the server's and something has happened since it was last asked.
    ask_server: bool,
    problem: Option<String>,
}

/// One stream, read block by block and decoded some events at a time: a stream by itself repeats,
/// which processors predict, and the schedule does not.
#[derive(Debug)]
struct Stream {
    number: u16,
    decoder: Decoder,
    raw: Vec<u8>,
    at: usize,
    next_block: usize,
    /// Decoded events, of which those before `next` are done.
    decoded: Vec<Pending>,
    next: usize,
    /// Why there is nothing after what is decoded.
    problem: Option<String>,
    finished: bool,
    /// Its thread has come to its end, or its process was ended.
    ended: bool,
}

/// Events decoded at a time.
const BATCH_EVENTS: usize = 128;

/// An event to come, and what it waits for.
#[derive(Clone, Copy, Debug)]
struct Pending {
    merged: MergedEvent,
    /// It waits for the version before this one, where it touches an object.
    touch: DecodedTouch,
    special: MergeWait,
}

/// What else the merge has to know of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MergeWait {
    Nothing,
    /// It puts a chunk on a connection.
    Sent(ConnId),
    /// It waits for a whole frame on a connection, and takes it.
    Frame(ConnId),
    /// It waits until every thread has done what it could.
    Blocked,
    /// It waits for its turn to open a connection.
    Connection(ConnId),
    /// It waits until no other thread runs.
    Others,
    /// Its thread ends.
    Finish,
    /// It ends a process: it waits until the threads of that have done all that they did.
    Kill(u16),
    /// It asks for that: where it then comes, what is between is the other's still.
    Killing(u16),
}

impl<'a> Merge<'a> {
    /// Starts at the beginning of `trace`, whose header is `header`.
    pub fn new(trace: &'a TraceFile, header: &RunHeader) -> Merge<'a> {
        let objects = header.scenario.objects();
        let mut streams: Vec<Stream> = trace
            .streams()
            .map(|number| Stream {
                number,
                decoder: Decoder::new(objects),
                raw: Vec::new(),
                at: 0,
                next_block: 0,
                decoded: Vec::with_capacity(BATCH_EVENTS),
                next: 0,
                problem: None,
                finished: false,
                ended: false,
            })
            .collect();
        // The server's stream comes first: it is asked first whether its next event is due.
        streams.sort_by_key(|stream| stream.number.wrapping_add(1));
        let server_recorded = streams
            .first()
            .is_some_and(|stream| stream.number == SERVER_STREAM);
        let mut merge = Merge {
            trace,
            first_slot: objects.slot(0),
            running: streams.len() - usize::from(server_recorded),
            streams,
            versions: vec![0; objects.count()],
            in_flight: vec![0; usize::from(objects.conns)],
            per_frame: u64::from(header.scenario.writes_per_frame()),
            connected: 0,
            current: 0,
            processes: header.scenario.processes(),
            ask_server: server_recorded,
            problem: None,
        };
        for stream in &mut merge.streams {
            stream.refill(trace, &mut merge.problem);
        }
        merge
    }

    /// The next event of the schedule, or `None` at the end; then [`Merge::end`] says how it ended.
    #[inline]
    pub fn next_event(&mut self) -> Option<MergedEvent> {
        self.next_in_place().copied()
    }

    /// As [`Merge::next_event`], without a copy.
    #[inline]
    pub(crate) fn next_in_place(&mut self) -> Option<&MergedEvent> {
        if let Some(next) = self.next_of_current() {
            return Some(&self.streams[self.current].decoded[next].merged);
        }
        // A second look: in the first, a stream may have come to its end, for which another waits.
        let index = self.next_due().or_else(|| self.next_due())?;
        let stream = &mut self.streams[index];
        let next = stream.next;
        stream.next = next + 1;
        let Pending { touch, special, .. } = &stream.decoded[next];
        if touch.is_some() {
            self.versions[touch.object.index()] = touch.version;
        }
        if *special != MergeWait::Nothing {
            let special = *special;
            self.apply(special);
        }
        Some(&self.streams[index].decoded[next].merged)
    }

    /// How the merge ended; call it when [`Merge::next_event`] has returned `None`.
    pub(crate) fn end(&self) -> Result<MergeEnd, Contradiction> {
        if let Some(why) = &self.problem {
            return Ok(MergeEnd::Prefix { why: why.clone() });
        }
        let stuck = self
            .streams
            .iter()
            .find_map(|stream| stream.decoded.get(stream.next));
        match (self.trace.damage(), stuck) {
            (Some(damage), _) => Ok(MergeEnd::Prefix {
                why: damage.to_owned(),
            }),
            (None, None) => Ok(MergeEnd::Complete),
            (None, Some(pending)) => Err(Contradiction(format!(
                "stream {} never gets to do {:?}",
                pending.merged.stream, pending.merged.event
            ))),
        }
    }

    /// The usual case, made short: nothing has changed for the server, and the current stream goes
    /// on with an event that touches an object and does nothing else. Where that event is among the
    /// decoded ones.
    #[inline]
    fn next_of_current(&mut self) -> Option<usize> {
        if self.ask_server {
            return None;
        }
        let stream = self.streams.get_mut(self.current)?;
        let next = stream.next;
        let Pending { touch, special, .. } = stream.decoded.get(next)?;
        let before = self.versions.get_mut(touch.object.index())?;
        if *special != MergeWait::Nothing || !follows(*before, *touch, self.first_slot) {
            return None;
        }
        *before = touch.version;
        stream.next = next + 1;
        Some(next)
    }

    /// The stream whose next event is due. Threads go on as long as they can: the search begins
    /// with the last one.
    #[inline]
    fn next_due(&mut self) -> Option<usize> {
        if self.ask_server {
            if self.is_due(0) {
                return Some(0);
            }
            // Only a message that is sent can change that.
            self.ask_server = false;
        }
        if self.current < self.streams.len() && self.is_due(self.current) {
            return Some(self.current);
        }
        let count = self.streams.len();
        for step in 1..count {
            let index = (self.current + step) % count;
            if self.is_due(index) {
                self.current = index;
                return Some(index);
            }
        }
        None
    }

    #[inline(always)]
    fn is_due(&mut self, index: usize) -> bool {
        let stream = &mut self.streams[index];
        if stream.next == stream.decoded.len() && !stream.refill(self.trace, &mut self.problem) {
            return false;
        }
        let Pending { touch, special, .. } = stream.decoded[stream.next];
        if touch.is_some() {
            let before = self.versions[touch.object.index()];
            return follows(before, touch, self.first_slot);
        }
        match special {
            MergeWait::Nothing | MergeWait::Sent(_) | MergeWait::Finish => true,
            MergeWait::Frame(conn) => self.in_flight[usize::from(conn.0)] >= self.per_frame,
            MergeWait::Connection(conn) => self.connected == conn.0,
            MergeWait::Others => self.running == 1,
            MergeWait::Blocked => self.all_are_blocked(),
            MergeWait::Kill(_) => self.kill_is_due(index),
            MergeWait::Killing(_) => !self.kills_next(index) || self.kill_is_due(index),
        }
    }

    #[cold]
    fn kill_is_due(&self, index: usize) -> bool {
        let stream = &self.streams[index];
        let (MergeWait::Kill(process) | MergeWait::Killing(process)) =
            stream.decoded[stream.next].special
        else {
            return true;
        };
        // A stream at its end was asked for more, in this look or the last.
        let mut others = self.others_of(process, index);
        others.all(|of| self.streams[of].decoded.is_empty()) && self.takes_back_next(index)
    }

    #[cold]
    fn kills_next(&self, index: usize) -> bool {
        let stream = &self.streams[index];
        let next = stream.decoded.get(stream.next + 1);
        next.is_some_and(|next| matches!(next.special, MergeWait::Kill(_)))
    }

    /// Whether what is taken back after the end of a process, which is at hand, is next on each
    /// device: what others did there before comes before the end.
    fn takes_back_next(&self, index: usize) -> bool {
        let stream = &self.streams[index];
        let mut seen = None;
        for pending in &stream.decoded[stream.next + 1..] {
            let device = match pending.merged.event {
                Event::Shared(SharedEvent::Kill { .. }) => continue,
                Event::Shared(SharedEvent::Reclaim { device, .. }) => device,
                _ => break,
            };
            let before = self.versions[pending.touch.object.index()];
            if seen != Some(device) && !follows(before, pending.touch, self.first_slot) {
                return false;
            }
            seen = Some(device);
        }
        true
    }

    /// The streams of a process's threads, but for `own`.
    fn others_of(&self, process: u16, own: usize) -> impl Iterator<Item = usize> + use<'_, 'a> {
        let is_of =
            move |number: u16| number != SERVER_STREAM && number % self.processes == process;
        (0..self.streams.len())
            .filter(move |index| *index != own && is_of(self.streams[*index].number))
    }

    /// Whether no thread has anything left to do before it gives up: what a thread waited for is
    /// held by then.
    fn all_are_blocked(&self) -> bool {
        self.streams.iter().all(|stream| {
            // A stream whose batch is used up may go on; one without a batch has ended.
            let has_ended = stream.decoded.is_empty();
            let next = stream.decoded.get(stream.next);
            stream.number == SERVER_STREAM
                || has_ended
                || next.is_some_and(|next| next.special == MergeWait::Blocked)
        })
    }

    /// Takes note of what an event does apart from touching an object.
    #[inline]
    fn apply(&mut self, special: MergeWait) {
        match special {
            MergeWait::Sent(conn) => {
                self.in_flight[usize::from(conn.0)] += 1;
                self.ask_server = self.streams[0].number == SERVER_STREAM;
            }
            MergeWait::Frame(conn) => self.in_flight[usize::from(conn.0)] -= self.per_frame,
            MergeWait::Connection(_) => self.connected += 1,
            MergeWait::Finish => self.end_of(self.current),
            MergeWait::Kill(process) => self.end_process(process),
            MergeWait::Killing(_) => {}
            MergeWait::Nothing | MergeWait::Others | MergeWait::Blocked => {}
        }
    }
}

impl Merge<'_> {
    #[cold]
    fn end_process(&mut self, process: u16) {
        let ended: Vec<usize> = self.others_of(process, usize::MAX).collect();
        ended.into_iter().for_each(|index| self.end_of(index));
    }

    /// A thread runs no more.
    fn end_of(&mut self, index: usize) {
        if let Some(stream) = self.streams.get_mut(index)
            && !std::mem::replace(&mut stream.ended, true)
        {
            self.running = self.running.saturating_sub(1);
        }
    }
}

impl Stream {
    /// Decodes some more events, when all that were decoded are done; whether there are any.
    #[cold]
    fn refill(&mut self, trace: &TraceFile, problem: &mut Option<String>) -> bool {
        self.decoded.clear();
        self.next = 0;
        if let Some(why) = self.problem.take() {
            problem.get_or_insert(why);
        }
        if self.at == self.raw.len() && !self.next_block(trace, problem) {
            return false;
        }
        let mut rest = &self.raw[self.at..];
        while !rest.is_empty() && self.decoded.len() < BATCH_EVENTS {
            match self.decoder.decode(&mut rest) {
                Ok(event) => self.decoded.push(Pending {
                    merged: MergedEvent {
                        stream: self.number,
                        event,
                    },
                    touch: self.decoder.touch(),
                    special: special_of(&event),
                }),
                Err(error) => {
                    self.problem = Some(format!("stream {}: {error}", self.number));
                    self.finished = true;
                    rest = &[];
                }
            }
        }
        self.at = self.raw.len() - rest.len();
        !self.decoded.is_empty() || self.refill(trace, problem)
    }

    fn next_block(&mut self, trace: &TraceFile, problem: &mut Option<String>) -> bool {
        loop {
            if self.finished || self.next_block >= trace.blocks(self.number) {
                return false;
            }
            if let Err(why) = trace.read_block(self.number, self.next_block, &mut self.raw) {
                problem.get_or_insert(why);
                self.finished = true;
                self.raw.clear();
            }
            self.next_block += 1;
            self.at = 0;
            if !self.raw.is_empty() {
                return true;
            }
        }
    }
}

/// Whether a touch is the next one of its object, whose last version is `before`.
#[inline(always)]
fn follows(before: u64, touch: DecodedTouch, first_slot: ObjectId) -> bool {
    let mask = if touch.object >= first_slot {
        SLOT_VERSION_MASK
    } else {
        u64::MAX
    };
    (before.wrapping_add(1) ^ touch.version) & mask == 0
}

/// What the merge has to know of an event apart from its touch.
#[inline]
fn special_of(event: &Event) -> MergeWait {
    match *event {
        Event::Open {
            op: Op::AwaitOthers,
            ..
        } => MergeWait::Others,
        Event::Connect { conn } => MergeWait::Connection(conn),
        Event::Receive { conn, .. } => MergeWait::Frame(conn),
        Event::Send {
            conn,
            outcome: SendOutcome::Sent,
            ..
        } => MergeWait::Sent(conn),
        event if event.is_blocked() => MergeWait::Blocked,
        Event::Finish => MergeWait::Finish,
        Event::Open {
            op: Op::Kill { process },
            ..
        } => MergeWait::Killing(process),
        Event::Shared(SharedEvent::Kill { process }) => MergeWait::Kill(process),
        _ => MergeWait::Nothing,
    }
}
