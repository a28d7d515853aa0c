//! The log of a tracked program, as it stands in the page.

use heisenbed_runtime::protocol as wire;

use crate::oracle::traffic::TrafficEvent;

/// `struct hb_track_head`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of the log; may be more than there are.
    pub(super) used: u64,
    /// How many there were.
    pub(super) connections: u32,
    /// Something is missing.
    pub(super) full: bool,
    /// Threads that were at work when the program ended; `None`: it did not end by itself.
    pub(super) unfinished: Option<u32>,
    /// Of each truth symbol, places that call it.
    pub(super) patched: Vec<u32>,
    /// The same, how often it was called.
    pub(super) called: Vec<u32>,
}

impl Head {
    /// Of its bytes; what is not there is 0.
    pub(super) fn parse(bytes: &[u8]) -> Head {
        let words = |at: usize| {
            (0..wire::MAX_TRUTH_SYMBOLS)
                .map(|index| u32_at(bytes, at + 4 * index))
                .collect()
        };
        Head {
            used: u64_at(bytes, 0),
            connections: u32_at(bytes, 12),
            full: u32_at(bytes, 16) != 0,
            unfinished: u32_at(bytes, 20).checked_sub(1),
            patched: words(24),
            called: words(24 + 4 * wire::MAX_TRUTH_SYMBOLS),
        }
    }
}

/// What the records of a log say, one event each, and whether all of it could be read.
pub(super) fn events(mut bytes: &[u8]) -> (Vec<TrafficEvent>, bool) {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let Some((event, rest)) = event(bytes) else {
            return (events, false);
        };
        events.push(event);
        bytes = rest;
    }
    (events, true)
}

fn event(bytes: &[u8]) -> Option<(TrafficEvent, &[u8])> {
    let (head, rest) = bytes.split_at_checked(wire::TRACK_RECORD_BYTES)?;
    let kind = u16_at(head, 0);
    let thread = u16_at(head, 2);
    let (conn, memory) = (u32_at(head, 4), u32_at(head, 8));
    let length = u32_at(head, 12) as usize;
    let (address, size_bytes) = (u64_at(head, 16), u64_at(head, 24));
    let payload = rest.get(..length)?;
    let rest = rest.get(length.checked_next_multiple_of(8)?..)?;
    let bytes = || payload.to_vec();
    let event = match kind {
        wire::track::OPENED => TrafficEvent::Opened,
        wire::track::SENT => TrafficEvent::Sent {
            thread,
            conn,
            bytes: bytes(),
            at_once: memory != 0,
        },
        wire::track::TAKEN => TrafficEvent::Taken { conn },
        wire::track::DROPPED => TrafficEvent::Dropped {
            thread,
            conn,
            bytes: bytes(),
        },
        wire::track::ELSEWHERE => TrafficEvent::Elsewhere {
            path: String::from_utf8_lossy(payload).into_owned(),
        },
        wire::track::ALLOC => TrafficEvent::Alloc {
            thread,
            device: conn,
            memory,
            address,
            size_bytes,
        },
        wire::track::FREE => TrafficEvent::Free {
            thread,
            device: conn,
            memory,
            address,
        },
        wire::track::TOTAL => TrafficEvent::Total {
            device: conn,
            memory,
            bytes: address,
            at_rest: size_bytes != 0,
        },
        _ => return None,
    };
    Some((event, rest))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.copied().unwrap_or([0; N])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u16, length: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(kind.to_le_bytes());
        bytes.extend(3u16.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(2u32.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(64u64.to_le_bytes());
        bytes.extend(4096u64.to_le_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn records_are_read_as_they_stand() {
        let log = [
            record(wire::track::ALLOC, 0, &[]),
            record(wire::track::SENT, 3, &[7, 8, 9]),
        ];
        let (events, whole) = events(&log.concat());
        assert!(whole);
        assert_eq!(
            events,
            [
                TrafficEvent::Alloc {
                    thread: 3,
                    device: 1,
                    memory: 2,
                    address: 64,
                    size_bytes: 4096
                },
                TrafficEvent::Sent {
                    thread: 3,
                    conn: 1,
                    bytes: vec![7, 8, 9],
                    at_once: true
                },
            ]
        );
    }

    #[test]
    fn no_length_and_no_kind_is_believed() {
        for (kind, length) in [
            (wire::track::SENT, u32::MAX),
            (wire::track::SENT, 9),
            (99, 0),
        ] {
            let (events, whole) = events(&record(kind, length, &[0; 8]));
            assert!(!whole && events.is_empty(), "{kind} {length}");
        }
        assert!(!events(&[1; 31]).1);
    }
}
