//! What becomes of a discipline in the cells in which it is judged, and what it costs.
//!
//! A discipline's cost is what its two programs do while they hold a lock that stands in another
//! thread's way: the more steps, the more is waited for. A mutex of the whole process counts as
//! worse than one of a device with as many steps under it.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Cell;
use crate::lifecycle::{Discipline, Lock, MicroStep, Order, ProgramKind, Publication};
use crate::numbers::plural;
use crate::oracle::Verdict;

/// What a discipline's judged cells come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Works {
    /// Every cell is proved.
    Everywhere,
    /// Every cell is, but where two threads release one buffer.
    WhereReleasedOnce,
    /// A cell diverges.
    No,
    /// None does, but not every cell was decided.
    Undecided,
}

/// What becomes of a discipline.
pub(super) struct Standing {
    pub(super) label: String,
    /// The form of a discipline of the user's, if it is that form which is judged.
    pub(super) written: Option<(Order, Publication)>,
    /// Whether the file is written in none of the forms that were asked for.
    pub(super) asked_otherwise: bool,
    pub(super) judged: Tallied,
    /// The other forms of a discipline of the user's, in the order of the table.
    pub(super) what_ifs: Vec<((Order, Publication), Tallied)>,
    pub(super) cost: Cost,
    pub(super) needs_server: bool,
}

/// Some cells of a discipline, counted.
#[derive(Clone, Default)]
pub(super) struct Tallied {
    pub(super) cells: usize,
    pub(super) diverged: usize,
    pub(super) undecided: usize,
    /// Workloads under which it diverges.
    pub(super) diverging: BTreeSet<String>,
    /// Workloads under which it was not decided.
    pub(super) open: BTreeSet<String>,
    /// Whether it diverges where a buffer is released once.
    released_once: bool,
}

impl Standing {
    pub(super) fn works(&self) -> Works {
        self.judged.works()
    }

    pub(super) fn price(&self) -> String {
        let Cost {
            steps,
            process_wide,
            locks,
        } = self.cost;
        format!(
            "{} under a lock of {}, {} in an allocate and a release",
            plural(steps as u64, "step"),
            if process_wide {
                "the process"
            } else {
                "the device"
            },
            plural(locks as u64, "lock"),
        )
    }
}

impl Tallied {
    pub(super) fn works(&self) -> Works {
        match (self.released_once, self.undecided, self.diverged) {
            (true, ..) => Works::No,
            (false, 1.., _) => Works::Undecided,
            (false, 0, 0) => Works::Everywhere,
            (false, 0, _) => Works::WhereReleasedOnce,
        }
    }

    fn add(&mut self, cell: &Cell) {
        self.cells += 1;
        match cell.verdict {
            Verdict::Proved | Verdict::Clean => {}
            Verdict::Diverged => {
                self.diverged += 1;
                self.diverging.insert(cell.plan.workload.clone());
                self.released_once |= !cell.plan.shares_releases();
            }
            Verdict::Inconclusive => {
                self.undecided += 1;
                self.open.insert(cell.plan.workload.clone());
            }
        }
    }
}

/// What holding locks costs a discipline: compared in the order of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost {
    /// Steps of both programs that are done under any lock.
    steps: usize,
    /// Whether one of the outermost locks is the whole process's.
    process_wide: bool,
    /// Locks that are taken.
    locks: usize,
}

impl Cost {
    fn of(discipline: &Discipline) -> Cost {
        let mut cost = Cost {
            steps: 0,
            process_wide: false,
            locks: 0,
        };
        for kind in ProgramKind::ALL {
            let mut held: Vec<Lock> = Vec::new();
            for step in discipline.program(kind).steps() {
                match step {
                    MicroStep::Lock(lock) => {
                        cost.process_wide |=
                            held.is_empty() && matches!(lock, Lock::Global | Lock::Tracker);
                        cost.locks += 1;
                        held.push(*lock);
                    }
                    MicroStep::Unlock(lock) => held.retain(|other| other != lock),
                    _ => cost.steps += usize::from(!held.is_empty()),
                }
            }
        }
        cost
    }
}

/// The disciplines in the order of the cells.
pub(super) fn standings(cells: &[Cell]) -> Vec<Standing> {
    let mut standings: Vec<Standing> = Vec::new();
    for cell in cells {
        let plan = &cell.plan;
        let index = match standings
            .iter()
            .position(|standing| standing.label == plan.label)
        {
            Some(index) => index,
            None => {
                standings.push(Standing {
                    label: plan.label.clone(),
                    written: plan.written,
                    asked_otherwise: plan.written.is_some(),
                    judged: Tallied::default(),
                    what_ifs: Vec::new(),
                    cost: Cost::of(&plan.discipline),
                    needs_server: plan.discipline.semantics.is_some(),
                });
                standings.len() - 1
            }
        };
        let standing = &mut standings[index];
        let form = (plan.order, plan.publish);
        standing.asked_otherwise &= plan.written != Some(form);
        if !plan.what_if {
            standing.judged.add(cell);
            continue;
        }
        let at = standing
            .what_ifs
            .iter()
            .position(|(known, _)| *known == form);
        let at = at.unwrap_or_else(|| {
            standing.what_ifs.push((form, Tallied::default()));
            standing.what_ifs.len() - 1
        });
        standing.what_ifs[at].1.add(cell);
    }
    standings
}
