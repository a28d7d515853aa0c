//! The page's memory: a file without a name, which the program maps, and heisenbed too. To copy out
//! of a mapping takes a tenth of the time of a system call, of which each schedule had a dozen.
//!
//! The program may write whatever it likes at any time: the memory is atomics here, of which only
//! copies are made, and what those mean is checked by whoever asked for them. The file cannot be
//! cut or grown (it is sealed): no access faults.

#![allow(
    unsafe_code,
    reason = "a mapping is a pointer and a length: which atomics are there is not checked"
)]

use std::fs::File;
use std::io;
use std::slice;
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
        let (head, words, tail) = self.cells(at, into.len())?;
        fence(Ordering::Acquire);
        let (into_head, rest) = into.split_at_mut(head.len());
        let (into_words, into_tail) = rest.split_at_mut(words.len() * WORD_BYTES);
        for (word, into) in words.iter().zip(into_words.as_chunks_mut().0) {
            *into = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        let bytes = head.iter().chain(tail);
        for (byte, into) in bytes.zip(into_head.iter_mut().chain(into_tail)) {
            *into = byte.load(Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes `from` to where `at` is, and on.
    pub(crate) fn write(&self, at: u64, from: &[u8]) -> io::Result<()> {
        let (head, words, tail) = self.cells(at, from.len())?;
        let (from_head, rest) = from.split_at(head.len());
        let (from_words, from_tail) = rest.split_at(words.len() * WORD_BYTES);
        for (word, from) in words.iter().zip(from_words.as_chunks().0) {
            word.store(u64::from_ne_bytes(*from), Ordering::Relaxed);
        }
        let bytes = head.iter().chain(tail);
        for (byte, from) in bytes.zip(from_head.iter().chain(from_tail)) {
            byte.store(*from, Ordering::Relaxed);
        }
        fence(Ordering::Release);
        Ok(())
    }

    /// `length` bytes from `at` on: what is before the first whole word, words, and what is left.
    fn cells(&self, at: u64, length: usize) -> io::Result<Cells<'_>> {
        let begin = self.map.as_mut_ptr().cast();
        // SAFETY: the mapping is so long, and there as long as `self` is; bytes need no alignment.
        // Whoever else writes there is another process, or `write`.
        let all: &[AtomicU8] = unsafe { slice::from_raw_parts(begin, self.map.len()) };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let cells = at.checked_add(length).and_then(|end| all.get(at..end));
        let cells = cells.ok_or(io::ErrorKind::UnexpectedEof)?;
        // SAFETY: eight bytes of any values are a word.
        Ok(unsafe { cells.align_to() })
    }
}

/// Bytes, words and bytes.
type Cells<'a> = (&'a [AtomicU8], &'a [AtomicU64], &'a [AtomicU8]);

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
        memory.write(21, b"a word and more").expect("it is within");
        let mut seen = [0; 20];
        memory.read(19, &mut seen).expect("it is within");
        assert_eq!(&seen, b"rta word and more\0\0\0");
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
