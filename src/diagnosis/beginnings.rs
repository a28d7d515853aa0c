//! Beginnings: from which number on a record shows every message that came.
//!
//! A record may begin when its clients are at work. Numbers (generations, stamps) are taken in the
//! allocator and sent a little later, so around the beginning some came before it although lower
//! ones come after it. A number that the record lacks is certainly lost only where it is above all
//! of these; one below may be from before the record.
//!
//! How far they reach: a thread sends the message about one step before it takes the next. So over
//! one connection only the first message of each thread may be older than what came before the
//! record, and what is above the second one of any thread is certain. Where a process has several
//! connections, each may be behind by what a socket holds, and each may have found its server at
//! another moment. One thread alone may be one of several with a connection each. A process and
//! device of which the record shows too few numbers says nothing of what came before.
//!
//! Memory is bounded: [`MAX_FOLLOWED`] processes and devices, [`MAX_THREADS`] threads and
//! [`MAX_CONNECTIONS`] connections of each.

use rustc_hash::FxHashMap;

use super::seen_message::SeenMessage;

/// Processes and devices that are followed; of more nothing is certain.
const MAX_FOLLOWED: usize = 1 << 12;
/// Connections of each that are followed.
const MAX_CONNECTIONS: usize = 256;
/// Threads of each that are followed; of more only the first message counts.
const MAX_THREADS: usize = 256;
/// Messages that a connection may be behind another one: more than a socket of the usual size
/// holds.
const BEHIND: u64 = 512;

/// The beginnings of all processes and devices.
#[derive(Debug, Default)]
pub(super) struct Beginnings {
    followed: FxHashMap<(i32, i32), Beginning>,
}

/// The first numbers of one process and device.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    /// Each thread with its first number.
    threads: Vec<(u32, u64)>,
    /// The lowest number that is not the first of its thread.
    lowest_of_later: Option<u64>,
    connections: Vec<FirstOfConnection>,
}

#[derive(Debug)]
struct FirstOfConnection {
    /// None: where the record does not say which.
    conn: Option<u32>,
    numbers: u64,
    /// The lowest number after the first [`BEHIND`].
    lowest_of_later: Option<u64>,
}

impl Beginnings {
    /// A message came that has this number.
    pub(super) fn see(&mut self, seen: &SeenMessage<'_>, number: u64) {
        let key = (seen.message.pid, seen.message.device);
        if self.followed.len() < MAX_FOLLOWED || self.followed.contains_key(&key) {
            self.followed.entry(key).or_default().see(seen, number);
        }
    }

    /// Whether the message with this number may have come before the record.
    pub(super) fn may_be_before(&self, pid: i32, device: i32, number: u64) -> bool {
        let beginning = self.followed.get(&(pid, device));
        let certain_from = beginning.and_then(Beginning::certain_from);
        certain_from.is_none_or(|certain_from| number < certain_from)
    }

    /// `pid` is another process from here on.
    pub(super) fn forget(&mut self, pid: i32) {
        self.followed.retain(|(of, _), _| *of != pid);
    }

    /// A server begins: so does what it shows.
    pub(super) fn clear(&mut self) {
        self.followed.clear();
    }
}

impl Beginning {
    /// A message came that has this number.
    pub(super) fn see(&mut self, seen: &SeenMessage<'_>, number: u64) {
        let thread = seen.message.extension.map_or(0, |own| own.thread);
        match self.threads.iter().find(|(known, _)| *known == thread) {
            // One that came twice is still the first.
            Some((_, first)) if number <= *first => {}
            Some(_) => lower(&mut self.lowest_of_later, number),
            None if self.threads.len() < MAX_THREADS => self.threads.push((thread, number)),
            None => {}
        }
        let is_full = self.connections.len() >= MAX_CONNECTIONS;
        let mut known = self.connections.iter_mut();
        match known.find(|known| known.conn == seen.conn) {
            Some(known) => {
                known.numbers += 1;
                if known.numbers > BEHIND {
                    lower(&mut known.lowest_of_later, number);
                }
            }
            None if !is_full => self.connections.push(FirstOfConnection {
                conn: seen.conn,
                numbers: 1,
                lowest_of_later: None,
            }),
            None => {}
        }
    }

    /// From this number on the record shows each message that came; none: that is not known.
    pub(super) fn certain_from(&self) -> Option<u64> {
        let is_shared = self.connections.len() == 1 && self.threads.len() > 1;
        if is_shared {
            return self.lowest_of_later;
        }
        let lowest = self.connections.iter().map(|of| of.lowest_of_later);
        lowest.flatten().min()
    }
}

fn lower(lowest: &mut Option<u64>, number: u64) {
    *lowest = Some(lowest.map_or(number, |lowest| lowest.min(number)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Memory;
    use crate::diagnosis::sightings::RecordPoint;
    use crate::tracking::message::Extension;
    use crate::tracking::{Message, MessageKind};

    /// From where on it is certain, of these numbers: connection, thread and number.
    fn certain_from(numbers: &[(u32, u32, u64)]) -> Option<u64> {
        let mut beginning = Beginning::default();
        for (conn, thread, number) in numbers {
            let message = Message {
                extension: Some(Extension {
                    memory: Memory::L1,
                    sequence: 0,
                    generation: *number,
                    thread: *thread,
                }),
                ..Message::bare(MessageKind::Alloc, 0, 7)
            };
            let seen = SeenMessage {
                at: RecordPoint::default(),
                conn: Some(*conn),
                message: &message,
                complete: true,
                server_answer: None,
            };
            beginning.see(&seen, *number);
        }
        beginning.certain_from()
    }

    #[test]
    fn only_the_first_message_of_a_thread_may_be_older_than_the_record() {
        let of_threads = [(0, 1, 2), (0, 2, 5), (0, 3, 1), (0, 1, 7), (0, 2, 9)];
        assert_eq!(certain_from(&of_threads), Some(7));
        assert_eq!(certain_from(&of_threads[..3]), None);
        // It came twice.
        assert_eq!(certain_from(&[(0, 1, 2), (0, 1, 2), (0, 2, 5)]), None);
        assert_eq!(certain_from(&[]), None);
    }

    #[test]
    fn one_thread_alone_may_have_a_connection_of_its_own() {
        let of_one: Vec<_> = (1..1000).map(|number| (0, 0, number)).collect();
        assert_eq!(certain_from(&of_one[..BEHIND as usize]), None);
        assert_eq!(certain_from(&of_one), Some(BEHIND + 1));
    }

    #[test]
    fn of_several_connections_each_may_be_behind_by_a_socket() {
        let of_two = |count: u64| -> Vec<_> {
            let of_first = (1..300).map(|number| (0, 1, number));
            let of_second = (300..300 + count).map(|number| (1, 2, number));
            of_first.chain(of_second).collect()
        };
        assert_eq!(certain_from(&of_two(BEHIND)), None);
        assert_eq!(certain_from(&of_two(2 * BEHIND)), Some(300 + BEHIND));
    }
}
