//! Checks a whole trace: merges its streams, walks them once, and reports.

use thiserror::Error;

use crate::trace::file::{Header, TraceFile};
use crate::trace::merge::{Contradiction, Merge, MergeEnd};

use super::checker::Checker;
use super::kind::Report;

/// Why a trace gets no verdict.
#[derive(Debug, Error)]
pub enum CheckError {
    /// Its header asks for what cannot be.
    #[error("the trace's scenario: {0}")]
    Scenario(#[from] crate::scenario::ScenarioError),
    /// No schedule fits its streams.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// It holds another tool's text and no events.
    #[error("an imported trace has no events")]
    NoEvents,
    /// Its events contradict each other or its scenario.
    #[error("the trace contradicts itself at {0}")]
    Events(String),
}

/// Checks `trace`. A damaged or cut trace is checked as far as it reaches. `progress` is told the
/// number of events from time to time.
pub fn check_trace(trace: &TraceFile, mut progress: impl FnMut(u64)) -> Result<Report, CheckError> {
    const PROGRESS_EVENTS: u64 = 1 << 20;
    let Header::Run(header) = trace.header() else {
        return Err(CheckError::NoEvents);
    };
    let scenario = &header.scenario;
    scenario.check()?;
    let mut merge = Merge::new(trace, header);
    let mut checker = Checker::new(scenario, header.server_recorded);
    let mut events = 0u64;
    while let Some(merged) = merge.next_in_place() {
        checker.observe(merged);
        events += 1;
        if events.is_multiple_of(PROGRESS_EVENTS) {
            progress(events);
        }
    }
    let prefix = match merge.end()? {
        MergeEnd::Complete => None,
        MergeEnd::Prefix { why } => Some(format!(
            "{why}; {events} of the {} events found could be used",
            trace.events()
        )),
    };
    if let Some(why) = checker.contradiction() {
        return Err(CheckError::Events(why.to_owned()));
    }
    Ok(checker.finish(trace.end(), prefix))
}
