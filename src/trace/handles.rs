//! Which buffer each thread of a run is at: what an event does not say of itself because its stream does.
//!
//! The events after an `Open` belong to that operation; a `Send` is about the buffer whose handle is at hand. Whoever reads the
//! merged schedule follows it with [`Handles`] and asks for [`Handles::sent`].

use smallvec::SmallVec;

use super::event::SentKind;
use super::in_flight::Sent;
use super::message::Handle;
use super::objects::Objects;
use crate::device::DeviceId;
use crate::scenario::Scenario;
use crate::scenario::op::{Op, Request};

/// Where every thread is, and what every slot holds.
#[derive(Debug)]
pub(crate) struct Handles {
    objects: Objects,
    threads: Vec<Position>,
    slots: Vec<Slot>,
}

/// Where a thread is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Position {
    slot: u32,
    part: u8,
    /// Operations begun.
    pub ops: u64,
    sequence: u64,
}

/// What a slot holds.
#[derive(Clone, Debug, Default)]
struct Slot {
    request: Option<Request>,
    /// Address and generation of each part, once allocated.
    parts: SmallVec<[Option<(u64, u64)>; 1]>,
}

impl Handles {
    /// Before the first event of a run of `scenario`.
    pub fn new(scenario: &Scenario) -> Handles {
        let objects = scenario.objects();
        Handles {
            objects,
            threads: vec![Position::default(); usize::from(scenario.threads)],
            slots: vec![Slot::default(); objects.slots as usize],
        }
    }

    /// How many threads there are.
    #[inline]
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// The run's shared objects.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Where `thread` is.
    #[inline]
    pub fn position(&self, thread: usize) -> Position {
        self.threads[thread]
    }

    /// `thread` begins an operation.
    #[inline]
    pub fn open(&mut self, thread: usize, op: &Op) {
        let position = &mut self.threads[thread];
        position.ops += 1;
        position.part = 0;
        position.sequence = 0;
        match *op {
            Op::Allocate { slot, request, .. } => {
                position.slot = slot.0;
                let slot = &mut self.slots[slot.index()];
                slot.request = Some(request);
                slot.parts.clear();
                slot.parts.resize(usize::from(request.parts), None);
            }
            Op::Release { slot, .. } => position.slot = slot.0,
            _ => {}
        }
    }

    /// `thread` goes on with the next part of its buffer.
    #[inline]
    pub fn part(&mut self, thread: usize, part: u8) {
        self.threads[thread].part = part;
    }

    /// `thread`, which closes a device, goes on with this buffer.
    pub fn close_buffer(&mut self, thread: usize, slot: u32, part: u8) {
        self.threads[thread].slot = slot;
        self.threads[thread].part = part;
    }

    /// `thread` takes a sequence number.
    #[inline]
    pub fn stamp(&mut self, thread: usize, sequence: u64) {
        self.threads[thread].sequence = sequence;
    }

    /// `thread` gets an address on `device` for the part at hand; what it had asked for. `None` where it has not.
    #[inline]
    pub fn allocate(
        &mut self,
        thread: usize,
        device: DeviceId,
        address: u64,
        generation: u64,
    ) -> Option<Request> {
        let position = self.threads[thread];
        let expected = self.device_at_hand(thread);
        let slot = self.slots.get_mut(position.slot as usize)?;
        let (request, part) = slot
            .request
            .zip(slot.parts.get_mut(usize::from(position.part)))
            .filter(|_| expected == Some(device))?;
        *part = Some((address, generation));
        Some(request)
    }

    /// What the operation at hand asked for.
    pub fn request(&self, thread: usize) -> Option<Request> {
        self.slots.get(self.threads[thread].slot as usize)?.request
    }

    /// What the handle at hand says.
    pub fn handle(&self, thread: usize) -> Option<Handle> {
        let position = self.threads[thread];
        let slot = self.slots.get(position.slot as usize)?;
        let request = slot.request?;
        let (address, generation) = (*slot.parts.get(usize::from(position.part))?)?;
        Some(Handle {
            device: self.device_at_hand(thread)?,
            memory: request.memory,
            address,
            size_bytes: request.size_bytes,
            generation,
        })
    }

    /// The message of `kind` that `thread` sends now.
    #[inline]
    pub fn sent(&self, thread: usize, kind: SentKind) -> Option<Sent> {
        let position = self.threads[thread];
        Some(Sent {
            kind,
            handle: self.handle(thread)?,
            thread: thread as u16,
            op: position.ops.checked_sub(1)?,
            sequence: position.sequence,
        })
    }

    /// The device of the part at hand; `None` outside of an operation.
    #[inline]
    fn device_at_hand(&self, thread: usize) -> Option<DeviceId> {
        let position = self.threads[thread];
        let request = self.slots.get(position.slot as usize)?.request?;
        (position.ops > 0).then(|| self.objects.device_of(request.device, position.part))
    }
}
