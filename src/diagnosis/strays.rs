//! Strays: lives that never got their FREE beside FREEs without ALLOC.
//!
//! A FREE that names another buffer than its sender means leaves one of each at once: what it means
//! gets no FREE, and what it names was not live. Messages that are lost leave them, too, but each
//! by itself: a FREE without ALLOC comes when its buffer is released, wherever a FREE was lost.
//!
//! Memory is bounded: [`MAX_STRAYS`] of each.

use super::address::AddressKey;

/// Those that are kept.
const MAX_STRAYS: usize = 1 << 11;
/// So often the FREEs are moved elsewhere, to learn how many pairs there are by chance.
const MOVED: u64 = 7;
/// Pairs from which on they may be no chance: most strays are in one, and twice as many as by
/// chance, or so many standard deviations more.
const FEW_PAIRS: u64 = 4;
const NO_CHANCE: f64 = 2.5;

/// Both, by number.
#[derive(Debug, Default)]
pub(super) struct Strays {
    missing: Vec<MissingFree>,
    unknown: Vec<StrayFree>,
}

/// From an ALLOC to the next one of its address: no FREE between.
#[derive(Clone, Copy, Debug)]
struct MissingFree {
    key: AddressKey,
    from: u64,
    to: u64,
}

/// A FREE of what is not live, and the FREE of the address before it, where there is one. Either
/// may be the one that its sender did not mean.
#[derive(Clone, Copy, Debug)]
struct StrayFree {
    key: AddressKey,
    before: Option<u64>,
    freed: u64,
}

/// How many of them go together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pairs {
    /// A FREE of what is not live, when a buffer without FREE was there, one each.
    pub at_once: u64,
    /// As many would be so if those FREEs came at other times.
    pub by_chance: f64,
    /// Of all: those at the same address of another device.
    pub on_other_device: u64,
    /// The larger number of the two kinds.
    pub most: u64,
}

impl Pairs {
    /// Whether most of both go together, and not by chance.
    pub(super) fn are_no_chance(&self) -> bool {
        let (pairs, chance) = (self.at_once, self.by_chance);
        let beyond = pairs as f64 - chance > NO_CHANCE * (chance + 1.0).sqrt();
        let most = pairs * 4 >= self.most * 3 && pairs as f64 >= 2.0 * chance;
        let on_other_device = self.on_other_device;
        (pairs >= FEW_PAIRS && (most || (beyond && pairs * 3 >= self.most)))
            || (on_other_device * 3 >= self.most && on_other_device >= FEW_PAIRS)
    }
}

impl Strays {
    pub(super) fn see_missing(&mut self, key: AddressKey, from: u64, to: u64) {
        if self.missing.len() < MAX_STRAYS {
            self.missing.push(MissingFree { key, from, to });
        }
    }

    pub(super) fn see_unknown(&mut self, key: AddressKey, before: Option<u64>, freed: u64) {
        if self.unknown.len() < MAX_STRAYS {
            self.unknown.push(StrayFree { key, before, freed });
        }
    }

    /// Which of them go together, in a record of so many messages.
    pub(super) fn pairs(&self, messages: u64) -> Pairs {
        let step = messages / (MOVED + 1);
        let moved = |times: u64| self.paired(times * step, messages, |_, _| true);
        let chance: u64 = (1..=MOVED).map(moved).sum();
        let is_elsewhere = |one: AddressKey, other: AddressKey| {
            one.on_device(other.device) == other && one != other
        };
        Pairs {
            at_once: self.paired(0, messages, |_, _| true),
            by_chance: chance as f64 / MOVED as f64,
            on_other_device: self.paired(0, messages, is_elsewhere),
            most: self.missing.len().max(self.unknown.len()) as u64,
        }
    }

    /// How many FREEs, all later by `moved`, fall each into a life without FREE of its own, of
    /// those that belong together.
    fn paired(
        &self,
        moved: u64,
        messages: u64,
        belong: impl Fn(AddressKey, AddressKey) -> bool,
    ) -> u64 {
        let mut missing = self.missing.clone();
        missing.sort_unstable_by_key(|missing| missing.to);
        let mut is_taken = vec![false; missing.len()];
        let at = |number: u64| (number + moved) % messages.max(1);
        let mut count = 0;
        for unknown in &self.unknown {
            let times = [Some(unknown.freed), unknown.before].map(|number| number.map(at));
            let fits = |life: &MissingFree| {
                let mut times = times.into_iter().flatten();
                belong(life.key, unknown.key)
                    && times.any(|time| (life.from..=life.to).contains(&time))
            };
            let mut free = missing.iter().zip(&mut is_taken);
            if let Some((_, taken)) = free.find(|(life, taken)| !**taken && fits(life)) {
                *taken = true;
                count += 1;
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(device: i32) -> AddressKey {
        AddressKey::of_buffer(device, 0x1000)
    }

    #[test]
    fn frees_that_come_while_a_buffer_gets_none_go_together_with_it() {
        let mut strays = Strays::default();
        for at in 0..8 {
            strays.see_missing(key(0), at * 100, at * 100 + 10);
            strays.see_unknown(key(1), None, at * 100 + 5);
        }
        let pairs = strays.pairs(800);
        assert_eq!(
            (pairs.at_once, pairs.on_other_device, pairs.most),
            (8, 8, 8)
        );
        assert!(pairs.are_no_chance());
    }

    #[test]
    fn frees_that_come_at_any_time_do_not() {
        let mut strays = Strays::default();
        for at in 0..8 {
            strays.see_missing(key(0), at * 100, at * 100 + 10);
            strays.see_unknown(key(0), Some(at * 100 + 40), at * 100 + 50);
        }
        assert!(!strays.pairs(800).are_no_chance());
    }
}
