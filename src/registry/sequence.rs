//! Putting messages back in the order of their sequence numbers, one queue a (process, device).
//!
//! Each queue starts at number 1. A message with the awaited number passes at once, a later one is
//! held, an earlier one has been decided already. Everything is bounded: how far ahead a number may
//! be and how many queues there are. [`Sequencer::flush`] gives up waiting and names the numbers
//! that never came.

use std::collections::BTreeMap;

use super::RejectReason;
use crate::device::DeviceId;
use crate::tracking::Message;

/// Sequence numbers that never came, named by [`super::Registry::flush`]. Both ends belong to the
/// gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceGap {
    /// The process whose messages are missing.
    pub(crate) pid: i32,
    /// The device they were about.
    pub(crate) device: DeviceId,
    /// The first missing number.
    pub(crate) first: u64,
    /// The last missing number.
    pub(crate) last: u64,
}

/// What to do with a stamped message.
pub(super) enum Admission {
    /// It is its turn.
    Now,
    /// It waits.
    Held,
    /// It can't be taken.
    Rejected(RejectReason),
}

/// One queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Queue {
    /// The number that may pass next.
    next: u64,
    /// What came too early; every key is above `next`.
    held: BTreeMap<u64, Message>,
}

/// Every queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Sequencer {
    queues: BTreeMap<(i32, DeviceId), Queue>,
    held: usize,
}

impl Sequencer {
    /// Takes note of `message`, numbered `sequence` (not 0).
    pub(super) fn admit(
        &mut self,
        message: &Message,
        device: DeviceId,
        sequence: u64,
        window: u64,
        max_queues: usize,
    ) -> Admission {
        let count = self.queues.len();
        let queue = match self.queues.entry((message.pid, device)) {
            std::collections::btree_map::Entry::Occupied(found) => found.into_mut(),
            std::collections::btree_map::Entry::Vacant(_) if count >= max_queues => {
                return Admission::Rejected(RejectReason::TooManySequences);
            }
            std::collections::btree_map::Entry::Vacant(free) => free.insert(Queue {
                next: 1,
                held: BTreeMap::new(),
            }),
        };
        if sequence < queue.next || queue.held.contains_key(&sequence) {
            return Admission::Rejected(RejectReason::SequenceRepeated);
        }
        if sequence == queue.next {
            queue.next = queue.next.saturating_add(1);
            return Admission::Now;
        }
        if sequence - queue.next > window {
            return Admission::Rejected(RejectReason::SequenceTooFarAhead);
        }
        queue.held.insert(sequence, message.clone());
        self.held += 1;
        Admission::Held
    }

    /// The held message whose turn has come in the queue of `pid` and `device`, if there is one.
    pub(super) fn release(&mut self, pid: i32, device: DeviceId) -> Option<Message> {
        let queue = self.queues.get_mut(&(pid, device))?;
        let message = queue.held.remove(&queue.next)?;
        queue.next = queue.next.saturating_add(1);
        self.held -= 1;
        Some(message)
    }

    /// Whether no stamped message ever came.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Of each queue the awaited number, then what it holds.
    pub(super) fn queued(&self) -> impl Iterator<Item = (DeviceId, u64, Option<&Message>)> {
        self.queues.iter().flat_map(|(&(_, device), queue)| {
            let held = queue.held.iter();
            std::iter::once((device, queue.next, None))
                .chain(held.map(move |(number, message)| (device, *number, Some(message))))
        })
    }

    /// How many messages wait.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Stops waiting: everything held, by process, device and number, and the gaps it was waiting
    /// behind.
    pub(super) fn flush(&mut self) -> (Vec<Message>, Vec<SequenceGap>) {
        let (mut messages, mut gaps) = (Vec::with_capacity(self.held), Vec::new());
        for (&(pid, device), queue) in &mut self.queues {
            for (sequence, message) in std::mem::take(&mut queue.held) {
                if sequence > queue.next {
                    gaps.push(SequenceGap {
                        pid,
                        device,
                        first: queue.next,
                        last: sequence - 1,
                    });
                }
                queue.next = sequence.saturating_add(1);
                messages.push(message);
            }
        }
        self.held = 0;
        (messages, gaps)
    }
}
