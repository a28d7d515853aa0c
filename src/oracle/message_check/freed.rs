//! A bounded memory of the keys that were dropped last.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

/// How many dropped keys are remembered.
pub const FREED_WINDOW: usize = 1 << 16;

/// Keys that were dropped by a FREE and not allocated since.
#[derive(Default)]
pub(super) struct RecentlyFreed {
    dropped_at: FxHashMap<(i32, u64), u64>,
    /// In the order of lines. Keeps entries that `dropped_at` has lost or renewed, until their turn.
    order: VecDeque<((i32, u64), u64)>,
}

impl RecentlyFreed {
    /// `key` was dropped on `line`.
    pub(super) fn insert(&mut self, key: (i32, u64), line: u64) {
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
    pub(super) fn remove(&mut self, key: (i32, u64)) {
        self.dropped_at.remove(&key);
    }

    pub(super) fn contains(&self, key: (i32, u64)) -> bool {
        self.dropped_at.contains_key(&key)
    }

    pub(super) fn clear(&mut self) {
        self.dropped_at.clear();
        self.order.clear();
    }
}
