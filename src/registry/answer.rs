//! What a server answers of a registry to a query.

use super::{Registry, Semantics, Totals};
use crate::tracking::wire::Response;

impl Registry {
    /// Totals as a server answers them: one that counts references has no place for SYSTEM_MEMORY,
    /// which is a Python client's L1_SMALL, and adds it there.
    pub fn answered_totals(&self, device: i32) -> Totals {
        let totals = self.totals(device);
        if self.semantics() != Semantics::Refcount {
            return totals;
        }
        Totals {
            l1_small_bytes: totals.l1_small_bytes.wrapping_add(totals.system_bytes),
            system_bytes: 0,
            ..totals
        }
    }

    /// The answer to a QUERY of a device.
    pub fn response(&self, device: i32) -> Response {
        let totals = self.answered_totals(device);
        Response {
            device,
            dram_bytes: totals.dram_bytes,
            l1_bytes: totals.l1_bytes,
            l1_small_bytes: totals.l1_small_bytes,
            trace_bytes: totals.trace_bytes,
            cb_bytes: totals.cb_bytes,
            kernel_bytes: totals.kernel_bytes,
        }
    }
}
