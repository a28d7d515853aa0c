//! Planted faults: mistakes that the code under test can be told to make, to see whether the
//! testbed finds them.
//!
//! A scenario names at most one ([`crate::scenario::Scenario::planted`]), so that traces and
//! reproducers say by themselves what was wrong on purpose. The enum is shared; the mistake is made
//! where it sits in the field: in the allocators, the registry, the messages or the wire.
//! Everything that can be said as a scenario or a discipline is no business of this module (see
//! [`crate::zoo`]).
//!
//! Invariants: engines and oracle make the same mistake in the same place, except that the truth is
//! never changed by one; without a planted fault nothing here is asked inside a loop over steps but
//! one field for being empty. Where one is planted, the searches take no shortcut that was proved
//! for sound code, and ask the oracle about every message.

use serde::{Deserialize, Serialize};

/// A mistake made on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Planted {
    /// The server takes whatever it has read of a frame for a whole one.
    PartialRead,
    /// The server reads frames of the 144-byte layout from a client that writes the 72-byte one.
    ForeignLayout,
    /// Circular buffers are reported on device 0, wherever they are.
    CircularOnDeviceZero,
    /// FREE names device 0, wherever the buffer is.
    FreeOnDeviceZero,
    /// The server takes the size in a release from the message, where it is 0, and not from what it
    /// remembers.
    ReleaseSizeTrusted,
    /// The tracker keeps counters only, and takes a release off them of what it never counted.
    UncheckedCounters,
    /// When a process has ended, every entry with its process id goes, also those of a process that
    /// was given the id again.
    SweptByPid,
    /// When a process has ended, the entries that it opened go, also where another process holds
    /// the buffer now.
    SweptWithOwner,
    /// A buffer that does not own its memory is tracked like one that does.
    PreallocatedTracked,
    /// Requests that round to nothing all get one address, and reserve nothing.
    SharedZeroSize,
    /// A release merges one block too many: the live block above goes back with it.
    GreedyCoalescing,
}

impl Planted {
    /// Whether only controlled runs can make it: it needs an order of reads or process ends that no
    /// trace of real threads has.
    pub(crate) fn is_controlled_only(self) -> bool {
        matches!(
            self,
            Planted::PartialRead | Planted::SweptByPid | Planted::SweptWithOwner
        )
    }
}
