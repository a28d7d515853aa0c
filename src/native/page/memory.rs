//! The page's memory: a file without a name, which the program maps, and heisenbed too. To copy out
//! of a mapping takes a tenth of the time of a system call, of which each schedule had a dozen.
//!
//! The program may write whatever it likes at any time: nothing here is a reference into the
//! memory, only copies are made, by words that are atomics, and what they mean is checked by
//! whoever asked for them. The file cannot be cut or grown (it is sealed): no access faults.

#![allow(
    unsafe_code,
    reason = "what another process writes is read in place by pointers only"
)]

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

use memmap2::MmapRaw;
use rustix::fs::{MemfdFlags, SealFlags};

const WORD_BYTES: usize = size_of::<u64>();

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct PageMemory {
    file: File,
    map: MmapRaw,
}

impl PageMemory {
    /// `size_bytes` of zeros.
    pub(super) fn new(size_bytes: u64) -> io::Result<PageMemory> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memory = rustix::fs::memfd_create("heisenbed-run", flags)?;
        rustix::fs::ftruncate(&memory, size_bytes)?;
        let size_stays = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&memory, size_stays)?;
        let file = File::from(memory);
        let map = MmapRaw::map_raw(&file)?;
        Ok(PageMemory { file, map })
    }

    /// For the program.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Copies what stands from `at` on.
    pub(crate) fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let from = self.place(at, into.len())?;
        fence(Ordering::Acquire);
        let (words, rest) = match from.is_aligned() {
            true => into.as_chunks_mut(),
            false => (Default::default(), into),
        };
        let done = from.cast::<u8>().wrapping_add(words.len() * WORD_BYTES);
        for (index, word) in words.iter_mut().enumerate() {
            // SAFETY: `place` has it that all of `into` is within the mapping, which is there as
            // long as `self` is; words are read from a multiple of 8 on.
            let there = unsafe { AtomicU64::from_ptr(from.add(index)) };
            *word = there.load(Ordering::Relaxed).to_ne_bytes();
        }
        for (index, byte) in rest.iter_mut().enumerate() {
            // SAFETY: as above; bytes have no alignment.
            let there = unsafe { AtomicU8::from_ptr(done.add(index)) };
            *byte = there.load(Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes `bytes` from `at` on.
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let to = self.place(at, bytes.len())?;
        let (words, rest) = match to.is_aligned() {
            true => bytes.as_chunks(),
            false => (Default::default(), bytes),
        };
        let done = to.cast::<u8>().wrapping_add(words.len() * WORD_BYTES);
        for (index, word) in words.iter().enumerate() {
            // SAFETY: as in `read`.
            let there = unsafe { AtomicU64::from_ptr(to.add(index)) };
            there.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
        for (index, byte) in rest.iter().enumerate() {
            // SAFETY: as in `read`.
            let there = unsafe { AtomicU8::from_ptr(done.add(index)) };
            there.store(*byte, Ordering::Relaxed);
        }
        fence(Ordering::Release);
        Ok(())
    }

    /// Where `length` bytes from `at` on begin, all of which are there.
    fn place(&self, at: u64, length: usize) -> io::Result<*mut u64> {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        match at.checked_add(length) {
            Some(end) if end <= self.map.len() => Ok(self.map.as_mut_ptr().wrapping_add(at).cast()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn what_one_side_writes_the_other_reads() {
        let memory = PageMemory::new(4096).expect("there is memory");
        let text = b"thirteen byte";
        memory.write(16, text).expect("it is within");
        let mut seen = [0; 16];
        memory.file().read_exact_at(&mut seen, 16).expect("a file");
        assert_eq!(&seen[..13], text);
        assert_eq!(seen[13..], [0; 3]);
        memory.file().write_all_at(b"other", 4091).expect("a file");
        let mut end = [0; 8];
        memory.read(4088, &mut end).expect("it is within");
        assert_eq!(&end, b"\0\0\0other");
        memory.read(4089, &mut end[..7]).expect("it is within");
        assert_eq!(&end, b"\0\0otherr");
    }

    #[test]
    fn nothing_beyond_the_end_is_touched_and_the_end_stays() {
        let memory = PageMemory::new(4096).expect("there is memory");
        for (at, length) in [(4096, 1), (4088, 9), (u64::MAX, 1), (u64::MAX - 7, 16)] {
            assert!(
                memory.read(at, &mut vec![0; length]).is_err(),
                "{at} {length}"
            );
            assert!(memory.write(at, &vec![0; length]).is_err(), "{at} {length}");
        }
        memory.read(4096, &mut []).expect("nothing is within");
        assert!(memory.file().set_len(0).is_err());
    }
}
