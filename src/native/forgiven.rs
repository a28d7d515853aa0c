//! Data races inside of a standard library, which the program that uses it can do nothing about.

use std::collections::BTreeMap;
use std::fmt;

use super::races::{DataRace, RacePair, RacingAccess, SeenRaces};
use super::symbols::Symbols;

/// Functions whose races are forgiven where both accesses are in them. `std::atomic<shared_ptr>` of
/// libstdc++ 12 gives up its lock after a load by a relaxed operation, which orders nothing; its
/// `ctype` keeps, in plain bytes, what it was asked before: whoever asks first writes.
const FORGIVEN: [&str; 3] = [
    "std::_Sp_atomic<",
    "std::ctype<char>::narrow",
    "std::ctype<char>::widen",
];

/// What is forgiven in one program.
pub(super) struct Forgiven {
    symbols: Symbols,
    known: BTreeMap<RacePair, bool>,
}

impl Forgiven {
    /// Of a process, by its `/proc/PID/maps`.
    pub(super) fn new(maps: &str) -> Forgiven {
        Forgiven {
            symbols: Symbols::new(maps),
            known: BTreeMap::new(),
        }
    }

    /// Takes out what is forgiven.
    pub(super) fn take_from(&mut self, seen: &mut SeenRaces) {
        seen.races.retain(|race| !self.has(race));
    }

    fn has(&mut self, race: &DataRace) -> bool {
        let symbols = &self.symbols;
        *self
            .known
            .entry(race.pair())
            .or_insert_with(|| is_inside(symbols, &race.first) && is_inside(symbols, &race.second))
    }
}

fn is_inside(symbols: &Symbols, access: &RacingAccess) -> bool {
    symbols
        .places(access.pc.saturating_sub(1))
        .iter()
        .filter_map(|place| place.function.as_deref())
        .any(|function| FORGIVEN.iter().any(|name| function.starts_with(name)))
}

impl fmt::Debug for Forgiven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forgiven").finish_non_exhaustive()
    }
}
