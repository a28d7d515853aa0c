//! Reads a memory snapshot out of a pickle, and executes nothing.
//!
//! A pickle is a program for a machine with a stack and a memo. This one is such a machine, of which only the instructions for
//! plain data exist (protocols 2 to 5), and which keeps only what the entries of `device_traces` need: it hands each entry to
//! a [`Sink`] as soon as it is complete, and forgets it. Nothing else of the snapshot is built at all.
//!
//! What holds:
//! - No instruction runs code or reaches outside of the file: those that would are an error that names them and their place.
//! - There is no recursion, neither in the reading nor in what is kept: nesting costs a place on the stack, cycles nothing.
//! - Memory is bounded: a buffer of fixed size, at most [`MAX_STACK`] values on the stack, the distinct texts and call stacks up to
//!   their tables' bounds, and the memo's entries of those (1 Mi; the memo knows of other containers only that they exist).
//!   So it does not grow with the length of a trace.
//! - Any bytes yield entries and then the end or one error with its offset.
//!
//! Entries are known by where they stand while they are read: in a list, in the list that is the value of `device_traces`, in the
//! outermost dict. That is how `pickle.dump` writes them.

mod error;
mod memo;
mod opcode;
mod source;
mod texts;
mod value;

use std::io::{self, Read};

use rustc_hash::FxHashMap;

use super::super::stacks::{FrameId, StackId, StackTable};
pub use error::PickleError;
use memo::{Memo, NoEntry};
use opcode::{Treatment, describe};
use source::{Missing, Source};
use texts::Texts;
use value::{Dict, List, Role, TextId, Value};

/// Values on the stack at most. A pickle written by Python has some thousands: it fills containers in batches of 1,000.
pub const MAX_STACK: usize = 1 << 16;
/// Frames of a call stack that are kept.
pub const MAX_FRAMES: usize = 1024;
/// Longer texts are not looked at.
const MAX_TEXT_BYTES: u64 = 64 << 10;

/// An entry of a device's trace. What it does not have, or has in another shape, is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The device, by the place of its trace.
    pub device: u32,
    /// Where it begins, in bytes of the pickle.
    pub offset: u64,
    /// What happened.
    pub action: Option<&'a str>,
    /// The address.
    pub addr: Option<u64>,
    /// The size.
    pub size: Option<u64>,
    /// The stream.
    pub stream: Option<u64>,
    /// When, in µs since 1970.
    pub time_us: Option<u64>,
    /// Where in the program.
    pub frames: Option<StackId>,
}

/// Takes what a pickle holds.
pub trait Sink {
    /// An entry is complete. `read_bytes`: how far the pickle was read.
    fn entry(&mut self, entry: &Entry<'_>, stacks: &StackTable, read_bytes: u64) -> io::Result<()>;
}

/// What is to be said of a pickle when all of it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Bytes up to and with STOP.
    pub bytes: u64,
    /// Traces of devices.
    pub devices: u32,
    /// Texts, frames and call stacks that were not kept because there were too many or they were too long.
    pub dropped: u64,
    /// Bytes after STOP.
    pub trailing_bytes: u64,
}

/// Reads a pickle to its end.
pub fn read(source: impl Read, sink: &mut impl Sink) -> Result<Summary, PickleError> {
    Machine {
        source: Source::new(source),
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
        devices: None,
        opcode: ("PROTO", 0),
    }
    .run()
}

struct Machine<'a, R, S> {
    source: Source<R>,
    sink: &'a mut S,
    stack: Vec<Value>,
    /// Heights of the stack at its marks.
    marks: Vec<usize>,
    dicts: Slab<Dict>,
    lists: Slab<List>,
    memo: Memo,
    texts: Texts,
    frames: FxHashMap<(TextId, u64, TextId), FrameId>,
    stacks: StackTable,
    dropped_texts: u64,
    cut_stacks: u64,
    /// Traces seen; `None` before `device_traces`.
    devices: Option<u32>,
    /// The instruction that is executed, and where it is.
    opcode: (&'static str, u64),
}

impl<R: Read, S: Sink> Machine<'_, R, S> {
    fn run(mut self) -> Result<Summary, PickleError> {
        self.begin()?;
        while self.step()? {}
        let bytes = self.source.offset();
        let devices = self.devices.ok_or(PickleError::NoSnapshot)?;
        let mut trailing_bytes = 0;
        while self.source.skip(1).is_ok() {
            trailing_bytes += 1;
        }
        Ok(Summary {
            bytes,
            devices,
            dropped: self.dropped_texts + self.cut_stacks + self.stacks.dropped(),
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

    /// Executes one instruction; `false` after the last.
    fn step(&mut self) -> Result<bool, PickleError> {
        let offset = self.source.offset();
        self.opcode = ("the next instruction", offset);
        let byte = self.byte()?;
        match describe(byte) {
            Some((name, Treatment::Read)) => self.opcode.0 = name,
            Some((opcode, Treatment::Forbidden)) => {
                return Err(PickleError::Forbidden { opcode, offset });
            }
            Some((opcode, Treatment::Unsupported)) => {
                return Err(PickleError::Unsupported { opcode, offset });
            }
            None => return Err(PickleError::Unknown { byte, offset }),
        }
        match byte {
            opcode::PROTO => {
                if !(2..=5).contains(&self.byte()?) {
                    return Err(self.misplaced("another protocol in the middle"));
                }
            }
            opcode::FRAME => {
                self.array::<8>()?;
            }
            opcode::STOP => return self.stop(),
            opcode::MARK => {
                if self.marks.len() >= MAX_STACK {
                    return Err(self.too_many("open containers", MAX_STACK));
                }
                self.marks.push(self.stack.len());
            }
            opcode::POP => {
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    let value = self.pop()?;
                    self.discard(value);
                }
            }
            opcode::POP_MARK => self.discard_to_mark()?,
            opcode::NONE | opcode::NEWTRUE | opcode::NEWFALSE => self.push(Value::Opaque)?,
            opcode::BININT => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(value.into()))?;
            }
            opcode::BININT1 => {
                let value = self.byte()?;
                self.push(Value::Int(value.into()))?;
            }
            opcode::BININT2 => {
                let value = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(value.into()))?;
            }
            opcode::LONG1 => {
                let length = self.byte()?;
                self.long(length.into())?;
            }
            opcode::LONG4 => {
                let length = self.length_i32()?;
                self.long(length)?;
            }
            opcode::BINFLOAT => {
                self.array::<8>()?;
                self.push(Value::Opaque)?;
            }
            opcode::SHORT_BINUNICODE | opcode::SHORT_BINSTRING => {
                let length = self.byte()?;
                self.text(length.into())?;
            }
            opcode::BINUNICODE => {
                let length = u32::from_le_bytes(self.array()?);
                self.text(length.into())?;
            }
            opcode::BINUNICODE8 => {
                let length = u64::from_le_bytes(self.array()?);
                self.text(length)?;
            }
            opcode::BINSTRING => {
                let length = self.length_i32()?;
                self.text(length)?;
            }
            opcode::SHORT_BINBYTES => {
                let length = self.byte()?;
                self.bytes(length.into())?;
            }
            opcode::BINBYTES => {
                let length = u32::from_le_bytes(self.array()?);
                self.bytes(length.into())?;
            }
            opcode::BINBYTES8 | opcode::BYTEARRAY8 => {
                let length = u64::from_le_bytes(self.array()?);
                self.bytes(length)?;
            }
            opcode::EMPTY_LIST => self.empty_list()?,
            opcode::APPEND => {
                if self.height() < 2 {
                    return Err(
                        self.misplaced("there is nothing to append, or nothing to append to")
                    );
                }
                let at = self.stack.len() - 1;
                self.append_from(at)?;
            }
            opcode::APPENDS => {
                let at = self.pop_mark()?;
                self.append_from(at)?;
            }
            opcode::EMPTY_DICT => {
                let dict = self.dicts.insert(Dict {
                    offset,
                    ..Dict::default()
                });
                self.push(Value::Dict(dict))?;
            }
            opcode::SETITEM => {
                if self.height() < 3 {
                    return Err(
                        self.misplaced("there is no key and value, or nothing to set them in")
                    );
                }
                let at = self.stack.len() - 2;
                self.set_from(at)?;
            }
            opcode::SETITEMS => {
                let at = self.pop_mark()?;
                self.set_from(at)?;
            }
            opcode::ADDITEMS => {
                let at = self.pop_mark()?;
                self.target(at)?;
                self.discard_from(at);
            }
            opcode::EMPTY_TUPLE | opcode::EMPTY_SET => self.push(Value::Opaque)?,
            // Snapshots have tuples, but entries need nothing of them; lists and dicts are not written so.
            opcode::TUPLE | opcode::LIST | opcode::DICT | opcode::FROZENSET => {
                self.discard_to_mark()?;
                self.push(Value::Opaque)?;
            }
            opcode::TUPLE1 | opcode::TUPLE2 | opcode::TUPLE3 => {
                for _ in opcode::TUPLE1..=byte {
                    let value = self.pop()?;
                    self.discard(value);
                }
                self.push(Value::Opaque)?;
            }
            opcode::MEMOIZE => {
                let value = self.top()?;
                let id = self.memo.push(value);
                self.remember(value, id);
            }
            opcode::BINPUT => {
                let id = self.byte()?;
                self.put(id.into())?;
            }
            opcode::LONG_BINPUT => {
                let id = u32::from_le_bytes(self.array()?);
                self.put(id)?;
            }
            opcode::BINGET => {
                let id = self.byte()?;
                self.get(id.into())?;
            }
            opcode::LONG_BINGET => {
                let id = u32::from_le_bytes(self.array()?);
                self.get(id)?;
            }
            _ => unreachable!("every instruction that is read is above"),
        }
        Ok(true)
    }

    fn stop(&mut self) -> Result<bool, PickleError> {
        match (self.stack.len(), self.marks.len()) {
            (1, 0) => Ok(false),
            _ => Err(self.misplaced("the stack does not hold just the snapshot")),
        }
    }

    // Bytes.

    #[inline]
    fn byte(&mut self) -> Result<u8, PickleError> {
        self.source.byte().map_err(|missing| self.missing(missing))
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        self.source.array().map_err(|missing| self.missing(missing))
    }

    fn length_i32(&mut self) -> Result<u64, PickleError> {
        let length = i32::from_le_bytes(self.array()?);
        u64::try_from(length).map_err(|_| self.misplaced("its length is negative"))
    }

    /// Little-endian, two's complement, of any length.
    fn long(&mut self, length: u64) -> Result<(), PickleError> {
        let mut bytes = [0; 16];
        let value = if length <= 16 {
            let taken = match self.source.take(length as usize) {
                Ok(taken) => taken,
                Err(missing) => return Err(self.missing(missing)),
            };
            let negative = taken.last().is_some_and(|last| last & 0x80 != 0);
            if negative {
                bytes = [0xff; 16];
            }
            bytes[..taken.len()].copy_from_slice(taken);
            let value = i128::from_le_bytes(bytes);
            match (i64::try_from(value), u64::try_from(value)) {
                (Ok(value), _) => Value::Int(value),
                (_, Ok(value)) => Value::Unsigned(value),
                _ => Value::Opaque,
            }
        } else {
            self.skip(length)?;
            Value::Opaque
        };
        self.push(value)
    }

    fn text(&mut self, length: u64) -> Result<(), PickleError> {
        let value = if length <= MAX_TEXT_BYTES {
            match self.source.take(length as usize) {
                Ok(bytes) => match self.texts.id(bytes) {
                    Some(id) => Value::Text(id),
                    None => {
                        self.dropped_texts += 1;
                        Value::Opaque
                    }
                },
                Err(missing) => return Err(self.missing(missing)),
            }
        } else {
            self.skip(length)?;
            self.dropped_texts += 1;
            Value::Opaque
        };
        self.push(value)
    }

    fn bytes(&mut self, length: u64) -> Result<(), PickleError> {
        self.skip(length)?;
        self.push(Value::Opaque)
    }

    fn skip(&mut self, count: u64) -> Result<(), PickleError> {
        self.source
            .skip(count)
            .map_err(|missing| self.missing(missing))
    }

    // The stack.

    #[inline]
    fn push(&mut self, value: Value) -> Result<(), PickleError> {
        if self.stack.len() >= MAX_STACK {
            return Err(self.too_many("values on the stack", MAX_STACK));
        }
        self.stack.push(value);
        Ok(())
    }

    /// Values above the last mark.
    fn height(&self) -> usize {
        self.stack.len() - self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Value, PickleError> {
        match self.stack.last() {
            Some(value) if self.height() > 0 => Ok(*value),
            _ => Err(self.misplaced("the stack is empty")),
        }
    }

    fn pop(&mut self) -> Result<Value, PickleError> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    fn pop_mark(&mut self) -> Result<usize, PickleError> {
        self.marks
            .pop()
            .ok_or_else(|| self.misplaced("there is no mark"))
    }

    fn discard_to_mark(&mut self) -> Result<(), PickleError> {
        let at = self.pop_mark()?;
        self.discard_from(at);
        Ok(())
    }

    fn discard_from(&mut self, at: usize) {
        while self.stack.len() > at {
            let value = self.stack.pop().expect("it is higher than that");
            self.discard(value);
        }
    }

    /// A value goes out of sight.
    fn discard(&mut self, value: Value) {
        match value {
            Value::Dict(dict) => drop(self.dicts.remove(dict)),
            Value::List(list) => drop(self.lists.remove(list)),
            _ => {}
        }
    }

    // The memo.

    fn put(&mut self, id: u32) -> Result<(), PickleError> {
        let value = self.top()?;
        self.memo.put(id, value);
        self.remember(value, id);
        Ok(())
    }

    /// A container that is still being filled may become something that the memo keeps.
    fn remember(&mut self, value: Value, id: u32) {
        match value {
            Value::Dict(dict) => self.dicts.get(dict).memo = Some(id),
            Value::List(list) => self.lists.get(list).memo = Some(id),
            _ => {}
        }
    }

    fn get(&mut self, id: u32) -> Result<(), PickleError> {
        let value = self.memo.get(id).map_err(|no| match no {
            NoEntry::NeverPut => self.misplaced("nothing was put there"),
            NoEntry::Forgotten => self.too_many("distinct texts and frames", memo::MAX_KEPT),
        })?;
        self.push(value)
    }

    // Containers.

    fn empty_list(&mut self) -> Result<(), PickleError> {
        let role = self.role_of_next();
        match role {
            Role::DeviceTraces => self.devices = self.devices.or(Some(0)),
            Role::DeviceTrace(device) => self.devices = Some(device.saturating_add(1)),
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
        // Either it is appended alone, to what is below it, or with others, to what is below the mark.
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
    fn target(&mut self, at: usize) -> Result<Value, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match at.checked_sub(1).filter(|place| *place >= floor) {
            Some(place) => Ok(self.stack[place]),
            None => Err(self.misplaced("there is no container below the values")),
        }
    }

    /// Appends the values from `at` on to the list below them.
    fn append_from(&mut self, at: usize) -> Result<(), PickleError> {
        match self.target(at)? {
            Value::List(list) => {
                let role = self.lists.get(list).role;
                for index in at..self.stack.len() {
                    let value = self.stack[index];
                    match role {
                        Role::DeviceTrace(device) => self.tell(device, value)?,
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
        let list = self.lists.get(list);
        match value {
            Value::Frame(frame) if list.frames.len() < MAX_FRAMES => list.frames.push(frame),
            Value::Frame(_) => self.cut_stacks += 1,
            _ => list.other = true,
        }
    }

    /// Sets the pairs from `at` on in the dict below them.
    fn set_from(&mut self, at: usize) -> Result<(), PickleError> {
        if !(self.stack.len() - at).is_multiple_of(2) {
            return Err(self.misplaced("a key has no value"));
        }
        match self.target(at)? {
            Value::Dict(dict) => {
                for index in (at..self.stack.len()).step_by(2) {
                    if let Value::Text(key) = self.stack[index] {
                        let value = self.stack[index + 1];
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
        let frame = self.stacks.frame(&text)?;
        self.frames.insert((filename, line, name), frame);
        Some(frame)
    }

    /// Hands an element of a device's trace to the sink.
    fn tell(&mut self, device: u32, value: Value) -> Result<(), PickleError> {
        let dict = match value {
            Value::Dict(dict) => *self.dicts.get(dict),
            _ => Dict {
                offset: self.opcode.1,
                ..Dict::default()
            },
        };
        let entry = Entry {
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

    // Errors.

    #[cold]
    fn missing(&self, missing: Missing) -> PickleError {
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
    fn misplaced(&self, why: &'static str) -> PickleError {
        let (opcode, offset) = self.opcode;
        PickleError::Misplaced {
            opcode,
            offset,
            why,
        }
    }

    #[cold]
    fn too_many(&self, what: &'static str, limit: usize) -> PickleError {
        let (opcode, offset) = self.opcode;
        PickleError::Limit {
            opcode,
            offset,
            what,
            limit: limit as u64,
        }
    }
}

/// Values by number; numbers of values that were removed are used again.
#[derive(Debug)]
struct Slab<T> {
    values: Vec<T>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab {
            values: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T: Default> Slab<T> {
    fn insert(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(id) => {
                self.values[id as usize] = value;
                id
            }
            None => {
                self.values.push(value);
                (self.values.len() - 1) as u32
            }
        }
    }

    fn get(&mut self, id: u32) -> &mut T {
        &mut self.values[id as usize]
    }

    fn remove(&mut self, id: u32) -> T {
        self.free.push(id);
        std::mem::take(&mut self.values[id as usize])
    }
}
