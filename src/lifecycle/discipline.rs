//! A discipline: how a runtime allocates and how it deallocates, as two bounded programs; and,
//! where it treats mesh buffers in another way, two programs for those.
//!
//! Plain data. Two programs are equal when their steps are; where they were written does not
//! matter.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::shared::{CellSpec, Name};
use super::step::MicroStep;
use crate::registry::Semantics;

/// What a runtime does to allocate and to deallocate one buffer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discipline {
    /// Its name, for lists and reports.
    pub name: String,
    /// Where it comes from, in a sentence.
    #[serde(default)]
    pub origin: String,
    /// The server semantics it counts on, where it does count on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semantics: Option<Semantics>,
    /// The steps of an allocation.
    pub allocate: Program,
    /// The steps of a release.
    pub deallocate: Program,
    /// What is done to a mesh buffer. Without it, each of its devices' parts goes through the two
    /// programs above, one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<MeshPath>,
    /// The cells and ledgers that its programs share.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cells: BTreeMap<Name, CellSpec>,
    /// Programs that are neither an allocation nor a release: operations run them by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub programs: BTreeMap<Name, Program>,
}

/// What is done to a mesh buffer as a whole: steps on each of its devices stand between
/// `each device` and `end`. The switches leave it as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeshPath {
    /// The steps of an allocation.
    pub allocate: Program,
    /// The steps of a release.
    pub deallocate: Program,
}

impl Discipline {
    /// The program of that kind.
    pub fn program(&self, kind: ProgramKind) -> &Program {
        match kind {
            ProgramKind::Allocate => &self.allocate,
            ProgramKind::Deallocate => &self.deallocate,
        }
    }

    /// The program of that kind on that path; `None` where the discipline gives none for it.
    pub fn program_on(&self, path: BufferPath, kind: ProgramKind) -> Option<&Program> {
        match (path, kind) {
            (BufferPath::Plain, kind) => Some(self.program(kind)),
            (BufferPath::Mesh, ProgramKind::Allocate) => Some(&self.mesh.as_ref()?.allocate),
            (BufferPath::Mesh, ProgramKind::Deallocate) => Some(&self.mesh.as_ref()?.deallocate),
        }
    }

    /// Whether it has steps on cells, ledgers or other locks than mutexes, or programs of its own.
    pub(crate) fn shares(&self) -> bool {
        let is_shared = |step: &MicroStep| matches!(step, MicroStep::Shared(_));
        !self.cells.is_empty()
            || !self.programs.is_empty()
            || (self.every_program()).any(|program| program.steps().iter().any(is_shared))
    }

    /// Whether any of its programs sends a message.
    pub(crate) fn sends(&self) -> bool {
        let is_send = |step: &MicroStep| matches!(step, MicroStep::Send(_));
        self.every_program()
            .any(|program| program.steps().iter().any(is_send))
    }

    /// Every program that it has, those of its own included.
    pub(crate) fn every_program(&self) -> impl Iterator<Item = &Program> {
        let own = self.programs.values();
        self.programs().map(|(_, _, program)| program).chain(own)
    }

    /// Every program of an allocation or a release, with the path that it is on.
    pub(crate) fn programs(&self) -> impl Iterator<Item = (BufferPath, ProgramKind, &Program)> {
        BufferPath::ALL.into_iter().flat_map(move |path| {
            ProgramKind::ALL
                .into_iter()
                .filter_map(move |kind| Some((path, kind, self.program_on(path, kind)?)))
        })
    }
}

/// Which buffers take a program.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum BufferPath {
    /// All but those that have a path of their own.
    #[default]
    Plain,
    /// Mesh buffers, where the discipline has programs for them.
    Mesh,
}

impl BufferPath {
    /// Both.
    pub(crate) const ALL: [BufferPath; 2] = [BufferPath::Plain, BufferPath::Mesh];

    /// What stands before the name of a program: nothing, or `mesh `.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            BufferPath::Plain => "",
            BufferPath::Mesh => "mesh ",
        }
    }
}

/// Which of a discipline's two programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProgramKind {
    /// `allocate`
    Allocate,
    /// `deallocate`
    Deallocate,
}

impl ProgramKind {
    /// Both, in the order in which they run.
    pub(crate) const ALL: [ProgramKind; 2] = [ProgramKind::Allocate, ProgramKind::Deallocate];
}

impl fmt::Display for ProgramKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProgramKind::Allocate => "allocate",
            ProgramKind::Deallocate => "deallocate",
        })
    }
}

/// At most [`Program::MAX_STEPS`] micro-steps, each with the line it was written on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(into = "Vec<MicroStep>", try_from = "Vec<MicroStep>")]
pub struct Program {
    steps: Box<[MicroStep]>,
    /// As long as `steps`; 0 where a step was not read from a text.
    lines: Box<[u32]>,
}

/// A program has more than [`Program::MAX_STEPS`] steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a program of {0} steps is longer than the {max} that are allowed", max = Program::MAX_STEPS)]
pub struct TooLong(pub usize);

impl Program {
    /// The most steps a program may have: real ones have about ten, and every step multiplies the
    /// interleavings.
    pub(crate) const MAX_STEPS: usize = 64;

    /// A program of `steps`, without lines.
    pub fn new(steps: impl IntoIterator<Item = MicroStep>) -> Result<Program, TooLong> {
        Program::with_lines(steps.into_iter().map(|step| (step, 0)).collect())
    }

    /// A program of steps, each with its line from 1.
    pub(super) fn with_lines(written: Vec<(MicroStep, u32)>) -> Result<Program, TooLong> {
        if written.len() > Program::MAX_STEPS {
            return Err(TooLong(written.len()));
        }
        let (steps, lines): (Vec<_>, Vec<_>) = written.into_iter().unzip();
        Ok(Program {
            steps: steps.into(),
            lines: lines.into(),
        })
    }

    /// The steps, in order.
    pub fn steps(&self) -> &[MicroStep] {
        &self.steps
    }

    /// The line of the step at `index`, from 1; 0 when there is no such step or it was not read
    /// from a text.
    pub fn line(&self, index: usize) -> u32 {
        self.lines.get(index).copied().unwrap_or(0)
    }

    /// Where the first step that satisfies `wanted` is.
    pub fn position(&self, wanted: impl Fn(MicroStep) -> bool) -> Option<usize> {
        self.steps.iter().position(|step| wanted(*step))
    }

    /// The program with the step at `from` moved into the gap before `gap` (counted before the
    /// move); the step keeps its line.
    pub(super) fn moved(&self, from: usize, gap: usize) -> Program {
        let mut moved = self.clone();
        if gap > from {
            moved.steps[from..gap].rotate_left(1);
            moved.lines[from..gap].rotate_left(1);
        } else {
            moved.steps[gap..=from].rotate_right(1);
            moved.lines[gap..=from].rotate_right(1);
        }
        moved
    }
}

impl PartialEq for Program {
    fn eq(&self, other: &Program) -> bool {
        self.steps == other.steps
    }
}

impl Eq for Program {}

impl std::hash::Hash for Program {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.steps.hash(state);
    }
}

impl From<Program> for Vec<MicroStep> {
    fn from(program: Program) -> Vec<MicroStep> {
        program.steps.into_vec()
    }
}

impl TryFrom<Vec<MicroStep>> for Program {
    type Error = TooLong;

    fn try_from(steps: Vec<MicroStep>) -> Result<Program, TooLong> {
        Program::new(steps)
    }
}
