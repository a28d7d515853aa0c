//! The addresses of a record: each is followed on its own, from the first message that names it.
//!
//! How depends on that message. If it names the life that it means, the address is followed by
//! generations (`named`); if not, by the order of its messages (`inferred`).
//!
//! Memory is bounded by the addresses at which something is live or open, at most
//! [`MAX_ADDRESSES`], plus the last [`SETTLED_WINDOW`] at which nothing is.

mod inferred;
mod named;
mod overlapping;
mod pending_free;

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::address::{AddressKey, AddressLife};
use super::ledger::{AddressLedger, Ledger};
use super::seen_message::SeenMessage;
use super::sightings::RecordPoint;
use crate::oracle::Kind;
use crate::oracle::message_check::FREED_WINDOW;
use inferred::InferredAddress;
use named::{MessageStamp, NamedAddress, NamedFree};

/// Addresses that are followed at once, at about 400 bytes each; messages about more are counted
/// only.
pub const MAX_ADDRESSES: usize = 1 << 21;
/// Addresses at which nothing is live that are remembered.
pub const SETTLED_WINDOW: usize = FREED_WINDOW;
/// Devices that are tried where a message does not state its own.
const TRIED_DEVICES: i32 = 64;

/// Every address that is followed.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// Boxed: a table of entries of this size is up to twice as large as what is in it.
    table: FxHashMap<AddressKey, Box<FollowedAddress>>,
    /// Addresses at which nothing was live when they were put here, with the number of that
    /// message.
    settled: VecDeque<(AddressKey, u64)>,
    /// How many there are at which something is live.
    live: u64,
}

/// What is known of an address, and the number of the last message about it.
#[derive(Debug)]
enum FollowedAddress {
    Inferred(InferredAddress, u64),
    Named(Box<NamedAddress>, u64),
}

/// Where something is live at an address that is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LivesAt {
    OwnDevice,
    OtherDevice,
    Nowhere,
}

/// Lives of an address after which what did not come before is not late by little.
const NEAR_CYCLES: u64 = 3;

/// Whether a message that came so many lives late is late by little: no more than overlapping steps
/// make it, rather than a thread that was preempted.
fn is_near(cycles: u64) -> bool {
    cycles < NEAR_CYCLES
}

impl Addresses {
    /// Takes a message about `key`. `directly`: an ALLOC right after another one of the address,
    /// from the same sender.
    pub(super) fn take(
        &mut self,
        key: AddressKey,
        seen: &SeenMessage<'_>,
        directly: bool,
        ledger: &mut Ledger,
    ) {
        let named = seen.generation().is_some();
        if !self.table.contains_key(&key) {
            if self.table.len() >= MAX_ADDRESSES {
                ledger.facts.not_followed += 1;
                return;
            }
            self.table
                .insert(key, Box::new(FollowedAddress::new(named)));
        }
        if named && seen.opens() && seen.was_known() {
            self.look_for_alias(key, seen.at, ledger);
        }
        let Some(address) = self.table.get_mut(&key) else {
            return;
        };
        let had_life = address.has_life();
        if seen.opens() {
            let life = AddressLife {
                at: seen.at,
                pid: seen.message.pid,
                epoch: ledger.clients.begin_life(seen.message.pid, seen.at),
                buffer_type: seen.message.buffer_type,
                size_bytes: seen.message.size_bytes,
                directly,
            };
            address.alloc(seen, life, &mut ledger.of_address(key));
        } else {
            let life = address.only_life().filter(|_| seen.was_unknown());
            let swept = ledger.facts.swept_frees.count;
            address.free(seen, &mut ledger.of_address(key));
            // That a sweep took it, the record says.
            if let Some(life) = life.filter(|_| ledger.facts.swept_frees.count == swept) {
                ledger.facts.see_forgotten(life.at);
            }
        }
        match (had_life, address.has_life()) {
            (false, true) => self.live += 1,
            (true, false) => self.live = self.live.saturating_sub(1),
            _ => {}
        }
        ledger.facts.peak_live = ledger.facts.peak_live.max(self.live);
        if address.is_settled() {
            self.remember_settled(key, seen.at.number);
        }
    }

    /// Whether it is an ALLOC that says again what is live, where nothing names the life.
    pub(super) fn repeats_life(&self, key: AddressKey, seen: &SeenMessage<'_>) -> bool {
        // Not looked up for every FREE.
        if !seen.opens() {
            return false;
        }
        let last = match self.table.get(&key).map(|address| &**address) {
            Some(FollowedAddress::Inferred(address, _)) => address.last_life(),
            _ => None,
        };
        last.is_some_and(|life| {
            let message = seen.message;
            life.pid == message.pid
                && life.size_bytes == message.size_bytes
                && life.buffer_type == message.buffer_type
        })
    }

    /// Where something is live at the address of a message that releases.
    pub(super) fn lives_at(&self, key: AddressKey, seen: &SeenMessage<'_>) -> LivesAt {
        let is_live = |key: AddressKey| self.table.get(&key).is_some_and(|at| at.has_life());
        if seen.opens() || is_live(key) {
            return LivesAt::OwnDevice;
        }
        let mut others = (0..TRIED_DEVICES).map(|device| key.on_device(device));
        match others.any(is_live) {
            true => LivesAt::OtherDevice,
            false => LivesAt::Nowhere,
        }
    }

    /// The one device on which `address` is followed, of the first few.
    pub(super) fn device_of(&self, address: u64) -> Option<i32> {
        let is_followed = |device: &i32| {
            let key = AddressKey::of_buffer(*device, address);
            self.table.contains_key(&key)
        };
        let mut devices = (0..TRIED_DEVICES).filter(is_followed);
        let first = devices.next();
        first.filter(|_| devices.next().is_none())
    }

    /// The server ends: decides what is open and forgets all. How many addresses there were at
    /// which something was live.
    pub(super) fn clear(&mut self, ledger: &mut Ledger) -> usize {
        let mut ended = std::mem::take(self);
        ended.decide(ledger);
        ended.live().count()
    }

    /// The record ends: decides what is open. What is live is left for [`Addresses::live`].
    pub(super) fn decide(&mut self, ledger: &mut Ledger) {
        let mut keys: Vec<AddressKey> = self.table.keys().copied().collect();
        keys.sort_unstable();
        for key in keys {
            if let Some(address) = self.table.get_mut(&key) {
                address.decide(&mut ledger.of_address(key));
            }
        }
    }

    /// What is live, after [`Addresses::decide`]; in no order, as there may be millions.
    pub(super) fn live(&self) -> impl Iterator<Item = (AddressKey, AddressLife)> {
        let all = self.table.iter();
        all.filter_map(|(key, address)| Some((*key, address.live()?)))
    }

    /// The server says that what is at `key` was live, and messages name the memory: if another
    /// memory's buffer is live at the address, that is the one the server means.
    fn look_for_alias(&self, key: AddressKey, at: RecordPoint, ledger: &mut Ledger) {
        let address = self.table.get(&key);
        if address.is_some_and(|address| !address.is_settled()) {
            return;
        }
        let live = |other| self.table.get(&other)?.live();
        if let Some(life) = key.in_other_memories().find_map(live) {
            let facts = &mut ledger.facts;
            facts.aliased.add_proven(key.sighting(&[life.at, at]));
            facts.count(Kind::Misattributed, &key.sighting(&[at]));
        }
    }

    /// Nothing is live at `key`: it is remembered for a while.
    fn remember_settled(&mut self, key: AddressKey, number: u64) {
        self.settled.push_back((key, number));
        if self.settled.len() > SETTLED_WINDOW
            && let Some((old, since)) = self.settled.pop_front()
            && let Some(address) = self.table.get(&old)
            && address.is_settled()
            && address.last_message() == since
        {
            self.table.remove(&old);
        }
    }
}

impl FollowedAddress {
    fn new(named: bool) -> FollowedAddress {
        if named {
            FollowedAddress::Named(Box::default(), 0)
        } else {
            FollowedAddress::Inferred(InferredAddress::default(), 0)
        }
    }

    fn is_settled(&self) -> bool {
        match self {
            FollowedAddress::Inferred(address, _) => address.is_settled(),
            FollowedAddress::Named(address, _) => address.is_settled(),
        }
    }

    fn has_life(&self) -> bool {
        match self {
            FollowedAddress::Inferred(address, _) => address.has_life(),
            FollowedAddress::Named(address, _) => !address.is_settled(),
        }
    }

    fn last_message(&self) -> u64 {
        let (FollowedAddress::Inferred(_, last) | FollowedAddress::Named(_, last)) = self;
        *last
    }

    fn alloc(&mut self, seen: &SeenMessage<'_>, life: AddressLife, ledger: &mut AddressLedger<'_>) {
        match self {
            FollowedAddress::Inferred(address, last) => {
                *last = seen.at.number;
                address.alloc(life, seen.was_known(), ledger);
            }
            FollowedAddress::Named(address, last) => {
                *last = seen.at.number;
                let stamp = MessageStamp::of(seen);
                address.alloc(generation_number(seen), life, stamp, ledger);
            }
        }
    }

    fn free(&mut self, seen: &SeenMessage<'_>, ledger: &mut AddressLedger<'_>) {
        match self {
            FollowedAddress::Inferred(address, last) => {
                *last = seen.at.number;
                address.free(seen.at, seen.was_known(), ledger);
            }
            FollowedAddress::Named(address, last) => {
                *last = seen.at.number;
                let free = NamedFree {
                    generation: generation_number(seen),
                    at: seen.at,
                    pid: seen.message.pid,
                    epoch: ledger.clients.epoch(seen.message.pid),
                    stamp: MessageStamp::of(seen),
                };
                address.free(free, seen.was_known(), ledger);
            }
        }
    }

    fn decide(&mut self, ledger: &mut AddressLedger<'_>) {
        match self {
            FollowedAddress::Inferred(address, _) => address.decide(ledger),
            FollowedAddress::Named(address, _) => address.decide(ledger),
        }
    }

    /// The life that is there alone: where several are, the server may know another one.
    fn only_life(&self) -> Option<AddressLife> {
        match self {
            FollowedAddress::Inferred(address, _) => address.only_life().copied(),
            FollowedAddress::Named(address, _) => address.live(),
        }
    }

    fn live(&self) -> Option<AddressLife> {
        match self {
            FollowedAddress::Inferred(address, _) => address.live(),
            FollowedAddress::Named(address, _) => address.live(),
        }
    }
}

/// The generation that a message names. One that names none, among others that do, has 0.
fn generation_number(seen: &SeenMessage<'_>) -> u64 {
    seen.generation().map_or(0, |generation| generation.number)
}
