//! Sends: which buffer each thread of a run has at hand, and so which message its next send
//! carries.
//!
//! A trace records *that* a thread sent, not what: the message follows from the thread's operation
//! and from the address that the allocator gave it. [`Senders`] follows the events of a run and
//! knows that. It judges nothing: an event that does not fit its operation is reported to the
//! caller, who decides what it means.

use smallvec::SmallVec;

use super::event::Event;
use crate::device::DeviceId;
use crate::planted::Planted;
use crate::scenario::objects::Objects;
use crate::scenario::op::{Op, Request};
use crate::scenario::{SCENARIO_PID, Scenario, VIEW_GENERATION};
use crate::tracking::sent::{Handle, SentKind, message};
use crate::tracking::{Layout, Message};

/// A message as its sender meant it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Which message.
    pub(crate) kind: SentKind,
    /// What the sender's handle says of the buffer.
    pub(crate) handle: Handle,
    /// The sending thread.
    pub(crate) thread: u16,
    /// The thread's operation, from 0.
    pub(crate) op: u64,
    /// The sequence number that it took; 0: none.
    pub(crate) sequence: u64,
}

impl Sent {
    /// The message as `layout` carries it, with the mistake that is planted.
    #[inline]
    pub(crate) fn message(&self, layout: Layout, planted: Option<Planted>) -> Message {
        let (handle, thread, sequence) = (&self.handle, self.thread, self.sequence);
        let mut message = message(layout, SCENARIO_PID, self.kind, handle, thread, sequence);
        if let Some(planted) = planted {
            planted.distort(&mut message, self.kind, handle);
        }
        message
    }
}

/// The threads of a run, each with the operation that it is in and the buffer that it has at hand.
#[derive(Clone, Debug)]
pub(crate) struct Senders {
    objects: Objects,
    view_address: Option<u64>,
    threads: Vec<ThreadPosition>,
    slots: Vec<SlotState>,
}

/// An event that does not fit the operation of its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutsideOfOperation;

/// Where a thread is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ThreadPosition {
    /// The slot at hand.
    pub(crate) slot: u32,
    /// The part at hand of the buffer in it.
    pub(crate) part: u8,
    /// Operations begun.
    pub(crate) ops: u64,
    /// The sequence number that the operation took; 0: none.
    pub(crate) sequence: u64,
}

/// What a slot holds.
#[derive(Clone, Debug, Default)]
struct SlotState {
    request: Option<Request>,
    /// Address and generation of each part, once allocated.
    parts: SmallVec<[Option<(u64, u64)>; 1]>,
}

impl Senders {
    /// Before the first event of a run of `scenario`.
    pub(crate) fn new(scenario: &Scenario) -> Senders {
        let objects = scenario.objects();
        Senders {
            objects,
            view_address: scenario.view_address(),
            threads: vec![ThreadPosition::default(); usize::from(scenario.threads)],
            slots: vec![SlotState::default(); objects.slots as usize],
        }
    }

    /// How many threads there are.
    #[inline]
    pub(crate) fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Takes the next event of `thread`, which must be one of the run's.
    #[inline]
    pub(crate) fn observe(
        &mut self,
        thread: usize,
        event: &Event,
    ) -> Result<(), OutsideOfOperation> {
        match *event {
            Event::Open { ref op, .. } => self.open(thread, op),
            Event::Part { part, .. } => self.threads[thread].part = part,
            Event::CloseBuffer { slot, part, .. } => {
                self.threads[thread].slot = slot;
                self.threads[thread].part = part;
            }
            Event::Alloc {
                device,
                address,
                version,
            } => return self.alloc(thread, device, address, version),
            Event::Stamp { sequence, .. } => self.threads[thread].sequence = sequence,
            _ => {}
        }
        Ok(())
    }

    /// The message that `thread` sends with a send of `kind` now; `None` outside of an operation.
    #[inline]
    pub(crate) fn sent(&self, thread: usize, kind: SentKind) -> Option<Sent> {
        let handle = self.handle(thread)?;
        let context = self.threads[thread];
        Some(Sent {
            kind,
            handle,
            thread: thread as u16,
            op: context.ops - 1,
            sequence: context.sequence,
        })
    }

    /// What the handle at hand says.
    #[inline]
    pub(crate) fn handle(&self, thread: usize) -> Option<Handle> {
        let context = self.threads[thread];
        let slot = self.slots.get(context.slot as usize)?;
        let request = slot.request?;
        let (address, generation) = (*slot.parts.get(usize::from(context.part))?)?;
        Some(Handle {
            device: self.device(thread)?,
            memory: request.memory,
            address,
            size_bytes: request.size_bytes,
            generation,
        })
    }

    /// Where the thread is; `None` for one that the run does not have.
    pub(crate) fn position(&self, thread: usize) -> Option<ThreadPosition> {
        self.threads.get(thread).copied()
    }

    /// What the buffer at hand was asked for with, whether it has an address or not.
    #[inline]
    pub(crate) fn request(&self, thread: usize) -> Option<Request> {
        let slot = self.slots.get(self.threads[thread].slot as usize)?;
        slot.request
    }

    /// The thread's operation, from 0; 0 also before the first.
    #[inline]
    pub(crate) fn op(&self, thread: usize) -> u64 {
        self.threads[thread].ops.saturating_sub(1)
    }

    /// The device of the part at hand; `None` outside of an operation.
    #[inline]
    fn device(&self, thread: usize) -> Option<DeviceId> {
        let context = self.threads[thread];
        let request = self.request(thread)?;
        (context.ops > 0).then(|| self.objects.device_of(request.device, context.part))
    }

    fn open(&mut self, thread: usize, op: &Op) {
        let context = &mut self.threads[thread];
        context.ops += 1;
        context.part = 0;
        context.sequence = 0;
        match *op {
            Op::Allocate { slot, request, .. } => {
                context.slot = slot.0;
                let state = &mut self.slots[slot.index()];
                state.request = Some(request);
                state.parts.clear();
                state.parts.resize(usize::from(request.parts), None);
                if let Some(address) = self.view_address
                    && !request.kind.owns_memory()
                {
                    state.parts[0] = Some((address, VIEW_GENERATION));
                }
            }
            Op::Release { slot, .. }
            | Op::Run {
                on: Some((slot, _)),
                ..
            } => context.slot = slot.0,
            _ => {}
        }
    }

    #[inline]
    fn alloc(
        &mut self,
        thread: usize,
        device: DeviceId,
        address: u64,
        generation: u64,
    ) -> Result<(), OutsideOfOperation> {
        let expected = self.device(thread);
        let context = self.threads[thread];
        let part = (self.slots.get_mut(context.slot as usize))
            .filter(|slot| slot.request.is_some() && expected == Some(device))
            .and_then(|slot| slot.parts.get_mut(usize::from(context.part)))
            .ok_or(OutsideOfOperation)?;
        *part = Some((address, generation));
        Ok(())
    }
}
