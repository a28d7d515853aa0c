//! The lives of a recording's buffers: who allocated what, and who released it when.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::super::allocation::{AllocationEvent, AllocationRecord, Buffer};
use super::Plan;
use crate::device::Memory;

/// Threads and devices that are told apart; more can only be damage.
const MAX_COUNTED: usize = 1 << 16;

/// What a recording holds.
#[derive(Debug, Default)]
pub(super) struct Census {
    pub(crate) allocations: u64,
    /// Threads by the order in which they appear.
    pub(crate) threads: FxHashMap<u64, usize>,
    pub(crate) devices: BTreeSet<i32>,
    /// Records of a device come after those of another.
    last_device: Option<i32>,
    changes: u64,
}

impl Census {
    pub(crate) fn count(&mut self, record: &AllocationRecord) {
        if let Some(thread) = record.thread.filter(|_| self.threads.len() < MAX_COUNTED) {
            let next = self.threads.len();
            self.threads.entry(thread).or_insert(next);
        }
        if let AllocationEvent::Allocated(buffer) = record.what {
            self.allocations += 1;
            if self.devices.len() < MAX_COUNTED {
                self.devices.insert(buffer.device);
            }
            if self.last_device.replace(buffer.device) != Some(buffer.device) {
                self.changes += 1;
            }
        }
    }

    /// Whether the records of several devices come one after the other.
    fn is_one_device_after_the_other(&self) -> bool {
        self.devices.len() > 1 && self.changes == self.devices.len() as u64
    }
}

/// The order of steps: by time where devices are merged (else 0), then as recorded.
pub(super) type StepOrder = (u64, u64);

/// An allocation, and its release if there is one.
#[derive(Clone, Copy, Debug)]
pub(super) struct BufferLife {
    pub(crate) device: u16,
    pub(crate) memory: Memory,
    pub(crate) size_bytes: u64,
    pub(crate) thread: u16,
    pub(crate) begin: StepOrder,
    pub(crate) end: Option<EndOfLife>,
}

/// A release.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndOfLife {
    pub(crate) at: StepOrder,
    pub(crate) thread: u16,
}

type Key = (Option<u32>, i32, u8, u64, Option<u64>);

/// Takes lives until every thread has its operations.
pub(super) struct Lives<'a> {
    census: &'a Census,
    plan: &'a Plan,
    devices: Vec<i32>,
    lives: Vec<BufferLife>,
    /// Lives taken that are not released.
    open: FxHashMap<Key, u32>,
    /// Lives that each thread may still take; of the first only, where threads are not known.
    left: Vec<u64>,
    /// Lives that each device may still give, where devices come one after the other.
    quota: Option<u64>,
    given: FxHashMap<i32, u64>,
    /// The latest time of each device: times of one device never go back here.
    clocks: FxHashMap<i32, u64>,
    records: u64,
}

impl<'a> Lives<'a> {
    pub(crate) fn new(census: &'a Census, plan: &'a Plan) -> Lives<'a> {
        let of_thread = plan.ops / 2;
        let all = of_thread * u64::from(plan.threads);
        Lives {
            census,
            plan,
            devices: census.devices.iter().copied().collect(),
            lives: Vec::new(),
            open: FxHashMap::default(),
            left: if census.threads.is_empty() {
                vec![all]
            } else {
                vec![of_thread; usize::from(plan.threads)]
            },
            quota: census
                .is_one_device_after_the_other()
                .then(|| all.div_ceil(census.devices.len() as u64)),
            given: FxHashMap::default(),
            clocks: FxHashMap::default(),
            records: 0,
        }
    }

    pub(crate) fn take(&mut self, record: &AllocationRecord) {
        self.records += 1;
        match record.what {
            AllocationEvent::Allocated(buffer) => self.begin(record, &buffer),
            AllocationEvent::ReleaseRequested(buffer) => self.end(record, &buffer, false),
            AllocationEvent::Released(buffer) => self.end(record, &buffer, true),
            AllocationEvent::HolderEnded(_) | AllocationEvent::Failed { .. } => {}
        }
    }

    /// The lives that were taken, with their threads; by their beginning.
    pub(crate) fn finish(mut self) -> Vec<BufferLife> {
        if self.census.threads.is_empty() {
            let threads = u64::from(self.plan.threads);
            self.lives.sort_by_key(|life| life.begin);
            for (index, life) in self.lives.iter_mut().enumerate() {
                life.thread = (index as u64 % threads) as u16;
                if let Some(end) = &mut life.end {
                    end.thread = life.thread;
                }
            }
        }
        self.lives
    }

    fn begin(&mut self, record: &AllocationRecord, buffer: &Buffer) {
        let at = self.order(record, buffer.device);
        // Whatever was there has ended without a release, or its release is still to be told with
        // its holder.
        self.open.remove(&key(buffer));
        let thread = self.thread(record);
        let index = if self.census.threads.is_empty() {
            0
        } else {
            usize::from(thread)
        };
        let given = self.given.entry(buffer.device).or_default();
        if self.left[index] == 0 || self.quota.is_some_and(|quota| *given >= quota) {
            return;
        }
        self.left[index] -= 1;
        *given += 1;
        self.open.insert(key(buffer), self.lives.len() as u32);
        self.lives.push(BufferLife {
            device: self.device(buffer.device),
            memory: Memory::from_buffer_type(buffer.buffer_type).unwrap_or(Memory::Dram),
            size_bytes: buffer.size_bytes.unwrap_or(1),
            thread,
            begin: at,
            end: None,
        });
    }

    fn end(&mut self, record: &AllocationRecord, buffer: &Buffer, complete: bool) {
        let at = self.order(record, buffer.device);
        let found = if complete {
            self.open.remove(&key(buffer))
        } else {
            self.open.get(&key(buffer)).copied()
        };
        let thread = self.thread(record);
        if let Some(index) = found {
            self.lives[index as usize].end = Some(EndOfLife { at, thread });
        }
    }

    fn order(&mut self, record: &AllocationRecord, device: i32) -> StepOrder {
        if self.quota.is_none() {
            return (0, self.records);
        }
        let clock = self.clocks.entry(device).or_default();
        *clock = record.at_ns.unwrap_or(0).max(*clock);
        (*clock, self.records)
    }

    /// The thread of a record, where it names one.
    fn thread(&self, record: &AllocationRecord) -> u16 {
        let number = record
            .thread
            .and_then(|thread| self.census.threads.get(&thread))
            .copied()
            .unwrap_or(0);
        (number % usize::from(self.plan.threads)) as u16
    }

    fn device(&self, device: i32) -> u16 {
        let (Ok(number) | Err(number)) = self.devices.binary_search(&device);
        (number % usize::from(self.plan.devices)) as u16
    }
}

fn key(buffer: &Buffer) -> Key {
    (
        buffer.process,
        buffer.device,
        buffer.buffer_type,
        buffer.address,
        buffer.holder,
    )
}
