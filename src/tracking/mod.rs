//! Tracking: the messages a runtime sends to the tracking server, their wire layouts, and the
//! client-side transports that carry them.

pub mod message;

pub use message::{Message, MessageKind};
