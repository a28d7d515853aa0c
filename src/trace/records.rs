//! Blocks of records: what captures and journals are made of.
//!
//! A record is one tag byte and what its owner puts behind it; blocks hold whole records. Records
//! go into a buffer and from there to the file in one write a block, so that a process that is
//! killed leaves whole blocks. Not here: what records say.

use std::fs::File;
use std::io;

use super::block_cursor::BlockCursor;
use super::file::{BLOCK_BYTES, BlockKind, Header, TraceFile, TraceWriter};

/// No record may be longer, its tag included: a block has room for one more when it is nearly full.
pub(crate) const MAX_RECORD_BYTES: usize = BLOCK_BYTES / 2;

/// Writes records to a trace.
#[derive(Debug)]
pub(crate) struct RecordWriter {
    trace: TraceWriter,
    raw: Vec<u8>,
    records: u32,
    blocks: u32,
}

impl RecordWriter {
    /// Starts a trace in `file`.
    pub(crate) fn create(file: File, header: &Header) -> io::Result<RecordWriter> {
        Ok(RecordWriter::after(TraceWriter::create(file, header)?, 0))
    }

    /// Goes on behind `blocks` blocks of a trace.
    pub(super) fn after(trace: TraceWriter, blocks: u32) -> RecordWriter {
        RecordWriter {
            trace,
            raw: Vec::with_capacity(BLOCK_BYTES + MAX_RECORD_BYTES),
            records: 0,
            blocks,
        }
    }

    /// Appends the record that `write` appends to the bytes it is given.
    #[inline]
    pub(crate) fn record(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        write(&mut self.raw);
        self.records += 1;
        if self.raw.len() >= BLOCK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Whether records wait for their block to be written.
    pub(crate) fn has_unwritten(&self) -> bool {
        self.records > 0
    }

    /// Writes what waits. Afterwards the kernel has it: it survives this process, if not the
    /// machine.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.records == 0 {
            return Ok(());
        }
        self.trace
            .block(BlockKind::Records, 0, self.blocks, self.records, &self.raw)?;
        self.raw.clear();
        self.records = 0;
        self.blocks += 1;
        Ok(())
    }

    /// Writes what waits and the end; returns the size of the file.
    pub(crate) fn end(mut self) -> io::Result<u64> {
        self.flush()?;
        self.trace.complete()
    }
}

/// Reads the records of a trace, block by block. Where a block is damaged, the records end.
#[derive(Debug)]
pub(crate) struct RecordReader<'a>(BlockCursor<'a>);

impl<'a> RecordReader<'a> {
    /// Starts at the beginning.
    pub(crate) fn new(trace: &'a TraceFile) -> RecordReader<'a> {
        RecordReader(BlockCursor::new(trace))
    }

    /// What is wrong with the part that was read, or with the file as a whole.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.0.any_damage()
    }

    /// What is wrong with the part that was read: data is behind it. The end that is missing is
    /// none of it.
    pub(crate) fn damage_inside(&self) -> Option<&str> {
        self.0.damage.as_deref()
    }

    /// Takes the next record with `read`, which takes its bytes off the front of those it is given.
    pub(crate) fn next<'r, T>(
        &'r mut self,
        read: impl FnOnce(&mut &'r [u8]) -> Option<T>,
    ) -> Option<T> {
        let cursor = &mut self.0;
        if !cursor.fill() {
            return None;
        }
        let all = cursor.raw.len();
        let mut rest = &cursor.raw[cursor.at..];
        match read(&mut rest) {
            Some(record) => {
                cursor.at = all - rest.len();
                Some(record)
            }
            None => {
                cursor.damage = Some(format!(
                    "{}: block {} holds what is no record",
                    cursor.trace.path().display(),
                    cursor.blocks - 1
                ));
                cursor.at = all;
                None
            }
        }
    }
}

/// Appends a LEB128 varint.
#[inline]
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a byte off the front.
#[inline]
pub(super) fn byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

/// Takes a LEB128 varint off the front.
#[inline]
pub(super) fn get(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let next = byte(bytes)?;
        value |= u64::from(next & 0x7f) << shift;
        if next < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Takes `count` bytes off the front.
#[inline]
pub(super) fn take<'a>(bytes: &mut &'a [u8], count: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(count).ok()?)?;
    *bytes = rest;
    Some(taken)
}
