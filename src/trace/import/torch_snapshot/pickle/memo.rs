//! The memo of a pickle: what later instructions can refer to.
//!
//! A pickle puts every text and every container there, a snapshot's entries too, which nothing refers to again. Kept are texts,
//! frames and call stacks only; of the others the memo knows that they exist. So it grows with what is distinct in a snapshot
//! and not with its length, and it is bounded: see [`MAX_KEPT`].

use rustc_hash::FxHashMap;

use super::value::Value;

/// Entries below this are in an array.
const DENSE: u32 = 1 << 16;
/// How many entries are kept above that. Entries beyond are forgotten, and referring to one is an error.
pub(super) const MAX_KEPT: usize = 1 << 20;

/// The memo.
#[derive(Debug, Default)]
pub(super) struct Memo {
    low: Vec<Value>,
    high: FxHashMap<u32, Value>,
    /// The number that comes next.
    next: u32,
    /// The first entry that was forgotten because there were too many.
    forgotten: Option<u32>,
}

/// Why there is nothing to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoEntry {
    NeverPut,
    Forgotten,
}

impl Memo {
    /// Puts an entry at the next number, and returns that.
    pub fn push(&mut self, value: Value) -> u32 {
        let id = self.next;
        self.put(id, value);
        id
    }

    /// Puts an entry at a number.
    pub fn put(&mut self, id: u32, value: Value) {
        self.next = self.next.max(id.saturating_add(1));
        let kept = value.is_kept();
        if id < DENSE {
            let index = id as usize;
            if self.low.len() <= index {
                self.low.resize(index + 1, Value::Opaque);
            }
            self.low[index] = if kept { value } else { Value::Opaque };
        } else if !kept {
            self.high.remove(&id);
        } else if self.high.len() < MAX_KEPT || self.high.contains_key(&id) {
            self.high.insert(id, value);
        } else {
            let first = self.forgotten.unwrap_or(id);
            self.forgotten = Some(first.min(id));
        }
    }

    /// The entry at a number: opaque, where it is a container that is not kept.
    pub fn get(&self, id: u32) -> Result<Value, NoEntry> {
        if id >= self.next {
            return Err(NoEntry::NeverPut);
        }
        if id < DENSE {
            let value = self.low.get(id as usize);
            return Ok(value.copied().unwrap_or(Value::Opaque));
        }
        match self.high.get(&id) {
            Some(value) => Ok(*value),
            None if self.forgotten.is_some_and(|first| first <= id) => Err(NoEntry::Forgotten),
            None => Ok(Value::Opaque),
        }
    }
}
