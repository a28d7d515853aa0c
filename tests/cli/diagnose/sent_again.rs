//! Traffic that looks like a cause and has another one: messages that are sent again, processes
//! that have a device or an id each for itself, ALLOCs alone that are lost.

use heisenbed::device::Memory;
use heisenbed::diagnosis::{CONFIDENT, Cause, Circumstances, Diagnoser, Diagnosis, PROBABLE};
use heisenbed::trace::observation::{Observation, Observed};
use heisenbed::tracking::message::Extension;
use heisenbed::tracking::{Message, MessageKind};

use super::connections::message;
use super::{Drawn, first, log, of_text};

/// What somebody sent: kind, connection, process and address.
pub(super) type Sent = (MessageKind, u32, i32, u64);

/// Correct traffic of one process over one connection, so many buffers at once at the most; the
/// address that was released last goes out first.
pub(super) fn traffic(
    operations: usize,
    conn: u32,
    pid: i32,
    seed: u64,
    most_held: usize,
) -> Vec<Sent> {
    let mut drawn = Drawn(seed);
    let (mut free, mut fresh) = (Vec::new(), 0);
    let (mut held, mut sent) = (Vec::<u64>::new(), Vec::new());
    while sent.len() < operations || !held.is_empty() {
        let allocates = sent.len() < operations && held.len() < most_held && drawn.below(2) == 0;
        if allocates || (held.is_empty() && sent.len() < operations) {
            let address = free.pop().unwrap_or_else(|| {
                fresh += 4096;
                fresh
            });
            held.push(address);
            sent.push((MessageKind::Alloc, conn, pid, address));
        } else {
            let address = held.swap_remove(drawn.below(held.len() as u64) as usize);
            free.push(address);
            sent.push((MessageKind::Free, conn, pid, address));
        }
    }
    sent
}

fn diagnosed(sent: impl IntoIterator<Item = Sent>) -> Diagnosis {
    let mut diagnoser = Diagnoser::default();
    for (position, (kind, conn, pid, address)) in (1..).zip(sent) {
        let mut seen = message(position, conn, kind, address);
        if let Observed::Message { message, .. } = &mut seen.what {
            message.pid = pid;
        }
        diagnoser.observe(&seen);
    }
    diagnoser.finish(Circumstances {
        complete: true,
        ..Circumstances::default()
    })
}

/// Each message with how often it comes.
fn repeated(sent: Vec<Sent>, mut times: impl FnMut(&Sent) -> usize) -> impl Iterator<Item = Sent> {
    sent.into_iter().flat_map(move |sent| {
        let times = times(&sent);
        std::iter::repeat_n(sent, times)
    })
}

fn assert_none_named(diagnosis: &Diagnosis) {
    assert!(diagnosis.trouble, "{diagnosis:#?}");
    assert!(diagnosis.named().is_none(), "{diagnosis:#?}");
}

#[test]
fn messages_that_are_sent_twice_are_no_loss() {
    for one_in in [200, 50, 5] {
        let mut drawn = Drawn(7);
        let sent = traffic(3000, 0, 7, 2, 40);
        let diagnosis = diagnosed(repeated(sent, |_| {
            1 + usize::from(drawn.below(one_in) == 0)
        }));
        assert_none_named(&diagnosis);
        assert!(diagnosis.notes[0].contains("sent twice"), "{diagnosis:#?}");
    }
    // ALLOCs alone: a client that announces again, or that resizes in place.
    let mut drawn = Drawn(9);
    let sent = traffic(3000, 0, 7, 3, 40);
    let diagnosis = diagnosed(repeated(sent, |(kind, ..)| {
        1 + usize::from(*kind == MessageKind::Alloc && drawn.below(20) == 0)
    }));
    assert_none_named(&diagnosis);
}

#[test]
fn frees_that_are_lost_are_a_loss_also_where_addresses_come_back_at_once() {
    let mut drawn = Drawn(7);
    let lost =
        |(kind, ..): &Sent| 1 - usize::from(*kind == MessageKind::Free && drawn.below(20) == 0);
    let diagnosis = diagnosed(repeated(traffic(3000, 0, 7, 2, 40), lost));
    let named = diagnosis.named().expect("dozens are lost");
    assert_eq!(named.cause, Cause::Loss);
    assert!(named.score >= CONFIDENT, "{diagnosis:#?}");
    // One buffer at a time, at one address: that ALLOCs follow each other is no wonder.
    let mut drawn = Drawn(7);
    let lives = (0..2000)
        .flat_map(|_| [MessageKind::Alloc, MessageKind::Free].map(|kind| (kind, 0, 7, 0x1000)));
    let lost =
        |(kind, ..): &Sent| 1 - usize::from(*kind == MessageKind::Free && drawn.below(20) == 0);
    let diagnosis = diagnosed(repeated(lives.collect(), lost));
    assert_eq!(
        diagnosis.named().map(|it| it.cause),
        Some(Cause::Loss),
        "{diagnosis:#?}"
    );
}

#[test]
fn a_few_allocs_alone_that_are_lost_are_no_certain_double_release() {
    let mut drawn = Drawn(7);
    let lost =
        |(kind, ..): &Sent| 1 - usize::from(*kind == MessageKind::Alloc && drawn.below(100) == 0);
    let diagnosis = diagnosed(repeated(traffic(3000, 0, 7, 2, 40), lost));
    let mut confident = diagnosis.causes.iter().filter(|it| it.score >= CONFIDENT);
    assert!(
        confident.all(|it| it.cause == Cause::Loss),
        "{diagnosis:#?}"
    );
    // Twin: second FREEs that come at once are double releases.
    let mut drawn = Drawn(7);
    let twice =
        |(kind, ..): &Sent| 1 + usize::from(*kind == MessageKind::Free && drawn.below(50) == 0);
    let diagnosis = diagnosed(repeated(traffic(3000, 0, 7, 2, 40), twice));
    let named = diagnosis.named().expect("dozens are released twice");
    assert_eq!(named.cause, Cause::DoubleRelease);
    assert!(named.score >= CONFIDENT, "{diagnosis:#?}");
}

/// One message of each in turn, a few at a time.
pub(super) fn interleaved(first: Vec<Sent>, second: Vec<Sent>) -> Vec<Sent> {
    in_batches(first, second, 9)
}

/// Messages of each in turn, fewer than `most` at a time.
pub(super) fn in_batches(first: Vec<Sent>, second: Vec<Sent>, most: u64) -> Vec<Sent> {
    let mut drawn = Drawn(3);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut sent = Vec::new();
    loop {
        let few = drawn.below(most) as usize;
        sent.extend(first.by_ref().take(few));
        sent.extend(second.by_ref().take(few));
        if few > 0 && first.len() + second.len() == 0 {
            return sent;
        }
    }
}

#[test]
fn two_processes_that_have_a_device_each_are_no_reordering() {
    let sent = interleaved(traffic(1500, 0, 7, 2, 40), traffic(1500, 1, 8, 3, 40));
    let diagnosis = diagnosed(sent);
    assert_none_named(&diagnosis);
    assert!(
        diagnosis.notes[0].contains("by two processes"),
        "{diagnosis:#?}"
    );
}

#[test]
fn two_processes_of_one_id_over_a_connection_each_are_no_certain_cause() {
    for held in [1, 2, 40] {
        for most in [9, 61, 301] {
            let one = |conn| traffic(1500, conn, 7, 2 + u64::from(conn), held);
            let diagnosis = diagnosed(in_batches(one(0), one(1), most));
            let mut scores = diagnosis.causes.iter().map(|it| it.score);
            assert!(
                scores.all(|score| score < CONFIDENT),
                "{held}, {most}: {diagnosis:#?}"
            );
        }
    }
}

/// The same in the extended layout: each process counts its own lives.
fn numbered(sent: &[Sent], seen: &mut Vec<Observation>) {
    let mut generations = std::collections::BTreeMap::new();
    let mut live = std::collections::BTreeMap::new();
    for (kind, conn, pid, address) in sent {
        let counted: &mut u64 = generations.entry(*conn).or_default();
        let generation = match *kind == MessageKind::Alloc {
            true => {
                *counted += 1;
                live.insert((*conn, *address), *counted);
                *counted
            }
            false => live[&(*conn, *address)],
        };
        let position = seen.len() as u64 + 1;
        let mut observation = message(position, *conn, *kind, *address);
        if let Observed::Message { message, .. } = &mut observation.what {
            *message = Message {
                pid: *pid,
                timestamp_ns: 1_000 + position,
                extension: Some(Extension {
                    memory: Memory::L1,
                    sequence: 0,
                    generation,
                    thread: *conn,
                }),
                ..message.clone()
            };
        }
        seen.push(observation);
    }
}

fn diagnosed_numbered(seen: &[Observation]) -> Diagnosis {
    let mut diagnoser = Diagnoser::default();
    for (position, observation) in (1..).zip(seen) {
        diagnoser.observe(&Observation {
            position,
            ..observation.clone()
        });
    }
    diagnoser.finish(Circumstances {
        complete: true,
        ..Circumstances::default()
    })
}

#[test]
fn each_process_has_its_own_generations_of_an_address() {
    let sent = interleaved(traffic(1500, 0, 7, 2, 40), traffic(1500, 1, 8, 3, 40));
    let mut seen = Vec::new();
    numbered(&sent, &mut seen);
    let diagnosis = diagnosed_numbered(&seen);
    assert!(!diagnosis.trouble, "{diagnosis:#?}");
}

#[test]
fn two_processes_of_one_id_are_no_certain_cause() {
    let sent = interleaved(traffic(1500, 0, 7, 2, 40), traffic(1500, 1, 7, 3, 40));
    let mut seen = Vec::new();
    numbered(&sent, &mut seen);
    let diagnosis = diagnosed_numbered(&seen);
    assert!(
        diagnosis.causes.iter().all(|it| it.score < PROBABLE),
        "{diagnosis:#?}"
    );
    assert!(diagnosis.trouble);
}

#[test]
fn a_message_that_comes_twice_to_the_nanosecond_is_no_double_release() {
    let mut seen = Vec::new();
    numbered(&traffic(1500, 0, 7, 2, 40), &mut seen);
    let mut drawn = Drawn(5);
    let twice: Vec<Observation> = seen
        .iter()
        .flat_map(|it| std::iter::repeat_n(it.clone(), 1 + usize::from(drawn.below(20) == 0)))
        .collect();
    let diagnosis = diagnosed_numbered(&twice);
    assert_none_named(&diagnosis);
    assert!(diagnosis.notes[0].contains("came twice"), "{diagnosis:#?}");
    // Twin: a second release is another message, made at another time.
    let mut drawn = Drawn(5);
    let released: Vec<Observation> = seen
        .iter()
        .flat_map(|it| {
            let mut again = it.clone();
            let mut twice = false;
            if let Observed::Message { message, .. } = &mut again.what {
                twice = message.kind == MessageKind::Free && drawn.below(20) == 0;
                message.timestamp_ns += 1;
            }
            std::iter::once(it.clone()).chain(twice.then_some(again))
        })
        .collect();
    let named = diagnosed_numbered(&released);
    let named = named.named().expect("dozens are released twice");
    assert_eq!(named.cause, Cause::DoubleRelease);
}

#[test]
fn what_a_sweep_takes_of_an_address_that_came_back_is_no_leak() {
    // The server counts references; some FREEs are lost, and their addresses come back.
    let mut drawn = Drawn(7);
    let lost =
        |(kind, ..): &Sent| 1 - usize::from(*kind == MessageKind::Free && drawn.below(20) == 0);
    let lives: String = repeated(traffic(3000, 0, 7, 2, 40), lost)
        .map(|(kind, _, _, address)| match kind {
            MessageKind::Alloc => format!("+{address:x} "),
            _ => format!("-{address:x} "),
        })
        .collect();
    let (diagnosis, _) = of_text(&log(&format!("{lives} !7")));
    let (cause, _) = first(&diagnosis).expect("a cause");
    assert_eq!(cause, "loss", "{diagnosis}");
    let mut causes = diagnosis["causes"].as_array().expect("causes").iter();
    let leak = causes.find(|cause| cause["cause"] == "real-leak");
    let score = leak.map_or(0.0, |leak| leak["score"].as_f64().expect("a score"));
    assert!(score < CONFIDENT, "{diagnosis}");
    // Twin: addresses that do not come back are leaks.
    let lives: String = (0..90)
        .map(|life| format!("+{:x} -{0:x} ", 0x8000 + life % 9 * 16))
        .collect();
    let leaks: String = (0..15)
        .map(|at| format!("+{:x} ", 0x100 + at * 16))
        .collect();
    let (diagnosis, _) = of_text(&log(&format!("{leaks}{lives} !7")));
    let (cause, score) = first(&diagnosis).expect("a cause");
    assert_eq!(
        (cause.as_str(), score >= CONFIDENT),
        ("real-leak", true),
        "{diagnosis}"
    );
}

#[test]
fn what_could_not_be_read_may_be_all_that_is_wrong() {
    let csv = |rows: &str| {
        let file = tempfile::Builder::new()
            .suffix(".csv")
            .tempfile()
            .expect("a file");
        std::fs::write(file.path(), format!("op,address,size\n{rows}")).expect("writable");
        crate::common::run_json(&format!("diagnose {}", file.path().display()))
    };
    for rows in [
        "alloc,0x10,8,9\nfree,0x10,8\n",
        "alloc,0x10,8\nfree,0x1",
        "alloc,0x10,\"8\nfree,0x10,8\n",
    ] {
        let (said, code) = csv(rows);
        assert_eq!(
            (&said["verdict"], code),
            (&"inconclusive".into(), 3),
            "{rows}: {said}"
        );
    }
    // Twin: more is wrong than that explains.
    let (said, code) = csv("alloc,0x10,8,9\nfree,0x10,8\nfree,0x20,8\nfree,0x30,8\n");
    assert_eq!(code, 1, "{said}");
}

#[test]
fn numbers_that_are_no_count_of_a_devices_allocations_are_no_certain_cause() {
    let mut seen = Vec::new();
    numbered(&traffic(1500, 0, 7, 2, 40), &mut seen);
    // One number for all lives; the lives of each address.
    for by_address in [false, true] {
        let mut lives = std::collections::BTreeMap::<u64, u64>::new();
        let mut seen = seen.clone();
        for observation in &mut seen {
            let Observed::Message { message, .. } = &mut observation.what else {
                continue;
            };
            let count = lives.entry(message.address).or_default();
            *count += u64::from(message.kind == MessageKind::Alloc);
            let generation = if by_address { *count } else { 1 };
            let extension = message.extension.as_mut().expect("it was given one");
            extension.generation = generation;
        }
        let diagnosis = diagnosed_numbered(&seen);
        assert!(diagnosis.named().is_none(), "{by_address}: {diagnosis:#?}");
    }
}

#[test]
fn sequence_numbers_that_wrap_are_no_certain_loss() {
    let mut seen = Vec::new();
    numbered(&traffic(1500, 0, 7, 2, 40), &mut seen);
    for (at, observation) in (u64::from(u32::MAX) - 300..).zip(&mut seen) {
        if let Observed::Message { message, .. } = &mut observation.what {
            let extension = message.extension.as_mut().expect("it was given one");
            extension.sequence = at % (1 << 32);
        }
    }
    let diagnosis = diagnosed_numbered(&seen);
    assert!(diagnosis.named().is_none(), "{diagnosis:#?}");
    assert!(diagnosis.notes[0].contains("begin anew"), "{diagnosis:#?}");
}
