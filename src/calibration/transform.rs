//! Faults that the engine does not have, made by changing what was recorded of a run without one.

use std::collections::{BTreeMap, BTreeSet};

use crate::scenario::random::Random;
use crate::trace::observation::{Observation, Observed};
use crate::tracking::entry::Class;
use crate::tracking::{Layout, Message, wire};

/// Where `messages` were cut and how many buffers were live there.
fn live_after(seen: &[Observation]) -> Vec<usize> {
    let mut live = 0_usize;
    seen.iter()
        .map(|observation| {
            match message_of(observation).and_then(|message| message.kind.role()) {
                Some((_, true)) => live += 1,
                Some((_, false)) => live = live.saturating_sub(1),
                None => {}
            }
            live
        })
        .collect()
}

/// A moment, drawn between `from` and `to` per cent of the record, at which at least `least`
/// buffers are live; the fullest of the record where none drawn is.
pub(super) fn moment(
    seen: &[Observation],
    random: &mut Random,
    (from, to): (u64, u64),
    least: usize,
) -> usize {
    let live = live_after(seen);
    let length = seen.len() as u64;
    let drawn = (0..32)
        .map(|_| random.between(length * from / 100, length * to / 100) as usize)
        .find(|at| live.get(*at).is_some_and(|live| *live >= least));
    let fullest = || {
        let best = live.iter().enumerate().max_by_key(|(_, live)| **live);
        best.map_or(0, |(at, _)| at)
    };
    drawn.unwrap_or_else(fullest)
}

/// The record begins after `at`.
pub(super) fn begin_after(seen: Vec<Observation>, at: usize) -> Vec<Observation> {
    let is_message = |observation: &Observation| message_of(observation).is_some();
    let (before, after) = seen.split_at(at + 1);
    // Connections were open.
    let kept = before.iter().filter(|observation| !is_message(observation));
    kept.chain(after).cloned().collect()
}

/// The process of `first` ends at `at`, and `second` is the one that gets its id.
pub(super) fn succeeded(
    first: Vec<Observation>,
    at: usize,
    second: Vec<Observation>,
) -> Vec<Observation> {
    let mut seen = first[..=at].to_vec();
    let last = seen.last().map_or(0, |last| last.position);
    let opened = |observation: &Observation| match observation.what {
        Observed::Opened => observation.conn,
        _ => None,
    };
    let is_open = |conn: &u32| {
        let closed = |seen: &Observation| seen.what == Observed::Closed && seen.conn == Some(*conn);
        !seen.iter().any(closed)
    };
    let open: Vec<u32> = seen.iter().filter_map(opened).filter(is_open).collect();
    let next = first
        .iter()
        .filter_map(|observation| observation.conn)
        .max();
    for conn in open {
        seen.push(Observation {
            position: last + 1,
            at_ns: None,
            conn: Some(conn),
            what: Observed::Closed,
        });
    }
    let next = next.map_or(0, |highest| highest + 1);
    seen.extend(second.into_iter().map(|mut observation| {
        observation.position += last + 1;
        observation.conn = observation.conn.map(|conn| conn + next);
        observation
    }));
    seen
}

/// Each thread is a process of its own; nothing says on which connection it speaks.
pub(super) fn processes_of_threads(seen: &mut Vec<Observation>) {
    seen.retain(|observation| !matches!(observation.what, Observed::Opened | Observed::Closed));
    for observation in seen {
        observation.conn = None;
        if let Observed::Message { message, .. } = &mut observation.what {
            let thread = message.extension.map_or(0, |extension| extension.thread);
            message.pid = process_of(thread);
        }
    }
}

/// The process id of a thread.
pub(super) fn process_of(thread: u32) -> i32 {
    27_000 + thread as i32
}

/// The server sweeps `pid` after `at`.
pub(super) fn swept_after(mut seen: Vec<Observation>, at: usize, pid: i32) -> Vec<Observation> {
    let position = seen.get(at).map_or(1, |observation| observation.position);
    let sweep = Observation {
        position,
        at_ns: None,
        conn: None,
        what: Observed::Swept { pid, buffers: None },
    };
    seen.insert((at + 1).min(seen.len()), sweep);
    seen
}

/// How many buffers `pid` has after each observation.
pub(super) fn live_of(seen: &[Observation], pid: i32) -> Vec<usize> {
    let of_pid: Vec<Observation> = seen
        .iter()
        .map(|observation| match message_of(observation) {
            Some(message) if message.pid != pid => Observation {
                what: Observed::Opened,
                ..observation.clone()
            },
            _ => observation.clone(),
        })
        .collect();
    live_after(&of_pid)
}

/// The client writes `written`, the server reads `read`.
pub(super) fn misread(seen: &[Observation], written: Layout, read: Layout) -> Vec<Observation> {
    let mut streams: BTreeMap<Option<u32>, Vec<u8>> = BTreeMap::new();
    let mut misread = Vec::new();
    for observation in seen {
        let Some(message) = message_of(observation) else {
            misread.push(observation.clone());
            continue;
        };
        let stream = streams.entry(observation.conn).or_default();
        stream.extend_from_slice(wire::encode(written, message).as_bytes());
        while stream.len() >= read.frame_bytes() {
            let frame: Vec<u8> = stream.drain(..read.frame_bytes()).collect();
            let what = match wire::decode(read, &frame) {
                Ok(message) => Observed::Message {
                    message,
                    complete: true,
                    server_answer: None,
                },
                Err(_) => Observed::UnknownFrame {
                    kind: u64::from(frame[0]),
                },
            };
            misread.push(Observation {
                what,
                ..observation.clone()
            });
        }
    }
    misread
}

/// A loss begins at each message with a probability of `per_10k` in 10,000 over `most`, and takes
/// up to `most` messages: one alone, or as many as a full socket does until the server reads on.
/// `None`: nothing was lost that can be seen.
pub(super) fn lossy(
    seen: Vec<Observation>,
    per_10k: u64,
    most: u64,
    random: &mut Random,
) -> Option<Vec<Observation>> {
    let mut left = 0;
    let mut number = 0;
    // What is lost at the very beginning makes a record that begins late.
    let beginning = seen.len() / 10;
    let mut is_lost = |observation: &Observation| {
        number += 1;
        let Some(message) = message_of(observation) else {
            return false;
        };
        // In the order of stamps, where a server takes them so, it may be another one.
        let stamp = message.extension.map_or(0, |extension| extension.sequence);
        let is_early = number < beginning || (stamp > 0 && stamp < beginning as u64);
        if is_early {
            return false;
        }
        if left == 0 && random.below(10_000) < per_10k && random.below(most) == 0 {
            left = random.between(1, most);
        }
        let lost = left > 0;
        left = left.saturating_sub(1);
        lost
    };
    let (lost, kept): (Vec<Observation>, Vec<Observation>) =
        seen.into_iter().partition(&mut is_lost);
    (!lost.is_empty() && shows_loss(&kept)).then_some(kept)
}

/// Whether what is left can show a loss: a message contradicts another one, or carries a stamp, so
/// that one is missing. A FREE that is lost and whose address does not come back leaves a buffer
/// that is live, and nothing else.
pub(super) fn shows_loss(kept: &[Observation]) -> bool {
    let mut live: BTreeSet<(i32, u64, Class)> = BTreeSet::new();
    kept.iter().filter_map(message_of).any(|message| {
        let Some((class, opens)) = message.kind.role() else {
            return false;
        };
        let stamped = message
            .extension
            .is_some_and(|extension| extension.sequence > 0);
        let key = (message.device, message.address, class);
        let fits = if opens {
            live.insert(key)
        } else {
            live.remove(&key)
        };
        stamped || !fits
    })
}

fn message_of(observation: &Observation) -> Option<&Message> {
    match &observation.what {
        Observed::Message { message, .. } => Some(message),
        _ => None,
    }
}
