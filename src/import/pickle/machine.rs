//! The machine that a pickle is a program for: its stack with marks, its memo, and how it begins
//! and ends.
//!
//! What instructions do is in `instructions`, what follows them in the file in `operands`, and what
//! becomes of lists and dicts in `containers`.

use std::io::Read;

use rustc_hash::FxHashMap;

use super::super::stacks::{FrameId, StackTable};
use super::memo::{Memo, NoEntry};
use super::slab::Slab;
use super::source::{ByteSource, Missing};
use super::texts::Texts;
use super::value::{Dict, List, TextId, Value};
use super::{MAX_STACK, PickleError, Sink, SnapshotSummary, opcode};

pub(super) struct PickleMachine<'a, R, S> {
    pub(super) source: ByteSource<R>,
    pub(super) sink: &'a mut S,
    pub(super) stack: Vec<Value>,
    /// Heights of the stack at its marks.
    pub(super) marks: Vec<usize>,
    pub(super) dicts: Slab<Dict>,
    pub(super) lists: Slab<List>,
    pub(super) memo: Memo,
    pub(super) texts: Texts,
    pub(super) frames: FxHashMap<(TextId, u64, TextId), FrameId>,
    pub(super) stacks: StackTable,
    pub(super) dropped_texts: u64,
    pub(super) cut_stacks: u64,
    /// References to what the memo has forgotten.
    forgotten: u64,
    /// Traces seen; `None` before `device_traces`.
    pub(super) devices: Option<u32>,
    /// Segments seen; `None` before `segments`.
    pub(super) segments: Option<u64>,
    pub(super) odd_blocks: u64,
    /// Blocks kept whose segment is not complete.
    pub(super) open_blocks: usize,
    /// A list of segments that is not the value of `segments`.
    pub(super) has_bare_segments: bool,
    /// Where a snapshot is that is not the whole pickle.
    pub(super) inside: Option<String>,
    /// The instruction that is executed, and where it is.
    pub(super) opcode: (&'static str, u64),
}

impl<'a, R: Read, S: Sink> PickleMachine<'a, R, S> {
    pub(crate) fn new(source: R, sink: &'a mut S) -> PickleMachine<'a, R, S> {
        PickleMachine {
            source: ByteSource::new(source),
            sink,
            stack: Vec::new(),
            marks: Vec::new(),
            dicts: Slab::default(),
            lists: Slab::default(),
            memo: Memo::default(),
            texts: Texts::new(),
            frames: FxHashMap::default(),
            stacks: StackTable::default(),
            dropped_texts: 0,
            cut_stacks: 0,
            forgotten: 0,
            devices: None,
            segments: None,
            odd_blocks: 0,
            open_blocks: 0,
            has_bare_segments: false,
            inside: None,
            opcode: ("PROTO", 0),
        }
    }

    pub(crate) fn run(mut self) -> Result<SnapshotSummary, PickleError> {
        self.begin()?;
        while self.step()? {}
        let bytes = self.source.offset();
        let is_dict = matches!(self.stack.first(), Some(Value::Dict(_)));
        if self.devices.is_some() && !is_dict {
            // It was the first of a tuple.
            return Err(PickleError::SnapshotInside {
                path: "[0]".to_owned(),
            });
        }
        let devices = match self.devices {
            Some(devices) => devices,
            None if self.segments.is_some() => 0,
            None => return Err(self.no_snapshot()),
        };
        let mut trailing_bytes = 0;
        while self.source.skip(1).is_ok() {
            trailing_bytes += 1;
        }
        Ok(SnapshotSummary {
            bytes,
            devices,
            segments: self.segments,
            odd_blocks: self.odd_blocks,
            dropped: self.dropped_texts + self.cut_stacks + self.forgotten + self.stacks.dropped(),
            trailing_bytes,
        })
    }

    /// Looks at the first two bytes, so that another kind of file is called that.
    fn begin(&mut self) -> Result<(), PickleError> {
        let not = |why: &str| {
            Err(PickleError::NotAPickle {
                why: why.to_owned(),
            })
        };
        let start: [u8; 2] = match self.source.array() {
            Ok(start) => start,
            Err(Missing::End) => return not("it has fewer than 2 bytes"),
            Err(Missing::Io(source)) => return Err(PickleError::Io { offset: 0, source }),
        };
        match start {
            [opcode::PROTO, 2..=5] => Ok(()),
            [opcode::PROTO, version] => not(&format!("it says protocol {version}")),
            [b'P', b'K'] => not(
                "it is a zip archive, as `torch.save` writes; use `pickle.dump`, or `torch.cuda.memory._dump_snapshot`",
            ),
            _ => not("it does not begin with 0x80 and the protocol's number"),
        }
    }

    fn no_snapshot(&mut self) -> PickleError {
        match self.inside.take() {
            Some(path) => PickleError::SnapshotInside { path },
            None if self.has_bare_segments => PickleError::OnlySegments,
            None => PickleError::NoSnapshot,
        }
    }

    // The stack.

    #[inline]
    pub(super) fn push(&mut self, value: Value) -> Result<(), PickleError> {
        if self.stack.len() >= MAX_STACK {
            return Err(self.too_many("values on the stack", MAX_STACK));
        }
        self.stack.push(value);
        Ok(())
    }

    /// Values above the last mark.
    pub(super) fn height(&self) -> usize {
        self.stack.len() - self.marks.last().copied().unwrap_or(0)
    }

    pub(super) fn top(&self) -> Result<Value, PickleError> {
        match self.stack.last() {
            Some(value) if self.height() > 0 => Ok(*value),
            _ => Err(self.misplaced("the stack is empty")),
        }
    }

    pub(super) fn pop(&mut self) -> Result<Value, PickleError> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    pub(super) fn pop_mark(&mut self) -> Result<usize, PickleError> {
        self.marks
            .pop()
            .ok_or_else(|| self.misplaced("there is no mark"))
    }

    pub(super) fn discard_to_mark(&mut self) -> Result<(), PickleError> {
        let at = self.pop_mark()?;
        self.discard_from(at);
        Ok(())
    }

    pub(super) fn discard_from(&mut self, at: usize) {
        while self.stack.len() > at {
            let value = self.stack.pop().expect("it is higher than that");
            self.discard(value);
        }
    }

    /// A value goes out of sight.
    pub(super) fn discard(&mut self, value: Value) {
        match value {
            Value::Dict(dict) => drop(self.dicts.remove(dict)),
            Value::List(list) => drop(self.lists.remove(list)),
            _ => {}
        }
    }

    // The memo.

    pub(super) fn put(&mut self, id: u32) -> Result<(), PickleError> {
        let value = self.top()?;
        self.memo.put(id, value);
        self.remember(value, id);
        Ok(())
    }

    /// A container that is still being filled may become something that the memo keeps.
    pub(super) fn remember(&mut self, value: Value, id: u32) {
        match value {
            Value::Dict(dict) => self.dicts.get(dict).memo = Some(id),
            Value::List(list) => self.lists.get(list).memo = Some(id),
            _ => {}
        }
    }

    pub(super) fn get(&mut self, id: u32) -> Result<(), PickleError> {
        let value = match self.memo.get(id) {
            Ok(value) => value,
            Err(NoEntry::NeverPut) => return Err(self.misplaced("nothing was put there")),
            Err(NoEntry::Forgotten) => {
                self.forgotten += 1;
                Value::Opaque
            }
        };
        self.push(value)
    }

    // Errors.

    #[cold]
    pub(super) fn missing(&self, missing: Missing) -> PickleError {
        let offset = self.source.offset();
        match missing {
            Missing::Io(source) => PickleError::Io { offset, source },
            Missing::End => PickleError::Truncated {
                offset,
                opcode: self.opcode.0,
                opcode_offset: self.opcode.1,
            },
        }
    }

    #[cold]
    pub(super) fn misplaced(&self, why: &'static str) -> PickleError {
        let (opcode, offset) = self.opcode;
        PickleError::Misplaced {
            opcode,
            offset,
            why,
        }
    }

    #[cold]
    pub(super) fn too_many(&self, what: &'static str, limit: usize) -> PickleError {
        let (opcode, offset) = self.opcode;
        PickleError::Limit {
            opcode,
            offset,
            what,
            limit: limit as u64,
        }
    }
}
