//! What is said of a file that is no trace, or no recording: what it is, where that is known, and
//! what to do; else which forms were tried.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::import::recognise::{ForeignFile, RECOGNISED_BYTES, Recognised, recognise};
use crate::trace::file::{ImportFormat, TraceError};

/// Characters of the file's beginning, and of a sample, that are shown.
const SHOWN_CHARS: usize = 72;
/// The same of a file that is no text.
const SHOWN_BYTES: usize = 16;

/// What is said of a file that is known to be something else.
pub(super) fn foreign_words(path: &Path, foreign: ForeignFile) -> String {
    let file = path.display().to_string();
    format!(
        "{file}: this is {}; {}",
        foreign.what,
        foreign.remedy.replace("{}", &file)
    )
}

/// What is said beside of a file that looks like another format than `format`; empty, where it
/// doesn't.
pub(super) fn other_format(path: &Path, format: ImportFormat, start: &[u8]) -> String {
    match recognise(start) {
        Recognised::Recording(other) if other != format => format!(
            "\n  it looks like {}: heisenbed import {} {}",
            other.a_noun(),
            other.name(),
            path.display()
        ),
        _ => String::new(),
    }
}

/// What is said of a file that cannot be opened as a trace.
pub(super) fn no_trace(path: &Path, error: &TraceError) -> String {
    let TraceError::NotATrace { .. } = error else {
        return error.to_string();
    };
    let mut start = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(RECOGNISED_BYTES as u64).read_to_end(&mut start));
    if read.is_err() {
        return error.to_string();
    }
    let file = path.display();
    match recognise(&start) {
        Recognised::Trace => error.to_string(),
        Recognised::Empty => format!("{file}: it is empty: neither a trace nor a recording"),
        Recognised::Foreign(foreign) => foreign_words(path, foreign),
        Recognised::Recording(format) => format!(
            "{file}: this is {}, and no trace yet: heisenbed import {} {file} -o TRACE",
            format.a_noun(),
            format.name()
        ),
        Recognised::Unknown => unknown(path, &start),
    }
}

/// Which forms were tried, each with a line of it.
fn unknown(path: &Path, start: &[u8]) -> String {
    let mut text = format!(
        "{}: not a heisenbed trace, nor of another form that is known; it begins with `{}`; tried were:\n",
        path.display(),
        beginning(start)
    );
    let width = ImportFormat::ALL.iter().map(|format| format.name().len());
    let width = width.max().unwrap_or(0);
    let _ = writeln!(
        text,
        "  {:width$}  HBTRACE… (what this program writes)",
        "trace"
    );
    for format in ImportFormat::ALL {
        let line: String = format.sample_line().chars().take(SHOWN_CHARS).collect();
        let more = if line.len() < format.sample_line().len() {
            "…"
        } else {
            ""
        };
        let _ = writeln!(text, "  {:width$}  {line}{more}", format.name());
    }
    text.push_str("docs/formats.md says what each holds; your own log is read as csv or jsonl");
    text
}

/// The beginning of a file, for people.
fn beginning(start: &[u8]) -> String {
    let line = start
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let line = &line[..line.len().min(4 * SHOWN_CHARS)];
    let mut shown = String::new();
    let is_text = |error: std::str::Utf8Error| error.error_len().is_none();
    if !std::str::from_utf8(line).map_or_else(is_text, |_| true) {
        for byte in start.iter().take(SHOWN_BYTES) {
            let _ = write!(shown, "{byte:02x} ");
        }
        return shown + "…";
    }
    for c in String::from_utf8_lossy(line).chars().take(SHOWN_CHARS) {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}
