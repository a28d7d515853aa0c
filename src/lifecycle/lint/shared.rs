//! Steps on what a program shares: cells that are declared, blocks that close, locals that were
//! set, and locks that are held on every way to a step or on none.
//!
//! What is said of a discipline without such steps is not touched by anything here.

use super::super::discipline::{BufferPath, Discipline, Program, ProgramKind};
use super::super::shared::{CellKind, CellScope, CellSpec, Name, Relation, SharedStep, Term};
use super::super::step::{Lock, MicroStep};
use super::{LintFinding, Severity};

mod held;
#[cfg(test)]
mod tests;

/// The most locals that a program may have.
pub(crate) const MAX_LOCALS: usize = 10;

/// Where a program stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct LintedProgram<'a> {
    discipline: &'a Discipline,
    path: BufferPath,
    kind: ProgramKind,
    /// A program of the discipline's own.
    named: Option<Name>,
    program: &'a Program,
}

/// Everything that is to be said of `discipline`.
pub(super) fn check(discipline: &Discipline, list: &mut Vec<LintFinding>) {
    if !discipline.shares() {
        return;
    }
    for (path, kind, program) in discipline.programs() {
        let at = LintedProgram {
            discipline,
            path,
            kind,
            named: None,
            program,
        };
        at.check(list);
    }
    for (name, program) in &discipline.programs {
        let at = LintedProgram {
            discipline,
            path: BufferPath::Plain,
            kind: ProgramKind::Deallocate,
            named: Some(*name),
            program,
        };
        at.check(list);
        at.only_what_is_its_own(list);
    }
}

/// The first step of `program` that is about a buffer.
pub(crate) fn needs_buffer(discipline: &Discipline, program: &Program) -> Option<MicroStep> {
    let is_of_buffer = |name: Name| {
        let spec = discipline.cells.get(&name);
        spec.is_some_and(|spec| matches!(spec.scope, CellScope::Buffer | CellScope::Memory))
    };
    program.steps().iter().copied().find(|step| match step {
        MicroStep::Send(_) | MicroStep::Free | MicroStep::MarkDead | MicroStep::Stamp => true,
        MicroStep::Shared(step) => {
            step.ledger().is_some()
                || step.place().is_some_and(|place| is_of_buffer(place.cell))
                || step
                    .terms()
                    .any(|term| matches!(term, Term::Size | Term::Buffer))
        }
        _ => false,
    })
}

impl LintedProgram<'_> {
    fn check(&self, list: &mut Vec<LintFinding>) {
        if self.path == BufferPath::Mesh {
            return self.no_mesh(list);
        }
        self.names(list);
        self.locals(list);
        if self.blocks(list) {
            held::check(self, list);
        }
    }

    fn find(
        &self,
        list: &mut Vec<LintFinding>,
        step: Option<usize>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        list.push(LintFinding {
            severity: Severity::Error,
            path: self.path,
            program: self.kind,
            named: self.named,
            step,
            line: self.program.line(step.unwrap_or(0)),
            message: message.into(),
            remedy: remedy.into(),
        });
    }

    fn steps(&self) -> impl Iterator<Item = (usize, MicroStep)> + use<'_> {
        self.program.steps().iter().copied().enumerate()
    }

    fn shared_steps(&self) -> impl Iterator<Item = (usize, SharedStep)> + use<'_> {
        self.steps().filter_map(|(at, step)| match step {
            MicroStep::Shared(step) => Some((at, step)),
            _ => None,
        })
    }

    fn no_mesh(&self, list: &mut Vec<LintFinding>) {
        self.find(
            list,
            None,
            "a discipline with cells, branches or programs of its own has no `[mesh]`",
            "leave `[mesh]` out: each device's part then goes through the two programs",
        );
    }

    /// Steps that only an allocation or a release has.
    fn only_what_is_its_own(&self, list: &mut Vec<LintFinding>) {
        for (at, step) in self.steps() {
            let is_of_a_life = matches!(
                step,
                MicroStep::Alloc
                    | MicroStep::Publish
                    | MicroStep::MarkLive
                    | MicroStep::Claim
                    | MicroStep::CheckLive
                    | MicroStep::CheckLiveUnguarded
                    | MicroStep::EachDevice
            );
            let announces = matches!(step, MicroStep::Send(kind) if kind.announces());
            if is_of_a_life || announces {
                self.find(
                    list,
                    Some(at),
                    format!("{step}: it belongs to allocate or deallocate"),
                    "move it there, or remove it",
                );
            }
        }
    }

    /// Cells, ledgers and locks that a step names.
    fn names(&self, list: &mut Vec<LintFinding>) {
        let alloc = (self.program).position(|step| step == MicroStep::Alloc);
        let allocates = self.kind == ProgramKind::Allocate && self.named.is_none();
        for (at, step) in self.shared_steps() {
            if let Some(place) = step.place() {
                self.cell(list, at, step, place.cell, place.index.is_some());
            }
            if let Some(ledger) = step.ledger() {
                let (ledger, indexed) = (ledger.cell, ledger.index.is_some());
                match self.discipline.cells.get(&ledger) {
                    None => self.undeclared(list, at, step, ledger, "global ledger"),
                    Some(spec) if !spec.kind.is_ledger() => self.find(
                        list,
                        Some(at),
                        format!("{step}: {ledger} is a cell, and no ledger"),
                        format!("declare it as `{ledger} = \"global ledger\"`"),
                    ),
                    Some(spec) => self.index(list, at, step, ledger, spec, indexed),
                }
                if allocates && alloc.is_none_or(|alloc| at < alloc) {
                    self.find(
                        list,
                        Some(at),
                        format!("{step}: there is no address before `alloc`"),
                        "move it behind `alloc`",
                    );
                }
            }
            if let Some(lock) = step.lock()
                && !matches!(lock, Lock::Tracker | Lock::Lifecycle | Lock::Global)
            {
                self.find(
                    list,
                    Some(at),
                    format!("{step}: only tracker, lifecycle and global are more than a mutex"),
                    "name one of these",
                );
            }
        }
    }

    fn undeclared(
        &self,
        list: &mut Vec<LintFinding>,
        at: usize,
        step: SharedStep,
        name: Name,
        example: &str,
    ) {
        let known: Vec<String> = self.discipline.cells.keys().map(Name::to_string).collect();
        let known = match known.is_empty() {
            true => "there are none".to_owned(),
            false => format!("there are {}", known.join(", ")),
        };
        self.find(
            list,
            Some(at),
            format!("{step}: `{name}` is not declared in `[cells]`: {known}"),
            format!("declare it, as `{name} = \"{example}\"`"),
        );
    }

    fn cell(
        &self,
        list: &mut Vec<LintFinding>,
        at: usize,
        step: SharedStep,
        name: Name,
        indexed: bool,
    ) {
        let Some(spec) = self.discipline.cells.get(&name) else {
            return self.undeclared(list, at, step, name, "global atomic");
        };
        let is_one_action = matches!(
            step,
            SharedStep::FetchAdd(..) | SharedStep::FetchSub(..) | SharedStep::Cas(..)
        );
        if spec.kind.is_ledger() {
            self.find(
                list,
                Some(at),
                format!("{step}: {name} is a ledger, and no cell"),
                "use find, insert and erase",
            );
        } else if spec.kind == CellKind::Plain && is_one_action {
            self.find(
                list,
                Some(at),
                format!("{step}: {name} is a plain word, which no one action changes"),
                "declare it atomic, or write `add`, `sub`, or a load and a store",
            );
        }
        self.index(list, at, step, name, spec, indexed);
    }

    fn index(
        &self,
        list: &mut Vec<LintFinding>,
        at: usize,
        step: SharedStep,
        name: Name,
        spec: &CellSpec,
        indexed: bool,
    ) {
        // Of these, the index is the number of a process or a device.
        let numbered = matches!(spec.scope, CellScope::Process | CellScope::Device);
        if indexed && spec.entries == 1 && !numbered {
            self.find(
                list,
                Some(at),
                format!("{step}: {name} is no table"),
                format!("leave the index out, or declare it as `{name} = \"global[4] …\"`"),
            );
        } else if !indexed && spec.entries > 1 {
            self.find(
                list,
                Some(at),
                format!("{step}: {name} is a table of {}", spec.entries),
                format!("say which entry: `{name}[0]`"),
            );
        }
    }

    /// Locals that are read before they are set, and too many of them.
    fn locals(&self, list: &mut Vec<LintFinding>) {
        let mut set: Vec<Name> = Vec::new();
        for (at, step) in self.shared_steps() {
            for term in step.terms() {
                if let Term::Local(name) = term
                    && !set.contains(&name)
                {
                    self.find(
                        list,
                        Some(at),
                        format!("{step}: `{name}` was not set before"),
                        format!("set it, as `{name} = load CELL`"),
                    );
                    set.push(name);
                }
            }
            if let Some(name) = step.sets()
                && !set.contains(&name)
            {
                set.push(name);
                if set.len() == MAX_LOCALS + 1 {
                    self.find(
                        list,
                        Some(at),
                        format!("{step}: more than {MAX_LOCALS} locals"),
                        "use fewer, or use one again",
                    );
                }
            }
        }
    }

    /// Blocks that do not close, and steps on the wrong side of one; whether they are sound.
    fn blocks(&self, list: &mut Vec<LintFinding>) -> bool {
        let before = list.len();
        let mut open: Vec<OpenBlock> = Vec::new();
        for (at, step) in self.steps() {
            match step {
                MicroStep::Shared(step) if step.opens() => {
                    open.push(OpenBlock {
                        at,
                        step,
                        has_else: false,
                        leaves: false,
                    });
                    if open.len() == MAX_NESTED + 1 {
                        self.find(
                            list,
                            Some(at),
                            format!("{step}: more than {MAX_NESTED} blocks in one another"),
                            "make it flatter",
                        );
                    }
                }
                MicroStep::Shared(SharedStep::Else) => match open.last_mut() {
                    Some(block) if block.is_if() && !block.has_else => block.has_else = true,
                    _ => self.find(
                        list,
                        Some(at),
                        "else: no `if` is open here",
                        "write `if` before it, or remove it",
                    ),
                },
                MicroStep::Shared(SharedStep::Break) => {
                    let innermost = open.iter_mut().rev().find(|block| !block.is_if());
                    match innermost {
                        Some(block) => block.leaves = true,
                        None => self.find(
                            list,
                            Some(at),
                            "break: it stands in no loop",
                            "put it between `repeat` or `retry` and `end`, or write `return`",
                        ),
                    }
                }
                MicroStep::Shared(SharedStep::Return) => {
                    open.iter_mut().for_each(|block| block.leaves = true);
                }
                MicroStep::End => match open.pop() {
                    Some(block) => self.closes(list, at, block),
                    None => self.find(
                        list,
                        Some(at),
                        "end: no block is open here",
                        "write `if`, `repeat` or `retry` before it, or remove it",
                    ),
                },
                MicroStep::Alloc | MicroStep::Publish if !open.is_empty() => self.find(
                    list,
                    Some(at),
                    format!("{step}: it is done once, and no block is"),
                    "move it out of the block",
                ),
                _ => {}
            }
        }
        for block in open {
            self.find(
                list,
                Some(block.at),
                format!("{}: no `end` follows", block.step),
                "write `end` behind what belongs to it",
            );
        }
        list.len() == before
    }

    fn closes(&self, list: &mut Vec<LintFinding>, at: usize, block: OpenBlock) {
        if at == block.at + 1 {
            self.find(
                list,
                Some(at),
                "end: nothing stands in the block",
                "write what belongs into it, or remove it",
            );
        } else if matches!(block.step, SharedStep::Retry(_)) && !block.leaves {
            self.find(
                list,
                Some(block.at),
                format!("{}: nothing in it ends it", block.step),
                "write `break` where it has succeeded, or `repeat`",
            );
        }
    }
}

/// Blocks in one another: a loop's rounds multiply.
const MAX_NESTED: usize = 3;

/// A block whose `end` is still to come.
struct OpenBlock {
    at: usize,
    step: SharedStep,
    has_else: bool,
    /// Something in it leaves it for good.
    leaves: bool,
}

impl OpenBlock {
    fn is_if(&self) -> bool {
        matches!(self.step, SharedStep::If(_))
    }
}

/// Whether a condition says that a local is 1, or that it is 0.
fn says(condition: super::super::shared::Condition) -> Option<(Name, bool)> {
    let (Term::Local(name), None) = (condition.left.first, condition.left.rest) else {
        return None;
    };
    let (Term::Number(number), None) = (condition.right.first, condition.right.rest) else {
        return None;
    };
    match (condition.relation, number) {
        (Relation::Equal, 1) | (Relation::NotEqual | Relation::Greater, 0) => Some((name, true)),
        (Relation::Equal, 0) | (Relation::NotEqual | Relation::Less, 1) => Some((name, false)),
        _ => None,
    }
}
