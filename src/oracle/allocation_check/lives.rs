//! Lives of addresses as they are kept, and what is live at the end.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use super::{Key, LiveGroup, LiveRecord, MAX_LIVE_LISTED, key, size};
use crate::import::allocation::Buffer;
use crate::import::stacks::StackId;
use crate::oracle::first_few::FirstFew;

/// A life of an address, without what its key says. Packed: there may be millions.
#[derive(Clone, Copy)]
pub(super) struct RecordedLife {
    position: u64,
    pub(crate) size_bytes: u64,
    holder: u64,
    thread: u64,
    stack: Option<StackId>,
    /// Which of those its allocation states, and whether it states the process.
    has_size: bool,
    has_holder: bool,
    has_thread: bool,
    has_process: bool,
    /// Its allocation is in the records.
    pub(crate) seen: bool,
    pub(crate) requested_at: Option<NonZeroU64>,
    pub(crate) holder_ended_at: Option<NonZeroU64>,
}

impl RecordedLife {
    /// A life of which this is said. Positions are counted from 1.
    pub(crate) fn new(said: &LiveRecord, seen: bool) -> RecordedLife {
        let Buffer {
            process,
            size_bytes,
            holder,
            stack,
            ..
        } = said.buffer;
        RecordedLife {
            position: said.position,
            size_bytes: size_bytes.unwrap_or(0),
            holder: holder.unwrap_or(0),
            thread: said.thread.unwrap_or(0),
            stack,
            has_size: size_bytes.is_some(),
            has_holder: holder.is_some(),
            has_thread: said.thread.is_some(),
            has_process: process.is_some(),
            seen,
            requested_at: None,
            holder_ended_at: None,
        }
    }

    pub(crate) fn size_bytes(&self) -> Option<u64> {
        self.has_size.then_some(self.size_bytes)
    }

    pub(crate) fn holder(&self) -> Option<u64> {
        self.has_holder.then_some(self.holder)
    }

    /// What is said of it, at its key.
    pub(crate) fn said(&self, key: Key) -> LiveRecord {
        let (process, device, buffer_type, address) = key;
        LiveRecord {
            buffer: Buffer {
                process: self.has_process.then_some(process),
                device,
                buffer_type,
                address,
                size_bytes: self.size_bytes(),
                holder: self.holder(),
                stack: self.stack,
            },
            position: self.position,
            thread: self.has_thread.then_some(self.thread),
        }
    }
}

/// Buffers by their place.
pub(super) type Groups = BTreeMap<(i32, u8, Option<StackId>), LiveGroup>;

/// What is live at the end: the first of it, and all by place. It comes in no order.
pub(super) struct LiveAtEnd {
    pub(crate) total: u64,
    pub(crate) first: FirstFew<(u64, Key), LiveRecord>,
    pub(crate) groups: Groups,
}

impl LiveAtEnd {
    pub(crate) fn none() -> LiveAtEnd {
        LiveAtEnd {
            total: 0,
            first: FirstFew::new(MAX_LIVE_LISTED),
            groups: Groups::new(),
        }
    }

    pub(crate) fn add(&mut self, said: LiveRecord) {
        self.total += 1;
        add_to_group(&mut self.groups, said);
        self.first.add(place(&said), said);
    }
}

/// Buffers by device, type and call stack; most bytes first.
pub(super) fn grouped_by_place(buffers: &[LiveRecord]) -> Vec<LiveGroup> {
    let mut groups = Groups::new();
    for buffer in buffers {
        add_to_group(&mut groups, *buffer);
    }
    by_bytes(groups)
}

fn add_to_group(groups: &mut Groups, said: LiveRecord) {
    let Buffer {
        device,
        buffer_type,
        stack,
        ..
    } = said.buffer;
    let group = groups
        .entry((device, buffer_type, stack))
        .or_insert(LiveGroup {
            first: said,
            buffers: 0,
            bytes: 0,
        });
    if place(&said) < place(&group.first) {
        group.first = said;
    }
    group.buffers += 1;
    group.bytes += u128::from(size(&said.buffer));
}

/// Where a buffer is in the order of the records.
fn place(live: &LiveRecord) -> (u64, Key) {
    (live.position, key(&live.buffer))
}

pub(super) fn by_bytes(groups: Groups) -> Vec<LiveGroup> {
    let mut groups: Vec<LiveGroup> = groups.into_values().collect();
    groups.sort_by_key(|group| (std::cmp::Reverse(group.bytes), group.first.position));
    groups
}
