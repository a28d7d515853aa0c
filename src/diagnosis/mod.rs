//! Diagnosis: what went wrong, judged by messages alone, with the places in the record that show
//! it.
//!
//! It is for records without truth: logs, captures and journals; of a run it reads what the server
//! saw and nothing more. It ranks causes and proves none: where two causes leave the same evidence
//! it says so, and what to record to tell them apart.
//!
//! In three steps: [`Diagnoser`] reads observations and hands each message to its address
//! (`places`, or `generations` where messages name the life that they mean); what these conclude
//! becomes counts (`facts`); each cause has a model of the evidence that it leaves and of what
//! would speak against it (`causes`), and weighs the counts by it.
//!
//! What holds:
//! - A piece of evidence speaks for one cause in full, or for several in shares that sum up to one.
//!   A cause's score grows with how much there is and falls with how much of all evidence others
//!   explain. It is at most 1; [`CONFIDENT`] is where calibration found no wrong cause.
//! - One reading, in the order of the record. Memory is bounded by the addresses that are live at
//!   once, at most [`MAX_PLACES`], plus the last [`SETTLED_WINDOW`] that are not.
//! - The same observations give the same diagnosis.
//! - What is live at the end is a leak only where the record shows that its clients have ended;
//!   else it is said and not judged.

mod causes;
mod clients;
mod facts;
mod gaps;
mod generations;
mod ledger;
mod places;

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;

pub use causes::{Cause, Exhibit, Suspect};
pub use facts::{MAX_SIGHTINGS, Sighting};

use crate::device::Memory;
use crate::oracle::Kind;
use crate::oracle::message_check::FREED_WINDOW;
use crate::trace::observation::ServerAnswer;
use crate::trace::observation::{Observation, Observed};
use crate::tracking::{Message, MessageKind};
use facts::{Facts, MessageAt};
use generations::NamedAddress;
use ledger::Ledger;
use places::{AddressKey, InferredAddress, ReportedLife};

/// From this score on a cause is named with confidence.
pub const CONFIDENT: f64 = 0.9;
/// From this score on a cause is named; below, it is only mentioned.
pub const PROBABLE: f64 = 0.5;
/// Addresses that are followed at once, at about 350 bytes each; messages about more are counted
/// only.
pub const MAX_PLACES: usize = 1 << 21;
/// Addresses at which nothing is live that are remembered.
pub const SETTLED_WINDOW: usize = FREED_WINDOW;

/// Device ids from here on are no device's: the largest system has 36.
const DEVICE_IDS: i32 = 1024;
/// A buffer of more is none.
const MAX_SIZE_BYTES: u64 = 1 << 46;

/// What is known of a record apart from its messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances {
    /// Its clients have ended: what is live stays live.
    pub complete: bool,
    /// It may begin when buffers are live: that says nothing.
    pub begins_in_the_middle: bool,
    /// So many of the buffers that are live at the end come from places in the program that never
    /// released any.
    pub never_released: u64,
    /// It has the call stacks of allocations.
    pub knows_stacks: bool,
}

/// The outcome.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    /// Messages about buffers that were read.
    pub messages: u64,
    /// What is suspected, most likely first; those of no weight are left out.
    pub causes: Vec<Suspect>,
    /// Whether anything is wrong, explained or not.
    pub trouble: bool,
    /// Divergences by kind, as a check without truth counts them.
    pub divergences: BTreeMap<Kind, u64>,
    /// The first of them.
    pub first: Option<(Kind, Sighting)>,
    /// Buffers that are live at the end.
    pub live: u64,
    /// Whether messages name the life that they mean.
    pub generations: bool,
    /// What to record to tell more, in sentences.
    pub advice: Vec<String>,
    /// What else should be known, in sentences.
    pub notes: Vec<String>,
}

impl Diagnosis {
    /// The first cause, where it is named.
    pub fn named(&self) -> Option<&Suspect> {
        self.causes.first().filter(|first| first.score >= PROBABLE)
    }

    /// Causes that are named.
    pub fn all_named(&self) -> impl Iterator<Item = &Suspect> {
        self.causes.iter().filter(|cause| cause.score >= PROBABLE)
    }
}

impl AnyPlace {
    fn is_settled(&self) -> bool {
        match self {
            AnyPlace::Inferred(place, _) => place.is_settled(),
            AnyPlace::Named(place, _) => place.is_settled(),
        }
    }
}

/// Reads a record, observation by observation.
#[derive(Debug, Default)]
pub struct Diagnoser {
    ledger: Ledger,
    places: FxHashMap<AddressKey, AnyPlace>,
    /// Addresses at which nothing was live when they were put here, with the number of that
    /// message.
    settled: VecDeque<(AddressKey, u64)>,
    /// Addresses at which something is live or open.
    open: u64,
    /// Messages of all kinds.
    number: u64,
}

#[derive(Debug)]
enum AnyPlace {
    Inferred(InferredAddress, u64),
    Named(Box<NamedAddress>, u64),
}

impl Diagnoser {
    /// Takes the next observation.
    pub fn observe(&mut self, observation: &Observation) {
        let at = MessageAt {
            position: observation.position,
            number: self.number,
        };
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
            } => {
                self.number += 1;
                self.message(at, observation.conn, message, *complete, *server_answer);
            }
            Observed::TookEffect {
                message,
                server_answer,
            } => {
                self.number += 1;
                self.message(at, observation.conn, message, true, *server_answer);
            }
            Observed::MixedFrame => {
                self.ledger.facts.mixed.add_proven(place(at));
                self.ledger.facts.count(Kind::TornFrame, &place(at));
            }
            Observed::UnknownFrame { kind } => {
                self.number += 1;
                self.odd(at, i64::try_from(*kind).unwrap_or(i64::MAX), |facts| {
                    &mut facts.unknown_frames
                });
            }
            Observed::TornFrame { .. } => self.ledger.facts.torn.add(place(at)),
            Observed::Dropped { message } => self.ledger.facts.dropped.add_proven(Sighting {
                device: Some(message.device),
                address: Some(message.address),
                ..place(at)
            }),
            Observed::Opened => {}
            Observed::Closed => {
                if let Some(conn) = observation.conn {
                    self.ledger.clients.closed(conn);
                }
            }
            Observed::Swept { pid, .. } => {
                self.ledger.clients.sweep(*pid, at);
            }
            Observed::ServerStarted => self.restart(at),
        }
    }

    /// The outcome, at the end of the record.
    pub fn finish(mut self, circumstances: Circumstances) -> Diagnosis {
        let mut keys: Vec<AddressKey> = self.places.keys().copied().collect();
        keys.sort_unstable();
        for key in &keys {
            match self.places.get_mut(key) {
                Some(AnyPlace::Inferred(place, _)) => {
                    place.decide(*key, circumstances.complete, &mut self.ledger);
                }
                Some(AnyPlace::Named(place, _)) => {
                    place.decide(*key, &mut self.ledger);
                }
                None => {}
            }
        }
        self.ledger.facts.cuts = self.ledger.clients.cuts();
        let mut live: Vec<(MessageAt, i32, AddressKey)> = keys
            .iter()
            .filter_map(|key| {
                let life = match self.places.get(key)? {
                    AnyPlace::Inferred(place, _) => place.live(),
                    AnyPlace::Named(place, _) => place.live(),
                }?;
                Some((life.at, life.pid, *key))
            })
            .collect();
        live.sort_unstable_by_key(|(at, _, key)| (at.position, *key));
        let end = MessageAt {
            position: 0,
            number: self.number,
        };
        for (at, pid, key) in live {
            let cut = self.ledger.facts.cuts.iter_mut();
            let mut cut = cut.filter(|cut| cut.pid == pid && at.number < cut.at.number);
            match cut.next() {
                // It ended with its process.
                Some(cut) => cut.left += 1,
                None => {
                    self.ledger.facts.live.add(key.sighting(&[at]));
                    self.ledger.facts.outlive(at, end);
                }
            }
        }
        causes::weigh(self.ledger.facts, circumstances)
    }

    fn message(
        &mut self,
        at: MessageAt,
        conn: Option<u32>,
        message: &Message,
        complete: bool,
        server_answer: Option<ServerAnswer>,
    ) {
        let Some((_, opens)) = message.kind.role() else {
            return;
        };
        if !self.makes_sense(at, message, opens, server_answer) {
            return;
        }
        self.ledger.facts.sound_since += u64::from(self.ledger.facts.odd() > 0);
        let named = message
            .extension
            .filter(|extension| extension.generation > 0);
        self.ledger.facts.generations |= named.is_some();
        let mut key = AddressKey {
            device: message.device,
            address: message.address,
            class: class(message),
        };
        if !complete {
            // A line that does not state its device, or neither that nor the address.
            if server_answer != Some(ServerAnswer::UnknownFree) {
                return;
            }
            key.device = self.device_of(key.address).unwrap_or(-1);
        }
        self.ledger.facts.messages += 1;
        self.ledger.facts.allocs += u64::from(opens);
        if opens {
            let generation = named.map(|named| (message.device, named.generation));
            self.ledger
                .clients
                .heard(message.pid, conn, generation, at, &mut self.ledger.facts);
            if let Some((device, generation)) = generation {
                self.ledger.facts.see_generation(device, generation);
            }
        }
        let known = was_live(server_answer);
        if !self.places.contains_key(&key) {
            if self.places.len() >= MAX_PLACES {
                self.ledger.facts.not_followed += 1;
                return;
            }
            let place = match named {
                Some(_) => AnyPlace::Named(Box::default(), 0),
                None => AnyPlace::Inferred(InferredAddress::default(), 0),
            };
            self.places.insert(key, place);
        }
        if named.is_some() && opens && known {
            self.look_for_alias(key, at);
        }
        let life = ReportedLife {
            at,
            pid: message.pid,
            epoch: match opens {
                true => self.ledger.clients.begin_life(message.pid, at),
                false => 0,
            },
            buffer_type: message.buffer_type,
        };
        let generation = named.map_or(0, |named| named.generation);
        self.follow(key, opens, generation, life, known);
    }

    /// Hands a message about `life` to its address. A message without generation among others that
    /// have one means the life that is there.
    fn follow(
        &mut self,
        key: AddressKey,
        opens: bool,
        generation: u64,
        life: ReportedLife,
        known: bool,
    ) {
        let (at, ledger) = (life.at, &mut self.ledger);
        let place = self.places.get_mut(&key).expect("the caller put it there");
        let was_settled = place.is_settled();
        match place {
            AnyPlace::Inferred(place, touched) => {
                *touched = at.number;
                match opens {
                    true => place.alloc(key, life, known, ledger),
                    false => place.free(key, at, known, ledger),
                }
            }
            AnyPlace::Named(place, touched) => {
                *touched = at.number;
                match opens {
                    true => place.alloc(key, generation, life, ledger),
                    false => place.free(key, generation, at, known, ledger),
                }
            }
        }
        let is_settled = place.is_settled();
        match (was_settled, is_settled) {
            (true, false) => self.open += 1,
            (false, true) => self.open = self.open.saturating_sub(1),
            _ => {}
        }
        self.ledger.facts.peak_live = self.ledger.facts.peak_live.max(self.open);
        if is_settled {
            self.settle(key, at.number);
        }
    }

    /// The server says that what is at `key` was live, and messages name the memory: if another
    /// memory's buffer is live at the address, that is the one the server means.
    fn look_for_alias(&mut self, key: AddressKey, at: MessageAt) {
        if self
            .places
            .get(&key)
            .is_some_and(|place| !place.is_settled())
        {
            return;
        }
        let others = Memory::ALL.into_iter().map(|memory| AddressKey {
            class: key.class % CLASSES + CLASSES * (1 + memory as u8),
            ..key
        });
        let live = |other: AddressKey| match self.places.get(&other)? {
            AnyPlace::Named(place, _) => place.live(),
            AnyPlace::Inferred(place, _) => place.live(),
        };
        if let Some(life) = others.filter(|other| *other != key).find_map(live) {
            self.ledger.facts.aliased.add(key.sighting(&[life.at, at]));
            self.ledger
                .facts
                .count(Kind::Misattributed, &key.sighting(&[at]));
        }
    }

    /// Whether a message can be one that a client meant; what cannot is noted and not followed.
    fn makes_sense(
        &mut self,
        at: MessageAt,
        message: &Message,
        opens: bool,
        server_answer: Option<ServerAnswer>,
    ) -> bool {
        let device = message.device;
        let is_pid = device >= DEVICE_IDS;
        let rejected = server_answer == Some(ServerAnswer::Rejected);
        // What a line does not state reads as -1 and 0.
        let sizeless = matches!(
            message.kind,
            MessageKind::CbFree | MessageKind::KernelUnload
        );
        if is_pid {
            self.odd(at, i64::from(device), |facts| &mut facts.device_pids);
        } else if rejected || (device < 0 && opens && server_answer.is_none()) {
            let number = match device {
                -1 if message.size_bytes > 0 => {
                    i64::try_from(message.size_bytes).unwrap_or(i64::MAX)
                }
                0.. if message.buffer_type > 4 => i64::from(message.buffer_type),
                _ => i64::from(device),
            };
            self.odd(at, number, |facts| &mut facts.odd_fields);
        } else if opens && message.buffer_type > 4 && message.kind == MessageKind::Alloc {
            let number = i64::from(message.buffer_type);
            self.odd(at, number, |facts| &mut facts.odd_fields);
        } else if opens
            && !sizeless
            && message.size_bytes > MAX_SIZE_BYTES
            && server_answer.is_none()
        {
            let number = i64::try_from(message.size_bytes).unwrap_or(i64::MAX);
            self.odd(at, number, |facts| &mut facts.odd_fields);
        } else {
            return true;
        }
        false
    }

    fn odd(
        &mut self,
        at: MessageAt,
        number: i64,
        tally: impl FnOnce(&mut Facts) -> &mut facts::SightingTally,
    ) {
        self.ledger.facts.odd_since += 1;
        tally(&mut self.ledger.facts).add(Sighting {
            number: Some(number),
            ..place(at)
        });
    }

    /// The server holds nothing any more.
    fn restart(&mut self, at: MessageAt) {
        let live = self
            .places
            .values()
            .filter(|place| !place.is_settled())
            .count();
        if live > 0 {
            self.ledger.facts.server_starts_with_live.add(Sighting {
                number: i64::try_from(live).ok(),
                ..place(at)
            });
        }
        self.places.clear();
        self.settled.clear();
        self.ledger.clients.clear();
        self.open = 0;
        self.ledger.facts.epoch_began = at.number;
        self.ledger.facts.first_generations.clear();
        self.ledger.facts.known_frees.clear();
    }

    /// Nothing is live at `key`: it is remembered for a while.
    fn settle(&mut self, key: AddressKey, number: u64) {
        self.settled.push_back((key, number));
        if self.settled.len() > SETTLED_WINDOW
            && let Some((old, since)) = self.settled.pop_front()
            && let Some(place) = self.places.get(&old)
        {
            let (AnyPlace::Inferred(_, touched) | AnyPlace::Named(_, touched)) = place;
            if place.is_settled() && *touched == since {
                self.places.remove(&old);
            }
        }
    }

    /// The one device on which something is live at `address`, of the first few.
    fn device_of(&self, address: u64) -> Option<i32> {
        let live = |device: &i32| {
            self.places.contains_key(&AddressKey {
                device: *device,
                address,
                class: BUFFER,
            })
        };
        let mut devices = (0..64).filter(live);
        let first = devices.next();
        first.filter(|_| devices.next().is_none())
    }
}

/// The class of buffers whose memory is not always named; the others follow it.
const BUFFER: u8 = 0;
/// Buffers, circular buffers, kernels.
const CLASSES: u8 = 3;

fn class(message: &Message) -> u8 {
    let kind = match message.kind {
        MessageKind::CbAlloc | MessageKind::CbFree => 1,
        MessageKind::KernelLoad | MessageKind::KernelUnload => 2,
        _ => BUFFER,
    };
    // Every extended message names its memory.
    kind + message
        .extension
        .map_or(0, |extension| CLASSES * (1 + extension.memory as u8))
}

fn place(at: MessageAt) -> Sighting {
    Sighting {
        positions: [at.position].into_iter().collect(),
        ..Sighting::default()
    }
}

/// Whether the server's answer says that what a message is about was live.
fn was_live(answer: Option<ServerAnswer>) -> bool {
    match answer {
        Some(
            ServerAnswer::Freed(_)
            | ServerAnswer::Decremented
            | ServerAnswer::Incremented
            | ServerAnswer::Replaced,
        ) => true,
        Some(ServerAnswer::RefCount(count)) => count > 1,
        _ => false,
    }
}
