//! Traces that commands read: opened, and said what of the file is not read.

use std::path::Path;

use super::terminal;
use crate::numbers::plural;
use crate::trace::file::{TraceError, TraceFile};

/// Opens the trace at `path`. What is behind its end is no part of it, and is said on stderr.
pub(super) fn open(path: &Path) -> Result<TraceFile, TraceError> {
    let trace = TraceFile::open(path)?;
    if trace.trailing_bytes() > 0 {
        crate::say!(
            "note: {}: {} behind the end of the trace, not read",
            terminal::cleaned(&path.display().to_string()),
            plural(trace.trailing_bytes(), "byte"),
        );
    }
    Ok(trace)
}
