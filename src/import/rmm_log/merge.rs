//! The logs of one process, one for each device, as one text by time.
//!
//! A line of the text that begins with [`FILE_MARK`] says which file's the next lines are. The
//! lines of a file stay in its order, those that say no time go with the one before.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::{self, BufRead};

use super::super::allocation::AllocationRecord;
use super::super::line_records::{LineFormat, ParsedLine};
use super::super::lines::{ReadLine, read_line};
use super::{CsvRow, FILE_MARK, LogFile, RmmParser, device_in};
use crate::trace::text::TextWriter;

/// The devices of several files, by their names: each must name another. Else the reason.
pub(crate) fn devices_of(names: &[String]) -> Result<Vec<i32>, String> {
    let mut seen: BTreeMap<i32, &str> = BTreeMap::new();
    for name in names {
        let Some(device) = device_in(name) else {
            return Err(format!(
                "{name}: its name says no device; several RMM logs become one trace where they are of one process, a file a device: \
                 rmm_log.dev0.txt, rmm_log.dev1.txt"
            ));
        };
        if let Some(other) = seen.insert(device, name) {
            return Err(format!(
                "{other} and {name} are both of device {device}; several RMM logs become one trace where they are of one process, a file a device"
            ));
        }
    }
    Ok(seen.into_keys().collect())
}

/// Writes the lines of all files by time.
pub(crate) fn merge<R: BufRead>(files: Vec<(String, R)>, write: &mut TextWriter) -> io::Result<()> {
    let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
    let mut parser = RmmParser {
        files: names.iter().map(|name| LogFile::new(name)).collect(),
        current: 0,
        row: CsvRow::default(),
    };
    let mut sources: Vec<MergedFile<R>> = Vec::new();
    let mut queue = BinaryHeap::new();
    for (index, (_, source)) in files.into_iter().enumerate() {
        let mut file = MergedFile {
            source,
            line: Vec::new(),
            at_ns: 0,
        };
        // The first time of each file sorts what comes before it: headers.
        if file.advance(&mut parser, index)? {
            queue.push(Reverse((file.at_ns, index)));
        }
        sources.push(file);
    }
    let mut last = None;
    while let Some(Reverse((_, index))) = queue.pop() {
        let file = &mut sources[index];
        if last.replace(index) != Some(index) {
            write.line(&format!("{FILE_MARK}{index}"))?;
        }
        write.text(&file.line)?;
        write.text(b"\n")?;
        if file.advance(&mut parser, index)? {
            queue.push(Reverse((file.at_ns, index)));
        }
    }
    Ok(())
}

/// A file, at a line.
struct MergedFile<R> {
    source: R,
    line: Vec<u8>,
    /// The latest time so far: a file's lines stay in their order.
    at_ns: u64,
}

impl<R: BufRead> MergedFile<R> {
    /// Goes to the next line; `false` after the last.
    fn advance(&mut self, parser: &mut RmmParser, index: usize) -> io::Result<bool> {
        match read_line(&mut self.source, &mut self.line)? {
            ReadLine::End => return Ok(false),
            // It stays one that is too long.
            ReadLine::Overlong => self.line.push(b'.'),
            ReadLine::Whole { .. } => {
                if parser.marked(&self.line).is_some() {
                    // A line of the file's own, and no mark of ours: it stays one of no form.
                    self.line.push(b'.');
                }
                parser.current = index;
                if let Ok(ParsedLine::Record(_, AllocationRecord { at_ns, .. })) =
                    parser.parse(&self.line, 0)
                {
                    self.at_ns = self.at_ns.max(at_ns.unwrap_or(0));
                }
            }
        }
        Ok(true)
    }
}
