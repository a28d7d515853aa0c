//! What the timeline says of steps on cells, ledgers and locks that are more than a mutex.

use crate::lifecycle::shared::CellRole;
use crate::numbers::grouped;
use crate::oracle::buffer_words;
use crate::scenario::cells::{CellId, CellRow};
use crate::trace::event::Event;
use crate::trace::shared_event::{CellAccess, LedgerAction, SharedEvent};

use super::history::{RunHistory, RunStep};

impl RunHistory {
    /// A cell's name.
    pub(super) fn cell_name(&self, cell: CellId) -> String {
        self.cells.name_of(cell)
    }

    /// What the thread's cell of the table says of such a step.
    pub(super) fn shared_label(&self, step: &RunStep, event: &SharedEvent) -> String {
        let lock = |lock| self.objects.lock_name(lock);
        match *event {
            SharedEvent::Cell {
                cell,
                access,
                found,
                ..
            } => self.cell_label(cell, access, found),
            SharedEvent::Ledger {
                ledger,
                action,
                found,
                ..
            } => {
                let ledger = self.cell_name(ledger);
                let at = self.place_at_hand(step);
                match (action, found) {
                    (LedgerAction::Find, 0) => format!("find {at} in {ledger}: not there"),
                    (LedgerAction::Find, found) => {
                        format!("find {at} in {ledger}: {}", buffer_words(found))
                    }
                    (LedgerAction::Insert, 0) => format!("insert {at} into {ledger}"),
                    (LedgerAction::Insert, found) => {
                        format!(
                            "insert {at} into {ledger}: TAKEN by {}",
                            buffer_words(found)
                        )
                    }
                    (LedgerAction::Erase, 0) => format!("erase {at} from {ledger}: NOT THERE"),
                    (LedgerAction::Erase, found) => {
                        format!("erase {at} from {ledger}: {}", buffer_words(found))
                    }
                }
            }
            SharedEvent::Use { buffer, .. } => format!("use {}", buffer_words(buffer)),
            SharedEvent::LockShared { lock: id, .. } => format!("lock-shared {}", lock(id)),
            SharedEvent::UnlockShared { lock: id, .. } => format!("unlock-shared {}", lock(id)),
            SharedEvent::TryFailed { lock: id } => format!("try-lock {}: held", lock(id)),
            SharedEvent::Wait { lock: id } => format!("wait {}", lock(id)),
            SharedEvent::Notify { lock: id, all } => {
                let how = if all { "notify-all" } else { "notify" };
                format!("{how} {}", lock(id))
            }
            SharedEvent::Kill { process } => format!("process {} ends", process + 1),
            SharedEvent::Reclaim { .. } => "its memory goes back".to_owned(),
            SharedEvent::BlockedOnCell { cell } => {
                format!("waits for {} to change", self.cell_name(cell))
            }
            SharedEvent::BlockedOnNotify { lock: id } => {
                format!("waits on {} to be notified", lock(id))
            }
            SharedEvent::OutOfRounds => "out of rounds".to_owned(),
        }
    }

    /// What each counter that was touched shows at the end.
    pub(super) fn counters(&self) -> Vec<String> {
        let counts = |row: &&CellRow| row.spec.role.is_some_and(CellRole::counts);
        let cells = self.cells.rows().iter().filter(counts);
        cells
            .flat_map(CellRow::ids)
            .map(CellId)
            .filter_map(|cell| {
                let last = self.steps.iter().rev().find_map(|step| {
                    let (at, access, found) = access_of(step)?;
                    (at == cell).then(|| access.leaves(found))
                });
                Some(format!("{} shows {}", self.cell_name(cell), number(last?)))
            })
            .collect()
    }

    fn cell_label(&self, cell: CellId, access: CellAccess, found: u64) -> String {
        let name = self.cell_name(cell);
        let found_words = number(found);
        match access {
            CellAccess::Load => format!("load {name}: {found_words}"),
            CellAccess::Store(value) => format!("store {name} {}", number(value)),
            CellAccess::Add(by) => {
                format!("fetch-add {name} {}: {found_words} before", number(by))
            }
            CellAccess::Sub(by) => {
                format!("fetch-sub {name} {}: {found_words} before", number(by))
            }
            CellAccess::Swap { expected, desired } if expected == found => {
                format!("cas {name} {found_words} -> {}", number(desired))
            }
            CellAccess::Swap { expected, .. } => {
                format!("cas {name} {}: LOST, it is {found_words}", number(expected))
            }
            CellAccess::Join => format!("join {name}"),
            CellAccess::Leave => format!("leave {name}"),
            CellAccess::Tell => format!("tell {name}: {}", number(found)),
        }
    }
}

/// The cell that a step touches, how, and what was in it.
pub(super) fn access_of(step: &RunStep) -> Option<(CellId, CellAccess, u64)> {
    match step.event {
        Event::Shared(SharedEvent::Cell {
            cell,
            access,
            found,
            ..
        }) => Some((cell, access, found)),
        _ => None,
    }
}

/// A number as counters are read: what is beyond half of the range is below nothing.
pub(super) fn number(value: u64) -> String {
    match value.cast_signed() {
        below @ i64::MIN..0 => format!("-{}", grouped(below.unsigned_abs())),
        _ => grouped(value),
    }
}
