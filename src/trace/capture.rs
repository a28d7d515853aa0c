//! Captures: the bytes of tracking connections, in both directions, with times.
//!
//! A capture is a list of [`CaptureRecord`]s. [`messages`] cuts what went to the server into
//! frames, a connection at a time, and says what it saw as [`super::observation::Observation`]s, in
//! the order of the capture. Bytes to the server are those that were *forwarded*: what a proxy did
//! to a frame on purpose stands beside them as a [`CaptureEvent::Fault`].
//!
//! What holds: every byte to the server is in a frame, before the first frame that was found
//! ([`CaptureAccount::skipped_bytes`]), or torn at the end of its connection
//! ([`CaptureAccount::torn_bytes`]).

mod frames;

use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use super::file::{CaptureHeader, Header, TraceFile};
use super::records::{MAX_RECORD_BYTES, RecordReader, RecordWriter, byte, get, put, take};

pub(crate) use frames::{CaptureAccount, CaptureTrouble, messages};

/// One thing that was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureRecord<'a> {
    /// When, in ns since the capture began.
    pub at_ns: u64,
    /// On which connection, numbered from 0 in the order in which they were opened.
    pub conn: u32,
    /// What.
    pub what: CaptureEvent<'a>,
}

/// What can be captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureEvent<'a> {
    /// The connection was opened.
    Opened,
    /// The connection is closed in both directions.
    Closed,
    /// Bytes to the server.
    ToServer(&'a [u8]),
    /// Bytes to the client.
    ToClient(&'a [u8]),
    /// Something was done on purpose to this frame from the client.
    Fault(FaultKind, &'a [u8]),
}

/// What can be done to a frame on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum FaultKind {
    /// It, and all behind it on the connection, waits.
    Delay = 0,
    /// It is not forwarded.
    Drop = 1,
    /// It is forwarded twice.
    Duplicate = 2,
    /// It is forwarded behind the next frame of its connection.
    Reorder = 3,
    /// Its first half is forwarded.
    Truncate = 4,
    /// It is forwarded in two writes.
    Split = 5,
    /// The connection is closed instead.
    Close = 6,
}

impl FaultKind {
    /// All of them.
    pub(crate) const ALL: [FaultKind; 7] = [
        FaultKind::Delay,
        FaultKind::Drop,
        FaultKind::Duplicate,
        FaultKind::Reorder,
        FaultKind::Truncate,
        FaultKind::Split,
        FaultKind::Close,
    ];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            FaultKind::Delay => "delay",
            FaultKind::Drop => "drop",
            FaultKind::Duplicate => "duplicate",
            FaultKind::Reorder => "reorder",
            FaultKind::Truncate => "truncate",
            FaultKind::Split => "split",
            FaultKind::Close => "close",
        }
    }
}

mod tag {
    pub(crate) const OPENED: u8 = 0;
    pub(crate) const CLOSED: u8 = 1;
    pub(crate) const TO_SERVER: u8 = 2;
    pub(crate) const TO_CLIENT: u8 = 3;
    /// … plus the kind.
    pub(crate) const FAULT: u8 = 16;
}

/// Bytes of one record: the rest goes into the next one.
const MAX_BYTES: usize = MAX_RECORD_BYTES - 32;

/// Writes a capture.
#[derive(Debug)]
pub(crate) struct CaptureWriter {
    records: RecordWriter,
    last_ns: u64,
}

impl CaptureWriter {
    /// Starts a capture in `file`.
    pub(crate) fn create(file: File, header: CaptureHeader) -> io::Result<CaptureWriter> {
        Ok(CaptureWriter {
            records: RecordWriter::create(file, &Header::Capture(header))?,
            last_ns: 0,
        })
    }

    /// Appends a record. A time before that of the last record counts as the same time.
    pub(crate) fn record(&mut self, record: &CaptureRecord<'_>) -> io::Result<()> {
        let CaptureRecord { at_ns, conn, what } = *record;
        match what {
            CaptureEvent::Opened => self.put(at_ns, conn, tag::OPENED, None),
            CaptureEvent::Closed => self.put(at_ns, conn, tag::CLOSED, None),
            CaptureEvent::ToServer(bytes) => self.put_bytes(at_ns, conn, tag::TO_SERVER, bytes),
            CaptureEvent::ToClient(bytes) => self.put_bytes(at_ns, conn, tag::TO_CLIENT, bytes),
            CaptureEvent::Fault(kind, frame) => {
                self.put_bytes(at_ns, conn, tag::FAULT + kind as u8, frame)
            }
        }
    }

    /// Writes what waits.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.records.flush()
    }

    /// Writes what waits and the end; returns the size of the file.
    pub(crate) fn end(self) -> io::Result<u64> {
        self.records.end()
    }

    fn put_bytes(&mut self, at_ns: u64, conn: u32, tag: u8, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(MAX_BYTES) {
            self.put(at_ns, conn, tag, Some(piece))?;
        }
        Ok(())
    }

    fn put(&mut self, at_ns: u64, conn: u32, tag: u8, bytes: Option<&[u8]>) -> io::Result<()> {
        let later_ns = at_ns.saturating_sub(self.last_ns);
        self.last_ns = self.last_ns.max(at_ns);
        self.records.record(|out| {
            out.push(tag);
            put(out, later_ns);
            put(out, u64::from(conn));
            if let Some(bytes) = bytes {
                put(out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
        })
    }
}

/// Reads a capture. Where it is damaged, it ends.
#[derive(Debug)]
pub struct CaptureReader<'a> {
    records: RecordReader<'a>,
    last_ns: u64,
}

impl<'a> CaptureReader<'a> {
    /// Starts at the beginning of `trace`, which is a capture.
    pub fn new(trace: &'a TraceFile) -> CaptureReader<'a> {
        CaptureReader {
            records: RecordReader::new(trace),
            last_ns: 0,
        }
    }

    /// The next record.
    #[expect(
        clippy::should_implement_trait,
        reason = "a record borrows from its reader"
    )]
    pub fn next(&mut self) -> Option<CaptureRecord<'_>> {
        let last_ns = &mut self.last_ns;
        self.records.next(|bytes| {
            let tag = byte(bytes)?;
            *last_ns = last_ns.saturating_add(get(bytes)?);
            let conn = u32::try_from(get(bytes)?).ok()?;
            let mut piece = || {
                let length = get(bytes)?;
                take(bytes, length)
            };
            let what = match tag {
                tag::OPENED => CaptureEvent::Opened,
                tag::CLOSED => CaptureEvent::Closed,
                tag::TO_SERVER => CaptureEvent::ToServer(piece()?),
                tag::TO_CLIENT => CaptureEvent::ToClient(piece()?),
                fault => {
                    let kind = FaultKind::ALL.get(usize::from(fault.checked_sub(tag::FAULT)?))?;
                    CaptureEvent::Fault(*kind, piece()?)
                }
            };
            Some(CaptureRecord {
                at_ns: *last_ns,
                conn,
                what,
            })
        })
    }

    /// What is wrong with the part that was read, or with the file as a whole.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.records.damage()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::file::CaptureSource;

    fn header() -> CaptureHeader {
        CaptureHeader {
            version: "0".to_owned(),
            source: CaptureSource::Proxy,
            layout: None,
            started_unix_ns: 0,
        }
    }

    #[test]
    fn what_goes_in_comes_out_over_many_blocks() {
        let bytes: Vec<u8> = (0..MAX_BYTES).map(|i| (i * 7 % 251) as u8).collect();
        let records: Vec<CaptureRecord<'_>> = (0..200u64)
            .map(|i| CaptureRecord {
                at_ns: i * i * 1000,
                conn: i as u32 % 3,
                what: match i % 5 {
                    0 => CaptureEvent::Opened,
                    1 => CaptureEvent::ToServer(&bytes[..i as usize * 100]),
                    2 => CaptureEvent::ToClient(&bytes),
                    3 => CaptureEvent::Fault(FaultKind::ALL[i as usize % 7], &bytes[..112]),
                    _ => CaptureEvent::Closed,
                },
            })
            .collect();
        let file = tempfile::tempfile().expect("a temporary file");
        let copy = file.try_clone().expect("a second handle");
        let mut writer = CaptureWriter::create(copy, header()).expect("writable");
        for record in &records {
            writer.record(record).expect("writable");
        }
        writer.end().expect("writable");
        let trace = TraceFile::from_file(file, "capture".as_ref()).expect("readable");
        let mut reader = CaptureReader::new(&trace);
        for record in &records {
            assert_eq!(reader.next().as_ref(), Some(record));
        }
        assert_eq!(reader.next(), None);
        assert_eq!(reader.damage(), None);
    }
}
