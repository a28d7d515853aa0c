//! The diagnoser: reads a record, observation by observation, and notes what each one shows.
//!
//! A message that no client can have meant is noted as odd and not followed. Each other one goes to
//! its address, in the order that its own numbers give (`arrivals`). At the end, what is open is
//! decided and the causes are weighed.

use std::collections::VecDeque;

use super::address::AddressKey;
use super::addresses::Addresses;
use super::arrivals::{Arrival, Arrivals, is_numbered};
use super::causes;
use super::coherence::Coherence;
use super::facts::Circumstances;
use super::ledger::Ledger;
use super::outcome::Diagnosis;
use super::seen_message::{Oddity, SeenMessage};
use super::sightings::{MAX_SIGHTINGS, RecordPoint, RecordTold, Sighting};
use crate::oracle::Kind;
use crate::oracle::first_few::FirstFew;
use crate::trace::observation::{Observation, Observed, ServerAnswer};

/// Reads a record, observation by observation.
#[derive(Debug, Default)]
pub struct Diagnoser {
    ledger: Ledger,
    addresses: Addresses,
    arrivals: Arrivals,
    /// What the last message decided; empty between messages.
    decided: VecDeque<Arrival>,
    /// Messages of all kinds.
    number: u64,
    /// Whether it is an allocator's own record: text, that has no frames to misread.
    is_allocators: bool,
    coherence: Coherence,
}

impl Diagnoser {
    /// One for what an allocator recorded of itself: each process and each memory has addresses of
    /// its own there, and any number may be a device or a size.
    pub fn of_records() -> Diagnoser {
        Diagnoser {
            is_allocators: true,
            ..Diagnoser::default()
        }
    }

    /// Takes the next observation.
    pub fn observe(&mut self, observation: &Observation) {
        self.observe_told(observation, RecordTold::default());
    }

    /// Takes what an allocator recorded: which thread it says did it, and the size that it states.
    pub fn observe_record(
        &mut self,
        observation: &Observation,
        thread: Option<u64>,
        size_bytes: Option<u64>,
    ) {
        let told = RecordTold::new(observation.at_ns, thread, size_bytes);
        self.observe_told(observation, told);
    }

    fn observe_told(&mut self, observation: &Observation, told: RecordTold) {
        let at = RecordPoint {
            position: observation.position,
            number: self.number,
            told,
        };
        let facts = &mut self.ledger.facts;
        match &observation.what {
            // It counts when it takes effect.
            Observed::Message {
                server_answer: Some(ServerAnswer::Held),
                ..
            } => {}
            Observed::Message {
                message,
                complete,
                server_answer,
            } => self.message(&SeenMessage {
                at,
                conn: observation.conn,
                message,
                complete: *complete,
                server_answer: *server_answer,
            }),
            Observed::TookEffect {
                message,
                server_answer,
            } => self.message(&SeenMessage {
                at,
                conn: observation.conn,
                message,
                complete: true,
                server_answer: *server_answer,
            }),
            Observed::MixedFrame => {
                facts.mixed.add_proven(Sighting::at(at));
                facts.count(Kind::TornFrame, &Sighting::at(at));
            }
            Observed::UnknownFrame { kind } => {
                self.number += 1;
                facts.odd_since += 1;
                let kind = i64::try_from(*kind).unwrap_or(i64::MAX);
                facts.unknown_frames.add(Sighting::at(at).with_number(kind));
            }
            Observed::TornFrame { .. } => facts.torn.add(Sighting::at(at)),
            Observed::Dropped { message } => facts.dropped.add_proven(Sighting {
                device: Some(message.device),
                address: Some(message.address),
                class: message.kind.class(),
                ..Sighting::at(at)
            }),
            Observed::Opened => {}
            Observed::Closed => {
                if let Some(conn) = observation.conn {
                    self.ledger.clients.closed(conn);
                }
            }
            Observed::Swept { pid, .. } => self.ledger.clients.sweep(*pid, at),
            Observed::ServerStarted => self.server_starts(at),
        }
    }

    /// The outcome, at the end of the record.
    pub fn finish(mut self, circumstances: Circumstances) -> Diagnosis {
        self.ledger.facts.circumstances = circumstances;
        self.arrivals
            .finish(circumstances.complete, &mut self.decided);
        self.take_decided();
        self.ledger.facts.overtaken = self.arrivals.overtaken;
        self.addresses.decide(&mut self.ledger);
        let Ledger {
            mut facts,
            mut clients,
        } = self.ledger;
        facts.lost_at_once = clients.lost_at_once();
        facts.cuts = clients.cuts();
        facts.two_of_one_id = clients.two_of_one_id;
        facts.counted_anew = clients.counted_anew;
        if circumstances.begins_in_the_middle {
            facts.expect_earlier_lives();
        }
        let end = RecordPoint {
            number: self.number,
            ..RecordPoint::default()
        };
        // Those that the record has first are kept.
        let mut first = FirstFew::new(MAX_SIGHTINGS);
        for (key, life) in self.addresses.live() {
            let mut cuts = facts.cuts.iter_mut();
            match cuts.find(|cut| cut.pid == life.pid && life.at.number < cut.at.number) {
                // It ended with its process.
                Some(cut) => cut.left += 1,
                None => {
                    facts.live.count += 1;
                    facts.outlive(life.at, end);
                    first.add((life.at.position, key), (key, life.at));
                }
            }
        }
        let first = first.in_order().map(|(key, at)| key.sighting(&[at]));
        facts.live.kept = first.collect();
        facts.counts_references = self.coherence.counts_references;
        facts.doubts = self.coherence.doubts(&facts);
        causes::weigh(facts)
    }

    fn message(&mut self, seen: &SeenMessage<'_>) {
        self.number += 1;
        if seen.message.kind.role().is_none() {
            return;
        }
        if seen.was_refused() {
            return self.ledger.facts.refused.add(Sighting::at(seen.at));
        }
        if !self.is_allocators
            && let Some(oddity) = seen.oddity()
        {
            return self.note_oddity(oddity, seen.at);
        }
        let facts = &mut self.ledger.facts;
        facts.sound_since += u64::from(facts.odd() > 0);
        if let Some(generation) = seen.generation() {
            facts.generations = true;
            if seen.opens() {
                facts.beginnings.see(seen, generation.number);
            }
        }
        let pid = seen.message.pid;
        let reconnected = self.ledger.clients.heard(pid, seen.conn, seen.at);
        if is_numbered(seen) || self.arrivals.keeps_back(pid) {
            let clients = &mut self.ledger.clients;
            self.arrivals
                .take(seen, reconnected, clients, &mut self.decided);
            self.take_decided();
        } else {
            self.follow(seen);
        }
    }

    fn take_decided(&mut self) {
        while let Some(arrival) = self.decided.pop_front() {
            match arrival {
                Arrival::Message(waiting) => self.follow(&waiting.seen()),
                Arrival::BeganAnew { pid, at, conns } => self.begins_anew(pid, at, &conns),
                Arrival::Wrapped => self.ledger.facts.wrapped += 1,
                Arrival::Missing { count, at } => {
                    let number = i64::try_from(count).unwrap_or(i64::MAX);
                    let sighting = Sighting::at(at).with_number(number);
                    self.ledger.facts.missing_stamps.add_proven(sighting);
                    self.ledger.facts.missing += count;
                }
            }
        }
    }

    /// A message whose turn it is goes to its address.
    fn follow(&mut self, seen: &SeenMessage<'_>) {
        let Some(key) = self.key(seen) else {
            return;
        };
        let facts = &mut self.ledger.facts;
        facts.messages += 1;
        match seen.opens() {
            true => facts.see_alloc(key),
            false => facts.frees_in_a_row += 1,
        }
        let lives = self.addresses.lives_at(key, seen);
        let directly = self.coherence.take(key, seen, lives);
        let repeats = self.addresses.repeats_life(key, seen);
        let facts = &mut self.ledger.facts;
        facts.overlaps.repeats += u64::from(repeats);
        facts.announced_again += self.coherence.announced_again(seen, repeats);
        self.addresses.take(key, seen, directly, &mut self.ledger);
    }

    fn note_oddity(&mut self, oddity: Oddity, at: RecordPoint) {
        let facts = &mut self.ledger.facts;
        facts.odd_since += 1;
        let (sightings, number) = match oddity {
            Oddity::DevicePid(pid) => (&mut facts.device_pids, i64::from(pid)),
            Oddity::Field(value) => (&mut facts.odd_fields, value),
        };
        sightings.add(Sighting::at(at).with_number(number));
    }

    /// The address that a message is about; none where it does not say enough.
    fn key(&self, seen: &SeenMessage<'_>) -> Option<AddressKey> {
        let key = match self.is_allocators {
            true => AddressKey::of_record(seen.message),
            false => AddressKey::of(seen.message),
        };
        if seen.complete {
            return Some(key);
        }
        // A line that does not state its device, or neither that nor the address.
        let states_address = seen.server_answer == Some(ServerAnswer::UnknownFree);
        states_address.then(|| {
            let device = self.addresses.device_of(key.address);
            key.on_device(device.unwrap_or(-1))
        })
    }

    /// A new process begins under an old id.
    fn begins_anew(&mut self, pid: i32, at: RecordPoint, conns: &[u32]) {
        let Ledger { facts, clients } = &mut self.ledger;
        facts.beginnings.forget(pid);
        let left = clients.begin_anew(pid, conns);
        if left > 0 {
            facts.abandoned += left;
            let restart = Sighting::at(at).with_number(i64::from(pid));
            facts.restarts.add_proven(restart);
        }
    }

    /// A server starts: it holds nothing.
    fn server_starts(&mut self, at: RecordPoint) {
        self.arrivals.clear(&mut self.decided);
        self.take_decided();
        let live = self.addresses.clear(&mut self.ledger);
        let Ledger { facts, clients } = &mut self.ledger;
        if live > 0 {
            facts.server_starts_with_live.add(Sighting {
                number: i64::try_from(live).ok(),
                ..Sighting::at(at)
            });
        }
        clients.clear();
        facts.begin_epoch(at);
        self.coherence.server_starts();
    }
}
