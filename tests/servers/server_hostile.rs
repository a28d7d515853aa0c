//! What clients may do to a server by mistake or on purpose, against `heisenbed serve` as a user
//! starts it: it stays up, it stays small, and nobody else notices. Each test prints its figures;
//! see them with `cargo nextest run --test servers server_hostile --no-capture`.

use crate::served::Served;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use heisenbed::scenario::random::{Purpose, Random};
use heisenbed::tracking::transport::{Connection, SendMode};
use heisenbed::tracking::{Layout, Message, MessageKind, wire};

const TIMEOUT: Duration = Duration::from_secs(20);
/// An innocent client that waits longer than this for an answer has noticed. Test machines are
/// shared and slow.
const NOTICEABLE: Duration = Duration::from_millis(500);
/// A server that has grown more than this by what it did not have to keep has kept it.
const ROOM_KB: u64 = 40_000;

fn message(kind: MessageKind, device: i32, address: u64, size_bytes: u64) -> Message {
    Message {
        kind,
        device,
        size_bytes,
        buffer_type: 0,
        pid: 4242,
        address,
        timestamp_ns: 0,
        extension: None,
    }
}

fn frame(layout: Layout, message: &Message) -> Vec<u8> {
    wire::encode(layout, message).as_bytes().to_vec()
}

/// Runs `attack` while an innocent client works on device 200; what that client sees must be what
/// it did, in good time.
fn beside_an_innocent(name: &str, served: &Served, attack: impl FnOnce(&Served) -> u64) {
    let before_kb = served.resident_kb();
    let done = AtomicBool::new(false);
    let (inputs, slowest, rounds) = std::thread::scope(|scope| {
        let innocent = scope.spawn(|| innocent(&served.socket(), &done));
        let inputs = attack(served);
        done.store(true, Ordering::Relaxed);
        let (slowest, rounds) = innocent.join().expect("the innocent client was served");
        (inputs, slowest, rounds)
    });
    let after_kb = served.resident_kb();
    println!(
        "{name}: {inputs} inputs; memory {before_kb} kB before, {after_kb} kB after; slowest of {rounds} answers to the innocent client {} us",
        slowest.as_micros()
    );
    assert!(slowest < NOTICEABLE, "{slowest:?}");
    assert!(
        after_kb < before_kb + ROOM_KB,
        "{before_kb} kB to {after_kb} kB"
    );
}

fn innocent(socket: &Path, done: &AtomicBool) -> (Duration, u64) {
    let client = Connection::open(socket, Layout::V112, None).expect("the server listens");
    let (mut slowest, mut rounds) = (Duration::ZERO, 0);
    let mut live_bytes = 0;
    while !done.load(Ordering::Relaxed) || rounds < 3 {
        let address = 64 * (rounds % 50);
        let kind = if rounds / 50 % 2 == 0 {
            live_bytes += 100;
            MessageKind::Alloc
        } else {
            live_bytes -= 100;
            MessageKind::Free
        };
        client.write(
            &frame(Layout::V112, &message(kind, 200, address, 100)),
            SendMode::Blocking,
        );
        let asked = Instant::now();
        let answer = client.query(200, TIMEOUT).expect("an answer");
        slowest = slowest.max(asked.elapsed());
        assert_eq!(
            answer.dram_bytes, live_bytes,
            "another client's input shows in mine"
        );
        rounds += 1;
    }
    (slowest, rounds)
}

#[test]
fn random_bytes_harm_nobody() {
    let served = Served::start(&[]);
    beside_an_innocent("random bytes", &served, |served| {
        let mut random = Random::new(1, 0, Purpose::Workload, 0);
        for _ in 0..300 {
            let mut stream = served.stream();
            let length = 1 + random.below(5000) as usize;
            let bytes: Vec<u8> = (0..length).map(|_| random.bits() as u8).collect();
            // The server may have had enough of it.
            let _ = stream.write_all(&bytes);
        }
        300
    });
    served.figures();
}

#[test]
fn half_frames_are_torn_and_nothing_else() {
    let served = Served::start(&[]);
    beside_an_innocent("half frames", &served, |served| {
        let whole = frame(Layout::V112, &message(MessageKind::Alloc, 1, 64, 4096));
        for length in 1..112 {
            let mut stream = served.stream();
            stream.write_all(&whole).expect("writable");
            stream.write_all(&whole).expect("writable");
            stream.write_all(&whole[..length]).expect("writable");
        }
        111
    });
    let figures = served.figures();
    assert_eq!(
        (&figures["torn_frames"], &figures["unknown_frames"]),
        (&111.into(), &0.into())
    );
}

#[test]
fn writes_of_one_byte_and_of_a_megabyte_are_whole_messages() {
    let served = Served::start(&["--semantics", "typed"]);
    beside_an_innocent("one byte, one megabyte", &served, |served| {
        let frames = |layout: Layout, count: u64, device| -> Vec<u8> {
            let messages = (0..count).map(|i| message(MessageKind::Alloc, device, 64 * i, 10));
            messages
                .flat_map(|message| frame(layout, &message))
                .collect()
        };
        let mut slow = served.stream();
        for byte in frames(Layout::V72, 20, 1) {
            slow.write_all(&[byte]).expect("writable");
        }
        let mut large = served.stream();
        let megabyte = frames(Layout::V144, 1 + (1 << 20) / 144, 2);
        large.write_all(&megabyte).expect("writable");
        for (stream, layout, device, bytes) in [
            (&mut slow, Layout::V72, 1, 200),
            (
                &mut large,
                Layout::V144,
                2,
                10 * megabyte.len() as u64 / 144,
            ),
        ] {
            let query = message(MessageKind::Query, device, 0, 0);
            stream.write_all(&frame(layout, &query)).expect("writable");
            let mut answer = vec![0; layout.frame_bytes()];
            stream
                .read_exact(&mut answer)
                .expect("an answer in the client's layout");
            let answer = wire::decode_response(layout, &answer).expect("an answer");
            assert_eq!(answer.dram_bytes, bytes);
        }
        2
    });
    assert_eq!(served.figures()["torn_frames"], 0);
}

#[test]
fn ten_thousand_connections_leave_nothing_behind() {
    let served = Served::start(&[]);
    let descriptors = |served: &Served| {
        let pid = served.id();
        std::fs::read_dir(format!("/proc/{pid}/fd"))
            .expect("it runs")
            .count()
    };
    let before = descriptors(&served);
    beside_an_innocent("10,000 connections", &served, |served| {
        for _ in 0..10_000 {
            drop(served.stream());
        }
        10_000
    });
    // The server notices the last ones a moment later.
    let patience = Instant::now();
    while descriptors(&served) > before + 1 {
        assert!(
            patience.elapsed() < TIMEOUT,
            "{before} descriptors before, {} after",
            descriptors(&served)
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(served.figures()["connections"], 10_001);
}

#[test]
fn a_client_that_asks_and_closes_is_no_signal() {
    let served = Served::start(&[]);
    beside_an_innocent("query and close", &served, |served| {
        for layout in Layout::LEGACY {
            for _ in 0..100 {
                let mut stream = served.stream();
                let query = frame(layout, &message(MessageKind::Query, 0, 0, 0));
                stream.write_all(&query.repeat(3)).expect("writable");
            }
        }
        500
    });
    served.figures();
}

#[test]
fn a_client_that_never_reads_is_dropped_before_it_costs_much() {
    let served = Served::start(&[]);
    beside_an_innocent("never reads", &served, |served| {
        let query = frame(Layout::V648, &message(MessageKind::Query, 0, 0, 0)).repeat(100);
        let mut stream = served.stream();
        stream.set_write_timeout(Some(TIMEOUT)).expect("a socket");
        let mut sent = 0;
        while sent < 1_000_000 && stream.write_all(&query).is_ok() {
            sent += 100;
        }
        assert!(sent < 1_000_000, "it was never dropped");
        sent
    });
    assert_eq!(served.figures()["dropped_clients"], 1);
}

#[test]
fn devices_and_sizes_out_of_range_are_rejected_and_counted() {
    let served = Served::start(&["--semantics", "typed"]);
    beside_an_innocent("devices and sizes", &served, |served| {
        let client = Connection::open(&served.socket(), Layout::V112, None).expect("it listens");
        let send =
            |message: &Message| client.write(&frame(Layout::V112, message), SendMode::Blocking);
        let devices = [i32::MIN, -2, -1, 256, 4095, 4096, 1 << 20, i32::MAX];
        let sizes = [0, u64::MAX, u64::MAX - 1, 1 << 63, (100 << 30) + 1];
        for device in devices {
            send(&message(MessageKind::Alloc, device, 64, 64));
            send(&message(MessageKind::Free, device, 64, 0));
            let answer = client.query(device, TIMEOUT).expect("an answer");
            assert_eq!(answer.dram_bytes, 0);
        }
        for size in sizes {
            send(&message(MessageKind::Alloc, 3, 64, size));
        }
        // The largest that is taken, many times: sums don't wrap.
        for address in 0..1000 {
            send(&message(MessageKind::Alloc, 3, 64 * address, 100 << 30));
        }
        let answer = client.query(3, TIMEOUT).expect("an answer");
        assert_eq!(answer.dram_bytes, 1000 * (100 << 30));
        1000 + 2 * devices.len() as u64 + sizes.len() as u64
    });
    let figures = served.figures();
    assert_eq!(figures["rejected"], 8 + 8 + 5, "{figures}");
}

#[test]
fn a_layout_that_is_told_wrongly_is_counted_and_harms_nobody() {
    let served = Served::start(&["--layout", "112"]);
    beside_an_innocent("wrong layouts", &served, |served| {
        for layout in Layout::LEGACY {
            let mut stream = served.stream();
            for address in 0..500 {
                let message = message(MessageKind::Alloc, 5, 64 * address, 64);
                stream
                    .write_all(&frame(layout, &message))
                    .expect("writable");
            }
        }
        2500
    });
    let unknown = served.figures()["unknown_frames"]
        .as_u64()
        .expect("a figure");
    assert!(unknown > 500, "{unknown}");
}

#[test]
fn limits_are_said_when_they_are_hit_and_hold() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("s");
    let options = [
        "--max-clients",
        "2",
        "--max-client-buffers",
        "5",
        "--devices",
        "4",
    ];
    let mut server = crate::common::heisenbed(&["serve", "--format", "json", "--socket"])
        .arg(&socket)
        .args(options)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let mut said = BufReader::new(server.stderr.take().expect("piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("a line");
    let client = Connection::open(&socket, Layout::Extended, None).expect("it listens");
    for address in 1..=20 {
        let alloc = message(MessageKind::Alloc, 0, 64 * address, 64);
        client.write(&frame(Layout::Extended, &alloc), SendMode::Blocking);
    }
    let stray = message(MessageKind::Alloc, 4, 64, 64);
    for address in 1..=3 {
        let free = message(MessageKind::Free, 0, 64 * address, 0);
        client.write(&frame(Layout::Extended, &free), SendMode::Blocking);
    }
    client.write(&frame(Layout::Extended, &stray), SendMode::Blocking);
    assert_eq!(client.full_table(TIMEOUT).expect("a table").len(), 2);
    let second = Connection::open(&socket, Layout::V72, None).expect("it listens");
    second.query(0, TIMEOUT).expect("an answer");
    let mut third = UnixStream::connect(&socket).expect("the kernel accepts");
    assert_eq!(third.read(&mut [0]).expect("it is closed"), 0);
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    let output = server.wait_with_output().expect("it ends");
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).expect("an object");
    assert_eq!(
        (&figures["rejected"], &figures["refused"]),
        (&16.into(), &1.into())
    );
    let said: Vec<String> = said.lines().map(|line| line.expect("text")).collect();
    for wanted in [
        "--max-clients",
        "--max-client-buffers",
        "there is no such device",
    ] {
        let lines = said.iter().filter(|line| line.contains(wanted)).count();
        assert_eq!(lines, 1, "{wanted} in {said:#?}");
    }
}

#[test]
fn what_a_dead_client_left_is_dropped_and_what_a_living_one_has_stays() {
    let served = Served::start(&["--semantics", "typed"]);
    let living = Connection::open(&served.socket(), Layout::Extended, None).expect("it listens");
    let alloc = message(MessageKind::Alloc, 0, 64, 64);
    living.write(&frame(Layout::Extended, &alloc), SendMode::Blocking);
    // Another process, under a pid of nobody and under the one that the living client calls itself
    // too.
    for (pid, left) in [("7", 0), ("4242", 0)] {
        encoder(&served.socket(), &["112", pid, "1", "10", "0", "64"]);
        let patience = Instant::now();
        let mut shown = u64::MAX;
        while shown != left && patience.elapsed() < Duration::from_secs(2) {
            let answer = living.query(1, TIMEOUT).expect("an answer");
            shown = answer.dram_bytes + answer.l1_bytes;
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(shown, left, "pid {pid}");
    }
    assert_eq!(living.query(0, TIMEOUT).expect("an answer").dram_bytes, 64);
    assert_eq!(served.figures()["swept"], 20);
}

/// Runs the independent encoder; returns the figures that it prints.
fn encoder(socket: &Path, arguments: &[&str]) -> Vec<i64> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/encode.py");
    let output = std::process::Command::new("python3")
        .arg(script)
        .arg(socket)
        .args(arguments)
        .output()
        .expect("python3 runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split_whitespace()
        .map(|figure| figure.parse().expect("a figure"))
        .collect()
}

#[test]
fn each_layout_of_an_independent_encoder_is_understood_and_answered_in_kind() {
    let served = Served::start(&["--no-sweep", "--semantics", "typed"]);
    let socket = served.socket();
    let clients: Vec<_> = [72, 112, 128, 144, 648]
        .into_iter()
        .zip(1..)
        .map(|(layout, device)| {
            let socket = socket.clone();
            std::thread::spawn(move || {
                let arguments =
                    [layout, 1000 + device, device, 100, 30, 512].map(|n: i64| n.to_string());
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                let figures = encoder(&socket, &arguments);
                let [cb, kernel] = match layout {
                    144 => [512, 512],
                    128 => [0, 0],
                    _ => [-1, -1],
                };
                // 100 allocations alternate between DRAM and L1; the first 30 are released again.
                assert_eq!(figures, [35 * 512, 35 * 512, cb, kernel, layout]);
            })
        })
        .collect();
    for client in clients {
        client
            .join()
            .expect("totals are right and answers have the client's own layout");
    }
    let figures = served.figures();
    assert_eq!(figures["live"], 5 * 70 + 2);
    assert_eq!(
        (&figures["unknown_frames"], &figures["unknown_frees"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn a_live_buffer_takes_at_most_a_hundred_bytes_even_when_the_table_has_just_grown() {
    // One more than 7 of 8 slots of a table of 2^20, so that it has 2^21.
    const BUFFERS: u64 = (7 << 17) + 1;
    let served = Served::start(&["--no-sweep", "--max-client-buffers", "2000000"]);
    let mut stream = served.stream();
    settle(&mut stream, Layout::V112, 0);
    let before_kb = served.resident_kb();
    for first in (0..BUFFERS).step_by(4096) {
        let batch: Vec<u8> = (first..BUFFERS.min(first + 4096))
            .flat_map(|index| {
                frame(
                    Layout::V112,
                    &message(MessageKind::Alloc, 0, 64 * index, 64),
                )
            })
            .collect();
        stream.write_all(&batch).expect("writable");
    }
    settle(&mut stream, Layout::V112, 0);
    let observer = Connection::open(&served.socket(), Layout::Extended, None).expect("it listens");
    let totals = observer.query(0, TIMEOUT).expect("an answer");
    let live = totals.dram_bytes + totals.l1_bytes;
    assert_eq!(live, 64 * BUFFERS);
    let bytes = (served.resident_kb() - before_kb) as f64 * 1024.0 / BUFFERS as f64;
    println!("{BUFFERS} live buffers: {bytes:.1} bytes each");
    assert!(bytes <= 100.0, "{bytes:.1} bytes a live buffer");
}

/// 10^7 messages of eight clients with faults put in at random (frames cut in pieces, repeated,
/// connections closed and opened again): `cargo nextest run --release --test servers --run-ignored
/// all soak --no-capture`
#[test]
#[ignore = "long in a debug build: cargo nextest run --release --test servers --run-ignored all soak"]
fn soak() {
    const CLIENTS: u64 = 8;
    const MESSAGES: u64 = 10_000_000;
    let served = Served::start(&["--no-sweep", "--semantics", "typed"]);
    let socket = served.socket();
    let started = Instant::now();
    let lives: Vec<Vec<(i32, u64, u64)>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn({
                    let socket = &socket;
                    move || soak_client(socket, client, MESSAGES / CLIENTS)
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("no panic"))
            .collect()
    });
    let observer = Connection::open(&socket, Layout::Extended, None).expect("it listens");
    let mut shown: Vec<(i32, u64, u64)> = observer
        .full_table(TIMEOUT)
        .expect("a table")
        .iter()
        .map(|entry| (entry.pid, entry.address, entry.size_bytes))
        .collect();
    let mut live: Vec<(i32, u64, u64)> = lives.concat();
    shown.sort_unstable();
    live.sort_unstable();
    println!(
        "soak: {MESSAGES} messages in {:.1} s, {} live at the end, {} kB",
        started.elapsed().as_secs_f64(),
        live.len(),
        served.resident_kb()
    );
    assert_eq!(shown, live, "the live table is the truth");
    let figures = served.figures();
    println!("{figures}");
}

/// Sends messages with faults; returns what it has live at the end.
fn soak_client(socket: &Path, client: u64, messages: u64) -> Vec<(i32, u64, u64)> {
    const ADDRESSES: u64 = 5000;
    let mut random = Random::new(9, client, Purpose::Workload, client);
    let pid = 100 + client as i32;
    let mut live = std::collections::BTreeMap::new();
    let mut batch = Vec::new();
    let open = || UnixStream::connect(socket).expect("the server listens");
    let mut stream = open();
    let layout = [Layout::V72, Layout::V112, Layout::V144][client as usize % 3];
    for index in 0..messages {
        let address = 64 * random.below(ADDRESSES);
        let held = live.remove(&address).is_some();
        let kind = if held {
            MessageKind::Free
        } else {
            MessageKind::Alloc
        };
        let size_bytes = if held { 0 } else { 1 + random.below(1 << 20) };
        if !held {
            live.insert(address, size_bytes);
        }
        let sent = Message {
            pid,
            ..message(kind, (client % 4) as i32, address, size_bytes)
        };
        let bytes = frame(layout, &sent);
        batch.extend_from_slice(&bytes);
        if random.below(1000) == 0 {
            // Once more: an ALLOC replaces itself, a FREE of nothing is counted.
            batch.extend_from_slice(&bytes);
        }
        if batch.len() > 64 * layout.frame_bytes() || index + 1 == messages {
            let cut = random.below(batch.len() as u64 + 1) as usize;
            stream.write_all(&batch[..cut]).expect("writable");
            stream.write_all(&batch[cut..]).expect("writable");
            batch.clear();
            if random.below(200) == 0 {
                // Part of a frame, and a new connection.
                let part = random.below(layout.frame_bytes() as u64) as usize;
                stream.write_all(&bytes[..part]).expect("writable");
                settle(&mut stream, layout, part);
                stream = open();
            }
        }
    }
    settle(&mut stream, layout, 0);
    live.into_iter()
        .map(|(address, size)| (pid, address, size))
        .collect()
}

/// Waits until the server has taken everything. After part of a frame nothing can be asked: closing
/// is all there is.
fn settle(stream: &mut UnixStream, layout: Layout, part: usize) {
    stream.set_read_timeout(Some(TIMEOUT)).expect("a socket");
    if part == 0 {
        let query = frame(layout, &message(MessageKind::Query, 0, 0, 0));
        stream.write_all(&query).expect("writable");
        stream
            .read_exact(&mut vec![0; layout.frame_bytes()])
            .expect("an answer");
    } else {
        stream.shutdown(std::net::Shutdown::Write).expect("open");
        assert_eq!(stream.read(&mut [0]).expect("it is closed in turn"), 0);
    }
}
