//! The lives of addresses as the allocator tells them, and which of them a message means.
//!
//! A message names an address, not a life. Whoever sends an ALLOC means the life that it began and
//! has not told of; whoever sends a FREE the oldest life that it ended and has not told of, else
//! the one that is live, else one that somebody else ended. A message that fits no life is about
//! something that the allocator knows nothing of.

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::device::{DeviceId, Memory};
use crate::oracle::kind::Leak;
use crate::oracle::truth::{BufferPlace, Truth};
use crate::registry::Totals;
use crate::trace::file::TableEntry;
use crate::trace::sends::Sent;
use crate::tracking::entry::Class;
use crate::tracking::sent::{Handle, SentKind};
use crate::tracking::{Message, MessageKind};

/// Lives of one address that are kept: more were never told of.
const MAX_LIVES: usize = 64;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct ToldLives {
    at: FxHashMap<(u16, u64), SmallVec<[ToldLife; 2]>>,
    operations: FxHashMap<u16, u64>,
    generations: u64,
    held: FxHashMap<(i32, i32, u64), Sent>,
    /// Addresses that were ever handed out.
    known: FxHashSet<(u16, Memory, u64)>,
    /// A message told of a circular buffer that the allocator knows.
    knows_circular: bool,
}

#[derive(Clone, Copy, Debug)]
struct ToldLife {
    handle: Handle,
    began_by: u16,
    is_live: bool,
    ended_by: Option<u16>,
    alloc_sent: bool,
    free_sent: bool,
}

impl ToldLives {
    /// An address is handed out: what is live then, which life it is, and whether it was live
    /// before, in which case nothing changes.
    pub(super) fn begin(
        &mut self,
        thread: u16,
        device: DeviceId,
        memory: Memory,
        address: u64,
        size_bytes: u64,
    ) -> (Leak, u64, bool) {
        let op = self.operation(thread);
        let generation = self.generation();
        let origin = Leak {
            device,
            memory,
            address,
            size_bytes,
            thread,
            op,
        };
        self.known.insert((device.0, memory, address));
        let lives = self.at.entry((device.0, address)).or_default();
        if lives
            .iter()
            .any(|life| life.is_live && life.handle.memory == memory)
        {
            return (origin, generation, true);
        }
        lives.retain(|life| life.is_live || !life.alloc_sent || !life.free_sent);
        if lives.len() >= MAX_LIVES {
            lives.remove(0);
        }
        lives.push(ToldLife {
            handle: Handle {
                device,
                memory,
                address,
                size_bytes,
                generation,
            },
            began_by: thread,
            is_live: true,
            ended_by: None,
            alloc_sent: false,
            free_sent: false,
        });
        (origin, generation, false)
    }

    /// An address is taken back: the life that ends, if there is one.
    pub(super) fn end(
        &mut self,
        thread: u16,
        device: DeviceId,
        memory: Memory,
        address: u64,
    ) -> Option<Handle> {
        self.operation(thread);
        let lives = self.at.get_mut(&(device.0, address))?;
        let life = lives
            .iter_mut()
            .find(|life| life.is_live && life.handle.memory == memory)?;
        life.is_live = false;
        life.ended_by = Some(thread);
        Some(life.handle)
    }

    /// Whether the address was ever handed out.
    pub(super) fn was_ever(&self, device: DeviceId, memory: Memory, address: u64) -> bool {
        self.known.contains(&(device.0, memory, address))
    }

    /// What `thread` means by a message that it sends now; `None` where that is nothing that the
    /// allocator could know of.
    pub(super) fn about(&mut self, thread: u16, message: &Message) -> Option<Sent> {
        let kind = match message.kind {
            MessageKind::Alloc => SentKind::Alloc,
            MessageKind::Free => SentKind::Free,
            MessageKind::CbAlloc => SentKind::CbAlloc,
            MessageKind::CbFree => SentKind::CbFree,
            _ => return None,
        };
        let device = u16::try_from(message.device).ok()?;
        let memory = match (message.extension, message.kind) {
            (Some(extension), _) => Some(extension.memory),
            (None, MessageKind::Alloc) => Some(Memory::from_buffer_type(message.buffer_type)?),
            (None, MessageKind::CbAlloc | MessageKind::CbFree) => Some(Memory::L1),
            (None, _) => None,
        };
        let life = match message.kind.opens() {
            true => self.begun(thread, device, memory, message),
            false => self.ended(thread, device, memory, message.address),
        };
        let handle = match (life, message.kind) {
            (Some(handle), _) => handle,
            // The server will show it, and the allocator knows nothing of it.
            (None, MessageKind::Alloc) => Handle {
                device: DeviceId(device),
                memory: memory?,
                address: message.address,
                size_bytes: message.size_bytes,
                generation: self.generation(),
            },
            (None, _) => return None,
        };
        let sequence = message.extension.map_or(0, |extension| extension.sequence);
        let op = self.operations.get(&thread).copied().unwrap_or(0);
        Some(Sent {
            kind,
            handle,
            thread,
            op: op.saturating_sub(1),
            sequence,
        })
    }

    fn begun(
        &mut self,
        thread: u16,
        device: u16,
        memory: Option<Memory>,
        message: &Message,
    ) -> Option<Handle> {
        let lives = self.at.get_mut(&(device, message.address))?;
        let fits = |life: &&mut ToldLife| {
            !life.alloc_sent && memory.is_none_or(|memory| memory == life.handle.memory)
        };
        let rank = |life: &&mut ToldLife| {
            (
                life.began_by != thread,
                life.handle.size_bytes != message.size_bytes,
            )
        };
        let life = lives.iter_mut().filter(fits).min_by_key(rank)?;
        life.alloc_sent = true;
        Some(life.handle)
    }

    fn ended(
        &mut self,
        thread: u16,
        device: u16,
        memory: Option<Memory>,
        address: u64,
    ) -> Option<Handle> {
        let lives = self.at.get_mut(&(device, address))?;
        let fits = |life: &&mut ToldLife| {
            !life.free_sent && memory.is_none_or(|memory| memory == life.handle.memory)
        };
        let rank = |life: &&mut ToldLife| match (life.ended_by, life.is_live) {
            (Some(by), _) if by == thread => 0,
            (_, true) if life.alloc_sent => 1,
            (_, true) => 2,
            _ => 3,
        };
        let life = lives.iter_mut().filter(fits).min_by_key(rank)?;
        life.free_sent = true;
        Some(life.handle)
    }

    /// A message waits at the server for an earlier one.
    pub(super) fn hold(&mut self, message: &Message, about: Sent) {
        self.held.insert(stamp(message), about);
    }

    /// What a message that had to wait was about.
    pub(super) fn held(&mut self, message: &Message) -> Option<Sent> {
        self.held.remove(&stamp(message))
    }

    /// A message says that a life is a circular buffer's: the allocator does not.
    pub(super) fn see_circular(&mut self, truth: &mut Truth, about: &Sent) {
        let life = truth.at_mut(BufferPlace::of(&about.handle));
        if let Some(life) = life.filter(|life| life.generation == about.handle.generation) {
            life.circular = true;
            self.knows_circular = true;
        }
    }

    /// What the server shows of a device, without circular buffers where the allocator knows none.
    pub(super) fn without_foreign(&self, shown: Totals) -> Totals {
        Totals {
            cb_bytes: match self.knows_circular {
                true => shown.cb_bytes,
                false => 0,
            },
            ..shown
        }
    }

    /// The same of its live table.
    pub(super) fn without_foreign_entries(&self, mut table: Vec<TableEntry>) -> Vec<TableEntry> {
        table.retain(|entry| !entry.circular || self.knows_circular);
        table
    }

    /// Addresses that were handed out and taken back.
    pub(super) fn operations(&self) -> u64 {
        self.operations.values().sum()
    }

    fn operation(&mut self, thread: u16) -> u64 {
        let count = self.operations.entry(thread).or_default();
        *count += 1;
        *count - 1
    }

    fn generation(&mut self) -> u64 {
        self.generations += 1;
        self.generations
    }
}

fn stamp(message: &Message) -> (i32, i32, u64) {
    let sequence = message.extension.map_or(0, |extension| extension.sequence);
    (message.pid, message.device, sequence)
}

/// Whether what is about no life of the allocator's is nevertheless about a plain buffer.
pub(super) fn is_plain_release(message: &Message) -> bool {
    message.kind.role() == Some((Class::Plain, false))
}
