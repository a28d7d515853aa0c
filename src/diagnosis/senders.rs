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
}

impl HeardSenders {
    /// Takes a message: whether it is an ALLOC right after another one of its address.
    pub(super) fn take(&mut self, key: AddressKey, seen: &SeenMessage<'_>) -> bool {
        let sender = match seen.conn {
            Some(conn) => (true, conn),
            None => (false, seen.message.pid.cast_unsigned()),
        };
        if self.last.len() >= MAX_SENDERS && !self.last.contains_key(&sender) {
            return false;
        }
        let opens = seen.opens();
        let before = self.last.insert(sender, LastSaid { key, opens });
        let Some(before) = before.filter(|before| before.key == key) else {
            return false;
        };
        match (before.opens, opens) {
            (true, false) => self.freed_at_once += 1,
            (false, true) => self.allocated_at_once += 1,
            _ => {}
        }
        before.opens && opens
    }

    /// How likely it is that of one life to the next of its address nothing else is said.
    pub(super) fn share_at_once(&self, allocs: u64, frees: u64) -> f64 {
        let freed = self.freed_at_once as f64 / frees.max(1) as f64;
        let allocated = self.allocated_at_once as f64 / allocs.max(1) as f64;
        (freed * allocated).min(1.0)
    }
}
