//! Traces that commands read: opened, and said what of the file is not read.

use std::fs::FileType;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::terminal;
use crate::numbers::plural;
use crate::trace::file::{TraceError, TraceFile};

/// Opens the trace at `path`. What is behind its end is no part of it, and is said on stderr; a
/// second trace there is refused, for a verdict would be taken for one about both.
pub(super) fn open(path: &Path) -> Result<TraceFile, TraceError> {
    if let Some(why) = not_a_file(path) {
        return Err(TraceError::Io {
            path: path.to_owned(),
            source: io::Error::other(why),
        });
    }
    let trace = TraceFile::open(path)?;
    if let Some(at) = trace.another_begins_at() {
        return Err(TraceError::Several {
            path: path.to_owned(),
            at,
        });
    }
    if trace.trailing_bytes() > 0 {
        crate::say!(
            "note: {}: {} behind the end of the trace, not read",
            terminal::cleaned(&path.display().to_string()),
            plural(trace.trailing_bytes(), "byte"),
        );
    }
    Ok(trace)
}

/// Why what is at `path` cannot be read more than once, as a trace must be; `None` where it can, or
/// where nothing is there.
pub(super) fn not_a_file(path: &Path) -> Option<String> {
    let kind: FileType = std::fs::metadata(path).ok()?.file_type();
    let what = match kind {
        kind if kind.is_file() => return None,
        kind if kind.is_dir() => return Some("it is a folder".to_owned()),
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Some(format!(
        "it is {what}, which cannot be read twice; save it to a file first"
    ))
}
