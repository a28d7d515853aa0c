//! What becomes of lists and dicts: entries of a trace, frames, call stacks, or nothing that is
//! kept.

use std::io::Read;

use super::super::lines::one_line;
use super::super::stacks::{FrameId, StackId};
use super::machine::PickleMachine;
use super::texts;
use super::value::{Dict, List, Role, TextId, Value};
use super::{MAX_FRAMES, PickleError, Sink, SnapshotEntry};

impl<R: Read, S: Sink> PickleMachine<'_, R, S> {
    pub(super) fn empty_list(&mut self) -> Result<(), PickleError> {
        let role = self.role_of_next();
        match role {
            Role::DeviceTraces => self.devices = self.devices.or(Some(0)),
            Role::DeviceTrace(device) => self.devices = Some(device.saturating_add(1)),
            Role::Segments => self.segments = self.segments.or(Some(0)),
            Role::Plain => {}
        }
        let list = self.lists.insert(List {
            role,
            ..List::default()
        });
        self.push(Value::List(list))
    }

    /// What a list is that comes next on the stack.
    fn role_of_next(&mut self) -> Role {
        // Either it is appended alone, to what is below it, or with others, to what is below the
        // mark.
        let (parent, before) = match self.marks.last() {
            Some(&mark) if mark > 0 => (self.stack.get(mark - 1), self.stack.len() - mark),
            _ => (None, 0),
        };
        let alone = self.stack.last();
        let outermost = matches!(self.stack.first(), Some(Value::Dict(_)))
            && matches!(self.marks.as_slice(), [] | [1]);
        if outermost && alone == Some(&Value::Text(texts::DEVICE_TRACES)) {
            return Role::DeviceTraces;
        }
        if outermost && alone == Some(&Value::Text(texts::SEGMENTS)) {
            return Role::Segments;
        }
        for (place, before) in [(parent, before), (alone, 0)] {
            if let Some(&Value::List(list)) = place
                && self.lists.get(list).role == Role::DeviceTraces
            {
                let device = self.lists.get(list).count.saturating_add(before as u64);
                return Role::DeviceTrace(u32::try_from(device).unwrap_or(u32::MAX));
            }
        }
        Role::Plain
    }

    /// The container below the values from `at` on.
    pub(super) fn target(&mut self, at: usize) -> Result<Value, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match at.checked_sub(1).filter(|place| *place >= floor) {
            Some(place) => Ok(self.stack[place]),
            None => Err(self.misplaced("there is no container below the values")),
        }
    }

    /// Appends the values from `at` on to the list below them.
    pub(super) fn append_from(&mut self, at: usize) -> Result<(), PickleError> {
        match self.target(at)? {
            Value::List(list) => {
                let role = self.lists.get(list).role;
                for index in at..self.stack.len() {
                    let value = self.stack[index];
                    match role {
                        Role::DeviceTrace(device) => self.visit(device, value)?,
                        Role::Segments => {
                            self.segments = self.segments.map(|count| count + 1);
                            self.visit_segment(value)?;
                        }
                        Role::DeviceTraces | Role::Plain => self.append(list, value),
                    }
                }
                let appended = (self.stack.len() - at) as u64;
                self.lists.get(list).count += appended;
            }
            Value::Opaque | Value::Stack(_) => {}
            _ => return Err(self.misplaced("what is below the values is no list")),
        }
        self.discard_from(at);
        Ok(())
    }

    fn append(&mut self, list: u32, value: Value) {
        if let Value::Dict(dict) = value
            && self.dicts.get(dict).blocks.is_some()
        {
            self.has_bare_segments = true;
        }
        let is_block = self.append_block(list, value);
        let list = self.lists.get(list);
        match value {
            Value::Frame(frame) if list.frames.len() < MAX_FRAMES => list.frames.push(frame),
            Value::Frame(_) => self.cut_stacks += 1,
            _ if is_block => {}
            _ => list.other = true,
        }
    }

    /// Sets the pairs from `at` on in the dict below them.
    pub(super) fn set_from(&mut self, at: usize) -> Result<(), PickleError> {
        if !(self.stack.len() - at).is_multiple_of(2) {
            return Err(self.misplaced("a key has no value"));
        }
        match self.target(at)? {
            Value::Dict(dict) => {
                self.dicts.get(dict).filled |= self.stack.len() > at;
                for index in (at..self.stack.len()).step_by(2) {
                    if let Value::Text(key) = self.stack[index] {
                        let value = self.stack[index + 1];
                        let is_outermost = at == 1 && self.marks.is_empty();
                        if key == texts::DEVICE_TRACES && !is_outermost && self.inside.is_none() {
                            self.inside = Some(self.path_to(at - 1));
                        }
                        self.set(dict, key, value);
                    }
                }
                self.discard_from(at);
                if let Some(frame) = self.frame(dict) {
                    let memo = self.dicts.remove(dict).memo;
                    let value = Value::Frame(frame);
                    self.stack[at - 1] = value;
                    if let Some(id) = memo {
                        self.memo.put(id, value);
                    }
                }
            }
            Value::Opaque | Value::Frame(_) => self.discard_from(at),
            _ => return Err(self.misplaced("what is below the values is no dict")),
        }
        Ok(())
    }

    fn set(&mut self, dict: u32, key: TextId, value: Value) {
        if key == texts::FRAMES {
            let frames = self.complete(value);
            self.dicts.get(dict).frames = frames;
            return;
        }
        if key == texts::BLOCKS {
            if let Value::List(list) = value {
                let list = self.lists.get(list);
                // What is no block may have been one in use.
                self.odd_blocks += u64::from(list.other || !list.frames.is_empty());
                let blocks = std::mem::take(&mut list.blocks);
                self.dicts.get(dict).blocks = Some(blocks);
            }
            return;
        }
        let dict = self.dicts.get(dict);
        let text = match value {
            Value::Text(text) => Some(text),
            _ => None,
        };
        match key {
            texts::ACTION => dict.action = text,
            texts::ADDR => dict.addr = value.bits(),
            texts::SIZE => dict.size = value.bits(),
            texts::STREAM => dict.stream = value.bits(),
            texts::TIME_US => dict.time_us = value.bits(),
            texts::FILENAME => dict.filename = text,
            texts::LINE => dict.line = value.bits(),
            texts::NAME => dict.name = text,
            texts::DEVICE => dict.device = value.bits(),
            texts::ADDRESS => dict.address = value.bits(),
            texts::REQUESTED_SIZE => dict.requested_size = value.bits(),
            texts::STATE => dict.state = text,
            _ => {}
        }
    }

    /// A list of frames is complete when it becomes a value.
    fn complete(&mut self, value: Value) -> Option<StackId> {
        match value {
            Value::Stack(stack) => Some(stack),
            Value::List(list) => {
                let list = self.lists.get(list);
                if list.other || list.frames.is_empty() {
                    return None;
                }
                let stack = self.stacks.stack(&list.frames)?;
                if let Some(id) = list.memo {
                    self.memo.put(id, Value::Stack(stack));
                }
                Some(stack)
            }
            _ => None,
        }
    }

    /// The frame that a dict is, if it is one.
    fn frame(&mut self, dict: u32) -> Option<FrameId> {
        let dict = self.dicts.get(dict);
        let (filename, line, name) = (dict.filename?, dict.line?, dict.name?);
        if dict.action.is_some() {
            return None;
        }
        if let Some(frame) = self.frames.get(&(filename, line, name)) {
            return Some(*frame);
        }
        let text = format!(
            "{} ({}:{line})",
            self.texts.text(name),
            self.texts.text(filename)
        );
        let mut one = String::with_capacity(text.len());
        one_line(&mut one, &text).expect("a string takes any text");
        let frame = self.stacks.frame(&one)?;
        self.frames.insert((filename, line, name), frame);
        Some(frame)
    }

    /// Hands an element of a device's trace to the sink.
    fn visit(&mut self, device: u32, value: Value) -> Result<(), PickleError> {
        let dict = match value {
            Value::Dict(dict) => std::mem::take(self.dicts.get(dict)),
            _ => Dict {
                offset: self.opcode.1,
                ..Dict::default()
            },
        };
        let entry = SnapshotEntry {
            device,
            offset: dict.offset,
            action: dict.action.map(|action| self.texts.text(action)),
            addr: dict.addr,
            size: dict.size,
            stream: dict.stream,
            time_us: dict.time_us,
            frames: dict.frames,
        };
        self.sink
            .entry(&entry, &self.stacks, self.source.offset())
            .map_err(PickleError::Sink)
    }
}
