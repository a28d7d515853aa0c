//! The suite for clients: heisenbed plays the server towards a client program that it starts, and
//! the server dies, stops, comes late, is slow. What a client makes of it is seen from outside: how
//! it ends, how often it connects, how many connections it has at once.
//!
//! Each misbehaviour that was confirmed of a real client is a case. What holds:
//! - The client is a program that sends messages by itself and ends by itself: the same command
//!   every time. What it does with a server that lives is the measure of the rest.
//! - Exit codes are judged with a server that lives only: a client may well say that it had none.
//! - No wait is without an end. A client that still runs then is killed, with its process group.
//!
//! `stage` is the server that is played, `program` the client, `trace` counts its system calls
//! where nobody is there to be connected to; `cases` are the cases.

mod cases;
mod program;
mod stage;
mod trace;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thiserror::Error;

pub use cases::CLIENT_CASES;
use cases::{ClientCase, Theatre};
pub(crate) use program::RunningClient;

use super::tries::{CaseText, Tries};
use super::{CaseOutcome, CaseResult, Trouble};

/// The environment variable that tells a client where its server listens.
pub(crate) const SOCKET_VARIABLE: &str = "HEISENBED_SOCKET";
/// What stands for that path in a client's command.
pub(crate) const SOCKET_PLACEHOLDER: &str = "{socket}";

/// What to try on which client.
#[derive(Clone, Debug)]
pub(crate) struct ClientSuiteOptions {
    /// The shell command that runs the client.
    pub(crate) command: String,
    /// Where the server listens that it finds: nobody does yet.
    pub(crate) path: PathBuf,
    /// The cases, in order.
    pub(crate) cases: Vec<&'static ClientCase>,
    /// How often each is tried.
    pub(crate) tries: u32,
    /// How long the client may run at least before it counts as hanging.
    pub(crate) patience: Duration,
    /// How many connections it may have at once.
    pub(crate) connections: usize,
}

/// Why the suite cannot be run.
#[derive(Debug, Error)]
pub(crate) enum ClientSuiteError {
    /// A server listens already.
    #[error("{}: a server is listening here; stop it, for the suite plays the server", path.display())]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// There is no such program.
    #[error("`{command}`: the shell finds no program of this name")]
    NoProgram {
        /// The command.
        command: String,
    },
    /// The system refuses what the suite needs.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Runs the suite, until `interrupt` is set. `progress` is told how many cases are done.
pub(crate) fn run(
    options: &ClientSuiteOptions,
    interrupt: &AtomicBool,
    mut progress: impl FnMut(u64),
) -> Result<Vec<CaseResult>, ClientSuiteError> {
    if std::os::unix::net::UnixStream::connect(&options.path).is_ok() {
        return Err(ClientSuiteError::InUse {
            path: options.path.clone(),
        });
    }
    if !program::is_found(&options.command)? {
        return Err(ClientSuiteError::NoProgram {
            command: options.command.clone(),
        });
    }
    progress(0);
    let theatre = Theatre::new(options, interrupt)?;
    let mut findings = Vec::new();
    for (case, done) in options.cases.iter().zip(0..) {
        progress(done);
        let mut tries = Tries::new(CaseText {
            case: case.name,
            about: case.about,
            sent: case.server,
            expected: case.expected,
        });
        while tries.made() < options.tries.max(1) {
            let result = if interrupt.load(Ordering::Relaxed) {
                Err(Trouble::Skipped("interrupted".to_owned()))
            } else {
                (case.run)(&theatre)
            };
            if tries.take(result) == CaseOutcome::Skipped {
                break;
            }
        }
        findings.push(tries.finish());
    }
    Ok(findings)
}
