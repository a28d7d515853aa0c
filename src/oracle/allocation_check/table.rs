//! The records against the allocator's own table of what is in use at their end.
//!
//! The table is the truth. What the records have live and the table does not is a release that they
//! lost; what they have released and the table has in use is an allocation that they lost. What the
//! table has and no record speaks of was allocated before they begin: no difference.

use rustc_hash::FxHashMap;

use super::lives::grouped_by_place;
use super::{LiveGroup, LiveRecord, size};
use crate::import::allocation::Buffer;
use crate::import::live_table::{LiveBlock, LiveTable};

/// How many buffers there are, and their sizes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BufferSum {
    /// How many.
    pub(crate) buffers: u64,
    /// Their sizes together.
    pub(crate) bytes: u128,
}

/// What came of the comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableComparison {
    /// In use, by the table; blocks that await their release are not among them.
    pub(crate) in_use: BufferSum,
    /// The bytes of those that the program asked for, where the table says so of all.
    pub(crate) requested_bytes: Option<u128>,
    /// Blocks whose release was requested and is not complete.
    pub(crate) awaiting: BufferSum,
    /// In use, and allocated before the records begin.
    pub(crate) older: BufferSum,
    /// Live by the records, and not in use: their release is not in the records.
    pub(crate) lost_releases: BufferSum,
    /// Those by place; most bytes first.
    pub(crate) lost_release_groups: Vec<LiveGroup>,
    /// Released by the records, and in use: their allocation is not in the records.
    pub(crate) lost_allocations: BufferSum,
    /// The first of those, by device and address.
    pub(crate) first_lost_allocation: Option<LiveBlock>,
    /// In use with another size than their allocation says.
    pub(crate) other_sizes: u64,
    /// The first of those, by position.
    pub(crate) first_other_size: Option<LiveRecord>,
}

impl TableComparison {
    /// How many differences there are.
    pub(crate) fn differences(&self) -> u64 {
        self.lost_releases.buffers + self.lost_allocations.buffers + self.other_sizes
    }
}

/// What a table says of the most bytes that were live at once.
#[derive(Default)]
pub(super) struct TablePeak {
    /// So many more than by the records, whenever that was.
    pub(crate) change: i128,
    /// What it has itself.
    pub(crate) at_end: u128,
    /// There may have been more.
    pub(crate) is_least: bool,
}

impl TablePeak {
    pub(crate) fn of(compared: &TableComparison) -> TablePeak {
        let lost = compared.lost_releases.bytes;
        TablePeak {
            change: compared.older.bytes as i128 - lost as i128,
            at_end: compared.in_use.bytes + compared.awaiting.bytes,
            is_least: compared.older.bytes > 0 || compared.differences() > 0,
        }
    }
}

/// The table, and which of its blocks records speak of.
#[derive(Debug, Default)]
pub(super) struct TableWatch {
    blocks: FxHashMap<(i32, u64), WatchedBlock>,
}

#[derive(Clone, Copy, Debug)]
struct WatchedBlock {
    block: LiveBlock,
    mentioned: bool,
}

/// A life that the records have at their end.
pub(super) struct OpenLife {
    pub(crate) said: LiveRecord,
    /// Its release was requested.
    pub(crate) requested: bool,
    /// Its allocation is in the records.
    pub(crate) seen: bool,
}

impl TableWatch {
    pub(crate) fn new(table: &LiveTable) -> TableWatch {
        let watched = |block: &LiveBlock| WatchedBlock {
            block: *block,
            mentioned: false,
        };
        TableWatch {
            blocks: table
                .blocks
                .iter()
                .map(|block| ((block.device, block.address), watched(block)))
                .collect(),
        }
    }

    /// A record speaks of a buffer.
    pub(crate) fn mention(&mut self, buffer: &Buffer) {
        if let Some(watched) = self.blocks.get_mut(&(buffer.device, buffer.address)) {
            watched.mentioned = true;
        }
    }

    /// Compares what the records have at their end; also what is in use, by the table.
    pub(crate) fn compare(mut self, lives: Vec<OpenLife>) -> (TableComparison, Vec<LiveRecord>) {
        let mut found = TableComparison::default();
        let mut lost = Vec::new();
        let mut in_use = Vec::new();
        for life in lives {
            let buffer = life.said.buffer;
            let Some(watched) = self.blocks.remove(&(buffer.device, buffer.address)) else {
                found.lost_releases.add(size(&buffer));
                lost.push(life.said);
                continue;
            };
            let block = watched.block;
            match (life.requested, block.awaits_release) {
                (true, true) => found.awaiting.add(block.size_bytes),
                (false, true) => {
                    found.awaiting.add(block.size_bytes);
                    found.lost_releases.add(block.size_bytes);
                    lost.push(life.said);
                }
                (true, false) => found.lost_allocation(&block),
                (false, false) => {}
            }
            if life.seen && !life.requested && !block.is_of(&buffer) {
                found.other_sizes += 1;
                let first = found.first_other_size.get_or_insert(life.said);
                if life.said.position < first.position {
                    *first = life.said;
                }
            }
            if !block.awaits_release {
                found.use_block(&block);
                in_use.push(block.record(Some(&life.said)));
            }
        }
        for WatchedBlock { block, mentioned } in self.blocks.into_values() {
            if mentioned {
                found.lost_allocation(&block);
            } else {
                found.older.add(block.size_bytes);
            }
            if block.awaits_release {
                found.awaiting.add(block.size_bytes);
            } else {
                found.use_block(&block);
                in_use.push(block.record(None));
            }
        }
        found.lost_release_groups = grouped_by_place(&lost);
        (found, in_use)
    }
}

impl TableComparison {
    fn use_block(&mut self, block: &LiveBlock) {
        let is_first = self.in_use.buffers == 0;
        self.in_use.add(block.size_bytes);
        let before = if is_first {
            Some(0)
        } else {
            self.requested_bytes
        };
        self.requested_bytes = before
            .zip(block.requested_bytes)
            .map(|(sum, bytes)| sum + u128::from(bytes));
    }

    fn lost_allocation(&mut self, block: &LiveBlock) {
        self.lost_allocations.add(block.size_bytes);
        let place = |block: &LiveBlock| (block.device, block.address);
        let first = self.first_lost_allocation.get_or_insert(*block);
        if place(block) < place(first) {
            *first = *block;
        }
    }
}

impl BufferSum {
    fn add(&mut self, bytes: u64) {
        self.buffers += 1;
        self.bytes += u128::from(bytes);
    }
}

impl LiveBlock {
    /// Whether it has the size that an allocation says, as it was asked for or as it was given. An
    /// allocator gives no less than what was asked for.
    fn is_of(&self, buffer: &Buffer) -> bool {
        match (buffer.size_bytes, self.requested_bytes) {
            (None, _) => true,
            (Some(bytes), Some(requested)) => bytes == self.size_bytes || bytes == requested,
            (Some(bytes), None) => bytes <= self.size_bytes,
        }
    }

    /// As a record, with what the records say of it.
    fn record(&self, said: Option<&LiveRecord>) -> LiveRecord {
        LiveRecord {
            buffer: Buffer {
                process: None,
                device: self.device,
                buffer_type: 0,
                address: self.address,
                size_bytes: Some(self.size_bytes),
                holder: None,
                stack: said.and_then(|said| said.buffer.stack).or(self.stack),
            },
            position: said.map_or(0, |said| said.position),
            thread: said.and_then(|said| said.thread),
        }
    }
}
