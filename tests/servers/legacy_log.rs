//! `serve --log-style legacy` beside an independent model of the reference servers
//! (`tests/scripts/reference_log.py`): the log byte for byte, as a user has it who writes
//! `server > debug.log`, and every answer.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use heisenbed::import::server_log::ServerLogReader;
use heisenbed::scenario::random::{Purpose, Random};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::heisenbed;

const TIMEOUT: Duration = Duration::from_secs(60);
const ALLOC: u8 = 1;
const FREE: u8 = 2;
const QUERY: u8 = 3;
const DUMP: u8 = 5;
const DEVICE_INFO: u8 = 6;

/// A running server whose stdout goes to a file, as `server > debug.log` has it.
struct Logged {
    server: Child,
    folder: tempfile::TempDir,
    layout: usize,
    devices: i32,
    ids: &'static str,
    /// What happened to it, for the model.
    happened: String,
    /// What it answered, as the model writes it.
    answered: String,
}

/// A message as a client without our code writes it.
#[derive(Clone, Copy)]
struct Raw {
    kind: u8,
    device: i32,
    id: u64,
    size: u64,
    memory: u8,
    pid: u32,
}

/// A client that dies as a process does: a relay between its pipes and the server.
struct Dying {
    relay: Child,
    answers: ChildStdout,
}

impl Logged {
    fn start(layout: usize, devices: i32, ids: &'static str) -> Logged {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = File::create(folder.path().join("debug.log")).expect("a new file");
        let complaints = File::create(folder.path().join("stderr")).expect("a new file");
        let mut command = heisenbed(&["serve", "--log-style"]);
        command.arg(if ids == "hex" {
            "legacy"
        } else {
            "legacy-decimal"
        });
        command.args(["--layout", &layout.to_string()]);
        if devices > 0 {
            command.args(["--devices", &devices.to_string()]);
        }
        let server = command
            .arg("--socket")
            .arg(folder.path().join("s"))
            .stdout(log)
            .stderr(complaints)
            .spawn()
            .expect("the server starts");
        let logged = Logged {
            server,
            folder,
            layout,
            devices,
            ids,
            happened: String::new(),
            answered: String::new(),
        };
        logged.until("it listens", || {
            UnixStream::connect(logged.socket()).is_ok()
        });
        logged
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("debug.log")).expect("text")
    }

    fn complaints(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).expect("text")
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let started = Instant::now();
        while !holds() {
            assert!(started.elapsed() < TIMEOUT, "{what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).expect("it listens");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a socket");
        stream
    }

    fn dying(&self) -> Dying {
        let mut relay = heisenbed(&["conformance", "--relay"])
            .arg(format!("unix:{}", self.socket().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the relay starts");
        let answers = relay.stdout.take().expect("piped");
        Dying { relay, answers }
    }

    /// Notes a message and returns its bytes.
    fn frame(&mut self, message: Raw) -> Vec<u8> {
        let Raw {
            kind,
            device,
            id,
            size,
            memory,
            pid,
        } = message;
        writeln!(
            self.happened,
            "m {kind} {device} {id} {size} {memory} {pid}"
        )
        .expect("a String");
        let mut frame = vec![0; self.layout];
        frame[0] = kind;
        frame[4..8].copy_from_slice(&device.to_le_bytes());
        frame[8..16].copy_from_slice(&size.to_le_bytes());
        frame[16] = memory;
        frame[20..24].copy_from_slice(&pid.to_le_bytes());
        frame[24..32].copy_from_slice(&id.to_le_bytes());
        frame
    }

    /// Sends a message, and another one behind it that is answered: then it was taken.
    fn send(&mut self, to: &mut impl Write, from: &mut impl Read, message: Raw) {
        let asks = Raw {
            kind: if message.kind == DEVICE_INFO {
                DEVICE_INFO
            } else {
                QUERY
            },
            ..message
        };
        let mut bytes = self.frame(message);
        let answers = 1 + usize::from(matches!(message.kind, QUERY | DEVICE_INFO));
        bytes.extend(self.frame(asks));
        to.write_all(&bytes).expect("it is taken");
        for _ in 0..answers {
            let mut answer = vec![0; self.layout];
            from.read_exact(&mut answer).expect("an answer");
            self.note_answer(&answer);
        }
    }

    fn note_answer(&mut self, answer: &[u8]) {
        let u64_at = |at: usize| u64::from_le_bytes(answer[at..at + 8].try_into().expect("8"));
        let u32_at = |at: usize| u32::from_le_bytes(answer[at..at + 4].try_into().expect("4"));
        let device = u32_at(4).cast_signed();
        let text = match answer[0] {
            4 => {
                let [dram, l1, small, trace] = [40, 48, 56, 64].map(u64_at);
                format!("{device} {dram} {l1} {small} {trace}\n")
            }
            7 => {
                let end = if self.layout == 112 { 112 } else { 128 };
                format!("{device} {} {}\n", u32_at(end - 8), u32_at(end - 4))
            }
            other => panic!("an answer of type {other}"),
        };
        self.answered += &text;
    }

    /// Lets a client die that has a buffer of its own, and waits until that is in the log.
    fn kill(&mut self, mut dying: Dying) {
        let pid = dying.relay.id();
        dying.relay.kill().expect("it lives");
        dying.relay.wait().expect("it ends");
        let line = format!("   PID {pid} is dead");
        self.until("a sweep", || self.log().contains(&line));
        writeln!(self.happened, "d {pid}").expect("a String");
    }

    /// What the model logs and answers.
    fn model(&self) -> (String, String) {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/scripts/reference_log.py"
        );
        let mut model = Command::new("python3")
            .arg(script)
            .arg(self.socket())
            .args([
                self.ids,
                &self.layout.to_string(),
                &self.devices.to_string(),
            ])
            .env("PYTHONIOENCODING", "utf-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let happened = self.happened.clone();
        let mut input = model.stdin.take().expect("piped");
        let writer = std::thread::spawn(move || input.write_all(happened.as_bytes()));
        let output = model.wait_with_output().expect("it ends");
        writer.join().expect("no panic").expect("it reads all");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (text(output.stdout), text(output.stderr))
    }

    /// Stops the server, and compares everything.
    fn finish(mut self) -> (String, String) {
        kill_process(Pid::from_child(&self.server), Signal::TERM).expect("it runs");
        assert!(self.server.wait().expect("it ends").success());
        self.happened += "e\n";
        let (log, answers) = self.model();
        assert_same(&self.log(), &log);
        assert_same(&self.answered, &answers);
        (log, self.complaints())
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn assert_same(ours: &str, theirs: &str) {
    let differs = ours.lines().zip(theirs.lines()).position(|(a, b)| a != b);
    if let Some(at) = differs {
        let line = |text: &str| text.lines().nth(at).map(ToOwned::to_owned);
        panic!(
            "line {}: {:?}, and not {:?}",
            at + 1,
            line(ours),
            line(theirs)
        );
    }
    assert_eq!(ours, theirs);
}

/// A message about few keys, so that they are used again, shared and released twice.
fn drawn(random: &mut Random, pid: u32) -> Raw {
    const SIZES: [u64; 8] = [0, 1, 64, 1000, 4096, 1 << 20, (100 << 30) + 1, u64::MAX];
    let kind = match random.below(100) {
        0..45 => ALLOC,
        45..88 => FREE,
        88..92 => QUERY,
        92..94 => DUMP,
        94..96 => DEVICE_INFO,
        _ => [0, 13, 99, 255][random.below(4) as usize],
    };
    let releases = kind == FREE;
    let device = match random.below(50) {
        0 if releases => -1,
        1 if releases => 300,
        _ => random.below(4) as i32,
    };
    Raw {
        kind,
        device,
        id: 0x1000 + 0x20 * random.below(8),
        size: if releases {
            0
        } else {
            SIZES[random.below(8) as usize]
        },
        memory: if releases { 0 } else { random.below(6) as u8 },
        pid,
    }
}

fn random_messages(seed: u64, layout: usize, devices: i32, ids: &'static str) -> (String, String) {
    let mut logged = Logged::start(layout, devices, ids);
    let mut random = Random::new(seed, 0, Purpose::Workload, 0);
    let mut client = logged.connect();
    let pid = std::process::id();
    for round in 0..4 {
        let mut dying = logged.dying();
        let of_dying = dying.relay.id();
        let mut input = dying.relay.stdin.take().expect("piped");
        let own = Raw {
            kind: ALLOC,
            device: 1,
            id: 0x9000 + round,
            size: 4096,
            memory: 0,
            pid: of_dying,
        };
        logged.send(&mut input, &mut dying.answers, own);
        for _ in 0..150 {
            if random.percent(30) {
                let message = drawn(&mut random, of_dying);
                logged.send(&mut input, &mut dying.answers, message);
            } else {
                let message = drawn(&mut random, pid);
                let mut reads = client.try_clone().expect("a second handle");
                logged.send(&mut client, &mut reads, message);
            }
        }
        logged.kill(dying);
    }
    logged.finish()
}

#[test]
fn the_legacy_log_is_the_reference_s_byte_for_byte() {
    for seed in 0..3 {
        let (log, complaints) = random_messages(seed, 112, 0, "hex");
        assert!(log.contains("unknown buffer") && log.contains("ref_count="));
        assert!(log.contains("Allocated 18446744073709551615 bytes") && log.contains("is dead"));
        // Our own lines are apart, and that such sizes are taken is said once.
        assert_eq!(complaints.matches("as the reference servers do").count(), 1);
        assert!(complaints.contains("unknown frees"), "{complaints}");
    }
}

#[test]
fn servers_of_the_144_byte_layout_refuse_sizes_and_have_so_many_devices() {
    let (log, complaints) = random_messages(7, 144, 4, "hex");
    assert!(log.contains("Invalid size 0 - ignoring message"));
    assert!(!complaints.contains("as the reference servers do"));
}

#[test]
fn ids_are_decimal_for_older_analysers() {
    let (log, _) = random_messages(11, 112, 0, "decimal");
    assert!(log.contains("Deallocation for unknown buffer 4"), "{log}");
    assert!(!log.contains("(buffer_id=0x") && !log.contains("Freed buffer 0x"));
}

#[test]
fn every_line_is_understood_by_the_importer() {
    // Also where both streams go to one file.
    let (log, complaints) = random_messages(3, 112, 0, "hex");
    assert!(complaints.contains("figures: ") && complaints.contains("warning: "));
    let (more, _) = meters();
    for log in [log, complaints, more, kernels()] {
        let mut reader = ServerLogReader::new(log.as_bytes());
        assert!(reader.by_ref().all(|record| record.is_ok()));
        let accounting = reader.into_accounting();
        assert_eq!(accounting.unrecognised, 0, "{accounting:?}");
    }
}

/// Circular buffers and kernels, also released twice and left by a dead process.
fn meters() -> (String, String) {
    let mut logged = Logged::start(144, 0, "hex");
    let mut dying = logged.dying();
    let pid = dying.relay.id();
    let mut input = dying.relay.stdin.take().expect("piped");
    for (kind, id, size, memory) in [
        (8, 1, 1 << 18, 0),
        (8, 2, 1 << 17, 0),
        (9, 2, 0, 0),
        (9, 2, 1 << 20, 0),
        (10, 7, 57344, 0),
        (10, 8, 57344, 1),
        (10, 9, 57344, 3),
        (11, 7, 0, 0),
        (11, 7, 1, 0),
        (ALLOC, 3, 4096, 2),
    ] {
        let message = Raw {
            kind,
            device: 2,
            id,
            size,
            memory,
            pid,
        };
        logged.send(&mut input, &mut dying.answers, message);
    }
    logged.kill(dying);
    logged.finish()
}

/// The dump of kernels, which in the reference servers has the age of each.
fn kernels() -> String {
    let mut logged = Logged::start(144, 0, "hex");
    let mut client = logged.connect();
    for (kind, id, memory) in [(10, 7, 0), (10, 8, 3), (12, 0, 0), (DUMP, 0, 0)] {
        let message = Raw {
            kind,
            device: 1,
            id,
            size: 57344,
            memory,
            pid: 5,
        };
        let mut reads = client.try_clone().expect("a second handle");
        logged.send(&mut client, &mut reads, message);
    }
    let log = logged.log();
    assert!(log.contains("Kernel ID: 0x7"), "{log}");
    log
}

#[test]
fn totals_of_circular_buffers_and_kernels_are_logged_and_swept() {
    let (log, _) = meters();
    assert!(log.contains("✓ Removed 1 CBs (0.25 MB)"), "{log}");
    assert!(log.contains("✓ Removed 2 kernels (0.109375 MB)"), "{log}");
}

/// What a user does: `server > debug.log`, kill it, and count.
#[test]
fn a_killed_server_has_logged_what_it_answered() {
    let mut logged = Logged::start(112, 0, "hex");
    let mut client = logged.connect();
    for id in 0..200 {
        let free = Raw {
            kind: FREE,
            device: 0,
            id,
            size: 0,
            memory: 0,
            pid: 5,
        };
        let mut reads = client.try_clone().expect("a second handle");
        logged.send(&mut client, &mut reads, free);
    }
    logged.server.kill().expect("it runs");
    logged.server.wait().expect("it ends");
    let lines = logged.log();
    let counted = lines.lines().filter(|line| line.contains("unknown buffer"));
    assert_eq!(counted.count(), 200);
    assert_same(&lines, &logged.model().0);
}

#[test]
fn with_an_object_on_stdout_the_log_is_on_stderr() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = heisenbed(&["serve", "--format", "json", "--log-style", "legacy"])
        .arg("--socket")
        .arg(folder.path().join("s"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let started = Instant::now();
    while UnixStream::connect(folder.path().join("s")).is_err() {
        assert!(started.elapsed() < TIMEOUT, "it does not listen");
        std::thread::sleep(Duration::from_millis(2));
    }
    kill_process(Pid::from_child(&server), Signal::TERM).expect("it runs");
    let mut text = String::new();
    let stderr = server.stderr.as_mut().expect("piped");
    stderr.read_to_string(&mut text).expect("text");
    let output = server.wait_with_output().expect("it ends");
    serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("an object");
    assert!(text.contains("🛑 Allocation Server stopped"), "{text}");
}

#[test]
fn a_log_that_cannot_be_written_is_said_and_does_not_stop_the_server() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let full = File::options().write(true).open("/dev/full");
    let server = heisenbed(&["serve", "--log-style", "legacy", "--socket"])
        .arg(folder.path().join("s"))
        .stdout(full.expect("it is there"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let started = Instant::now();
    while UnixStream::connect(folder.path().join("s")).is_err() {
        assert!(started.elapsed() < TIMEOUT, "it does not listen");
        std::thread::sleep(Duration::from_millis(2));
    }
    kill_process(Pid::from_child(&server), Signal::TERM).expect("it runs");
    let output = server.wait_with_output().expect("it ends");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        complaints.matches("lines of the log are lost").count(),
        1,
        "{complaints}"
    );
    assert!(complaints.contains("figures: "), "{complaints}");
}
