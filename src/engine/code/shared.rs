//! Steps on what a program shares, decoded: cells and locks are resolved, locals are numbered, and
//! branches are jumps.
//!
//! Each becomes one instruction whose number stands in the program's own list, so that a program
//! without such steps has none of their weight.

use crate::lifecycle::shared::{
    CellPlace, Condition, Name, Operator, Relation, SharedStep, Sum, Term,
};
use crate::lifecycle::{Discipline, MicroStep, Program};
use crate::scenario::cells::{CellRow, CellTable};
use crate::scenario::objects::{LockRow, Objects};

use super::{Action, Instruction, Pc, Span};

/// A local, as an index into [`Locals`].
pub(crate) type Local = u8;

/// What a thread remembers within a program: its locals, and how far its loops are.
pub(crate) type Locals = [u64; 16];

/// The local that `add` and `sub` load into.
const SCRATCH: Local = 15;
/// The first round counter: one for each loop that stands in others.
const FIRST_ROUND: Local = 11;

/// A term with its local numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    Number(u64),
    Local(Local),
    Size,
    Buffer,
    Thread,
    Process,
    Device,
}

/// A sum with its locals numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Computed {
    pub(crate) first: Operand,
    pub(crate) rest: Option<(Operator, Operand)>,
}

/// A cell, or an entry of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellOperand {
    pub(crate) row: CellRow,
    pub(crate) index: Option<Operand>,
}

/// What an instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SharedAction {
    /// Forgets all locals.
    Clear,
    /// After the last step of a program of the discipline's own.
    EndRun,
    Set(Local, Computed),
    Load(Local, CellOperand),
    Store(CellOperand, Computed),
    /// Adds, or takes off.
    Fetch {
        to: Option<Local>,
        cell: CellOperand,
        by: Operand,
        subtracts: bool,
    },
    Swap {
        to: Option<Local>,
        cell: CellOperand,
        expected: Operand,
        desired: Computed,
    },
    Await(CellOperand, Relation, Operand),
    Join(CellOperand),
    Tell(CellOperand),
    Leave(CellOperand),
    /// Goes to the instruction where the condition does not hold.
    Unless {
        left: Computed,
        relation: Relation,
        right: Computed,
        otherwise: Pc,
    },
    Jump(Pc),
    /// Begins a loop: no round is done.
    FirstRound(Local),
    /// Begins a round, of at most so many.
    Round {
        counter: Local,
        most: u8,
        /// Behind the loop, where rounds may run out.
        behind: Option<Pc>,
    },
    Return {
        /// The program's end.
        end: Pc,
        /// Nobody has seen the buffer, and it gets no address any more.
        abandons: bool,
    },
    Find(Local, CellOperand),
    Insert(Option<Local>, CellOperand),
    Erase(Option<Local>, CellOperand),
    Use(Operand),
    LockShared(LockRow),
    UnlockShared(LockRow),
    TryLock(Local, LockRow),
    LockRobust(Local, LockRow),
    Wait(LockRow),
    Notify {
        row: LockRow,
        all: bool,
    },
}

/// Decodes the steps of one program that share something.
pub(super) struct SharedDecoder<'a> {
    pub(super) cells: &'a CellTable,
    pub(super) objects: Objects,
    pub(super) actions: &'a mut Vec<SharedAction>,
    pub(super) instructions: &'a mut Vec<Instruction>,
    locals: Vec<Name>,
    open: Vec<OpenBlock>,
    /// Instructions that go to the program's end.
    returns: Vec<usize>,
    published: bool,
    loops: u8,
}

/// A block whose end is not decoded yet; indices are of [`SharedDecoder::actions`].
struct OpenBlock {
    /// The condition, or what ends the first way of two.
    jump: usize,
    is_loop: bool,
    first: Pc,
    breaks: Vec<usize>,
}

impl<'a> SharedDecoder<'a> {
    pub(super) fn new(
        cells: &'a CellTable,
        objects: Objects,
        actions: &'a mut Vec<SharedAction>,
        instructions: &'a mut Vec<Instruction>,
    ) -> SharedDecoder<'a> {
        SharedDecoder {
            cells,
            objects,
            actions,
            instructions,
            locals: Vec::new(),
            open: Vec::new(),
            returns: Vec::new(),
            published: false,
            loops: 0,
        }
    }

    /// Appends `program`: other steps as `other` decodes them. Where it `runs` by name, it ends so.
    pub(super) fn program(
        mut self,
        program: &Program,
        allocates: bool,
        runs: bool,
        other: impl Fn(MicroStep) -> Option<Action>,
    ) -> Span {
        let first = self.pc();
        self.emit(SharedAction::Clear, 0);
        for (step, index) in program.steps().iter().zip(0..) {
            self.published |= *step == MicroStep::Publish;
            match *step {
                MicroStep::Shared(step) => self.step(step, index, allocates),
                MicroStep::End => self.close(index),
                step => {
                    if let Some(action) = other(step) {
                        self.instructions.push(Instruction { action, index });
                    }
                }
            }
        }
        let after = program.steps().len() as u8;
        self.emit(SharedAction::Clear, after);
        let end = self.pc();
        for at in std::mem::take(&mut self.returns) {
            if let SharedAction::Return { end: to, .. } = &mut self.actions[at] {
                *to = end - 1;
            }
        }
        if runs {
            self.emit(SharedAction::EndRun, after);
        } else {
            self.instructions.push(Instruction {
                action: Action::End,
                index: after,
            });
        }
        Span { first, end }
    }

    fn pc(&self) -> Pc {
        self.instructions.len() as Pc
    }

    fn emit(&mut self, action: SharedAction, index: u8) -> usize {
        let number = self.actions.len();
        self.actions.push(action);
        self.instructions.push(Instruction {
            action: Action::Shared(number as u16),
            index,
        });
        number
    }

    fn local(&mut self, name: Name) -> Local {
        let at = self.locals.iter().position(|known| *known == name);
        at.unwrap_or_else(|| {
            self.locals.push(name);
            self.locals.len() - 1
        }) as Local
    }

    fn operand(&mut self, term: Term) -> Operand {
        match term {
            Term::Number(number) => Operand::Number(number),
            Term::Local(name) => Operand::Local(self.local(name)),
            Term::Size => Operand::Size,
            Term::Buffer => Operand::Buffer,
            Term::Thread => Operand::Thread,
            Term::Process => Operand::Process,
            Term::Device => Operand::Device,
        }
    }

    fn computed(&mut self, sum: Sum) -> Computed {
        Computed {
            first: self.operand(sum.first),
            rest: sum.rest.map(|(how, term)| (how, self.operand(term))),
        }
    }

    fn row(&self, name: Name) -> CellRow {
        self.cells.row(name).expect("the lint passes no other")
    }

    fn cell(&mut self, place: CellPlace) -> CellOperand {
        CellOperand {
            row: self.row(place.cell),
            index: place.index.map(|index| self.operand(index)),
        }
    }

    fn step(&mut self, step: SharedStep, index: u8, allocates: bool) {
        let action = match step {
            SharedStep::Set(local, sum) => {
                let sum = self.computed(sum);
                SharedAction::Set(self.local(local), sum)
            }
            SharedStep::Load(local, place) => {
                let cell = self.cell(place);
                SharedAction::Load(self.local(local), cell)
            }
            SharedStep::Store(place, sum) => {
                SharedAction::Store(self.cell(place), self.computed(sum))
            }
            SharedStep::FetchAdd(to, place, by) => self.fetch(to, place, by, false),
            SharedStep::FetchSub(to, place, by) => self.fetch(to, place, by, true),
            SharedStep::Cas(to, place, expected, desired) => SharedAction::Swap {
                to: to.map(|to| self.local(to)),
                cell: self.cell(place),
                expected: self.operand(expected),
                desired: self.computed(desired),
            },
            SharedStep::Add(place, by) => self.add(place, Operator::Plus, by, index),
            SharedStep::Sub(place, by) => self.add(place, Operator::Minus, by, index),
            SharedStep::Await(place, relation, term) => {
                SharedAction::Await(self.cell(place), relation, self.operand(term))
            }
            SharedStep::Tell(place) => SharedAction::Tell(self.cell(place)),
            SharedStep::Join(place) => SharedAction::Join(self.cell(place)),
            SharedStep::Leave(place) => SharedAction::Leave(self.cell(place)),
            SharedStep::If(condition) => return self.begin_if(condition, index),
            SharedStep::Else => return self.other_way(index),
            SharedStep::Repeat(rounds) => return self.begin_loop(rounds, false, index),
            SharedStep::Retry(rounds) => return self.begin_loop(rounds, true, index),
            SharedStep::Break => {
                let number = self.emit(SharedAction::Jump(0), index);
                if let Some(block) = self.open.iter_mut().rev().find(|block| block.is_loop) {
                    block.breaks.push(number);
                }
                return;
            }
            SharedStep::Return => {
                let action = SharedAction::Return {
                    end: 0,
                    abandons: allocates && !self.published,
                };
                let number = self.emit(action, index);
                return self.returns.push(number);
            }
            SharedStep::Find(local, ledger) => {
                let ledger = self.cell(ledger);
                SharedAction::Find(self.local(local), ledger)
            }
            SharedStep::Insert(to, ledger) => {
                let ledger = self.cell(ledger);
                SharedAction::Insert(to.map(|to| self.local(to)), ledger)
            }
            SharedStep::Erase(to, ledger) => {
                let ledger = self.cell(ledger);
                SharedAction::Erase(to.map(|to| self.local(to)), ledger)
            }
            SharedStep::Use(term) => SharedAction::Use(self.operand(term)),
            SharedStep::LockShared(lock) => SharedAction::LockShared(self.objects.row(lock)),
            SharedStep::UnlockShared(lock) => SharedAction::UnlockShared(self.objects.row(lock)),
            SharedStep::TryLock(local, lock) => {
                SharedAction::TryLock(self.local(local), self.objects.row(lock))
            }
            SharedStep::LockRobust(local, lock) => {
                SharedAction::LockRobust(self.local(local), self.objects.row(lock))
            }
            SharedStep::Wait(lock) => SharedAction::Wait(self.objects.row(lock)),
            SharedStep::Notify(lock) => SharedAction::Notify {
                row: self.objects.row(lock),
                all: false,
            },
            SharedStep::NotifyAll(lock) => SharedAction::Notify {
                row: self.objects.row(lock),
                all: true,
            },
        };
        self.emit(action, index);
    }

    fn fetch(
        &mut self,
        to: Option<Name>,
        place: CellPlace,
        by: Term,
        subtracts: bool,
    ) -> SharedAction {
        SharedAction::Fetch {
            to: to.map(|to| self.local(to)),
            cell: self.cell(place),
            by: self.operand(by),
            subtracts,
        }
    }

    /// A load, here; the store that follows is what is returned.
    fn add(&mut self, place: CellPlace, how: Operator, by: Term, index: u8) -> SharedAction {
        let cell = self.cell(place);
        self.emit(SharedAction::Load(SCRATCH, cell), index);
        let sum = Computed {
            first: Operand::Local(SCRATCH),
            rest: Some((how, self.operand(by))),
        };
        SharedAction::Store(cell, sum)
    }

    fn begin_if(&mut self, condition: Condition, index: u8) {
        let action = SharedAction::Unless {
            left: self.computed(condition.left),
            relation: condition.relation,
            right: self.computed(condition.right),
            otherwise: 0,
        };
        let jump = self.emit(action, index);
        self.open.push(OpenBlock {
            jump,
            is_loop: false,
            first: 0,
            breaks: Vec::new(),
        });
    }

    fn other_way(&mut self, index: u8) {
        let past = self.emit(SharedAction::Jump(0), index);
        let here = self.pc();
        if let Some(block) = self.open.last_mut() {
            let condition = std::mem::replace(&mut block.jump, past);
            go_to(&mut self.actions[condition], here);
        }
    }

    fn begin_loop(&mut self, rounds: u8, gives_up: bool, index: u8) {
        let counter = FIRST_ROUND + self.loops;
        self.loops += 1;
        self.emit(SharedAction::FirstRound(counter), index);
        let first = self.pc();
        let round = SharedAction::Round {
            counter,
            most: rounds,
            behind: (!gives_up).then_some(0),
        };
        let jump = self.emit(round, index);
        self.open.push(OpenBlock {
            jump,
            is_loop: true,
            first,
            breaks: Vec::new(),
        });
    }

    fn close(&mut self, index: u8) {
        let Some(block) = self.open.pop() else {
            return;
        };
        if block.is_loop {
            self.loops -= 1;
            self.emit(SharedAction::Jump(block.first), index);
        }
        let here = self.pc();
        go_to(&mut self.actions[block.jump], here);
        for number in block.breaks {
            go_to(&mut self.actions[number], here);
        }
    }
}

/// Where a jump goes to, once that is known.
fn go_to(action: &mut SharedAction, to: Pc) {
    match action {
        SharedAction::Jump(at) | SharedAction::Unless { otherwise: at, .. } => *at = to,
        SharedAction::Round {
            behind: Some(at), ..
        } => *at = to,
        _ => {}
    }
}

/// The discipline's own programs, in the order of their names.
pub(super) fn own_programs(discipline: &Discipline) -> impl Iterator<Item = (&Name, &Program)> {
    discipline.programs.iter()
}
