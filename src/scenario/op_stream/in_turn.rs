//! What a condensed workload asks for: kinds, memories, sizes and a few devices in turn rather than
//! drawn, so that a few operations have them all.

use super::{OpStream, parts_of};
use crate::device::{BufferKind, DeviceId, Memory};
use crate::scenario::op::Request;

/// So many devices are all taken in turn.
const MOST_DEVICES: u16 = 4;

/// The devices that are taken in turn where a system has `devices` of them: all, or the first and
/// the last, which has a number beyond every table that is too short. Of more, too few operations
/// would be on the same one.
pub(in crate::scenario) fn devices_in_turn(devices: u16) -> Vec<u16> {
    match devices {
        0..=MOST_DEVICES => (0..devices.max(1)).collect(),
        _ => vec![0, devices - 1],
    }
}

impl OpStream {
    /// The next kind, memory, size and device: every combination where a thread has operations
    /// enough for that, and else the next of each.
    pub(super) fn next_in_turn(&mut self, releases: u8) -> Request {
        let (kinds, sizes) = (self.workload.kinds(), self.workload.sizes.ends());
        let memories = self.workload.memories.weighted();
        let devices = devices_in_turn(self.devices);
        let counts = [kinds.len(), memories.len(), sizes.len(), devices.len()];
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
            device: DeviceId(devices[device]),
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
