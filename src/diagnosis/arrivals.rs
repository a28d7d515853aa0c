//! Arrivals: the messages of a record in the order that their own numbers give, and which of them
//! come from a process that began anew under an old id.
//!
//! A stamp (a sequence number) is taken inside the allocator, so stamps have the order of its
//! history, whoever sent first. Where messages carry them, and nothing says that the server took
//! them as they came, they are put into that order: one queue a process and device. A number that
//! never comes is a message that never came.
//!
//! No process uses a number twice, neither a stamp nor the generation of an allocation, however
//! late a thread sends it. So a number that comes again is a message that came twice, or a new
//! process that counts from the beginning: then what follows comes again, too. Messages of a
//! process whose numbers come again are kept back until that is decided.
//!
//! Memory is bounded: [`MAX_QUEUES`] queues of [`WINDOW`] messages at most; what is beyond is taken
//! as it comes.

use std::collections::{BTreeMap, VecDeque};

use super::beginnings::Beginning;
use super::clients::Clients;
use super::numbers_seen::{NumberSeen, NumbersSeen};
use super::seen_message::SeenMessage;
use super::sightings::RecordPoint;
use crate::trace::observation::ServerAnswer;
use crate::tracking::Message;

/// Processes with numbers that are followed.
const MAX_QUEUES: usize = 1 << 12;
/// Devices of a process that are followed.
const MAX_DEVICES: usize = 64;
/// Messages of a process and device that wait for one with a lower stamp.
const WINDOW: usize = 1 << 14;
/// Numbers that must come again in a row before a process counts as a new one.
const AGAIN: usize = 3;
/// Stamps that are missing between low ones and high ones that came before them: no thread is late
/// by so many alone.
const WRAPPED: u64 = 1024;
/// Messages of a process that are kept back.
const MAX_KEPT_BACK: usize = 256;

/// A message that waits.
#[derive(Clone, Debug)]
pub(super) struct WaitingMessage {
    at: RecordPoint,
    conn: Option<u32>,
    message: Message,
    complete: bool,
    server_answer: Option<ServerAnswer>,
}

/// What to do next.
#[derive(Clone, Debug)]
pub(super) enum Arrival {
    /// It is the turn of this message.
    Message(WaitingMessage),
    /// This process began anew before the messages that follow, over these connections.
    BeganAnew {
        pid: i32,
        at: RecordPoint,
        conns: Vec<u32>,
    },
    /// So many messages never came, although one with a higher stamp came at this point.
    Missing { count: u64, at: RecordPoint },
    /// High stamps came before low ones, and many between never: they begin anew.
    Wrapped,
}

/// All processes whose messages carry numbers.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    processes: BTreeMap<i32, ProcessArrivals>,
    /// How many messages came before one with a lower stamp.
    pub overtaken: u64,
}

#[derive(Debug, Default)]
struct ProcessArrivals {
    devices: BTreeMap<i32, DeviceArrivals>,
    /// Messages since the first number that came again.
    kept_back: Vec<WaitingMessage>,
    /// How many of them have a number that came again.
    again: usize,
    /// Its connections were all closed, and no number on the new one says yet who it is.
    reconnected: bool,
}

#[derive(Debug, Default)]
struct DeviceArrivals {
    stamps: NumbersSeen,
    beginning: Beginning,
    /// The stamp whose turn it is; none before the first was taken.
    next: Option<u64>,
    waiting: BTreeMap<u64, WaitingMessage>,
    /// Which message was the first whose turn it was when it came.
    first_passed: Option<u64>,
}

impl Arrivals {
    /// Takes a message that carries a number ([`is_numbered`]), or of a process of which some are
    /// kept back. What can be said then is put into `out`, in order. `is_new_connection`: every
    /// earlier connection of its process was closed. Its generation is noted with its client.
    pub(super) fn take(
        &mut self,
        seen: &SeenMessage<'_>,
        is_new_connection: bool,
        clients: &mut Clients,
        out: &mut VecDeque<Arrival>,
    ) {
        let pid = seen.message.pid;
        let waiting = WaitingMessage::new(seen);
        if self.processes.len() >= MAX_QUEUES && !self.processes.contains_key(&pid) {
            note_generation(seen, clients);
            return out.push_back(Arrival::Message(waiting));
        }
        let process = self.processes.entry(pid).or_default();
        process.reconnected |= is_new_connection;
        let number = process.note_number(seen, clients);
        let reconnected = number.is_some() && std::mem::take(&mut process.reconnected);
        match number {
            Some(NumberSeen::Again) => {
                process.again += 1;
                process.kept_back.push(waiting);
                if process.again >= AGAIN || reconnected {
                    self.begin_anew(pid, clients, out);
                }
            }
            // It counts on: what came again came twice.
            Some(NumberSeen::Highest) if process.again > 0 && process.is_decided_by(seen) => {
                process.kept_back.push(waiting);
                self.go_on(pid, out);
            }
            _ if process.again > 0 => {
                process.kept_back.push(waiting);
                if process.kept_back.len() > MAX_KEPT_BACK {
                    self.go_on(pid, out);
                }
            }
            _ => self.pass(waiting, out),
        }
    }

    /// Whether messages of `pid` are kept back, so that what follows must wait, too.
    pub(super) fn keeps_back(&self, pid: i32) -> bool {
        let process = self.processes.get(&pid);
        process.is_some_and(|process| !process.kept_back.is_empty())
    }

    /// The record ends. Whether it shows all that its clients sent decides whether a number that is
    /// missing never came.
    pub(super) fn finish(&mut self, complete: bool, out: &mut VecDeque<Arrival>) {
        let pids: Vec<i32> = self.processes.keys().copied().collect();
        for pid in pids {
            self.go_on(pid, out);
            if let Some(process) = self.processes.get_mut(&pid) {
                for device in process.devices.values_mut() {
                    device.flush(complete, out);
                }
            }
        }
    }

    /// A server begins anew: what waits is decided, and nothing is known of the numbers to come.
    pub(super) fn clear(&mut self, out: &mut VecDeque<Arrival>) {
        self.finish(false, out);
        self.processes.clear();
    }

    /// The process is another one: what is kept back is its beginning.
    fn begin_anew(&mut self, pid: i32, clients: &mut Clients, out: &mut VecDeque<Arrival>) {
        let Some(mut process) = self.processes.remove(&pid) else {
            return;
        };
        // The messages that its predecessor did not send any more are nobody's loss.
        for device in process.devices.values_mut() {
            device.flush(false, out);
        }
        let Some(first) = process.kept_back.first() else {
            return;
        };
        let conns = process.kept_back.iter().filter_map(|kept| kept.conn);
        out.push_back(Arrival::BeganAnew {
            pid,
            at: first.at,
            conns: conns.collect(),
        });
        self.processes.insert(pid, ProcessArrivals::default());
        clients.forget_generations(pid);
        for waiting in process.kept_back {
            if let Some(process) = self.processes.get_mut(&pid) {
                process.note_number(&waiting.seen(), clients);
            }
            self.pass(waiting, out);
        }
    }

    /// `pid` goes on: what is kept back of it is its own.
    fn go_on(&mut self, pid: i32, out: &mut VecDeque<Arrival>) {
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        process.again = 0;
        for waiting in std::mem::take(&mut process.kept_back) {
            self.pass(waiting, out);
        }
    }

    /// Takes a message in the order of its stamp, where it has one that counts.
    fn pass(&mut self, waiting: WaitingMessage, out: &mut VecDeque<Arrival>) {
        let Some(stamp) = stamp(&waiting.seen()) else {
            return out.push_back(Arrival::Message(waiting));
        };
        let process = self.processes.get_mut(&waiting.message.pid);
        match process.and_then(|process| process.devices.get_mut(&waiting.message.device)) {
            Some(device) => self.overtaken += u64::from(device.pass(stamp, waiting, out)),
            None => out.push_back(Arrival::Message(waiting)),
        }
    }
}

/// Whether a message carries a number that says something of its order.
pub(super) fn is_numbered(seen: &SeenMessage<'_>) -> bool {
    stamp(seen).is_some() || (seen.opens() && seen.generation().is_some())
}

/// The stamp of a message, where the order of stamps counts: where the server said of it, it took
/// it as it came.
fn stamp(seen: &SeenMessage<'_>) -> Option<u64> {
    let stamp = seen.message.extension?.sequence;
    (stamp > 0 && seen.server_answer.is_none()).then_some(stamp)
}

/// Notes the generation that an ALLOC names: whether it came before.
fn note_generation(seen: &SeenMessage<'_>, clients: &mut Clients) -> Option<NumberSeen> {
    let generation = seen.generation().filter(|_| seen.opens())?;
    clients.see_generation(seen.message.pid, generation)
}

impl WaitingMessage {
    fn new(seen: &SeenMessage<'_>) -> WaitingMessage {
        WaitingMessage {
            at: seen.at,
            conn: seen.conn,
            message: seen.message.clone(),
            complete: seen.complete,
            server_answer: seen.server_answer,
        }
    }

    /// As it was seen.
    pub(super) fn seen(&self) -> SeenMessage<'_> {
        SeenMessage {
            at: self.at,
            conn: self.conn,
            message: &self.message,
            complete: self.complete,
            server_answer: self.server_answer,
        }
    }
}

impl ProcessArrivals {
    /// Takes the number of a message, where it has one: whether it came before.
    fn note_number(&mut self, seen: &SeenMessage<'_>, clients: &mut Clients) -> Option<NumberSeen> {
        let generation = note_generation(seen, clients);
        let Some(stamp) = stamp(seen) else {
            return generation;
        };
        let is_full = self.devices.len() >= MAX_DEVICES;
        if is_full && !self.devices.contains_key(&seen.message.device) {
            return None;
        }
        let device = self.devices.entry(seen.message.device).or_default();
        device.beginning.see(seen, stamp);
        Some(device.stamps.insert(stamp))
    }

    /// Whether the next number of this message's device says that the process goes on: those that
    /// came again are of that device.
    fn is_decided_by(&self, seen: &SeenMessage<'_>) -> bool {
        let device = seen.message.device;
        self.kept_back
            .first()
            .is_some_and(|first| first.message.device == device)
    }
}

impl DeviceArrivals {
    /// Takes a message with this stamp; whether it must wait.
    fn pass(&mut self, stamp: u64, waiting: WaitingMessage, out: &mut VecDeque<Arrival>) -> bool {
        let next = *self.next.get_or_insert(1);
        let number = waiting.at.number;
        if stamp > next && !self.waiting.contains_key(&stamp) {
            self.waiting.insert(stamp, waiting);
            if self.waiting.len() > WINDOW {
                self.give_up_next(true, out);
                self.release(out);
            }
            // What comes before the first one may be before the record.
            return next > 1;
        }
        // One that was given up, or that came before.
        out.push_back(Arrival::Message(waiting));
        if stamp == next {
            self.next = next.checked_add(1);
            self.first_passed.get_or_insert(number);
            self.release(out);
        }
        false
    }

    /// Puts out what need not wait any longer.
    fn release(&mut self, out: &mut VecDeque<Arrival>) {
        while let Some(waiting) = self.next.and_then(|next| self.waiting.remove(&next)) {
            out.push_back(Arrival::Message(waiting));
            self.next = self.next.and_then(|next| next.checked_add(1));
        }
    }

    /// Does not wait for the next stamp any longer.
    fn give_up_next(&mut self, never_came: bool, out: &mut VecDeque<Arrival>) {
        let Some((&lowest, waiting)) = self.waiting.first_key_value() else {
            return;
        };
        let next = self.next.unwrap_or(1);
        // What is missing around the beginning may have come before the record.
        let certain_from = self.beginning.certain_from().unwrap_or(u64::MAX);
        let count = lowest.saturating_sub(next.max(certain_from));
        let came_first = self
            .first_passed
            .is_some_and(|first| waiting.at.number < first);
        if lowest.saturating_sub(next) >= WRAPPED && came_first {
            out.push_back(Arrival::Wrapped);
        } else if never_came && count > 0 {
            out.push_back(Arrival::Missing {
                count,
                at: waiting.at,
            });
        }
        self.next = Some(lowest);
    }

    fn flush(&mut self, never_came: bool, out: &mut VecDeque<Arrival>) {
        while !self.waiting.is_empty() {
            self.give_up_next(never_came, out);
            self.release(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Memory;
    use crate::tracking::MessageKind;
    use crate::tracking::message::Extension;

    fn numbered(kind: MessageKind, stamp: u64, generation: u64) -> Message {
        Message {
            extension: Some(Extension {
                memory: Memory::L1,
                sequence: stamp,
                generation,
                thread: 0,
            }),
            ..Message::bare(kind, 0, 7)
        }
    }

    /// What comes of these messages: `N` the number of a message, `anew`, `missing N`.
    fn arrive(messages: &[Message], complete: bool) -> Vec<String> {
        let mut arrivals = Arrivals::default();
        let mut clients = Clients::default();
        let mut out = VecDeque::new();
        for (number, message) in messages.iter().enumerate() {
            let at = RecordPoint {
                position: number as u64,
                number: number as u64,
                ..RecordPoint::default()
            };
            let seen = SeenMessage {
                at,
                conn: None,
                message,
                complete: true,
                server_answer: None,
            };
            if is_numbered(&seen) || arrivals.keeps_back(7) {
                arrivals.take(&seen, false, &mut clients, &mut out);
            } else {
                out.push_back(Arrival::Message(WaitingMessage::new(&seen)));
            }
        }
        arrivals.finish(complete, &mut out);
        let words = out.into_iter().map(|arrival| match arrival {
            Arrival::Message(waiting) => waiting.at.position.to_string(),
            Arrival::BeganAnew { .. } => "anew".to_owned(),
            Arrival::Missing { count, .. } => format!("missing {count}"),
            Arrival::Wrapped => "wrapped".to_owned(),
        });
        words.collect()
    }

    fn allocations(generations: impl IntoIterator<Item = u64>) -> Vec<Message> {
        let alloc = |generation| numbered(MessageKind::Alloc, 0, generation);
        generations.into_iter().map(alloc).collect()
    }

    #[test]
    fn stamps_that_wrap_are_no_loss() {
        for last in [u64::MAX, (1 << 32) - 1, (1 << 16) - 1] {
            let stamps = (last - 300..=last).chain(1..=400);
            let messages = stamps.map(|stamp| numbered(MessageKind::Free, stamp, 1));
            let out = arrive(&messages.collect::<Vec<_>>(), true);
            assert_eq!(out.iter().filter(|word| *word == "wrapped").count(), 1);
            assert!(
                !out.iter().any(|word| word.starts_with("missing")),
                "{out:?}"
            );
        }
    }

    #[test]
    fn a_thread_that_is_late_by_thousands_is_no_new_process() {
        let messages = allocations((2..5000).chain([1]).chain(5000..5010));
        assert!(!arrive(&messages, true).contains(&"anew".to_owned()));
    }

    #[test]
    fn a_process_that_counts_from_the_beginning_is_a_new_one_from_its_first_number_on() {
        let messages = allocations((1..100).chain([2, 1, 3]).chain(4..200));
        let out = arrive(&messages, true);
        assert_eq!(out[99], "anew");
        assert_eq!(out.iter().filter(|word| *word == "anew").count(), 1);
        assert_eq!(out.len(), messages.len() + 1);
    }

    #[test]
    fn a_message_that_came_twice_is_no_new_process() {
        let messages = allocations((1..100).chain([50]).chain(100..110));
        let out = arrive(&messages, true);
        assert_eq!(out.len(), messages.len());
    }

    #[test]
    fn stamps_put_messages_in_order_and_a_gap_is_a_message_that_never_came() {
        let free = |stamp| numbered(MessageKind::Free, stamp, 1);
        let last = |stamps: &[u64], complete| {
            let stamps = (1..=600).chain(stamps.iter().copied());
            let messages: Vec<Message> = stamps.map(free).collect();
            arrive(&messages, complete).split_off(600)
        };
        let stamps = [601, 603, 602, 605, 606];
        let in_order = ["600", "602", "601", "603", "604"];
        let mut with_gap = in_order.to_vec();
        with_gap.insert(3, "missing 1");
        assert_eq!(last(&stamps, true), with_gap);
        // It may be on its way.
        assert_eq!(last(&stamps, false), in_order);
        // It may have come before the record.
        let begins_there: Vec<Message> = stamps.into_iter().map(free).collect();
        assert_eq!(arrive(&begins_there, true), ["0", "2", "1", "3", "4"]);
    }
}
