//! The address spaces of an input, and what is live in each at its end.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use super::{ALLOC, FREE_COMPLETED, FREE_REQUESTED};
use crate::export::words;
use crate::import::allocation::Buffer;
use crate::import::live_table::LiveTable;
use crate::import::stacks::{StackId, StackTable};
use crate::numbers::plural;

/// An address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SpaceKey {
    pub(super) device: u32,
    pub(super) process: Option<u32>,
    pub(super) buffer_type: u8,
}

/// A block that is live.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentBlock {
    pub(super) address: u64,
    pub(super) size_bytes: u64,
    pub(super) requested_bytes: u64,
    pub(super) awaits_release: bool,
    pub(super) stack: Option<StackId>,
    pub(super) thread: Option<u64>,
}

/// Blocks that do not overlap, by address, and the addresses that they are among.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) space: SpaceKey,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) blocks: Vec<SegmentBlock>,
}

/// All spaces.
#[derive(Debug, Default)]
pub(super) struct Spaces {
    spaces: BTreeMap<SpaceKey, Space>,
}

#[derive(Debug)]
struct Space {
    /// All addresses that were ever live.
    start: u64,
    end: u64,
    live: BTreeMap<u64, SegmentBlock>,
    /// Blocks of a table that begin where others do.
    more: Vec<SegmentBlock>,
}

/// Above this, device numbers of an input are not kept: a list has an element for each number.
const MAX_NUMBER: u32 = 1023;
/// Spaces that are said one by one.
const SHOWN: usize = 8;

impl Spaces {
    /// Any space of a device, for what is about none: the first, or that of DRAM.
    pub(super) fn any_of(&self, device: u32) -> SpaceKey {
        let first = self.spaces.keys().find(|key| key.device == device);
        first.copied().unwrap_or(SpaceKey {
            device,
            process: None,
            buffer_type: 0,
        })
    }

    /// Takes what happened to a buffer; returns the size that it had, where it was live.
    pub(super) fn take(
        &mut self,
        key: SpaceKey,
        action: u8,
        buffer: &Buffer,
        thread: Option<u64>,
    ) -> Option<u64> {
        let space = self.spaces.entry(key).or_insert(Space {
            start: u64::MAX,
            end: 0,
            live: BTreeMap::new(),
            more: Vec::new(),
        });
        match action {
            ALLOC => {
                let size_bytes = buffer.size_bytes.unwrap_or(0);
                space.reaches(buffer.address, size_bytes);
                let block = SegmentBlock {
                    address: buffer.address,
                    size_bytes,
                    requested_bytes: size_bytes,
                    awaits_release: false,
                    stack: buffer.stack,
                    thread,
                };
                space.live.insert(buffer.address, block);
                None
            }
            FREE_REQUESTED => {
                let block = space.live.get_mut(&buffer.address)?;
                block.awaits_release = true;
                Some(block.size_bytes)
            }
            FREE_COMPLETED => {
                space.reaches(buffer.address, buffer.size_bytes.unwrap_or(0));
                Some(space.live.remove(&buffer.address)?.size_bytes)
            }
            _ => None,
        }
    }

    /// Takes the allocator's own table, which says better what is live.
    pub(super) fn table(&mut self, table: &LiveTable) {
        for space in self.spaces.values_mut() {
            space.live.clear();
        }
        for block in &table.blocks {
            let key = SpaceKey {
                device: u32::try_from(block.device).unwrap_or(0),
                process: None,
                buffer_type: 0,
            };
            let space = self.spaces.entry(key).or_insert(Space {
                start: u64::MAX,
                end: 0,
                live: BTreeMap::new(),
                more: Vec::new(),
            });
            space.reaches(block.address, block.size_bytes);
            let of_table = SegmentBlock {
                address: block.address,
                size_bytes: block.size_bytes,
                requested_bytes: block.requested_bytes.unwrap_or(block.size_bytes),
                awaits_release: block.awaits_release,
                stack: block.stack,
                thread: None,
            };
            if let Some(before) = space.live.insert(block.address, of_table) {
                space.more.push(before);
            }
        }
    }

    /// The device number of each space.
    pub(super) fn numbers(&self) -> FxHashMap<SpaceKey, u32> {
        let most = self.spaces.keys().map(|key| key.device).max().unwrap_or(0);
        let keeps = most <= MAX_NUMBER;
        let mut numbers = FxHashMap::default();
        let mut firsts = BTreeSet::new();
        let mut next = if keeps { most + 1 } else { 0 };
        for key in self.spaces.keys() {
            let number = match keeps && firsts.insert(key.device) {
                true => key.device,
                false => {
                    next += 1;
                    next - 1
                }
            };
            numbers.insert(*key, number);
        }
        numbers
    }

    /// What is to be said of numbers that are not the input's.
    pub(super) fn notes(
        &self,
        numbers: &FxHashMap<SpaceKey, u32>,
        names: &StackTable,
    ) -> Vec<String> {
        let several: BTreeSet<u32> = {
            let mut seen = BTreeSet::new();
            let again = |key: &&SpaceKey| !seen.insert(key.device);
            self.spaces
                .keys()
                .filter(again)
                .map(|key| key.device)
                .collect()
        };
        let is_said = |key: &&SpaceKey| {
            several.contains(&key.device) || numbers.get(*key) != Some(&key.device)
        };
        let said: Vec<&SpaceKey> = self.spaces.keys().filter(is_said).collect();
        if said.is_empty() {
            return Vec::new();
        }
        let words = said.iter().take(SHOWN).map(|key| {
            let process = key
                .process
                .map_or(String::new(), |pid| format!(" of process {pid}"));
            let number = numbers.get(*key).copied().unwrap_or(0);
            let memory = words::memory_of(key.buffer_type, names);
            format!("{number} is {memory} of device {}{process}", key.device)
        });
        let mut text = format!(
            "a snapshot knows no memories and no processes: each has a device number of its own: \
             {}",
            words.collect::<Vec<_>>().join(", ")
        );
        if said.len() > SHOWN {
            text += &format!(
                ", and {} more",
                plural((said.len() - SHOWN) as u64, "number")
            );
        }
        vec![text]
    }

    /// What is live, in segments whose blocks lie one behind the other.
    pub(super) fn segments(&mut self) -> Vec<Segment> {
        let mut segments = Vec::new();
        for (key, space) in &mut self.spaces {
            if space.end <= space.start && space.live.is_empty() {
                continue;
            }
            let mut whole = Segment {
                space: *key,
                start: space.start.min(space.end),
                end: space.end,
                blocks: Vec::new(),
            };
            let mut at = 0;
            let mut apart = Vec::new();
            let live = std::mem::take(&mut space.live);
            for block in live.into_values() {
                if block.address < at {
                    apart.push(block);
                    continue;
                }
                at = block.address.saturating_add(block.size_bytes);
                whole.blocks.push(block);
            }
            segments.push(whole);
            apart.append(&mut space.more);
            // What overlaps another has a segment of its own.
            segments.extend(apart.into_iter().map(|block| Segment {
                space: *key,
                start: block.address,
                end: block.address.saturating_add(block.size_bytes),
                blocks: vec![block],
            }));
        }
        segments
    }
}

impl Space {
    fn reaches(&mut self, address: u64, size_bytes: u64) {
        self.start = self.start.min(address);
        self.end = self.end.max(address.saturating_add(size_bytes));
    }
}
