//! The lint: which programs cannot be run as they are written, and which look like a slip.
//!
//! An *error* means that the program has no sensible execution: it unlocks what it does not hold,
//! waits for itself, sends before there is an address. A *warning* is about what can be run but
//! hardly was meant, and about lock orders that can deadlock. Races are no business of the lint:
//! programs that race are what heisenbed runs.
//!
//! `check-live` and `claim` release what is held when they return early, as a lock guard does, so
//! that a lock may be held there.

use std::fmt;

use serde::Serialize;

use super::discipline::{BufferPath, Discipline, Program, ProgramKind};
use super::shared::{Name, SharedStep};
use super::step::{Lock, MicroStep, SendKind};
use crate::registry::Semantics;

mod blocks;
pub(crate) mod shared;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The discipline cannot be run.
    Error,
    /// The discipline can be run, but may not be what was meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// One thing that the lint found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LintFinding {
    /// How bad it is.
    pub severity: Severity,
    /// On which path.
    #[serde(skip_serializing_if = "is_plain")]
    pub path: BufferPath,
    /// In which program.
    pub program: ProgramKind,
    /// In which of the discipline's own programs, if it is one of those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub named: Option<Name>,
    /// The index of the step, from 0; `None` when a step is missing.
    pub step: Option<usize>,
    /// The line of the step, or of the program's first one; 0 when it was not read from a text.
    pub line: u32,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl LintFinding {
    /// One line, `FILE:LINE: what is wrong; what to do`.
    pub(crate) fn located(&self, file: &str) -> String {
        let LintFinding {
            path,
            message,
            remedy,
            ..
        } = self;
        let program = match self.named {
            Some(name) => name.to_string(),
            None => self.program.to_string(),
        };
        match (self.line, self.step) {
            (0, None) => format!("{file}: {}{program}: {message}; {remedy}", path.prefix()),
            (0, Some(step)) => format!(
                "{file}: {}{program} step {}: {message}; {remedy}",
                path.prefix(),
                step + 1
            ),
            (line, None) => {
                format!(
                    "{file}:{line}: {}{program}: {message}; {remedy}",
                    path.prefix()
                )
            }
            (line, Some(_)) => format!("{file}:{line}: {message}; {remedy}"),
        }
    }
}

/// Everything the lint has to say, in the order of the programs and their steps. A discipline
/// without an error among the findings is accepted.
pub fn lint(discipline: &Discipline) -> Vec<LintFinding> {
    let mut findings = Findings {
        discipline,
        path: BufferPath::Plain,
        list: Vec::new(),
    };
    for kind in ProgramKind::ALL {
        each_program(&mut findings, kind);
    }
    address_before_use(&mut findings);
    status_guards(&mut findings);
    unstamped_sends(&mut findings);
    if discipline.mesh.is_some() {
        findings.path = BufferPath::Mesh;
        for kind in ProgramKind::ALL {
            each_program(&mut findings, kind);
        }
        address_before_use(&mut findings);
        unstamped_sends(&mut findings);
    }
    lock_order(&mut findings);
    shared::check(discipline, &mut findings.list);
    findings
        .list
        .sort_by_key(|finding| (finding.path, finding.named, finding.program, finding.step));
    findings.list
}

/// What holds of any program by itself.
fn each_program(findings: &mut Findings, kind: ProgramKind) {
    misplaced_steps(findings, kind);
    blocks::check(findings, kind);
    // With branches, what is held is not what stands before a step.
    if !findings.discipline.shares() {
        held_locks(findings, kind);
    }
    lost_stamps(findings, kind);
    let tracks = !findings.discipline.cells.is_empty();
    if !tracks && !findings.program(kind).steps().iter().copied().any(is_send) {
        findings.warning(
            kind,
            None,
            "no message is sent, so that the server never hears of it".to_string(),
            format!(
                "add `send {}`, unless it is meant to be untracked",
                own_message(kind)
            ),
        );
    }
}

fn is_plain(path: &BufferPath) -> bool {
    *path == BufferPath::Plain
}

struct Findings<'a> {
    discipline: &'a Discipline,
    /// The path at hand.
    path: BufferPath,
    list: Vec<LintFinding>,
}

impl<'a> Findings<'a> {
    /// The program of the path at hand.
    fn program(&self, kind: ProgramKind) -> &'a Program {
        self.discipline
            .program_on(self.path, kind)
            .expect("a path is looked at where it is given")
    }

    fn error(
        &mut self,
        program: ProgramKind,
        step: Option<usize>,
        message: String,
        remedy: String,
    ) {
        self.add(Severity::Error, program, step, message, remedy);
    }

    fn warning(
        &mut self,
        program: ProgramKind,
        step: Option<usize>,
        message: String,
        remedy: String,
    ) {
        self.add(Severity::Warning, program, step, message, remedy);
    }

    fn add(
        &mut self,
        severity: Severity,
        program: ProgramKind,
        step: Option<usize>,
        message: String,
        remedy: String,
    ) {
        let line = self.program(program).line(step.unwrap_or(0));
        self.list.push(LintFinding {
            severity,
            path: self.path,
            program,
            named: None,
            step,
            line,
            message,
            remedy,
        });
    }
}

/// Steps that belong to the other program, and those that must be there exactly once.
fn misplaced_steps(findings: &mut Findings, kind: ProgramKind) {
    for (at, step) in findings.program(kind).steps().iter().copied().enumerate() {
        if belongs_to(step).is_some_and(|home| home != kind) {
            let message = format!("{step}: has no meaning in {kind}");
            let other = match kind {
                ProgramKind::Allocate => ProgramKind::Deallocate,
                ProgramKind::Deallocate => ProgramKind::Allocate,
            };
            findings.error(
                kind,
                Some(at),
                message,
                format!("move it to {other}, or remove it"),
            );
        }
    }
    let needed: &[(MicroStep, &str)] = match kind {
        ProgramKind::Allocate => &[
            (MicroStep::Alloc, "no address is ever handed out"),
            (MicroStep::Publish, "no thread ever sees the buffer"),
        ],
        ProgramKind::Deallocate => &[(MicroStep::Free, "the buffer is never released")],
    };
    for (needed, otherwise) in needed {
        let steps = findings.program(kind).steps().iter().copied().enumerate();
        let found: Vec<usize> = steps
            .filter(|(_, step)| step == needed)
            .map(|(at, _)| at)
            .collect();
        let elsewhere = *needed == MicroStep::Free
            && (findings.discipline.programs.values())
                .any(|program| program.steps().contains(&MicroStep::Free));
        if found.is_empty() && !elsewhere {
            findings.error(
                kind,
                None,
                format!("{needed} is missing: {otherwise}"),
                format!("add `{needed}`"),
            );
        }
        // A release may stand in several branches.
        let branches = *needed == MicroStep::Free && findings.discipline.shares();
        for at in found.into_iter().skip(1).filter(|_| !branches) {
            let message = format!("{needed}: the program does it a second time");
            findings.error(kind, Some(at), message, "remove one of the two".to_string());
        }
    }
}

/// The most locks that a program may hold at a time.
pub const MAX_HELD: usize = 12;

/// Unlocks of what is not held, locks of what is, and locks that are held at the end.
fn held_locks(findings: &mut Findings, kind: ProgramKind) {
    let mut held: Vec<(Lock, usize)> = Vec::new();
    for (at, step) in findings.program(kind).steps().iter().copied().enumerate() {
        match step {
            MicroStep::Lock(lock) if held.iter().any(|(other, _)| *other == lock) => findings
                .error(
                    kind,
                    Some(at),
                    format!("{step}: the program already holds it, and would wait for itself"),
                    "unlock it before, or remove this step".to_string(),
                ),
            MicroStep::Lock(lock) => {
                if let Lock::LifecycleOf(device) = lock {
                    findings.warning(
                        kind,
                        Some(at),
                        format!("{step}: the mutex of device {device} guards nothing of a buffer on another device"),
                        "write `lock lifecycle`".to_string(),
                    );
                }
                held.push((lock, at));
                if held.len() == MAX_HELD + 1 {
                    findings.error(
                        kind,
                        Some(at),
                        format!("{step}: more than {MAX_HELD} locks at a time"),
                        "hold fewer".to_string(),
                    );
                }
            }
            MicroStep::Unlock(lock) => match held.iter().position(|(other, _)| *other == lock) {
                Some(place) => {
                    held.remove(place);
                }
                None => findings.error(
                    kind,
                    Some(at),
                    format!("{step}: the program does not hold it"),
                    "lock it before, or remove this step".to_string(),
                ),
            },
            MicroStep::CheckLiveUnguarded if !held.is_empty() => {
                let names: Vec<String> = held.iter().map(|(lock, _)| lock.to_string()).collect();
                findings.warning(
                    kind,
                    Some(at),
                    format!(
                        "{step}: an early return leaves {} locked for good",
                        names.join(" and ")
                    ),
                    "write `check-live`, as with a lock guard, or lock after it".to_string(),
                );
            }
            _ => {}
        }
    }
    for (lock, at) in held {
        findings.error(
            kind,
            Some(at),
            format!("lock {lock}: still held at the end of {kind}"),
            format!("add `unlock {lock}`"),
        );
    }
}

/// Stamps whose number no message carries: a server that orders by number would wait for it.
fn lost_stamps(findings: &mut Findings, kind: ProgramKind) {
    let program = findings.program(kind);
    for (at, step) in program.steps().iter().copied().enumerate() {
        if step != MicroStep::Stamp {
            continue;
        }
        let ends_it = |step: &MicroStep| {
            is_send(*step) || matches!(step, MicroStep::Stamp | MicroStep::End) || step.may_return()
        };
        let reason = match program.steps()[at + 1..].iter().copied().find(ends_it) {
            Some(MicroStep::Send(_)) => continue,
            Some(MicroStep::Stamp) => {
                "the next `stamp` takes another number before it is sent".to_string()
            }
            Some(MicroStep::End) => "the block ends before it is sent".to_string(),
            Some(guard) => format!("`{guard}` may return before it is sent"),
            None => "no message is sent after it".to_string(),
        };
        findings.error(
            kind,
            Some(at),
            format!("stamp: its number is lost, and a sequencing server waits for it: {reason}"),
            "put it directly before the send it belongs to, or remove it".to_string(),
        );
    }
}

/// Sends and publications before there is an address.
fn address_before_use(findings: &mut Findings) {
    let allocate = findings.program(ProgramKind::Allocate);
    let Some(alloc) = allocate.position(|step| step == MicroStep::Alloc) else {
        return;
    };
    for (at, step) in allocate.steps().iter().copied().enumerate().take(alloc) {
        let announces = matches!(step, MicroStep::Send(kind) if kind.announces());
        if announces || step == MicroStep::Publish {
            findings.error(
                ProgramKind::Allocate,
                Some(at),
                format!("{step}: there is no address before `alloc`"),
                "move it behind `alloc`".to_string(),
            );
        }
    }
}

/// Status guards that never pass, never stop anyone, or are not there.
fn status_guards(findings: &mut Findings) {
    const KIND: ProgramKind = ProgramKind::Deallocate;
    let deallocate = findings.program(KIND);
    let marks_live = findings
        .program(ProgramKind::Allocate)
        .steps()
        .contains(&MicroStep::MarkLive);
    let mut ended_by = None;
    for (at, step) in deallocate.steps().iter().copied().enumerate() {
        if step.may_return() && !marks_live {
            findings.error(
                KIND,
                Some(at),
                format!("{step}: allocate never marks the buffer live, so that every release returns here"),
                "add `mark-live` to allocate".to_string(),
            );
        } else if let (true, Some(ended_by)) = (step.may_return(), ended_by) {
            findings.error(
                KIND,
                Some(at),
                format!("{step}: the buffer is not live after `{ended_by}`, so that every release returns here"),
                format!("move it before `{ended_by}`, or remove it"),
            );
        }
        if matches!(step, MicroStep::Claim | MicroStep::MarkDead) {
            ended_by = Some(step);
        }
    }
    let guard = deallocate.position(MicroStep::may_return);
    let free = deallocate.position(|step| step == MicroStep::Free);
    match (guard, free) {
        (Some(guard), Some(free)) if guard < free => {
            if ended_by.is_none() {
                findings.warning(
                    KIND,
                    Some(guard),
                    "check-live: the status never changes, so that it stops no second release".to_string(),
                    "add `mark-dead`, or use `claim`".to_string(),
                );
            }
        }
        (_, Some(free)) => findings.warning(
            KIND,
            Some(free),
            "free: no status is checked before, so that a second release of the buffer goes through".to_string(),
            "begin with `check-live` or `claim`".to_string(),
        ),
        (_, None) => {}
    }
}

/// Sends without a number in a discipline that orders by number.
fn unstamped_sends(findings: &mut Findings) {
    let stamped = findings.discipline.semantics == Some(Semantics::Sequenced)
        || ProgramKind::ALL
            .iter()
            .any(|kind| findings.program(*kind).steps().contains(&MicroStep::Stamp));
    if !stamped {
        return;
    }
    for kind in ProgramKind::ALL {
        let mut stamp = false;
        for (at, step) in findings.program(kind).steps().iter().copied().enumerate() {
            if is_send(step) && !stamp {
                findings.warning(
                    kind,
                    Some(at),
                    format!("{step}: no number was taken for it, so that a sequencing server cannot place it"),
                    "add `stamp` before it".to_string(),
                );
            }
            stamp = (stamp && !is_send(step)) || step == MicroStep::Stamp;
        }
    }
}

/// Locks that are taken in one order here and in the other there.
fn lock_order(findings: &mut Findings) {
    for turn in turned_orders(findings.discipline) {
        let OrderTurn {
            path,
            kind,
            at,
            step,
            taken,
            held,
        } = turn;
        findings.path = path;
        findings.warning(
            kind,
            Some(at),
            format!("{step}: takes {taken} while it holds {held}, and elsewhere {held} is taken while {taken} is held: two threads can deadlock"),
            "take the locks in one order everywhere".to_string(),
        );
    }
}

/// Whether locks are taken in one order everywhere: then no threads wait for each other for good.
pub(crate) fn has_one_lock_order(discipline: &Discipline) -> bool {
    turned_orders(discipline).is_empty()
}

/// A step that takes a lock in another order than an earlier one.
struct OrderTurn {
    path: BufferPath,
    kind: ProgramKind,
    at: usize,
    step: MicroStep,
    taken: Lock,
    held: Lock,
}

/// `alloc` and `free` count as taking the allocator's. Each turn is at the step that closes a cycle
/// with what came before it.
fn turned_orders(discipline: &Discipline) -> Vec<OrderTurn> {
    let mut orders: Vec<(Lock, Lock)> = Vec::new();
    let mut turns = Vec::new();
    for (path, kind, program) in discipline.programs() {
        let mut held: Vec<Lock> = Vec::new();
        for (at, step) in program.steps().iter().copied().enumerate() {
            let taken = match step {
                MicroStep::Lock(lock) => lock,
                MicroStep::Alloc | MicroStep::Free => Lock::Allocator,
                MicroStep::Shared(SharedStep::LockShared(lock)) => lock,
                MicroStep::Shared(SharedStep::UnlockShared(lock)) | MicroStep::Unlock(lock) => {
                    held.retain(|other| *other != lock);
                    continue;
                }
                _ => continue,
            };
            if held.contains(&taken) {
                continue;
            }
            for before in held.iter().copied() {
                if leads_to(&orders, taken, before) {
                    turns.push(OrderTurn {
                        path,
                        kind,
                        at,
                        step,
                        taken,
                        held: before,
                    });
                } else if !orders.contains(&(before, taken)) {
                    orders.push((before, taken));
                }
            }
            if !matches!(step, MicroStep::Alloc | MicroStep::Free) {
                held.push(taken);
            }
        }
    }
    turns
}

/// Whether `orders` (held, then taken) lead from `from` to `to`.
fn leads_to(orders: &[(Lock, Lock)], from: Lock, to: Lock) -> bool {
    let mut reached = vec![from];
    let mut next = 0;
    while let Some(lock) = reached.get(next).copied() {
        for (before, after) in orders {
            if *before == lock && !reached.contains(after) {
                reached.push(*after);
            }
        }
        next += 1;
    }
    reached.contains(&to)
}

fn belongs_to(step: MicroStep) -> Option<ProgramKind> {
    match step {
        MicroStep::Alloc
        | MicroStep::Publish
        | MicroStep::MarkLive
        | MicroStep::Send(SendKind::Alloc | SendKind::CbAlloc) => Some(ProgramKind::Allocate),
        MicroStep::Free
        | MicroStep::CheckLive
        | MicroStep::CheckLiveUnguarded
        | MicroStep::Claim
        | MicroStep::MarkDead
        | MicroStep::Send(SendKind::Free | SendKind::CbFree) => Some(ProgramKind::Deallocate),
        MicroStep::Lock(_)
        | MicroStep::Unlock(_)
        | MicroStep::Stamp
        | MicroStep::DebugLog
        | MicroStep::EachDevice
        | MicroStep::End
        | MicroStep::Shared(_) => None,
    }
}

fn own_message(kind: ProgramKind) -> SendKind {
    match kind {
        ProgramKind::Allocate => SendKind::Alloc,
        ProgramKind::Deallocate => SendKind::Free,
    }
}

fn is_send(step: MicroStep) -> bool {
    matches!(step, MicroStep::Send(_))
}

#[cfg(test)]
#[path = "lint_tests.rs"]
mod tests;
