//! TOML text → [`Discipline`], with errors that name file, line, column and step.
//!
//! Not here: whether the steps make sense together (the lint), and the text of a single step
//! ([`step`](super::step)).
//!
//! Invariant: every step of a parsed discipline carries the line it was written on.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::discipline::{Discipline, MeshPath, Program, ProgramKind, TooLong};
use super::lint::{LintFinding, Severity, lint};
use super::shared::{CellSpec, Name};
use super::step::StepError;
use crate::registry::Semantics;

/// The largest discipline file that is read, in bytes. Two full programs with a comment on every
/// step take a fifth of it.
pub(crate) const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A place in a file, from line 1 and column 1 (in characters).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePlace {
    /// The file as the user named it.
    pub(crate) file: String,
    /// Line, from 1.
    pub(crate) line: u32,
    /// Column in characters, from 1.
    pub(crate) column: u32,
}

impl fmt::Display for SourcePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Why there is no discipline to run. Displays as one line, `FILE:LINE: what is wrong; what to do`.
#[derive(Debug, thiserror::Error)]
pub enum DisciplineError {
    /// Neither a built-in discipline nor a file.
    #[error("{name}: no built-in discipline and no file has this name; {remedy}")]
    NotFound {
        /// The name that was asked for.
        name: String,
        /// What to ask for instead.
        remedy: String,
    },
    /// The file cannot be read.
    #[error("{file}: cannot be read: {source}")]
    Read {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than [`MAX_FILE_BYTES`].
    #[error("{file}: larger than {MAX_FILE_BYTES} bytes; a discipline is two short lists of steps")]
    TooLarge {
        /// The file.
        file: String,
    },
    /// The text is not TOML, or not a discipline.
    #[error("{place}: {message}; {remedy}")]
    Syntax {
        /// Where.
        place: SourcePlace,
        /// What is wrong.
        message: String,
        /// What to do.
        remedy: String,
    },
    /// A step that does not exist.
    #[error("{place}: {program} step {number}: {reason}; {}", reason.remedy())]
    Step {
        /// Where.
        place: SourcePlace,
        /// In which program.
        program: String,
        /// Which of its steps, from 1.
        number: usize,
        /// What is wrong with it.
        reason: StepError,
    },
    /// A program with too many steps.
    #[error("{place}: {program}: {reason}; leave out steps that no other thread can see")]
    TooLong {
        /// Where.
        place: SourcePlace,
        /// Which program.
        program: String,
        /// How long it is.
        reason: TooLong,
    },
    /// The lint rejects a program.
    #[error("{}", finding.located(file))]
    Rejected {
        /// The file, or the name of the discipline.
        file: String,
        /// The first error.
        finding: Box<LintFinding>,
    },
}

impl Discipline {
    /// Reads a discipline from the TOML text of `file`, without linting it.
    pub fn from_toml(file: &str, text: &str) -> Result<Discipline, DisciplineError> {
        let source = Source { file, text };
        let raw: Raw = toml::from_str(text).map_err(|error| source.syntax_error(&error))?;
        Ok(Discipline {
            name: source.name(raw.name)?,
            origin: raw.origin,
            semantics: raw.semantics,
            allocate: source.program(&ProgramKind::Allocate, raw.allocate)?,
            deallocate: source.program(&ProgramKind::Deallocate, raw.deallocate)?,
            mesh: raw.mesh.map(|mesh| source.mesh(mesh)).transpose()?,
            cells: source.cells(raw.cells)?,
            programs: source.programs(raw.programs)?,
        })
    }

    /// Reads a discipline from a TOML file, without linting it.
    pub(crate) fn from_file(path: &Path) -> Result<Discipline, DisciplineError> {
        let file = path.display().to_string();
        let read = || -> io::Result<String> {
            let mut text = String::new();
            File::open(path)?
                .take(MAX_FILE_BYTES + 1)
                .read_to_string(&mut text)?;
            Ok(text)
        };
        match read() {
            Ok(text) if text.len() as u64 > MAX_FILE_BYTES => {
                Err(DisciplineError::TooLarge { file })
            }
            Ok(text) => Discipline::from_toml(&file, &text),
            Err(source) => Err(DisciplineError::Read { file, source }),
        }
    }

    /// The discipline itself when the lint finds no error in it, otherwise the first error, placed
    /// in `file`.
    pub fn accepted(self, file: &str) -> Result<Discipline, DisciplineError> {
        match lint(&self)
            .into_iter()
            .find(|finding| finding.severity == Severity::Error)
        {
            Some(finding) => Err(DisciplineError::Rejected {
                file: file.to_string(),
                finding: Box::new(finding),
            }),
            None => Ok(self),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Spanned<String>,
    #[serde(default)]
    origin: String,
    semantics: Option<Semantics>,
    allocate: Spanned<Vec<Spanned<String>>>,
    deallocate: Spanned<Vec<Spanned<String>>>,
    mesh: Option<RawMesh>,
    #[serde(default)]
    cells: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    programs: BTreeMap<Spanned<String>, Spanned<Vec<Spanned<String>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMesh {
    allocate: Spanned<Vec<Spanned<String>>>,
    deallocate: Spanned<Vec<Spanned<String>>>,
}

struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn name(&self, name: Spanned<String>) -> Result<String, DisciplineError> {
        let text = name.get_ref();
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            return Err(DisciplineError::Syntax {
                place: self.place(name.span()),
                message: "a name must be one line that is not empty".to_string(),
                remedy: "give it a short name, such as \"lifecycle-narrow\"".to_string(),
            });
        }
        Ok(name.into_inner())
    }

    fn mesh(&self, raw: RawMesh) -> Result<MeshPath, DisciplineError> {
        Ok(MeshPath {
            allocate: self.program(&ProgramKind::Allocate, raw.allocate)?,
            deallocate: self.program(&ProgramKind::Deallocate, raw.deallocate)?,
        })
    }

    fn cells(
        &self,
        raw: BTreeMap<Spanned<String>, Spanned<String>>,
    ) -> Result<BTreeMap<Name, CellSpec>, DisciplineError> {
        let cell = |(name, spec): (Spanned<String>, Spanned<String>)| {
            let place = self.place(spec.span());
            let parsed: Result<CellSpec, String> = spec.get_ref().parse();
            let parsed = parsed.map_err(|message| DisciplineError::Syntax {
                place,
                message: format!("cell {}: {message}", name.get_ref()),
                remedy: "write it as `device atomic counts bytes` (docs/language.md)".to_string(),
            })?;
            Ok((self.own_name(&name)?, parsed))
        };
        raw.into_iter().map(cell).collect()
    }

    fn programs(
        &self,
        raw: BTreeMap<Spanned<String>, Spanned<Vec<Spanned<String>>>>,
    ) -> Result<BTreeMap<Name, Program>, DisciplineError> {
        let program = |(name, steps)| {
            let name = self.own_name(&name)?;
            Ok((name, self.program(&name, steps)?))
        };
        raw.into_iter().map(program).collect()
    }

    fn own_name(&self, name: &Spanned<String>) -> Result<Name, DisciplineError> {
        let parsed: Result<Name, String> = name.get_ref().parse();
        parsed.map_err(|message| DisciplineError::Syntax {
            place: self.place(name.span()),
            message,
            remedy: "give it another name".to_string(),
        })
    }

    fn program(
        &self,
        program: &dyn fmt::Display,
        written: Spanned<Vec<Spanned<String>>>,
    ) -> Result<Program, DisciplineError> {
        let place = self.place(written.span());
        let mut steps = Vec::new();
        for (index, text) in written.into_inner().into_iter().enumerate() {
            let place = self.place(text.span());
            let line = place.line;
            let step = text
                .get_ref()
                .parse()
                .map_err(|reason| DisciplineError::Step {
                    place,
                    program: program.to_string(),
                    number: index + 1,
                    reason,
                })?;
            steps.push((step, line));
        }
        Program::with_lines(steps).map_err(|reason| DisciplineError::TooLong {
            place,
            program: program.to_string(),
            reason,
        })
    }

    fn syntax_error(&self, error: &toml::de::Error) -> DisciplineError {
        let message = error.message().replace('\n', ", ");
        let remedy = if message.contains("missing field") {
            "add it: a discipline needs name, allocate and deallocate"
        } else if message.contains("unknown field") {
            "rename it, or remove it"
        } else if message.contains("unknown variant") {
            "semantics is a hint for the server, and may be left out"
        } else {
            "a discipline is TOML: name and origin are strings, allocate and deallocate lists of strings"
        };
        DisciplineError::Syntax {
            place: self.place(error.span().unwrap_or_default()),
            message,
            remedy: remedy.to_string(),
        }
    }

    fn place(&self, span: Range<usize>) -> SourcePlace {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        SourcePlace {
            file: self.file.to_string(),
            line: count(before.matches('\n').count() + 1),
            column: count(before[line_start..].chars().count() + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{Lock, MicroStep, builtin};

    const GOOD: &str = r#"
name = "mine"
origin = "what we do"
semantics = "sequenced"
allocate = ["alloc", "mark-live",
            "send ALLOC", "publish"]
deallocate = [
    "check-live",
    # any comment
    "lock  lifecycle[4]", "send FREE",
    "unlock lifecycle[4]", "free", "mark-dead",
]
"#;

    fn error(text: &str) -> String {
        let error =
            Discipline::from_toml("my.toml", text).and_then(|parsed| parsed.accepted("my.toml"));
        error.expect_err("the text is wrong").to_string()
    }

    #[test]
    fn every_step_carries_the_line_it_was_written_on() {
        let parsed = Discipline::from_toml("my.toml", GOOD).expect("the text is right");
        assert_eq!(parsed.semantics, Some(Semantics::Sequenced));
        assert_eq!(
            (0..4).map(|i| parsed.allocate.line(i)).collect::<Vec<_>>(),
            [5, 5, 6, 6]
        );
        assert_eq!(
            (0..6)
                .map(|i| parsed.deallocate.line(i))
                .collect::<Vec<_>>(),
            [8, 10, 10, 11, 11, 11]
        );
        assert_eq!(
            parsed.deallocate.steps()[1],
            MicroStep::Lock(Lock::LifecycleTable(4))
        );
    }

    #[test]
    fn every_way_to_write_a_wrong_file_has_its_own_message() {
        let long = format!("\"alloc\", {}\"publish\"", "\"debug-log\", ".repeat(63));
        let table = [
            (
                "a step that does not exist",
                GOOD.replace("\"send FREE\"", "\"sned FREE\""),
            ),
            (
                "a column after a wide character",
                GOOD.replace("\"mine\"", "\"é\" oops"),
            ),
            (
                "a lock that does not exist",
                GOOD.replace("lock  lifecycle[4]", "lock lifecycle[four]"),
            ),
            (
                "an unlock without its lock",
                GOOD.replace("\"lock  lifecycle[4]\", ", ""),
            ),
            (
                "a missing key",
                GOOD.replace("deallocate = [", "dealocate = ["),
            ),
            ("only a name", "name = \"x\"".to_string()),
            ("a step that is a number", GOOD.replace("\"publish\"", "7")),
            (
                "a program that is a string",
                GOOD.replace("[\"alloc\", \"mark-live\",", "\"alloc\" #")
                    .replace("            \"send ALLOC\", \"publish\"]", ""),
            ),
            ("not TOML", GOOD.replace("name = ", "name : ")),
            ("an empty name", GOOD.replace("\"mine\"", "\" \"")),
            (
                "semantics that do not exist",
                GOOD.replace("\"sequenced\"", "\"sorted\""),
            ),
            ("a long program", GOOD.replace("\"publish\"", &long)),
            (
                "an empty program",
                "name = \"x\"\norigin = \"\"\nallocate = []\ndeallocate = [\"free\"]".to_string(),
            ),
        ];
        let messages: Vec<String> = table
            .iter()
            .map(|(what, text)| format!("{what}:\n    {}", error(text)))
            .collect();
        crate::lifecycle::testing::snapshot("discipline_errors", &messages.join("\n"));
    }

    #[test]
    fn the_steps_of_a_sent_discipline_arrive_unchanged() {
        for discipline in builtin::all() {
            let text = toml::to_string(discipline).expect("a discipline is a table of strings");
            let parsed =
                Discipline::from_toml("again.toml", &text).expect("what was written can be read");
            assert_eq!(&parsed, discipline);
            assert_eq!(
                &toml::from_str::<Discipline>(&text).expect("serde reads it too"),
                discipline
            );
        }
    }

    #[test]
    fn a_file_without_end_is_refused_without_reading_it_whole() {
        let error = Discipline::from_file(Path::new("/dev/zero")).expect_err("not a discipline");
        assert!(matches!(error, DisciplineError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Discipline::from_file(Path::new("no/such.toml")).expect_err("there is none");
        assert!(
            error
                .to_string()
                .starts_with("no/such.toml: cannot be read: "),
            "{error}"
        );
    }
}
