//! Tracking: the messages a runtime sends to the tracking server, their wire layouts, and the
//! client's connection that carries them.
//!
//! [`message`] is a message without a layout, [`wire`] the layouts, [`codec`] cuts a stream into
//! frames and tells its layout, [`transport`] is one connection. [`entry`] is what a message says
//! of a live buffer, [`sent`] the message that a step of a program stands for, [`table`] the whole
//! live table on the wire.

pub(crate) mod codec;
mod detect;
pub(crate) mod entry;
pub mod message;
mod planted;
pub(crate) mod resync;
pub mod sent;
pub(crate) mod table;
pub mod transport;
pub mod wire;

pub use message::{Message, MessageKind};
pub use wire::Layout;
