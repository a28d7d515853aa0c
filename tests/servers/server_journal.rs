//! `serve --record`: a server that is killed and started again shows what it had shown, and nothing
//! that nobody sent.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use heisenbed::tracking::transport::{Connection, SendMode, WriteOutcome};
use heisenbed::tracking::{Layout, Message, MessageKind, wire};

const TIMEOUT: Duration = Duration::from_secs(20);

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary folder"))
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("s")
    }

    fn journal(&self) -> PathBuf {
        self.0.path().join("table.hb")
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = crate::common::heisenbed(&["serve", "--no-sweep", "--format", "json"]);
        command
            .arg("--socket")
            .arg(self.socket())
            .arg("--record")
            .arg(self.journal())
            .args(more);
        command
    }

    /// A server that listens, and what it said before.
    fn serve(&self, more: &[&str]) -> (Child, Vec<String>) {
        let mut server = self
            .command(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let lines = BufReader::new(server.stderr.take().expect("piped")).lines();
        let said: Vec<String> = lines
            .map(|line| line.expect("text"))
            .take_while(|line| !line.starts_with("listening on"))
            .collect();
        (server, said)
    }

    /// What a server that does not start says.
    fn refused(&self, more: &[&str]) -> String {
        let output = self.command(more).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).expect("text")
    }

    fn connect(&self) -> Connection {
        Connection::open(&self.socket(), Layout::Extended, None).expect("the server listens")
    }
}

fn message(kind: MessageKind, pid: i32, address: u64) -> Message {
    Message {
        kind,
        device: 0,
        size_bytes: if kind == MessageKind::Alloc { 64 } else { 0 },
        buffer_type: 0,
        pid,
        address,
        timestamp_ns: 0,
        extension: None,
    }
}

fn send(connection: &Connection, message: &Message) -> bool {
    let frame = wire::encode(Layout::Extended, message);
    matches!(
        connection.write(frame.as_bytes(), SendMode::Blocking),
        WriteOutcome::Sent { .. }
    )
}

/// The addresses that a server shows.
fn shown(connection: &Connection) -> Vec<u64> {
    let table = connection.full_table(TIMEOUT).expect("a table");
    table.iter().map(|entry| entry.address).collect()
}

fn kill(mut server: Child) {
    server.kill().expect("it runs");
    let status = server.wait().expect("it ends");
    assert_eq!(
        status.signal(),
        Some(9),
        "it was killed, and did not end by itself"
    );
}

fn stop(server: Child) -> serde_json::Value {
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    let output = server.wait_with_output().expect("it ends");
    serde_json::from_slice(&output.stdout).expect("an object")
}

/// What one client did until the server was killed.
#[derive(Default)]
struct Done {
    /// For each address: how many of its messages were acknowledged by a query, and how many were
    /// sent at all. The first one is an ALLOC, and they alternate.
    addresses: BTreeMap<u64, (usize, usize)>,
}

/// Allocates and releases addresses of its own until the server is gone; asks now and then.
fn load(folder: &Path, client: u64, keep_going: &AtomicBool) -> Done {
    const ADDRESSES: u64 = 50;
    let connection = Connection::open(folder, Layout::Extended, None).expect("the server listens");
    let mut done = Done::default();
    let mut state = client;
    for step in 1u64.. {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let address = 0x10_0000 * (client + 1) + (state >> 33) % ADDRESSES * 0x40;
        let (_, sent) = done.addresses.entry(address).or_default();
        let kind = if *sent % 2 == 0 {
            MessageKind::Alloc
        } else {
            MessageKind::Free
        };
        *sent += 1;
        if !keep_going.load(Ordering::Relaxed)
            || !send(&connection, &message(kind, 100 + client as i32, address))
        {
            break;
        }
        if step % 97 == 0 {
            if connection.query(0, Duration::from_secs(5)).is_err() {
                break;
            }
            for (acknowledged, sent) in done.addresses.values_mut() {
                *acknowledged = *sent;
            }
        }
    }
    done
}

#[test]
fn a_killed_server_shows_what_it_had_acknowledged_and_invents_nothing() {
    const CLIENTS: u64 = 4;
    let mut acknowledged_live = 0;
    for round in 0..5u64 {
        let folder = Folder::new();
        let (server, _) = folder.serve(&[]);
        let keep_going = AtomicBool::new(true);
        let socket = folder.socket();
        let done: Vec<Done> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    scope.spawn({
                        let (socket, keep_going) = (&socket, &keep_going);
                        move || load(socket, client, keep_going)
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(40 + 37 * round));
            kill(server);
            keep_going.store(false, Ordering::Relaxed);
            clients
                .into_iter()
                .map(|client| client.join().expect("no panic"))
                .collect()
        });
        let (server, said) = folder.serve(&[]);
        assert!(
            said.iter().any(|line| line.contains(" live, from ")),
            "{said:?}"
        );
        let shown = shown(&folder.connect());
        for (address, (acknowledged, sent)) in done.iter().flat_map(|done| &done.addresses) {
            // The server may have taken any number of messages between what it acknowledged and
            // what was sent.
            let possible =
                (*acknowledged..=*sent).any(|taken| (taken % 2 == 1) == shown.contains(address));
            assert!(
                possible,
                "{address:#x}: {acknowledged} acknowledged, {sent} sent"
            );
            acknowledged_live += usize::from(acknowledged == sent && acknowledged % 2 == 1);
        }
        let all: Vec<u64> = done
            .iter()
            .flat_map(|done| done.addresses.keys().copied())
            .collect();
        assert!(
            shown.iter().all(|address| all.contains(address)),
            "something was invented"
        );
        stop(server);
    }
    assert!(
        acknowledged_live > 10,
        "the test showed nothing: {acknowledged_live}"
    );
}

#[test]
fn a_query_is_answered_when_what_it_shows_is_safe() {
    let folder = Folder::new();
    let (server, _) = folder.serve(&[]);
    let client = folder.connect();
    for address in 1..=1000 {
        assert!(send(&client, &message(MessageKind::Alloc, 7, 64 * address)));
    }
    let answer = client.query(0, TIMEOUT).expect("an answer");
    assert_eq!(answer.dram_bytes, 64_000);
    kill(server);
    let (server, said) = folder.serve(&[]);
    assert!(
        said[0].contains("1,000 buffers live, from 1,000 messages"),
        "{said:?}"
    );
    assert_eq!(
        folder
            .connect()
            .query(0, TIMEOUT)
            .expect("an answer")
            .dram_bytes,
        64_000
    );
    assert_eq!(stop(server)["live"], 1000);
}

#[test]
fn what_nobody_asked_about_is_safe_after_a_moment() {
    let folder = Folder::new();
    let (server, _) = folder.serve(&[]);
    let client = folder.connect();
    assert!(send(&client, &message(MessageKind::Alloc, 7, 64)));
    std::thread::sleep(Duration::from_millis(600));
    kill(server);
    let (server, _) = folder.serve(&[]);
    assert_eq!(shown(&folder.connect()), [64]);
    stop(server);
}

/// A journal of a few blocks, and the table that each whole block adds to.
fn small_journal(folder: &Folder) -> Vec<u8> {
    let (server, _) = folder.serve(&[]);
    let client = folder.connect();
    for address in 1..=6 {
        assert!(send(&client, &message(MessageKind::Alloc, 7, 64 * address)));
        client.query(0, TIMEOUT).expect("an answer");
    }
    kill(server);
    std::fs::read(folder.journal()).expect("a journal")
}

#[test]
fn a_journal_cut_at_any_byte_restores_a_prefix_or_is_refused() {
    let folder = Folder::new();
    let whole = small_journal(&folder);
    let mut live = std::collections::BTreeSet::new();
    for cut in (0..=whole.len()).rev().step_by(7) {
        std::fs::write(folder.journal(), &whole[..cut]).expect("writable");
        let started = folder
            .command(&["--quiet"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        let mut started = started;
        let connected = loop {
            if let Ok(connection) = Connection::open(&folder.socket(), Layout::Extended, None) {
                break Some(connection);
            }
            if started.try_wait().expect("it can be waited for").is_some() {
                break None;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let Some(connection) = connected else {
            // What is left is no trace at all: its header is cut.
            assert!(
                cut > 0 && !live.is_empty(),
                "refused at {cut} of {}",
                whole.len()
            );
            continue;
        };
        let shown = shown(&connection);
        let prefix: Vec<u64> = (1..=shown.len() as u64).map(|index| 64 * index).collect();
        assert_eq!(shown, prefix, "cut at {cut}");
        live.insert(shown.len());
        kill(started);
    }
    assert_eq!(live.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_journal_that_is_damaged_inside_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    let mut damaged = small_journal(&folder);
    let middle = damaged.len() * 3 / 4;
    damaged[middle] ^= 1;
    std::fs::write(folder.journal(), &damaged).expect("writable");
    let complaint = folder.refused(&[]);
    assert!(
        complaint.contains("byte ") && complaint.contains("move "),
        "{complaint}"
    );
    assert_eq!(std::fs::read(folder.journal()).expect("readable"), damaged);
}

#[test]
fn a_journal_of_other_semantics_or_of_a_living_server_is_refused() {
    let folder = Folder::new();
    let (server, _) = folder.serve(&["--semantics", "typed"]);
    let complaint = folder.refused(&["--semantics", "typed"]);
    assert!(
        complaint.contains("another server records here"),
        "{complaint}"
    );
    stop(server);
    let complaint = folder.refused(&["--semantics", "refcount"]);
    assert!(
        complaint.contains("--semantics typed") && complaint.contains("--semantics refcount"),
        "{complaint}"
    );
    std::fs::write(folder.journal(), "not a trace, but long enough for one").expect("writable");
    assert!(folder.refused(&[]).contains("not a heisenbed trace"));
}

#[test]
fn a_clean_end_is_gone_on_from_and_the_journal_can_be_checked() {
    let folder = Folder::new();
    for round in 0..3u64 {
        let (server, _) = folder.serve(&[]);
        let client = folder.connect();
        assert!(send(
            &client,
            &message(MessageKind::Alloc, 7, 64 * (round + 1))
        ));
        client.query(0, TIMEOUT).expect("an answer");
        drop(client);
        assert_eq!(stop(server)["live"], round + 1);
    }
    let output = crate::common::heisenbed(&["check", "--format", "json"])
        .arg(folder.journal())
        .output()
        .expect("it runs");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("an object");
    assert_eq!(
        (&found["messages"], &found["live_at_end"]),
        (&3.into(), &3.into())
    );
    assert_eq!(found["verdict"], "inconclusive");
}

#[test]
fn a_full_disk_ends_the_journal_and_not_the_server() {
    let folder = Folder::new();
    // Writes to it fail as on a full disk; it can't be locked or cut like a file, so the server
    // must say what is wrong or go on.
    let complaint = {
        let output = crate::common::heisenbed(&["serve", "--record", "/dev/full", "--socket"])
            .arg(folder.socket())
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).expect("text")
    };
    assert!(complaint.contains("/dev/full"), "{complaint}");
}

impl Folder {
    /// A server that drops what dead processes left.
    fn sweeping(&self) -> Child {
        let mut command =
            crate::common::heisenbed(&["serve", "--format", "json", "--quiet", "--socket"]);
        command
            .arg(self.socket())
            .arg("--record")
            .arg(self.journal());
        command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts")
    }

    /// A connection as soon as there is a server.
    fn connected(&self) -> Connection {
        let started = std::time::Instant::now();
        loop {
            match Connection::open(&self.socket(), Layout::Extended, None) {
                Ok(connection) => return connection,
                Err(error) => assert!(started.elapsed() < TIMEOUT, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A key with two references of a dead process and one of a living one: both are dropped, and stay
/// dropped; the living one's goes with its FREE.
#[test]
fn references_of_a_dead_process_stay_dropped() {
    let folder = Folder::new();
    let server = folder.sweeping();
    let living = folder.connected();
    let mut dying = crate::common::heisenbed(&["conformance", "--relay"])
        .arg(format!("unix:{}", folder.socket().display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the relay starts");
    let mut input = dying.stdin.take().expect("piped");
    let mut said = Vec::new();
    for (kind, address) in [
        (MessageKind::Alloc, 64),
        (MessageKind::Alloc, 64),
        (MessageKind::Alloc, 128),
        (MessageKind::Alloc, 128),
        (MessageKind::Query, 0),
        (MessageKind::Query, 0),
    ] {
        let frame = wire::encode(Layout::V112, &message(kind, 8, address));
        said.extend_from_slice(frame.as_bytes());
    }
    std::io::Write::write_all(&mut input, &said).expect("it is taken");
    let mut answers = [0; 2 * 112];
    let stdout = dying.stdout.as_mut().expect("piped");
    std::io::Read::read_exact(stdout, &mut answers).expect("answers");
    assert!(send(&living, &message(MessageKind::Alloc, 7, 64)));
    assert_eq!(shown(&living), [64, 128]);
    dying.kill().expect("it lives");
    dying.wait().expect("it ends");
    let started = std::time::Instant::now();
    while shown(&living) != [64] {
        assert!(started.elapsed() < TIMEOUT, "its own key is dropped");
        std::thread::sleep(Duration::from_millis(2));
    }
    kill(server);
    let server = folder.sweeping();
    let living = folder.connected();
    assert_eq!(shown(&living), [64]);
    assert!(send(&living, &message(MessageKind::Free, 7, 64)));
    assert!(shown(&living).is_empty());
    assert_eq!(stop(server)["unknown_frees"], 0);
}

#[test]
fn what_was_dropped_of_a_dead_process_stays_dropped() {
    let folder = Folder::new();
    let server = folder.sweeping();
    let living = folder.connected();
    assert!(send(&living, &message(MessageKind::Alloc, 7, 64)));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/encode.py");
    let encoded = Command::new("python3")
        .arg(script)
        .arg(folder.socket())
        .args(["144", "8", "0", "10", "2", "512"])
        .status()
        .expect("python3 runs");
    assert!(encoded.success());
    let started = std::time::Instant::now();
    while shown(&living) != [64] {
        assert!(
            started.elapsed() < TIMEOUT,
            "what the dead client left is dropped"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    kill(server);
    let server = folder.sweeping();
    assert_eq!(shown(&folder.connected()), [64]);
    assert_eq!(stop(server)["live"], 1);
}
