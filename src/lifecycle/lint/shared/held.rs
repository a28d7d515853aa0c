//! Which locks are held at a step of a program with branches: on every way to it the same.
//!
//! A `try-lock` is held where its local was seen to be 1.

use super::super::super::shared::{Name, SharedStep};
use super::super::super::step::{Lock, MicroStep};
use super::super::{LintFinding, MAX_HELD};
use super::{LintedProgram, says};

/// What is held: the lock, and whether others may hold it too.
type Held = Vec<(Lock, bool)>;

/// A block that is open, with what is held where its ways meet again.
struct OpenWays {
    step: SharedStep,
    /// At its begin; of an `if`, where the condition does not hold.
    other: Held,
    /// Where the ways that were walked leave it.
    after: Option<Held>,
}

/// Unlocks of what is not held, locks of what is, ways that differ, and locks that are held at the
/// end.
pub(super) fn check(at: &LintedProgram<'_>, list: &mut Vec<LintFinding>) {
    let mut walk = Walk {
        at,
        list,
        held: Some(Vec::new()),
        open: Vec::new(),
        tried: Vec::new(),
    };
    for (index, step) in at.steps() {
        walk.step(index, step);
    }
    if let Some(held) = walk.held {
        for (lock, _) in held {
            at.find(
                walk.list,
                None,
                format!("lock {lock}: still held at the end"),
                format!("add `unlock {lock}`"),
            );
        }
    }
}

struct Walk<'a, 'l> {
    at: &'a LintedProgram<'a>,
    list: &'l mut Vec<LintFinding>,
    /// `None`: no way leads here.
    held: Option<Held>,
    open: Vec<OpenWays>,
    tried: Vec<(Name, Lock)>,
}

impl Walk<'_, '_> {
    fn step(&mut self, index: usize, step: MicroStep) {
        match step {
            MicroStep::Lock(lock) => self.take(index, step, lock, false),
            MicroStep::Unlock(lock) => self.leave(index, step, lock, false),
            MicroStep::End => self.close(index),
            MicroStep::Shared(shared) => self.shared(index, step, shared),
            _ => {}
        }
    }

    fn shared(&mut self, index: usize, step: MicroStep, shared: SharedStep) {
        match shared {
            SharedStep::LockRobust(_, lock) => self.take(index, step, lock, false),
            SharedStep::LockShared(lock) => self.take(index, step, lock, true),
            SharedStep::UnlockShared(lock) => self.leave(index, step, lock, true),
            SharedStep::TryLock(name, lock) => {
                self.tried.retain(|(other, _)| *other != name);
                self.tried.push((name, lock));
                if self.holds(lock, None) {
                    self.already(index, step);
                }
            }
            SharedStep::Wait(lock) if self.held.is_some() && !self.holds(lock, Some(false)) => {
                self.not_held(index, step);
            }
            SharedStep::If(condition) => {
                let tried = says(condition).and_then(|(name, one)| {
                    let (_, lock) = self.tried.iter().find(|(other, _)| *other == name)?;
                    Some((*lock, one))
                });
                let mut other = self.held.clone().unwrap_or_default();
                match (tried, &mut self.held) {
                    (Some((lock, true)), Some(held)) => held.push((lock, false)),
                    (Some((lock, false)), _) => other.push((lock, false)),
                    _ => {}
                }
                self.open.push(OpenWays {
                    step: shared,
                    other,
                    after: None,
                });
            }
            SharedStep::Repeat(_) | SharedStep::Retry(_) => {
                let other = self.held.clone().unwrap_or_default();
                self.open.push(OpenWays {
                    step: shared,
                    other,
                    after: None,
                });
            }
            SharedStep::Else => {
                let then = self.held.take();
                if let Some(block) = self.open.last_mut() {
                    block.after = then;
                    self.held = Some(std::mem::take(&mut block.other));
                    // There is no third way.
                    block.step = SharedStep::Else;
                }
            }
            SharedStep::Break => {
                let held = self.held.take();
                let innermost = (self.open.iter())
                    .rposition(|b| matches!(b.step, SharedStep::Repeat(_) | SharedStep::Retry(_)));
                if let (Some(held), Some(at)) = (held, innermost) {
                    self.meet(index, at, held);
                }
            }
            SharedStep::Return => self.held = None,
            _ => {}
        }
    }

    /// A way leaves the block at `at` with `held`.
    fn meet(&mut self, index: usize, at: usize, held: Held) {
        let sorted = |held: &Held| {
            let mut held = held.clone();
            held.sort_unstable();
            held
        };
        match &self.open[at].after {
            Some(after) if sorted(after) != sorted(&held) => self.differ(index),
            Some(_) => {}
            None => self.open[at].after = Some(held),
        }
    }

    fn close(&mut self, index: usize) {
        let Some(block) = self.open.last() else {
            return;
        };
        let at = self.open.len() - 1;
        let (step, other) = (block.step, block.other.clone());
        let end = self.held.take();
        match step {
            SharedStep::If(_) => {
                if let Some(end) = end {
                    self.meet(index, at, end);
                }
                self.meet(index, at, other);
            }
            SharedStep::Else => {
                if let Some(end) = end {
                    self.meet(index, at, end);
                }
            }
            // The next round begins as the first did.
            SharedStep::Repeat(_) | SharedStep::Retry(_) => {
                let mut sorted = end.clone().unwrap_or_else(|| other.clone());
                let mut first = other.clone();
                sorted.sort_unstable();
                first.sort_unstable();
                if sorted != first {
                    self.differ(index);
                }
                if matches!(step, SharedStep::Repeat(_)) {
                    self.meet(index, at, other);
                }
            }
            _ => {}
        }
        self.held = self.open.pop().and_then(|block| block.after);
    }

    fn holds(&self, lock: Lock, shared: Option<bool>) -> bool {
        let held = self.held.iter().flatten();
        held.clone()
            .any(|(other, how)| *other == lock && shared.is_none_or(|shared| shared == *how))
    }

    fn take(&mut self, index: usize, step: MicroStep, lock: Lock, shared: bool) {
        if self.holds(lock, None) {
            self.already(index, step);
        } else if let Some(held) = &mut self.held {
            held.push((lock, shared));
            if held.len() > MAX_HELD {
                self.at.find(
                    self.list,
                    Some(index),
                    format!("{step}: more than {MAX_HELD} locks at a time"),
                    "hold fewer",
                );
            }
        }
    }

    fn leave(&mut self, index: usize, step: MicroStep, lock: Lock, shared: bool) {
        let Some(held) = &mut self.held else {
            return;
        };
        match held.iter().position(|held| *held == (lock, shared)) {
            Some(at) => {
                held.remove(at);
            }
            None => self.not_held(index, step),
        }
    }

    fn already(&mut self, index: usize, step: MicroStep) {
        self.at.find(
            self.list,
            Some(index),
            format!("{step}: the program already holds it, and would wait for itself"),
            "unlock it before, or remove this step",
        );
    }

    fn not_held(&mut self, index: usize, step: MicroStep) {
        self.at.find(
            self.list,
            Some(index),
            format!("{step}: the program does not hold it"),
            "lock it before, or remove this step",
        );
    }

    fn differ(&mut self, index: usize) {
        self.at.find(
            self.list,
            Some(index),
            "two ways to this step hold different locks",
            "lock and unlock in the same branch",
        );
    }
}
