//! Senders: what each said last, and how often a sender allocates and releases in one go.
//!
//! A proxy or a client that sends a message again leaves two ALLOCs of an address, one right after
//! the other. A FREE that is lost between two ALLOCs leaves the same only where a sender releases a
//! buffer at once and gets its address back at once: how often it does is counted.
//!
//! A sender is a connection, where the record shows it, else a process. Memory is bounded:
//! [`MAX_SENDERS`].

use rustc_hash::FxHashMap;

use super::address::AddressKey;
use super::seen_message::SeenMessage;

/// Senders that are followed.
const MAX_SENDERS: usize = 1 << 14;

/// All that were heard.
#[derive(Debug, Default)]
pub(super) struct HeardSenders {
    last: FxHashMap<(bool, u32), LastSaid>,
    /// FREEs right after the ALLOC of their address, and ALLOCs right after the FREE of theirs.
    freed_at_once: u64,
    allocated_at_once: u64,
}

/// What a sender said last.
#[derive(Clone, Copy, Debug)]
struct LastSaid {
    key: AddressKey,
    opens: bool,
    /// ALLOCs in a row that said again what is live.
    repeats: u64,
    /// Other messages since the last of those.
    others: u64,
}

impl LastSaid {
    fn first(key: AddressKey, opens: bool) -> LastSaid {
        LastSaid {
            key,
            opens,
            repeats: 0,
            others: 0,
        }
    }
}

/// So many such ALLOCs in a row are no FREEs that are lost one by one.
const IN_A_ROW: u64 = 3;
/// Messages of other threads that may come between two of them.
const BETWEEN: u64 = 1;

/// Whose message it is.
fn sender(seen: &SeenMessage<'_>) -> (bool, u32) {
    match seen.conn {
        Some(conn) => (true, conn),
        None => (false, seen.message.pid.cast_unsigned()),
    }
}

impl HeardSenders {
    /// Takes a message: whether it is an ALLOC right after another one of its address.
    pub(super) fn take(&mut self, key: AddressKey, seen: &SeenMessage<'_>) -> bool {
        let (sender, opens) = (sender(seen), seen.opens());
        let Some(last) = self.last.get_mut(&sender) else {
            if self.last.len() < MAX_SENDERS {
                self.last.insert(sender, LastSaid::first(key, opens));
            }
            return false;
        };
        let is_same = last.key == key;
        let opened = std::mem::replace(&mut last.opens, opens);
        last.key = key;
        match (opened, opens) {
            (true, false) if is_same => self.freed_at_once += 1,
            (false, true) if is_same => self.allocated_at_once += 1,
            _ => {}
        }
        is_same && opened && opens
    }

    /// Takes a message that [`HeardSenders::take`] took; `repeats`: it is an ALLOC that says again
    /// what is live. How many more of these came in a row from one sender, from the third on.
    pub(super) fn announced_again(&mut self, seen: &SeenMessage<'_>, repeats: bool) -> u64 {
        let Some(last) = self.last.get_mut(&sender(seen)) else {
            return 0;
        };
        if !repeats {
            last.others += 1;
            last.repeats *= u64::from(last.others <= BETWEEN);
            return 0;
        }
        last.repeats += 1;
        last.others = 0;
        match last.repeats {
            0..IN_A_ROW => 0,
            IN_A_ROW => IN_A_ROW,
            _ => 1,
        }
    }

    /// How likely it is that of one life to the next of its address nothing else is said.
    pub(super) fn share_at_once(&self, allocs: u64, frees: u64) -> f64 {
        let freed = self.freed_at_once as f64 / frees.max(1) as f64;
        let allocated = self.allocated_at_once as f64 / allocs.max(1) as f64;
        (freed * allocated).min(1.0)
    }
}
