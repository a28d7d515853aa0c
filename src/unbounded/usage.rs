//! How the operations of a workload use a buffer: how often it is released, and by whom.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::NotCovered;
use super::life::MAX_RELEASES;
use crate::scenario::op::{Op, SlotId};

/// What holds of every buffer of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    /// Releases of a buffer, at the most.
    pub(super) releases: u8,
    /// Whether only the thread that allocated a buffer releases it.
    pub(super) by_owner: bool,
    /// Whether buffers are of several memories, which may have the same addresses.
    pub(super) mixes_memories: bool,
}

impl Usage {
    /// Of the operations of each thread.
    pub(super) fn of(threads: &[Box<[Op]>]) -> Result<Usage, NotCovered> {
        let mut releases = 1;
        let mut memories = BTreeSet::new();
        for op in threads.iter().flatten() {
            match op {
                Op::Allocate { request, .. } if usize::from(request.releases) > MAX_RELEASES => {
                    return Err(NotCovered::Operation(
                        "a buffer that is released more than twice",
                    ));
                }
                Op::Allocate { request, .. } => {
                    releases = releases.max(request.releases);
                    memories.insert(request.memory);
                }
                Op::Release { .. } | Op::AwaitOthers => {}
                Op::Close { .. } => return Err(NotCovered::Operation("closing a device")),
                Op::Run { .. } => {
                    return Err(NotCovered::Operation("a program of the discipline's own"));
                }
                Op::Kill { .. } => {
                    return Err(NotCovered::Operation(
                        "a process that is ended from outside",
                    ));
                }
                Op::Throw => {
                    return Err(NotCovered::Operation("a thread that ends by an exception"));
                }
            }
        }
        Ok(Usage {
            releases,
            by_owner: owners_release(threads),
            mixes_memories: memories.len() > 1,
        })
    }
}

/// Whether each buffer is released by the thread that allocated it, and nobody else.
pub(crate) fn owners_release(threads: &[Box<[Op]>]) -> bool {
    let each = || {
        let threads = threads.iter().enumerate();
        threads.flat_map(|(thread, ops)| ops.iter().map(move |op| (thread, *op)))
    };
    let mut owners: FxHashMap<(SlotId, u32), usize> = FxHashMap::default();
    for (thread, op) in each() {
        if let Op::Allocate { slot, epoch, .. } = op {
            owners.insert((slot, epoch), thread);
        }
    }
    each().all(|(thread, op)| match op {
        Op::Release { slot, epoch } => owners.get(&(slot, epoch)) == Some(&thread),
        _ => true,
    })
}
