//! Lines of a text of any length, in bounded memory; and texts as parts of lines.

use std::fmt;
use std::io::{self, BufRead};

/// The longest line that is read, in bytes without its line end; longer ones are skipped and
/// counted.
pub(crate) const MAX_LINE_BYTES: usize = 64 * 1024;

/// The longest text that becomes a part of a line, in characters: escaped, it fits one.
const MAX_TEXT_CHARS: usize = MAX_LINE_BYTES / 8;

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadLine {
    Whole {
        /// Its line end is there. Only the last line can lack it, and may have been cut.
        ended: bool,
    },
    Overlong,
    End,
}

/// The next of a reader's records: nothing behind the end or an error, after which `ended` is set.
#[inline]
pub(super) fn next_until_end<R, T>(
    reader: &mut R,
    ended: impl Fn(&mut R) -> &mut bool,
    read: impl FnOnce(&mut R) -> io::Result<Option<T>>,
) -> Option<io::Result<T>> {
    if *ended(reader) {
        return None;
    }
    let next = read(reader).transpose();
    *ended(reader) = !matches!(next, Some(Ok(_)));
    next
}

/// The next line without its line end, if all of it is at hand; to be consumed with its line end.
#[inline]
pub(super) fn line_at_hand(source: &mut impl BufRead) -> Option<&[u8]> {
    let available = source.fill_buf().ok()?;
    let end = memchr::memchr(b'\n', available)?;
    (end <= MAX_LINE_BYTES).then_some(&available[..end])
}

/// Reads one line without its line end into `line`, of an overlong one the first
/// [`MAX_LINE_BYTES`].
pub(super) fn read_line(source: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<ReadLine> {
    line.clear();
    let mut seen_any = false;
    let mut overlong = false;
    let mut ended = false;
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
        let end = memchr::memchr(b'\n', available);
        let part = &available[..end.unwrap_or(available.len())];
        let room = MAX_LINE_BYTES - line.len();
        overlong |= part.len() > room;
        line.extend_from_slice(&part[..part.len().min(room)]);
        let consumed = part.len() + usize::from(end.is_some());
        source.consume(consumed);
        if end.is_some() {
            ended = true;
            break;
        }
    }
    Ok(match (seen_any, overlong) {
        (false, _) => ReadLine::End,
        (true, true) => ReadLine::Overlong,
        (true, false) => ReadLine::Whole { ended },
    })
}

/// Writes a text without what would end a line, and no more of it than fits one.
pub(super) fn one_line(to: &mut impl fmt::Write, text: &str) -> fmt::Result {
    for c in text.chars().take(MAX_TEXT_CHARS) {
        if c.is_control() {
            write!(to, "{}", c.escape_default())?;
        } else {
            to.write_char(c)?;
        }
    }
    Ok(())
}
