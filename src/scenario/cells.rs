//! The cells of a scenario: which there are, and how they are numbered.
//!
//! A discipline declares a cell once; how many there are of it follows from its scope and the
//! scenario. The numbering follows from the scenario alone, as that of the other shared objects.

use crate::device::{DeviceId, Memory};
use crate::lifecycle::shared::{CellScope, CellSpec};
use crate::lifecycle::{Discipline, Name};

use super::op::SlotId;

/// A cell or a ledger, numbered over all that the scenario has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellId(pub u32);

impl CellId {
    /// As an index into a table of cells.
    #[inline]
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a thread is, as far as that decides which cell a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellContext {
    pub(crate) device: DeviceId,
    pub(crate) memory: Memory,
    pub(crate) process: u16,
    pub(crate) thread: u16,
    pub(crate) slot: SlotId,
}

/// All cells of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellRow {
    /// Its name.
    pub(crate) name: Name,
    /// Its declaration.
    pub(crate) spec: CellSpec,
    first: u32,
    /// How many its scope has; each is a table of `spec.entries`.
    instances: u32,
}

impl CellRow {
    /// The one that is meant: of a table the entry `index` modulo its length, of a cell of each
    /// process or device that of process (from 1) or device number `index`.
    pub(crate) fn at(&self, context: CellContext, index: Option<u64>) -> CellId {
        let named = index.filter(|_| self.spec.entries == 1);
        let round = |number: u64| (number % u64::from(self.instances)) as u32;
        let instance = match self.spec.scope {
            CellScope::Global => 0,
            CellScope::Device if let Some(number) = named => round(number),
            CellScope::Device => u32::from(context.device.0),
            CellScope::Memory => {
                u32::from(context.device.0) * Memory::ALL.len() as u32 + context.memory as u32
            }
            CellScope::Process if let Some(number) = named.filter(|number| *number > 0) => {
                round(number - 1)
            }
            CellScope::Process => u32::from(context.process),
            CellScope::Thread => u32::from(context.thread),
            CellScope::Buffer => context.slot.0,
        };
        let entries = u32::from(self.spec.entries);
        let entry = (index.unwrap_or(0) % u64::from(entries)) as u32;
        CellId(self.first + instance * entries + entry)
    }

    /// Every cell of it.
    pub(crate) fn ids(&self) -> std::ops::Range<u32> {
        self.first..self.first + self.instances * u32::from(self.spec.entries)
    }
}

/// All cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CellTable {
    rows: Vec<CellRow>,
}

impl CellTable {
    /// Of a discipline, in a system of so many of each.
    pub(crate) fn new(
        discipline: &Discipline,
        devices: u16,
        processes: u16,
        threads: u16,
        slots: u32,
    ) -> CellTable {
        let mut first = 0;
        let row = |(name, spec): (&Name, &CellSpec)| {
            let instances = match spec.scope {
                CellScope::Global => 1,
                CellScope::Device => u32::from(devices),
                CellScope::Memory => u32::from(devices) * Memory::ALL.len() as u32,
                CellScope::Process => u32::from(processes),
                CellScope::Thread => u32::from(threads),
                CellScope::Buffer => slots,
            };
            let row = CellRow {
                name: *name,
                spec: *spec,
                first,
                instances,
            };
            first = row.ids().end;
            row
        };
        CellTable {
            rows: discipline.cells.iter().map(row).collect(),
        }
    }

    /// How many cells there are.
    pub(crate) fn count(&self) -> u32 {
        self.rows.last().map_or(0, |row| row.ids().end)
    }

    /// The cells of that name.
    pub(crate) fn row(&self, name: Name) -> Option<CellRow> {
        self.rows.iter().find(|row| row.name == name).copied()
    }

    /// The cells, by name.
    pub(crate) fn rows(&self) -> &[CellRow] {
        &self.rows
    }

    /// The row that a cell is of.
    pub(crate) fn row_of(&self, cell: CellId) -> Option<&CellRow> {
        self.rows.iter().find(|row| row.ids().contains(&cell.0))
    }

    /// The device that a cell is of, where each device has one.
    pub(crate) fn device_of(&self, cell: CellId) -> Option<DeviceId> {
        let row = self.row_of(cell)?;
        let instance = (cell.0 - row.first) / u32::from(row.spec.entries);
        (row.spec.scope == CellScope::Device).then_some(DeviceId(instance as u16))
    }

    /// A cell's name in reports: `total of device 0`, `pid[1]`.
    pub(crate) fn name_of(&self, cell: CellId) -> String {
        let Some(row) = self.row_of(cell) else {
            return format!("cell {}", cell.0);
        };
        let entries = u32::from(row.spec.entries);
        let at = cell.0 - row.first;
        let (instance, entry) = (at / entries, at % entries);
        let memories = Memory::ALL.len() as u32;
        let mut text = row.name.to_string();
        if entries > 1 {
            text.push_str(&format!("[{entry}]"));
        }
        // Where there is one, its name is enough.
        if row.instances > 1 {
            text.push_str(&match row.spec.scope {
                CellScope::Global => String::new(),
                CellScope::Device => format!(" of device {instance}"),
                CellScope::Memory => format!(
                    " of {} {}",
                    Memory::ALL[(instance % memories) as usize].name(),
                    instance / memories
                ),
                CellScope::Process => format!(" of process {}", instance + 1),
                CellScope::Thread => format!(" of t{instance}"),
                CellScope::Buffer => format!(" of s{instance}"),
            });
        }
        text
    }
}
