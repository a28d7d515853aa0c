//! `heisenbed proxy` between real clients and `heisenbed serve`: transparent without faults, and
//! each fault does what it says.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use heisenbed::trace::capture::{CaptureEvent, CaptureReader, FaultKind};
use heisenbed::trace::file::TraceFile;
use heisenbed::tracking::transport::{Connection, SendMode};
use heisenbed::tracking::{Layout, Message, MessageKind, wire};

const TIMEOUT: Duration = Duration::from_secs(20);

/// A program that listens; killed when it is dropped.
struct Running(Option<Child>);

impl Running {
    fn start(arguments: &[&str], paths: &[(&str, &Path)]) -> Running {
        let mut command = crate::common::heisenbed(arguments);
        for (option, path) in paths {
            command.arg(option).arg(path);
        }
        let mut child = command
            .args(["--format", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stderr.take().expect("piped"))
            .read_line(&mut line)
            .expect("a line");
        let running = Running(Some(child));
        assert!(line.starts_with("listening on"), "{line}");
        running
    }

    /// Ends it: what it prints.
    fn stop(mut self) -> serde_json::Value {
        let child = self.0.take().expect("stopped once");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{:?}", output.status);
        serde_json::from_slice(&output.stdout).expect("an object")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may be dead already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A server with a proxy before it.
struct Setup {
    folder: tempfile::TempDir,
    server: Running,
    proxy: Running,
}

impl Setup {
    fn new(faults: &[&str]) -> Setup {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        let server = Running::start(
            &["serve", "--no-sweep", "--semantics", "typed"],
            &[("--socket", &path("real"))],
        );
        let mut arguments = vec!["proxy", "--seed", "7"];
        for fault in faults {
            arguments.extend(["--fault", fault]);
        }
        let proxy = Running::start(
            &arguments,
            &[
                ("--upstream", &path("real")),
                ("--listen", &path("s")),
                ("--record", &path("run.hb")),
            ],
        );
        Setup {
            folder,
            server,
            proxy,
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    fn connect(&self, layout: Layout) -> Connection {
        Connection::open(&self.socket(), layout, None).expect("the proxy listens")
    }

    /// Ends both: figures of the server and of the proxy, and the capture.
    fn stop(
        self,
    ) -> (
        serde_json::Value,
        serde_json::Value,
        TraceFile,
        tempfile::TempDir,
    ) {
        let proxy = self.proxy.stop();
        let server = self.server.stop();
        let capture = TraceFile::open(&self.folder.path().join("run.hb")).expect("a capture");
        (server, proxy, capture, self.folder)
    }
}

fn message(kind: MessageKind, address: u64) -> Message {
    Message {
        kind,
        device: 0,
        size_bytes: if kind == MessageKind::Alloc { 64 } else { 0 },
        buffer_type: 0,
        pid: 7,
        address,
        timestamp_ns: 0,
        extension: None,
    }
}

fn frame(layout: Layout, kind: MessageKind, address: u64) -> Vec<u8> {
    wire::encode(layout, &message(kind, address))
        .as_bytes()
        .to_vec()
}

fn send(connection: &Connection, layout: Layout, kind: MessageKind, address: u64) {
    connection.write(&frame(layout, kind, address), SendMode::Blocking);
}

/// Bytes to the server in a capture, a connection at a time.
fn to_server(capture: &TraceFile) -> Vec<Vec<u8>> {
    let mut streams: Vec<Vec<u8>> = Vec::new();
    let mut reader = CaptureReader::new(capture);
    while let Some(record) = reader.next() {
        let conn = record.conn as usize;
        match record.what {
            CaptureEvent::Opened => streams.resize(streams.len().max(conn + 1), Vec::new()),
            CaptureEvent::ToServer(bytes) => streams[conn].extend_from_slice(bytes),
            _ => {}
        }
    }
    streams
}

fn faults(capture: &TraceFile) -> Vec<(FaultKind, Vec<u8>)> {
    let mut found = Vec::new();
    let mut reader = CaptureReader::new(capture);
    while let Some(record) = reader.next() {
        if let CaptureEvent::Fault(kind, frame) = record.what {
            found.push((kind, frame.to_vec()));
        }
    }
    found
}

#[test]
fn every_layout_passes_unchanged_and_is_answered_in_its_own() {
    let setup = Setup::new(&[]);
    for layout in Layout::ALL {
        let client = setup.connect(layout);
        let base = layout.frame_bytes() as u64 * 0x1_0000;
        for index in 0..50 {
            send(&client, layout, MessageKind::Alloc, base + 64 * index);
        }
        for index in 0..20 {
            send(&client, layout, MessageKind::Free, base + 64 * index);
        }
        let before = client
            .query(0, TIMEOUT)
            .expect("an answer in the client's layout");
        assert_eq!(before.dram_bytes % (30 * 64), 0, "{layout}");
    }
    let observer = setup.connect(Layout::Extended);
    assert_eq!(observer.full_table(TIMEOUT).expect("a table").len(), 6 * 30);
    drop(observer);
    let (server, proxy, capture, folder) = setup.stop();
    assert_eq!(
        (&server["live"], &server["torn_frames"]),
        (&180.into(), &0.into())
    );
    assert_eq!(proxy["to_server_bytes"], server["bytes"]);
    let recorded: usize = to_server(&capture).iter().map(Vec::len).sum();
    assert_eq!(
        recorded,
        server["bytes"].as_u64().expect("a figure") as usize
    );
    assert!(capture.damage().is_none() && faults(&capture).is_empty());
    let output = crate::common::heisenbed(&["check", "--format", "json"])
        .arg(folder.path().join("run.hb"))
        .output()
        .expect("it runs");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("an object");
    assert_eq!(
        (&found["live_at_end"], &found["torn_bytes"]),
        (&180.into(), &0.into())
    );
    assert_eq!(
        found["layouts"].as_array().map(Vec::len),
        Some(6),
        "{found}"
    );
}

#[test]
fn large_writes_and_slow_readers_lose_nothing() {
    let setup = Setup::new(&[]);
    let mut client = UnixStream::connect(setup.socket()).expect("the proxy listens");
    client.set_read_timeout(Some(TIMEOUT)).expect("a socket");
    let allocs: Vec<u8> = (0..20_000)
        .flat_map(|index| frame(Layout::V112, MessageKind::Alloc, 64 * index))
        .collect();
    client.write_all(&allocs).expect("writable");
    // Answers of 3,000 queries fill every buffer on the way before the first is read.
    let queries = frame(Layout::V112, MessageKind::Query, 0).repeat(3000);
    let mut writer = client.try_clone().expect("a second handle");
    let asking = std::thread::spawn(move || writer.write_all(&queries).expect("writable"));
    std::thread::sleep(Duration::from_millis(100));
    let mut answers = vec![0; 3000 * 112];
    client.read_exact(&mut answers).expect("every answer");
    asking.join().expect("no panic");
    for answer in answers.chunks(112) {
        let answer = wire::decode_response(Layout::V112, answer).expect("an answer");
        assert_eq!(answer.dram_bytes, 20_000 * 64);
    }
    drop(client);
    let (server, proxy, ..) = setup.stop();
    assert_eq!(server["live"], 20_000);
    assert_eq!(proxy["to_client_bytes"], 3000 * 112);
}

/// Sends `count` ALLOCs and asks; what the server made of them, and what the proxy did.
fn struck(faults: &[&str], count: u64) -> (serde_json::Value, serde_json::Value, TraceFile) {
    let setup = Setup::new(faults);
    let client = setup.connect(Layout::V128);
    for index in 0..count {
        send(&client, Layout::V128, MessageKind::Alloc, 64 * index);
    }
    client.query(0, TIMEOUT).expect("an answer");
    drop(client);
    let (server, proxy, capture, _folder) = setup.stop();
    (server, proxy, capture)
}

#[test]
fn what_is_dropped_does_not_arrive_and_all_else_does() {
    let (server, proxy, capture) = struck(&["drop:rate=0.1,type=ALLOC"], 1000);
    let dropped = proxy["faults"]["drop"].as_u64().expect("a figure");
    assert!((60..150).contains(&dropped), "{dropped}");
    assert_eq!(server["live"], 1000 - dropped);
    assert_eq!(faults(&capture).len() as u64, dropped);
    // The same seed strikes the same frames.
    let (_, _, again) = struck(&["drop:rate=0.1,type=ALLOC"], 1000);
    assert_eq!(faults(&again), faults(&capture));
}

#[test]
fn what_is_duplicated_arrives_twice() {
    let (server, proxy, _) = struck(&["duplicate:rate=0.1,type=ALLOC"], 1000);
    let twice = proxy["faults"]["duplicate"].as_u64().expect("a figure");
    assert!(twice > 0);
    assert_eq!(
        (&server["live"], &server["duplicate_allocs"]),
        (&1000.into(), &twice.into())
    );
}

#[test]
fn what_is_reordered_changes_places_with_the_next() {
    let (server, _, capture) = struck(&["reorder:rate=0.5,type=ALLOC"], 100);
    assert_eq!(server["live"], 100);
    let stream = to_server(&capture).concat();
    let address =
        |frame: &[u8]| u64::from_le_bytes(frame[24..32].try_into().expect("8 bytes")) / 64;
    let order: Vec<u64> = stream.chunks(128).take(100).map(address).collect();
    assert_ne!(order, (0..100).collect::<Vec<_>>());
    for (place, address) in order.iter().enumerate() {
        assert!(
            place.abs_diff(*address as usize) <= 1,
            "{address} at {place}"
        );
    }
}

#[test]
fn what_is_split_or_delayed_arrives_whole_and_in_order() {
    for fault in ["split:rate=0.2,us=200", "delay:rate=0.2,us=300"] {
        let started = Instant::now();
        let (server, _, capture) = struck(&[fault], 200);
        let count = faults(&capture).len();
        assert_eq!(
            (&server["live"], &server["torn_frames"]),
            (&200.into(), &0.into())
        );
        assert!(count > 10, "{fault}: {count}");
        assert!(
            started.elapsed() > Duration::from_micros(200 * count as u64),
            "{fault}"
        );
    }
}

#[test]
fn what_is_truncated_tears_the_stream_and_what_is_closed_ends_it() {
    let setup = Setup::new(&["truncate:rate=0.02,type=ALLOC"]);
    let client = setup.connect(Layout::V112);
    for index in 0..200 {
        send(&client, Layout::V112, MessageKind::Alloc, 64 * index);
    }
    client.finish();
    std::thread::sleep(Duration::from_millis(200));
    drop(client);
    let (server, _, capture, _folder) = setup.stop();
    assert!(!faults(&capture).is_empty());
    assert!(server["unknown_frames"].as_u64() > Some(0), "{server}");

    let setup = Setup::new(&["close:type=FREE"]);
    let mut client = UnixStream::connect(setup.socket()).expect("the proxy listens");
    client.set_read_timeout(Some(TIMEOUT)).expect("a socket");
    for kind in [MessageKind::Alloc, MessageKind::Alloc, MessageKind::Free] {
        client
            .write_all(&frame(Layout::V112, kind, 64))
            .expect("writable");
    }
    let ended = client.read(&mut [0]);
    assert!(!matches!(ended, Ok(1..)), "{ended:?}");
    let (server, ..) = setup.stop();
    assert_eq!(
        (&server["messages"], &server["live"]),
        (&2.into(), &1.into())
    );
}

#[test]
fn a_proxy_that_is_killed_leaves_a_capture_up_to_a_moment_before() {
    let mut setup = Setup::new(&[]);
    let client = setup.connect(Layout::V112);
    for index in 0..500 {
        send(&client, Layout::V112, MessageKind::Alloc, 64 * index);
    }
    client.query(0, TIMEOUT).expect("an answer");
    std::thread::sleep(Duration::from_millis(400));
    let mut proxy = setup.proxy.0.take().expect("it runs");
    proxy.kill().expect("it runs");
    proxy.wait().expect("it ends");
    let capture = TraceFile::open(&setup.folder.path().join("run.hb")).expect("a capture");
    assert!(capture.damage().is_some(), "it has no end");
    assert_eq!(to_server(&capture)[0].len(), 501 * 112);
}

#[test]
fn what_cannot_be_started_is_said_with_the_path() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let refused = |upstream: &Path, record: &Path| {
        let output = crate::common::heisenbed(&["proxy", "--listen"])
            .arg(path("s"))
            .arg("--upstream")
            .arg(upstream)
            .arg("--record")
            .arg(record)
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).expect("text")
    };
    let complaint = refused(&path("nobody"), &path("run.hb"));
    assert!(
        complaint.contains("nobody") && complaint.contains("start the server first"),
        "{complaint}"
    );
    assert!(!path("run.hb").exists(), "a capture that was never begun");
    let server = Running::start(&["serve"], &[("--socket", &path("real"))]);
    std::fs::write(path("mine"), "mine").expect("writable");
    let complaint = refused(&path("real"), &path("mine"));
    assert!(complaint.contains("--force"), "{complaint}");
    assert_eq!(
        std::fs::read_to_string(path("mine")).expect("readable"),
        "mine"
    );
    server.stop();
}

#[test]
fn a_server_that_goes_away_ends_its_connections_and_not_the_proxy() {
    let setup = Setup::new(&[]);
    let client = setup.connect(Layout::V112);
    send(&client, Layout::V112, MessageKind::Alloc, 64);
    client.query(0, TIMEOUT).expect("an answer");
    let Setup {
        folder,
        server,
        proxy,
    } = setup;
    server.stop();
    assert!(client.query(0, TIMEOUT).is_err(), "nobody answers");
    let mut late = UnixStream::connect(folder.path().join("s")).expect("the proxy listens still");
    late.set_read_timeout(Some(TIMEOUT)).expect("a socket");
    assert_eq!(late.read(&mut [0]).expect("closed"), 0);
    let figures = proxy.stop();
    assert_eq!(
        (&figures["connections"], &figures["unreachable"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn a_raw_file_is_imported_to_its_last_byte() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let raw = folder.path().join("raw");
    let mut bytes: Vec<u8> = (0..40)
        .flat_map(|index| frame(Layout::V144, MessageKind::Alloc, 64 * index))
        .collect();
    let mut unknown = frame(Layout::V144, MessageKind::Alloc, 0);
    unknown[0] = 99;
    bytes.extend(unknown);
    bytes.extend(frame(Layout::V144, MessageKind::Free, 64));
    bytes.extend(&frame(Layout::V144, MessageKind::Free, 128)[..100]);
    std::fs::write(&raw, &bytes[50..]).expect("writable");
    let import = |format: &str| {
        let output = crate::common::heisenbed(&["import", "wire", "--format", format, "-o"])
            .arg(folder.path().join("t.hb"))
            .arg(&raw)
            .output()
            .expect("it runs");
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("text")
    };
    let account: serde_json::Value = serde_json::from_str(&import("json")).expect("an object");
    assert_eq!(account["messages"], 39 + 1);
    assert_eq!(
        (&account["skipped_bytes"], &account["torn_bytes"]),
        (&94.into(), &100.into())
    );
    assert_eq!(account["unknown_frames"], 1);
    let text = import("human").replace(&folder.path().display().to_string(), "DIR");
    insta::with_settings!({ snapshot_path => "../../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("import_wire", text);
    });
}

#[test]
fn a_proxy_waits_for_a_server_that_is_not_there_yet() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let proxy = |upstream: &str| {
        let mut command = crate::common::heisenbed(&["proxy", "--format", "json"]);
        command.arg("--listen").arg(path("s"));
        command.arg("--upstream").arg(path(upstream)).arg("--wait");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    // A dead server's socket is no server.
    drop(std::os::unix::net::UnixListener::bind(path("real")).expect("a free path"));
    let mut waiting = Running(Some(proxy("real").spawn().expect("it starts")));
    std::thread::sleep(Duration::from_millis(100));
    let child = waiting.0.as_mut().expect("it runs");
    assert!(child.try_wait().expect("a child").is_none());
    assert!(!path("s").exists(), "nobody is listened to before");
    let server = Running::start(
        &["serve", "--no-sweep", "--semantics", "typed"],
        &[("--socket", &path("real"))],
    );
    let started = std::time::Instant::now();
    let connection = loop {
        match Connection::open(&path("s"), Layout::V112, None) {
            Ok(connection) => break connection,
            Err(error) => assert!(started.elapsed() < TIMEOUT, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    send(&connection, Layout::V112, MessageKind::Alloc, 0x1000);
    let answer = connection.query(0, TIMEOUT).expect("an answer");
    assert_eq!(answer.dram_bytes, 64);
    drop(connection);
    assert_eq!(waiting.stop()["connections"], 1);
    drop(server);
    // With an end of its patience it says what is missing.
    let output = proxy("nobody").arg("0.05s").output().expect("it runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(complaint.contains("nobody: No such file"), "{complaint}");
}
