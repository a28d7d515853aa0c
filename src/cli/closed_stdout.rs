//! A process that was started without a stdout: what is printed would be lost without a word, as
//! the runtime opens `/dev/null` in its place.
//!
//! `main` sees it before the runtime does; commands that write to stdout themselves, rather than
//! give `main` what they say, ask here before they begin.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether it is so.
pub static STDOUT_IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Fails where what is written to stdout would be lost.
///
/// # Errors
///
/// Where it is closed.
pub fn stdout_is_open() -> io::Result<()> {
    match STDOUT_IS_CLOSED.load(Ordering::Relaxed) {
        true => Err(io::Error::other("it is closed")),
        false => Ok(()),
    }
}
