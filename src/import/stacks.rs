//! Call stacks, each kept once.
//!
//! A program allocates from few places many times, so a table of the distinct stacks stays small
//! while a log grows. Its size is bounded all the same: what is beyond [`MAX_STACK_BYTES`] is
//! counted and not kept.
//!
//! The names that a source gives memories of its own stand beside them: they are as few.

use rustc_hash::FxHashMap;

/// The most that a table holds, in bytes of frames and stacks; a hostile source can make every
/// stack another.
pub(crate) const MAX_STACK_BYTES: usize = 64 << 20;

/// What a frame or a stack costs beside its text: its place in the lists and maps.
const OVERHEAD_BYTES: usize = 64;

/// A call stack in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackId(pub u32);

/// A frame in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FrameId(pub(crate) u32);

/// Distinct call stacks, numbered in the order in which they were first seen; frames likewise.
#[derive(Clone, Debug, Default)]
pub struct StackTable {
    frames: Vec<Box<str>>,
    frame_ids: FxHashMap<Box<str>, FrameId>,
    stacks: Vec<Box<[FrameId]>>,
    stack_ids: FxHashMap<Box<[FrameId]>, StackId>,
    bytes: usize,
    dropped: u64,
    /// Memories that the runtime has no buffer type for, from [`OWN_MEMORY`] on.
    memories: Vec<Box<str>>,
    memory_ids: FxHashMap<Box<str>, u8>,
}

/// Memories with names of a source's own have buffer types from here on.
pub(crate) const OWN_MEMORY: u8 = 64;

impl StackTable {
    /// The number of a frame; `None` where the table is full.
    pub(crate) fn frame(&mut self, text: &str) -> Option<FrameId> {
        if let Some(id) = self.frame_ids.get(text) {
            return Some(*id);
        }
        self.take_room(2 * text.len() + OVERHEAD_BYTES)?;
        let id = FrameId(self.frames.len() as u32);
        self.frames.push(text.into());
        self.frame_ids.insert(text.into(), id);
        Some(id)
    }

    /// The number of a stack of frames, innermost first; `None` where the table is full. Frames
    /// must be of this table.
    pub(crate) fn stack(&mut self, frames: &[FrameId]) -> Option<StackId> {
        if let Some(id) = self.stack_ids.get(frames) {
            return Some(*id);
        }
        self.take_room(2 * size_of_val(frames) + OVERHEAD_BYTES)?;
        let id = StackId(self.stacks.len() as u32);
        self.stacks.push(frames.into());
        self.stack_ids.insert(frames.into(), id);
        Some(id)
    }

    /// The frames of a stack, innermost first.
    pub(crate) fn frames_of(&self, stack: StackId) -> impl ExactSizeIterator<Item = &str> {
        self.ids_of(stack).iter().map(|id| self.text(*id))
    }

    /// The frames of a stack, by their numbers.
    pub(crate) fn ids_of(&self, stack: StackId) -> &[FrameId] {
        self.stacks.get(stack.0 as usize).map_or(&[], |ids| ids)
    }

    /// A frame's text.
    pub(crate) fn text(&self, frame: FrameId) -> &str {
        self.frames.get(frame.0 as usize).map_or("", |text| text)
    }

    /// How many distinct stacks it holds.
    pub(crate) fn len(&self) -> usize {
        self.stacks.len()
    }

    /// Whether it holds no stack.
    pub(crate) fn is_empty(&self) -> bool {
        self.stacks.is_empty()
    }

    /// How many distinct frames it holds.
    pub(crate) fn frames(&self) -> usize {
        self.frames.len()
    }

    /// How often a frame or a stack was not kept because the table was full.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The buffer type of a memory that has this name in the source; `None` where there is none
    /// left.
    pub(crate) fn own_memory(&mut self, name: &str) -> Option<u8> {
        if let Some(number) = self.memory_ids.get(name) {
            return Some(*number);
        }
        let number = u8::try_from(usize::from(OWN_MEMORY) + self.memories.len()).ok()?;
        self.memories.push(name.into());
        self.memory_ids.insert(name.into(), number);
        Some(number)
    }

    /// The name that the source has for the memory of a buffer type, where it is one of its own.
    pub(crate) fn memory_name(&self, buffer_type: u8) -> Option<&str> {
        let place = buffer_type.checked_sub(OWN_MEMORY)?;
        self.memories.get(usize::from(place)).map(|name| &**name)
    }

    fn take_room(&mut self, bytes: usize) -> Option<()> {
        if self.bytes + bytes > MAX_STACK_BYTES {
            self.dropped += 1;
            return None;
        }
        self.bytes += bytes;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_stacks_are_kept_once() {
        let mut table = StackTable::default();
        let frames = ["inner", "outer"].map(|text| table.frame(text).expect("room"));
        let id = table.stack(&frames).expect("room");
        assert_eq!(table.stack(&frames), Some(id));
        assert_eq!(table.frame("outer"), Some(frames[1]));
        assert_eq!(table.frames_of(id).collect::<Vec<_>>(), ["inner", "outer"]);
        assert_eq!((table.len(), table.frames()), (1, 2));
    }

    #[test]
    fn memories_of_a_source_s_own_keep_their_names() {
        let mut table = StackTable::default();
        assert_eq!(table.own_memory("scratch"), Some(64));
        assert_eq!(table.own_memory("weights"), Some(65));
        assert_eq!(table.own_memory("scratch"), Some(64));
        let names = [0, 63, 64, 65, 66].map(|number| table.memory_name(number));
        assert_eq!(names, [None, None, Some("scratch"), Some("weights"), None]);
        let more: Vec<_> = (2..200).map(|n| table.own_memory(&n.to_string())).collect();
        assert_eq!(more.iter().flatten().count(), 190);
    }

    #[test]
    fn a_full_table_keeps_no_more_and_counts_it() {
        let mut table = StackTable::default();
        let long = "x".repeat(MAX_STACK_BYTES);
        assert_eq!(table.frame(&long), None);
        assert_eq!(table.dropped(), 1);
        assert!(table.frame("short").is_some());
    }
}
