//! The pictures of what an allocator wrote down of itself: the truth, and no server. A lane a
//! thread, with call stacks where the source has them.

use std::collections::BTreeMap;

use super::events::{EventMark, EventRow, EventTable};
use super::kinds::{EventWord, Remark};
use super::memory::{LifeNumber, MemoryPictures, Spot};
use super::messages::{LanesByKey, row, space_of};
use super::picture::{DivergenceRow, LeakRow, LeaksShown, Picture};
use super::text;
use crate::import::allocation::{AllocationEvent, AllocationRecord, Buffer};
use crate::import::stacks::{StackId, StackTable};
use crate::import::telling_frames;
use crate::oracle::allocation_check::{AllocationReport, LiveGroup};
use crate::oracle::message_check::FirstFinding;
use crate::tracking::entry::Class;

/// Stacks that are shown, and frames of each in a line.
const MOST_STACKS: usize = 4000;
const FRAMES: usize = 6;

/// Follows an allocator's records.
pub(crate) struct RecordWalk {
    position: &'static str,
    events: EventTable,
    memory: MemoryPictures,
    lanes: LanesByKey,
    /// Stacks that are shown, by their numbers in the source.
    stacks: BTreeMap<StackId, u32>,
    /// Where each event's finding may be told, by position.
    events_at: Vec<(u64, u32, u16)>,
}

impl RecordWalk {
    /// Positions count `position`s.
    pub(crate) fn new(position: &'static str) -> RecordWalk {
        RecordWalk {
            position,
            events: EventTable::new(None),
            memory: MemoryPictures::new(false),
            lanes: LanesByKey::default(),
            stacks: BTreeMap::new(),
            events_at: Vec::new(),
        }
    }

    /// Takes the next record; `diverges`: a check found something at it.
    pub(crate) fn observe(
        &mut self,
        record: &AllocationRecord,
        diverges: bool,
        names: &StackTable,
    ) {
        let now = self.events.count();
        self.memory.tick(now);
        let process = record.buffer().and_then(|buffer| buffer.process);
        let lane = match (record.thread, process) {
            (Some(thread), _) => (self.lanes).of((0, thread as i64), || format!("thread {thread}")),
            (None, Some(process)) => {
                (self.lanes).of((1, i64::from(process)), || format!("process {process}"))
            }
            (None, None) => self.lanes.of((2, 0), || "allocator".to_owned()),
        };
        let mut remark = Remark::None;
        let (word, life) = match record.what {
            AllocationEvent::Allocated(buffer) => {
                let stack = buffer.stack.map_or(0, |stack| self.stack(stack));
                let spot = self.spot(&buffer, names);
                let size = buffer.size_bytes.unwrap_or(0);
                let life = self.memory.begin(now, spot, size, lane, stack);
                (EventWord::Alloc, life)
            }
            AllocationEvent::Released(buffer) => {
                let life = self.life_at(&buffer, names);
                self.memory.end(now, life);
                remark = match (life, diverges) {
                    (1.., _) => Remark::None,
                    (0, true) => Remark::NotAllocated,
                    (0, false) => Remark::Earlier,
                };
                (EventWord::Free, self.named(now, &buffer, life, names))
            }
            AllocationEvent::ReleaseRequested(buffer) => {
                (EventWord::Requested, self.life_at(&buffer, names))
            }
            AllocationEvent::HolderEnded(buffer) => {
                (EventWord::HolderEnded, self.life_at(&buffer, names))
            }
            AllocationEvent::Failed { .. } => (EventWord::AllocFailed, 0),
        };
        self.events.push(EventRow {
            lane,
            word,
            remark,
            life,
            arg: 0,
            position: record.position,
            mark: EventMark::default(),
        });
        if diverges {
            self.events.look_here();
            self.events_at.push((record.position, now, lane));
        }
    }

    /// The record has ended: the pictures, and `findings` as rows.
    pub(crate) fn finish(
        self,
        stacks: &StackTable,
        findings: &[FirstFinding],
    ) -> (Picture, Vec<DivergenceRow>) {
        let now = self.events.count();
        let mut shown: Vec<(u32, StackId)> = self
            .stacks
            .iter()
            .map(|(id, number)| (*number, *id))
            .collect();
        shown.sort_unstable();
        let lanes = self.lanes.into_lanes();
        let rows = findings
            .iter()
            .map(|found| {
                let at = self.events_at.iter().find(|(at, ..)| *at == found.line);
                let lane = at.and_then(|(.., lane)| lanes.get(usize::from(*lane)));
                let lane = lane.map(|lane| lane.name.clone());
                row(found, self.position, at.map(|(_, event, _)| *event), lane)
            })
            .collect();
        let picture = Picture {
            position: self.position,
            lanes,
            locks: Vec::new(),
            texts: Vec::new(),
            text: None,
            stacks: shown.iter().map(|(_, id)| in_a_line(stacks, *id)).collect(),
            deciding: None,
            left_out: self.events.left_out(),
            events: self.events.pack(),
            memory: self.memory.pack(now, true, false),
        };
        (picture, rows)
    }

    fn stack(&mut self, stack: StackId) -> u32 {
        let next = self.stacks.len() as u32 + 1;
        if next as usize > MOST_STACKS {
            return self.stacks.get(&stack).copied().unwrap_or(0);
        }
        *self.stacks.entry(stack).or_insert(next)
    }

    /// `life`, or where there is none, one of no length, by which the address is known.
    fn named(
        &mut self,
        now: u32,
        buffer: &Buffer,
        life: LifeNumber,
        names: &StackTable,
    ) -> LifeNumber {
        if life != 0 {
            return life;
        }
        let spot = self.spot(buffer, names);
        let life = self.memory.stillborn();
        self.memory.show(now, spot, Class::Plain, 0, life);
        self.memory.hide(now, spot, Class::Plain);
        life
    }

    fn life_at(&mut self, buffer: &Buffer, names: &StackTable) -> LifeNumber {
        let spot = self.spot(buffer, names);
        self.memory.live_at(spot).unwrap_or(0)
    }

    fn spot(&mut self, buffer: &Buffer, names: &StackTable) -> Spot {
        let (device, buffer_type) = (buffer.device, buffer.buffer_type);
        // 0 is for those of whom no process is known.
        let process = buffer
            .process
            .map_or(0, |process| process.saturating_add(1));
        let space = self.memory.space(process, device, buffer_type, || {
            let name = place_of(device, buffer_type, names);
            match buffer.process {
                Some(process) => format!("process {process}, {name}"),
                None => name,
            }
        });
        Spot {
            space,
            address: buffer.address,
        }
    }
}

/// A memory of a device, by the name that the source itself has for it where there is one.
fn place_of(device: i32, buffer_type: u8, names: &StackTable) -> String {
    match names.memory_name(buffer_type) {
        Some(name) => format!("device {device} {}", text::shown_name(name)),
        None => space_of(device, buffer_type),
    }
}

/// The frames that tell a stack from others, in a line.
fn in_a_line(stacks: &StackTable, id: StackId) -> String {
    let frames: Vec<&str> = stacks.frames_of(id).collect();
    let from = telling_frames::before_users(&frames);
    let shown: Vec<&str> = frames[from..].iter().copied().take(FRAMES).collect();
    shown.join(" ← ")
}

/// What was live at the end, by place.
pub(crate) fn leaks(found: &AllocationReport, stacks: &StackTable, ended: bool) -> LeaksShown {
    let place = |group: &LiveGroup| {
        let buffer = group.first.buffer;
        let frames: Vec<&str> = match buffer.stack {
            Some(stack) => stacks.frames_of(stack).collect(),
            None => Vec::new(),
        };
        LeakRow {
            buffers: group.buffers,
            bytes: group.bytes,
            position: (group.first.position > 0).then_some(group.first.position),
            place: place_of(buffer.device, buffer.buffer_type, stacks),
            not_users: telling_frames::before_users(&frames),
            frames: frames.into_iter().map(str::to_owned).collect(),
        }
    };
    LeaksShown {
        buffers: found.live_total,
        bytes: found.live_bytes,
        ended,
        places: found.groups.iter().map(place).collect(),
    }
}
