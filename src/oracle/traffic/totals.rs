//! Totals that an allocator reports of itself, against the server's.

use std::collections::BTreeMap;

use crate::device::{DeviceId, Memory};
use crate::oracle::kind::{Divergence, Kind};
use crate::registry::Registry;

/// What was said last of each device and memory.
#[derive(Debug, Default)]
pub(super) struct SaidTotals(BTreeMap<(DeviceId, Memory), u64>);

impl SaidTotals {
    /// So many bytes are live.
    pub(super) fn say(&mut self, device: DeviceId, memory: Memory, bytes: u64) {
        self.0.insert((device, memory), bytes);
    }

    /// Whether nothing was said.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where the server shows something else.
    pub(super) fn compare(&self, registry: &Registry) -> Vec<(Kind, DeviceId, Memory)> {
        let mut wrong = Vec::new();
        for ((device, memory), bytes) in &self.0 {
            let totals = registry.totals(i32::from(device.0));
            let shown = match memory {
                Memory::Dram => totals.dram_bytes,
                Memory::L1 => totals.l1_bytes,
                Memory::L1Small => totals.l1_small_bytes,
                Memory::Trace => totals.trace_bytes,
            };
            // Allocators differ in whether circular buffers are theirs.
            let with_circular = shown.wrapping_add(totals.cb_bytes);
            let agrees = shown == *bytes || (*memory == Memory::L1 && with_circular == *bytes);
            if !agrees {
                let kind = match shown > *bytes {
                    true => Kind::PhantomLive,
                    false => Kind::MissingLive,
                };
                wrong.push((kind, *device, *memory));
            }
        }
        wrong
    }
}

/// A divergence of one memory's total on a device.
pub(super) fn divergence(kind: Kind, device: DeviceId, memory: Memory) -> Divergence {
    Divergence {
        kind,
        device,
        memory: Some(memory),
        address: None,
        thread: None,
        op: None,
    }
}
