//! The tracking server: a pure registry that reconstructs what is live from messages, and a listener
//! that feeds it from Unix sockets.

mod client;
mod event_loop;
pub mod journal;
pub mod legacy_log;
pub mod listener;
mod observer;
mod processes;
pub(crate) mod socket;

pub use listener::{Observer, Server, ServerConfig, ServerReport, ShutdownHandle};
