//! What the matrix comes to, in words: which of the proposed fixes works, and which is the cheapest
//! that does.
//!
//! A discipline's cost is what its two programs do while they hold a lock that stands in another
//! thread's way: the more steps, the more is waited for. A mutex of the whole process counts as
//! worse than one of a device with as many steps under it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Cell;
use crate::lifecycle::{Discipline, Lock, MicroStep, ProgramKind};
use crate::numbers::plural;
use crate::oracle::Verdict;

/// The summary below the table.
pub(super) fn answer(cells: &[Cell], elapsed_s: f64) -> String {
    let count = |verdict| cells.iter().filter(|cell| cell.verdict == verdict).count() as u64;
    let mut text = format!(
        "{}: {} proved, {} diverged, {} not decided, in {elapsed_s:.1} s\n",
        plural(cells.len() as u64, "cell"),
        count(Verdict::Proved),
        count(Verdict::Diverged),
        count(Verdict::Inconclusive),
    );
    let standings = standings(cells);
    let works = |wanted: fn(&Standing) -> bool| -> Vec<&Standing> {
        let mut works: Vec<&Standing> = standings
            .iter()
            .filter(|standing| wanted(standing))
            .collect();
        works.sort_by_key(|standing| standing.cost);
        works
    };
    let everywhere = works(|standing| standing.broken.is_empty());
    let one_owner = works(|standing| {
        !standing.broken.is_empty()
            && standing
                .broken
                .iter()
                .all(|workload| workload == "shared-free")
    });
    let _ = writeln!(text, "\nWhich fix works?");
    line(&mut text, "in every cell", &everywhere);
    line(
        &mut text,
        "in every cell but where two threads release one buffer",
        &one_owner,
    );
    for standing in &standings {
        if !standing.broken.is_empty() && one_owner.iter().all(|other| other.name != standing.name)
        {
            let _ = writeln!(
                text,
                "  does not work: {} ({} of {} cells diverge: {})",
                standing.name,
                standing.diverged,
                standing.cells,
                standing
                    .broken
                    .iter()
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ")
            );
        }
    }
    if let Some(cheapest) = everywhere.first() {
        let _ = writeln!(
            text,
            "The cheapest that works everywhere: {} ({}).",
            cheapest.name,
            cheapest.price()
        );
    }
    if let Some(cheapest) = everywhere.iter().find(|standing| !standing.needs_server)
        && everywhere.first().is_some_and(|first| first.needs_server)
    {
        let _ = writeln!(
            text,
            "The cheapest that leaves the server as it is: {} ({}).",
            cheapest.name,
            cheapest.price()
        );
    }
    if let Some(cheapest) = one_owner.first() {
        let _ = writeln!(
            text,
            "The cheapest where every buffer is released once: {} ({}).",
            cheapest.name,
            cheapest.price()
        );
    }
    if let Some(same) = same_divergences(cells, "unlocked", "lifecycle-narrow") {
        let _ = writeln!(
            text,
            "lifecycle-narrow {} unlocked: {} divergences in each of its cells.",
            if same {
                "is no better than"
            } else {
                "differs from"
            },
            if same {
                "the same kinds of"
            } else {
                "not the same"
            }
        );
    }
    text
}

fn line(text: &mut String, what: &str, standings: &[&Standing]) {
    let names: Vec<String> = standings
        .iter()
        .map(|standing| {
            let server = if standing.needs_server {
                " (with a server of its own)"
            } else {
                ""
            };
            format!("{}{server}", standing.name)
        })
        .collect();
    if !names.is_empty() {
        let _ = writeln!(text, "  works {what}: {}", names.join(", "));
    }
}

/// What becomes of a discipline in all its cells.
struct Standing {
    name: String,
    cells: usize,
    diverged: usize,
    /// Workloads under which it diverges, or is not proved.
    broken: BTreeSet<String>,
    cost: Cost,
    needs_server: bool,
}

impl Standing {
    fn price(&self) -> String {
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

/// What holding locks costs a discipline: compared in the order of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
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

fn standings(cells: &[Cell]) -> Vec<Standing> {
    let mut standings: Vec<Standing> = Vec::new();
    for cell in cells {
        let discipline = &cell.plan.discipline;
        let index = match standings
            .iter()
            .position(|standing| standing.name == discipline.name)
        {
            Some(index) => index,
            None => {
                standings.push(Standing {
                    name: discipline.name.clone(),
                    cells: 0,
                    diverged: 0,
                    broken: BTreeSet::new(),
                    cost: Cost::of(discipline),
                    needs_server: discipline.semantics.is_some(),
                });
                standings.len() - 1
            }
        };
        let standing = &mut standings[index];
        standing.cells += 1;
        if cell.verdict != Verdict::Proved {
            standing.diverged += usize::from(cell.verdict == Verdict::Diverged);
            standing.broken.insert(cell.plan.workload.clone());
        }
    }
    standings
}

/// Whether two disciplines show the same kinds in each cell that both have; `None` where they have
/// none in common.
fn same_divergences(cells: &[Cell], a: &str, b: &str) -> Option<bool> {
    let of = |name: &str| -> Vec<_> {
        cells
            .iter()
            .filter(|cell| cell.plan.discipline.name == name)
            .map(|cell| {
                let plan = &cell.plan;
                let key = (
                    plan.order,
                    plan.publish,
                    plan.workload.as_str(),
                    plan.semantics,
                );
                (key, cell.verdict, cell.kinds())
            })
            .collect()
    };
    let (a, b) = (of(a), of(b));
    (!a.is_empty() && !b.is_empty()).then(|| a == b)
}
