//! Buffers of no bytes are left out.
//!
//! Allocators give them pointers that others have too: the same one twice, or that of a buffer
//! beside. Such a pointer stands for nothing that could be released twice or leak, so whoever reads
//! records (check, diagnosis, workload) sees none of them.
//!
//! A release says whose it is by its size. Where it says none, it is of the buffer that was
//! allocated there last.

use std::io;

use rustc_hash::FxHashMap;

use super::accounting::Accounting;
use super::allocation::{AllocationEvent, AllocationRecord, AllocationSource, Buffer};
use super::live_table::LiveTable;
use super::stacks::StackTable;

/// The records of a source that are about buffers with bytes.
pub(super) struct WithoutEmpty<S> {
    source: S,
    left_out: u64,
    live: FxHashMap<Address, EmptyLives>,
}

type Address = (Option<u32>, i32, u8, u64);

/// Buffers of no bytes that are live at an address.
#[derive(Clone, Copy, Debug, Default)]
struct EmptyLives {
    count: u64,
    /// Buffers with bytes that were allocated there since.
    others: u64,
}

impl<S: AllocationSource> WithoutEmpty<S> {
    pub(crate) fn new(source: S) -> WithoutEmpty<S> {
        WithoutEmpty {
            source,
            left_out: 0,
            live: FxHashMap::default(),
        }
    }

    fn is_empty(&mut self, what: &AllocationEvent) -> bool {
        match what {
            AllocationEvent::Allocated(buffer) if buffer.size_bytes == Some(0) => {
                self.live.entry(address(buffer)).or_default().count += 1;
                true
            }
            _ if self.live.is_empty() => false,
            AllocationEvent::Allocated(buffer) => {
                if let Some(lives) = self.live.get_mut(&address(buffer)) {
                    lives.others += 1;
                }
                false
            }
            AllocationEvent::Released(buffer) => self.release(buffer, true),
            AllocationEvent::ReleaseRequested(buffer) | AllocationEvent::HolderEnded(buffer) => {
                self.release(buffer, false)
            }
            AllocationEvent::Failed { .. } => false,
        }
    }

    /// Whether a release is of a buffer of no bytes.
    fn release(&mut self, buffer: &Buffer, complete: bool) -> bool {
        let Some(lives) = self.live.get_mut(&address(buffer)) else {
            return false;
        };
        let empty = match buffer.size_bytes {
            Some(bytes) => bytes == 0,
            None => lives.others == 0,
        };
        if complete && empty {
            lives.count -= 1;
            if lives.count == 0 {
                self.live.remove(&address(buffer));
            }
        } else if complete {
            lives.others = lives.others.saturating_sub(1);
        }
        empty
    }
}

fn address(buffer: &Buffer) -> Address {
    (
        buffer.process,
        buffer.device,
        buffer.buffer_type,
        buffer.address,
    )
}

impl<S: AllocationSource> Iterator for WithoutEmpty<S> {
    type Item = io::Result<AllocationRecord>;

    fn next(&mut self) -> Option<io::Result<AllocationRecord>> {
        loop {
            match self.source.next()? {
                Ok(record) if self.is_empty(&record.what) => self.left_out += 1,
                next => return Some(next),
            }
        }
    }
}

impl<S: AllocationSource> AllocationSource for WithoutEmpty<S> {
    fn accounting(&self) -> &Accounting {
        self.source.accounting()
    }

    fn stacks(&self) -> &StackTable {
        self.source.stacks()
    }

    fn table(&self) -> Option<&LiveTable> {
        self.source.table()
    }

    fn table_is_lost(&self) -> bool {
        self.source.table_is_lost()
    }

    fn left_out(&self) -> u64 {
        self.left_out
    }
}
