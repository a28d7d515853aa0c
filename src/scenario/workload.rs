//! Workloads: what the threads of a scenario do.
//!
//! A workload is a handful of figures, from which [`OpStream`](super::op_stream::OpStream) draws;
//! or it is a script: the operations themselves, as in a reproducer.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::device::{BufferKind, Memory};
use crate::numbers::grouped;

use super::imported::Imported;
use super::random::Random;

/// How many operations and on what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Workload {
    /// Slots that a thread keeps to itself: allocate and release by the same thread.
    pub private_slots: u32,
    /// Private operations between two hand-offs (a *round*).
    pub round_ops: u32,
    /// Buffers that a thread hands to its neighbour for release, each round.
    pub handoff: u32,
    /// Buffers that two threads, the owner and its neighbour, both release, each round.
    pub shared: u32,
    /// How sizes are drawn.
    pub sizes: Sizes,
    /// Weights of the memories.
    pub memories: Memories,
    /// Per cent of the buffers that span several devices.
    pub mesh_percent: u8,
    /// Per cent of the buffers that are circular buffers.
    pub circular_percent: u8,
    /// Per cent of the buffers that do not own their memory.
    pub preallocated_percent: u8,
    /// Handles that are never dropped, over all threads: real leaks.
    pub leaks: u32,
    /// The first `throwing-threads` threads throw after this many operations and clean nothing up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throw_after: Option<u64>,
    /// How many threads throw.
    pub throwing_threads: u16,
    /// Leave buffers live, and let the first thread close every device when the others have ended.
    pub close: bool,
    /// Take kinds, memories, the ends of the sizes, and a few devices in turn rather than draw
    /// them, so that a few operations have them all. Condensing sets it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub in_turn: bool,
    /// How many processes the threads are of: thread i is of process i modulo their number.
    #[serde(skip_serializing_if = "is_one")]
    pub processes: u16,
    /// The operations of each thread, instead of drawn ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<Vec<Vec<String>>>,
    /// In a file: an imported trace whose allocations become the script. A scenario has the script
    /// instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import: Option<String>,
    /// Where the script comes from, if it was made of an import.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
}

impl Default for Workload {
    fn default() -> Workload {
        Workload {
            private_slots: 16,
            round_ops: 32,
            handoff: 0,
            shared: 0,
            sizes: Sizes::ReuseMix,
            memories: Memories::default(),
            mesh_percent: 0,
            circular_percent: 0,
            preallocated_percent: 0,
            leaks: 0,
            throw_after: None,
            throwing_threads: 0,
            close: false,
            in_turn: false,
            processes: 1,
            script: None,
            import: None,
            imported: None,
        }
    }
}

fn is_one(number: &u16) -> bool {
    *number == 1
}

impl Workload {
    /// The kinds that its buffers may have.
    pub(super) fn kinds(&self) -> Vec<BufferKind> {
        let drawn = [
            (BufferKind::Mesh, self.mesh_percent),
            (BufferKind::Circular, self.circular_percent),
            (BufferKind::Preallocated, self.preallocated_percent),
            (BufferKind::Owned, 100),
        ];
        let mut kinds = Vec::new();
        for (kind, percent) in drawn {
            if percent > 0 {
                kinds.push(kind);
            }
            // Drawn in this order: what comes after a certain one never does.
            if percent >= 100 {
                break;
            }
        }
        kinds
    }

    /// The memories in which its buffers may be.
    pub(super) fn reached_memories(&self) -> Vec<Memory> {
        let kinds = self.kinds();
        let circular = kinds.contains(&BufferKind::Circular);
        let others = !circular || kinds.len() > 1;
        let weighted = self.memories.weighted();
        let reached = |memory: &Memory| {
            (circular && *memory == Memory::L1) || (others && weighted.contains(memory))
        };
        Memory::ALL.into_iter().filter(reached).collect()
    }
}

/// How sizes are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    tag = "draw",
    deny_unknown_fields
)]
pub enum Sizes {
    /// Always the same.
    Fixed {
        /// The size.
        bytes: u64,
    },
    /// Each size in a range as likely as the other.
    Uniform {
        /// Smallest.
        min_bytes: u64,
        /// Largest.
        max_bytes: u64,
    },
    /// Each doubling half as likely as the one before.
    PowerLaw {
        /// Smallest.
        min_bytes: u64,
        /// Largest.
        max_bytes: u64,
    },
    /// The reported mix: 4 KB to 131 KB in few sizes, so that addresses are soon used again.
    ReuseMix,
}

impl Sizes {
    /// Whether every size that can be drawn is one.
    pub(crate) fn are_sound(self) -> bool {
        match self {
            Sizes::Fixed { bytes } => bytes > 0,
            Sizes::Uniform {
                min_bytes,
                max_bytes,
            }
            | Sizes::PowerLaw {
                min_bytes,
                max_bytes,
            } => 0 < min_bytes && min_bytes <= max_bytes,
            Sizes::ReuseMix => true,
        }
    }

    /// Whether it lies between the smallest and the largest that can be drawn.
    pub(crate) fn has(self, bytes: u64) -> bool {
        let ends = self.ends();
        ends.iter().min() <= Some(&bytes) && Some(&bytes) <= ends.iter().max()
    }

    /// The smallest and the largest that can be drawn, once where they are the same.
    pub(super) fn ends(self) -> Vec<u64> {
        let (min, max) = match self {
            Sizes::Fixed { bytes } => (bytes, bytes),
            Sizes::Uniform {
                min_bytes,
                max_bytes,
            }
            | Sizes::PowerLaw {
                min_bytes,
                max_bytes,
            } => (min_bytes, max_bytes),
            Sizes::ReuseMix => (4096, 131_072),
        };
        match min == max {
            true => vec![min],
            false => vec![min, max],
        }
    }

    pub(super) fn draw(self, random: &mut Random) -> u64 {
        match self {
            Sizes::Fixed { bytes } => bytes,
            Sizes::Uniform {
                min_bytes,
                max_bytes,
            } => random.between(min_bytes, max_bytes),
            Sizes::PowerLaw {
                min_bytes,
                max_bytes,
            } => {
                let doublings = random.bits().trailing_zeros();
                let low = min_bytes
                    .max(1)
                    .saturating_mul(1 << doublings.min(40))
                    .min(max_bytes);
                random.between(low, low.saturating_mul(2).min(max_bytes))
            }
            Sizes::ReuseMix => {
                const REPORTED: [u64; 8] = [4096, 4096, 4096, 8192, 16384, 32768, 65536, 131_072];
                REPORTED[random.below(REPORTED.len() as u64) as usize]
            }
        }
    }
}

/// As `4,096`, or `4,096 to 131,072`.
impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends: Vec<String> = self.ends().iter().map(|end| grouped(*end)).collect();
        f.write_str(&ends.join(" to "))
    }
}

/// Weights of the memories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Memories {
    /// DRAM.
    pub(crate) dram: u32,
    /// L1.
    pub(crate) l1: u32,
    /// L1_SMALL.
    pub(crate) l1_small: u32,
    /// TRACE.
    pub(crate) trace: u32,
}

impl Default for Memories {
    fn default() -> Memories {
        Memories {
            dram: 1,
            l1: 3,
            l1_small: 0,
            trace: 0,
        }
    }
}

impl Memories {
    /// L1 alone.
    pub(crate) const ONLY_L1: Memories = Memories {
        dram: 0,
        l1: 1,
        l1_small: 0,
        trace: 0,
    };

    /// This one alone.
    pub(crate) fn only(memory: Memory) -> Memories {
        let weight = |one| u32::from(one == memory);
        Memories {
            dram: weight(Memory::Dram),
            l1: weight(Memory::L1),
            l1_small: weight(Memory::L1Small),
            trace: weight(Memory::Trace),
        }
    }

    /// Those that have a weight.
    pub(crate) fn weighted(&self) -> Vec<Memory> {
        let weights = [self.dram, self.l1, self.l1_small, self.trace];
        let weighed = Memory::ALL.into_iter().zip(weights);
        weighed
            .filter(|(_, weight)| *weight > 0)
            .map(|(memory, _)| memory)
            .collect()
    }

    /// The sum of the weights.
    pub(crate) fn total(&self) -> u64 {
        [self.dram, self.l1, self.l1_small, self.trace]
            .into_iter()
            .map(u64::from)
            .sum()
    }

    pub(super) fn draw(&self, random: &mut Random) -> Memory {
        let mut left = random.below(self.total());
        for (memory, weight) in
            Memory::ALL
                .into_iter()
                .zip([self.dram, self.l1, self.l1_small, self.trace])
        {
            match left.checked_sub(u64::from(weight)) {
                None => return memory,
                Some(rest) => left = rest,
            }
        }
        Memory::L1
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Purpose;
    use super::*;

    #[test]
    fn power_law_sizes_stay_in_their_range() {
        let mut random = Random::new(1, 0, Purpose::Workload, 0);
        let sizes = Sizes::PowerLaw {
            min_bytes: 64,
            max_bytes: 1 << 20,
        };
        assert!((0..10_000).all(|_| (64..=1 << 20).contains(&sizes.draw(&mut random))));
    }
}
