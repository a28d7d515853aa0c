//! Run on threads, record, check: one run with its verdict, for everybody who wants both.
//!
//! The trace stays open as long as somebody holds it, wherever it was recorded; a run that is not
//! recorded is checked by what is known of it at rest.

use std::fs::File;
use std::path::Path;

use thiserror::Error;

use super::{RunConfig, RunError, RunResult, run};
use crate::oracle::{CheckError, Report, check_trace, rest};
use crate::trace::file::{TraceError, TraceFile};

/// One run with its verdict.
#[derive(Debug)]
pub struct CheckedRun {
    /// What the oracle says of it.
    pub report: Report,
    /// The engine's own figures.
    pub result: RunResult,
    /// Its trace, where it was recorded.
    pub trace: Option<TraceFile>,
}

/// Why a run has no verdict.
#[derive(Debug, Error)]
pub enum CheckedRunError {
    /// There is no room for its trace.
    #[error("a temporary file for the trace: {0}")]
    File(#[source] std::io::Error),
    /// The file for its trace cannot be opened.
    #[error("{path}: {source}")]
    Open {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It could not be played.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Its trace cannot be opened again.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// Its trace cannot be checked.
    #[error(transparent)]
    Check(#[from] CheckError),
}

/// Plays the run that `config` describes and checks it. Where `config` says where to record it,
/// `path` is that file's name; it must be readable too.
pub fn checked_run(
    config: RunConfig<'_>,
    path: &Path,
    progress: impl FnMut(u64),
) -> Result<CheckedRun, CheckedRunError> {
    let scenario = config.scenario;
    let copy = config.record.as_ref().map(File::try_clone);
    let copy = copy.transpose().map_err(CheckedRunError::File)?;
    let result = run(config, progress)?;
    let trace = copy.map(|file| TraceFile::from_file(file, path));
    let trace = trace.transpose()?;
    let report = match &trace {
        Some(trace) => check_trace(trace, |_| ())?,
        None => rest::check_unrecorded(scenario, &result.unrecorded()),
    };
    Ok(CheckedRun {
        report,
        result,
        trace,
    })
}

/// As [`checked_run`], recorded in the file at `path`.
pub fn recorded_in(
    path: &Path,
    config: RunConfig<'_>,
    progress: impl FnMut(u64),
) -> Result<CheckedRun, CheckedRunError> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .map_err(|source| CheckedRunError::Open {
            path: path.display().to_string(),
            source,
        })?;
    let config = RunConfig {
        record: Some(file),
        ..config
    };
    let checked = checked_run(config, path, progress);
    if checked.is_err()
        && std::fs::metadata(path).is_ok_and(|data| data.is_file() && data.len() == 0)
    {
        // Nothing of the run could be written: an empty file would look like a recording.
        let _ = std::fs::remove_file(path);
    }
    checked
}

/// As [`checked_run`], recorded in a file that goes when nobody holds it.
pub fn recorded_and_checked(
    config: RunConfig<'_>,
    progress: impl FnMut(u64),
) -> Result<CheckedRun, CheckedRunError> {
    let file = tempfile::tempfile().map_err(CheckedRunError::File)?;
    let config = RunConfig {
        record: Some(file),
        ..config
    };
    checked_run(config, Path::new("(temporary trace)"), progress)
}
