//! Playback: recorded messages, played to any tracking server, and its totals compared with what
//! they should be.
//!
//! [`player`] plays the observations of a recording, [`compare`](mod@compare) holds the server's
//! totals against the truth or against our registry. It is a test of somebody else's server; that a
//! recording is the same when it runs again is [`crate::engine::controlled::replay`]'s affair.
//!
//! What holds:
//! - Messages about one address of one device take effect in the recorded order, whichever
//!   connections they go over: before one follows another on another connection, the server has
//!   answered on the first. Other messages may overtake each other, as they may in life.
//! - What the server showed before counts for nothing: totals are compared with what they were
//!   before the first message about the device. What the recording leaves live is released
//!   afterwards, so that it can be played again.
//! - No wait for the server is without an end, and memory is bounded by what is live.

pub(crate) mod compare;
pub(crate) mod player;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::tracking::Layout;

pub(crate) use compare::{Figure, compare};
pub(crate) use player::{Pace, Played, Player};

/// Why a recording cannot be played.
#[derive(Debug, Error)]
pub(crate) enum PlaybackError {
    /// Nobody listens.
    #[error("{}: cannot connect: {source}", path.display())]
    Connect {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The first query got no answer.
    #[error("{}: a QUERY in the {layout} layout is not answered ({why}): name the server's layout with --layout", path.display())]
    Layout {
        /// Where.
        path: PathBuf,
        /// The layout that was tried.
        layout: Layout,
        /// What came instead.
        why: String,
    },
    /// The server failed while it was played to.
    #[error("the server failed {what}: {why}")]
    Server {
        /// At what.
        what: String,
        /// What happened.
        why: String,
    },
    /// The recorded speed is not known.
    #[error("{what} {position} has no time, so the recorded speed is not known: use --speed full")]
    NoTime {
        /// What positions count.
        what: &'static str,
        /// Where.
        position: u64,
    },
    /// The recording cannot be read.
    #[error(transparent)]
    Unreadable(#[from] crate::observe::ObserveError),
}
