//! The shared objects of a scenario: which there are, and how locks and objects are numbered.
//!
//! The numbering follows from the scenario alone, so a trace needs no table of names.

use crate::device::DeviceId;
use crate::lifecycle::Lock;

use super::cells::CellId;
use super::op::Op;

/// A lock, as an index among the scenario's locks (see [`Objects`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockId(pub u16);

/// A connection to the server, numbered from 0 in the order in which the process opened them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u16);

/// An object whose touches are counted: a lock, a device's allocator, a slot, a connection, the
/// shared connection cell, or a device's sequence counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u32);

impl ObjectId {
    /// As an index into a table of objects.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A slot's version shares one atomic word with its state, so it has fewer bits than the others and
/// wraps.
pub(crate) const SLOT_VERSION_MASK: u64 = (1 << 29) - 1;

/// How many shared objects of each sort a scenario has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Objects {
    /// Devices.
    pub devices: u16,
    /// Entries of the fixed lock table; 0 where the discipline has none.
    pub table: u16,
    /// Slots over all threads.
    pub slots: u32,
    /// Connections that the process may open.
    pub conns: u16,
    /// Cells and ledgers of the discipline.
    pub cells: u32,
}

/// The mutexes of one sort: one for all devices, or one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LockRow {
    first: u16,
    is_one: bool,
    /// Devices from here on have none.
    devices: u16,
}

impl LockRow {
    /// The one of `device`, unless it is out of bounds.
    #[inline]
    pub(crate) fn at(self, device: DeviceId) -> Option<LockId> {
        let offset = if self.is_one { 0 } else { device.0 };
        (device.0 < self.devices).then(|| LockId(self.first + offset))
    }
}

const TRACKER: u16 = 0;
const GLOBAL: u16 = 1;
const FIRST_LIFECYCLE: u16 = 2;

impl Objects {
    /// The device of part `part` of a buffer whose first part is on `first`: the next ones, round
    /// the system.
    #[inline]
    pub(crate) fn device_of(&self, first: DeviceId, part: u8) -> DeviceId {
        let device = first.0 + u16::from(part);
        DeviceId(if device < self.devices {
            device
        } else {
            device % self.devices
        })
    }

    /// The devices on which `ops` allocate, ascending.
    pub(crate) fn devices_of<'op>(&self, ops: impl IntoIterator<Item = &'op Op>) -> Vec<DeviceId> {
        let mut used: Vec<DeviceId> = Vec::new();
        for op in ops {
            if let Op::Allocate { request, .. } = op {
                used.extend((0..request.parts).map(|part| self.device_of(request.device, part)));
            }
        }
        used.sort_unstable();
        used.dedup();
        used
    }

    /// How many locks there are, allocator mutexes included.
    #[inline]
    pub fn locks(&self) -> u16 {
        FIRST_LIFECYCLE + 2 * self.devices + self.table
    }

    /// The mutexes that `lock` may mean.
    pub(crate) fn row(&self, lock: Lock) -> LockRow {
        let (first, is_one, devices) = match lock {
            Lock::Tracker => (TRACKER, true, u16::MAX),
            Lock::Global => (GLOBAL, true, u16::MAX),
            Lock::Lifecycle => (FIRST_LIFECYCLE, false, u16::MAX),
            Lock::LifecycleTable(entries) => (FIRST_LIFECYCLE + self.devices, false, entries),
            Lock::LifecycleOf(device) if device < self.devices => {
                (FIRST_LIFECYCLE + device, true, u16::MAX)
            }
            Lock::LifecycleOf(_) => (FIRST_LIFECYCLE, true, 0),
            Lock::Allocator => (self.first_allocator(), false, u16::MAX),
        };
        LockRow {
            first,
            is_one,
            devices,
        }
    }

    /// Which mutex `lock` means for a buffer of `device`; `None` where a table's index is out of
    /// its bounds.
    #[inline]
    pub fn resolve(&self, lock: Lock, device: DeviceId) -> Option<LockId> {
        self.row(lock).at(device)
    }

    /// The device whose allocator mutex this lock is, if it is one.
    #[inline]
    pub(crate) fn allocator_of(&self, lock: LockId) -> Option<DeviceId> {
        lock.0
            .checked_sub(self.first_allocator())
            .filter(|d| *d < self.devices)
            .map(DeviceId)
    }

    /// The lock's name in reports: `tracker`, `lifecycle of device 3`, `lifecycle[3]`…
    pub(crate) fn lock_name(&self, lock: LockId) -> String {
        if lock.0 == TRACKER {
            "tracker".to_owned()
        } else if lock.0 == GLOBAL {
            "global".to_owned()
        } else if let Some(device) = self.allocator_of(lock) {
            format!("allocator of device {device}")
        } else if lock.0 < FIRST_LIFECYCLE + self.devices {
            format!("lifecycle of device {}", lock.0 - FIRST_LIFECYCLE)
        } else {
            format!("lifecycle[{}]", lock.0 - FIRST_LIFECYCLE - self.devices)
        }
    }

    /// The object behind a lock. An allocator's mutex guards its device, so touches of either count
    /// as one: locks and their objects have the same numbers, and those of the allocators are their
    /// devices'.
    #[inline]
    pub(crate) fn lock_object(&self, lock: LockId) -> ObjectId {
        ObjectId(u32::from(lock.0))
    }

    /// A device's allocator.
    #[inline]
    pub(crate) fn device(&self, device: DeviceId) -> ObjectId {
        ObjectId(u32::from(self.first_allocator()) + u32::from(device.0))
    }

    /// A device's sequence counter.
    #[inline]
    pub(crate) fn counter(&self, device: DeviceId) -> ObjectId {
        ObjectId(u32::from(self.locks()) + u32::from(device.0))
    }

    /// A connection.
    #[inline]
    pub(crate) fn conn(&self, conn: ConnId) -> ObjectId {
        ObjectId(u32::from(self.locks()) + u32::from(self.devices) + u32::from(conn.0))
    }

    /// The cell that holds the shared connection.
    #[inline]
    pub(crate) fn cell(&self) -> ObjectId {
        self.conn(ConnId(self.conns))
    }

    /// A cell or a ledger of the discipline.
    #[inline]
    pub(crate) fn shared(&self, cell: CellId) -> ObjectId {
        ObjectId(self.cell().0 + 1 + cell.0)
    }

    /// A slot.
    #[inline]
    pub(crate) fn slot(&self, slot: u32) -> ObjectId {
        ObjectId(self.cell().0 + 1 + self.cells + slot)
    }

    /// How many objects there are.
    pub fn count(&self) -> usize {
        self.slot(self.slots).index()
    }

    #[inline]
    fn first_allocator(&self) -> u16 {
        FIRST_LIFECYCLE + self.devices + self.table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTS: Objects = Objects {
        devices: 10,
        table: 8,
        slots: 3,
        conns: 2,
        cells: 5,
    };

    #[test]
    fn a_device_beyond_the_lock_table_is_out_of_bounds() {
        assert!(
            OBJECTS
                .resolve(Lock::LifecycleTable(8), DeviceId(7))
                .is_some()
        );
        assert_eq!(OBJECTS.resolve(Lock::LifecycleTable(8), DeviceId(8)), None);
    }

    #[test]
    fn an_allocators_mutex_is_one_object_with_its_device() {
        for device in (0..10).map(DeviceId) {
            let lock = OBJECTS.resolve(Lock::Allocator, device).expect("no table");
            assert_eq!(OBJECTS.lock_object(lock), OBJECTS.device(device));
        }
    }

    #[test]
    fn every_object_has_a_number_of_its_own() {
        let mut numbers: Vec<u32> = Vec::new();
        for device in (0..10).map(DeviceId) {
            let lifecycle = OBJECTS
                .resolve(Lock::Lifecycle, device)
                .expect("not a table");
            numbers.extend([
                OBJECTS.lock_object(lifecycle).0,
                OBJECTS.device(device).0,
                OBJECTS.counter(device).0,
            ]);
            numbers.extend(
                OBJECTS
                    .resolve(Lock::LifecycleTable(8), device)
                    .map(|l| OBJECTS.lock_object(l).0),
            );
        }
        for lock in [Lock::Tracker, Lock::Global] {
            numbers.push(
                OBJECTS
                    .lock_object(OBJECTS.resolve(lock, DeviceId(0)).expect("not a table"))
                    .0,
            );
        }
        numbers.extend((0..2).map(|c| OBJECTS.conn(ConnId(c)).0));
        numbers.extend((0..5).map(|c| OBJECTS.shared(CellId(c)).0));
        numbers.extend((0..3).map(|s| OBJECTS.slot(s).0));
        numbers.push(OBJECTS.cell().0);
        numbers.sort_unstable();
        assert_eq!(numbers, (0..OBJECTS.count() as u32).collect::<Vec<_>>());
    }
}
