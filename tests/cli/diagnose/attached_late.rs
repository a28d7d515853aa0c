//! Records that begin when buffers are live: a message of the time before is no certain loss.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use heisenbed::device::Memory;
use heisenbed::diagnosis::{CONFIDENT, Cause, Circumstances, Diagnoser, Diagnosis};
use heisenbed::trace::observation::{Observation, Observed};
use heisenbed::tracking::message::Extension;
use heisenbed::tracking::{Message, MessageKind};

use super::connections::message;
use super::{Drawn, log, normal, of_text};

/// A message in the extended layout.
#[derive(Clone, Copy, Debug)]
struct Named {
    kind: MessageKind,
    pid: i32,
    conn: u32,
    device: i32,
    address: u64,
    generation: u64,
    stamp: u64,
    thread: u32,
}

impl Named {
    fn seen(self, position: u64) -> Observation {
        let mut seen = message(position, self.conn, self.kind, self.address);
        if let Observed::Message { message, .. } = &mut seen.what {
            *message = Message {
                device: self.device,
                pid: self.pid,
                extension: Some(Extension {
                    memory: Memory::L1,
                    sequence: self.stamp,
                    generation: self.generation,
                    thread: self.thread,
                }),
                ..message.clone()
            };
        }
        seen
    }
}

fn diagnosed(messages: impl IntoIterator<Item = Named>) -> Diagnosis {
    let mut diagnoser = Diagnoser::default();
    for (position, message) in (1..).zip(messages) {
        diagnoser.observe(&message.seen(position));
    }
    diagnoser.finish(Circumstances {
        complete: true,
        ..Circumstances::default()
    })
}

fn score(diagnosis: &Diagnosis, cause: Cause) -> f64 {
    let mut causes = diagnosis.causes.iter();
    causes
        .find(|it| it.cause == cause)
        .map_or(0.0, |it| it.score)
}

/// The number of process 7 on its one connection, unless it is changed.
fn named(kind: MessageKind, device: i32, generation: u64) -> Named {
    Named {
        kind,
        pid: 7,
        conn: 0,
        device,
        address: 0x1000 + generation % 16 * 64,
        generation,
        stamp: 0,
        thread: 1,
    }
}

/// Lives one after another, from generation `from` on.
fn lives(device: i32, from: u64, count: u64) -> impl Iterator<Item = Named> {
    (from..from + count).flat_map(move |generation| {
        [MessageKind::Alloc, MessageKind::Free].map(|kind| named(kind, device, generation))
    })
}

fn frees(device: i32, generations: impl IntoIterator<Item = u64>) -> impl Iterator<Item = Named> {
    let free = move |generation| named(MessageKind::Free, device, generation);
    generations.into_iter().map(free)
}

#[test]
fn a_record_of_the_last_frees_alone_is_no_certain_loss() {
    for count in [1, 2, 5, 12] {
        let diagnosis = diagnosed(frees(0, 900..900 + count));
        assert!(diagnosis.trouble);
        assert!(score(&diagnosis, Cause::Loss) < CONFIDENT, "{diagnosis:?}");
    }
}

#[test]
fn frees_of_a_device_that_allocates_no_more_are_no_certain_loss() {
    let diagnosis = diagnosed(lives(0, 700, 200).chain(frees(1, 40..52)));
    assert!(score(&diagnosis, Cause::Loss) < CONFIDENT, "{diagnosis:?}");
}

#[test]
fn each_process_counts_its_own_lives() {
    // One that was there before has come far; one that starts later begins with 1.
    let second = lives(0, 1, 200).map(|message| Named {
        pid: 8,
        conn: 1,
        address: message.address + 0x10_0000,
        ..message
    });
    let diagnosis = diagnosed(second.chain(frees(0, 900..912)).chain(lives(0, 912, 200)));
    assert!(score(&diagnosis, Cause::Loss) < CONFIDENT, "{diagnosis:?}");
}

#[test]
fn what_is_lost_after_the_beginning_is_a_loss() {
    let lost = |message: &Named| {
        let of_few = message.generation.is_multiple_of(37) && message.generation > 60;
        !(of_few && message.kind == MessageKind::Alloc)
    };
    let of_two = |from| {
        let of_two = lives(0, from, 400).map(|message| Named {
            thread: 1 + message.generation as u32 % 2,
            ..message
        });
        of_two.filter(lost)
    };
    let diagnosis = diagnosed(of_two(1));
    assert!(score(&diagnosis, Cause::Loss) >= CONFIDENT, "{diagnosis:?}");
    let diagnosis = diagnosed(of_two(901));
    assert!(score(&diagnosis, Cause::Loss) >= CONFIDENT, "{diagnosis:?}");
}

#[test]
fn old_buffers_that_are_released_at_the_end_are_no_certain_loss() {
    let old: String = (0..40)
        .map(|at| format!("-{:x} ", 0x100 + at * 16))
        .collect();
    for trouble in [
        "",
        "+8000 -8000 -8000",
        "+8000 -8000 -8000 +8010 -8010 -8010",
    ] {
        let events = format!("{} {trouble} {} {old}", normal(600), normal(600));
        let (diagnosis, _) = of_text(&log(&events));
        let causes = diagnosis["causes"].as_array().expect("causes").iter();
        let loss = causes.filter(|cause| cause["cause"] == "loss");
        for loss in loss {
            assert!(
                loss["score"].as_f64().expect("a score") < CONFIDENT,
                "{loss}"
            );
        }
    }
}

/// What clients are like.
#[derive(Clone, Copy, Debug)]
struct Clients {
    threads: u32,
    /// Each thread has its own connection; else all share one.
    own_connections: bool,
    stamps: bool,
    /// A thread in so many is preempted between its step and its message.
    preempted: u64,
    /// Messages that the server reads of a connection at once.
    batch: u64,
    operations: u64,
}

/// What a server gets of correct clients: each thread allocates and releases its own buffers, and
/// sends one message after each step.
fn traffic(clients: Clients, seed: u64) -> Vec<Named> {
    let mut drawn = Drawn(seed);
    let mut unsent: Vec<Option<(Named, u64)>> = vec![None; clients.threads as usize];
    let mut owned: Vec<VecDeque<Named>> = vec![VecDeque::new(); clients.threads as usize];
    let mut sockets: BTreeMap<u32, VecDeque<Named>> = BTreeMap::new();
    let mut used: BTreeSet<u64> = BTreeSet::new();
    let (mut generation, mut stamp, mut done) = (0, 0, 0);
    let mut came = Vec::new();
    loop {
        let thread = drawn.below(u64::from(clients.threads)) as usize;
        if let Some((message, wait)) = unsent[thread].take() {
            match wait {
                0 => sockets.entry(message.conn).or_default().push_back(message),
                _ => unsent[thread] = Some((message, wait - 1)),
            }
        } else if done < clients.operations || !owned[thread].is_empty() {
            done += 1;
            stamp += 1;
            let conn = if clients.own_connections {
                thread as u32
            } else {
                0
            };
            let is_over = done >= clients.operations;
            let release = owned[thread].len() >= 6 || is_over || drawn.below(2) == 0;
            let message = match owned[thread].pop_front().filter(|_| release) {
                Some(life) => {
                    used.remove(&life.address);
                    Named {
                        kind: MessageKind::Free,
                        ..life
                    }
                }
                None => {
                    let free = (0..)
                        .map(|at| 0x1000 + at * 64)
                        .find(|at| !used.contains(at));
                    let address = free.expect("there is room");
                    used.insert(address);
                    generation += 1;
                    let life = Named {
                        address,
                        conn,
                        ..named(MessageKind::Alloc, 0, generation)
                    };
                    owned[thread].push_back(life);
                    life
                }
            };
            let stamp = if clients.stamps { stamp } else { 0 };
            let message = Named {
                stamp,
                thread: thread as u32 + 1,
                ..message
            };
            let is_preempted = drawn.below(clients.preempted) == 0;
            unsent[thread] = Some((message, if is_preempted { 1 + drawn.below(60) } else { 0 }));
        }
        let is_over = done >= clients.operations
            && unsent.iter().all(Option::is_none)
            && owned.iter().all(VecDeque::is_empty);
        let connections = sockets.len().max(1) as u64;
        // As often as all connections together have sent one batch.
        if is_over || drawn.below(clients.batch) == 0 {
            let at = drawn.below(connections) as usize;
            if let Some(socket) = sockets.values_mut().nth(at) {
                let read = socket.len().min(clients.batch as usize * 2);
                came.extend(socket.drain(..read));
            }
        }
        if is_over && sockets.values().all(VecDeque::is_empty) {
            return came;
        }
    }
}

#[test]
fn a_record_that_begins_anywhere_in_correct_traffic_is_no_certain_loss() {
    let mut drawn = Drawn(77);
    for run in 0..120 {
        let clients = Clients {
            threads: 2 + drawn.below(7) as u32,
            own_connections: drawn.below(2) == 0,
            stamps: drawn.below(2) == 0,
            preempted: [3, 10, 100][drawn.below(3) as usize],
            batch: [1, 8, 60][drawn.below(3) as usize],
            operations: 100 << drawn.below(4),
        };
        let came = traffic(clients, run);
        // At the very beginning, anywhere, or when it is nearly over.
        let cut = match drawn.below(3) {
            0 => drawn.below(20.min(came.len() as u64)),
            1 => drawn.below(came.len() as u64),
            _ => came.len() as u64 - 1 - drawn.below(12),
        };
        let diagnosis = diagnosed(came.into_iter().skip(cut as usize));
        let loss = score(&diagnosis, Cause::Loss);
        assert!(
            loss < CONFIDENT,
            "run {run}, cut {cut}, {clients:?}: {:#?}",
            diagnosis.causes
        );
    }
}
