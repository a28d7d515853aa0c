//! The tracking server over real sockets.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use heisenbed::device::Memory;
use heisenbed::registry::{Outcome, Semantics};
use heisenbed::server::listener::{ClientId, ListenError, Observer, Server, ServerConfig};
use heisenbed::tracking::message::{Extension, Message, MessageKind};
use heisenbed::tracking::sent::chunk_range;
use heisenbed::tracking::transport::{Connection, SendMode, WriteOutcome};
use heisenbed::tracking::wire::{Layout, decode_response, encode};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A server in a directory of its own.
fn serve(change: impl FnOnce(&mut ServerConfig)) -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = ServerConfig::new(dir.path().join("s"), Semantics::Typed);
    change(&mut config);
    let server = Server::start(config).unwrap();
    (dir, server)
}

fn alloc(pid: i32, address: u64) -> Message {
    Message {
        kind: MessageKind::Alloc,
        device: 0,
        size_bytes: 64,
        buffer_type: 0,
        pid,
        address,
        timestamp_ns: 1,
        extension: None,
    }
}

fn free(pid: i32, address: u64) -> Message {
    Message {
        kind: MessageKind::Free,
        size_bytes: 0,
        timestamp_ns: 0,
        ..alloc(pid, address)
    }
}

fn query(device: i32) -> Message {
    Message {
        kind: MessageKind::Query,
        device,
        ..free(1, 0)
    }
}

fn bytes(layout: Layout, messages: &[Message]) -> Vec<u8> {
    messages
        .iter()
        .flat_map(|m| encode(layout, m).as_bytes().to_vec())
        .collect()
}

fn ask_dram(stream: &mut UnixStream, layout: Layout, device: i32) -> u64 {
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
        .write_all(encode(layout, &query(device)).as_bytes())
        .unwrap();
    let mut answer = vec![0; layout.frame_bytes()];
    stream.read_exact(&mut answer).unwrap();
    decode_response(layout, &answer).unwrap().dram_bytes
}

#[test]
fn messages_sent_byte_by_byte_are_whole_messages() {
    let (_dir, server) = serve(|c| c.layout = Some(Layout::V112));
    let mut stream = UnixStream::connect(server.path()).unwrap();
    for byte in bytes(Layout::V112, &[alloc(1, 16), alloc(1, 32), free(1, 16)]) {
        stream.write_all(&[byte]).unwrap();
    }
    let report = server.shutdown();
    assert_eq!((report.counters.messages, report.registry.len()), (3, 1));
    assert_eq!(report.counters.torn_frames, 0);
}

#[test]
fn a_batch_of_a_megabyte_does_not_desynchronise() {
    let (_dir, server) = serve(|_| {});
    let messages: Vec<Message> = (0..10_000).map(|i| alloc(1, i * 64)).collect();
    let batch = bytes(Layout::V112, &messages);
    assert!(batch.len() > 1 << 20);
    let mut stream = UnixStream::connect(server.path()).unwrap();
    stream.write_all(&batch).unwrap();
    assert_eq!(ask_dram(&mut stream, Layout::V112, 0), 10_000 * 64);
    let report = server.shutdown();
    assert_eq!(
        (report.counters.messages, report.counters.unknown_frames),
        (10_001, 0)
    );
}

#[test]
fn clients_of_all_layouts_at_once_are_answered_each_in_its_own() {
    let (_dir, server) = serve(|_| {});
    let mut streams: Vec<(Layout, UnixStream)> = Layout::LEGACY
        .iter()
        .map(|&layout| (layout, UnixStream::connect(server.path()).unwrap()))
        .collect();
    for round in 1..=3 {
        for (pid, (layout, stream)) in streams.iter_mut().enumerate() {
            let device = pid as i32;
            let message = Message {
                device,
                ..alloc(pid as i32, round * 64)
            };
            stream
                .write_all(encode(*layout, &message).as_bytes())
                .unwrap();
        }
        for (pid, (layout, stream)) in streams.iter_mut().enumerate() {
            assert_eq!(
                ask_dram(stream, *layout, pid as i32),
                round * 64,
                "layout {layout}"
            );
        }
    }
    let extended = Connection::open(server.path(), Layout::Extended, None).unwrap();
    assert_eq!(extended.query(2, TIMEOUT).unwrap().dram_bytes, 3 * 64);
}

#[test]
fn a_first_query_alone_is_answered() {
    for layout in Layout::LEGACY {
        let (_dir, server) = serve(|_| {});
        let mut stream = UnixStream::connect(server.path()).unwrap();
        assert_eq!(ask_dram(&mut stream, layout, 0), 0);
        assert_eq!(server.shutdown().counters.messages, 1);
    }
}

#[test]
fn hostile_bytes_do_not_disturb_another_client() {
    let (_dir, server) = serve(|_| {});
    let mut good = UnixStream::connect(server.path()).unwrap();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for round in 0..20 {
        let mut bad = UnixStream::connect(server.path()).unwrap();
        let rubbish: Vec<u8> = (0..50_000)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                // Small devices and kinds too, but never the good client's pid: bytes are above 15
                // or 0.
                let byte = (state >> 56) as u8;
                if round % 2 == 0 { byte } else { byte & 0xF0 }
            })
            .collect();
        // The server may have dropped it, which is its right.
        let _ = bad.write_all(&rubbish);
        good.write_all(encode(Layout::V112, &alloc(7, round * 64)).as_bytes())
            .unwrap();
    }
    assert!(ask_dram(&mut good, Layout::V112, 0) >= 20 * 64);
    let report = server.shutdown();
    let own = report
        .registry
        .live()
        .iter()
        .filter(|e| e.pid == 7 && e.size_bytes == 64)
        .count();
    assert_eq!(own, 20);
}

#[test]
fn clients_that_query_and_close_do_not_stop_the_server() {
    let (_dir, server) = serve(|_| {});
    for _ in 0..50 {
        let mut stream = UnixStream::connect(server.path()).unwrap();
        stream
            .write_all(&bytes(Layout::V144, &vec![query(0); 200]))
            .unwrap();
    }
    let mut stream = UnixStream::connect(server.path()).unwrap();
    assert_eq!(ask_dram(&mut stream, Layout::V144, 0), 0);
    assert_eq!(server.shutdown().counters.messages, 50 * 200 + 1);
}

#[test]
fn a_client_that_never_reads_is_dropped_and_others_are_served() {
    let (_dir, server) = serve(|c| c.max_unread_bytes = 1 << 20);
    let mut greedy = UnixStream::connect(server.path()).unwrap();
    greedy.set_write_timeout(Some(TIMEOUT)).unwrap();
    let queries = bytes(Layout::V112, &vec![query(0); 1000]);
    let deadline = Instant::now() + TIMEOUT;
    while greedy.write_all(&queries).is_ok() {
        assert!(Instant::now() < deadline, "the client was never dropped");
    }
    let mut stream = UnixStream::connect(server.path()).unwrap();
    assert_eq!(ask_dram(&mut stream, Layout::V112, 0), 0);
    assert_eq!(server.shutdown().counters.dropped_clients, 1);
}

#[test]
fn clients_above_the_limit_are_turned_away_until_one_leaves() {
    let (_dir, server) = serve(|c| c.max_clients = 1);
    let mut first = UnixStream::connect(server.path()).unwrap();
    assert_eq!(ask_dram(&mut first, Layout::V112, 0), 0);
    let mut second = UnixStream::connect(server.path()).unwrap();
    second.set_read_timeout(Some(TIMEOUT)).unwrap();
    assert_eq!(second.read(&mut [0]).unwrap(), 0);
    drop(first);
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let third = Connection::open(server.path(), Layout::Extended, None);
        if third.is_ok_and(|c| c.query(0, TIMEOUT).is_ok()) {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "the place was never given to another"
        );
    }
    assert_eq!(server.shutdown().counters.connections, 2);
}

#[test]
fn an_answer_reaches_a_client_that_has_closed_its_writing_half() {
    let (_dir, server) = serve(|_| {});
    let mut stream = UnixStream::connect(server.path()).unwrap();
    stream
        .write_all(&bytes(Layout::V72, &vec![query(0); 20_000]))
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answers = Vec::new();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.read_to_end(&mut answers).unwrap();
    assert_eq!(answers.len(), 20_000 * 72);
    drop(server);
}

#[test]
fn device_ids_out_of_range_are_rejected_and_harmless() {
    let (_dir, server) = serve(|c| c.limits.devices = 8);
    let mut stream = UnixStream::connect(server.path()).unwrap();
    for device in [8, 100, -1, i32::MAX, i32::MIN] {
        let kinds = [
            MessageKind::Alloc,
            MessageKind::Free,
            MessageKind::CbAlloc,
            MessageKind::KernelUnload,
        ];
        let all = kinds.map(|kind| Message {
            kind,
            device,
            ..alloc(1, 16)
        });
        stream
            .write_all(&bytes(Layout::V144, &[&[alloc(1, 0)], &all[..]].concat()))
            .unwrap();
        assert_eq!(ask_dram(&mut stream, Layout::V144, device), 0);
    }
    let report = server.shutdown();
    assert_eq!((report.counters.rejected, report.registry.len()), (20, 1));
}

#[test]
fn the_socket_is_its_owners_alone_and_is_removed_at_the_end() {
    let (_dir, server) = serve(|_| {});
    let path = server.path().to_owned();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    server.shutdown();
    assert!(!path.exists());
}

#[test]
fn only_a_socket_that_nobody_listens_on_is_replaced() {
    let (dir, server) = serve(|_| {});
    let config = |path: PathBuf| ServerConfig::new(path, Semantics::Typed);
    let second = Server::start(config(server.path().to_owned()));
    assert!(matches!(second, Err(ListenError::InUse { .. })));
    let stale = dir.path().join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    assert!(stale.exists());
    let reborn = Server::start(config(stale.clone())).unwrap();
    assert!(UnixStream::connect(&stale).is_ok());
    drop(reborn);
    let file = dir.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(
        Server::start(config(file.clone())),
        Err(ListenError::NotASocket { .. })
    ));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
}

#[test]
fn shutdown_loses_no_received_message() {
    for _ in 0..20 {
        let (_dir, server) = serve(|_| {});
        let mut streams = Vec::new();
        for pid in 0..4 {
            let mut stream = UnixStream::connect(server.path()).unwrap();
            let messages: Vec<Message> = (0..500).map(|i| alloc(pid, i * 64)).collect();
            stream.write_all(&bytes(Layout::V112, &messages)).unwrap();
            streams.push(stream);
        }
        let report = server.shutdown();
        assert_eq!(
            (report.counters.messages, report.registry.len()),
            (2000, 2000)
        );
    }
}

#[test]
fn the_whole_table_comes_back_with_every_field() {
    let (_dir, server) = serve(|_| {});
    let connection = Connection::open(server.path(), Layout::Extended, None).unwrap();
    let count = 5000_u64;
    for index in 0..count {
        let extension = Extension {
            memory: Memory::L1,
            sequence: 0,
            generation: index + 1,
            thread: index as u32,
        };
        let device = (index % 7) as i32;
        let message = Message {
            device,
            buffer_type: 1,
            extension: Some(extension),
            ..alloc(9, index * 64)
        };
        let frame = encode(Layout::Extended, &message);
        assert!(matches!(
            connection.write(frame.as_bytes(), SendMode::Blocking),
            WriteOutcome::Sent { .. }
        ));
    }
    let table = connection.full_table(TIMEOUT).unwrap();
    assert_eq!(table.len() as u64, count);
    assert!(
        table
            .iter()
            .all(|e| e.generation == e.address / 64 + 1 && u64::from(e.thread) == e.address / 64)
    );
    assert_eq!(table, server.shutdown().registry.live());
}

#[test]
fn dropped_writes_are_exactly_the_messages_that_a_slow_server_misses() {
    let (_dir, server) = serve(|c| {
        c.delay_per_message_us = 200;
        c.layout = Some(Layout::V112);
    });
    let connection = Connection::open(server.path(), Layout::V112, Some(4096)).unwrap();
    let (mut sent, mut dropped) = (0, 0);
    for index in 0..5000 {
        let frame = encode(Layout::V112, &alloc(1, index * 64));
        match connection.write(frame.as_bytes(), SendMode::DontWait) {
            WriteOutcome::Sent { .. } => sent += 1,
            WriteOutcome::Dropped { .. } => dropped += 1,
            WriteOutcome::Closed { error, .. } => panic!("{error}"),
        }
    }
    assert!(dropped > 0, "nothing was dropped");
    assert_eq!(sent + dropped, 5000);
    let report = server.shutdown();
    assert_eq!(
        (report.counters.messages, report.counters.torn_frames),
        (sent, 0)
    );
}

#[test]
fn split_writes_on_two_connections_are_put_together_each_on_its_own() {
    let (_dir, server) = serve(|_| {});
    let open = || Connection::open(server.path(), Layout::Extended, None).unwrap();
    let (loser, winner) = (open(), open());
    let frames = [0, 64, 128].map(|address| encode(Layout::Extended, &alloc(1, address)));
    let write = |connection: &Connection, frame: usize, chunk: u8| {
        let bytes = frames[frame].as_bytes();
        let piece = &bytes[chunk_range(bytes.len(), 3, chunk)];
        match connection.write(piece, SendMode::Blocking) {
            WriteOutcome::Sent { version } => version,
            outcome => panic!("{outcome:?}"),
        }
    };
    // What two threads do that connect at once: the one whose connection was not kept writes its
    // first message to it, piece by piece between the pieces of the other's.
    for chunk in 0..3 {
        assert_eq!(write(&loser, 0, chunk), u64::from(chunk) + 1);
        write(&winner, 1, chunk);
    }
    let last: Vec<u64> = (0..3).map(|chunk| write(&winner, 2, chunk)).collect();
    assert_eq!(last, [4, 5, 6]);
    loser.query(0, TIMEOUT).unwrap();
    assert_eq!(winner.query(0, TIMEOUT).unwrap().dram_bytes, 192);
    let report = server.shutdown();
    assert_eq!(
        (report.counters.connections, report.counters.messages),
        (2, 5)
    );
    assert_eq!(report.counters.torn_frames, 0);
}

#[derive(Default)]
struct Log(Vec<String>);

impl Observer for Log {
    fn on_accept(&mut self, client: ClientId) {
        self.0.push(format!("{client} accept"));
    }
    fn on_message(&mut self, client: ClientId, message: &Message, outcome: &Outcome) {
        let outcome = matches!(outcome, Outcome::Inserted);
        self.0
            .push(format!("{client} {:?} {outcome}", message.kind));
    }
    fn on_unknown(&mut self, client: ClientId, frame: &[u8]) {
        self.0.push(format!("{client} unknown {}", frame[0]));
    }
    fn on_close(&mut self, client: ClientId) {
        self.0.push(format!("{client} close"));
    }
}

#[test]
fn an_observer_sees_what_the_server_receives_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let config = ServerConfig::new(dir.path().join("s"), Semantics::Typed);
    let server = Server::start_with(config, Log::default()).unwrap();
    let connection = Connection::open(server.path(), Layout::Extended, None).unwrap();
    let mut unknown = bytes(Layout::Extended, &[alloc(1, 0)]);
    unknown[0] = 13;
    connection.write(&bytes(Layout::Extended, &[alloc(1, 0)]), SendMode::Blocking);
    connection.write(&unknown, SendMode::Blocking);
    connection.write(&bytes(Layout::Extended, &[free(1, 0)]), SendMode::Blocking);
    let log = server.shutdown().observer.0;
    assert_eq!(
        log,
        [
            "0 accept",
            "0 Alloc true",
            "0 unknown 13",
            "0 Free false",
            "0 close"
        ]
    );
}
