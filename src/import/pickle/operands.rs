//! What follows an instruction in the file: numbers, texts, and bytes that are left out.

use std::io::Read;

use super::machine::PickleMachine;
use super::value::Value;
use super::{PickleError, Sink};

/// Longer texts are not looked at.
const MAX_TEXT_BYTES: u64 = 64 << 10;

impl<R: Read, S: Sink> PickleMachine<'_, R, S> {
    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, PickleError> {
        self.source.byte().map_err(|missing| self.missing(missing))
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        self.source.array().map_err(|missing| self.missing(missing))
    }

    pub(super) fn length_i32(&mut self) -> Result<u64, PickleError> {
        let length = i32::from_le_bytes(self.array()?);
        u64::try_from(length).map_err(|_| self.misplaced("its length is negative"))
    }

    /// Little-endian, two's complement, of any length.
    pub(super) fn long(&mut self, length: u64) -> Result<(), PickleError> {
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

    pub(super) fn text(&mut self, length: u64) -> Result<(), PickleError> {
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

    pub(super) fn bytes(&mut self, length: u64) -> Result<(), PickleError> {
        self.skip(length)?;
        self.push(Value::Opaque)
    }

    fn skip(&mut self, count: u64) -> Result<(), PickleError> {
        self.source
            .skip(count)
            .map_err(|missing| self.missing(missing))
    }
}
