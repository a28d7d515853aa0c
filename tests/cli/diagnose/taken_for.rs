//! Correct traffic that is taken for a cause: two processes with one id, a client that announces
//! again what it holds, a server that refuses by number. None is named with confidence, and a note
//! says what else leaves the same.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use heisenbed::device::Memory;
use heisenbed::tracking::message::Extension;
use heisenbed::tracking::wire::{Layout, encode};
use heisenbed::tracking::{Message, MessageKind};
use serde_json::Value;

use super::sent_again::{Sent, interleaved, traffic};
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
