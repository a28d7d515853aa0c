//! The memory that the processes of a run share, and the calls that make processes: the only part
//! of the runtime that is not safe Rust.
//!
//! The region is anonymous shared memory, which children inherit: it has no name and leaves nothing
//! behind. It is words that are read and written as atomics, and for each thread a ring of events,
//! into which that thread alone writes and which the controller empties. An event is there once it
//! is *appended*, which is one store: a process that is killed leaves it whole or not at all.

#![allow(
    unsafe_code,
    reason = "shared memory and fork are system calls that rustix has no safe form of"
)]

use std::io;
use std::mem::size_of;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

use crate::trace::event::Event;

/// Events of a thread that the controller has not taken yet: whoever has so many waits for it.
pub(super) const RING: u64 = 1024;

/// Words of each ring before its events: how many were appended, and how many taken.
const APPENDED: usize = 0;
const TAKEN: usize = 1;
const RING_WORDS: usize = 2;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct SharedMemory {
    base: NonNull<u8>,
    words: usize,
    threads: usize,
}

// SAFETY: the memory behind `base` is mapped as long as the region lives. Its words are atomics.
// Its events are written by one thread each and read by the controller, ordered by the ring's
// words.
unsafe impl Send for SharedMemory {}
// SAFETY: as above.
unsafe impl Sync for SharedMemory {}

/// Bytes that an event takes in a ring: a multiple of a word, so that all are aligned.
const EVENT_BYTES: usize = size_of::<Event>().next_multiple_of(16);

impl SharedMemory {
    /// A region of `words` words, all 0, and an empty ring for each thread.
    pub(super) fn new(words: usize, threads: usize) -> io::Result<SharedMemory> {
        let bytes = SharedMemory::bytes(words, threads);
        // SAFETY: a new mapping at an address of the system's choice touches no other memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => Ok(SharedMemory {
                base,
                words,
                threads,
            }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn bytes(words: usize, threads: usize) -> usize {
        SharedMemory::first_event(words, threads) + threads * RING as usize * EVENT_BYTES
    }

    /// Where the events begin.
    fn first_event(words: usize, threads: usize) -> usize {
        ((words + threads * RING_WORDS) * size_of::<AtomicU64>()).next_multiple_of(EVENT_BYTES)
    }

    /// A word.
    pub(super) fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.words, "the region has {} words", self.words);
        self.any_word(index)
    }

    fn any_word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < self.words + self.threads * RING_WORDS);
        // SAFETY: the mapping has so many words at its start, is aligned to pages, and they are
        // used as atomics only.
        unsafe { self.base.cast::<AtomicU64>().add(index).as_ref() }
    }

    fn ring(&self, thread: u16, word: usize) -> &AtomicU64 {
        assert!(usize::from(thread) < self.threads, "a thread of this run");
        self.any_word(self.words + usize::from(thread) * RING_WORDS + word)
    }

    /// Where the event with number `number` of a thread is.
    fn place(&self, thread: u16, number: u64) -> *mut Event {
        let index = usize::from(thread) * RING as usize + (number % RING) as usize;
        let at = SharedMemory::first_event(self.words, self.threads) + index * EVENT_BYTES;
        // SAFETY: `thread` was checked by `ring`, and the mapping has `RING` places for each.
        unsafe { self.base.add(at).cast::<Event>().as_ptr() }
    }

    /// How many events a thread has appended.
    pub(super) fn appended(&self, thread: u16) -> u64 {
        self.ring(thread, APPENDED).load(Ordering::SeqCst)
    }

    /// Whether a thread's ring has room.
    pub(super) fn has_room(&self, thread: u16) -> bool {
        self.appended(thread) - self.ring(thread, TAKEN).load(Ordering::SeqCst) < RING
    }

    /// Writes the event that `thread` will append next. The ring must have room.
    pub(super) fn prepare(&self, thread: u16, event: &Event) {
        let number = self.appended(thread);
        assert!(self.has_room(thread), "whoever writes has waited for room");
        // SAFETY: the place is inside the mapping and aligned, and nobody reads it before it is
        // appended: the ring has room, so that what was there has been taken.
        unsafe { self.place(thread, number).write(*event) }
    }

    /// Appends what was prepared: from here on it has happened.
    pub(super) fn append(&self, thread: u16) {
        let number = self.appended(thread);
        self.ring(thread, APPENDED)
            .store(number + 1, Ordering::SeqCst);
    }

    /// The oldest event of a thread that was not taken. For the controller only.
    pub(super) fn take(&self, thread: u16) -> Option<Event> {
        let taken = self.ring(thread, TAKEN);
        let number = taken.load(Ordering::SeqCst);
        if number == self.appended(thread) {
            return None;
        }
        // SAFETY: the place is inside the mapping, and what was appended was written whole before
        // by a process that is a copy of this one, in which an event means the same.
        let event = unsafe { self.place(thread, number).read() };
        taken.store(number + 1, Ordering::SeqCst);
        Some(event)
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        let bytes = SharedMemory::bytes(self.words, self.threads);
        // SAFETY: the mapping is this region's own, and nothing borrows from it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), bytes) };
    }
}

/// A copy of this process that runs `work` and ends, with its parent at the latest. Returns in the
/// parent only.
pub(super) fn spawn(work: impl FnOnce()) -> io::Result<Pid> {
    let parent = getpid();
    // SAFETY: the copy has this thread only. It allocates, which the C library makes possible after
    // a fork, and takes none of the locks that other threads of this process may hold: it neither
    // logs nor prints, but where it panics.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let work = std::panic::AssertUnwindSafe(move || {
                let _ = set_parent_process_death_signal(Some(Signal::KILL));
                if getppid() == Some(parent) {
                    ignore_interrupts();
                    work();
                }
            });
            let code = match std::panic::catch_unwind(work) {
                Ok(()) => 0,
                Err(_) => 101,
            };
            // SAFETY: ends this process without what is to be done at the end of its parent.
            unsafe { libc::_exit(code) }
        }
        child => Ok(Pid::from_raw(child).expect("fork gives no other number")),
    }
}

/// A terminal sends Ctrl-C to all of them: only the controller ends the run.
fn ignore_interrupts() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: sets the signal's action to one of the system's own; no handler runs.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
