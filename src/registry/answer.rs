//! What a server answers of a registry to a query.

use super::{Registry, Semantics, Totals};
use crate::tracking::wire::Response;

impl Registry {
    /// Totals as a server answers them: the reference servers have no place for SYSTEM_MEMORY,
    /// which is a Python client's L1_SMALL, and add it there.
    pub(crate) fn answered_totals(&self, device: i32) -> Totals {
        let totals = self.totals(device);
        if self.semantics() != Semantics::Refcount && !self.like_reference {
            return totals;
        }
        Totals {
            l1_small_bytes: totals.l1_small_bytes.wrapping_add(totals.system_bytes),
            system_bytes: 0,
            ..totals
        }
    }

    /// The answer to a QUERY of a device.
    pub(crate) fn response(&self, device: i32) -> Response {
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

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;
    use crate::tracking::{Message, MessageKind};

    #[test]
    fn system_memory_is_answered_as_l1_small_where_the_reference_does_so() {
        for (semantics, like_reference, small) in [
            (Semantics::Refcount, false, 4096),
            (Semantics::Typed, false, 0),
            (Semantics::Typed, true, 4096),
        ] {
            let registry = Registry::new(semantics, Limits::default());
            let mut registry = registry.like_reference(like_reference);
            let alloc = Message {
                size_bytes: 4096,
                buffer_type: 2,
                ..Message::bare(MessageKind::Alloc, 0, 7)
            };
            registry.apply(&alloc, &mut |_, _| ());
            assert_eq!(registry.response(0).l1_small_bytes, small, "{semantics}");
            assert_eq!(registry.totals(0).system_bytes, 4096);
        }
    }
}
