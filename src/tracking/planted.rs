//! Planted faults of the wire: which messages a planted mistake distorts, and in which layout the
//! server then reads.

use super::message::Message;
use super::sent::{Handle, SentKind};
use super::wire::Layout;
use crate::planted::Planted;

impl Planted {
    /// The layout in which the server reads what a client of `layout` writes.
    pub(crate) fn server_layout(planted: Option<Planted>, layout: Layout) -> Layout {
        match planted {
            Some(Planted::ForeignLayout) => Layout::V144,
            _ => layout,
        }
    }

    /// What is wrong with the message about `handle`.
    pub(crate) fn distort(self, message: &mut Message, kind: SentKind, handle: &Handle) {
        match (self, kind) {
            (Planted::CircularOnDeviceZero, SentKind::CbAlloc | SentKind::CbFree)
            | (Planted::FreeOnDeviceZero, SentKind::Free) => message.device = 0,
            // A counter has nothing else to go by.
            (Planted::UncheckedCounters, SentKind::Free) => message.size_bytes = handle.size_bytes,
            _ => {}
        }
    }
}
