//! heisenbed: a record-and-replay fuzzing and stress testbed for device allocators with allocation
//! tracking.
//!
//! A *scenario* is run by an *engine*, which interprets the micro-steps of a *discipline* over
//! *devices* and sends tracking messages to a *server*; the run is written to a *trace*, from which
//! the *oracle* derives a verdict by comparing what the server reconstructed with the truth.
//!
//! The public face is [`facade`], with what it returns. The other rooms that are public are for
//! this repository's own tests, benchmarks, fuzz targets and C interface: they are not documented
//! for others, and change without notice. What none of those uses is `pub(crate)`.
//!
//! The rooms, ground floor first. A room imports from the floors below, never from above, and not
//! in a circle beside; `tests/architecture.rs` holds the code against this.
//!
//! - [`planted`]: mistakes made on purpose, by name. [`numbers`]: numbers as people read them.
//! - [`device`]: allocators, memory banks and profiles, buffers; plain data.
//! - [`tracking`]: tracking messages, their wire layouts, and the client's connection.
//! - [`registry`]: what is live, reconstructed from messages alone; a pure state machine.
//!   [`counters`]: what counters in shared memory say of a device.
//! - [`lifecycle`]: the micro-step language, its parser and lint, and the built-in disciplines.
//! - [`scenario`]: everything a run needs, as data: workloads, locks, slots, connections.
//! - [`trace`]: events, recorder, file format, and the merge of all threads into one schedule.
//! - [`import`]: foreign records, read one by one. [`server`]: the tracking server on its sockets.
//! - [`oracle`]: truth against reconstruction. [`proxy`]: records between a client and a server.
//! - [`engine`]: the step function, real threads, controlled schedules, exhaustive search.
//!   [`report`]: a run, explained to people. [`observe`]: any record, read as messages.
//!   [`diagnosis`]: what went wrong, judged by messages alone. [`unbounded`]: proofs for any number
//!   of threads.
//! - [`corpus`]: reproducers. [`playback`]: recorded messages, sent to any server. [`calibration`]:
//!   how often the diagnosis is right. [`conformance`]: a suite of cases for any server.
//! - [`export`]: any record, in the forms of other tools.
//!   [`shrink`]: the smallest run that shows it. [`fuzzing`]: what the fuzz targets do.
//!   [`native`]: the user's own program, its threads under control.
//! - [`campaign`]: nightly work, resumable. [`zoo`]: planted defects, and who finds them.
//!   [`facade`]: the few functions that most programs want of all this.
//! - [`cli`]: one file a subcommand.
//!
//! Without the feature `full`, on by default, the crate ends after [`tracking`]: what the C
//! interface needs.

#![deny(missing_docs)]
#![warn(unreachable_pub)]
#![deny(unsafe_code)]
// What a page here links to is mostly the crate's own: `cargo doc --document-private-items`.
#![allow(rustdoc::private_intra_doc_links)]
// The C interface needs a part of each room that it builds.
#![cfg_attr(
    not(feature = "full"),
    allow(dead_code, unreachable_pub, unused_imports)
)]

/// In files and JSON these types stand as their text: what `Display` writes and `FromStr` reads.
macro_rules! serde_as_text {
    ($($type:ty),+ $(,)?) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

/// A line for stderr. A reader that went away is no reason to stop, let alone to panic, as
/// `eprintln!` does.
#[cfg(feature = "full")]
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}
#[cfg(feature = "full")]
pub(crate) use say;

#[cfg(feature = "full")]
pub(crate) mod numbers;
pub(crate) mod planted;

#[doc(hidden)]
pub mod device;

#[doc(hidden)]
pub mod tracking;

#[cfg(feature = "full")]
#[doc(hidden)]
pub mod registry;

#[cfg(feature = "full")]
pub(crate) mod counters;

#[cfg(feature = "full")]
#[doc(hidden)]
pub mod lifecycle;

#[cfg(feature = "full")]
#[doc(hidden)]
pub mod scenario;

#[cfg(feature = "full")]
#[doc(hidden)]
pub mod trace;

#[cfg(feature = "full")]
#[doc(hidden)]
pub mod import;
#[cfg(feature = "full")]
#[doc(hidden)]
pub mod server;

#[cfg(feature = "full")]
#[doc(hidden)]
pub mod oracle;
#[cfg(feature = "full")]
#[doc(hidden)]
pub mod proxy;

#[cfg(feature = "full")]
#[doc(hidden)]
pub mod diagnosis;
#[cfg(feature = "full")]
#[doc(hidden)]
pub mod engine;
#[cfg(feature = "full")]
#[doc(hidden)]
pub mod observe;
#[cfg(feature = "full")]
#[doc(hidden)]
pub mod report;
#[cfg(feature = "full")]
#[doc(hidden)]
pub mod unbounded;

#[cfg(feature = "full")]
pub(crate) mod calibration;
#[cfg(feature = "full")]
#[doc(hidden)]
pub mod conformance;
#[cfg(feature = "full")]
#[doc(hidden)]
pub mod corpus;
#[cfg(feature = "full")]
pub(crate) mod playback;

#[cfg(feature = "full")]
pub(crate) mod export;
#[cfg(feature = "full")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "full")]
pub(crate) mod native;
#[cfg(feature = "full")]
#[doc(hidden)]
pub mod shrink;

#[cfg(feature = "full")]
pub(crate) mod campaign;
#[cfg(feature = "full")]
pub mod facade;
#[cfg(feature = "full")]
#[doc(hidden)]
pub mod zoo;

#[cfg(feature = "full")]
#[doc(hidden)]
pub mod cli;
