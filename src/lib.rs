//! heisenbed: a record-and-replay fuzzing and stress testbed for device allocators with allocation
//! tracking.
//!
//! A *scenario* is run by an *engine*, which interprets the micro-steps of a *discipline* over
//! *devices* and sends tracking messages to a *server*; the run is written to a *trace*, from which
//! the *oracle* derives a verdict by comparing what the server reconstructed with the truth.
//!
//! Rooms, in the direction of the data flow (arrows point one way):
//! [`scenario`] → [`engine`] over [`device`] and [`tracking`] → [`server`] → [`trace`] → [`oracle`] → [`report`].
//! [`proxy`] stands between a client and a server that are not ours, and records.
//! [`server::registry`] and [`device::allocator`] are pure data structures: they know neither threads
//! nor sockets, so that the same code is fuzzed, model-checked and run under load.

#![deny(missing_docs)]
#![deny(unsafe_code)]

/// A line for stderr. A reader that went away is no reason to stop, let alone to panic, as `eprintln!` does.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}
pub(crate) use say;

pub mod calibration;
pub mod campaign;
pub mod cli;
pub mod conformance;
pub mod corpus;
pub mod device;
pub mod engine;
pub mod fuzzing;
pub mod lifecycle;
pub mod oracle;
pub mod planted;
pub mod playback;
pub mod proxy;
pub mod report;
pub mod scenario;
pub mod server;
pub mod shrink;
pub mod trace;
pub mod tracking;
pub mod zoo;
