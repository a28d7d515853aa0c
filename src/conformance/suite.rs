//! Runs the suite: picks a device, and tries case after case.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::bench::{Bench, Site, own_pid};
use super::restart::RestartedServer;
use super::session::Session;
use super::tries::{CaseText, Tries};
use super::{Case, CaseOutcome, CaseResult, Trouble};
use crate::tracking::Layout;
use crate::tracking::wire::Response;

/// Addresses of buffers start here: where no device has memory, so that nothing that is live
/// already is met.
const FIRST_ADDRESS: u64 = 0x7EAD_0000_0000_0000;
/// How often it is looked whether a server that dies is dead.
const DEATH_POLL: Duration = Duration::from_millis(5);
/// No more devices are looked at for one on which nothing is live.
const DEVICES_LOOKED_AT: i32 = 8;

/// What to try on which server.
#[derive(Clone, Debug)]
pub(crate) struct SuiteOptions {
    /// Where it listens.
    pub(crate) path: PathBuf,
    /// The layout of the clients.
    pub(crate) layout: Layout,
    /// The cases, in order.
    pub(crate) cases: Vec<&'static Case>,
    /// How often each case is tried.
    pub(crate) tries: u32,
    /// A shell command that starts the server anew; with it each try has one of its own.
    pub(crate) restart: Option<String>,
    /// How long an answer may take.
    pub(crate) patience: Duration,
    /// How long to wait for a sweep of dead clients.
    pub(crate) sweep: Duration,
    /// A program that [relays](super::relay()) when it is started with the words `conformance
    /// unix:PATH --relay`; without one, cases with clients that die are skipped.
    pub(crate) helper: Option<PathBuf>,
}

/// What came of all cases.
#[derive(Clone, Debug)]
pub(crate) struct SuiteReport {
    /// The device under test.
    pub(crate) device: i32,
    /// What came of each case, in order.
    pub(crate) findings: Vec<CaseResult>,
}

/// Why the suite cannot be run.
#[derive(Debug, Error)]
pub(crate) enum SuiteError {
    /// Nobody listens.
    #[error("{}: cannot connect: {source}", path.display())]
    Connect {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The command that starts the server does not.
    #[error("--restart: {source}")]
    Restart {
        /// Why not.
        source: io::Error,
    },
    /// It answers no query.
    #[error(
        "{}: a QUERY in the {layout} layout is not answered ({source}): name the server's layout with --layout, or give it more \
         time with --timeout",
        path.display()
    )]
    Silent {
        /// Where.
        path: PathBuf,
        /// The layout that was tried.
        layout: Layout,
        /// What came instead.
        source: io::Error,
    },
}

/// Runs the suite, until `interrupt` is set. `progress` is told how many cases are done.
pub(crate) fn run(
    options: &SuiteOptions,
    interrupt: &AtomicBool,
    mut progress: impl FnMut(u64),
) -> Result<SuiteReport, SuiteError> {
    let path = options.path.as_path();
    let command = options.restart.as_deref();
    let mut server = command.map(|command| RestartedServer::new(command, path));
    restart(&mut server)?;
    let site = Site {
        path,
        layout: options.layout,
        device: choose_device(path, options.layout, options.patience)?,
        patience: options.patience,
        sweep: options.sweep,
        helper: options.helper.as_deref(),
    };
    let mut trial = Trial {
        site,
        server,
        tries: options.tries.max(1),
        // Of a run before that failed, something may be left at its addresses.
        next_address: FIRST_ADDRESS | u64::from(std::process::id()) << 32,
        is_gone: false,
        interrupt,
    };
    let mut findings = Vec::new();
    for (case, done) in options.cases.iter().zip(0..) {
        progress(done);
        findings.push(trial.finding(case));
    }
    Ok(SuiteReport {
        device: site.device,
        findings,
    })
}

/// A suite that runs.
struct Trial<'a> {
    site: Site<'a>,
    server: Option<RestartedServer<'a>>,
    tries: u32,
    next_address: u64,
    /// Whether the server is gone and nobody restarts it.
    is_gone: bool,
    interrupt: &'a AtomicBool,
}

impl Trial<'_> {
    /// Tries a case as often as it is to be tried.
    fn finding(&mut self, case: &'static Case) -> CaseResult {
        let mut tries = Tries::new(CaseText {
            case: case.name,
            about: case.about,
            sent: case.sent,
            expected: case.expected,
        });
        while tries.made() < self.tries {
            let why = match (self.is_gone, self.interrupt.load(Ordering::Relaxed)) {
                (true, _) => Some("server gone"),
                (_, true) => Some("interrupted"),
                _ => None,
            };
            let result = match why {
                Some(why) => Err(Trouble::Skipped(why.to_owned())),
                None => self.one_try(case),
            };
            if tries.take(result) == CaseOutcome::Skipped {
                // It cannot be tried: once more would be no better.
                break;
            }
        }
        tries.finish()
    }

    /// Tries a case once, and looks whether the server has survived it.
    fn one_try(&mut self, case: &Case) -> Result<String, Trouble> {
        restart(&mut self.server).map_err(|error| Trouble::Skipped(error.to_string()))?;
        let result = try_case(case, self.site, &mut self.next_address);
        let ended = self.server.as_mut().and_then(RestartedServer::ended);
        let how = match ended {
            Some(how) => format!("the server is gone ({how})"),
            None => match is_gone(self.site) {
                Some(how) => how.to_owned(),
                None => return result,
            },
        };
        self.is_gone = self.server.is_none();
        let (Ok(seen) | Err(Trouble::Failed(seen) | Trouble::Skipped(seen))) = result;
        Err(Trouble::Failed(format!("{seen}; {how}")))
    }
}

/// A server of its own for what comes next, where the suite may restart it.
fn restart(server: &mut Option<RestartedServer<'_>>) -> Result<(), SuiteError> {
    let Some(server) = server else {
        return Ok(());
    };
    server
        .restart()
        .map_err(|source| SuiteError::Restart { source })
}

fn try_case(case: &Case, site: Site<'_>, next_address: &mut u64) -> Result<String, Trouble> {
    let mut bench = Bench::new(site, next_address)?;
    let result = (case.run)(&mut bench);
    if result.is_err() {
        bench.release();
    }
    result
}

/// A device on which nothing is live, the last of those that the server says it has; if there is
/// none, the last.
fn choose_device(path: &Path, layout: Layout, patience: Duration) -> Result<i32, SuiteError> {
    let opened = Session::open(path, layout, own_pid(), patience);
    let mut session = opened.map_err(|source| SuiteError::Connect {
        path: path.to_owned(),
        source,
    })?;
    session.greet(0).map_err(|source| SuiteError::Silent {
        path: path.to_owned(),
        layout,
        source,
    })?;
    let stated = match layout {
        // Answers have no place for it.
        Layout::V72 | Layout::V648 => 1,
        _ => session.device_info(-1).map_or(1, |info| info.num_devices),
    };
    let count = i32::try_from(stated).unwrap_or(i32::MAX);
    let count = count.clamp(1, DEVICES_LOOKED_AT);
    let nothing = |shown: Response| {
        let Response { device, .. } = shown;
        shown
            == Response {
                device,
                ..Response::default()
            }
    };
    let mut is_quiet = |device: &i32| session.query(*device).is_ok_and(nothing);
    Ok((0..count).rev().find(&mut is_quiet).unwrap_or(count - 1))
}

/// What a new client finds where it is not answered.
fn is_gone(site: Site<'_>) -> Option<&'static str> {
    let began = Instant::now();
    loop {
        let opened = Session::open(site.path, site.layout, own_pid(), site.patience);
        match opened.map(|mut session| session.greet(site.device)) {
            Err(_) => return Some("the server is gone"),
            Ok(Ok(_)) => return None,
            Ok(Err(_)) if began.elapsed() >= site.patience => {
                return Some("the server no longer answers");
            }
            // It dies: connections are closed before the socket is.
            Ok(Err(_)) => thread::sleep(DEATH_POLL),
        }
    }
}
