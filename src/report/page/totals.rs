//! Bytes over time: what was live and what the server showed, at evenly spaced events.
//!
//! Each space has the stretch of addresses that is in use, too, from which follows how fragmented
//! it is: the part of the stretch that is not in use. The peak is exact, the curve is sampled.

use std::collections::BTreeMap;

use serde::Serialize;

use super::columns::Column;
use super::memory::Spot;

/// The most samples; where there would be more, every other one goes.
const MOST_SAMPLES: usize = 2048;
/// Spaces that have a curve of their own; of all others only the sum is shown.
const MOST_CURVES: usize = 12;

/// Follows the totals.
#[derive(Debug, Default)]
pub(crate) struct TotalsOverTime {
    spaces: Vec<SpaceTotals>,
    live: u128,
    shown: u128,
    peak: Peak,
    now: u32,
    shift: u32,
    next_at: u64,
    follows_entries: bool,
    samples: Vec<Vec<u64>>,
}

/// The most that was live at once, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Peak {
    pub(crate) bytes: u128,
    pub(crate) at: u32,
    /// Addresses in use then: where a memory has banks, in each of them.
    pub(crate) used_bytes: u128,
    /// From the lowest to the highest of them, over all spaces.
    pub(crate) span_bytes: u128,
}

impl Peak {
    /// The part of the stretch in use that was not used, in percent; `None` where more is used than
    /// the stretch has room for.
    pub(crate) fn fragmented(&self) -> Option<String> {
        let part = per_mille(self.used_bytes, self.span_bytes);
        (self.used_bytes <= self.span_bytes).then(|| format!("{:.0} %", part as f64 / 10.0))
    }
}

#[derive(Debug, Default)]
struct SpaceTotals {
    live: u128,
    shown: u128,
    peak: Peak,
    /// Addresses in use.
    used_bytes: u128,
    /// Of what is live: where it ends, and how many buffers begin there.
    used: BTreeMap<u64, (u64, u32)>,
}

/// The packed totals: by sample what is live, what is shown, and how much of the stretch is not in
/// use, in per mille; of all spaces, then of each with a curve.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PackedTotals {
    width: u64,
    samples: usize,
    curves: usize,
    values: Column,
    pub(super) peak: Peak,
    pub(super) peaks: Vec<Peak>,
}

impl TotalsOverTime {
    /// There is no truth: peaks and stretches are those of what the server shows.
    pub(super) fn follow_entries(&mut self) {
        self.follows_entries = true;
    }

    pub(super) fn begin_life(&mut self, spot: Spot, size_bytes: u64, reach: u64) {
        self.live += u128::from(size_bytes);
        let space = self.space(spot.space);
        space.live += u128::from(size_bytes);
        if !self.follows_entries {
            self.used_more(spot, reach, self.live);
        }
    }

    pub(super) fn end_life(&mut self, spot: Spot, size_bytes: u64, reach: u64) {
        self.live -= u128::from(size_bytes);
        let space = self.space(spot.space);
        space.live -= u128::from(size_bytes);
        if !self.follows_entries {
            self.used_less(spot, reach);
        }
    }

    pub(super) fn begin_entry(&mut self, spot: Spot, size_bytes: u64, reach: u64) {
        self.shown += u128::from(size_bytes);
        let space = self.space(spot.space);
        space.shown += u128::from(size_bytes);
        if self.follows_entries {
            self.used_more(spot, reach, self.shown);
        }
    }

    pub(super) fn end_entry(&mut self, spot: Spot, size_bytes: u64, reach: u64) {
        self.shown -= u128::from(size_bytes);
        let space = self.space(spot.space);
        space.shown -= u128::from(size_bytes);
        if self.follows_entries {
            self.used_less(spot, reach);
        }
    }

    /// A buffer more is in use; `all` are the bytes of all spaces.
    fn used_more(&mut self, spot: Spot, reach: u64, all: u128) {
        let (now, follows_entries) = (self.now, self.follows_entries);
        let space = self.space(spot.space);
        let used = space.used.entry(spot.address).or_insert((0, 0));
        used.0 = used.0.max(spot.address.saturating_add(reach));
        used.1 += 1;
        space.used_bytes += u128::from(reach);
        let bytes = if follows_entries {
            space.shown
        } else {
            space.live
        };
        if bytes > space.peak.bytes {
            space.peak = Peak {
                bytes,
                at: now,
                used_bytes: space.used_bytes,
                span_bytes: space.span(),
            };
        }
        if all > self.peak.bytes {
            let (used_bytes, span_bytes) = self.stretch();
            self.peak = Peak {
                bytes: all,
                at: now,
                used_bytes,
                span_bytes,
            };
        }
    }

    fn used_less(&mut self, spot: Spot, reach: u64) {
        let space = self.space(spot.space);
        space.used_bytes -= u128::from(reach);
        if let Some(used) = space.used.get_mut(&spot.address) {
            used.1 -= 1;
            if used.1 == 0 {
                space.used.remove(&spot.address);
            }
        }
    }

    /// Event `now` begins: what was before is sampled, where that is due.
    #[inline]
    pub(super) fn tick(&mut self, now: u32) {
        self.now = now;
        while u64::from(now) >= self.next_at {
            self.sample();
        }
    }

    fn sample(&mut self) {
        let (used, span) = self.stretch();
        let mut sample = vec![
            of_a_curve(self.live),
            of_a_curve(self.shown),
            per_mille(used, span),
        ];
        for space in self.spaces.iter().take(MOST_CURVES) {
            let fragmented = per_mille(space.used_bytes, space.span());
            sample.extend([of_a_curve(space.live), of_a_curve(space.shown), fragmented]);
        }
        self.samples.push(sample);
        if self.samples.len() > MOST_SAMPLES {
            self.shift += 1;
            let mut keep = false;
            self.samples.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.next_at = (self.samples.len() as u64) << self.shift;
    }

    /// Addresses in use, and the stretches that they lie in, over all spaces.
    fn stretch(&self) -> (u128, u128) {
        let add = |(used, span): (u128, u128), space: &SpaceTotals| {
            (used + space.used_bytes, span + space.span())
        };
        self.spaces.iter().fold((0, 0), add)
    }

    fn space(&mut self, space: u16) -> &mut SpaceTotals {
        let at = usize::from(space);
        if self.spaces.len() <= at {
            self.spaces.resize_with(at + 1, SpaceTotals::default);
        }
        &mut self.spaces[at]
    }

    /// Packs them, after `end` events.
    pub(super) fn pack(mut self, end: u32) -> PackedTotals {
        self.tick(end);
        self.sample();
        let curves = self.spaces.len().min(MOST_CURVES);
        let width = 3 + 3 * curves;
        let mut values = Vec::with_capacity(self.samples.len() * width);
        for sample in &self.samples {
            values.extend(sample);
            values.resize(values.len() + width - sample.len(), 0);
        }
        PackedTotals {
            width: 1 << self.shift,
            samples: self.samples.len(),
            curves,
            values: Column::longs(&values),
            peak: self.peak,
            peaks: self.spaces.iter().map(|space| space.peak).collect(),
        }
    }
}

impl SpaceTotals {
    /// From the lowest to the highest byte in use, as far as starts tell.
    fn span(&self) -> u128 {
        match (self.used.first_key_value(), self.used.last_key_value()) {
            (Some((first, _)), Some((_, (end, _)))) => u128::from(end.saturating_sub(*first)),
            _ => 0,
        }
    }
}

/// A sum as a curve has it: one that no memory can hold is drawn at the most that it can.
fn of_a_curve(bytes: u128) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The part of a stretch that is not in use.
fn per_mille(used: u128, span: u128) -> u64 {
    match span {
        0 => 0,
        _ => 1000 - (used.min(span) * 1000 / span) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_exact_where_the_curve_is_sampled() {
        let spot = |address| Spot { space: 0, address };
        let mut totals = TotalsOverTime::default();
        for now in 0..100_000u32 {
            totals.tick(now);
            if now == 77_777 {
                totals.begin_life(spot(0), 100, 100);
                totals.begin_life(spot(300), 100, 100);
                totals.end_life(spot(300), 100, 100);
            }
        }
        assert!(totals.samples.len() <= MOST_SAMPLES + 1);
        let peak = Peak {
            bytes: 200,
            at: 77_777,
            used_bytes: 200,
            span_bytes: 400,
        };
        assert_eq!((totals.peak, totals.spaces[0].peak), (peak, peak));
        assert_eq!(peak.fragmented().as_deref(), Some("50 %"));
    }

    #[test]
    fn sums_of_more_than_64_bits_are_whole_and_come_down_again() {
        let spot = |space| Spot { space, address: 0 };
        let mut totals = TotalsOverTime::default();
        for space in 0..3 {
            totals.begin_life(spot(space), u64::MAX, 0);
        }
        assert_eq!(totals.peak.bytes, 3 * u128::from(u64::MAX));
        for space in 0..3 {
            totals.end_life(spot(space), u64::MAX, 0);
        }
        totals.begin_life(spot(0), 7, 7);
        assert_eq!(totals.live, 7);
    }

    #[test]
    fn where_more_is_used_than_there_is_room_nothing_is_said_of_fragments() {
        let mut totals = TotalsOverTime::default();
        for address in [0, 1024] {
            totals.begin_life(Spot { space: 0, address }, 4096, 4096);
        }
        assert_eq!(
            (totals.peak.used_bytes, totals.peak.span_bytes),
            (8192, 5120)
        );
        assert_eq!(totals.peak.fragmented(), None);
    }
}
