//! Somebody's own program as the source of traffic: it is run against a server in this process,
//! which writes down what comes.
//!
//! What it does itself is its word: a run that ends with status 0 has done it, one with [`NOT_YET`]
//! is run again with another seed. All other causes are planted from outside, into what was
//! recorded.

use std::io;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use thiserror::Error;

use super::heard::HearingServer;
use crate::conformance::client_suite::RunningClient;
use crate::diagnosis::Cause;
use crate::registry::Semantics;
use crate::trace::observation::{Observation, Observed};

/// In a command: stands for the number of the run, so that it can draw.
pub(crate) const SEED_PLACEHOLDER: &str = "{seed}";
/// The exit status of a run in which the program's own cause did not strike.
pub(crate) const NOT_YET: i32 = 3;
/// How long a run may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A program and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct ClientProgram {
    /// For the shell; `{socket}` stands for the server's path, which is in `HEISENBED_SOCKET`, too.
    pub command: String,
    /// The cause that it has in itself; none: it is correct.
    pub plants: Option<Cause>,
}

/// Why a program's run is of no use.
#[derive(Debug, Error)]
pub(crate) enum ProgramError {
    /// It cannot be started, or no server for it.
    #[error("the program cannot be run: {0}")]
    System(#[from] io::Error),
    /// It failed.
    #[error("the program failed: {words}; run it by hand against `heisenbed serve`")]
    Failed {
        /// How it ended.
        words: String,
    },
    /// It is no client.
    #[error(
        "the program sent no message to {{socket}} (also in HEISENBED_SOCKET): nothing to look at"
    )]
    Silent,
}

impl ClientProgram {
    /// The causes that runs of it can have; the first is what it has in itself.
    pub(crate) fn causes(&self) -> Vec<Option<Cause>> {
        match self.plants {
            Some(cause) => vec![Some(cause)],
            None => vec![
                None,
                Some(Cause::Loss),
                Some(Cause::LateAttach),
                Some(Cause::PidReuse),
                Some(Cause::LayoutMismatch),
            ],
        }
    }

    /// Runs it once. `None`: what it has in itself did not strike.
    pub(super) fn record(
        &self,
        seed: u64,
        semantics: Semantics,
        interrupt: &AtomicBool,
    ) -> Result<Option<Vec<Observation>>, ProgramError> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("server.sock");
        let server = HearingServer::start(&path, semantics, None)?;
        // A seed that any language's integers hold.
        let seed = (seed >> 33).to_string();
        let command = self.command.replace(SEED_PLACEHOLDER, &seed);
        let client = RunningClient::start(&command, &path)?;
        let end = client.wait(TIMEOUT, interrupt)?;
        let seen = server.shutdown();
        match end.code() {
            Some(0) => {}
            Some(NOT_YET) if self.plants.is_some() => return Ok(None),
            _ => {
                return Err(ProgramError::Failed { words: end.words() });
            }
        }
        let is_message = |seen: &Observation| matches!(seen.what, Observed::Message { .. });
        if seen.iter().any(is_message) {
            Ok(Some(seen))
        } else {
            Err(ProgramError::Silent)
        }
    }
}

/// The messages of `seen` as if the process `pid` had sent them.
pub(super) fn as_process(mut seen: Vec<Observation>, pid: i32) -> Vec<Observation> {
    for observation in &mut seen {
        if let Observed::Message { message, .. } = &mut observation.what {
            message.pid = pid;
        }
    }
    seen
}

/// The process that sent the first message.
pub(super) fn first_process(seen: &[Observation]) -> i32 {
    let pid = |observation: &Observation| match &observation.what {
        Observed::Message { message, .. } => Some(message.pid),
        _ => None,
    };
    seen.iter().find_map(pid).unwrap_or(0)
}
