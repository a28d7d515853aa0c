//! The memo of a pickle: what later instructions can refer to.
//!
//! A pickle puts every text and every container there, a snapshot's entries too, and refers to few
//! of them again. PyTorch makes a new list of frames for each entry, of frames that all entries
//! share. So kept are texts, frames and call stacks only (of the others the memo knows that they
//! exist), and those by whether they were ever referred to:
//!
//! - What was is kept for good, up to [`MAX_KEPT`].
//! - What was not is forgotten when [`MAX_RECENT`] more came after it.
//!
//! So it grows with what is distinct in a snapshot and not with its length.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::super::stacks::{FrameId, StackId};
use super::value::{TextId, Value};

/// Entries below this are in an array, and never forgotten.
const DENSE: u32 = 1 << 16;
/// How many entries above that are kept for good.
const MAX_KEPT: usize = 1 << 20;
/// How many of those at most were put out of order and never referred to: they must leave room.
const MAX_UNREFERRED: usize = MAX_KEPT / 2;
/// How many entries are kept that nothing has referred to.
const MAX_RECENT: usize = 1 << 21;

/// The memo.
#[derive(Debug, Default)]
pub(super) struct Memo {
    low: Vec<Value>,
    /// What was put last, by ascending number.
    recent: VecDeque<Recent>,
    high: FxHashMap<u32, Value>,
    /// The number that comes next.
    next: u32,
    /// The last entry that was forgotten.
    forgotten: Option<u32>,
}

/// An entry that nothing has referred to yet.
#[derive(Clone, Copy, Debug)]
struct Recent {
    id: u32,
    packed: u32,
}

/// Why there is nothing to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoEntry {
    NeverPut,
    /// Or it was never kept.
    Forgotten,
}

impl Memo {
    /// Puts an entry at the next number, and returns that.
    pub(crate) fn push(&mut self, value: Value) -> u32 {
        let id = self.next;
        self.put(id, value);
        id
    }

    /// Puts an entry at a number.
    pub(crate) fn put(&mut self, id: u32, value: Value) {
        let is_new = id >= self.next;
        self.next = self.next.max(id.saturating_add(1));
        if id < DENSE {
            let index = id as usize;
            if self.low.len() <= index {
                self.low.resize(index + 1, Value::Opaque);
            }
            self.low[index] = if value.is_kept() {
                value
            } else {
                Value::Opaque
            };
            return;
        }
        if !is_new {
            self.high.remove(&id);
            if let Some(old) = self.find_recent(id) {
                old.packed = NOTHING;
            }
        }
        let Some(packed) = pack(value) else { return };
        if self.recent.back().is_none_or(|last| last.id < id) {
            // Before the new one is put, so that there are never more, nor room for more.
            if self.recent.len() >= MAX_RECENT
                && let Some(oldest) = self.recent.pop_front()
                && oldest.packed != NOTHING
            {
                self.forget(oldest.id);
            }
            self.recent.push_back(Recent { id, packed });
        } else if self.high.len() < MAX_UNREFERRED {
            self.high.insert(id, value);
        } else {
            self.forget(id);
        }
    }

    /// The entry at a number: opaque, where it is a container that is not kept.
    pub(crate) fn get(&mut self, id: u32) -> Result<Value, NoEntry> {
        if id >= self.next {
            return Err(NoEntry::NeverPut);
        }
        if id < DENSE {
            let value = self.low.get(id as usize);
            return Ok(value.copied().unwrap_or(Value::Opaque));
        }
        if let Some(value) = self.high.get(&id) {
            return Ok(*value);
        }
        let has_room = self.high.len() < MAX_KEPT;
        if let Some(recent) = self.find_recent(id)
            && let Some(value) = unpack(recent.packed)
        {
            if has_room {
                recent.packed = NOTHING;
                self.high.insert(id, value);
            }
            return Ok(value);
        }
        match self.forgotten {
            Some(last) if id <= last => Err(NoEntry::Forgotten),
            _ => Ok(Value::Opaque),
        }
    }

    fn find_recent(&mut self, id: u32) -> Option<&mut Recent> {
        let at = self.recent.binary_search_by_key(&id, |recent| recent.id);
        self.recent.get_mut(at.ok()?)
    }

    fn forget(&mut self, id: u32) {
        self.forgotten = self.forgotten.max(Some(id));
    }
}

/// The place of an entry that is kept elsewhere, or not any more.
const NOTHING: u32 = u32::MAX;
/// Numbers of texts, frames and stacks are below this: their tables are bounded in bytes.
const KIND: u32 = 1 << 30;

/// What is kept, in 4 bytes: there are many.
fn pack(value: Value) -> Option<u32> {
    let (kind, id) = match value {
        Value::Text(id) => (0, id.0),
        Value::Frame(id) => (1, id.0),
        Value::Stack(id) => (2, id.0),
        _ => return None,
    };
    debug_assert!(id < KIND);
    Some(kind * KIND + id)
}

fn unpack(packed: u32) -> Option<Value> {
    let id = packed % KIND;
    match packed / KIND {
        0 => Some(Value::Text(TextId(id))),
        1 => Some(Value::Frame(FrameId(id))),
        2 => Some(Value::Stack(StackId(id))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(id: u32) -> Value {
        Value::Stack(StackId(id))
    }

    #[test]
    fn what_is_referred_to_outlives_any_number_that_is_not() {
        let mut memo = Memo::default();
        memo.put(DENSE, Value::Frame(FrameId(5)));
        memo.put(DENSE + 1, stack(6));
        assert_eq!(memo.get(DENSE), Ok(Value::Frame(FrameId(5))));
        for _ in 0..MAX_RECENT + 10 {
            memo.push(stack(7));
        }
        assert_eq!(memo.get(DENSE), Ok(Value::Frame(FrameId(5))));
        assert_eq!(memo.get(DENSE + 1), Err(NoEntry::Forgotten));
        assert_eq!(memo.push(Value::Text(TextId(8))), memo.next - 1);
        assert_eq!(memo.get(memo.next - 1), Ok(Value::Text(TextId(8))));
        assert_eq!(memo.get(memo.next), Err(NoEntry::NeverPut));
        assert_eq!(memo.recent.len(), MAX_RECENT);
    }

    #[test]
    fn a_number_holds_what_was_put_there_last() {
        let mut memo = Memo::default();
        for id in [3, DENSE + 3] {
            memo.put(id, stack(1));
            memo.put(id + 1, Value::Opaque);
            memo.put(id, stack(2));
            assert_eq!(memo.get(id), Ok(stack(2)));
            memo.put(id, Value::Opaque);
            assert_eq!(memo.get(id), Ok(Value::Opaque));
            assert_eq!(memo.get(id + 1), Ok(Value::Opaque));
            // A list is put when it begins, and what it is when it is complete.
            memo.put(id + 2, Value::List(0));
            memo.put(id + 2, stack(4));
            memo.put(id + 1, stack(3));
            assert_eq!(
                (memo.get(id + 1), memo.get(id + 2)),
                (Ok(stack(3)), Ok(stack(4)))
            );
        }
    }
}
