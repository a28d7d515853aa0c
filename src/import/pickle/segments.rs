//! What becomes of the allocator's own table: segments and their blocks.

use std::fmt::Write as _;
use std::io::Read;

use super::machine::PickleMachine;
use super::texts;
use super::value::Value;
use super::{MAX_BLOCKS, PickleError, Sink, SnapshotBlock, SnapshotSegment};

impl<R: Read, S: Sink> PickleMachine<'_, R, S> {
    /// Takes an element of a list that may be a block; whether it is one.
    pub(super) fn append_block(&mut self, list: u32, value: Value) -> bool {
        let Value::Dict(dict) = value else {
            return false;
        };
        let dict = self.dicts.get(dict);
        let (Some(state), Some(size)) = (dict.state, dict.size) else {
            return false;
        };
        let block = SnapshotBlock {
            address: dict.address,
            offset_bytes: self.lists.get(list).blocks_bytes,
            size,
            requested_size: dict.requested_size,
            awaits_release: state != texts::ACTIVE_ALLOCATED,
            frames: dict.frames,
        };
        let list = self.lists.get(list);
        list.blocks_bytes = list.blocks_bytes.saturating_add(size);
        match state {
            texts::INACTIVE => {}
            texts::ACTIVE_ALLOCATED | texts::ACTIVE_AWAITING_FREE | texts::ACTIVE_PENDING_FREE
                if self.open_blocks < MAX_BLOCKS =>
            {
                self.open_blocks += 1;
                list.blocks.push(block);
            }
            _ => self.odd_blocks += 1,
        }
        true
    }

    /// Hands an element of `segments` to the sink.
    pub(super) fn visit_segment(&mut self, value: Value) -> Result<(), PickleError> {
        let dict = match value {
            Value::Dict(dict) => std::mem::take(self.dicts.get(dict)),
            _ => Default::default(),
        };
        let Some(blocks) = dict.blocks else {
            self.odd_blocks += 1;
            return Ok(());
        };
        self.open_blocks = self.open_blocks.saturating_sub(blocks.len());
        let nowhere = |block: &&SnapshotBlock| block.address.or(dict.address).is_none();
        self.odd_blocks += blocks.iter().filter(nowhere).count() as u64;
        let segment = SnapshotSegment {
            device: dict.device,
            address: dict.address,
            blocks: &blocks,
        };
        self.sink
            .segment(&segment, &self.stacks)
            .map_err(PickleError::Sink)
    }

    /// Where a container on the stack is in the pickle, as Python says it: `[0]['snapshot']`. A
    /// container that is being filled is right below a mark, or right below its only element.
    pub(super) fn path_to(&mut self, mut at: usize) -> String {
        let mut steps = Vec::new();
        while let Some((parent, step)) = self.parent_of(at) {
            steps.push(step);
            at = parent;
        }
        if at > 0 || self.marks.first() == Some(&0) {
            // The outermost is a tuple, which is made when all of it was read.
            steps.push(format!("[{at}]"));
        }
        steps.reverse();
        steps.concat()
    }

    fn parent_of(&mut self, at: usize) -> Option<(usize, String)> {
        let mark = self
            .marks
            .iter()
            .rev()
            .copied()
            .find(|mark| *mark <= at)
            .unwrap_or(0);
        if at > mark
            && let Value::List(list) = self.stack[at - 1]
        {
            return Some((at - 1, format!("[{}]", self.lists.get(list).count)));
        }
        if at > mark + 1
            && let Value::Dict(dict) = self.stack[at - 2]
            && !self.dicts.get(dict).filled
        {
            return Some((at - 2, self.key(self.stack[at - 1])));
        }
        let parent = mark.checked_sub(1)?;
        match self.stack[parent] {
            Value::List(list) => {
                let index = self.lists.get(list).count + (at - mark) as u64;
                Some((parent, format!("[{index}]")))
            }
            Value::Dict(_) if at > mark => Some((parent, self.key(self.stack[at - 1]))),
            _ => None,
        }
    }

    fn key(&self, value: Value) -> String {
        let mut key = String::new();
        let _ = match value {
            Value::Text(text) => write!(key, "[{:?}]", self.texts.text(text)),
            Value::Int(number) => write!(key, "[{number}]"),
            _ => write!(key, "[...]"),
        };
        key.replace('"', "'")
    }
}
