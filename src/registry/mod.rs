//! The registry: reconstructs what is live from messages alone. A pure state machine: no threads,
//! no sockets, no clock, no logging.
//!
//! Rules that hold under every [`Semantics`]:
//! - Buffers, circular buffers and kernels are kept apart, as the reference servers do.
//! - A release is accounted with the size that was remembered at the allocation, never with its
//!   own.
//! - An allocation of size 0 is rejected: no allocator hands one out, and a zero size is what a
//!   message read in the wrong layout shows. [`Limits::any_size`] takes it, and any other, as some
//!   reference servers do.
//! - What is out of [`Limits`] is rejected and changes nothing, so that totals can neither wrap nor
//!   underflow.
//! - A FREE without extension carries no memory. Under the typed semantics it takes the live entry
//!   at its process, device and address; if several memories are live there, the one with the
//!   lowest buffer type (DRAM first).
//! - Two registries are equal, and hash alike, when they have the same limits, live table and held
//!   messages, in whatever order these came to be.

mod answer;
mod entry;
mod identity;
pub(crate) mod ledger;
mod outcome;
mod planted;
mod references;
mod sequence;

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fmt;

use rustc_hash::FxBuildHasher;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

pub use outcome::{Outcome, RejectReason};
pub(crate) use references::SweptEntries;
pub(crate) use sequence::SequenceGap;

use crate::device::DeviceId;
use crate::planted::Planted;
use crate::tracking::entry::{Class, Entry, MAX_BUFFER_TYPE};
use crate::tracking::{Layout, Message};
use entry::{TableKey, TableRecord, memory_of};
use references::SharedKeys;
use sequence::{Admission, Sequencer};

/// How the registry understands ALLOC and FREE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Semantics {
    /// Key (device, address). ALLOC of a live key replaces the entry; FREE removes it.
    Overwrite,
    /// Key (device, address). ALLOC of a live key increments a count and keeps the old size, type
    /// and owner; FREE decrements it. What the reference servers do.
    Refcount,
    /// Key (process, device, memory, address). ALLOC of a live key replaces the entry; FREE removes
    /// it.
    Typed,
    /// As [`Semantics::Typed`], and messages take effect in the order of their per-device sequence
    /// numbers (one count a process and device; unstamped messages take effect at once).
    Sequenced,
}

impl Semantics {
    /// Whether the key has the memory, where messages come in `layout`: others do not say a FREE's.
    pub(crate) fn key_has_memory(self, layout: Layout) -> bool {
        match self {
            Semantics::Overwrite | Semantics::Refcount => false,
            Semantics::Typed | Semantics::Sequenced => layout == Layout::Extended,
        }
    }
}

impl fmt::Display for Semantics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Semantics::Overwrite => "overwrite",
            Semantics::Refcount => "refcount",
            Semantics::Typed => "typed",
            Semantics::Sequenced => "sequenced",
        })
    }
}

/// Bounds on what a registry takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// Device ids from 0 to below this are accepted; at most 65,536.
    pub devices: u32,
    /// How many entries may be live at once.
    pub buffers: u64,
    /// The largest size of one buffer, in bytes. Cut to `u64::MAX / buffers`, so that sums are
    /// exact.
    pub size_bytes: u64,
    /// How far ahead of the awaited sequence number a message may be.
    pub sequence_window: u64,
    /// How many (process, device) pairs may send stamped messages.
    pub sequences: usize,
    /// Sizes are not looked at: 0 is taken, and so is what is above [`Limits::size_bytes`]. Sums
    /// then wrap, as those of the reference servers do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub any_size: bool,
}

impl Default for Limits {
    /// 256 devices, 16 Mi buffers of up to 100 GiB each, a window of 65,536, 4,096 sequences.
    fn default() -> Limits {
        Limits {
            devices: 256,
            buffers: 1 << 24,
            size_bytes: 100 << 30,
            sequence_window: 1 << 16,
            sequences: 4096,
            any_size: false,
        }
    }
}

/// What is live on one device, in bytes by memory or class, and how many entries that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Buffers of type DRAM.
    pub(crate) dram_bytes: u64,
    /// Buffers of type L1.
    pub(crate) l1_bytes: u64,
    /// Buffers of type L1_SMALL.
    pub(crate) l1_small_bytes: u64,
    /// Buffers of type TRACE.
    pub(crate) trace_bytes: u64,
    /// Buffers of type SYSTEM_MEMORY.
    pub(crate) system_bytes: u64,
    /// Circular buffers.
    pub(crate) cb_bytes: u64,
    /// Kernel binaries.
    pub(crate) kernel_bytes: u64,
    /// Live entries of every class; a reference-counted entry counts once.
    pub(crate) buffers: u64,
}

impl Totals {
    fn figure(&mut self, class: Class, buffer_type: u8) -> &mut u64 {
        match (class, buffer_type) {
            (Class::Circular, _) => &mut self.cb_bytes,
            (Class::Kernel, _) => &mut self.kernel_bytes,
            (Class::Plain, 0) => &mut self.dram_bytes,
            (Class::Plain, 1) => &mut self.l1_bytes,
            (Class::Plain, 2) => &mut self.system_bytes,
            (Class::Plain, 3) => &mut self.l1_small_bytes,
            (Class::Plain, _) => &mut self.trace_bytes,
        }
    }
}

/// The state machine. See the module's page for its rules.
#[derive(Debug)]
pub struct Registry {
    semantics: Semantics,
    limits: Limits,
    live: HashMap<TableKey, TableRecord, FxBuildHasher>,
    /// By device id, as long as the highest id that had an entry. Derived from `live`.
    totals: SmallVec<[Totals; 2]>,
    others: SharedKeys,
    like_reference: bool,
    sequencer: Sequencer,
    planted: Option<Planted>,
}

impl Registry {
    /// An empty registry.
    pub(crate) fn new(semantics: Semantics, limits: Limits) -> Registry {
        let limits = Limits {
            devices: limits.devices.min(1 << 16),
            size_bytes: limits.size_bytes.min(u64::MAX / limits.buffers.max(1)),
            ..limits
        };
        Registry {
            semantics,
            limits,
            live: HashMap::default(),
            totals: SmallVec::new(),
            others: SharedKeys::default(),
            like_reference: false,
            sequencer: Sequencer::default(),
            planted: None,
        }
    }

    /// The same with a mistake of its own; see [`crate::planted`].
    pub(crate) fn with_planted(self, planted: Option<Planted>) -> Registry {
        Registry { planted, ..self }
    }

    /// The same as the reference servers have it also where they are wrong: sweeps ask for nobody
    /// but the process that opened an entry, and SYSTEM_MEMORY is L1_SMALL in every answer.
    pub(crate) fn like_reference(self, like_reference: bool) -> Registry {
        Registry {
            like_reference,
            ..self
        }
    }

    /// Takes in one message and reports its outcome to `out`. Under [`Semantics::Sequenced`] one
    /// message may let held ones take effect: `out` is then called for each of them too, in order.
    #[inline]
    pub(crate) fn apply(&mut self, message: &Message, out: &mut impl FnMut(&Message, Outcome)) {
        self.apply_from(0, message, out);
    }

    /// As [`Registry::apply`], for a message of the client process `owner` (0: nobody's); what it
    /// opens is that one's, see [`Registry::sweep`].
    #[inline]
    pub(crate) fn apply_from(
        &mut self,
        owner: u16,
        message: &Message,
        out: &mut impl FnMut(&Message, Outcome),
    ) {
        let outcome = match self.admit(message) {
            Ok((device, class, opens)) => match message.extension {
                Some(extension)
                    if self.semantics == Semantics::Sequenced && extension.sequence != 0 =>
                {
                    return self.apply_in_sequence(owner, message, device, extension.sequence, out);
                }
                _ => self.take_effect(owner, message, device, class, opens),
            },
            Err(outcome) => outcome,
        };
        out(message, outcome);
    }

    /// What a message is about, if it is one to take: device and class, and whether it opens an
    /// entry.
    #[inline]
    fn admit(&self, message: &Message) -> Result<(DeviceId, Class, bool), Outcome> {
        let (class, opens) = message.kind.role().ok_or(Outcome::Ignored)?;
        match u16::try_from(message.device) {
            Ok(device) if u32::from(device) < self.limits.devices => {
                Ok((DeviceId(device), class, opens))
            }
            _ => Err(Outcome::Rejected(RejectReason::DeviceOutOfRange)),
        }
    }

    /// Lets everything held take effect, in order, and returns the gaps: the numbers that never
    /// came.
    pub(crate) fn flush(&mut self, out: &mut impl FnMut(&Message, Outcome)) -> Vec<SequenceGap> {
        let (messages, gaps) = self.sequencer.flush();
        for message in &messages {
            self.take_held(0, message, out);
        }
        gaps
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.live.clear();
        self.totals.clear();
        self.others.clear();
        if !self.sequencer.is_empty() {
            self.sequencer = Sequencer::default();
        }
    }

    /// The live table, sorted by device, class, memory, owner and address.
    pub fn live(&self) -> Vec<Entry> {
        self.sorted()
            .iter()
            .map(|&(key, record)| record.entry(key))
            .collect()
    }

    /// The same in no order, one by one: there may be millions.
    pub(crate) fn live_in_no_order(&self) -> impl Iterator<Item = Entry> {
        let live = self.live.iter();
        live.map(|(key, record)| record.entry(*key))
    }

    /// What is live on the device of this number; zero for a device that doesn't exist.
    pub(crate) fn totals(&self, device: i32) -> Totals {
        let index = usize::try_from(device).unwrap_or(usize::MAX);
        self.totals.get(index).copied().unwrap_or_default()
    }

    /// How many devices are known: ids from 0 to the highest one that had an entry.
    pub(crate) fn devices_seen(&self) -> u32 {
        u32::try_from(self.totals.len()).unwrap_or(u32::MAX)
    }

    /// How many entries are live.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether nothing is live.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// How many messages wait for an earlier sequence number.
    pub(crate) fn held(&self) -> usize {
        self.sequencer.held()
    }

    /// What decides how stamped messages will be taken: of each device the awaited number (without
    /// a message), then the messages that wait, by number.
    pub(crate) fn held_messages(&self) -> impl Iterator<Item = (DeviceId, u64, Option<&Message>)> {
        self.sequencer.queued()
    }

    /// How this registry understands messages.
    pub(crate) fn semantics(&self) -> Semantics {
        self.semantics
    }

    /// The bounds in force.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    fn apply_in_sequence(
        &mut self,
        owner: u16,
        message: &Message,
        device: DeviceId,
        sequence: u64,
        out: &mut impl FnMut(&Message, Outcome),
    ) {
        let Limits {
            sequence_window,
            sequences,
            ..
        } = self.limits;
        match self
            .sequencer
            .admit(message, device, sequence, sequence_window, sequences)
        {
            Admission::Rejected(reason) => out(message, Outcome::Rejected(reason)),
            Admission::Held => out(message, Outcome::Held),
            Admission::Now => {
                self.take_held(owner, message, out);
                while let Some(next) = self.sequencer.release(message.pid, device) {
                    self.take_held(owner, &next, out);
                }
            }
        }
    }

    #[inline(never)]
    fn take_held(
        &mut self,
        owner: u16,
        message: &Message,
        out: &mut impl FnMut(&Message, Outcome),
    ) {
        let (class, opens) = (message.kind.role()).expect("only tracking messages are sequenced");
        let device =
            u16::try_from(message.device).expect("the device was checked before sequencing");
        let outcome = self.take_effect(owner, message, DeviceId(device), class, opens);
        out(message, outcome);
    }

    #[inline(always)]
    fn take_effect(
        &mut self,
        owner: u16,
        message: &Message,
        device: DeviceId,
        class: Class,
        opens: bool,
    ) -> Outcome {
        if opens {
            self.open(owner, message, device, class)
        } else {
            self.close(owner, message, device, class)
        }
    }

    #[inline(always)]
    fn open(&mut self, owner: u16, message: &Message, device: DeviceId, class: Class) -> Outcome {
        let reason = if class == Class::Plain && message.buffer_type > MAX_BUFFER_TYPE {
            Some(RejectReason::InvalidBufferType)
        } else if self.limits.any_size {
            None
        } else if message.size_bytes == 0 {
            Some(RejectReason::SizeZero)
        } else if message.size_bytes > self.limits.size_bytes {
            Some(RejectReason::SizeOverLimit)
        } else {
            None
        };
        if let Some(reason) = reason {
            return Outcome::Rejected(reason);
        }
        let key = TableKey::new(
            self.semantics,
            message,
            device,
            class,
            memory_of(message).unwrap_or(0),
        );
        let full = self.live.len() as u64 >= self.limits.buffers;
        let record = TableRecord::opened_by(message, owner);
        let outcome = match self.live.entry(key) {
            Slot::Vacant(_) if full => return Outcome::Rejected(RejectReason::TableFull),
            Slot::Vacant(slot) => {
                slot.insert(record);
                Outcome::Inserted
            }
            Slot::Occupied(mut slot) if self.semantics == Semantics::Refcount => {
                let key = *slot.key();
                let kept = slot.get_mut();
                if kept.owner != owner && !self.like_reference && kept.refcount < u32::MAX {
                    self.others.add(key, owner);
                }
                kept.refcount = kept.refcount.saturating_add(1);
                return Outcome::Incremented {
                    kept: kept.entry(key),
                };
            }
            Slot::Occupied(slot) => {
                // The key with it: the process in it may be another one, where it does not count.
                let (old_key, old) = slot.remove_entry();
                self.live.insert(key, record);
                Outcome::Replaced {
                    old: old.entry(old_key),
                }
            }
        };
        if let Outcome::Replaced { old } = outcome {
            self.discount(old);
        }
        self.count(device, class, message.buffer_type, record);
        outcome
    }

    #[inline(always)]
    fn close(&mut self, owner: u16, message: &Message, device: DeviceId, class: Class) -> Outcome {
        let key = |memory| TableKey::new(self.semantics, message, device, class, memory);
        let key = match (class, self.semantics, memory_of(message)) {
            (Class::Plain, Semantics::Typed | Semantics::Sequenced, None) => (0..=MAX_BUFFER_TYPE)
                .map(key)
                .find(|key| self.live.contains_key(key)),
            (_, _, memory) => Some(key(memory.unwrap_or(0))),
        };
        let outcome = key.map_or(Outcome::UnknownFree, |key| self.close_key(owner, key));
        match self.planted {
            None => outcome,
            Some(planted) => self.close_wrongly(planted, message, device, class, outcome),
        }
    }

    #[inline(always)]
    fn close_key(&mut self, owner: u16, key: TableKey) -> Outcome {
        let Slot::Occupied(mut slot) = self.live.entry(key) else {
            return Outcome::UnknownFree;
        };
        let TableRecord {
            owner: opener,
            refcount,
            ..
        } = *slot.get();
        if !self.others.is_empty() {
            self.others.give_back(key, owner, opener, refcount);
        }
        if refcount > 1 {
            slot.get_mut().refcount -= 1;
            return Outcome::Decremented {
                left: slot.get().entry(*slot.key()),
            };
        }
        let (key, record) = slot.remove_entry();
        let entry = record.entry(key);
        self.discount(entry);
        Outcome::Removed { entry }
    }

    #[inline]
    fn count(&mut self, device: DeviceId, class: Class, buffer_type: u8, record: TableRecord) {
        let index = usize::from(device.0);
        if index >= self.totals.len() {
            self.totals.resize(index + 1, Totals::default());
        }
        let totals = &mut self.totals[index];
        let figure = totals.figure(class, buffer_type);
        // Within limits it can't.
        *figure = figure.wrapping_add(record.size_bytes);
        totals.buffers += 1;
    }

    #[inline]
    fn discount(&mut self, entry: Entry) {
        let totals = &mut self.totals[usize::from(entry.device.0)];
        let figure = totals.figure(entry.class, entry.buffer_type);
        *figure = figure.wrapping_sub(entry.size_bytes);
        totals.buffers -= 1;
    }

    fn sorted(&self) -> SmallVec<[(TableKey, TableRecord); 16]> {
        let mut all: SmallVec<[(TableKey, TableRecord); 16]> =
            self.live.iter().map(|(&k, &r)| (k, r)).collect();
        all.sort_unstable_by_key(|&(key, _)| key);
        all
    }
}

#[cfg(test)]
mod tests;
