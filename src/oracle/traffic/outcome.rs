//! What a check comes to: the state at rest, and what is to be said of it.

use super::TrafficReport;
use super::check::{Sound, TrafficCheck};
use crate::device::DeviceId;
use crate::oracle::kind::{Divergence, Kind, Report, Strength, Verdict};
use crate::oracle::message_check::MessageFinding;
use crate::oracle::rest;

impl TrafficCheck {
    /// The outcome. `completed`: the program came to an end of its own.
    pub(super) fn finish(mut self, completed: bool) -> TrafficReport {
        if completed {
            self.bring_to_rest();
        }
        let doubt = self.connections.iter().find_map(|conn| conn.doubt.clone());
        let truth_is_usable = self.has_truth && self.contradiction.is_none();
        let mut strength = Strength::Messages;
        // Who tells nothing at all is not tracked, and not tracked wrongly.
        if completed && doubt.is_none() && !self.torn && self.messages > 0 {
            if truth_is_usable {
                let table = rest::table(self.server.registry());
                self.judge
                    .compare_table(&self.lives.without_foreign_entries(table));
                strength = Strength::Exact;
            } else if self.contradiction.is_none() && !self.totals.is_empty() {
                for (kind, device, memory) in self.totals.compare(self.server.registry()) {
                    self.judge.count(Divergence::of_total(kind, device, memory));
                }
                strength = Strength::Totals;
            }
        } else if truth_is_usable && doubt.is_none() && self.messages > 0 {
            strength = Strength::Exact;
        }
        // What was not heard of one connection may be missing in what another says.
        let unsound = doubt.as_ref().map(|_| Sound::default());
        if let Some(sound) = unsound.or(self.sound.take()) {
            self.judge.divergences = sound.divergences;
            self.judge.first = sound.first;
            self.first_event = sound.first_event;
        }
        if !truth_is_usable && doubt.is_none() && self.judge.divergences.is_empty() {
            self.add_messages_only();
        }
        self.report(completed, strength, doubt)
    }

    pub(super) fn take_all(&mut self) {
        for conn in 0..self.connections.len() {
            while let Some(bytes) = self.connections[conn].untaken.pop_front() {
                self.feed(conn, &bytes);
                self.took(None);
            }
        }
    }

    fn bring_to_rest(&mut self) {
        self.take_all();
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
            shared_steps: 0,
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
            spoken: self.spoken,
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
