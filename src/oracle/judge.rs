//! The judge: holds each message's outcome against the truth and counts what diverges.

use std::collections::BTreeMap;

use crate::device::{DeviceId, Memory};
use crate::registry::{Outcome, Totals as RegistryTotals};
use crate::scenario::Scenario;
use crate::trace::file::TableEntry;
use crate::tracking::entry::{Class, Entry};
use crate::tracking::sent::Handle;
use crate::tracking::wire::has_more_totals;
use crate::tracking::{Layout, Message, MessageKind};

use super::kind::{Divergence, Kind};
use super::truth::{BufferPlace, Moment, Truth};
use crate::trace::sends::Sent;

/// Divergences listed one by one, where nothing else is asked; more are counted.
const MAX_LISTED: usize = 64;

/// Counts divergences, with the truth at hand.
#[derive(Debug)]
pub(super) struct Judge {
    pub(crate) truth: Truth,
    pub(crate) divergences: BTreeMap<Kind, u64>,
    pub(crate) first: Option<Divergence>,
    /// The first divergences, in order.
    pub(crate) listed: Vec<Divergence>,
    /// How many there are, of all kinds.
    pub(crate) counted: u64,
    /// So many of them are listed.
    pub(crate) most_listed: usize,
    pub(crate) messages: u64,
    devices: u16,
    /// Whether totals come without the circular buffers.
    hides_circular: bool,
    /// Whether messages carry thread and generation.
    pub(crate) extended: bool,
}

/// What a message is about, and who sent it.
struct About {
    handle: Handle,
    thread: Option<u16>,
    op: Option<u64>,
}

impl Judge {
    pub(crate) fn new(scenario: &Scenario) -> Judge {
        Judge {
            hides_circular: !has_more_totals(scenario.transport.layout),
            extended: scenario.transport.layout == Layout::Extended,
            ..Judge::of_devices(scenario.devices)
        }
    }

    /// For a system of so many devices, of whose threads and lives no message speaks.
    pub(crate) fn of_devices(devices: u16) -> Judge {
        Judge {
            truth: Truth::new(),
            divergences: BTreeMap::new(),
            first: None,
            listed: Vec::new(),
            counted: 0,
            most_listed: MAX_LISTED,
            messages: 0,
            devices,
            hides_circular: false,
            extended: false,
        }
    }

    pub(crate) fn count(&mut self, divergence: Divergence) {
        *self.divergences.entry(divergence.kind).or_default() += 1;
        self.counted += 1;
        if self.listed.len() < self.most_listed {
            self.listed.push(divergence);
        }
        if self.first.is_none() {
            self.first = Some(divergence);
            self.truth.stop_tracking_flight();
        }
    }

    /// A message never took effect.
    pub(crate) fn lost(&mut self, sent: &Sent) {
        self.count(at(Kind::LostMessage, &about_sent(sent)));
    }

    /// A frame held pieces of several messages, one of them `sent`.
    pub(crate) fn torn(&mut self, sent: &Sent) {
        self.count(at(Kind::TornFrame, &about_sent(sent)));
    }

    /// The registry took `message`, which `sent` let it take: `sent` itself, or one that was held
    /// for it.
    #[inline]
    pub(crate) fn judge(&mut self, message: &Message, outcome: &Outcome, sent: &Sent) {
        let is_sent = message.address == sent.handle.address
            && message
                .extension
                .is_none_or(|extension| extension.generation == sent.handle.generation);
        self.judge_late(message, outcome, is_sent.then_some(sent));
    }

    /// As [`Judge::judge`], for a message whose sending operation is not at hand.
    #[inline]
    pub(crate) fn judge_late(&mut self, message: &Message, outcome: &Outcome, sent: Option<&Sent>) {
        let Some(about) = sent.map(about_sent).or_else(|| self.about(message)) else {
            return;
        };
        if matches!(
            outcome,
            Outcome::Inserted | Outcome::Replaced { .. } | Outcome::Incremented { .. }
        ) {
            self.announce(&about);
        }
        self.received(&about, message.kind, outcome);
        match outcome {
            Outcome::Removed { entry } => self.removed(&about, entry),
            Outcome::Replaced { old } => {
                let misattributed =
                    Memory::from_buffer_type(old.buffer_type) != Some(about.handle.memory);
                self.count(at(
                    if misattributed {
                        Kind::Misattributed
                    } else {
                        Kind::DuplicateAlloc
                    },
                    &about,
                ));
            }
            Outcome::Incremented { kept } => {
                let kind =
                    if Memory::from_buffer_type(kept.buffer_type) != Some(about.handle.memory) {
                        Kind::Misattributed
                    } else if self.is_stale(kept, &about) {
                        Kind::StaleMetadata
                    } else {
                        Kind::DuplicateAlloc
                    };
                self.count(at(kind, &about));
            }
            Outcome::Rejected(_) => self.count(at(Kind::LostMessage, &about)),
            Outcome::UnknownFree => self.count(at(Kind::UnknownFree, &about)),
            Outcome::Inserted | Outcome::Decremented { .. } | Outcome::Held | Outcome::Ignored => {}
        }
    }

    /// The server has been told that this life began.
    #[inline]
    fn announce(&mut self, about: &About) {
        if let Some(life) = self.truth.at_mut(BufferPlace::of(&about.handle))
            && life.generation == about.handle.generation
        {
            life.announced = true;
        }
    }

    fn removed(&mut self, about: &About, entry: &Entry) {
        if Memory::from_buffer_type(entry.buffer_type) != Some(about.handle.memory) {
            return self.count(at(Kind::Misattributed, about));
        }
        let handle = about.handle;
        let place = BufferPlace::of(&handle);
        if let Some(life) = self.truth.at(place)
            && life.generation != handle.generation
            && life.announced
            && life.circular == (entry.class == Class::Circular)
        {
            // A later life was live and shown, and this message took it off the table.
            let origin = life.origin;
            self.truth.at_mut(place).expect("just seen").known_missing = true;
            self.count(Divergence {
                kind: Kind::MissingLive,
                device: handle.device,
                memory: Some(handle.memory),
                address: Some(handle.address),
                thread: about.thread,
                op: about.op.or(Some(origin.op)),
            });
        }
    }

    /// The server has taken a message, whatever it made of it: its moment is no longer in flight.
    #[inline]
    fn received(&mut self, about: &About, kind: MessageKind, outcome: &Outcome) {
        if self.first.is_some() || matches!(outcome, Outcome::Held | Outcome::Ignored) {
            return;
        }
        let moment = if kind.opens() {
            Moment::Alloc
        } else {
            Moment::Free
        };
        let size_bytes = match outcome {
            Outcome::Removed { entry } => entry.size_bytes,
            _ => about.handle.size_bytes,
        };
        let Handle {
            device,
            memory,
            generation,
            ..
        } = about.handle;
        self.truth
            .moment(device, memory, generation, moment, size_bytes);
    }

    /// What the server's totals of a device say now.
    #[inline]
    pub(crate) fn show(&mut self, device: DeviceId, totals: &RegistryTotals) {
        if self.first.is_some() {
            return;
        }
        // Circular buffers live in L1, and the registry counts them apart.
        let l1_bytes = totals.l1_bytes.wrapping_add(totals.cb_bytes);
        let shown = [
            totals.dram_bytes,
            l1_bytes,
            totals.l1_small_bytes,
            totals.trace_bytes,
        ];
        for (memory, shown_bytes) in Memory::ALL.into_iter().zip(shown) {
            self.truth.totals_mut(device, memory).shown_bytes = shown_bytes;
            self.check_prefix(device, memory);
        }
    }

    /// The prefix check: the server's total is off by at most what is in flight. It means nothing
    /// after a divergence, and where that is not known any more.
    #[inline]
    pub(crate) fn check_prefix(&mut self, device: DeviceId, memory: Memory) {
        if self.first.is_some() || !self.truth.tracks_flight() {
            return;
        }
        let totals = *self.truth.totals_mut(device, memory);
        if !totals.agree() {
            let kind = if totals.shown_bytes > totals.live_bytes {
                Kind::PhantomLive
            } else {
                Kind::MissingLive
            };
            self.count(Divergence::of_total(kind, device, memory));
        }
    }

    /// The check at rest: `table` against what is live.
    pub(crate) fn compare_table(&mut self, table: &[TableEntry]) {
        let mut shown = rustc_hash::FxHashSet::default();
        for entry in table {
            let Some(memory) = Memory::from_index(entry.memory) else {
                continue;
            };
            let place = BufferPlace {
                device: entry.device,
                memory,
                address: entry.address,
            };
            let kind = match self.truth.at(place) {
                Some(life) if life.circular == entry.circular => {
                    shown.insert(place);
                    let right = life.origin.size_bytes == entry.size_bytes
                        && (!self.extended || u32::from(life.origin.thread) == entry.thread);
                    (!right).then_some(Kind::StaleMetadata)
                }
                _ => Some(self.elsewhere(place, &mut shown)),
            };
            if let Some(kind) = kind {
                self.count(Divergence {
                    kind,
                    device: DeviceId(entry.device),
                    memory: Some(memory),
                    address: Some(entry.address),
                    thread: None,
                    op: None,
                });
            }
        }
        let mut missing: Vec<Divergence> = self
            .truth
            .lives()
            .filter(|(place, life)| !shown.contains(*place) && !life.known_missing)
            .map(|(_, life)| Divergence {
                kind: Kind::MissingLive,
                device: life.origin.device,
                memory: Some(life.origin.memory),
                address: Some(life.origin.address),
                thread: Some(life.origin.thread),
                op: Some(life.origin.op),
            })
            .collect();
        missing
            .sort_by_key(|divergence| (divergence.device, divergence.memory, divergence.address));
        missing
            .into_iter()
            .for_each(|divergence| self.count(divergence));
    }

    /// An entry is not where the truth has a life: is that life in another memory of the device, or
    /// gone?
    fn elsewhere(
        &self,
        place: BufferPlace,
        shown: &mut rustc_hash::FxHashSet<BufferPlace>,
    ) -> Kind {
        let other = Memory::ALL
            .into_iter()
            .map(|memory| BufferPlace { memory, ..place })
            .find(|other| {
                *other != place && self.truth.at(*other).is_some() && !shown.contains(other)
            });
        match other {
            Some(other) => {
                shown.insert(other);
                Kind::Misattributed
            }
            None => Kind::PhantomLive,
        }
    }

    /// The weaker check at rest: totals only. Layouts that do not carry circular buffers cannot be
    /// compared where such are live.
    pub(crate) fn compare_totals(&mut self, totals: &[[u64; 4]]) {
        for device in (0..self.devices).map(DeviceId) {
            for memory in Memory::ALL {
                if memory == Memory::L1 && self.hides_circular && self.truth.has_circular(device) {
                    continue;
                }
                let live = self.truth.totals_mut(device, memory).live_bytes;
                let shown = totals
                    .get(usize::from(device.0))
                    .map_or(0, |t| t[memory as usize]);
                let kind = match shown.cmp(&live) {
                    std::cmp::Ordering::Equal => continue,
                    std::cmp::Ordering::Greater => Kind::PhantomLive,
                    std::cmp::Ordering::Less => Kind::MissingLive,
                };
                self.count(Divergence::of_total(kind, device, memory));
            }
        }
    }

    /// Whether `kept` is not what the message said: another size or owner, or an earlier life.
    fn is_stale(&self, kept: &Entry, about: &About) -> bool {
        let another = self.extended
            && (kept.generation != about.handle.generation
                || about
                    .thread
                    .is_some_and(|thread| u32::from(thread) != kept.thread));
        another || kept.size_bytes != about.handle.size_bytes
    }

    /// What a message says of itself. `None` if it is not about a buffer of this system.
    fn about(&self, message: &Message) -> Option<About> {
        let extension = message.extension?;
        let device = u16::try_from(message.device)
            .ok()
            .filter(|device| *device < self.devices)?;
        let handle = Handle {
            device: DeviceId(device),
            memory: extension.memory,
            address: message.address,
            size_bytes: message.size_bytes,
            generation: extension.generation,
        };
        Some(About {
            handle,
            thread: u16::try_from(extension.thread).ok(),
            op: None,
        })
    }
}

fn about_sent(sent: &Sent) -> About {
    About {
        handle: sent.handle,
        thread: Some(sent.thread),
        op: Some(sent.op),
    }
}

fn at(kind: Kind, about: &About) -> Divergence {
    let Handle {
        device,
        memory,
        address,
        ..
    } = about.handle;
    Divergence {
        kind,
        device,
        memory: Some(memory),
        address: Some(address),
        thread: about.thread,
        op: about.op,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::kind::Leak;
    use crate::scenario::ScenarioFile;

    fn judge() -> Judge {
        let scenario = ScenarioFile::load("own-buffers").and_then(ScenarioFile::resolve);
        Judge::new(&scenario.expect("built in"))
    }

    /// Every message in order and every table right at rest: only the totals between can show a
    /// registry that adds up wrongly.
    #[test]
    fn totals_that_are_off_by_more_than_what_is_in_flight_diverge() {
        let device = DeviceId(0);
        let mut judge = judge();
        let origin = Leak {
            device,
            memory: Memory::L1,
            address: 64,
            size_bytes: 4096,
            thread: 0,
            op: 0,
        };
        judge.truth.alloc(origin, 1, false);
        for (l1_bytes, kind) in [(0, None), (4096, None), (8193, Some(Kind::PhantomLive))] {
            let totals = RegistryTotals {
                l1_bytes,
                ..RegistryTotals::default()
            };
            judge.show(device, &totals);
            assert_eq!(judge.first.map(|first| first.kind), kind, "{l1_bytes}");
        }
    }
}
