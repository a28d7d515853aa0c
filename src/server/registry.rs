//! The registry: reconstructs what is live from messages alone. A pure state machine: no threads, no
//! sockets, no clock, no logging.

use serde::{Deserialize, Serialize};

/// How the registry understands ALLOC and FREE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Semantics {
    /// Key (device, address). ALLOC of a live key replaces the entry; FREE removes it.
    Overwrite,
    /// Key (device, address). ALLOC of a live key increments a count and keeps the old size, type and
    /// owner; FREE decrements it. What the reference servers do.
    Refcount,
    /// Key (process, device, memory, address). ALLOC of a live key replaces the entry; FREE removes it.
    Typed,
    /// As [`Semantics::Typed`], and messages take effect in the order of their per-device sequence numbers.
    Sequenced,
}
