//! Programs, decoded: what a thread runs, one instruction after another.
//!
//! A discipline says what to do for any buffer. Which of its steps are actions, which message a
//! send sends and which locks a step may mean is decided here, once for each kind of buffer, so
//! that the step function has only to do it. A step that a buffer has no part in (tracking one that
//! does not own its memory) is left out.

mod shared;

use crate::device::BufferKind;
use crate::lifecycle::{
    BufferPath, Discipline, MicroStep, Name, Program, ProgramKind, Publication, SendKind,
};
use crate::planted::Planted;
use crate::scenario::objects::{LockRow, Objects};
use crate::scenario::op::{Op, SlotId};
use crate::scenario::{Connections, Scenario};
use crate::tracking::sent::SentKind;

pub(crate) use shared::{CellOperand, Computed, Local, Locals, Operand, SharedAction};
use shared::{SharedDecoder, own_programs};

/// The programs of a scenario, ready to run.
#[derive(Clone, Debug)]
pub struct Code {
    /// Apart from `steps`, so that one is eight bytes: a thread loads one at every step.
    actions: Box<[Action]>,
    /// Which step of its program as written each instruction is.
    steps: Box<[u8]>,
    /// Of allocate and deallocate, by kind of buffer.
    programs: [[Span; BufferKind::ALL.len()]; 2],
    /// Of the discipline's own path for mesh buffers: releases one whose allocation failed half
    /// way, so that nothing was sent.
    unannounced: Option<Span>,
    /// Steps on what a program shares, by the number in their instruction.
    shared: Box<[SharedAction]>,
    /// The discipline's own programs, by kind of buffer.
    named: Vec<(Name, [Span; BufferKind::ALL.len()])>,
    pub(super) processes: u16,
    pub(super) early: bool,
    pub(super) connections: Connections,
    pub(super) chunks: u8,
    pub(super) objects: Objects,
}

/// Where an instruction is: an index among those of all programs.
pub(crate) type Pc = u16;

/// Where a program is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    pub(crate) first: Pc,
    /// Its [`Action::End`].
    pub(crate) end: Pc,
}

/// One instruction, before it is put among those of all programs.
#[derive(Clone, Copy, Debug)]
struct Instruction {
    action: Action,
    /// Which step of the program as written.
    index: u8,
}

/// What an instruction does: a [`MicroStep`], as far as it can be said in advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Lock(LockRow),
    Unlock(LockRow),
    Alloc,
    Free,
    Stamp,
    Send(SentKind),
    CheckLive,
    CheckLiveUnguarded,
    Claim,
    MarkLive,
    MarkDead,
    Publish,
    DebugLog,
    /// After the last step.
    End,
    /// Before the first step that is done for each device of a mesh buffer; the last of them is
    /// before `end`.
    EachDevice {
        /// Whether no other such block was before.
        is_first: bool,
        /// Its [`Action::EndEach`].
        end: Pc,
    },
    /// After the last of them; the first is `first`.
    EndEach {
        first: Pc,
    },
    /// Makes all handles of a mesh buffer visible.
    PublishWhole,
    /// After the last step for a mesh buffer.
    EndWhole,
    /// One of [`Code::shared`].
    Shared(u16),
}

impl Action {
    /// Whether it is something that is done, and no more than a place in a program.
    #[inline]
    pub(super) fn is_done(self) -> bool {
        !matches!(
            self,
            Action::End | Action::EndWhole | Action::EachDevice { .. } | Action::EndEach { .. }
        )
    }
}

impl Code {
    /// The programs of `scenario`.
    pub fn new(scenario: &Scenario) -> Code {
        let discipline = &scenario.discipline;
        let mut code = Code {
            actions: Box::default(),
            steps: Box::default(),
            programs: Default::default(),
            unannounced: None,
            shared: Box::default(),
            named: Vec::new(),
            processes: scenario.processes(),
            early: discipline.publication() == Publication::Early,
            connections: scenario.transport.connections,
            chunks: scenario.transport.chunks,
            objects: scenario.objects(),
        };
        let mut instructions = Vec::new();
        if discipline.shares() {
            code.decode_shared(scenario, &mut instructions);
            return code.with(&instructions);
        }
        for program in ProgramKind::ALL {
            for kind in BufferKind::ALL {
                let first = instructions.len();
                let own = discipline.program_on(BufferPath::Mesh, program);
                if let (BufferKind::Mesh, Some(own)) = (kind, own) {
                    let debug_log = scenario.debug_log.enabled;
                    let span = code.decode_mesh(own, debug_log, true, &mut instructions);
                    code.programs[program as usize][kind as usize] = span;
                    if program == ProgramKind::Deallocate {
                        let span = code.decode_mesh(own, debug_log, false, &mut instructions);
                        code.unannounced = Some(span);
                    }
                    continue;
                }
                instructions.extend(code.decode(
                    discipline,
                    program,
                    kind,
                    scenario.debug_log.enabled,
                    scenario.planted == Some(Planted::PreallocatedTracked),
                ));
                code.programs[program as usize][kind as usize] = Span {
                    first: first as Pc,
                    end: (instructions.len() - 1) as Pc,
                };
            }
        }
        code.with(&instructions)
    }

    fn with(mut self, instructions: &[Instruction]) -> Code {
        self.actions = instructions.iter().map(|at| at.action).collect();
        self.steps = instructions.iter().map(|at| at.index).collect();
        self
    }

    /// The programs of a discipline with steps on what it shares.
    fn decode_shared(&mut self, scenario: &Scenario, instructions: &mut Vec<Instruction>) {
        let discipline = &scenario.discipline;
        let cells = scenario.cells();
        let objects = self.objects;
        let debug_log = scenario.debug_log.enabled;
        let mut actions = Vec::new();
        let mut append = |program: &Program, kind: BufferKind, allocates: bool, runs: bool| {
            let decoder = SharedDecoder::new(&cells, objects, &mut actions, instructions);
            decoder.program(program, allocates, runs, |step| {
                plain_action(step, kind, &objects, debug_log, false)
            })
        };
        for kind in BufferKind::ALL {
            for program in ProgramKind::ALL {
                let allocates = program == ProgramKind::Allocate;
                let span = append(discipline.program(program), kind, allocates, false);
                self.programs[program as usize][kind as usize] = span;
            }
        }
        for (name, program) in own_programs(discipline) {
            let spans = BufferKind::ALL.map(|kind| append(program, kind, false, true));
            self.named.push((*name, spans));
        }
        self.shared = actions.into();
    }

    /// One of the discipline's own programs, for a buffer of that kind.
    pub(super) fn named(&self, name: Name, kind: BufferKind) -> Option<Span> {
        let (_, spans) = self.named.iter().find(|(known, _)| *known == name)?;
        Some(spans[kind as usize])
    }

    /// The step of that number.
    pub(super) fn shared(&self, number: u16) -> SharedAction {
        self.shared[usize::from(number)]
    }

    fn decode(
        &self,
        discipline: &Discipline,
        program: ProgramKind,
        kind: BufferKind,
        debug_log: bool,
        tracks_views: bool,
    ) -> impl Iterator<Item = Instruction> {
        let steps = discipline.program(program).steps();
        let end = Instruction {
            action: Action::End,
            index: steps.len() as u8,
        };
        let objects = self.objects;
        steps
            .iter()
            .zip(0..)
            .filter_map(move |(step, index)| {
                let action = plain_action(*step, kind, &objects, debug_log, tracks_views)?;
                Some(Instruction { action, index })
            })
            .chain([end])
    }

    /// Appends a program of the discipline's own path for mesh buffers; without its messages, where
    /// it `sends` none.
    fn decode_mesh(
        &self,
        program: &Program,
        debug_log: bool,
        sends: bool,
        instructions: &mut Vec<Instruction>,
    ) -> Span {
        let first = instructions.len() as Pc;
        let mut opened: Option<Pc> = None;
        let mut is_first = true;
        for (step, index) in program.steps().iter().zip(0..) {
            let pc = instructions.len() as Pc;
            let action = match *step {
                MicroStep::Send(_) | MicroStep::Stamp if !sends => continue,
                MicroStep::DebugLog if !debug_log => continue,
                MicroStep::Publish => Action::PublishWhole,
                MicroStep::EachDevice => {
                    opened = Some(pc);
                    Action::EachDevice { is_first, end: pc }
                }
                MicroStep::End => {
                    // The lint passes no other.
                    let each = opened.take().expect("a block begins before it ends");
                    instructions[usize::from(each)].action =
                        Action::EachDevice { is_first, end: pc };
                    is_first = false;
                    Action::EndEach { first: each + 1 }
                }
                step => match action(step, BufferKind::Mesh, &self.objects) {
                    Some(action) => action,
                    None => continue,
                },
            };
            instructions.push(Instruction { action, index });
        }
        let end = instructions.len() as Pc;
        instructions.push(Instruction {
            action: Action::EndWhole,
            index: program.steps().len() as u8,
        });
        Span { first, end }
    }

    /// What releases a mesh buffer of which nothing was sent; `None` where its parts go through the
    /// programs of others.
    #[inline]
    pub(super) fn unannounced(&self) -> Option<Span> {
        self.unannounced
    }

    #[inline]
    pub(super) fn program(&self, program: ProgramKind, kind: BufferKind) -> Span {
        self.programs[program as usize][kind as usize]
    }

    #[inline]
    pub(super) fn at(&self, pc: Pc) -> Action {
        self.actions[usize::from(pc)]
    }

    /// Which step of its program as written the instruction is.
    #[inline]
    pub(crate) fn step_at(&self, pc: Pc) -> usize {
        usize::from(self.steps[usize::from(pc)])
    }

    /// Whether the instruction after `pc` is of the same step.
    pub(crate) fn step_goes_on(&self, pc: Pc) -> bool {
        let step = |pc: usize| self.steps.get(pc);
        step(usize::from(pc) + 1) == step(usize::from(pc))
    }

    /// Which step of which program each instruction is, in order; the step after the last one
    /// stands for what follows the program.
    pub(crate) fn origins(&self) -> impl Iterator<Item = (BufferPath, ProgramKind, usize)> {
        let mesh = self.unannounced.iter().chain(
            self.programs
                .iter()
                .map(|programs| &programs[BufferKind::Mesh as usize])
                .filter(|_| self.unannounced.is_some()),
        );
        let mesh: Vec<Span> = mesh.copied().collect();
        self.steps.iter().zip(0..).map(move |(step, pc)| {
            let is_here = |span: &Span| (span.first..=span.end).contains(&pc);
            let program = if self.programs[0].iter().any(is_here) {
                ProgramKind::Allocate
            } else {
                ProgramKind::Deallocate
            };
            let path = if mesh.iter().any(is_here) {
                BufferPath::Mesh
            } else {
                BufferPath::Plain
            };
            (path, program, usize::from(*step))
        })
    }
}

/// What a step is for a buffer of that kind that takes the two programs; `None` where the buffer
/// has no part in it.
fn plain_action(
    step: MicroStep,
    kind: BufferKind,
    objects: &Objects,
    debug_log: bool,
    tracks_views: bool,
) -> Option<Action> {
    let is_tracked = kind.owns_memory() || tracks_views;
    match step {
        MicroStep::Send(_) if !is_tracked => None,
        MicroStep::Alloc | MicroStep::Free | MicroStep::Stamp if !kind.owns_memory() => None,
        MicroStep::DebugLog if !debug_log => None,
        step => action(step, kind, objects),
    }
}

/// What a step is for a buffer of that kind; `None` of a bracket.
fn action(step: MicroStep, kind: BufferKind, objects: &Objects) -> Option<Action> {
    Some(match step {
        MicroStep::Lock(lock) => Action::Lock(objects.row(lock)),
        MicroStep::Unlock(lock) => Action::Unlock(objects.row(lock)),
        MicroStep::Send(send) => Action::Send(sent_kind(send, kind)),
        MicroStep::Alloc => Action::Alloc,
        MicroStep::Free => Action::Free,
        MicroStep::Stamp => Action::Stamp,
        MicroStep::CheckLive => Action::CheckLive,
        MicroStep::CheckLiveUnguarded => Action::CheckLiveUnguarded,
        MicroStep::Claim => Action::Claim,
        MicroStep::MarkLive => Action::MarkLive,
        MicroStep::MarkDead => Action::MarkDead,
        MicroStep::Publish => Action::Publish,
        MicroStep::DebugLog => Action::DebugLog,
        MicroStep::EachDevice | MicroStep::End | MicroStep::Shared(_) => return None,
    })
}

/// The message that a buffer's `send` sends: circular buffers have their own.
fn sent_kind(send: SendKind, kind: BufferKind) -> SentKind {
    match (send, kind) {
        (SendKind::Alloc, BufferKind::Circular) | (SendKind::CbAlloc, _) => SentKind::CbAlloc,
        (SendKind::Free, BufferKind::Circular) | (SendKind::CbFree, _) => SentKind::CbFree,
        (SendKind::Alloc, _) => SentKind::Alloc,
        (SendKind::Free, _) => SentKind::Free,
    }
}

/// Instructions that can be run at once, whatever other threads are about to do; why, says who made
/// the table.
#[derive(Clone, Debug)]
pub(crate) struct SafeSteps {
    /// Of each instruction.
    pub(crate) instructions: Box<[Safe]>,
    /// Whether a send is safe in all its pieces where its step is.
    pub(crate) sends_in_pieces: bool,
    /// Whether a thread's end is safe: the server takes no note of it.
    pub(crate) ends: bool,
    /// By slot.
    pub(crate) slots: Box<[SlotUse]>,
    /// Whether an operation that waited for its slot, or lets others have it, is safe then.
    pub(crate) in_turn: bool,
}

/// Who uses a slot; the order is that of [`Safe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotUse {
    /// One thread alone.
    Private,
    /// Several, but one after the other: what is in it is released once, at the most.
    HandedOn,
    /// Several at a time.
    Contended,
}

/// When an instruction is safe: where the slot's [`SlotUse`] is below, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Safe {
    /// Not before others.
    Never = 0,
    /// On a slot that one thread alone uses.
    OnPrivateSlot = SlotUse::Private as u8 + 1,
    /// On that, and on one that is handed from one thread to the next.
    OnHandedSlot = SlotUse::HandedOn as u8 + 1,
    /// Wherever it is.
    Always = SlotUse::Contended as u8 + 1,
    /// It ends its program, and is as safe as what comes then.
    AtEnd,
}

impl SafeSteps {
    /// No step is safe: what is proved for sound code says nothing of a planted mistake.
    pub(crate) fn none(code: &Code, slots: u32) -> SafeSteps {
        SafeSteps {
            instructions: vec![Safe::Never; code.actions.len()].into(),
            sends_in_pieces: false,
            ends: false,
            slots: vec![SlotUse::Contended; slots as usize].into(),
            in_turn: false,
        }
    }

    #[inline]
    pub(super) fn at(&self, pc: Pc) -> Safe {
        self.instructions[usize::from(pc)]
    }

    #[inline]
    pub(crate) fn is_private(&self, slot: SlotId) -> bool {
        self.slots[slot.index()] == SlotUse::Private
    }

    /// Whether an instruction that is `safe` so, and not [`Safe::AtEnd`], is safe on `slot`. Asked
    /// before every step: a comparison, since a `match` is an indirect jump that the processor
    /// guesses wrongly.
    #[inline]
    pub(super) fn is_safe_on(&self, safe: Safe, slot: SlotId) -> bool {
        debug_assert_ne!(safe, Safe::AtEnd);
        let slot_use = (self.slots.get(slot.index())).map_or(SlotUse::Contended, |known| *known);
        (slot_use as u8) < safe as u8
    }

    /// Whether beginning `op`, or ending where there is none, is safe.
    #[inline(always)]
    pub(super) fn opens(&self, op: Option<&Op>) -> bool {
        match op {
            Some(Op::Allocate { slot, .. } | Op::Release { slot, .. }) => {
                self.in_turn || self.is_private(*slot)
            }
            Some(Op::Throw) | None => self.ends,
            Some(Op::AwaitOthers | Op::Close { .. } | Op::Run { .. } | Op::Kill { .. }) => false,
        }
    }
}
