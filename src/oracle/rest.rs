//! A registry's live table in the form in which it is compared at rest and kept in traces.

use crate::server::registry::{Class, Entry, Registry};
use crate::trace::file::TableEntry;
use crate::trace::message::memory_of;

/// The live table of `registry`, sorted. Kernels and system memory are no device buffers and left out.
pub fn table(registry: &Registry) -> Vec<TableEntry> {
    entries(&registry.live())
}

/// Entries of a server's live table, sorted, in the form of the trace.
pub fn entries(live: &[Entry]) -> Vec<TableEntry> {
    let mut table: Vec<TableEntry> = live
        .iter()
        .filter(|entry| entry.class != Class::Kernel)
        .filter_map(|entry| {
            Some(TableEntry {
                device: entry.device.0,
                memory: memory_of(entry.buffer_type)? as u8,
                circular: entry.class == Class::Circular,
                address: entry.address,
                size_bytes: entry.size_bytes,
                thread: entry.thread,
                generation: entry.generation,
                refcount: entry.refcount,
            })
        })
        .collect();
    table.sort_unstable();
    table
}
