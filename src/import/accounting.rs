//! What became of the records of a source: of the lines of a text, of the entries of a snapshot.

use std::collections::BTreeMap;

use crate::trace::file::ImportFormat;

/// How many unrecognised records are kept with an excerpt; more are only counted.
pub(crate) const MAX_EXCERPTS: usize = 100;

const EXCERPT_CHARS: usize = 120;

/// Counts of records, by what became of them. `lines == parsed + known_other + unrecognised`,
/// always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// All lines (of a snapshot: all entries).
    pub lines: u64,
    /// Lines that say something about messages, allocations, sweeps or the live table.
    pub parsed: u64,
    /// Lines that such sources are known to hold and that say nothing more.
    pub known_other: u64,
    /// Lines that no known source prints, overlong ones included.
    pub unrecognised: u64,
    /// Of the unrecognised: those longer than [`super::lines::MAX_LINE_BYTES`], which were skipped.
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

/// Why a line was not recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnrecognisedReason {
    /// It has no known form.
    NoKnownForm,
    /// It has a known form up to a number that is out of range.
    NumberOutOfRange,
    /// It is longer than [`super::lines::MAX_LINE_BYTES`].
    Overlong,
    /// It belongs to a block that was cut, or that another writer's lines are mixed into.
    CutBlock,
    /// It begins as a message does, and does not go on as one.
    CutMessage,
    /// It has two messages: the line end between them was lost.
    MergedMessages,
    /// No row before it names the columns that are needed.
    NoHeader,
    /// It has another number of columns than the row that names them.
    OtherColumns,
    /// The field of that name is not understood.
    BadField(&'static str),
}

impl UnrecognisedReason {
    /// Its name in JSON.
    pub(crate) fn name(self) -> String {
        match self {
            UnrecognisedReason::BadField(_) => "BadField".to_owned(),
            reason => format!("{reason:?}"),
        }
    }

    /// The reason in words, where there is more to say than that it is not understood.
    pub(crate) fn why(self) -> Option<String> {
        match self {
            UnrecognisedReason::NoKnownForm
            | UnrecognisedReason::Overlong
            | UnrecognisedReason::CutMessage => None,
            UnrecognisedReason::BadField("op") => Some(
                "its `op` is none of alloc, free, release-requested, holder-ended and fail"
                    .to_owned(),
            ),
            UnrecognisedReason::BadField(name) => Some(format!("its `{name}` is not understood")),
            reason => Some(reason.explain().to_owned()),
        }
    }

    /// The reason in words that go for every line.
    pub(crate) fn explain(self) -> &'static str {
        match self {
            UnrecognisedReason::NoKnownForm => "it has no known form",
            UnrecognisedReason::NoHeader => {
                "no header above it names the columns `op` and `address`, once each, with commas \
                 between"
            }
            UnrecognisedReason::OtherColumns => "it has another number of columns than the header",
            UnrecognisedReason::BadField(_) => "a field in it is not understood",
            UnrecognisedReason::NumberOutOfRange => "a number in it is out of range",
            UnrecognisedReason::Overlong => "it is too long",
            UnrecognisedReason::CutBlock => "its block was cut or mixed with another",
            UnrecognisedReason::MergedMessages => {
                "it has two messages or more: what ended the line between them was lost"
            }
            UnrecognisedReason::CutMessage => {
                "it was cut, mixed with another, or is of another form"
            }
        }
    }
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineClass {
    /// It says something.
    Parsed,
    /// It is known, and says nothing more.
    KnownOther,
    /// It is not known.
    Unrecognised(UnrecognisedReason),
}

impl Accounting {
    /// Counts the next line.
    pub(super) fn count(&mut self, form: &'static str, class: LineClass, text: &[u8]) {
        self.count_at(self.lines + 1, form, class, text);
    }

    /// Counts a line that was read before the last one; its number is `line`.
    pub(super) fn count_at(
        &mut self,
        line: u64,
        form: &'static str,
        class: LineClass,
        text: &[u8],
    ) {
        self.lines += 1;
        *self.forms.entry(form).or_default() += 1;
        match class {
            LineClass::Parsed => self.parsed += 1,
            LineClass::KnownOther => self.known_other += 1,
            LineClass::Unrecognised(reason) => self.count_unrecognised(line, reason, text),
        }
    }

    /// Adds the account of another file, whose lines that were not recognised get its name.
    pub(crate) fn add(&mut self, other: &Accounting, name: &str) {
        self.lines += other.lines;
        self.parsed += other.parsed;
        self.known_other += other.known_other;
        self.unrecognised += other.unrecognised;
        self.overlong += other.overlong;
        for (form, count) in &other.forms {
            *self.forms.entry(form).or_default() += count;
        }
        let room = MAX_EXCERPTS.saturating_sub(self.first_unrecognised.len());
        for line in other.first_unrecognised.iter().take(room) {
            self.first_unrecognised.push(UnrecognisedLine {
                excerpt: format!("{name}: {}", line.excerpt),
                ..line.clone()
            });
        }
    }

    /// How many records there were, at least, that could not be read: what they say is not known.
    /// Logs of programs stand among other output: lines of others are no records.
    pub fn lost(&self, format: ImportFormat) -> u64 {
        let of_form = |form| self.forms.get(form).copied().unwrap_or(0);
        match format {
            ImportFormat::DebugLog => of_form("cut-block"),
            ImportFormat::ServerLog => of_form("cut-message") + 2 * of_form("merged-messages"),
            _ => self.unrecognised,
        }
    }

    fn count_unrecognised(&mut self, line: u64, reason: UnrecognisedReason, text: &[u8]) {
        self.unrecognised += 1;
        self.overlong += u64::from(reason == UnrecognisedReason::Overlong);
        if self.first_unrecognised.len() < MAX_EXCERPTS {
            self.first_unrecognised.push(UnrecognisedLine {
                line,
                reason,
                excerpt: excerpt(text),
            });
        }
    }
}

/// The beginning of a line, for people.
pub(super) fn excerpt(text: &[u8]) -> String {
    let start = &text[..text.len().min(4 * EXCERPT_CHARS)];
    String::from_utf8_lossy(start)
        .chars()
        .take(EXCERPT_CHARS)
        .collect()
}
