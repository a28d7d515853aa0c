//! What each event of a program said, as data: for those who read what its code does.

use crate::tracking::Message;

/// What one event said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// The allocator handed out an address, or took one back.
    Truth {
        /// It handed it out.
        allocates: bool,
        /// The device.
        device: u32,
        /// The address.
        address: u64,
    },
    /// Whole messages that were sent.
    Sent(Vec<Message>),
    /// A message for which there was no room.
    Dropped(Option<Message>),
}
