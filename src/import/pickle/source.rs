//! The bytes of a pickle, in a buffer of fixed size.

use std::io::{self, Read};

/// The buffer, and so the longest text that can be looked at.
const BUFFER_BYTES: usize = 256 << 10;

/// Why bytes are missing.
#[derive(Debug)]
pub(super) enum Missing {
    End,
    Io(io::Error),
}

/// Hands out bytes from a source.
pub(super) struct ByteSource<R> {
    source: R,
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
    /// Bytes before the buffer's first.
    before: u64,
}

impl<R: Read> ByteSource<R> {
    pub(crate) fn new(source: R) -> ByteSource<R> {
        ByteSource {
            source,
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            at: 0,
            end: 0,
            before: 0,
        }
    }

    /// Bytes handed out so far.
    #[inline]
    pub(crate) fn offset(&self) -> u64 {
        self.before + self.at as u64
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, Missing> {
        if self.at == self.end {
            self.refill(1)?;
        }
        let byte = self.buffer[self.at];
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Missing> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("as many as asked for"))
    }

    /// `count` bytes, at most as many as the buffer has.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&[u8], Missing> {
        debug_assert!(count <= BUFFER_BYTES);
        if self.end - self.at < count {
            self.refill(count)?;
        }
        let bytes = &self.buffer[self.at..self.at + count];
        self.at += count;
        Ok(bytes)
    }

    /// Leaves out `count` bytes.
    pub(crate) fn skip(&mut self, mut count: u64) -> Result<(), Missing> {
        while count > 0 {
            if self.at == self.end {
                self.refill(1)?;
            }
            let here = ((self.end - self.at) as u64).min(count);
            self.at += here as usize;
            count -= here;
        }
        Ok(())
    }

    /// Makes sure that `count` bytes are in the buffer.
    #[cold]
    fn refill(&mut self, count: usize) -> Result<(), Missing> {
        self.buffer.copy_within(self.at..self.end, 0);
        self.before += self.at as u64;
        self.end -= self.at;
        self.at = 0;
        while self.end < count {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    // What is left is no whole instruction: the position is the end.
                    self.at = self.end;
                    return Err(Missing::End);
                }
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Missing::Io(error)),
            }
        }
        Ok(())
    }
}
