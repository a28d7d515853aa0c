//! Lines of a text of any length, in bounded memory.

use std::io::{self, BufRead};

/// The longest line that is read, in bytes without its line end; longer ones are skipped and counted.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadLine {
    Whole,
    Overlong,
    End,
}

/// Reads one line without its line end into `line`, of an overlong one the first [`MAX_LINE_BYTES`].
pub(super) fn read_line(source: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<ReadLine> {
    line.clear();
    let mut seen_any = false;
    let mut overlong = false;
    loop {
        let available = match source.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if available.is_empty() {
            break;
        }
        seen_any = true;
        let end = available.iter().position(|&byte| byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        let room = MAX_LINE_BYTES - line.len();
        overlong |= part.len() > room;
        line.extend_from_slice(&part[..part.len().min(room)]);
        let consumed = part.len() + usize::from(end.is_some());
        source.consume(consumed);
        if end.is_some() {
            break;
        }
    }
    Ok(match (seen_any, overlong) {
        (false, _) => ReadLine::End,
        (true, true) => ReadLine::Overlong,
        (true, false) => ReadLine::Whole,
    })
}
