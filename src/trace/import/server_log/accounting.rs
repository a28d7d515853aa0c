//! What became of the lines of a log.

use std::collections::BTreeMap;

use super::event::{LogEvent, UnrecognisedReason};

/// How many unrecognised lines are kept with an excerpt; more are only counted.
pub const MAX_EXCERPTS: usize = 100;

const EXCERPT_CHARS: usize = 120;

/// Counts of lines, by what became of them. `lines == parsed + known_other + unrecognised`, always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// All lines.
    pub lines: u64,
    /// Lines that say something about messages, sweeps or the live table.
    pub parsed: u64,
    /// Lines that servers are known to print and that say nothing more.
    pub known_other: u64,
    /// Lines that no known server prints, overlong ones included.
    pub unrecognised: u64,
    /// Of the unrecognised: those longer than [`super::MAX_LINE_BYTES`], which were skipped.
    pub overlong: u64,
    /// The first [`MAX_EXCERPTS`] unrecognised lines.
    pub first_unrecognised: Vec<UnrecognisedLine>,
    /// Lines by the name of their form.
    pub forms: BTreeMap<&'static str, u64>,
}

/// A line that was not recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnrecognisedLine {
    /// Its number, from 1.
    pub line: u64,
    /// Why it was not recognised.
    pub reason: UnrecognisedReason,
    /// Its beginning.
    pub excerpt: String,
}

impl Accounting {
    /// Counts the next line.
    pub(super) fn count(&mut self, what: &LogEvent, text: &[u8]) {
        self.lines += 1;
        *self.forms.entry(what.form()).or_default() += 1;
        match what {
            LogEvent::KnownOther(_) => self.known_other += 1,
            LogEvent::Unrecognised(reason) => self.count_unrecognised(*reason, text),
            _ => self.parsed += 1,
        }
    }

    fn count_unrecognised(&mut self, reason: UnrecognisedReason, text: &[u8]) {
        self.unrecognised += 1;
        self.overlong += u64::from(reason == UnrecognisedReason::Overlong);
        if self.first_unrecognised.len() < MAX_EXCERPTS {
            let start = &text[..text.len().min(4 * EXCERPT_CHARS)];
            self.first_unrecognised.push(UnrecognisedLine {
                line: self.lines,
                reason,
                excerpt: String::from_utf8_lossy(start)
                    .chars()
                    .take(EXCERPT_CHARS)
                    .collect(),
            });
        }
    }
}
