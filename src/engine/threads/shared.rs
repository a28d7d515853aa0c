//! A discipline's own cells, ledgers and reader-writer locks, for real threads.
//!
//! Each access of a cell is one action under a mutex of the cell's own, so that it can be recorded
//! with its place among the others: a plain word's load and store are two accesses, as in code, and
//! what is lost between them is lost here. What a processor may put in another order is not shown.

use std::sync::atomic::AtomicU64;

use parking_lot::{Mutex, RwLock};

use crate::lifecycle::shared::{CellScope, SharedStep};
use crate::lifecycle::{Discipline, MicroStep};
use crate::registry::ledger::Ledgers;
use crate::scenario::Scenario;
use crate::scenario::cells::CellId;
use crate::scenario::op::Op;
use crate::trace::shared_event::CellAccess;

use super::processes;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct SharedThreads {
    /// Of each cell, what is in it and its version.
    cells: Vec<Mutex<(u64, u64)>>,
    /// Ledgers by the number of their cell, and their versions.
    pub(super) ledgers: Mutex<(Ledgers, Vec<u64>)>,
    /// Every lock but the allocators', where any is ever taken together with others; each counts
    /// its touches.
    pub(super) rw: Option<Vec<RwLock<AtomicU64>>>,
    /// Cells that begin anew with each buffer: the first of each, its entries, and what they begin
    /// with.
    of_buffers: Vec<(u32, u32, u64)>,
}

impl SharedThreads {
    pub(super) fn new(scenario: &Scenario) -> Option<SharedThreads> {
        if !scenario.discipline.shares() {
            return None;
        }
        let table = scenario.cells();
        let mut initial = vec![(0, 0); table.count() as usize];
        let mut of_buffers = Vec::new();
        for row in table.rows() {
            for cell in row.ids() {
                initial[cell as usize].0 = row.spec.initial;
            }
            if row.spec.scope == CellScope::Buffer {
                let entries = u32::from(row.spec.entries);
                of_buffers.push((row.ids().start, entries, row.spec.initial));
            }
        }
        let is_shared =
            |step: &MicroStep| matches!(step, MicroStep::Shared(SharedStep::LockShared(_)));
        let shares_locks = (scenario.discipline.every_program())
            .any(|program| program.steps().iter().any(is_shared));
        let locks = scenario.objects().locks();
        Some(SharedThreads {
            ledgers: Mutex::new((Ledgers::new(initial.len()), vec![0; initial.len()])),
            cells: initial.into_iter().map(Mutex::new).collect(),
            rw: shares_locks.then(|| (0..locks).map(|_| RwLock::new(AtomicU64::new(0))).collect()),
            of_buffers,
        })
    }

    /// An allocation begins in `slot`: cells of its buffer are new.
    pub(super) fn open(&self, slot: u32) {
        for (first, entries, value) in &self.of_buffers {
            let from = first + slot * entries;
            for cell in from..from + entries {
                self.cells[cell as usize].lock().0 = *value;
            }
        }
    }

    /// Touches a cell: what was in it, and its version.
    pub(super) fn cell(&self, cell: CellId, access: CellAccess) -> (u64, u64) {
        let mut cell = self.cells[cell.index()].lock();
        let (found, version) = *cell;
        *cell = (access.leaves(found), version + 1);
        (found, version + 1)
    }

    /// Reads a cell where what is in it fits.
    pub(super) fn try_await(
        &self,
        cell: CellId,
        fits: &impl Fn(u64) -> bool,
    ) -> Option<(u64, u64)> {
        let mut cell = self.cells[cell.index()].lock();
        if !fits(cell.0) {
            return None;
        }
        cell.1 += 1;
        Some(*cell)
    }
}

/// The first step or operation of a scenario that real threads cannot run, and why.
pub(super) fn refused(scenario: &Scenario) -> Option<String> {
    let kills = (0..scenario.threads)
        .filter(|_| scenario.workload.script.is_some())
        .flat_map(|thread| scenario.ops_of(thread, 0))
        .find(|op| matches!(op, Op::Kill { .. }));
    if let Some(op) = kills
        && let Some(why) = match scenario.processes() {
            1 => Some("there is one process".to_owned()),
            _ => processes::unsuited(scenario),
        }
    {
        return Some(format!("`{op}`, where {why}"));
    }
    let step = refused_step(&scenario.discipline)?;
    Some(format!(
        "`{step}`: what it finds or wakes has no place among the steps of others that could be \
         recorded"
    ))
}

fn refused_step(discipline: &Discipline) -> Option<MicroStep> {
    let mut steps = (discipline.every_program()).flat_map(|program| program.steps());
    let refused = steps.find(|step| {
        matches!(
            step,
            MicroStep::Shared(
                SharedStep::TryLock(..)
                    | SharedStep::Wait(_)
                    | SharedStep::Notify(_)
                    | SharedStep::NotifyAll(_)
            )
        )
    });
    refused.copied()
}
