//! Imported traces: another tool's text, kept as it was in blocks of whole lines.
//!
//! Nothing of the text is lost: what reads an imported trace parses the same lines that the import parsed.

use std::fs::File;
use std::io::{self, BufRead, Read};

use super::file::{BLOCK_BYTES, BlockKind, End, Header, ImportHeader, TraceFile, TraceWriter};

/// Writes all of `source` into a trace in `file`; returns the bytes written.
pub fn write(file: File, header: ImportHeader, source: &mut impl Read) -> io::Result<u64> {
    let mut trace = TraceWriter::create(file, &Header::Import(header))?;
    let mut raw = vec![0; BLOCK_BYTES];
    let mut number = 0;
    loop {
        let length = fill(source, &mut raw)?;
        if length == 0 {
            break;
        }
        let lines = raw[..length].iter().filter(|byte| **byte == b'\n').count() as u32;
        trace.block(BlockKind::Text, 0, number, lines, &raw[..length])?;
        number += 1;
    }
    trace.end(&End {
        completed: true,
        ..End::default()
    })?;
    Ok(trace.written_bytes())
}

/// Reads until `buffer` is full or the source ends.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match source.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Reads the text of an imported trace, block by block. Where a block is damaged, the text ends.
#[derive(Debug)]
pub struct TextReader<'a> {
    trace: &'a TraceFile,
    raw: Vec<u8>,
    at: usize,
    next_block: usize,
    damage: Option<String>,
}

impl<'a> TextReader<'a> {
    /// Starts at the beginning.
    pub fn new(trace: &'a TraceFile) -> TextReader<'a> {
        TextReader {
            trace,
            raw: Vec::new(),
            at: 0,
            next_block: 0,
            damage: None,
        }
    }

    /// What is wrong with the part that was read, or with the file as a whole.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref().or(self.trace.damage())
    }
}

impl Read for TextReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for TextReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at >= self.raw.len()
            && self.damage.is_none()
            && self.next_block < self.trace.blocks(0)
        {
            if let Err(why) = self.trace.read_block(0, self.next_block, &mut self.raw) {
                self.damage = Some(why);
                self.raw.clear();
            }
            self.next_block += 1;
            self.at = 0;
        }
        Ok(&self.raw[self.at.min(self.raw.len())..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}
