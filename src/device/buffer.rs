//! Words for buffers: what kind one is and how far its life has come.
//!
//! Types only: which steps a kind goes through is the discipline's business, who holds a handle the
//! engine's.

use std::fmt;

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};

use super::config::Direction;

/// How a buffer comes by its memory and how it is tracked.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Arbitrary,
)]
#[serde(rename_all = "kebab-case")]
pub enum BufferKind {
    /// Owns its memory: allocated, tracked and released.
    #[default]
    Owned,
    /// Lies in memory that someone else owns: neither allocated nor released, and never tracked.
    Preallocated,
    /// A circular buffer: as [`BufferKind::Owned`], tracked by message types of its own.
    Circular,
    /// The part, on one device, of one logical buffer that has an address on each of several
    /// devices.
    Mesh,
}

impl BufferKind {
    /// Every kind.
    pub(crate) const ALL: [BufferKind; 4] = [
        BufferKind::Owned,
        BufferKind::Preallocated,
        BufferKind::Circular,
        BufferKind::Mesh,
    ];

    /// Whether the buffer owns its memory; if not, neither allocation nor release happens or is
    /// tracked.
    #[inline]
    pub(crate) fn owns_memory(self) -> bool {
        self != BufferKind::Preallocated
    }

    /// The end of the memory from which such buffers are allocated: circular ones from the top, so
    /// that they keep out of the way of the others.
    #[inline]
    pub(crate) fn direction(self) -> Direction {
        match self {
            BufferKind::Circular => Direction::TopDown,
            BufferKind::Owned | BufferKind::Preallocated | BufferKind::Mesh => Direction::BottomUp,
        }
    }
}

impl fmt::Display for BufferKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BufferKind::Owned => "owned",
            BufferKind::Preallocated => "preallocated",
            BufferKind::Circular => "circular",
            BufferKind::Mesh => "mesh",
        })
    }
}

/// A buffer's status word, which lifecycles read and write, with or without atomicity.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Status {
    /// Not allocated, or released.
    #[default]
    Dead = 0,
    /// Allocated.
    Live = 1,
    /// Claimed by the one thread that will release it.
    Dying = 2,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_display_as_they_serialise() {
        for kind in BufferKind::ALL {
            assert_eq!(
                serde_json::to_string(&kind).expect("serialises"),
                format!("\"{kind}\"")
            );
        }
    }

    #[test]
    fn only_preallocated_buffers_do_not_own_their_memory() {
        assert!(
            BufferKind::ALL
                .iter()
                .all(|kind| kind.owns_memory() == (*kind != BufferKind::Preallocated))
        );
    }
}
