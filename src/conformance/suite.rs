//! Runs the suite: picks a device, and tries case after case.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thiserror::Error;

use super::bench::{Bench, Site, own_pid};
use super::session::Session;
use super::{Case, CaseOutcome, CaseResult, Trouble};
use crate::tracking::Layout;
use crate::tracking::wire::Response;

/// Addresses of buffers start here: where no device has memory, so that nothing that is live
/// already is met.
const FIRST_ADDRESS: u64 = 0x7EAD_0000_0000_0000;
/// No more devices are looked at for one on which nothing is live.
const DEVICES_LOOKED_AT: i32 = 8;

/// What to try on which server.
#[derive(Clone, Debug)]
pub struct SuiteOptions {
    /// Where it listens.
    pub path: PathBuf,
    /// The layout of the clients.
    pub layout: Layout,
    /// The cases, in order.
    pub cases: Vec<&'static Case>,
    /// How long an answer may take.
    pub patience: Duration,
    /// How long to wait for a sweep of dead clients.
    pub sweep: Duration,
    /// A program that [relays](super::relay()) when it is started with the words `conformance
    /// unix:PATH --relay`; without one, cases with clients that die are skipped.
    pub helper: Option<PathBuf>,
}

/// What came of all cases.
#[derive(Clone, Debug)]
pub struct SuiteReport {
    /// The device under test.
    pub device: i32,
    /// What came of each case, in order.
    pub findings: Vec<CaseResult>,
}

impl SuiteReport {
    /// How many findings have this outcome.
    pub fn count(&self, outcome: CaseOutcome) -> usize {
        let findings = self.findings.iter();
        findings
            .filter(|finding| finding.outcome == outcome)
            .count()
    }
}

/// Why the suite cannot be run.
#[derive(Debug, Error)]
pub enum SuiteError {
    /// Nobody listens.
    #[error("{}: cannot connect: {source}", path.display())]
    Connect {
        /// Where.
        path: PathBuf,
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
pub fn run(
    options: &SuiteOptions,
    interrupt: &AtomicBool,
    mut progress: impl FnMut(u64),
) -> Result<SuiteReport, SuiteError> {
    let path = options.path.as_path();
    let site = Site {
        path,
        layout: options.layout,
        device: choose_device(path, options.layout, options.patience)?,
        patience: options.patience,
        sweep: options.sweep,
        helper: options.helper.as_deref(),
    };
    let mut report = SuiteReport {
        device: site.device,
        findings: Vec::new(),
    };
    // Of a run before that failed, something may be left at its addresses.
    let mut next_address = FIRST_ADDRESS | u64::from(std::process::id()) << 32;
    let mut gone = false;
    for (case, done) in options.cases.iter().zip(0..) {
        progress(done);
        let result = if gone {
            Err(Trouble::Skipped("server gone".to_owned()))
        } else if interrupt.load(Ordering::Relaxed) {
            Err(Trouble::Skipped("interrupted".to_owned()))
        } else {
            try_case(case, site, &mut next_address)
        };
        let died = !gone && !is_alive(site);
        gone |= died;
        report.findings.push(finding(case, result, died));
    }
    Ok(report)
}

fn try_case(case: &Case, site: Site<'_>, next_address: &mut u64) -> Result<String, Trouble> {
    let mut bench = Bench::new(site, next_address)?;
    let result = (case.run)(&mut bench);
    if result.is_err() {
        bench.release();
    }
    result
}

fn finding(case: &'static Case, result: Result<String, Trouble>, died: bool) -> CaseResult {
    let (mut outcome, mut seen) = match result {
        Ok(seen) => (CaseOutcome::Passed, seen),
        Err(Trouble::Failed(seen)) => (CaseOutcome::Failed, seen),
        Err(Trouble::Skipped(why)) => (CaseOutcome::Skipped, why),
    };
    if died {
        outcome = CaseOutcome::Failed;
        seen.push_str("; the server is gone");
    }
    CaseResult {
        case: case.name,
        outcome,
        about: case.about,
        sent: case.sent,
        expected: case.expected,
        seen,
    }
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

/// Whether a new client is answered.
fn is_alive(site: Site<'_>) -> bool {
    Session::open(site.path, site.layout, own_pid(), site.patience)
        .and_then(|mut session| session.greet(site.device))
        .is_ok()
}
