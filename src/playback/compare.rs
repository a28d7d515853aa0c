//! Totals, and what is different about them.

use serde::Serialize;

use crate::observe::LiveBytes;
use crate::registry::Totals as RegistryTotals;
use crate::tracking::Layout;
use crate::tracking::wire::{Response, has_more_totals};

use super::player::Played;

/// The bytes live on a device, by [`NAMES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ComparedTotals([u64; NAMES.len()]);

/// What totals are of: memories, circular buffers, kernels.
pub(crate) const NAMES: [&str; 6] = ["dram", "l1", "l1-small", "trace", "cb", "kernel"];
const L1: usize = 1;
/// Circular buffers and kernels: not in all layouts.
const LAST_OF_ALL_LAYOUTS: usize = 3;

impl ComparedTotals {
    /// What a server answered.
    pub(crate) fn of_response(response: &Response) -> ComparedTotals {
        ComparedTotals([
            response.dram_bytes,
            response.l1_bytes,
            response.l1_small_bytes,
            response.trace_bytes,
            response.cb_bytes,
            response.kernel_bytes,
        ])
    }

    /// What our registry shows.
    pub(crate) fn of_registry(totals: &RegistryTotals) -> ComparedTotals {
        ComparedTotals([
            totals.dram_bytes,
            totals.l1_bytes,
            totals.l1_small_bytes,
            totals.trace_bytes,
            totals.cb_bytes,
            totals.kernel_bytes,
        ])
    }

    /// Whether a layout shows any of it.
    pub(crate) fn is_shown_by(&self, layout: Layout) -> bool {
        let shown = match has_more_totals(layout) {
            true => NAMES.len(),
            false => LAST_OF_ALL_LAYOUTS + 1,
        };
        self.0[..shown].iter().any(|bytes| *bytes > 0)
    }

    /// What an allocator has live. Runs load no kernels.
    fn of_truth(live: &LiveBytes) -> ComparedTotals {
        let [dram, l1, l1_small, trace] = live.plain;
        ComparedTotals([dram, l1, l1_small, trace, live.circular, 0])
    }
}

/// One total that is not as it should be, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Figure {
    /// The device.
    pub(crate) device: u16,
    /// One of [`NAMES`].
    pub(crate) memory: &'static str,
    /// What the server showed before the first message.
    pub(crate) before: u64,
    /// What it should show now: `before`, and what is live.
    pub(crate) expected: u64,
    /// What it shows.
    pub(crate) got: u64,
    /// What our registry shows after the same messages, added to `before`.
    pub(crate) registry: u64,
}

/// The totals of `played` that are not as the truth says; without truth, as our registry says. A
/// layout that does not carry circular buffers and kernels says nothing of them, nor of the L1 of a
/// device where circular buffers are live.
pub(crate) fn compare(played: &Played, truth: Option<&[LiveBytes]>, layout: Layout) -> Vec<Figure> {
    let carries_all = has_more_totals(layout);
    let mut different = Vec::new();
    for (device, shown) in &played.devices {
        let expected = truth.map_or(shown.registry, |truth| {
            let live = truth.get(usize::from(*device));
            ComparedTotals::of_truth(live.unwrap_or(&LiveBytes::default()))
        });
        let has_circular = expected.0[LAST_OF_ALL_LAYOUTS + 1] > 0;
        for (index, memory) in NAMES.into_iter().enumerate() {
            let hidden = index > LAST_OF_ALL_LAYOUTS || (index == L1 && has_circular);
            if hidden && !carries_all {
                continue;
            }
            let [before, got] = [shown.before.0[index], shown.after.0[index]];
            let figure = Figure {
                device: *device,
                memory,
                before,
                expected: before.wrapping_add(expected.0[index]),
                got,
                registry: before.wrapping_add(shown.registry.0[index]),
            };
            if figure.got != figure.expected {
                different.push(figure);
            }
        }
    }
    different
}
