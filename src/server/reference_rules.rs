//! Where the reference servers are known to do otherwise than is right, and how: what
//! [`super::ServerConfig::like_reference`] switches on, for those whose tools were written against
//! them.
//!
//! - Sizes: servers of the 144-byte layout refuse an ALLOC of no bytes or of more than 100 GiB, all
//!   others take any size, and their totals wrap ([`crate::registry::Limits::any_size`]).
//! - A sweep drops a key with the process that opened it, whoever holds it besides
//!   ([`crate::registry::Registry::like_reference`]).
//! - Buffers of type 2 are in the total of L1_SMALL, under any semantics (the same).
//!
//! What they die of is not among them.

use crate::registry::RejectReason;
use crate::tracking::{Layout, Message, MessageKind};

/// The largest size that servers of the 144-byte layout take.
const LARGEST_BYTES: u64 = 100 << 30;

/// Why the reference server of this layout would not take the message for its size.
#[inline]
pub(super) fn refusal(layout: Layout, message: &Message) -> Option<RejectReason> {
    if message.kind != MessageKind::Alloc || !matches!(layout, Layout::V144 | Layout::Extended) {
        return None;
    }
    match message.size_bytes {
        0 => Some(RejectReason::SizeZero),
        size_bytes => (size_bytes > LARGEST_BYTES).then_some(RejectReason::SizeOverLimit),
    }
}
