//! A trace for Perfetto: a track a thread with its operations and steps, a track a lock with who
//! holds it, sends as flows to where the server takes them, and memory as counters, by the truth
//! and by the server.
//!
//! A run has no clock: an event takes a µs. What an import or a capture says of time is kept.

mod messages;
mod packets;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use rustc_hash::FxHashMap;

use super::source::{ExportStep, SourceAbout};
use super::{ExportError, ExportSink, Exported, LeftOut, Out, Wants, words};
use crate::import::allocation::{AllocationEvent, AllocationRecord, Buffer};
use crate::import::stacks::StackTable;
use crate::registry::{Limits, Registry, Semantics, Totals};
use crate::trace::event::{Event, SendOutcome};
use crate::trace::observation::{Observation, Observed, ServerAnswer};
use crate::tracking::Message;
use messages::{ProcessDescriptor, TrackDescriptor};
use packets::{FlowEnd, number, text};

/// What an event of a run takes, of which a step is seen for a part.
const EVENT_NS: u64 = 1000;

const PID: i32 = 1;
const PROCESS: u64 = 1;
const SERVER: u64 = 2;
const LOCKS: u64 = 3;
const FIRST_LOCK: u64 = 1_000_000;

/// Writes packets.
pub(super) struct Perfetto<'a> {
    out: Out<'a>,
    locks: Vec<String>,
    holders: BTreeMap<u16, u64>,
    described_locks: BTreeSet<u16>,
    /// Threads, or connections, by the input's number.
    tracks: BTreeMap<u64, u64>,
    track_word: &'static str,
    /// Threads that are in an operation.
    open: BTreeMap<u64, bool>,
    flows: Flows,
    counters: BTreeMap<String, (u64, u64)>,
    live: FxHashMap<(Option<u32>, i32, u8, u64), u64>,
    bytes: BTreeMap<(Option<u32>, i32, u8), u64>,
    registry: Registry,
    shown: BTreeMap<i32, Totals>,
    now_ns: u64,
    packets: u64,
    counts_events: bool,
    left_out: LeftOut,
}

/// Which write belongs to which frame, by connection.
#[derive(Default)]
struct Flows {
    writes_per_frame: u64,
    /// Writes, and frames that the server took.
    counts: BTreeMap<u16, (u64, u64)>,
}

impl Flows {
    fn written(&mut self, conn: u16) -> u64 {
        let (writes, _) = self.counts.entry(conn).or_default();
        *writes += 1;
        Flows::id(conn, (*writes - 1) / self.writes_per_frame.max(1))
    }

    fn received(&mut self, conn: u16) -> u64 {
        let (_, frames) = self.counts.entry(conn).or_default();
        *frames += 1;
        Flows::id(conn, *frames - 1)
    }

    fn id(conn: u16, frame: u64) -> u64 {
        (u64::from(conn) + 1) << 48 | frame
    }
}

impl<'a> Perfetto<'a> {
    pub(super) fn new(to: &'a mut (dyn Write + Send + 'a)) -> Perfetto<'a> {
        Perfetto {
            out: Out::new(to),
            locks: Vec::new(),
            holders: BTreeMap::new(),
            described_locks: BTreeSet::new(),
            tracks: BTreeMap::new(),
            track_word: "thread",
            open: BTreeMap::new(),
            flows: Flows::default(),
            counters: BTreeMap::new(),
            live: FxHashMap::default(),
            bytes: BTreeMap::new(),
            registry: Registry::new(Semantics::Overwrite, Limits::default()),
            shown: BTreeMap::new(),
            now_ns: 0,
            packets: 0,
            counts_events: false,
            left_out: LeftOut::default(),
        }
    }

    /// The bytes of a space by the allocator.
    fn truth(
        &mut self,
        space: (Option<u32>, i32, u8),
        names: &StackTable,
        change: impl FnOnce(u64) -> u64,
    ) -> io::Result<()> {
        let bytes = self.bytes.entry(space).or_default();
        *bytes = change(*bytes);
        let bytes = *bytes;
        let (process, device, buffer_type) = space;
        let process = process.map_or(String::new(), |pid| format!(", process {pid}"));
        let memory = words::memory_of(buffer_type, names);
        self.counter(
            format!("allocated: device {device} {memory}{process}"),
            bytes,
        )
    }

    /// What the server shows of a device.
    fn server_shows(&mut self, device: i32) -> io::Result<()> {
        let totals = self.registry.totals(device);
        if self.shown.get(&device) == Some(&totals) {
            return Ok(());
        }
        self.shown.insert(device, totals);
        for (name, bytes) in [
            ("dram", totals.dram_bytes),
            ("l1", totals.l1_bytes),
            ("l1_small", totals.l1_small_bytes),
            ("trace", totals.trace_bytes),
            ("system", totals.system_bytes),
            ("circular buffers", totals.cb_bytes),
            ("kernels", totals.kernel_bytes),
        ] {
            let name = format!("server: device {device} {name}");
            // A counter that never moved is none.
            if bytes > 0 || self.counters.contains_key(&name) {
                self.counter(name, bytes)?;
            }
        }
        Ok(())
    }

    fn server_takes(&mut self, message: &Message) -> io::Result<()> {
        let mut devices = vec![message.device];
        self.registry.apply(message, &mut |taken, _| {
            if taken.device != message.device {
                devices.push(taken.device);
            }
        });
        for device in devices {
            self.server_shows(device)?;
        }
        Ok(())
    }
}

impl ExportSink for Perfetto<'_> {
    fn begin(&mut self, about: &SourceAbout) -> Result<Wants, ExportError> {
        self.registry = Registry::new(about.registry.semantics(), about.registry.limits());
        self.describe(TrackDescriptor {
            uuid: Some(PROCESS),
            process: Some(ProcessDescriptor {
                pid: Some(PID),
                process_name: Some(about.name.clone()),
            }),
            ..TrackDescriptor::default()
        })?;
        if let Some(run) = &about.run {
            self.counts_events = true;
            self.locks.clone_from(&run.locks);
            self.flows.writes_per_frame = u64::from(run.writes_per_frame);
            for thread in 0..run.threads {
                self.track(u64::from(thread))?;
            }
            self.describe_thread(SERVER, "server".to_owned())?;
            self.describe(TrackDescriptor {
                uuid: Some(LOCKS),
                parent_uuid: Some(PROCESS),
                name: Some("locks".to_owned()),
                ..TrackDescriptor::default()
            })?;
        } else if about.messages_only {
            self.track_word = "connection";
        }
        Ok(Wants {
            steps: about.run.is_some(),
            allocations: !about.messages_only,
            observations: about.run.is_some() || about.messages_only,
        })
    }

    fn step(&mut self, step: &ExportStep<'_>) -> Result<(), ExportError> {
        self.now_ns = step.number * EVENT_NS;
        let Some(thread) = step.thread else {
            return self.server_step(step);
        };
        let track = self.track(u64::from(thread))?;
        let word = words::event(step.event);
        let mut known = Vec::new();
        if let Some(handle) = step.handle {
            known.push(text("address", format!("{:#x}", handle.address)));
            known.push(number("size", handle.size_bytes));
            known.push(text("memory", words::of_memory(handle.memory)));
            known.push(number("device", u64::from(handle.device.0)));
        }
        known.push(number("event", step.number));
        match *step.event {
            Event::Open { op, .. } => {
                if self.open.insert(track, true) == Some(true) {
                    self.end_slice(self.now_ns, track)?;
                }
                self.begin_slice(track, op.to_string())?;
            }
            Event::Finish => {
                self.instant(track, word.to_owned(), known)?;
                if self.open.insert(track, false) == Some(true) {
                    self.end_slice(self.now_ns, track)?;
                }
            }
            Event::Lock { lock, .. } => {
                let name = self.lock_name(lock.0);
                let uuid = self.lock_track(lock.0)?;
                self.holders.insert(lock.0, uuid);
                self.begin_slice(uuid, format!("thread {thread}"))?;
                self.instant(track, format!("lock {name}"), known)?;
            }
            Event::Unlock { lock } => {
                let name = self.lock_name(lock.0);
                if let Some(uuid) = self.holders.remove(&lock.0) {
                    self.end_slice(self.now_ns, uuid)?;
                }
                self.instant(track, format!("unlock {name}"), known)?;
            }
            Event::BlockedOnLock { lock } => {
                let name = self.lock_name(lock.0);
                self.instant(track, format!("waits for {name}"), known)?;
            }
            Event::Send {
                kind,
                chunk,
                conn,
                outcome,
                ..
            } => {
                known.push(text("outcome", words::send_outcome(outcome)));
                known.push(number("connection", u64::from(conn.0)));
                known.push(number("chunk", u64::from(chunk)));
                let flow = (outcome == SendOutcome::Sent)
                    .then(|| FlowEnd::Begins(self.flows.written(conn.0)));
                let message = kind.message_kind().name();
                self.moment(track, format!("send {message}"), known, flow)?;
            }
            Event::Alloc { .. } => self.moment(track, word.to_owned(), known, None)?,
            Event::Free { outcome, .. } => {
                known.push(text("outcome", words::free_outcome(outcome)));
                self.moment(track, word.to_owned(), known, None)?;
            }
            Event::Check { live, .. } => {
                known.push(text("outcome", if live { "live" } else { "dead" }));
                self.instant(track, word.to_owned(), known)?;
            }
            Event::Claim { won, .. } => {
                known.push(text("outcome", if won { "won" } else { "lost" }));
                self.instant(track, word.to_owned(), known)?;
            }
            Event::BlockedOnOp { op } => {
                known.push(text("operation", op.to_string()));
                self.instant(track, word.to_owned(), known)?;
            }
            _ => self.instant(track, word.to_owned(), known)?,
        }
        Ok(())
    }

    fn allocation(
        &mut self,
        record: &AllocationRecord,
        stacks: &StackTable,
    ) -> Result<(), ExportError> {
        if !self.counts_events {
            self.now_ns = record.at_ns.unwrap_or(self.now_ns.saturating_add(EVENT_NS));
            self.shown_record(record, stacks)?;
        }
        let key = |buffer: Buffer| {
            let space = (buffer.process, buffer.device, buffer.buffer_type);
            (space, (space.0, space.1, space.2, buffer.address))
        };
        match record.what {
            AllocationEvent::Allocated(buffer) => {
                let (space, key) = key(buffer);
                let size = buffer.size_bytes.unwrap_or(0);
                let before = self.live.insert(key, size).unwrap_or(0);
                self.truth(space, stacks, |bytes| {
                    bytes.saturating_sub(before).saturating_add(size)
                })?;
            }
            AllocationEvent::Released(buffer) => {
                let (space, key) = key(buffer);
                if let Some(size) = self.live.remove(&key) {
                    self.truth(space, stacks, |bytes| bytes.saturating_sub(size))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn observation(&mut self, seen: &Observation) -> Result<(), ExportError> {
        if let Observed::Message { message, .. } = &seen.what {
            if !self.counts_events {
                self.shown_seen(seen, message)?;
            }
            self.server_takes(message)?;
        } else if self.counts_events {
            // The steps of the run say it.
        } else {
            self.left_out.count("what is seen beside messages");
        }
        Ok(())
    }

    fn end(&mut self, _stacks: &StackTable) -> Result<Exported, ExportError> {
        let mut notes = Vec::new();
        if self.counts_events {
            notes.push("a run has no clock: each event takes 1 µs".to_owned());
        }
        Ok(Exported {
            written: self.packets,
            noun: "packet",
            bytes: self.out.end()?,
            left_out: std::mem::take(&mut self.left_out),
            notes,
            damage: None,
        })
    }
}

impl Perfetto<'_> {
    fn lock_name(&self, lock: u16) -> String {
        let name = self.locks.get(usize::from(lock));
        name.cloned().unwrap_or_else(|| format!("lock {lock}"))
    }

    /// The track of a lock, described when it is first taken.
    fn lock_track(&mut self, lock: u16) -> io::Result<u64> {
        let uuid = FIRST_LOCK + u64::from(lock);
        if self.described_locks.insert(lock) {
            let name = self.lock_name(lock);
            self.describe(TrackDescriptor {
                uuid: Some(uuid),
                parent_uuid: Some(LOCKS),
                name: Some(name),
                ..TrackDescriptor::default()
            })?;
        }
        Ok(uuid)
    }

    fn server_step(&mut self, step: &ExportStep<'_>) -> Result<(), ExportError> {
        let known = vec![number("event", step.number)];
        match *step.event {
            Event::Receive { conn, code } => {
                let mut known = known;
                known.push(text("answer", words::receive_code(code)));
                known.push(number("connection", u64::from(conn.0)));
                let flow = FlowEnd::Ends(self.flows.received(conn.0));
                let name = format!("receive: {}", words::receive_code(code));
                self.moment(SERVER, name, known, Some(flow))?;
            }
            _ => self.instant(SERVER, words::event(step.event).to_owned(), known)?,
        }
        Ok(())
    }

    /// A record of an import, on the track of its thread.
    fn shown_record(
        &mut self,
        record: &AllocationRecord,
        stacks: &StackTable,
    ) -> Result<(), ExportError> {
        let track = self.track(record.thread.unwrap_or(0))?;
        let mut known = vec![number("position", record.position)];
        if let AllocationEvent::Failed { size_bytes, .. } = record.what {
            known.push(number("size", size_bytes));
        }
        if let Some(buffer) = record.buffer() {
            known.push(text("address", format!("{:#x}", buffer.address)));
            known.extend(buffer.size_bytes.map(|size| number("size", size)));
            known.push(text("memory", words::memory_of(buffer.buffer_type, stacks)));
            known.push(text("device", buffer.device.to_string()));
            if let Some(stack) = buffer.stack {
                let frames: Vec<&str> = stacks.frames_of(stack).collect();
                known.push(text("stack", frames.join("\n")));
            }
        }
        Ok(self.instant(track, words::op(&record.what).to_owned(), known)?)
    }

    /// A message, on the track of its connection.
    fn shown_seen(&mut self, seen: &Observation, message: &Message) -> Result<(), ExportError> {
        self.now_ns = seen.at_ns.unwrap_or(self.now_ns.saturating_add(EVENT_NS));
        let track = self.track(u64::from(seen.conn.unwrap_or(0)))?;
        let answer = |answer: ServerAnswer| words::answer(answer).0;
        let mut known = vec![
            number("position", seen.position),
            text("address", format!("{:#x}", message.address)),
            number("size", message.size_bytes),
            text("device", message.device.to_string()),
            text("process", message.pid.to_string()),
        ];
        if let Observed::Message {
            server_answer: Some(said),
            ..
        } = seen.what
        {
            known.push(text("answer", answer(said)));
        }
        Ok(self.instant(track, message.kind.name().to_owned(), known)?)
    }
}
