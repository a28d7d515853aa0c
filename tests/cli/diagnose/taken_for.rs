//! Correct traffic that is taken for a cause: two processes with one id, a client that announces
//! again what it holds, a server that refuses by number. None is named with confidence, and a note
//! says what else leaves the same.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use heisenbed::device::Memory;
use heisenbed::tracking::message::Extension;
use heisenbed::tracking::wire::{Layout, encode};
use heisenbed::tracking::{Message, MessageKind};
use serde_json::Value;

use super::sent_again::{Sent, in_batches, interleaved, traffic};
use super::{Drawn, first, log, of_text};
use crate::common::heisenbed;

/// The log of these messages.
fn logged(sent: impl IntoIterator<Item = Sent>) -> String {
    let words = sent.into_iter().map(|(kind, _, pid, address)| match kind {
        MessageKind::Alloc => format!("+{address:x}@{pid} "),
        _ => format!("-{address:x}@{pid} "),
    });
    log(&words.collect::<String>())
}

/// No cause is named, and a note says `why`.
fn assert_undecided((said, code): &(Value, i32), why: &str) {
    assert_eq!(
        (&said["verdict"], *code),
        (&"inconclusive".into(), 1),
        "{said:#}"
    );
    assert!(said["notes"].to_string().contains(why), "{said:#}");
    assert!(said["record_to_tell"][0].is_string(), "{said:#}");
}

fn assert_confident((said, _): &(Value, i32), cause: &str) {
    let (first, score) = first(said).expect("a cause");
    assert_eq!((first.as_str(), score >= 0.9), (cause, true), "{said:#}");
}

#[test]
fn two_processes_of_one_id_at_the_same_addresses_are_no_reordering() {
    for held in [3, 10, 40] {
        let one = |seed| traffic(1500, 0, 7, seed, held);
        let said = of_text(&logged(interleaved(one(2), one(3))));
        assert_undecided(&said, "two processes with one id");
    }
    // Twin: FREEs that come after the next ALLOC of their address.
    let mut drawn = Drawn(5);
    let mut sent = traffic(3000, 0, 7, 2, 40);
    for at in 1..sent.len() {
        let (before, after) = (sent[at - 1], sent[at]);
        let is_pair = before.0 == MessageKind::Free && after.0 == MessageKind::Alloc;
        if is_pair && before.3 == after.3 && drawn.below(4) == 0 {
            sent.swap(at - 1, at);
        }
    }
    assert_confident(&of_text(&logged(sent)), "reordering");
}

/// No cause is certain, a note says `why`, and there is advice.
fn assert_uncertain((said, code): &(Value, i32), why: &str) {
    let score = first(said).map_or(0.0, |(_, score)| score);
    assert_eq!((score < 0.9, *code), (true, 1), "{said:#}");
    assert!(said["notes"].to_string().contains(why), "{said:#}");
    assert!(said["record_to_tell"][0].is_string(), "{said:#}");
}

#[test]
fn two_processes_of_one_id_that_are_read_in_batches_are_no_certain_reordering() {
    for held in [1, 2, 3, 10, 40] {
        for most in [9, 61, 301, 1001] {
            let one = |seed| traffic(1500, 0, 7, seed, held);
            let (said, code) = of_text(&logged(in_batches(one(2), one(3), most)));
            let (_, score) = first(&said).expect("a cause");
            assert!(score < 0.9, "{held}, {most}: {said:#}");
            // A few moments at which both have the address tell nothing, and many buffers that come
            // in a row look like a client that announces them.
            if held <= 3 && said["causes"][0]["count"].as_u64() > Some(8) {
                assert_uncertain(&(said, code), "two processes with one id");
            }
        }
    }
    // Twin: threads that are late by far less than a life.
    let mut drawn = Drawn(11);
    let mut sent = Vec::<Sent>::new();
    let mut late = Vec::<(usize, Sent)>::new();
    for message in traffic(3000, 0, 7, 4, 40) {
        let is_late = message.0 == MessageKind::Free && drawn.below(20) == 0;
        match is_late {
            true => late.push((sent.len() + 2 + drawn.below(8) as usize, message)),
            false => sent.push(message),
        }
        while let Some(at) = late.iter().position(|(due, _)| *due <= sent.len()) {
            sent.push(late.remove(at).1);
        }
    }
    sent.extend(late.into_iter().map(|(_, message)| message));
    assert_confident(&of_text(&logged(sent)), "reordering");
}

/// A log that shows the low bits of addresses only: buffers that have nothing to do with each other
/// share one now and then.
#[test]
fn addresses_that_are_cut_off_are_no_certain_reordering() {
    for (seed, shown) in (1..5).flat_map(|seed| [10, 12, 13].map(|bits| (seed, 1_u64 << bits))) {
        let mut drawn = Drawn(seed);
        let mut next = 1_u64;
        let mut live = Vec::new();
        let mut sent = Vec::<Sent>::new();
        for _ in 0..6000 {
            if live.len() > 400 || (!live.is_empty() && drawn.below(100) < 48) {
                let address = live.swap_remove(drawn.below(live.len() as u64) as usize);
                sent.push((MessageKind::Free, 0, 7, address));
            } else {
                next += 1 + drawn.below(40);
                let address = next % shown * 512;
                live.push(address);
                sent.push((MessageKind::Alloc, 0, 7, address));
            }
        }
        let left = live.into_iter();
        sent.extend(left.map(|address| (MessageKind::Free, 0, 7, address)));
        let (said, code) = of_text(&logged(sent));
        let score = first(&said).map_or(0.0, |(_, score)| score);
        assert_eq!(
            (score < 0.9, code),
            (true, 1),
            "{seed}, {shown} addresses: {said:#}"
        );
        assert!(said["record_to_tell"][0].is_string(), "{said:#}");
    }
}

/// An allocator that hands out what is live, one time in `one_in`; each buffer lives for about as
/// many messages as `lasts` draws.
fn handed_out_twice(seed: u64, one_in: u64, lasts: impl Fn(&mut Drawn) -> u64) -> Vec<Sent> {
    let mut drawn = Drawn(seed);
    let mut free: Vec<u64> = (1..200).map(|slot| slot * 0x1_0000).collect();
    let mut live: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut sent = Vec::<Sent>::new();
    for at in 0..3000 {
        while let Some(first) = live.first_entry().filter(|first| first.key().0 <= at) {
            let address = first.remove();
            free.push(address);
            sent.push((MessageKind::Free, 0, 7, address));
        }
        let address = if !live.is_empty() && drawn.below(one_in) == 0 {
            let which = drawn.below(live.len() as u64) as usize;
            *live.values().nth(which).expect("below their number")
        } else {
            free.pop().expect("room for all")
        };
        free.retain(|one| *one != address);
        live.insert((at + 1 + lasts(&mut drawn), at), address);
        sent.push((MessageKind::Alloc, 0, 7, address));
    }
    let left = live.into_values();
    sent.extend(left.map(|address| (MessageKind::Free, 0, 7, address)));
    sent
}

#[test]
fn addresses_that_are_handed_out_twice_are_no_certain_reordering_or_loss() {
    type Lasts = fn(&mut Drawn) -> u64;
    let all: [(&str, Lasts); 3] = [
        ("any", |drawn| drawn.below(40)),
        ("one", |drawn| 19 + drawn.below(2)),
        ("some long", |drawn| match drawn.below(10) {
            0 => drawn.below(400),
            _ => drawn.below(20),
        }),
    ];
    for (name, lasts) in all {
        for (seed, one_in) in [(1, 10), (2, 40), (3, 5)] {
            let (said, code) = of_text(&logged(handed_out_twice(seed, one_in, lasts)));
            let score = first(&said).map_or(0.0, |(_, score)| score);
            assert_eq!((score < 0.9, code), (true, 1), "{name}, {seed}: {said:#}");
        }
    }
}

/// Two servers in one log: what each of them says.
fn joined(first: &[Sent], second: &[Sent], most: usize) -> String {
    let lines = |sent: &[Sent]| -> Vec<String> {
        let text = logged(sent.iter().copied());
        text.lines().skip(1).map(str::to_owned).collect()
    };
    let (first, second) = (lines(first), lines(second));
    let (mut first, mut second) = (first.chunks(most), second.chunks(most));
    let mut text = log("");
    loop {
        let both = [first.next(), second.next()];
        if both.iter().all(Option::is_none) {
            return text;
        }
        for line in both.into_iter().flatten().flatten() {
            text += &format!("{line}\n");
        }
    }
}

#[test]
fn two_servers_in_one_log_are_no_certain_cause() {
    for held in [1, 2, 40] {
        for most in [7, 61, 501] {
            for pid in [7, 8] {
                let first = traffic(1500, 0, 7, 2, held);
                let second = traffic(1500, 0, pid, 3, held);
                let said = of_text(&joined(&first, &second, most));
                assert_uncertain(&said, "several servers");
            }
        }
    }
}

/// The same messages, and at some moments an ALLOC of each buffer that is live, one in `part` of
/// them; others come between, one at most.
fn announced_again(sent: &[Sent], moments: usize, part: u64, mixed: bool) -> Vec<Sent> {
    let mut drawn = Drawn(3);
    let (mut live, mut out) = (Vec::<Sent>::new(), Vec::new());
    let mut again = Vec::<Sent>::new();
    for (at, message) in sent.iter().enumerate() {
        if at % (sent.len() / (moments + 1)) == 0 {
            again = live
                .iter()
                .copied()
                .filter(|_| drawn.below(part) == 0)
                .collect();
        }
        while let Some(one) = again.pop() {
            if live.contains(&one) {
                out.push(one);
            }
            if mixed && drawn.below(3) == 0 {
                break;
            }
        }
        out.push(*message);
        match message.0 {
            MessageKind::Alloc => live.push(*message),
            _ => live.retain(|one| one.3 != message.3),
        }
    }
    out
}

#[test]
fn what_a_client_announces_again_is_no_loss() {
    for moments in [1, 3, 10] {
        for (part, mixed) in [(1, true), (2, true), (2, false)] {
            let sent = traffic(3000, 0, 7, 2, 40);
            let said = of_text(&logged(announced_again(&sent, moments, part, mixed)));
            assert_undecided(&said, "sent again by a client");
        }
    }
    // All of them, and nothing between: a process that began anew leaves that, too.
    let kept = |kind| (0..40).map(move |at| (kind, 0, 7, 0x80_0000 + at * 64));
    let mut sent: Vec<Sent> = kept(MessageKind::Alloc).collect();
    sent.extend(traffic(3000, 0, 7, 2, 40));
    sent.extend(kept(MessageKind::Free));
    let (said, _) = of_text(&logged(announced_again(&sent, 1, 1, false)));
    let (_, score) = first(&said).expect("a cause");
    assert!(score < 0.9, "{said:#}");
    assert!(
        said["notes"]
            .to_string()
            .contains("announces what it holds"),
        "{said:#}"
    );
    // Twin: FREEs that are lost one by one.
    let mut drawn = Drawn(7);
    let mut sent = traffic(3000, 0, 7, 2, 40);
    sent.retain(|one| one.0 != MessageKind::Free || drawn.below(20) > 0);
    assert_confident(&of_text(&logged(sent)), "loss");
}

/// The same messages, and an ALLOC of one live buffer before each one in so many.
fn said_again(sent: &[Sent], one_in: u64) -> Vec<Sent> {
    let mut drawn = Drawn(3);
    let (mut live, mut out) = (Vec::<Sent>::new(), Vec::new());
    for message in sent {
        if !live.is_empty() && drawn.below(one_in) == 0 {
            out.push(live[drawn.below(live.len() as u64) as usize]);
        }
        out.push(*message);
        match message.0 {
            MessageKind::Alloc => live.push(*message),
            _ => live.retain(|one| one.3 != message.3),
        }
    }
    out
}

/// The same messages, and at some moments an ALLOC of each buffer that is live, so many others
/// between two of them.
fn announced_between(sent: &[Sent], moments: usize, others: u64) -> Vec<Sent> {
    let (mut live, mut out) = (Vec::<Sent>::new(), Vec::new());
    let (mut again, mut wait) = (Vec::<Sent>::new(), 0);
    for (at, message) in sent.iter().enumerate() {
        if at > 0 && at % (sent.len() / (moments + 1)) == 0 {
            again.clone_from(&live);
        }
        if wait == 0 {
            again.retain(|one| live.contains(one));
            out.extend(again.pop());
            wait = others;
        }
        wait -= 1;
        out.push(*message);
        match message.0 {
            MessageKind::Alloc => live.push(*message),
            _ => live.retain(|one| one.3 != message.3),
        }
    }
    out
}

/// The traffic of a client that has 40 more buffers all the time.
fn beside_kept(sent: Vec<Sent>) -> Vec<Sent> {
    let kept = |kind| (0..40).map(move |at| (kind, 0, 7, 0x80_0000 + at * 64));
    let mut all: Vec<Sent> = kept(MessageKind::Alloc).collect();
    all.extend(sent);
    all.extend(kept(MessageKind::Free));
    all
}

#[test]
fn what_a_client_says_again_one_by_one_is_no_certain_loss_and_no_new_process() {
    for held in [3, 10, 40] {
        let sent = traffic(3000, 0, 7, 2, held);
        for one_in in [200, 50, 20, 5] {
            let said = of_text(&logged(said_again(&sent, one_in)));
            assert_undecided(&said, "sent again by a client");
        }
        // The record ends while the client goes on.
        let said = of_text(&logged(said_again(&sent[..2900], 20)));
        assert_undecided(&said, "sent again by a client");
        for sent in [sent.clone(), beside_kept(sent)] {
            for moments in [1, 3, 10] {
                for others in [2, 4] {
                    let again = announced_between(&sent, moments, others);
                    let (said, code) = of_text(&logged(again));
                    let score = first(&said).map_or(0.0, |(_, score)| score);
                    assert!(score < 0.9, "{held}, {moments}, {others}: {said:#}");
                    if said["causes"][0]["count"].as_u64() > Some(8) {
                        assert_uncertain(&(said, code), "say again what is live");
                    }
                }
            }
        }
    }
    // Twin: FREEs that are lost one by one. Some of them leave their buffer for good.
    for seed in 2..6 {
        let mut drawn = Drawn(7);
        let mut sent = traffic(3000, 0, 7, seed, 40);
        sent.retain(|one| one.0 != MessageKind::Free || drawn.below(20) > 0);
        assert_confident(&of_text(&logged(sent)), "loss");
    }
    // Twin: ALLOCs are lost as well, and the record ends while the client goes on.
    let mut drawn = Drawn(7);
    let mut sent = traffic(3000, 0, 7, 2, 40);
    sent.retain(|_| drawn.below(20) > 0);
    assert_confident(&of_text(&logged(sent[..2700].iter().copied())), "loss");
    // Twin: a process ends with what it has, and another one of its id begins with nothing.
    let address = |at: u64| 0x1000 * (1 + at);
    let kept = (0..120).step_by(3).map(address);
    let first = (0..120).filter(|at| at % 3 > 0).map(address).collect();
    let mut sent: Vec<Sent> = kept.map(|at| (MessageKind::Alloc, 0, 7, at)).collect();
    sent.extend(in_turn(first, 600));
    sent.extend(in_turn((0..120).map(address).collect(), 600));
    assert_confident(&of_text(&logged(sent)), "pid-reuse");
}

/// So many lives at these addresses in turn, six at once.
fn in_turn(addresses: Vec<u64>, lives: usize) -> impl Iterator<Item = Sent> {
    let message = move |kind, life| (kind, 0, 7, addresses[life % addresses.len()]);
    (0..lives).flat_map(move |life| {
        let before = life.checked_sub(6);
        let free = before.map(|before| message(MessageKind::Free, before));
        std::iter::once(message(MessageKind::Alloc, life)).chain(free)
    })
}

/// A sequenced server of ours.
struct Sequenced {
    server: Child,
    folder: tempfile::TempDir,
}

impl Sequenced {
    fn start() -> Sequenced {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = std::fs::File::create(folder.path().join("log")).expect("writable");
        let server = heisenbed(&["serve", "--semantics", "sequenced", "--layout", "extended"])
            .args(["--log-style", "legacy", "--record"])
            .arg(folder.path().join("journal.hb"))
            .arg("--socket")
            .arg(folder.path().join("s"))
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        Sequenced { server, folder }
    }

    /// Sends these, ends the server, and diagnoses its log and its journal.
    fn diagnosed(mut self, sent: &[Message]) -> [(Value, i32); 2] {
        let path = self.folder.path().join("s");
        let give_up = Instant::now() + Duration::from_secs(60);
        let mut client = loop {
            match UnixStream::connect(&path) {
                Ok(client) => break client,
                Err(error) => assert!(Instant::now() < give_up, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        for message in sent {
            let frame = encode(Layout::Extended, message);
            client
                .write_all(frame.as_bytes())
                .expect("it takes messages");
        }
        let query = encode(Layout::Extended, &numbered(MessageKind::Query, 0, 0));
        client
            .write_all(query.as_bytes())
            .expect("it takes messages");
        client.read_exact(&mut [0; 1]).expect("it has read all");
        drop(client);
        let id = rustix::process::Pid::from_child(&self.server);
        rustix::process::kill_process(id, rustix::process::Signal::INT).expect("it runs");
        self.server.wait().expect("it ends");
        ["log", "journal.hb"].map(|file| {
            let file = self.folder.path().join(file);
            crate::common::run_json(&format!("diagnose {}", file.display()))
        })
    }
}

impl Drop for Sequenced {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A message with its number, or none for 0.
fn numbered(kind: MessageKind, address: u64, sequence: u64) -> Message {
    Message {
        size_bytes: 4096,
        buffer_type: 1,
        // One that is there, so that nothing is swept.
        pid: std::process::id().cast_signed(),
        extension: Some(Extension {
            memory: Memory::L1,
            sequence,
            generation: 0,
            thread: 1,
        }),
        kind,
        device: 0,
        address,
        timestamp_ns: 0,
    }
}

#[test]
fn what_a_server_refuses_by_number_is_no_late_attach() {
    let messages = || -> Vec<Message> {
        let (mut sent, mut number) = (Vec::new(), 0);
        for address in (1..=40).map(|at| at * 64) {
            sent.push(numbered(MessageKind::Alloc, address, 1_000_000 + address));
        }
        for address in (1..=40).map(|at| at * 64) {
            sent.push(numbered(MessageKind::Free, address, 0));
        }
        for life in 0..400 {
            for kind in [MessageKind::Alloc, MessageKind::Free] {
                number += 1;
                sent.push(numbered(kind, 0x10_0000 + life % 16 * 64, number));
            }
        }
        sent
    };
    // A journal has the messages and not what was made of them: its numbers tell.
    let [by_log, by_journal] = Sequenced::start().diagnosed(&messages());
    assert_undecided(&by_log, "the server refused 40 messages");
    assert_undecided(&by_journal, "sequence numbers begin anew");
    // Twin: those ALLOCs were never sent to this server.
    let late = messages().split_off(40);
    for said in Sequenced::start().diagnosed(&late) {
        assert_confident(&said, "late-attach");
    }
}
