//! Tracking: the messages a runtime sends to the tracking server, their wire layouts, and the
//! client side connection that carries them.

pub mod codec;
mod detect;
pub mod entry;
pub mod message;
mod planted;
pub mod resync;
pub mod sent;
pub mod table;
pub mod transport;
pub mod wire;

pub use message::{Message, MessageKind};
pub use wire::Layout;
