//! The tracking server: a listener on a Unix socket that feeds a [registry](crate::registry) and
//! answers, with a journal that it restores its table from and the reference servers' log lines.
//!
//! [`listener`] starts and ends it; one thread runs the event loop. A client may send anything,
//! stop reading or die: the server stays within its limits, reads whole frames only, and says what
//! it refused.

mod client;
mod event_loop;
mod frames;
pub mod journal;
pub(crate) mod legacy_log;
pub mod listener;
mod observer;
pub(crate) mod offline;
mod processes;
mod reference_rules;
pub(crate) mod socket;

pub(crate) use listener::ServerConfig;
