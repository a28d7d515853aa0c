//! Imported traces: another tool's text, kept as it was in blocks of whole lines.
//!
//! Nothing of the text is lost: what reads an imported trace parses the same lines that the import
//! parsed.

use std::fs::File;
use std::io::{self, BufRead, Read};

use super::block_cursor::BlockCursor;
use super::file::{BLOCK_BYTES, BlockKind, Header, ImportHeader, TraceFile, TraceWriter};

/// Writes all of `source` into a trace in `file`; returns the bytes written.
pub(crate) fn write(file: File, header: ImportHeader, source: &mut impl Read) -> io::Result<u64> {
    let mut trace = TextWriter::create(file, header)?;
    let mut piece = vec![0; BLOCK_BYTES];
    loop {
        match fill(source, &mut piece)? {
            0 => return trace.end(),
            length => trace.text(&piece[..length])?,
        }
    }
}

/// Writes a text into a trace, in blocks of whole lines.
#[derive(Debug)]
pub struct TextWriter {
    trace: TraceWriter,
    raw: Vec<u8>,
    blocks: u32,
}

impl TextWriter {
    /// Starts a trace in `file`.
    pub(crate) fn create(file: File, header: ImportHeader) -> io::Result<TextWriter> {
        Ok(TextWriter {
            trace: TraceWriter::create(file, &Header::Import(header))?,
            raw: Vec::with_capacity(BLOCK_BYTES),
            blocks: 0,
        })
    }

    /// Appends a line, given without its end.
    pub(crate) fn line(&mut self, line: &str) -> io::Result<()> {
        self.text(line.as_bytes())?;
        self.text(b"\n")
    }

    /// Appends a piece of the text.
    pub(crate) fn text(&mut self, mut piece: &[u8]) -> io::Result<()> {
        while !piece.is_empty() {
            let (now, later) = piece.split_at(piece.len().min(BLOCK_BYTES - self.raw.len()));
            self.raw.extend_from_slice(now);
            piece = later;
            if self.raw.len() == BLOCK_BYTES {
                self.block()?;
            }
        }
        Ok(())
    }

    /// Appends what is left and the end; returns the bytes written.
    pub(crate) fn end(mut self) -> io::Result<u64> {
        self.rest()?;
        self.trace.complete()
    }

    /// Appends what is left and no end: the trace is one that was cut short. Returns the bytes
    /// written.
    pub(crate) fn cut_short(mut self) -> io::Result<u64> {
        self.rest()?;
        Ok(self.trace.written_bytes())
    }

    fn rest(&mut self) -> io::Result<()> {
        while !self.raw.is_empty() {
            self.block()?;
        }
        Ok(())
    }

    /// Writes the whole lines that there are.
    fn block(&mut self) -> io::Result<()> {
        // A line that is longer than a block is cut: no reader of lines takes one of that length.
        let whole = match memchr::memrchr(b'\n', &self.raw) {
            Some(at) => at + 1,
            None => self.raw.len(),
        };
        let lines = memchr::memchr_iter(b'\n', &self.raw[..whole]).count() as u32;
        self.trace
            .block(BlockKind::Text, 0, self.blocks, lines, &self.raw[..whole])?;
        self.raw.drain(..whole);
        self.blocks += 1;
        Ok(())
    }
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
pub(crate) struct TextReader<'a>(BlockCursor<'a>);

impl<'a> TextReader<'a> {
    /// Starts at the beginning.
    pub(crate) fn new(trace: &'a TraceFile) -> TextReader<'a> {
        TextReader(BlockCursor::new(trace))
    }

    /// What is wrong with the part that was read, or with the file as a whole.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.0.any_damage()
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
        Ok(match self.0.fill() {
            true => &self.0.raw[self.0.at..],
            false => &[],
        })
    }

    fn consume(&mut self, amount: usize) {
        self.0.at += amount;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::file::ImportFormat;

    fn imported(text: &[u8]) -> TraceFile {
        let file = tempfile::tempfile().expect("a temporary file");
        let header = ImportHeader::new(ImportFormat::ServerLog, "a.log");
        let copy = file.try_clone().expect("a second handle");
        write(copy, header, &mut &*text).expect("writable");
        TraceFile::from_file(file, "imported".as_ref()).expect("readable")
    }

    #[test]
    fn the_text_comes_out_as_it_went_in() {
        for lines in [0, 1, 5000] {
            let text =
                "a line of a log that is long enough to need blocks\n".repeat(lines) + "and no end";
            let mut read = String::new();
            let trace = imported(text.as_bytes());
            TextReader::new(&trace)
                .read_to_string(&mut read)
                .expect("readable");
            assert_eq!(read, text);
        }
    }

    #[test]
    fn blocks_hold_whole_lines() {
        let trace = imported("0123456789abcdefg\n".repeat(20_000).as_bytes());
        assert!(trace.blocks(0) > 3);
        let mut raw = Vec::new();
        for number in 0..trace.blocks(0) {
            trace.read_block(0, number, &mut raw).expect("sound");
            assert_eq!(raw.last(), Some(&b'\n'));
        }
    }
}
