//! Arbitrary messages to the registry and to a naive model of it: a list, scanned for everything.
//!
//! Input: one byte for the semantics, then messages, drawn by [`arbitrary`] from small ranges, so
//! that keys, devices and sequence numbers meet. Demanded after each: the same outcomes, the same
//! live table, the same totals.

use arbitrary::{Arbitrary, Unstructured};

use crate::device::{DeviceId, Memory};
use crate::registry::{Limits, Outcome, Registry, RejectReason, Semantics, Totals};
use crate::tracking::entry::{Class, Entry};
use crate::tracking::message::Extension;
use crate::tracking::{Message, MessageKind};

const SEMANTICS: [Semantics; 4] = [
    Semantics::Overwrite,
    Semantics::Refcount,
    Semantics::Typed,
    Semantics::Sequenced,
];
const LIMITS: Limits = Limits {
    devices: 3,
    buffers: 6,
    size_bytes: 200,
    sequence_window: 4,
    sequences: 3,
    any_size: false,
};
/// The model scans; longer inputs only take longer.
const MAX_MESSAGES: usize = 256;

/// One message, as the fuzzer draws it.
#[derive(Clone, Copy, Debug, Arbitrary)]
struct Step {
    kind: u8,
    device: i8,
    address: u8,
    size_bytes: u8,
    buffer_type: u8,
    extension: u8,
    sequence: u8,
    flush: u8,
}

impl Step {
    fn message(self) -> Message {
        let kinds = MessageKind::ALL.len();
        Message {
            kind: MessageKind::ALL[usize::from(self.kind) % kinds],
            device: i32::from(self.device % 5),
            size_bytes: u64::from(self.size_bytes),
            buffer_type: self.buffer_type % 7,
            pid: 100 + i32::from(self.address >> 7),
            address: u64::from(self.address % 4) * 32,
            timestamp_ns: 0,
            extension: (self.extension & 1 == 1).then_some(Extension {
                memory: Memory::ALL[usize::from(self.extension >> 1 & 3)],
                sequence: u64::from(self.sequence % 12),
                generation: u64::from(self.extension >> 3),
                thread: u32::from(self.size_bytes & 3),
            }),
        }
    }

    /// Now and then everything held is let go.
    fn flushes(self) -> bool {
        self.flush == u8::MAX
    }
}

/// Runs the target.
pub fn run(bytes: &[u8]) {
    let Some((semantics, steps)) = parts(bytes) else {
        return;
    };
    let mut subject = Registry::new(semantics, LIMITS);
    let mut model = Model {
        semantics,
        live: Vec::new(),
        queues: Vec::new(),
    };
    for step in steps.into_iter().take(MAX_MESSAGES) {
        let message = step.message();
        let mut is = Vec::new();
        subject.apply(&message, &mut |message, outcome| {
            is.push((message.clone(), outcome));
        });
        assert_eq!(is, model.apply(&message), "after {message:?}");
        if step.flushes() {
            let mut is = Vec::new();
            subject.flush(&mut |message, outcome| is.push((message.clone(), outcome)));
            assert_eq!(is, model.flush(), "at a flush");
        }
        model.compare(&subject);
    }
    let twin = subject.clone();
    assert_eq!(twin, subject);
}

/// The messages, and what the registry makes of each.
pub(crate) fn decode(bytes: &[u8]) -> String {
    let Some((semantics, steps)) = parts(bytes) else {
        return String::new();
    };
    let mut text = format!("{semantics} server\n");
    let mut registry = Registry::new(semantics, LIMITS);
    for step in steps.into_iter().take(MAX_MESSAGES) {
        let message = step.message();
        text += &format!("{message:?}\n");
        let mut list = |_: &Message, outcome| text += &format!("  {outcome:?}\n");
        registry.apply(&message, &mut list);
        if step.flushes() {
            text += "flush\n";
            registry.flush(&mut |_, outcome| text += &format!("  {outcome:?}\n"));
        }
    }
    text
}

fn parts(bytes: &[u8]) -> Option<(Semantics, Vec<Step>)> {
    let (&semantics, bytes) = bytes.split_first()?;
    let semantics = SEMANTICS[usize::from(semantics) % SEMANTICS.len()];
    let steps = <Vec<Step>>::arbitrary_take_rest(Unstructured::new(bytes)).ok()?;
    Some((semantics, steps))
}

/// What the registry's page promises, in the plainest form.
struct Model {
    semantics: Semantics,
    live: Vec<Live>,
    /// In order of their first message.
    queues: Vec<Queue>,
}

/// A live entry, and the memory that its ALLOC named (by buffer type).
#[derive(Clone, Copy)]
struct Live {
    entry: Entry,
    memory: u8,
}

/// The stamped messages of one process on one device.
struct Queue {
    pid: i32,
    device: i32,
    next: u64,
    held: Vec<(u64, Message)>,
}

impl Model {
    fn apply(&mut self, message: &Message) -> Vec<(Message, Outcome)> {
        let only = |outcome| vec![(message.clone(), outcome)];
        if message.kind.role().is_none() {
            return only(Outcome::Ignored);
        }
        if !(0..LIMITS.devices as i32).contains(&message.device) {
            return only(Outcome::Rejected(RejectReason::DeviceOutOfRange));
        }
        let sequence = message.extension.map_or(0, |extension| extension.sequence);
        if self.semantics != Semantics::Sequenced || sequence == 0 {
            return only(self.take(message));
        }
        let of = |queue: &Queue| (queue.pid, queue.device) == (message.pid, message.device);
        if !self.queues.iter().any(of) {
            if self.queues.len() == LIMITS.sequences {
                return only(Outcome::Rejected(RejectReason::TooManySequences));
            }
            self.queues.push(Queue {
                pid: message.pid,
                device: message.device,
                next: 1,
                held: Vec::new(),
            });
        }
        let at = self.queues.iter().position(of).expect("just made");
        let queue = &mut self.queues[at];
        if sequence < queue.next || queue.held.iter().any(|(held, _)| *held == sequence) {
            return only(Outcome::Rejected(RejectReason::SequenceRepeated));
        }
        if sequence > queue.next {
            if sequence - queue.next > LIMITS.sequence_window {
                return only(Outcome::Rejected(RejectReason::SequenceTooFarAhead));
            }
            queue.held.push((sequence, message.clone()));
            return only(Outcome::Held);
        }
        let mut now = vec![message.clone()];
        queue.next += 1;
        while let Some(index) = queue.held.iter().position(|(held, _)| *held == queue.next) {
            now.push(queue.held.remove(index).1);
            queue.next += 1;
        }
        self.take_all(now)
    }

    fn flush(&mut self) -> Vec<(Message, Outcome)> {
        self.queues.sort_by_key(|queue| (queue.pid, queue.device));
        let mut now = Vec::new();
        for queue in &mut self.queues {
            queue.held.sort_by_key(|(sequence, _)| *sequence);
            if let Some((last, _)) = queue.held.last() {
                queue.next = last + 1;
            }
            now.extend(queue.held.drain(..).map(|(_, message)| message));
        }
        self.take_all(now)
    }

    fn take_all(&mut self, messages: Vec<Message>) -> Vec<(Message, Outcome)> {
        messages
            .into_iter()
            .map(|message| {
                let outcome = self.take(&message);
                (message, outcome)
            })
            .collect()
    }

    fn take(&mut self, message: &Message) -> Outcome {
        let (class, opens) = message.kind.role().expect("asked before");
        if opens {
            self.open(message, class)
        } else {
            self.close(message, class)
        }
    }

    fn open(&mut self, message: &Message, class: Class) -> Outcome {
        let reject = |reason| Outcome::Rejected(reason);
        if class == Class::Plain && message.buffer_type > 4 {
            return reject(RejectReason::InvalidBufferType);
        }
        if message.size_bytes == 0 {
            return reject(RejectReason::SizeZero);
        }
        if message.size_bytes > LIMITS.size_bytes {
            return reject(RejectReason::SizeOverLimit);
        }
        let extension = message.extension;
        let memory = extension.map_or(message.buffer_type, |extension| {
            extension.memory.buffer_type()
        });
        let new = Live {
            entry: Entry {
                device: DeviceId(message.device as u16),
                class,
                buffer_type: message.buffer_type,
                address: message.address,
                size_bytes: message.size_bytes,
                pid: message.pid,
                thread: extension.map_or(0, |extension| extension.thread),
                generation: extension.map_or(0, |extension| extension.generation),
                refcount: 1,
            },
            memory,
        };
        match self.find(message, class, memory) {
            Some(index) if self.semantics == Semantics::Refcount => {
                let kept = &mut self.live[index].entry;
                kept.refcount += 1;
                Outcome::Incremented { kept: *kept }
            }
            Some(index) => Outcome::Replaced {
                old: std::mem::replace(&mut self.live[index], new).entry,
            },
            None if self.live.len() as u64 == LIMITS.buffers => reject(RejectReason::TableFull),
            None => {
                self.live.push(new);
                Outcome::Inserted
            }
        }
    }

    fn close(&mut self, message: &Message, class: Class) -> Outcome {
        let memories = match message.extension {
            Some(extension) => vec![extension.memory.buffer_type()],
            None => (0..=4).collect(),
        };
        let found = memories
            .into_iter()
            .find_map(|memory| self.find(message, class, memory));
        let Some(index) = found else {
            return Outcome::UnknownFree;
        };
        if self.live[index].entry.refcount > 1 {
            let left = &mut self.live[index].entry;
            left.refcount -= 1;
            return Outcome::Decremented { left: *left };
        }
        Outcome::Removed {
            entry: self.live.remove(index).entry,
        }
    }

    /// Where the entry is that a message about `memory` means.
    fn find(&self, message: &Message, class: Class, memory: u8) -> Option<usize> {
        let typed = matches!(self.semantics, Semantics::Typed | Semantics::Sequenced);
        self.live.iter().position(|live| {
            let entry = live.entry;
            let same_place = i32::from(entry.device.0) == message.device
                && entry.address == message.address
                && entry.class == class;
            let same_memory = class != Class::Plain || live.memory == memory;
            same_place && (!typed || (entry.pid == message.pid && same_memory))
        })
    }

    /// Live table and totals of `subject` against ours.
    fn compare(&self, subject: &Registry) {
        let mut is = subject.live();
        is.sort_unstable();
        let mut expected: Vec<Entry> = self.live.iter().map(|live| live.entry).collect();
        expected.sort_unstable();
        assert_eq!(is, expected, "the live table");
        assert_eq!(subject.len(), expected.len());
        let held: usize = self.queues.iter().map(|queue| queue.held.len()).sum();
        assert_eq!(subject.held(), held);
        for device in -1..=LIMITS.devices as i32 {
            assert_eq!(
                subject.totals(device),
                self.totals(device),
                "device {device}"
            );
        }
    }

    fn totals(&self, device: i32) -> Totals {
        let on = |class, buffer_type: Option<u8>| {
            self.live
                .iter()
                .map(|live| live.entry)
                .filter(move |entry| i32::from(entry.device.0) == device && entry.class == class)
                .filter(move |entry| buffer_type.is_none_or(|wanted| entry.buffer_type == wanted))
                .map(|entry| entry.size_bytes)
        };
        let plain = |buffer_type| on(Class::Plain, Some(buffer_type)).sum();
        let classes = [Class::Plain, Class::Circular, Class::Kernel];
        Totals {
            dram_bytes: plain(0),
            l1_bytes: plain(1),
            system_bytes: plain(2),
            l1_small_bytes: plain(3),
            trace_bytes: plain(4),
            cb_bytes: on(Class::Circular, None).sum(),
            kernel_bytes: on(Class::Kernel, None).sum(),
            buffers: classes
                .map(|class| on(class, None).count())
                .iter()
                .sum::<usize>() as u64,
        }
    }
}
