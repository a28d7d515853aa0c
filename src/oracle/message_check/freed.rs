//! A bounded memory of the keys that were dropped last.

use std::collections::VecDeque;
use std::hash::Hash;

use rustc_hash::FxHashMap;

/// How many dropped keys are remembered.
pub(crate) const FREED_WINDOW: usize = 1 << 16;

/// Keys that were dropped by a FREE and not allocated since.
pub(in crate::oracle) struct RecentlyFreed<K> {
    dropped_at: FxHashMap<K, u64>,
    /// In the order of lines. Keeps entries that `dropped_at` has lost or renewed, until their
    /// turn.
    order: VecDeque<(K, u64)>,
}

impl<K> Default for RecentlyFreed<K> {
    fn default() -> RecentlyFreed<K> {
        RecentlyFreed {
            dropped_at: FxHashMap::default(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Copy + Eq + Hash> RecentlyFreed<K> {
    /// `key` was dropped on `line`.
    pub(in crate::oracle) fn insert(&mut self, key: K, line: u64) {
        self.dropped_at.insert(key, line);
        self.order.push_back((key, line));
        if self.order.len() > FREED_WINDOW
            && let Some((old, at)) = self.order.pop_front()
            && self.dropped_at.get(&old) == Some(&at)
        {
            self.dropped_at.remove(&old);
        }
    }

    /// `key` was allocated again.
    pub(in crate::oracle) fn remove(&mut self, key: K) {
        self.dropped_at.remove(&key);
    }

    pub(in crate::oracle) fn contains(&self, key: K) -> bool {
        self.dropped_at.contains_key(&key)
    }

    pub(in crate::oracle) fn clear(&mut self) {
        self.dropped_at.clear();
        self.order.clear();
    }
}
