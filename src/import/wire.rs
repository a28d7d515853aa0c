//! A client's raw bytes as a capture of one connection, without times.

use std::fs::File;
use std::io::{self, Read};

use thiserror::Error;

use crate::trace::capture::{CaptureEvent, CaptureRecord, CaptureWriter};
use crate::trace::file::CaptureHeader;

const READ_BYTES: usize = 256 << 10;

/// Why there is no capture.
#[derive(Debug, Error)]
pub(crate) enum WireError {
    /// The bytes cannot be read.
    #[error(transparent)]
    Source(io::Error),
    /// The capture cannot be written.
    #[error(transparent)]
    Capture(io::Error),
}

/// Writes a capture of all bytes of `source` into `file`; returns its size.
pub(crate) fn capture(
    file: File,
    header: CaptureHeader,
    source: &mut impl Read,
) -> Result<u64, WireError> {
    let mut capture = CaptureWriter::create(file, header).map_err(WireError::Capture)?;
    record(&mut capture, CaptureEvent::Opened)?;
    let mut piece = vec![0; READ_BYTES];
    loop {
        match source.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => record(&mut capture, CaptureEvent::ToServer(&piece[..count]))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(WireError::Source(error)),
        }
    }
    record(&mut capture, CaptureEvent::Closed)?;
    capture.end().map_err(WireError::Capture)
}

/// A raw file has one connection and no times.
fn record(capture: &mut CaptureWriter, what: CaptureEvent<'_>) -> Result<(), WireError> {
    let record = CaptureRecord {
        at_ns: 0,
        conn: 0,
        what,
    };
    capture.record(&record).map_err(WireError::Capture)
}
