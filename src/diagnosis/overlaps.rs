//! Overlaps: ALLOCs of what is live, in counts. They tell what one late or lost message cannot
//! leave from what two processes, or a client that says things again, do.
//!
//! - How long addresses are live once, and how long twice or more. Two processes with one id that
//!   have the same addresses hold each of them independently of one another, so that it is live
//!   twice for a good part of the time, however their messages alternate. A message that is late
//!   makes it so for a moment, or for long at one address.
//! - How many addresses are live twice at one moment: no more than there are threads that are late.
//! - From the ALLOC before to the next FREE, and from the ALLOC that came too much: one life and
//!   what is left of it, where an ALLOC was said again; two lives and one whole life, where the
//!   FREE between is lost.

use rustc_hash::FxHashSet;

use super::address::AddressKey;
use super::gaps::Gaps;

/// Addresses with late FREEs that are kept.
const MAX_ADDRESSES: usize = 1 << 12;
/// The share of the time that an address is live in which it is so twice: more than messages of
/// threads are late.
const LIVE_TWICE: f64 = 0.15;
/// Threads that are late with a message at one moment.
const LATE_AT_ONCE: u64 = 4;
/// Below this share of normal lives that are longer, what is measured is longer than a life.
const LONGER_THAN_LIVES: f64 = 0.05;
/// From this share on it is about as long as one: of what is left of lives, one half is.
const LIKE_LIVES: f64 = 0.25;

/// What was seen of them.
#[derive(Debug, Default)]
pub(super) struct Overlaps {
    /// ALLOCs that say again what is live: same process, size and type.
    pub repeats: u64,
    /// Messages in which an address was live once, and twice or more, as far as it was in balance
    /// in the end.
    once: u64,
    twice: u64,
    /// FREEs that came late at addresses, and which those are, as far as they are kept.
    late: u64,
    late_at: FxHashSet<AddressKey>,
    /// Addresses that are live twice or out of balance, now and at the most.
    now: u64,
    most: u64,
    /// From the ALLOC before an ALLOC too many to the next FREE, and from that one too many.
    spans: Gaps,
    rests: Gaps,
}

impl Overlaps {
    /// An address was live from ALLOC to FREE, for so many messages.
    pub(super) fn live_once(&mut self, messages: u64) {
        self.once += messages;
    }

    /// An address is live twice.
    pub(super) fn begin(&mut self) {
        self.now += 1;
        self.most = self.most.max(self.now);
    }

    /// An address is not any more, or nothing is known of it.
    pub(super) fn end(&mut self) {
        self.now = self.now.saturating_sub(1);
    }

    /// An address is in balance again, after so many messages in which it was live.
    pub(super) fn balanced(&mut self, once: u64, twice: u64) {
        self.end();
        self.once += once;
        self.twice += twice;
    }

    /// A FREE came late at `key`.
    pub(super) fn late(&mut self, key: AddressKey) {
        self.late += 1;
        if self.late_at.len() < MAX_ADDRESSES {
            self.late_at.insert(key);
        }
    }

    /// The first FREE came after an ALLOC too many: so many messages after the ALLOC before, and
    /// after that one.
    pub(super) fn freed(&mut self, span: u64, rest: u64) {
        self.spans.add(span);
        self.rests.add(rest);
    }

    /// How much of the time that addresses are live they are so twice, where that is more than late
    /// messages leave: two processes with the same addresses.
    pub(super) fn share_of_two(&self) -> Option<f64> {
        let share = self.twice as f64 / (self.once + self.twice).max(1) as f64;
        let at = self.late_at.len() as u64;
        let comes_back = self.late >= 2 * at || self.most > LATE_AT_ONCE;
        (share >= LIVE_TWICE && comes_back).then_some(share)
    }

    /// Whether what follows the ALLOCs too many is as long as a life, beside these.
    pub(super) fn are_followed_by_lives(&self, lives: &Gaps) -> bool {
        self.rests.shorter_than(lives) >= LIKE_LIVES * self.rests.count() as f64
    }

    /// Whether one life after the other was there, and none that was named again.
    pub(super) fn are_two_lives(&self, lives: &Gaps) -> bool {
        let count = self.spans.count() as f64;
        self.are_followed_by_lives(lives)
            && self.spans.shorter_than(lives) < LONGER_THAN_LIVES * count
    }
}
