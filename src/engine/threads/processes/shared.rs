//! What the processes of a run share, by name: where each thing is in the region.
//!
//! Locks, slots and cells are *objects*: a value, a version, and the thread that is just changing
//! it. A thread marks an object as its own, prepares the event of its action, writes down what the
//! action leaves there, and appends the event. Until that is written down nothing has happened;
//! from there on whoever finds it can do the rest: [`Commons::recover`] does so for a thread that
//! was killed. So a killed process leaves each action done and recorded, or not begun.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::device::{BufferKind, DeviceId, Memory};
use crate::lifecycle::shared::CellScope;
use crate::scenario::Scenario;
use crate::scenario::cells::CellId;
use crate::scenario::objects::LockId;
use crate::scenario::op::{Request, SlotId};
use crate::trace::event::Event;

use super::region::SharedMemory;

/// Words that there are once.
const GLOBAL_WORDS: usize = 3;
/// Words of each thread.
const THREAD_WORDS: usize = 15;
/// Words of each object.
const OBJECT_WORDS: usize = 3;
/// Words of each slot beside its object.
const SLOT_WORDS: usize = 4;

/// A word that there is once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Global {
    /// Set when every process is there.
    Go = 0,
    /// Whether and why threads should end: one of [`stop`].
    Stop = 1,
    /// Set when every waiting thread has seen that it should end.
    MayRelease = 2,
}

/// What [`Global::Stop`] says.
pub(super) mod stop {
    pub(crate) const NOT: u64 = 0;
    pub(crate) const DEADLOCK: u64 = 1;
    pub(crate) const INTERRUPTED: u64 = 2;
}

/// A word of a thread.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    /// The object that it is changing, plus one.
    Object = 0,
    /// How many events it will have appended when what is written down is done.
    Decided = 1,
    /// What the object's value and version will be.
    Value = 2,
    Version = 3,
    /// Whether it waits, and how often it has looked in vain.
    Waits = 4,
    Looks = 5,
    /// It has seen that the run is over.
    Noticed = 6,
    /// It has come to its end.
    Finished = 7,
    /// What it asks the controller for: one of [`super::driver::AskedFor`], and 0 once answered.
    Asked = 8,
    /// With what, and what the answer is.
    First = 9,
    Second = 10,
    Found = 11,
    FoundToo = 12,
    /// It stops when it has appended so many events, plus one; 0: it does not.
    Gate = 13,
    /// Its process was ended.
    Dead = 14,
}

/// A lock, a slot or a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ObjectAt(pub(super) usize);

/// A word of an object.
#[derive(Clone, Copy, Debug)]
enum ObjectWord {
    Owner = 0,
    Value = 1,
    Version = 2,
}

/// A word about the buffer in a slot.
#[derive(Clone, Copy, Debug)]
enum BufferWord {
    Request = 0,
    Size = 1,
    /// Plus one; 0: it has none.
    Address = 2,
    Generation = 3,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Commons {
    pub(super) region: SharedMemory,
    pub(super) threads: u16,
    locks: usize,
    slots: usize,
    cells: usize,
    /// Cells that begin anew with each buffer: the first of each, its entries, and what they begin
    /// with.
    of_buffers: Vec<(u32, u32, u64)>,
}

impl Commons {
    /// Before the first step of `scenario`.
    pub(super) fn new(scenario: &Scenario) -> io::Result<Commons> {
        let objects = scenario.objects();
        let (threads, locks) = (usize::from(scenario.threads), usize::from(objects.locks()));
        let (slots, cells) = (objects.slots as usize, objects.cells as usize);
        let words = GLOBAL_WORDS
            + threads * THREAD_WORDS
            + (locks + slots + cells) * OBJECT_WORDS
            + slots * SLOT_WORDS;
        let table = scenario.cells();
        let mut of_buffers = Vec::new();
        for row in table.rows() {
            if row.spec.scope == CellScope::Buffer {
                let entries = u32::from(row.spec.entries);
                of_buffers.push((row.ids().start, entries, row.spec.initial));
            }
        }
        let shared = Commons {
            region: SharedMemory::new(words, threads)?,
            threads: scenario.threads,
            locks,
            slots,
            cells,
            of_buffers,
        };
        for row in table.rows() {
            for cell in row.ids() {
                let word = shared.part(shared.cell(CellId(cell)), ObjectWord::Value);
                word.store(row.spec.initial, Ordering::SeqCst);
            }
        }
        Ok(shared)
    }

    pub(super) fn global(&self, word: Global) -> &AtomicU64 {
        self.region.word(word as usize)
    }

    pub(super) fn of(&self, thread: u16, word: Of) -> &AtomicU64 {
        let first = GLOBAL_WORDS + usize::from(thread) * THREAD_WORDS;
        self.region.word(first + word as usize)
    }

    pub(super) fn load(&self, thread: u16, word: Of) -> u64 {
        self.of(thread, word).load(Ordering::SeqCst)
    }

    pub(super) fn set(&self, thread: u16, word: Of, value: u64) {
        self.of(thread, word).store(value, Ordering::SeqCst);
    }

    /// The threads that have not come to their end.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = u16> + use<'_> {
        (0..self.threads).filter(|thread| self.load(*thread, Of::Finished) == 0)
    }

    fn first_object(&self) -> usize {
        GLOBAL_WORDS + usize::from(self.threads) * THREAD_WORDS
    }

    fn part(&self, object: ObjectAt, part: ObjectWord) -> &AtomicU64 {
        let first = self.first_object() + object.0 * OBJECT_WORDS;
        self.region.word(first + part as usize)
    }

    fn buffer_word(&self, slot: SlotId, word: BufferWord) -> &AtomicU64 {
        let objects = self.locks + self.slots + self.cells;
        let first = self.first_object() + objects * OBJECT_WORDS + slot.index() * SLOT_WORDS;
        self.region.word(first + word as usize)
    }

    pub(super) fn lock(&self, lock: LockId) -> ObjectAt {
        ObjectAt(usize::from(lock.0))
    }

    pub(super) fn slot(&self, slot: SlotId) -> ObjectAt {
        ObjectAt(self.locks + slot.index())
    }

    pub(super) fn cell(&self, cell: CellId) -> ObjectAt {
        ObjectAt(self.locks + self.slots + cell.index())
    }

    /// How many slots there are.
    pub(super) fn slots(&self) -> u32 {
        self.slots as u32
    }

    /// What is in an object, for whoever only looks.
    pub(super) fn value(&self, object: ObjectAt) -> u64 {
        self.part(object, ObjectWord::Value).load(Ordering::SeqCst)
    }

    /// An allocation begins in `slot`: cells of its buffer are new. Nobody else sees them yet.
    pub(super) fn renew(&self, slot: SlotId) {
        for (first, entries, value) in &self.of_buffers {
            let from = first + slot.0 * entries;
            for cell in from..from + entries {
                let word = self.part(self.cell(CellId(cell)), ObjectWord::Value);
                word.store(*value, Ordering::SeqCst);
            }
        }
    }

    /// Marks an object as `thread`'s, which is about to change it; its value and version.
    ///
    /// Others are through with it in some instructions, or are killed: then the controller gives it
    /// back. So this waits without an end of its own.
    pub(super) fn begin(&self, thread: u16, object: ObjectAt) -> (u64, u64) {
        self.wait_for_room(thread);
        self.set(thread, Of::Object, object.0 as u64 + 1);
        let owner = self.part(object, ObjectWord::Owner);
        let own = u64::from(thread) + 1;
        while owner
            .compare_exchange(0, own, Ordering::SeqCst, Ordering::SeqCst)
            .is_err()
        {
            std::thread::yield_now();
        }
        let version = self
            .part(object, ObjectWord::Version)
            .load(Ordering::SeqCst);
        (self.value(object), version)
    }

    /// Changes nothing after all.
    pub(super) fn abandon(&self, thread: u16, object: ObjectAt) {
        self.part(object, ObjectWord::Owner)
            .store(0, Ordering::SeqCst);
        self.set(thread, Of::Object, 0);
    }

    /// The action that was begun is done: `event` says so.
    pub(super) fn commit(
        &self,
        thread: u16,
        object: ObjectAt,
        (value, version): (u64, u64),
        event: &Event,
    ) {
        self.region.prepare(thread, event);
        self.set(thread, Of::Value, value);
        self.set(thread, Of::Version, version);
        let appended = self.region.appended(thread);
        self.set(thread, Of::Decided, appended + 1);
        self.complete(thread, object);
    }

    /// Does what is written down.
    fn complete(&self, thread: u16, object: ObjectAt) {
        let value = self.load(thread, Of::Value);
        self.part(object, ObjectWord::Value)
            .store(value, Ordering::SeqCst);
        let version = self.load(thread, Of::Version);
        self.part(object, ObjectWord::Version)
            .store(version, Ordering::SeqCst);
        self.region.append(thread);
        self.abandon(thread, object);
    }

    /// Does for a thread that was killed what it had decided, and gives back what it had begun.
    pub(super) fn recover(&self, thread: u16) {
        let Some(object) = self.load(thread, Of::Object).checked_sub(1) else {
            return;
        };
        let object = ObjectAt(object as usize);
        let owner = self.part(object, ObjectWord::Owner).load(Ordering::SeqCst);
        if owner != u64::from(thread) + 1 {
            self.set(thread, Of::Object, 0);
            return;
        }
        match self.load(thread, Of::Decided) == self.region.appended(thread) + 1 {
            true => self.complete(thread, object),
            false => self.abandon(thread, object),
        }
    }

    /// Appends an event that touches nothing.
    pub(super) fn append(&self, thread: u16, event: &Event) {
        self.wait_for_room(thread);
        self.region.prepare(thread, event);
        self.region.append(thread);
    }

    fn wait_for_room(&self, thread: u16) {
        while !self.region.has_room(thread) {
            std::thread::yield_now();
        }
    }

    /// Writes down what the buffer of a slot will be; only the thread that opens the epoch does.
    pub(super) fn describe(&self, slot: SlotId, request: &Request) {
        let packed = u64::from(request.device.0)
            | u64::from(request.parts) << 16
            | (request.memory as u64) << 24
            | (request.kind as u64) << 32;
        let words = [
            (BufferWord::Request, packed),
            (BufferWord::Size, request.size_bytes),
            (BufferWord::Address, 0),
            (BufferWord::Generation, 0),
        ];
        for (word, value) in words {
            self.buffer_word(slot, word).store(value, Ordering::SeqCst);
        }
    }

    /// The slot's buffer has got its address.
    pub(super) fn place(&self, slot: SlotId, address: u64, generation: u64) {
        let words = [
            (BufferWord::Generation, generation),
            (BufferWord::Address, address + 1),
        ];
        for (word, value) in words {
            self.buffer_word(slot, word).store(value, Ordering::SeqCst);
        }
    }

    /// What a slot's buffer is.
    pub(super) fn buffer(&self, slot: SlotId) -> SharedBuffer {
        let load = |word| self.buffer_word(slot, word).load(Ordering::SeqCst);
        let packed = load(BufferWord::Request);
        SharedBuffer {
            kind: BufferKind::ALL[(packed >> 32) as usize & 3],
            parts: (packed >> 16) as u8,
            device: DeviceId(packed as u16),
            memory: Memory::ALL[(packed >> 24) as usize & 3],
            size_bytes: load(BufferWord::Size),
            address: load(BufferWord::Address).checked_sub(1),
            generation: load(BufferWord::Generation),
        }
    }
}

/// What is in a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct SharedBuffer {
    pub(super) kind: BufferKind,
    pub(super) parts: u8,
    pub(super) device: DeviceId,
    pub(super) memory: Memory,
    pub(super) size_bytes: u64,
    pub(super) address: Option<u64>,
    pub(super) generation: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::ScenarioFile;

    fn shared() -> Commons {
        let text = "name = 'two'\nthreads = 2";
        let file: ScenarioFile = toml::from_str(text).expect("it parses");
        Commons::new(&file.resolve().expect("it resolves")).expect("there is memory")
    }

    /// What a thread did that was killed after so many of its instructions: nothing, or all.
    #[test]
    fn an_action_of_a_killed_thread_is_done_or_was_not_begun() {
        let object = ObjectAt(0);
        for reached in 0..=5 {
            let shared = shared();
            let event = Event::DebugLog;
            if reached >= 1 {
                assert_eq!(shared.begin(1, object), (0, 0), "{reached}");
            }
            if reached >= 2 {
                shared.region.prepare(1, &event);
                shared.set(1, Of::Value, 7);
                shared.set(1, Of::Version, 1);
            }
            if reached >= 3 {
                shared.set(1, Of::Decided, 1);
            }
            if reached >= 4 {
                shared
                    .part(object, ObjectWord::Value)
                    .store(7, Ordering::SeqCst);
                shared
                    .part(object, ObjectWord::Version)
                    .store(1, Ordering::SeqCst);
            }
            if reached >= 5 {
                shared.region.append(1);
            }
            shared.recover(1);
            let done = reached >= 3;
            let expected = (7 * u64::from(done), u64::from(done));
            assert_eq!(shared.region.take(1).is_some(), done, "{reached}");
            assert!(shared.region.take(1).is_none(), "{reached}");
            // Another one can have it.
            assert_eq!(shared.begin(0, object), expected, "{reached}");
        }
    }

    #[test]
    fn a_killed_thread_that_was_waiting_for_an_object_leaves_it_to_its_owner() {
        let shared = shared();
        let object = ObjectAt(1);
        shared.begin(0, object);
        shared.set(1, Of::Object, 2);
        shared.recover(1);
        shared.commit(0, object, (3, 1), &Event::DebugLog);
        assert_eq!(shared.begin(1, object), (3, 1));
    }
}
