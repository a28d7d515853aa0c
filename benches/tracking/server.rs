//! Messages a second through one connection: our server against a reader that throws everything
//! away.

use std::io::{IoSlice, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

use heisenbed::registry::Semantics;
use heisenbed::server::journal::ServerJournal;
use heisenbed::server::listener::{Server, ServerConfig};
use heisenbed::tracking::wire::encode;
use heisenbed::tracking::{Layout, Message, MessageKind};

use super::row::{Effort, Row, median, median_ratio, rate};

const LAYOUT: Layout = Layout::V112;
const FRAME_BYTES: usize = LAYOUT.frame_bytes();
/// Messages in one `writev`.
const BATCH: usize = 64;
/// The messages repeat after so many: allocations of as many addresses as half of it, each released
/// later.
const PERIOD: usize = 64 * BATCH;
/// What the raw reader reads into.
const RAW_READ_BYTES: usize = 64 << 10;

/// How the sender writes.
#[derive(Clone, Copy)]
enum Writes {
    Single,
    Batched,
}

/// One message a write.
pub fn single_writes(effort: Effort) -> Vec<Row> {
    let messages = effort.pick(200_000, 600_000);
    let rates = measure(Writes::Single, messages, effort.pick(5, 11));
    let row = |name: &str, ours: &[f64]| {
        let ratio = median_ratio(ours, &rates.raw);
        Row {
            what: format!("server, 112 bytes, one per write, {name}"),
            peer: format!("raw socket {}", rate(median(&rates.raw))),
            ours: rate(median(ours)),
            ratio: format!("{:.0} %", ratio * 100.0),
            target: "≥ 70 % of raw".to_owned(),
            met: Some(ratio >= 0.7),
        }
    };
    vec![
        row("layout told", &rates.told),
        row("layout detected", &rates.detected),
        row("with a journal", &rates.journaled),
    ]
}

/// 64 messages a write.
pub fn batched_writes(effort: Effort) -> Vec<Row> {
    let messages = effort.pick(2_000_000, 10_000_000);
    let rates = measure(Writes::Batched, messages, effort.pick(5, 11));
    let row = |name: &str, ours: &[f64]| Row {
        what: format!("server, {BATCH} per writev, {name}"),
        peer: format!("raw socket {}", rate(median(&rates.raw))),
        ours: rate(median(ours)),
        ratio: format!("{:.0} %", median_ratio(ours, &rates.raw) * 100.0),
        target: "≥ 8 M/s".to_owned(),
        met: Some(median(ours) >= 8e6),
    };
    vec![
        row("layout told", &rates.told),
        row("layout detected", &rates.detected),
        row("with a journal", &rates.journaled),
    ]
}

/// Messages a second of each round.
#[derive(Default)]
struct Rates {
    raw: Vec<f64>,
    told: Vec<f64>,
    detected: Vec<f64>,
    journaled: Vec<f64>,
}

fn measure(writes: Writes, messages: usize, rounds: usize) -> Rates {
    let frames = frames();
    let mut rates = Rates::default();
    for _ in 0..rounds {
        rates.raw.push(raw(&frames, writes, messages));
        rates
            .told
            .push(ours(&frames, writes, messages, Some(LAYOUT), false));
        rates
            .detected
            .push(ours(&frames, writes, messages, None, false));
        rates
            .journaled
            .push(ours(&frames, writes, messages, None, true));
    }
    rates
}

/// A period of messages: allocations and, 16 messages later, their releases.
fn frames() -> Vec<u8> {
    let message = |kind, index: usize| Message {
        kind,
        device: 0,
        size_bytes: if kind == MessageKind::Alloc { 4096 } else { 0 },
        buffer_type: 0,
        pid: 4242,
        address: 0x18b20 + 4096 * index as u64,
        timestamp_ns: 0,
        extension: None,
    };
    let mut frames = Vec::with_capacity(PERIOD * FRAME_BYTES);
    for group in 0..PERIOD / 32 {
        for kind in [MessageKind::Alloc, MessageKind::Free] {
            for index in 0..16 {
                let message = message(kind, group * 16 + index);
                frames.extend_from_slice(encode(LAYOUT, &message).as_bytes());
            }
        }
    }
    frames
}

/// The rate into a reader that counts bytes and looks at none.
fn raw(frames: &[u8], writes: Writes, messages: usize) -> f64 {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("raw");
    let listener = UnixListener::bind(&path).expect("a socket");
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut buffer = vec![0; RAW_READ_BYTES];
        let mut missing = messages * FRAME_BYTES;
        while missing > 0 {
            missing -= stream.read(&mut buffer).expect("bytes");
        }
    });
    let mut stream = UnixStream::connect(&path).expect("a connection");
    let started = Instant::now();
    send(&mut stream, frames, writes, messages);
    reader.join().expect("the reader");
    messages as f64 / started.elapsed().as_secs_f64()
}

/// The rate into our server, until it has answered a query that came after all messages.
fn ours(
    frames: &[u8],
    writes: Writes,
    messages: usize,
    layout: Option<Layout>,
    journaled: bool,
) -> f64 {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = ServerConfig::new(directory.path().join("ours"), Semantics::Typed);
    config.layout = layout;
    let journal = journaled.then(|| {
        let path = directory.path().join("table.hb");
        let restored = ServerJournal::open(&path, config.semantics, config.limits);
        restored.expect("a journal").journal
    });
    let server = Server::start_with(config, journal).expect("a server");
    let mut stream = UnixStream::connect(server.path()).expect("a connection");
    let query = Message {
        kind: MessageKind::Query,
        device: 0,
        size_bytes: 0,
        buffer_type: 0,
        pid: 4242,
        address: 0,
        timestamp_ns: 0,
        extension: None,
    };
    let started = Instant::now();
    send(&mut stream, frames, writes, messages);
    stream
        .write_all(encode(LAYOUT, &query).as_bytes())
        .expect("the query is sent");
    let mut answer = [0; FRAME_BYTES];
    stream.read_exact(&mut answer).expect("an answer");
    let elapsed = started.elapsed();
    let report = server.shutdown();
    assert_eq!(report.counters.messages, messages as u64 + 1);
    assert_eq!(report.counters.unknown_frees, 0);
    messages as f64 / elapsed.as_secs_f64()
}

fn send(stream: &mut UnixStream, frames: &[u8], writes: Writes, messages: usize) {
    match writes {
        Writes::Single => {
            for frame in frames.chunks_exact(FRAME_BYTES).cycle().take(messages) {
                stream.write_all(frame).expect("a message is sent");
            }
        }
        Writes::Batched => {
            let batches = frames.chunks_exact(BATCH * FRAME_BYTES).cycle();
            for batch in batches.take(messages / BATCH) {
                let mut slices = [IoSlice::new(&[]); BATCH];
                for (slice, frame) in slices.iter_mut().zip(batch.chunks_exact(FRAME_BYTES)) {
                    *slice = IoSlice::new(frame);
                }
                let written = stream.write_vectored(&slices).expect("a batch is sent");
                stream
                    .write_all(&batch[written..])
                    .expect("the rest of it is sent");
            }
        }
    }
}
