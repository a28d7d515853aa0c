//! The packets of a trace: tracks that are described once, slices, instants and counters on them.
//! What they stand for is not known here.

use std::io;

use prost::Message as _;

use super::messages::{
    CounterDescriptor, DebugAnnotation, ThreadDescriptor, TracePacket, TracePieces,
    TrackDescriptor, TrackEvent,
};
use super::{PID, PROCESS, Perfetto};

const SLICE_BEGIN: i32 = 1;
const SLICE_END: i32 = 2;
const INSTANT: i32 = 3;
const COUNTER: i32 = 4;
const UNIT_BYTES: i32 = 3;
const SEQUENCE: u32 = 1;
const STATE_CLEARED: u32 = 1;
const STEP_NS: u64 = 800;
const FIRST_THREAD: u64 = 1000;
const FIRST_COUNTER: u64 = 2_000_000;
/// Threads and connections of an input that have a track each; the others share one.
const MAX_TRACKS: usize = 4096;

impl Perfetto<'_> {
    pub(super) fn packet(&mut self, packet: TracePacket) -> io::Result<()> {
        let first = self.packets == 0;
        self.packets += 1;
        let packet = TracePacket {
            trusted_packet_sequence_id: Some(SEQUENCE),
            sequence_flags: first.then_some(STATE_CLEARED),
            ..packet
        };
        let piece = TracePieces {
            packet: vec![packet],
        };
        piece
            .encode(self.out.buffer())
            .expect("a vector has room for any message");
        self.out.written()
    }

    pub(super) fn describe(&mut self, track: TrackDescriptor) -> io::Result<()> {
        self.packet(TracePacket {
            track_descriptor: Some(track),
            ..TracePacket::default()
        })
    }

    pub(super) fn event(&mut self, at_ns: u64, event: TrackEvent) -> io::Result<()> {
        self.packet(TracePacket {
            timestamp: Some(at_ns),
            track_event: Some(event),
            ..TracePacket::default()
        })
    }

    /// What happens now on a track, by its name; `more` is what else is known of it.
    fn named(&mut self, kind: i32, track: u64, name: String, more: TrackEvent) -> io::Result<()> {
        self.event(
            self.now_ns,
            TrackEvent {
                r#type: Some(kind),
                track_uuid: Some(track),
                name: Some(name),
                ..more
            },
        )
    }

    pub(super) fn begin_slice(&mut self, track: u64, name: String) -> io::Result<()> {
        self.named(SLICE_BEGIN, track, name, TrackEvent::default())
    }

    pub(super) fn end_slice(&mut self, at_ns: u64, track: u64) -> io::Result<()> {
        self.event(
            at_ns,
            TrackEvent {
                r#type: Some(SLICE_END),
                track_uuid: Some(track),
                ..TrackEvent::default()
            },
        )
    }

    /// The track of a thread or a connection.
    pub(super) fn track(&mut self, number: u64) -> io::Result<u64> {
        if let Some(uuid) = self.tracks.get(&number) {
            return Ok(*uuid);
        }
        let uuid = FIRST_THREAD + self.tracks.len().min(MAX_TRACKS) as u64;
        if self.tracks.len() >= MAX_TRACKS {
            self.left_out
                .count("threads or connections without a track of their own");
            return Ok(uuid);
        }
        let word = self.track_word;
        self.tracks.insert(number, uuid);
        self.describe_thread(uuid, format!("{word} {number}"))?;
        Ok(uuid)
    }

    pub(super) fn describe_thread(&mut self, uuid: u64, name: String) -> io::Result<()> {
        self.describe(TrackDescriptor {
            uuid: Some(uuid),
            parent_uuid: Some(PROCESS),
            name: Some(name.clone()),
            thread: Some(ThreadDescriptor {
                pid: Some(PID),
                tid: Some(uuid as i32),
                thread_name: Some(name),
            }),
            ..TrackDescriptor::default()
        })
    }

    /// Sets a counter, where its value is another than it was.
    pub(super) fn counter(&mut self, name: String, value: u64) -> io::Result<()> {
        let next = FIRST_COUNTER + self.counters.len() as u64;
        let known = self.counters.get(&name).copied();
        if known.is_some_and(|(_, before)| before == value) {
            return Ok(());
        }
        let uuid = known.map_or(next, |(uuid, _)| uuid);
        if known.is_none() {
            self.describe(TrackDescriptor {
                uuid: Some(uuid),
                parent_uuid: Some(PROCESS),
                name: Some(name.clone()),
                counter: Some(CounterDescriptor {
                    unit: Some(UNIT_BYTES),
                }),
                ..TrackDescriptor::default()
            })?;
        }
        self.counters.insert(name, (uuid, value));
        self.event(
            self.now_ns,
            TrackEvent {
                r#type: Some(COUNTER),
                track_uuid: Some(uuid),
                counter_value: Some(i64::try_from(value).unwrap_or(i64::MAX)),
                ..TrackEvent::default()
            },
        )
    }

    /// A step that is seen for a moment, with what is known of it.
    pub(super) fn moment(
        &mut self,
        track: u64,
        name: String,
        annotations: Vec<DebugAnnotation>,
        flow: Option<FlowEnd>,
    ) -> io::Result<()> {
        let (flow_ids, terminating_flow_ids) = match flow {
            Some(FlowEnd::Begins(id)) => (vec![id], Vec::new()),
            Some(FlowEnd::Ends(id)) => (Vec::new(), vec![id]),
            None => (Vec::new(), Vec::new()),
        };
        let more = TrackEvent {
            debug_annotations: annotations,
            flow_ids,
            terminating_flow_ids,
            ..TrackEvent::default()
        };
        self.named(SLICE_BEGIN, track, name, more)?;
        self.end_slice(self.now_ns + STEP_NS, track)
    }

    pub(super) fn instant(
        &mut self,
        track: u64,
        name: String,
        annotations: Vec<DebugAnnotation>,
    ) -> io::Result<()> {
        let more = TrackEvent {
            debug_annotations: annotations,
            ..TrackEvent::default()
        };
        self.named(INSTANT, track, name, more)
    }
}

pub(super) enum FlowEnd {
    Begins(u64),
    Ends(u64),
}

pub(super) fn number(name: &str, value: u64) -> DebugAnnotation {
    DebugAnnotation {
        name: Some(name.to_owned()),
        uint_value: Some(value),
        ..DebugAnnotation::default()
    }
}

pub(super) fn text(name: &str, value: impl Into<String>) -> DebugAnnotation {
    DebugAnnotation {
        name: Some(name.to_owned()),
        string_value: Some(value.into()),
        ..DebugAnnotation::default()
    }
}
