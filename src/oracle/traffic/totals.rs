//! Totals that an allocator reports of itself, against the server's.

use std::collections::BTreeMap;

use crate::device::{DeviceId, Memory};
use crate::oracle::kind::Kind;
use crate::registry::Registry;

/// What was said last of each device and memory, and where the server showed something else when
/// nothing was on its way.
#[derive(Debug, Default)]
pub(super) struct SaidTotals {
    last: BTreeMap<(DeviceId, Memory), u64>,
    at_rest: BTreeMap<(DeviceId, Memory), Option<Kind>>,
}

impl SaidTotals {
    /// So many bytes are live. With a registry: it is to say the same now.
    pub(super) fn say(
        &mut self,
        device: DeviceId,
        memory: Memory,
        bytes: u64,
        registry: Option<&Registry>,
    ) {
        match registry {
            Some(registry) => {
                let differs = difference(registry, device, memory, bytes);
                self.at_rest.insert((device, memory), differs);
            }
            None => {
                self.last.insert((device, memory), bytes);
            }
        }
    }

    /// Whether nothing was said.
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_empty() && self.at_rest.is_empty()
    }

    /// Where the server shows something else, at the end.
    pub(super) fn compare(&self, registry: &Registry) -> Vec<(Kind, DeviceId, Memory)> {
        let earlier = self
            .at_rest
            .iter()
            .filter_map(|((device, memory), differs)| Some(((*differs)?, *device, *memory)));
        let last = self.last.iter().filter_map(|((device, memory), bytes)| {
            let differs = difference(registry, *device, *memory, *bytes);
            Some((differs?, *device, *memory))
        });
        earlier.chain(last).collect()
    }
}

fn difference(registry: &Registry, device: DeviceId, memory: Memory, bytes: u64) -> Option<Kind> {
    let totals = registry.totals(i32::from(device.0));
    let shown = match memory {
        Memory::Dram => totals.dram_bytes,
        Memory::L1 => totals.l1_bytes,
        Memory::L1Small => totals.l1_small_bytes,
        Memory::Trace => totals.trace_bytes,
    };
    // Allocators differ in whether circular buffers are theirs.
    let with_circular = shown.wrapping_add(totals.cb_bytes);
    if shown == bytes || (memory == Memory::L1 && with_circular == bytes) {
        return None;
    }
    Some(match shown > bytes {
        true => Kind::PhantomLive,
        false => Kind::MissingLive,
    })
}
