//! The message-only check of captures and journals: what their messages admit by themselves,
//! without knowing the truth.
//!
//! The messages go to a registry of ours, in their order, and what it makes of them is what is
//! found; the findings are those of [`super::message_check`], which does the same for logs. The
//! registry orders stamped messages by their number and keeps address spaces apart, so that what is
//! found is the client's doing and not a server's. Not here: truth, causes, and what the observed
//! server answered.

use rustc_hash::FxHashMap;

use crate::registry::{Limits, Outcome, Registry, Semantics};
use crate::trace::observation::{Observation, Observed};
use crate::tracking::{Message, MessageKind};

use super::first_few::FirstFew;
use super::message_check::{
    FirstFinding, LiveKey, MAX_LIVE_LISTED, MessageFinding, MessageNote, MessageReport, Noted,
    RecentlyFreed, take_finding,
};

type Key = (i32, u64);

/// Checks a stream of observations.
pub(crate) struct ObservationCheck {
    registry: Registry,
    findings: Findings,
}

#[derive(Default)]
struct Findings {
    report: MessageReport,
    freed: RecentlyFreed<Key>,
    /// Lives that were released: of which process and device, and their generation.
    ended: RecentlyFreed<(i32, i32, u64)>,
    /// The same, with what tells a message from another one of the same life.
    ended_by: RecentlyFreed<(i32, i32, u64, u64)>,
    /// Where the last ALLOC of a live key stands, and whose it is.
    origins: FxHashMap<Key, (u64, i32)>,
}

impl Default for ObservationCheck {
    fn default() -> ObservationCheck {
        ObservationCheck {
            registry: Registry::new(Semantics::Sequenced, Limits::default()),
            findings: Findings::default(),
        }
    }
}

impl ObservationCheck {
    /// Takes the next observation.
    pub(crate) fn observe(&mut self, observation: &Observation) {
        let position = observation.position;
        self.findings.report.lines = self.findings.report.lines.max(position);
        match &observation.what {
            Observed::Message { message, .. } => {
                self.findings.report.messages += 1;
                self.findings.report.of_buffers += u64::from(matches!(
                    message.kind,
                    MessageKind::Alloc | MessageKind::Free
                ));
                let findings = &mut self.findings;
                let owner = findings.other_owner(message);
                let mut of_another = false;
                self.registry
                    .apply(message, &mut |taken, outcome| match owner.is_some()
                        && outcome == Outcome::UnknownFree
                    {
                        true => of_another = true,
                        false => findings.take(taken, &outcome, position),
                    });
                if let Some(pid) = owner.filter(|_| of_another) {
                    findings.note(MessageNote::ReleasedByAnother, position, 1);
                    let released = Message {
                        pid,
                        ..message.clone()
                    };
                    self.registry.apply(&released, &mut |taken, outcome| {
                        findings.take(taken, &outcome, position);
                    });
                }
            }
            Observed::UnknownFrame { .. } => self.findings.report.unknown_messages += 1,
            Observed::ServerStarted => {
                if !self.registry.is_empty() {
                    self.findings
                        .note(MessageNote::RestartWithLive, position, 1);
                }
                self.registry = Registry::new(Semantics::Sequenced, Limits::default());
                self.findings.origins.clear();
                self.findings.freed.clear();
                self.findings.ended.clear();
                self.findings.ended_by.clear();
            }
            Observed::Swept { buffers, .. } => {
                self.findings.report.swept += buffers.unwrap_or(0);
            }
            Observed::TookEffect { .. }
            | Observed::MixedFrame
            | Observed::TornFrame { .. }
            | Observed::Dropped { .. }
            | Observed::Opened
            | Observed::Closed => {}
        }
    }

    /// What was found.
    pub(crate) fn finish(self) -> MessageReport {
        let ObservationCheck {
            mut registry,
            mut findings,
        } = self;
        let last = findings.report.lines;
        let gaps = registry.flush(&mut |message, outcome| findings.take(message, &outcome, last));
        for gap in gaps {
            findings.note(MessageNote::MissingNumbers, last, gap.last - gap.first + 1);
        }
        let mut report = findings.report;
        let mut first = FirstFew::new(MAX_LIVE_LISTED);
        for entry in registry.live_in_no_order() {
            let device = i32::from(entry.device.0);
            let origin = findings.origins.get(&(device, entry.address));
            let line = origin.map_or(0, |(line, _)| *line);
            let live = LiveKey {
                device,
                address: entry.address,
                size_bytes: Some(entry.size_bytes),
                buffer_type: Some(entry.buffer_type),
                pid: entry.pid,
                ref_count: u64::from(entry.refcount),
                line,
            };
            let kind = (entry.class as u8, entry.buffer_type, entry.pid);
            first.add((line, device, entry.address, kind), live);
            report.live_at_end_total += 1;
        }
        report.live_at_end = first.in_order().collect();
        report
    }
}

/// The life that a message names, where it does.
fn life_of(message: &Message) -> Option<(i32, i32, u64)> {
    let generation = message.extension?.generation;
    (generation > 0).then_some((message.pid, message.device, generation))
}

/// The same, with its number or, where it has none, the time at which it was made: a second message
/// with these is no other one.
fn said_of(message: &Message) -> Option<(i32, i32, u64, u64)> {
    let (pid, device, generation) = life_of(message)?;
    let sequence = message.extension?.sequence;
    let stamp = match sequence {
        0 => message.timestamp_ns,
        _ => sequence,
    };
    (stamp > 0).then_some((pid, device, generation, stamp))
}

impl Findings {
    /// Who else has a buffer at the address of a FREE that does not name a life: a process may
    /// release what another one allocated.
    fn other_owner(&self, message: &Message) -> Option<i32> {
        if message.extension.is_some() || message.kind.opens() {
            return None;
        }
        let (_, pid) = self.origins.get(&(message.device, message.address))?;
        (*pid != message.pid).then_some(*pid)
    }

    fn take(&mut self, message: &Message, outcome: &Outcome, position: u64) {
        let key = (message.device, message.address);
        match outcome {
            Outcome::Inserted => self.began(message, position),
            Outcome::Replaced { .. } | Outcome::Incremented { .. } => {
                self.find(MessageFinding::DuplicateAlloc, message, position);
                self.began(message, position);
            }
            Outcome::Removed { .. } => {
                if self
                    .origins
                    .get(&key)
                    .is_some_and(|(_, pid)| *pid == message.pid)
                {
                    self.origins.remove(&key);
                }
                self.freed.insert(key, position);
                if let Some(life) = life_of(message) {
                    self.ended.insert(life, position);
                }
                if let Some(said) = said_of(message) {
                    self.ended_by.insert(said, position);
                }
            }
            Outcome::UnknownFree => {
                let life = life_of(message);
                if said_of(message).is_some_and(|said| self.ended_by.contains(said)) {
                    self.find(MessageFinding::UnknownFree, message, position);
                    self.note(MessageNote::CameTwice, position, 1);
                } else if life.is_some_and(|life| self.ended.contains(life)) {
                    self.find(MessageFinding::DoubleFree, message, position);
                } else {
                    self.find(MessageFinding::UnknownFree, message, position);
                    if self.freed.contains(key) {
                        self.note(MessageNote::FreedBefore, position, 1);
                    }
                }
            }
            Outcome::Rejected(_) => self.note(MessageNote::Rejected, position, 1),
            Outcome::Decremented { .. } | Outcome::Held | Outcome::Ignored => {}
        }
    }

    fn began(&mut self, message: &Message, position: u64) {
        let key = (message.device, message.address);
        self.origins.insert(key, (position, message.pid));
        self.freed.remove(key);
        // Another process of the same id counts anew.
        if let Some(life) = life_of(message) {
            self.ended.remove(life);
        }
    }

    fn find(&mut self, kind: MessageFinding, message: &Message, position: u64) {
        // Kernels have no address: what is said of them is about a total.
        if matches!(
            message.kind,
            MessageKind::KernelLoad | MessageKind::KernelUnload
        ) {
            return;
        }
        let finding = FirstFinding {
            kind,
            device: Some(message.device),
            address: message.address,
            line: position,
        };
        let report = &mut self.report;
        let (first, listed) = (&mut report.first, &mut report.listed);
        take_finding(&mut report.findings, first, listed, finding);
    }

    fn note(&mut self, note: MessageNote, position: u64, count: u64) {
        let noted = self.report.notes.entry(note).or_insert(Noted {
            count: 0,
            first_line: position,
        });
        noted.count += count;
    }
}
