//! PyTorch's CUDA memory snapshots: pickles, of which nothing is executed.

use std::path::Path;
use std::process::Command;

use heisenbed::fuzzing;
use heisenbed::import::torch_snapshot::convert;
use proptest::prelude::*;

use super::{Recording, common, reported};

/// A snapshot that Python pickles: see `snapshot.py`.
pub fn pickled(kind: &str, protocol: u8) -> Recording {
    let snapshot = Recording::new("torch-snapshot", "snapshot.pickle", "");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imports/snapshot.py");
    let status = Command::new("python3")
        .arg(script)
        .args([kind, &protocol.to_string()])
        .arg(&snapshot.file)
        .status()
        .expect("python3 runs");
    assert!(status.success());
    snapshot
}

fn written(bytes: &[u8]) -> Recording {
    Recording::new("torch-snapshot", "snapshot.pickle", bytes)
}

#[test]
fn every_protocol_tells_the_same_one_device_trace_a_device() {
    let mut accounts = Vec::new();
    for protocol in 2..=5 {
        let snapshot = pickled("sound", protocol);
        let account = snapshot.import();
        assert_eq!(
            (
                &account["lines"],
                &account["parsed"],
                &account["known_other"]
            ),
            (&45.into(), &30.into(), &15.into()),
            "protocol {protocol}: {account}"
        );
        assert_eq!(
            (&account["devices"], &account["dropped"]),
            (&3.into(), &0.into())
        );
        assert_eq!(
            (&account["forms"]["alloc"], &account["forms"]["oom"]),
            (&12.into(), &3.into())
        );
        let (checked, code) = snapshot.said("check");
        assert_eq!(
            (code, &checked["verdict"], &checked["check"]),
            (0, &"clean".into(), &"exact".into()),
            "{checked}"
        );
        accounts.push(checked);
    }
    let checked = &accounts[0];
    assert!(
        accounts
            .iter()
            .all(|other| other["live_by_stack"] == checked["live_by_stack"])
    );
    // The same addresses on three devices are three buffers; a release without an allocation is
    // normal in a ring buffer.
    assert_eq!(
        (&checked["devices"], &checked["divergences"]),
        (&3.into(), &serde_json::json!({}))
    );
    assert_eq!(
        (&checked["live_at_end"], &checked["live_bytes"]),
        (&6.into(), &3072.into())
    );
    assert_eq!(
        (&checked["failed"], &checked["leaks"]),
        (&3.into(), &0.into())
    );
    let notes = &checked["notes"];
    assert_eq!(
        (
            &notes["allocated-earlier"]["count"],
            &notes["release-pending"]["count"]
        ),
        (&3.into(), &3.into())
    );
    let places = checked["live_by_stack"].as_array().expect("a list");
    assert_eq!(places.len(), 6, "two places on each of three devices");
    let stacks: Vec<&str> = places
        .iter()
        .filter_map(|place| place["stack"][0].as_str())
        .collect();
    assert!(stacks.contains(&"insert (cache.py:13)"), "{stacks:?}");
    assert!(
        stacks.contains(&"torch::unwind::unwind() (??:0)"),
        "{stacks:?}"
    );
}

#[test]
fn entries_that_are_none_are_reported_with_their_byte() {
    let snapshot = pickled("odd", 4);
    let account = snapshot.import();
    assert_eq!(
        (&account["lines"], &account["unrecognised"]),
        (&8.into(), &6.into()),
        "{account}"
    );
    let lines = reported(&account);
    let numbers: Vec<u64> = lines.iter().map(|(line, _)| *line).collect();
    assert_eq!(numbers, [2, 3, 4, 5, 6, 7]);
    assert!(
        lines
            .iter()
            .all(|(_, excerpt)| excerpt.starts_with("byte ")),
        "{lines:?}"
    );
    assert!(lines[1].1.contains("teleport"), "{lines:?}");
    let (checked, _) = snapshot.said("check");
    assert_eq!(
        (&checked["lines"], &checked["unrecognised"]),
        (&8.into(), &6.into()),
        "{checked}"
    );
}

#[test]
fn frames_that_differ_only_in_what_ends_a_line_are_taken_for_one() {
    let snapshot = pickled("frames", 4);
    snapshot.import();
    let (checked, _) = snapshot.said("check");
    assert_eq!(
        (&checked["lines"], &checked["unrecognised"]),
        (&3.into(), &0.into()),
        "{checked}"
    );
    let stacks: Vec<&str> = checked["live_by_stack"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|place| place["stack"][0].as_str())
        .collect();
    assert_eq!(stacks, ["f (a\\nb:1)", "f (plain:1)"]);
}

#[test]
fn what_would_execute_something_is_named_and_not_executed() {
    for protocol in [2, 4] {
        let snapshot = pickled("evil", protocol);
        let error = snapshot.refused();
        let opcode = if protocol == 2 {
            "GLOBAL"
        } else {
            "STACK_GLOBAL"
        };
        assert!(
            error.contains("at byte ") && error.contains(opcode),
            "{error}"
        );
        assert!(error.contains("nothing is executed"), "{error}");
        let executed = snapshot.file.with_extension("pickle.executed");
        assert!(!executed.exists());
        // What came before it is kept: the first device's trace, and two entries of the second's.
        let (checked, _) = snapshot.said("check");
        assert_eq!(
            (&checked["verdict"], &checked["lines"]),
            (&"inconclusive".into(), &15.into()),
            "{checked}"
        );
        // The same pickle does what it says where pickles are executed.
        let script = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))";
        let loaded = Command::new("python3")
            .args(["-c", script])
            .arg(&snapshot.file)
            .status();
        assert!(loaded.expect("python3 runs").success() && executed.exists());
    }
}

#[test]
fn a_snapshot_that_is_cut_anywhere_is_read_up_to_there() {
    let bytes = std::fs::read(&pickled("sound", 4).file).expect("readable");
    let mut entries = 0;
    for end in 0..bytes.len() {
        let (converted, result) = convert(&bytes[..end], None, &mut |_| ());
        assert!(result.is_err(), "cut at {end}");
        let accounting = converted.accounting;
        assert!(accounting.lines >= entries, "cut at {end}");
        entries = accounting.lines;
    }
    // Python hands over a trace's entries together, so the last trace is the last to come.
    assert_eq!(entries, 45);
    let cut = written(&bytes[..bytes.len() - 10]);
    let error = cut.refused();
    assert!(
        error.contains("it was cut off") && error.contains("holds the 45 entries before that"),
        "{error}"
    );
    let (checked, code) = cut.said("check");
    assert_eq!(
        (code, &checked["verdict"]),
        (3, &"inconclusive".into()),
        "{checked}"
    );
    assert!(
        checked["note"]
            .as_str()
            .is_some_and(|note| !note.is_empty()),
        "{checked}"
    );
}

/// Protocol 4, a dict, `device_traces`, its list, and the list of device 0, with marks open.
const OPENED: &[u8] = b"\x80\x04}(\x8c\x0ddevice_traces](](";

#[test]
fn hostile_pickles_end_with_an_error_and_in_bounded_memory() {
    let many = |piece: &[u8], count: usize| [OPENED, &piece.repeat(count)].concat();
    let with = |piece: &[u8]| [OPENED, piece].concat();
    let huge = u64::MAX.to_le_bytes();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "deep lists",
            many(b"](", 5_000_000),
            "no snapshot needs so many",
        ),
        (
            "deep tuples",
            many(b"(", 10_000_000),
            "no snapshot needs so many",
        ),
        (
            "many values",
            many(b"N", 10_000_000),
            "no snapshot needs so many",
        ),
        (
            "many memo entries",
            many(b"K\x00\x940", 3_000_000),
            "the file ends",
        ),
        (
            "a memo's highest entry",
            with(b"K\x00r\xff\xff\xff\xff0j\xfe\xff\xff\xff."),
            "the stack does not hold",
        ),
        (
            "a memo's entry that is not there",
            with(b"h\x07"),
            "nothing was put there",
        ),
        (
            "a huge text",
            with(&[b"\x8d", huge.as_slice()].concat()),
            "the file ends inside BINUNICODE8",
        ),
        (
            "huge bytes",
            with(&[b"\x8e", huge.as_slice()].concat()),
            "the file ends inside BINBYTES8",
        ),
        (
            "a huge number",
            with(b"\x8b\xff\xff\xff\x7f"),
            "the file ends inside LONG4",
        ),
        (
            "a negative length",
            with(b"\x8b\xff\xff\xff\xff"),
            "negative",
        ),
        (
            "a huge frame",
            with(&[b"\x95", huge.as_slice()].concat()),
            "the file ends",
        ),
        (
            "a list in itself",
            with(b"\x94h\x00a."),
            "the stack is empty",
        ),
        (
            "protocol 0",
            b"(dp0\n.".to_vec(),
            "not a pickle of protocol 2 to 5",
        ),
        (
            "zeroes",
            vec![0; 1 << 20],
            "not a pickle of protocol 2 to 5",
        ),
        ("no snapshot", b"\x80\x04].".to_vec(), "no memory snapshot"),
        ("nothing", Vec::new(), "fewer than 2 bytes"),
    ];
    for (name, bytes, says) in cases {
        let snapshot = written(&bytes);
        let words = snapshot.words();
        let arguments: Vec<&str> = words.split_whitespace().collect();
        let (peak_kib, answer) = common::watch(&mut common::piped(&arguments));
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(error.contains(says), "{name}: {answer}");
        assert!(peak_kib < 64 << 10, "{name}: {peak_kib} KiB");
        assert!(
            !snapshot.trace().exists(),
            "{name}: there was nothing to keep"
        );
    }
}

#[test]
fn what_comes_late_can_be_referred_to_however_much_came_before() {
    // More texts, each put into the memo and not referred to, than are kept.
    let count = 3_000_000_u32;
    let flood = b"\x8c\x01x\x940".repeat(count as usize);
    let mut late =
        b"}(\x8c\x06action\x94\x8c\x05alloc\x94\x8c\x04addr\x94K\x01\x8c\x04size\x94K\x02u"
            .to_vec();
    late.extend(b"}(");
    for (entry, value) in [(0, None), (2, Some(3)), (3, Some(4))] {
        late.push(b'j');
        late.extend((count + entry).to_le_bytes());
        match value {
            Some(value) => late.extend([b'K', value]),
            None => late.extend([&b"j"[..], &(count + 1).to_le_bytes()].concat()),
        }
    }
    late.extend(b"ueeu.");
    let bytes = [OPENED, &flood, &late].concat();
    let (converted, result) = convert(&bytes[..], None, &mut |_| ());
    let summary = result.expect("nothing is wrong with it");
    let accounting = converted.accounting;
    assert_eq!(
        (accounting.lines, accounting.parsed, summary.dropped),
        (2, 2, 0)
    );
}

/// A small writer of pickles, for shapes that Python does not write.
#[derive(Clone, Debug)]
struct Entry {
    action: &'static str,
    addr: Option<u32>,
    size: Option<u16>,
    frame: Option<u8>,
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let action = proptest::sample::select(vec![
        "alloc",
        "free_requested",
        "free_completed",
        "oom",
        "segment_alloc",
        "snapshot",
        "teleport",
    ]);
    let option = proptest::option::weighted(0.9, any::<u32>());
    (
        action,
        option,
        proptest::option::weighted(0.9, any::<u16>()),
        proptest::option::of(0..4_u8),
    )
        .prop_map(|(action, addr, size, frame)| Entry {
            action,
            addr,
            size,
            frame,
        })
}

fn text(to: &mut Vec<u8>, text: &str) {
    to.extend([0x8c, text.len() as u8]);
    to.extend(text.as_bytes());
}

fn pickle(devices: &[Vec<Entry>]) -> Vec<u8> {
    let mut to = b"\x80\x04}(".to_vec();
    text(&mut to, "device_traces");
    to.extend(b"](");
    for entry in devices {
        to.extend(b"](");
        entry.iter().for_each(|entry| entry.write(&mut to));
        to.push(b'e');
    }
    to.extend(b"eu.");
    to
}

impl Entry {
    fn write(&self, to: &mut Vec<u8>) {
        to.extend(b"}(");
        text(to, "action");
        text(to, self.action);
        if let Some(addr) = self.addr {
            text(to, "addr");
            to.extend([0x8a, 5]);
            to.extend(addr.to_le_bytes());
            to.push(0);
        }
        if let Some(size) = self.size {
            text(to, "size");
            to.push(b'M');
            to.extend(size.to_le_bytes());
        }
        if let Some(frame) = self.frame {
            text(to, "frames");
            to.extend(b"]}(");
            for (key, value) in [("filename", "a\n.py"), ("name", "f")] {
                text(to, key);
                text(to, value);
            }
            text(to, "line");
            to.extend([b'K', frame]);
            to.extend(b"ua");
        }
        to.push(b'u');
    }

    fn is_whole(&self) -> bool {
        match self.action {
            "teleport" => false,
            "oom" => self.size.is_some(),
            "segment_alloc" | "snapshot" => true,
            _ => self.addr.is_some() && self.size.is_some(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn entries_add_up_and_come_back_from_the_trace(
        devices in proptest::collection::vec(proptest::collection::vec(any_entry(), 0..20), 1..4),
    ) {
        let bytes = pickle(&devices);
        let (converted, result) = convert(&bytes[..], None, &mut |_| ());
        let accounting = converted.accounting;
        let entries: Vec<&Entry> = devices.iter().flatten().collect();
        let wrong = entries.iter().filter(|entry| !entry.is_whole()).count() as u64;
        prop_assert_eq!((accounting.lines, accounting.unrecognised), (entries.len() as u64, wrong));
        prop_assert_eq!(result.map(|summary| summary.devices).ok(), Some(devices.len() as u32));
        fuzzing::import_pickle::run(&bytes);
    }

    #[test]
    fn no_changed_byte_makes_more_than_an_error(
        devices in proptest::collection::vec(proptest::collection::vec(any_entry(), 0..6), 1..3),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = pickle(&devices);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        fuzzing::import_pickle::run(&bytes);
    }
}
