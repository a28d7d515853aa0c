//! Makes sizes fit the memories of a profile.

use super::lives::BufferLife;
use super::{Plan, Step, memory_index};
use crate::device::{Memory, Profile};

/// The part of a memory that may be live at once: the rest is for what falls between buffers, and
/// for threads that run ahead.
const PART: u64 = 2;

/// What the sizes of a memory are divided by.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemoryFit {
    pub(crate) divisor: u64,
    /// It does not fit even so.
    pub(crate) crowded: bool,
}

/// A size after division: at least one byte.
pub(super) fn scaled(size_bytes: u64, divisor: u64) -> u64 {
    (size_bytes / divisor).max(1)
}

/// The least power of two for each memory by which its sizes must be divided.
pub(super) fn divisors(
    lives: &[BufferLife],
    steps: &[Step],
    plan: &Plan,
    profile: &Profile,
) -> [MemoryFit; 4] {
    Memory::ALL.map(|memory| {
        let geometry = profile.geometries()[memory_index(memory)];
        let room = geometry.bank_bytes / PART;
        let largest = lives
            .iter()
            .filter(|life| life.memory == memory)
            .map(|life| life.size_bytes)
            .max()
            .unwrap_or(0);
        let mut divisor = 1;
        loop {
            let share = |life: &BufferLife| {
                geometry
                    .share_bytes(scaled(life.size_bytes, divisor))
                    .checked_next_multiple_of(geometry.alignment_bytes.max(1))
                    .unwrap_or(u64::MAX)
            };
            if peak(lives, steps, plan, memory, share) <= room {
                return MemoryFit {
                    divisor,
                    crowded: false,
                };
            }
            if divisor >= largest.max(1) {
                // Every buffer is as small as it can be.
                return MemoryFit {
                    divisor,
                    crowded: true,
                };
            }
            divisor = divisor.saturating_mul(2);
        }
    })
}

/// The most that can be live at once on any device, whichever thread runs ahead: of each thread the
/// most that it has.
fn peak(
    lives: &[BufferLife],
    steps: &[Step],
    plan: &Plan,
    memory: Memory,
    share: impl Fn(&BufferLife) -> u64,
) -> u64 {
    let (threads, devices) = (usize::from(plan.threads), usize::from(plan.devices));
    let mut now = vec![0_u64; threads * devices];
    let mut most = now.clone();
    for step in steps {
        let life = &lives[step.life as usize];
        if life.memory != memory {
            continue;
        }
        let place = usize::from(life.thread) * devices + usize::from(life.device);
        if step.begins {
            now[place] = now[place].saturating_add(share(life));
            most[place] = most[place].max(now[place]);
        } else {
            now[place] = now[place].saturating_sub(share(life));
        }
    }
    (0..devices)
        .map(|device| {
            (0..threads).fold(0_u64, |sum, thread| {
                sum.saturating_add(most[thread * devices + device])
            })
        })
        .max()
        .unwrap_or(0)
}
