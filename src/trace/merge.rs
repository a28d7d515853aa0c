//! The merge: turns the streams of a trace into one schedule.
//!
//! An event is due when every earlier touch of its object has been taken: versions are consecutive. Of
//! the events that are due, the server's go first, so that what is in flight stays as small as it was.
//! The order among unrelated events is fixed by the streams' numbers: the same trace always merges to
//! the same schedule.

use thiserror::Error;

use super::codec::Decoder;
use super::event::{ConnId, Event};
use super::file::{SERVER_STREAM, TraceFile};
use super::objects::{ObjectId, Objects, SLOT_VERSION_MASK};
use crate::scenario::op::Op;

/// One event of the merged schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The stream it is from: a thread's index or [`SERVER_STREAM`].
    pub stream: u16,
    /// What happened.
    pub event: Event,
}

/// How a merge ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeEnd {
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
    objects: Objects,
    streams: Vec<Stream>,
    versions: Vec<u64>,
    /// Chunks written to each connection and not yet received.
    in_flight: Vec<u64>,
    chunks: u64,
    connected: u16,
    current: usize,
    running: usize,
    problem: Option<String>,
}

/// One stream, read block by block.
#[derive(Debug)]
struct Stream {
    number: u16,
    decoder: Decoder,
    raw: Vec<u8>,
    at: usize,
    next_block: usize,
    head: Option<Due>,
    finished: bool,
}

/// The next event of a stream and what it waits for.
#[derive(Clone, Copy, Debug)]
struct Due {
    event: Event,
    wait: Wait,
}

#[derive(Clone, Copy, Debug)]
enum Wait {
    Nothing,
    Version {
        object: ObjectId,
        version: u64,
        mask: u64,
    },
    Frame(ConnId),
    Connection(ConnId),
    Others,
}

impl<'a> Merge<'a> {
    /// Starts at the beginning of `trace`. A message is written in `chunks` writes.
    pub fn new(trace: &'a TraceFile, objects: Objects, chunks: u8) -> Merge<'a> {
        let mut streams: Vec<Stream> = trace
            .streams()
            .map(|number| Stream {
                number,
                decoder: Decoder::new(objects),
                raw: Vec::new(),
                at: 0,
                next_block: 0,
                head: None,
                finished: false,
            })
            .collect();
        // The server's stream comes first: it is asked first whether its next event is due.
        streams.sort_by_key(|stream| stream.number.wrapping_add(1));
        let threads = streams
            .iter()
            .filter(|stream| stream.number != SERVER_STREAM)
            .count();
        let mut merge = Merge {
            trace,
            objects,
            streams,
            versions: vec![0; objects.count()],
            in_flight: vec![0; usize::from(objects.conns)],
            chunks: u64::from(chunks.max(1)),
            connected: 0,
            current: 0,
            running: threads,
            problem: None,
        };
        for index in 0..merge.streams.len() {
            merge.advance(index);
        }
        merge
    }

    /// The next event of the schedule, or `None` at the end; then [`Merge::end`] says how it ended.
    #[inline]
    pub fn next_event(&mut self) -> Option<Merged> {
        let server_first = self
            .streams
            .first()
            .is_some_and(|stream| stream.number == SERVER_STREAM);
        if server_first && let Some(merged) = self.take_if_due(0) {
            return Some(merged);
        }
        let count = self.streams.len();
        for step in 0..count {
            let mut index = self.current + step;
            if index >= count {
                index -= count;
            }
            if let Some(merged) = self.take_if_due(index) {
                self.current = index;
                return Some(merged);
            }
        }
        None
    }

    /// How the merge ended; call it when [`Merge::next_event`] has returned `None`.
    pub fn end(&self) -> Result<MergeEnd, Contradiction> {
        if let Some(why) = &self.problem {
            return Ok(MergeEnd::Prefix { why: why.clone() });
        }
        let stuck = self
            .streams
            .iter()
            .find_map(|stream| stream.head.map(|due| (stream.number, due)));
        match (self.trace.damage(), stuck) {
            (Some(damage), _) => Ok(MergeEnd::Prefix {
                why: damage.to_owned(),
            }),
            (None, None) => Ok(MergeEnd::Complete),
            (None, Some((number, due))) => Err(Contradiction(format!(
                "stream {number} waits for {:?} to do {:?}",
                due.wait, due.event
            ))),
        }
    }

    #[inline]
    fn take_if_due(&mut self, index: usize) -> Option<Merged> {
        let stream = &self.streams[index];
        let due = stream.head?;
        let is_due = match due.wait {
            Wait::Nothing => true,
            Wait::Version {
                object,
                version,
                mask,
            } => self.versions[object.index()].wrapping_add(1) & mask == version & mask,
            Wait::Frame(conn) => self.in_flight[usize::from(conn.0)] >= self.chunks,
            Wait::Connection(conn) => self.connected == conn.0,
            Wait::Others => self.running == 1,
        };
        if !is_due {
            return None;
        }
        let number = stream.number;
        self.apply(&due);
        self.advance(index);
        Some(Merged {
            stream: number,
            event: due.event,
        })
    }

    #[inline]
    fn apply(&mut self, due: &Due) {
        match due.wait {
            Wait::Version {
                object, version, ..
            } => self.versions[object.index()] = version,
            Wait::Frame(conn) => self.in_flight[usize::from(conn.0)] -= self.chunks,
            Wait::Connection(_) => self.connected += 1,
            Wait::Nothing | Wait::Others => {}
        }
        match due.event {
            Event::Unlock { lock } => {
                let object = self.objects.lock_object(lock);
                self.versions[object.index()] = self.versions[object.index()].wrapping_add(1);
            }
            Event::Send {
                conn,
                outcome: super::event::SendOutcome::Sent,
                ..
            } => self.in_flight[usize::from(conn.0)] += 1,
            Event::Finish => self.running = self.running.saturating_sub(1),
            _ => {}
        }
    }

    /// Decodes the next event of a stream.
    #[inline]
    fn advance(&mut self, index: usize) {
        let stream = &mut self.streams[index];
        if stream.at == stream.raw.len() && !stream.next_block(self.trace, &mut self.problem) {
            stream.head = None;
            return;
        }
        let mut rest = &stream.raw[stream.at..];
        match stream.decoder.decode(&mut rest) {
            Ok(event) => {
                stream.at = stream.raw.len() - rest.len();
                let wait = wait_of(&event, &self.objects, stream.decoder.current_slot());
                stream.head = Some(Due { event, wait });
            }
            Err(error) => {
                self.problem
                    .get_or_insert_with(|| format!("stream {}: {error}", stream.number));
                stream.finished = true;
                stream.raw.clear();
                stream.at = 0;
                stream.head = None;
            }
        }
    }
}

impl Stream {
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

#[inline]
fn wait_of(event: &Event, objects: &Objects, slot: u32) -> Wait {
    let on = |object, version| Wait::Version {
        object,
        version,
        mask: u64::MAX,
    };
    let on_slot = |version| Wait::Version {
        object: objects.slot(slot),
        version,
        mask: SLOT_VERSION_MASK,
    };
    match *event {
        Event::Open {
            op: Op::Allocate { .. } | Op::Release { .. },
            version,
        } => on_slot(version),
        Event::Open {
            op: Op::AwaitOthers,
            ..
        } => Wait::Others,
        Event::Open { .. } => Wait::Nothing,
        Event::Part { version, .. }
        | Event::CloseBuffer { version, .. }
        | Event::Vacate { version }
        | Event::Check { version, .. }
        | Event::Claim { version, .. }
        | Event::MarkLive { version }
        | Event::MarkDead { version }
        | Event::Publish { version } => on_slot(version),
        Event::Lock { lock, version } => on(objects.lock_object(lock), version),
        Event::Alloc {
            device, version, ..
        }
        | Event::AllocFailed { device, version }
        | Event::Free {
            device, version, ..
        } => on(objects.device(device), version),
        Event::Stamp { device, sequence } => on(objects.counter(device), sequence),
        Event::ConnRead { version, .. } | Event::ConnStore { version, .. } => {
            on(objects.cell(), version)
        }
        Event::Connect { conn } => Wait::Connection(conn),
        Event::Send { conn, version, .. } => on(objects.conn(conn), version),
        Event::Receive { conn, .. } => Wait::Frame(conn),
        Event::Unlock { .. }
        | Event::LockOutOfBounds { .. }
        | Event::DebugLog
        | Event::BlockedOnLock { .. }
        | Event::BlockedOnOp { .. }
        | Event::Finish
        | Event::Accept { .. } => Wait::Nothing,
    }
}
