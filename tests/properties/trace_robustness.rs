//! Traces that were cut, damaged, or could not be written: what can be read is read, the rest is
//! said, and nothing is ever called clean that was not checked to its end.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{heisenbed, record, run_json, scenario};
use heisenbed::device::{BufferKind, DeviceId, Memory};
use heisenbed::oracle::{Report, Verdict, check_trace};
use heisenbed::scenario::objects::{ConnId, LockId, Objects};
use heisenbed::scenario::op::{Op, Request, SlotId};
use heisenbed::scenario::random::{Purpose, Random};
use heisenbed::trace::codec::{Decoder, Encoder};
use heisenbed::trace::event::{Event, FreeOutcome, ReceiveCode, SendOutcome};
use heisenbed::trace::file::TraceFile;
use heisenbed::tracking::sent::SentKind;
use proptest::prelude::*;

/// The bytes of a recorded run.
fn recorded(text: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.hb");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    record(&scenario(text), 0, file);
    std::fs::read(&path).unwrap()
}

/// What `check` says of a trace of these bytes.
fn check(bytes: &[u8]) -> Result<Report, String> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    check_file(file)
}

fn check_file(file: File) -> Result<Report, String> {
    let trace = TraceFile::from_file(file, Path::new("t.hb")).map_err(|error| error.to_string())?;
    check_trace(&trace, |_| ()).map_err(|error| error.to_string())
}

/// Asserts that damage shows: as an error, as a prefix, or not at all because nothing that counts
/// was touched.
fn assert_no_wrong_verdict(
    checked: Result<Report, String>,
    whole: &Report,
    what: std::fmt::Arguments<'_>,
) {
    let Ok(report) = checked else {
        return;
    };
    match report.verdict {
        Verdict::Inconclusive => assert!(
            report.note.is_some(),
            "{what}: inconclusive, and not said why"
        ),
        Verdict::Diverged if whole.verdict == Verdict::Diverged => {}
        _ => assert_eq!(&report, whole, "{what}"),
    }
}

const CLEAN: &str = "name = 'small'\nthreads = 2\nops = 300\n[workload]\nhandoff = 2";
const BROKEN: &str = "name = 'broken'\nthreads = 2\nops = 200\ndiscipline = 'claimed-wide'\nsemantics = 'overwrite'\n\
                      profile = 'custom:1x1048576'\n[workload]\nmemories = { dram = 1, l1 = 1 }";

#[test]
fn a_trace_cut_anywhere_is_an_error_or_a_prefix_that_says_so() {
    for text in [CLEAN, BROKEN] {
        let bytes = recorded(text);
        let whole = check(&bytes).expect("whole");
        assert_ne!(whole.verdict, Verdict::Inconclusive);
        let mut random = Random::new(1, 0, Purpose::Schedule, 0);
        let positions = (0..64).chain((0..400).map(|_| random.below(bytes.len() as u64) as usize));
        for length in positions.chain(bytes.len() - 64..bytes.len()) {
            let checked = check(&bytes[..length]);
            if let Ok(report) = &checked {
                assert_ne!(report.verdict, Verdict::Clean, "cut at {length}");
                assert!(report.note.is_some(), "cut at {length}: not said");
            }
            assert_no_wrong_verdict(checked, &whole, format_args!("cut at {length}"));
        }
    }
}

#[test]
fn a_trace_with_a_flipped_byte_never_gets_a_wrong_verdict() {
    for text in [CLEAN, BROKEN] {
        let bytes = recorded(text);
        let whole = check(&bytes).expect("whole");
        let mut random = Random::new(2, 0, Purpose::Schedule, 0);
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let sampled = (0..600).map(|_| random.below(bytes.len() as u64) as usize);
        for at in (0..bytes.len().min(1024)).chain(sampled) {
            let mask = 1 << (at % 8);
            file.write_all_at(&[bytes[at] ^ mask], at as u64).unwrap();
            let checked = check_file(file.try_clone().unwrap());
            assert!(
                !checked
                    .as_ref()
                    .is_ok_and(|report| report.verdict == Verdict::Clean),
                "byte {at} flipped, and the trace is clean"
            );
            assert_no_wrong_verdict(checked, &whole, format_args!("byte {at} flipped"));
            file.write_all_at(&[bytes[at]], at as u64).unwrap();
        }
        assert_eq!(check_file(file).as_ref(), Ok(&whole));
    }
}

#[test]
fn a_killed_run_leaves_a_prefix_that_says_how_far_it_reaches() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("killed.hb");
    let path_text = path.to_str().unwrap();
    let mut child = heisenbed(&[
        "stress",
        "--threads",
        "2",
        "--ops",
        "50000000",
        "--quiet",
        "--record",
        path_text,
    ])
    .stdout(Stdio::null())
    .spawn()
    .unwrap();
    let started = Instant::now();
    // A prefix reaches as far as the stream that was written last: let each be written a few times.
    while std::fs::metadata(&path).map_or(0, |data| data.len()) < 1_000_000
        || started.elapsed() < Duration::from_secs(1)
    {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "nothing is recorded"
        );
        assert!(child.try_wait().unwrap().is_none(), "the run ended early");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let (json, code) = run_json(&format!("check {path_text}"));
    assert_eq!(
        (json["verdict"].as_str(), code),
        (Some("inconclusive"), 3),
        "{json}"
    );
    assert!(json["events"].as_u64().unwrap() > 1000);
    assert!(json["events"].as_u64() <= json["events_found"].as_u64());
    let note = json["note"].as_str().unwrap();
    assert!(note.contains("could be used"), "{note}");
    assert_eq!(json["leaks"], 0);
}

#[test]
fn a_full_disk_fails_the_run_and_is_named() {
    let output = heisenbed(&["stress", "--ops", "2000", "--record", "/dev/full"])
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(
        complaint.contains("cannot be written") && complaint.contains("No space left"),
        "{complaint}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn a_disk_that_fills_up_in_the_middle_fails_the_run_and_leaves_a_prefix() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("full.hb");
    // 128 KiB, whether the shell counts in blocks of 512 or of 1024 bytes; the signal is ignored,
    // so that a write fails.
    let limited =
        "trap '' XFSZ; ulimit -f 128; exec \"$0\" stress --quiet --ops 2000000 --record \"$1\"";
    let output = Command::new("sh")
        .args(["-c", limited, env!("CARGO_BIN_EXE_heisenbed")])
        .arg(&path)
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(
        complaint.contains("cannot be written") && complaint.contains("File too large"),
        "{complaint}"
    );
    let (json, code) = run_json(&format!("check {}", path.display()));
    assert_eq!(
        (json["verdict"].as_str(), code),
        (Some("inconclusive"), 3),
        "{json}"
    );
}

#[test]
fn one_thread_and_one_seed_make_the_same_trace_byte_by_byte() {
    let text = "name = 'same'\nthreads = 1\nops = 200\nseed = 7";
    assert_eq!(recorded(text), recorded(text));
    assert_ne!(
        recorded(text),
        recorded("name = 'same'\nthreads = 1\nops = 200\nseed = 8")
    );
}

const OBJECTS: Objects = Objects {
    cells: 0,
    devices: 10,
    table: 8,
    slots: 5,
    conns: 3,
};

fn any_op() -> impl Strategy<Value = Op> {
    let kinds = [
        BufferKind::Owned,
        BufferKind::Preallocated,
        BufferKind::Circular,
        BufferKind::Mesh,
    ];
    let slot = || (0..OBJECTS.slots).prop_map(SlotId);
    let device = || (0..OBJECTS.devices).prop_map(DeviceId);
    let request = (
        prop::sample::select(kinds.to_vec()),
        device(),
        1..=8u8,
        prop::sample::select(Memory::ALL.to_vec()),
        any::<u64>(),
        any::<u8>(),
    )
        .prop_map(
            |(kind, device, parts, memory, size_bytes, releases)| Request {
                kind,
                device,
                parts,
                memory,
                size_bytes,
                releases,
            },
        );
    prop_oneof![
        (slot(), any::<u32>(), request).prop_map(|(slot, epoch, request)| Op::Allocate {
            slot,
            epoch,
            request
        }),
        (slot(), any::<u32>()).prop_map(|(slot, epoch)| Op::Release { slot, epoch }),
        Just(Op::AwaitOthers),
        device().prop_map(|device| Op::Close { device }),
        Just(Op::Throw),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    // No counter gets near its type's end in a run of any length.
    let version = || 0..u64::MAX / 2;
    let device = || (0..OBJECTS.devices).prop_map(DeviceId);
    let lock = || (0..OBJECTS.locks()).prop_map(LockId);
    let conn = || (0..OBJECTS.conns).prop_map(ConnId);
    let sent = prop::sample::select(vec![
        SentKind::Alloc,
        SentKind::Free,
        SentKind::CbAlloc,
        SentKind::CbFree,
    ]);
    let outcome = prop::sample::select(vec![
        SendOutcome::Sent,
        SendOutcome::Dropped,
        SendOutcome::Failed,
    ]);
    let freed = prop::sample::select(vec![
        FreeOutcome::Freed,
        FreeOutcome::NotAllocated,
        FreeOutcome::FreedAnother,
    ]);
    let on_slot = (0..9u8, version()).prop_map(|(which, version)| match which {
        0 => Event::Vacate { version },
        1 => Event::Check {
            live: true,
            version,
        },
        2 => Event::Check {
            live: false,
            version,
        },
        3 => Event::Claim { won: true, version },
        4 => Event::Claim {
            won: false,
            version,
        },
        5 => Event::MarkLive { version },
        6 => Event::MarkDead { version },
        7 => Event::Publish { version },
        _ => Event::Part { part: 3, version },
    });
    prop_oneof![
        4 => on_slot,
        3 => (any_op(), version()).prop_map(|(op, version)| {
            let has_slot = matches!(op, Op::Allocate { .. } | Op::Release { .. });
            Event::Open { op, version: if has_slot { version } else { 0 } }
        }),
        1 => any_op().prop_map(|op| Event::BlockedOnOp { op }),
        1 => (0..OBJECTS.slots, any::<u8>(), version())
            .prop_map(|(slot, part, version)| Event::CloseBuffer { slot, part, version }),
        2 => (lock(), version()).prop_map(|(lock, version)| Event::Lock { lock, version }),
        2 => lock().prop_map(|lock| Event::Unlock { lock }),
        1 => lock().prop_map(|lock| Event::BlockedOnLock { lock }),
        1 => device().prop_map(|device| Event::LockOutOfBounds { device }),
        2 => (device(), any::<u64>(), version())
            .prop_map(|(device, address, version)| Event::Alloc { device, address, version }),
        1 => (device(), version()).prop_map(|(device, version)| Event::AllocFailed { device, version }),
        2 => (device(), freed, version())
            .prop_map(|(device, outcome, version)| Event::Free { device, outcome, version }),
        1 => (device(), version()).prop_map(|(device, sequence)| Event::Stamp { device, sequence }),
        1 => (prop::option::of(conn()), version())
            .prop_map(|(found, version)| Event::ConnRead { found, version }),
        1 => conn().prop_map(|conn| Event::Connect { conn }),
        1 => (conn(), version()).prop_map(|(conn, version)| Event::ConnStore { conn, version }),
        3 => (sent, 0..8u8, conn(), outcome, version()).prop_map(|(kind, chunk, conn, outcome, version)| {
            Event::Send { kind, chunk, conn, outcome, version }
        }),
        1 => Just(Event::DebugLog),
        1 => Just(Event::Finish),
        1 => Just(Event::Stopped),
        1 => conn().prop_map(|conn| Event::Accept { conn }),
        2 => (conn(), prop::sample::select(ReceiveCode::ALL.to_vec()))
            .prop_map(|(conn, code)| Event::Receive { conn, code }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_come_back_from_their_encoding(events in prop::collection::vec(any_event(), 0..200)) {
        let (mut encoder, mut bytes) = (Encoder::new(OBJECTS), Vec::new());
        let mut longest = 0;
        for event in &events {
            let before = bytes.len();
            encoder.encode(event, &mut bytes);
            longest = longest.max(bytes.len() - before);
        }
        prop_assert!(longest <= heisenbed::trace::codec::MAX_EVENT_BYTES);
        let (mut decoder, mut rest) = (Decoder::new(OBJECTS), bytes.as_slice());
        let mut decoded = Vec::new();
        while !rest.is_empty() {
            decoded.push(decoder.decode(&mut rest).expect("what was encoded"));
        }
        prop_assert_eq!(decoded, events);
    }

    #[test]
    fn any_bytes_decode_to_events_of_the_scenario_or_to_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let (mut decoder, mut rest) = (Decoder::new(OBJECTS), bytes.as_slice());
        while !rest.is_empty() {
            let Ok(event) = decoder.decode(&mut rest) else { break };
            let touch = decoder.touch();
            prop_assert!(!touch.is_some() || touch.object.index() < OBJECTS.count());
            if let Event::Alloc { device, .. } = event {
                prop_assert!(device.0 < OBJECTS.devices);
            }
        }
    }
}
