//! Lines of several sections by time.
//!
//! A snapshot has one device's trace after the other, a profiler one thread's rows after the
//! other's. Each section is in the order in which it happened, so they are merged: what is read
//! back is in the order of time. Lines wait in a temporary file; memory does not grow with their
//! number.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use tempfile::SpooledTempFile;

/// What is kept in memory before there is a file.
const IN_MEMORY_BYTES: usize = 1 << 20;
/// Sections that are told apart by time; what comes after them follows them.
const MAX_SECTIONS: usize = 1024;
/// What is read ahead, of all sections together.
const READ_BYTES: usize = 4 << 20;

/// Takes lines in the order of their source.
pub(super) struct ByTime {
    waiting: SpooledTempFile,
    at: u64,
    sections: Vec<Section>,
}

/// The lines of one key, one after the other.
#[derive(Clone, Copy)]
struct Section {
    key: u32,
    start: u64,
    end: u64,
    /// The latest time: within a section it never goes back here.
    last: u64,
}

impl ByTime {
    pub(crate) fn new() -> ByTime {
        ByTime {
            waiting: SpooledTempFile::new(IN_MEMORY_BYTES),
            at: 0,
            sections: Vec::new(),
        }
    }

    /// Takes a line that has no line end. Times have any unit; without one, it is that of the line
    /// before.
    pub(crate) fn take(&mut self, key: u32, time: Option<u64>, line: &[u8]) -> io::Result<()> {
        let room = self.sections.len() < MAX_SECTIONS;
        match self.sections.last() {
            Some(last) if last.key == key || !room => {}
            _ => self.sections.push(Section {
                key,
                start: self.at,
                end: self.at,
                last: 0,
            }),
        }
        let section = self.sections.last_mut().expect("there is one by now");
        section.last = section.last.max(time.unwrap_or(0));
        let head = format!("{} {key} ", section.last);
        self.waiting.write_all(head.as_bytes())?;
        self.waiting.write_all(line)?;
        self.waiting.write_all(b"\n")?;
        self.at += (head.len() + line.len() + 1) as u64;
        section.end = self.at;
        Ok(())
    }

    /// Hands all lines to `text` by time; those of one time in the order of their source. `mark`
    /// makes a line that comes before the first of a key, and before those that follow another
    /// key's.
    pub(crate) fn write(
        mut self,
        text: &mut dyn FnMut(&[u8]) -> io::Result<()>,
        mark: Option<fn(&mut String, u32)>,
    ) -> io::Result<()> {
        let ahead_bytes = READ_BYTES / self.sections.len().max(1);
        let mut queue = BinaryHeap::new();
        let mut readers: Vec<SectionReader> = Vec::new();
        for (index, section) in self.sections.iter().enumerate() {
            let mut reader = SectionReader {
                at: section.start,
                end: section.end,
                ahead_bytes,
                ..SectionReader::default()
            };
            if reader.advance(&mut self.waiting)? {
                queue.push(Reverse((reader.time, index)));
            }
            readers.push(reader);
        }
        let (mut key, mut line) = (None, String::new());
        while let Some(Reverse((_, index))) = queue.pop() {
            let reader = &mut readers[index];
            if key.replace(reader.key) != Some(reader.key)
                && let Some(mark) = mark
            {
                mark(&mut line, reader.key);
                text(line.as_bytes())?;
                text(b"\n")?;
            }
            text(&reader.ahead[reader.line.clone()])?;
            if reader.advance(&mut self.waiting)? {
                queue.push(Reverse((reader.time, index)));
            }
        }
        Ok(())
    }
}

/// Reads a section line by line.
#[derive(Default)]
struct SectionReader {
    /// What is still to be read of the file.
    at: u64,
    end: u64,
    ahead_bytes: usize,
    ahead: Vec<u8>,
    time: u64,
    key: u32,
    /// The line after them, with its end, in what was read ahead.
    line: Range<usize>,
}

impl SectionReader {
    /// Goes to the next line; `false` after the last.
    fn advance(&mut self, file: &mut SpooledTempFile) -> io::Result<bool> {
        let mut from = self.line.end;
        let end = loop {
            let length = self.ahead[from..].iter().position(|byte| *byte == b'\n');
            if let Some(length) = length {
                break from + length + 1;
            }
            let more = (self.end - self.at).min(self.ahead_bytes as u64);
            if more == 0 {
                return Ok(false);
            }
            self.ahead.drain(..from);
            from = 0;
            file.seek(SeekFrom::Start(self.at))?;
            file.take(more).read_to_end(&mut self.ahead)?;
            self.at += more;
        };
        let (time, after_time) = self.number(from);
        let (key, after_key) = self.number(after_time);
        self.time = time;
        self.key = key as u32;
        self.line = after_key..end;
        Ok(true)
    }

    /// The number at `from`, and where what follows it and a blank begins.
    fn number(&self, from: usize) -> (u64, usize) {
        let digits = self.ahead[from..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let (value, length) = digits.fold((0_u64, 0), |(value, length), digit| {
            (
                value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')),
                length + 1,
            )
        });
        (value, from + length + 1)
    }
}
