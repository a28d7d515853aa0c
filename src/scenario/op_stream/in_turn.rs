//! What a condensed workload asks for: kinds, memories, sizes and a few devices in turn rather than
//! drawn, so that a few operations have them all.

use super::{OpStream, parts_of};
use crate::device::{BufferKind, DeviceId, Memory};
use crate::scenario::op::Request;

/// More devices are drawn even where all else is taken in turn: too few operations would be on the
/// same one.
pub(in crate::scenario) const MOST_DEVICES_IN_TURN: u16 = 4;

impl OpStream {
    /// The next kind, memory, size and device: every combination where a thread has operations
    /// enough for that, and else the next of each.
    pub(super) fn next_in_turn(&mut self, releases: u8) -> Request {
        let (kinds, sizes) = (self.workload.kinds(), self.workload.sizes.ends());
        let memories = self.workload.memories.weighted();
        let devices = match self.devices {
            devices @ 1..=MOST_DEVICES_IN_TURN => usize::from(devices),
            _ => 1,
        };
        let counts = [kinds.len(), memories.len(), sizes.len(), devices];
        let combinations = counts.iter().product::<usize>();
        let all = combinations <= self.pairs;
        // Where buffers are handed on, two of a sort come after each other: the second is allocated
        // while the first is released by its taker. With others between, the rounds keep the two
        // apart.
        let in_a_row = match self.workload.takes_two_in_a_row() && 2 * combinations <= self.pairs {
            true => 2,
            false => 1,
        };
        let index = self.requests / in_a_row;
        self.requests += 1;
        let mut rest = index;
        let [kind, memory, size, device] = counts.map(|count| {
            let one = if all { rest % count } else { index % count };
            rest /= count;
            one
        });
        // Each thread begins with another one, so that those of a kind meet those of others.
        let kind = kinds[(kind + usize::from(self.thread)) % kinds.len()];
        Request {
            kind,
            device: DeviceId(match self.devices {
                0..=MOST_DEVICES_IN_TURN => device as u16,
                devices => self.random.below(u64::from(devices)) as u16,
            }),
            parts: parts_of(kind, self.devices),
            memory: match kind {
                BufferKind::Circular => Memory::L1,
                _ => memories[memory],
            },
            size_bytes: sizes[size],
            releases,
        }
    }
}
