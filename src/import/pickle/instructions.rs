//! What each instruction does.

use std::io::Read;

use super::machine::PickleMachine;
use super::opcode::{self, Treatment, describe};
use super::value::{Dict, Value};
use super::{MAX_STACK, PickleError, Sink};

impl<R: Read, S: Sink> PickleMachine<'_, R, S> {
    /// Executes one instruction; `false` after the last.
    pub(super) fn step(&mut self) -> Result<bool, PickleError> {
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
            // Snapshots have tuples, but entries need nothing of them; lists and dicts are not
            // written so.
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
}
