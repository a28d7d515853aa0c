//! The truth: what the allocators did, and what of it is still on its way to the server.

use rustc_hash::FxHashMap;

use crate::device::{DeviceId, Memory};
use crate::trace::event::FreeOutcome;
use crate::tracking::sent::Handle;

use super::kind::Leak;

/// One life of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TrueLife {
    /// Where it came from; a leak if it never ends.
    pub(crate) origin: Leak,
    /// Which life of its address it is.
    pub(crate) generation: u64,
    /// Whether it is a circular buffer's.
    pub(crate) circular: bool,
    /// Whether the server has been told of its start.
    pub(crate) announced: bool,
    /// Whether it was counted as missing already.
    pub(crate) known_missing: bool,
}

/// A place that holds one life at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct BufferPlace {
    pub(crate) device: u16,
    pub(crate) memory: Memory,
    pub(crate) address: u64,
}

impl BufferPlace {
    pub(crate) fn of(handle: &Handle) -> BufferPlace {
        BufferPlace {
            device: handle.device.0,
            memory: handle.memory,
            address: handle.address,
        }
    }
}

/// One of the two moments of a life that both the allocator and the server take part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Alloc = 0,
    Free = 1,
}

/// Everything that is live, and per device and memory the bytes that are live and in flight.
#[derive(Debug)]
pub(super) struct Truth {
    lives: FxHashMap<BufferPlace, TrueLife>,
    /// Moments that one side has seen and the other has not, with their sizes.
    in_flight: FxHashMap<u64, u64>,
    tracks_flight: bool,
    /// As far as the highest place that had any.
    totals: Vec<PrefixTotals>,
    peak_live: u64,
}

/// Figures of one device and memory, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PrefixTotals {
    pub(crate) live_bytes: u64,
    pub(crate) shown_bytes: u64,
    pub(crate) in_flight_bytes: u64,
}

impl PrefixTotals {
    /// Whether the server is off by at most what is in flight.
    pub(crate) fn agree(&self) -> bool {
        self.live_bytes.abs_diff(self.shown_bytes) <= self.in_flight_bytes
    }
}

impl Truth {
    /// Nothing has happened yet.
    pub(crate) fn new() -> Truth {
        Truth {
            lives: FxHashMap::default(),
            in_flight: FxHashMap::default(),
            tracks_flight: true,
            totals: Vec::new(),
            peak_live: 0,
        }
    }

    /// An address was handed out.
    pub(crate) fn alloc(&mut self, origin: Leak, generation: u64, circular: bool) {
        let place = BufferPlace {
            device: origin.device.0,
            memory: origin.memory,
            address: origin.address,
        };
        self.lives.insert(
            place,
            TrueLife {
                origin,
                generation,
                circular,
                announced: false,
                known_missing: false,
            },
        );
        self.peak_live = self.peak_live.max(self.lives.len() as u64);
        let totals = self.totals_mut(origin.device, origin.memory);
        totals.live_bytes = totals.live_bytes.wrapping_add(origin.size_bytes);
        self.moment(
            origin.device,
            origin.memory,
            generation,
            Moment::Alloc,
            origin.size_bytes,
        );
    }

    /// An address was given back through `handle`; says what the allocator must have answered.
    pub(crate) fn free(&mut self, handle: &Handle) -> FreeOutcome {
        let Some(life) = self.lives.remove(&BufferPlace::of(handle)) else {
            return FreeOutcome::NotAllocated;
        };
        let size_bytes = life.origin.size_bytes;
        let totals = self.totals_mut(handle.device, handle.memory);
        totals.live_bytes = totals.live_bytes.wrapping_sub(size_bytes);
        self.moment(
            handle.device,
            handle.memory,
            life.generation,
            Moment::Free,
            size_bytes,
        );
        if life.generation == handle.generation {
            FreeOutcome::Freed
        } else {
            FreeOutcome::FreedAnother
        }
    }

    /// Ends every life of which `which` says so, without anybody's doing.
    pub(crate) fn end_lives(&mut self, which: impl Fn(&Leak) -> bool) {
        let ended: Vec<TrueLife> = (self.lives.values())
            .filter(|life| which(&life.origin))
            .copied()
            .collect();
        for TrueLife { origin, .. } in ended {
            self.lives.remove(&BufferPlace {
                device: origin.device.0,
                memory: origin.memory,
                address: origin.address,
            });
            let totals = self.totals_mut(origin.device, origin.memory);
            totals.live_bytes = totals.live_bytes.wrapping_sub(origin.size_bytes);
        }
        // What was in flight of them says nothing any more.
        self.stop_tracking_flight();
    }

    /// One side has seen a moment of a life; the other will, or has.
    pub(crate) fn moment(
        &mut self,
        device: DeviceId,
        memory: Memory,
        generation: u64,
        moment: Moment,
        size_bytes: u64,
    ) {
        if !self.tracks_flight {
            return;
        }
        let key = generation << 17 | u64::from(device.0) << 1 | moment as u64;
        match self.in_flight.remove(&key) {
            Some(size_bytes) => {
                let bytes = &mut self.totals_mut(device, memory).in_flight_bytes;
                *bytes = bytes.saturating_sub(size_bytes);
            }
            None => {
                self.in_flight.insert(key, size_bytes);
                let bytes = &mut self.totals_mut(device, memory).in_flight_bytes;
                *bytes = bytes.saturating_add(size_bytes);
            }
        }
    }

    /// Forgets what is in flight: after a divergence the bound means nothing any more.
    pub(crate) fn stop_tracking_flight(&mut self) {
        self.tracks_flight = false;
        self.in_flight = FxHashMap::default();
    }

    /// Whether what is in flight is known.
    #[inline]
    pub(crate) fn tracks_flight(&self) -> bool {
        self.tracks_flight
    }

    /// The life that is at `place` now.
    pub(crate) fn at(&self, place: BufferPlace) -> Option<&TrueLife> {
        self.lives.get(&place)
    }

    /// As [`Truth::at`].
    pub(crate) fn at_mut(&mut self, place: BufferPlace) -> Option<&mut TrueLife> {
        self.lives.get_mut(&place)
    }

    /// Whether a circular buffer is live on the device.
    pub(crate) fn has_circular(&self, device: DeviceId) -> bool {
        self.lives
            .iter()
            .any(|(place, life)| place.device == device.0 && life.circular)
    }

    pub(crate) fn totals_mut(&mut self, device: DeviceId, memory: Memory) -> &mut PrefixTotals {
        let at = usize::from(device.0) * Memory::ALL.len() + memory as usize;
        if at >= self.totals.len() {
            self.totals.resize(at + 1, PrefixTotals::default());
        }
        &mut self.totals[at]
    }

    /// Every life, in no order.
    pub(crate) fn lives(&self) -> impl Iterator<Item = (&BufferPlace, &TrueLife)> {
        self.lives.iter()
    }

    /// What is live now, as leaks.
    pub(crate) fn leaks(&self) -> impl Iterator<Item = Leak> + '_ {
        self.lives.values().map(|life| life.origin)
    }

    pub(crate) fn peak_live(&self) -> u64 {
        self.peak_live
    }
}
