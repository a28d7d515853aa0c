//! Arbitrary observations to the checks without truth and to the diagnoser; arbitrary records to
//! the check of what an allocator recorded, with and without its table.
//!
//! Input: one byte for the circumstances, then observations, drawn by [`arbitrary`] from small
//! ranges, so that keys meet; a message takes effect late only where it was held. Demanded: no
//! panic, messages counted once, no more live than was allocated, and of the table no more
//! differences than buffers.

use std::collections::VecDeque;

use arbitrary::{Arbitrary, Unstructured};

use crate::device::Memory;
use crate::diagnosis::{Circumstances, Diagnoser};
use crate::import::allocation::{AllocationEvent, AllocationRecord, Buffer};
use crate::import::live_table::{LiveBlock, LiveTable};
use crate::oracle::allocation_check::AllocationCheck;
use crate::oracle::observation_check::ObservationCheck;
use crate::trace::observation::{Observation, Observed, RefsLeft, ServerAnswer};
use crate::tracking::message::Extension;
use crate::tracking::{Message, MessageKind};

/// Longer inputs only take longer.
const MAX_OBSERVATIONS: usize = 512;

/// One observation, as the fuzzer draws it.
#[derive(Clone, Copy, Debug, Arbitrary)]
struct Drawn {
    what: u8,
    kind: u8,
    device: i8,
    address: u8,
    size_bytes: u8,
    buffer_type: u8,
    pid: u8,
    extension: u8,
    sequence: u8,
    answer: u8,
    conn: u8,
    at_ns: Option<u16>,
}

/// Runs the target.
pub fn run(bytes: &[u8]) {
    let Some((circumstances, drawn)) = drawn(bytes) else {
        return;
    };
    let mut check = ObservationCheck::default();
    let mut diagnoser = Diagnoser::default();
    let mut messages = 0;
    for observation in observations(&drawn) {
        messages += u64::from(matches!(observation.what, Observed::Message { .. }));
        check.observe(&observation);
        diagnoser.observe(&observation);
    }
    let report = check.finish();
    assert_eq!(report.messages, messages);
    assert!(report.live_at_end.len() as u64 <= report.live_at_end_total);
    diagnoser.finish(circumstances);
    check_records(&drawn, circumstances.begins_in_the_middle);
}

/// The observations of an input.
pub(crate) fn decode(bytes: &[u8]) -> String {
    let Some((circumstances, drawn)) = drawn(bytes) else {
        return String::new();
    };
    let mut text = format!("{circumstances:?}\n");
    for observation in observations(&drawn) {
        text += &format!("{observation:?}\n");
    }
    text
}

fn observations(drawn: &[Drawn]) -> impl Iterator<Item = Observation> {
    let mut held = VecDeque::new();
    let numbered = drawn.iter().enumerate();
    numbered.map(move |(index, one)| one.observation(index as u64 + 1, &mut held))
}

fn drawn(bytes: &[u8]) -> Option<(Circumstances, Vec<Drawn>)> {
    let (first, rest) = bytes.split_first()?;
    let circumstances = Circumstances {
        complete: first & 1 != 0,
        begins_in_the_middle: first & 2 != 0,
        never_released: u64::from(first >> 4),
        knows_stacks: first & 4 != 0,
    };
    let mut input = Unstructured::new(rest);
    let mut drawn = Vec::new();
    while !input.is_empty() && drawn.len() < MAX_OBSERVATIONS {
        drawn.push(Drawn::arbitrary(&mut input).ok()?);
    }
    Some((circumstances, drawn))
}

/// The same as records of an allocator; the first few are its table.
fn check_records(drawn: &[Drawn], begins_in_the_middle: bool) {
    let (table, records) = drawn.split_at(drawn.len().min(4));
    let table = LiveTable {
        blocks: table.iter().map(|one| one.block()).collect(),
    };
    for with_table in [false, true] {
        let mut check = AllocationCheck::new(begins_in_the_middle);
        if with_table {
            check.compare_with(&table);
        }
        for (index, one) in records.iter().enumerate() {
            check.observe(&one.record(index as u64 + 1));
        }
        let found = check.finish();
        assert_eq!(found.records, records.len() as u64);
        match &found.table {
            None => assert!(found.live_total <= found.allocations),
            Some(compared) => {
                assert_eq!(found.live_total, compared.in_use.buffers);
                assert!(found.live_total <= table.blocks.len() as u64);
                assert!(compared.differences() <= 2 * drawn.len() as u64);
                assert!(compared.older.buffers <= table.blocks.len() as u64);
            }
        }
    }
}

impl Drawn {
    fn observation(self, position: u64, held: &mut VecDeque<Message>) -> Observation {
        let message = self.message();
        let takes_effect = (self.what % 12 == 6).then(|| held.pop_front()).flatten();
        if self.what % 12 <= 5 && self.answer() == Some(ServerAnswer::Held) {
            held.push_back(message.clone());
        }
        let what = match self.what % 12 {
            0..=5 => Observed::Message {
                message,
                complete: self.what & 64 == 0,
                server_answer: self.answer(),
            },
            6 => match takes_effect {
                Some(message) => Observed::TookEffect {
                    message,
                    server_answer: self.answer(),
                },
                None => Observed::Opened,
            },
            7 => match self.kind % 2 {
                0 => Observed::MixedFrame,
                _ => Observed::ServerStarted,
            },
            8 => Observed::UnknownFrame {
                kind: u64::from(self.kind),
            },
            9 => Observed::TornFrame {
                bytes: u64::from(self.size_bytes),
            },
            10 => Observed::Dropped { message },
            _ => match self.kind % 3 {
                0 => Observed::Opened,
                1 => Observed::Closed,
                _ => Observed::Swept {
                    pid: message.pid,
                    buffers: (self.answer & 1 == 0).then_some(u64::from(self.size_bytes)),
                },
            },
        };
        Observation {
            position,
            at_ns: self.at_ns.map(u64::from),
            conn: (self.conn & 1 == 0).then_some(u32::from(self.conn % 6)),
            what,
        }
    }

    fn message(self) -> Message {
        let kinds = MessageKind::ALL.len();
        Message {
            kind: MessageKind::ALL[usize::from(self.kind) % kinds],
            device: i32::from(self.device % 5),
            size_bytes: u64::from(self.size_bytes),
            buffer_type: self.buffer_type % 7,
            pid: i32::from(self.pid % 4),
            address: u64::from(self.address % 6) * 32,
            timestamp_ns: u64::from(self.at_ns.unwrap_or(0)),
            extension: (self.extension & 1 == 1).then_some(Extension {
                memory: Memory::ALL[usize::from(self.extension >> 1 & 3)],
                sequence: u64::from(self.sequence % 12),
                generation: u64::from(self.extension >> 3),
                thread: u32::from(self.size_bytes & 3),
            }),
        }
    }

    fn answer(self) -> Option<ServerAnswer> {
        let count = u64::from(self.size_bytes % 4);
        Some(match self.answer % 16 {
            0 => ServerAnswer::Inserted,
            1 => ServerAnswer::RefCount(count),
            2 => ServerAnswer::Incremented,
            3 => ServerAnswer::Replaced,
            4 => ServerAnswer::Freed(RefsLeft::Final),
            5 => ServerAnswer::Freed(RefsLeft::Remaining(count)),
            6 => ServerAnswer::Freed(RefsLeft::Unstated),
            7 => ServerAnswer::Decremented,
            8 => ServerAnswer::UnknownFree,
            9 => ServerAnswer::AlreadyFreed,
            10 => ServerAnswer::Held,
            11 => ServerAnswer::Rejected,
            12 => ServerAnswer::Total(Some(count)),
            13 => ServerAnswer::Total(None),
            _ => return None,
        })
    }

    fn block(self) -> LiveBlock {
        LiveBlock {
            device: i32::from(self.device % 5),
            address: u64::from(self.address % 6) * 32,
            size_bytes: u64::from(self.size_bytes),
            requested_bytes: (self.answer & 1 == 0).then_some(u64::from(self.kind)),
            awaits_release: self.what & 1 == 0,
            stack: None,
        }
    }

    fn record(self, position: u64) -> AllocationRecord {
        let buffer = Buffer {
            process: (self.pid & 1 == 0).then_some(u32::from(self.pid % 4)),
            device: i32::from(self.device % 5),
            buffer_type: self.buffer_type % 7,
            address: u64::from(self.address % 6) * 32,
            size_bytes: (self.answer & 2 == 0).then_some(u64::from(self.size_bytes)),
            holder: (self.extension & 1 == 1).then_some(u64::from(self.extension >> 6)),
            stack: None,
        };
        let what = match self.kind % 8 {
            0..=2 => AllocationEvent::Allocated(buffer),
            3 => AllocationEvent::ReleaseRequested(buffer),
            4 | 5 => AllocationEvent::Released(buffer),
            6 => AllocationEvent::HolderEnded(buffer),
            _ => AllocationEvent::Failed {
                device: buffer.device,
                size_bytes: u64::from(self.size_bytes),
            },
        };
        AllocationRecord {
            position,
            at_ns: self.at_ns.map(u64::from),
            thread: (self.conn & 1 == 0).then_some(u64::from(self.conn % 6)),
            what,
        }
    }
}
