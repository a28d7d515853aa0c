//! Whose the references of an entry are, where a server counts them and several processes hold one
//! key; and what a sweep of a dead process therefore takes.
//!
//! The process that opened an entry stands in the entry itself; only what *others* hold of it is
//! kept here, so that a table in which nobody shares a key costs nothing. The opener's references
//! are the rest of the count.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;
use smallvec::SmallVec;

use super::entry::{TableKey, TableRecord};
use super::{Entry, Registry};

/// What the sweep of a dead process took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SweptEntries {
    /// Entries that are gone, as they were, sorted as [`Registry::live`].
    pub(crate) removed: Vec<Entry>,
    /// Entries that others hold still; the count is that of the references that were dropped.
    pub(crate) loosened: Vec<Entry>,
}

impl Registry {
    /// Drops what the client process `owner` holds, because it is dead. An entry that another
    /// process holds too stays, with that one's references; under
    /// [`Registry::like_reference`] it goes with the process that opened it.
    pub(crate) fn sweep(&mut self, owner: u16) -> SweptEntries {
        let mut loosened = Vec::new();
        let (others, whole_keys) = (&mut self.others, self.like_reference);
        let mut removed: Vec<(TableKey, TableRecord)> = self
            .live
            .extract_if(|key, record| {
                let count = record.refcount;
                let dropped = if record.owner != owner {
                    others.take_all(*key, owner)
                } else if whole_keys {
                    count
                } else {
                    record.owner = 0;
                    count - others.count(*key)
                };
                if dropped == count {
                    return true;
                }
                if dropped > 0 {
                    record.refcount = dropped;
                    loosened.push((*key, *record));
                    record.refcount = count - dropped;
                }
                false
            })
            .collect();
        removed.sort_unstable_by_key(|(key, _)| *key);
        loosened.sort_unstable_by_key(|(key, _)| *key);
        let entries = |records: Vec<(TableKey, TableRecord)>| -> Vec<Entry> {
            let entry = |(key, record): (TableKey, TableRecord)| record.entry(key);
            records.into_iter().map(entry).collect()
        };
        for (key, _) in &removed {
            self.others.forget(*key);
        }
        let swept = SweptEntries {
            removed: entries(removed),
            loosened: entries(loosened),
        };
        for entry in &swept.removed {
            self.discount(*entry);
        }
        swept
    }
}

/// References by keys and processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SharedKeys(HashMap<TableKey, Holders, FxBuildHasher>);

/// Processes and how many references each holds, sorted.
type Holders = SmallVec<[(u16, u32); 2]>;

impl SharedKeys {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The process `owner` holds one reference more.
    pub(super) fn add(&mut self, key: TableKey, owner: u16) {
        let holders = self.0.entry(key).or_default();
        match holders.binary_search_by_key(&owner, |(holder, _)| *holder) {
            Ok(at) => holders[at].1 = holders[at].1.saturating_add(1),
            Err(at) => holders.insert(at, (owner, 1)),
        }
    }

    /// A reference of a key with `all` is given back by `owner`, opened by `opener`: its own if it
    /// holds one, else the opener's, else anybody's.
    pub(super) fn give_back(&mut self, key: TableKey, owner: u16, opener: u16, all: u32) {
        let of_opener = all.saturating_sub(self.count(key));
        let Some(holders) = self.0.get_mut(&key) else {
            return;
        };
        let own = holders.iter().position(|(holder, _)| *holder == owner);
        let at = match own {
            _ if owner == opener && of_opener > 0 => return,
            Some(at) => at,
            None if of_opener > 0 => return,
            None => 0,
        };
        holders[at].1 -= 1;
        if holders[at].1 == 0 {
            holders.remove(at);
        }
        if holders.is_empty() {
            self.0.remove(&key);
        }
    }

    /// How many references others than the opener hold.
    fn count(&self, key: TableKey) -> u32 {
        let holders = self.0.get(&key).into_iter().flatten();
        holders.map(|(_, count)| *count).sum()
    }

    /// Drops what `owner` holds of a key; returns how many references those were.
    fn take_all(&mut self, key: TableKey, owner: u16) -> u32 {
        let Some(holders) = self.0.get_mut(&key) else {
            return 0;
        };
        let Some(at) = holders.iter().position(|(holder, _)| *holder == owner) else {
            return 0;
        };
        let (_, count) = holders.remove(at);
        if holders.is_empty() {
            self.0.remove(&key);
        }
        count
    }

    /// The key is gone.
    pub(super) fn forget(&mut self, key: TableKey) {
        self.0.remove(&key);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, Outcome, Semantics};
    use super::*;
    use crate::tracking::{Message, MessageKind};

    const FIRST: u16 = 1;
    const SECOND: u16 = 2;

    fn counting() -> Registry {
        Registry::new(Semantics::Refcount, Limits::default())
    }

    fn apply(registry: &mut Registry, owner: u16, kind: MessageKind) -> Outcome {
        let message = Message {
            size_bytes: 64,
            address: 0x1000,
            ..Message::bare(kind, 0, i32::from(owner))
        };
        let mut outcome = Outcome::Ignored;
        registry.apply_from(owner, &message, &mut |_, it| outcome = it);
        outcome
    }

    fn alloc(registry: &mut Registry, owner: u16) {
        apply(registry, owner, MessageKind::Alloc);
    }

    #[test]
    fn two_references_of_one_dead_process_go() {
        let mut registry = counting();
        alloc(&mut registry, FIRST);
        alloc(&mut registry, FIRST);
        let swept = registry.sweep(FIRST);
        assert_eq!((swept.removed.len(), swept.removed[0].refcount), (1, 2));
        assert!(registry.is_empty() && registry.totals(0).dram_bytes == 0);
    }

    #[test]
    fn what_another_holds_stays_until_that_one_releases_it_or_dies() {
        for ends in [true, false] {
            let mut registry = counting();
            for owner in [FIRST, SECOND, FIRST] {
                alloc(&mut registry, owner);
            }
            let swept = registry.sweep(FIRST);
            assert_eq!((swept.removed, swept.loosened[0].refcount), (vec![], 2));
            assert_eq!(registry.live()[0].refcount, 1);
            if ends {
                assert_eq!(registry.sweep(SECOND).removed.len(), 1);
            } else {
                let released = apply(&mut registry, SECOND, MessageKind::Free);
                assert!(matches!(released, Outcome::Removed { .. }));
            }
            assert!(registry.is_empty() && registry.others.is_empty());
        }
    }

    #[test]
    fn the_second_holder_s_death_leaves_the_first_its_own() {
        let mut registry = counting();
        for owner in [FIRST, SECOND, SECOND] {
            alloc(&mut registry, owner);
        }
        assert_eq!(registry.sweep(SECOND).loosened[0].refcount, 2);
        assert_eq!(registry.live()[0].refcount, 1);
        assert_eq!(registry.sweep(FIRST).removed.len(), 1);
    }

    #[test]
    fn who_released_its_own_holds_nothing() {
        let mut registry = counting();
        alloc(&mut registry, FIRST);
        alloc(&mut registry, SECOND);
        apply(&mut registry, FIRST, MessageKind::Free);
        assert_eq!(registry.sweep(FIRST), SweptEntries::default());
        // A release by who holds nothing takes somebody's.
        apply(&mut registry, 3, MessageKind::Free);
        assert!(registry.is_empty() && registry.others.is_empty());
    }

    #[test]
    fn whole_keys_go_with_who_opened_them() {
        let mut registry = counting().like_reference(true);
        alloc(&mut registry, FIRST);
        alloc(&mut registry, SECOND);
        assert_eq!(registry.sweep(SECOND), SweptEntries::default());
        assert_eq!(registry.sweep(FIRST).removed.len(), 1);
        assert!(registry.is_empty());
    }
}
