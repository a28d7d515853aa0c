//! The entries of several devices by time.
//!
//! A snapshot has one device's trace after the other. Each is in the order in which it happened, so
//! they are merged: what is read back is in the order of time. Lines wait in a temporary file, in a
//! section for each device; memory does not grow with their number.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use tempfile::SpooledTempFile;

use super::lines;
use crate::trace::text::TextWriter;

/// What is kept in memory before there is a file.
const IN_MEMORY_BYTES: usize = 1 << 20;
/// Devices that are told apart by time; what comes after them follows them.
const MAX_SECTIONS: usize = 1024;
/// What is read ahead, of all sections together.
const READ_BYTES: usize = 4 << 20;

/// Takes lines in the order of the snapshot.
pub(super) struct ByTime {
    waiting: SpooledTempFile,
    at: u64,
    sections: Vec<Section>,
}

/// The lines of one device, one after the other.
#[derive(Clone, Copy)]
struct Section {
    device: u32,
    start: u64,
    end: u64,
    /// The latest time: within a device it never goes back here.
    last_us: u64,
}

impl ByTime {
    pub fn new() -> ByTime {
        ByTime {
            waiting: SpooledTempFile::new(IN_MEMORY_BYTES),
            at: 0,
            sections: Vec::new(),
        }
    }

    /// Takes a line that has no line end.
    pub fn take(&mut self, device: u32, time_us: Option<u64>, line: &str) -> io::Result<()> {
        let room = self.sections.len() < MAX_SECTIONS;
        match self.sections.last() {
            Some(last) if last.device == device || !room => {}
            _ => self.sections.push(Section {
                device,
                start: self.at,
                end: self.at,
                last_us: 0,
            }),
        }
        let section = self.sections.last_mut().expect("there is one by now");
        section.last_us = section.last_us.max(time_us.unwrap_or(0));
        let head = format!("{} {device} ", section.last_us);
        self.waiting.write_all(head.as_bytes())?;
        self.waiting.write_all(line.as_bytes())?;
        self.waiting.write_all(b"\n")?;
        self.at += (head.len() + line.len() + 1) as u64;
        section.end = self.at;
        Ok(())
    }

    /// Writes all lines by time; those of one time in the order of the snapshot.
    pub fn write(mut self, trace: &mut TextWriter) -> io::Result<()> {
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
                queue.push(Reverse((reader.time_us, index)));
            }
            readers.push(reader);
        }
        let (mut device, mut line) = (None, String::new());
        while let Some(Reverse((_, index))) = queue.pop() {
            let reader = &mut readers[index];
            if device.replace(reader.device) != Some(reader.device) {
                lines::write_device(&mut line, reader.device);
                trace.line(&line)?;
            }
            trace.text(&reader.ahead[reader.line.clone()])?;
            if reader.advance(&mut self.waiting)? {
                queue.push(Reverse((reader.time_us, index)));
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
    time_us: u64,
    device: u32,
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
        let (time_us, after_time) = self.number(from);
        let (device, after_device) = self.number(after_time);
        self.time_us = time_us;
        self.device = device as u32;
        self.line = after_device..end;
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
