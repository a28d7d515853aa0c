use crate::trace::observation::{RefsLeft, ServerAnswer};
use std::io::Cursor;

use proptest::prelude::*;

use super::event::MeterKind;
use super::*;
use crate::import::accounting::MAX_EXCERPTS;
use crate::import::lines::MAX_LINE_BYTES;

const SAMPLES: [(&str, &str); 5] = [
    (
        "01_basic",
        include_str!("../../../corpus/imports/01_basic.log"),
    ),
    (
        "04_dram_l1_same_addr",
        include_str!("../../../corpus/imports/04_dram_l1_same_addr.log"),
    ),
    (
        "20_v144_basic",
        include_str!("../../../corpus/imports/20_v144_basic.log"),
    ),
    ("40_enh", include_str!("../../../corpus/imports/40_enh.log")),
    ("40_v72", include_str!("../../../corpus/imports/40_v72.log")),
];

fn read(bytes: &[u8]) -> (Vec<LogRecord>, Accounting) {
    let mut reader = ServerLogReader::new(Cursor::new(bytes));
    let records: Vec<_> = reader.by_ref().map(|record| record.unwrap()).collect();
    (records, reader.into_accounting())
}

fn event(line: &str) -> LogEvent {
    let (mut records, _) = read(line.as_bytes());
    assert_eq!(records.len(), 1, "{line:?}");
    records.remove(0).what
}

fn assert_adds_up(accounting: &Accounting, records: &[LogRecord]) {
    assert_eq!(accounting.lines, records.len() as u64);
    assert_eq!(
        accounting.lines,
        accounting.parsed + accounting.known_other + accounting.unrecognised
    );
    assert_eq!(accounting.lines, accounting.forms.values().sum::<u64>());
}

fn allocated(address: u64, ref_count: Option<u64>) -> LogEvent {
    LogEvent::Allocated {
        pid: 7,
        size_bytes: 4096,
        buffer_type: 1,
        device: 3,
        address,
        ref_count,
    }
}

#[test]
fn every_line_of_the_samples_is_recognised() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    for (name, text) in SAMPLES {
        let (records, accounting) = read(text.as_bytes());
        assert_adds_up(&accounting, &records);
        assert_eq!(accounting.lines, text.lines().count() as u64);
        assert_eq!(
            accounting.unrecognised, 0,
            "{name}: {:?}",
            accounting.first_unrecognised
        );
        settings.bind(|| {
            insta::assert_debug_snapshot!(format!("import_server_log_{name}"), accounting);
        });
    }
}

#[test]
fn forms_are_read_with_hexadecimal_and_decimal_ids() {
    for id in ["0x1ab20", "109344"] {
        let address = 0x1ab20;
        let cases = [
            (
                format!("✓ [PID 7] Allocated 4096 bytes of L1 on device 3 (buffer_id={id})"),
                allocated(address, None),
            ),
            (
                format!(
                    "✓ [PID 7] Allocated 4096 bytes of L1 on device 3 (buffer_id={id}, ref_count=2)"
                ),
                allocated(address, Some(2)),
            ),
            (
                format!("✗ [PID 7] Freed buffer {id} on device 3 (5 bytes, FINAL)"),
                LogEvent::Freed {
                    pid: 7,
                    address,
                    device: 3,
                    size_bytes: 5,
                    left: RefsLeft::Final,
                },
            ),
            (
                format!("✗ [PID 7] Freed buffer {id} on device 3 (5 bytes, ref_count=4 remaining)"),
                LogEvent::Freed {
                    pid: 7,
                    address,
                    device: 3,
                    size_bytes: 5,
                    left: RefsLeft::Remaining(4),
                },
            ),
            (
                format!("✗ [PID 7] Freed buffer {id} on device 3 (5 bytes)"),
                LogEvent::Freed {
                    pid: 7,
                    address,
                    device: 3,
                    size_bytes: 5,
                    left: RefsLeft::Unstated,
                },
            ),
            (
                format!(
                    "⚠ [PID 7] Deallocation for unknown buffer {id} on device 3 (allocated before tracking started)"
                ),
                LogEvent::UnknownFree {
                    pid: 7,
                    address,
                    device: 3,
                },
            ),
            (
                format!("⚠ Warning: Deallocation for unknown buffer {id}"),
                LogEvent::UnknownFreeBare { address },
            ),
            (
                format!(
                    "⚠ [PID 7] Deallocation for ALREADY FREED buffer {id} on device 3 (allocs=2 frees=3)"
                ),
                LogEvent::AlreadyFreed {
                    pid: 7,
                    address,
                    device: 3,
                    allocs: 2,
                    frees: 3,
                },
            ),
            (
                format!(
                    "⚠ [PID 7] Buffer reused with DIFFERENT size: old=1 new=2 (buffer_id={id}, device=3)"
                ),
                LogEvent::ReusedDifferentSize {
                    pid: 7,
                    old_bytes: 1,
                    new_bytes: 2,
                    address,
                    device: 3,
                },
            ),
            (
                format!("⚠ [PID 7] Invalid buffer_type 5 for buffer {id} on device 3"),
                LogEvent::InvalidBufferType {
                    pid: Some(7),
                    buffer_type: 5,
                    address: Some(address),
                    device: Some(3),
                },
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(event(&line), expected, "{line}");
        }
    }
}

#[test]
fn forms_without_ids_are_read() {
    let meter = |kind, delta_bytes, total_bytes| LogEvent::Meter {
        kind,
        device: 2,
        delta_bytes,
        total_bytes,
        wrapped: false,
    };
    let cases = [
        (
            "⚠️  Invalid device_id -1 - ignoring message",
            LogEvent::InvalidDevice { device: -1 },
        ),
        (
            "⚠️  Invalid size 0 - ignoring message",
            LogEvent::InvalidSize { size_bytes: 0 },
        ),
        ("Unknown message type: 13", LogEvent::UnknownMessageType(13)),
        (
            "✓ [CB_ALLOC] Device 2: +0.25 MB (Total: 0.5 MB)",
            meter(MeterKind::CbAlloc, 1 << 18, Some(1 << 19)),
        ),
        (
            "✗ [CB_FREE] Device 2: -0 MB",
            meter(MeterKind::CbFree, 0, None),
        ),
        (
            "✓ [KERNEL_LOAD] Application kernel on Device 2: +1 MB (Total: 1 MB)",
            meter(MeterKind::KernelLoad, 1 << 20, Some(1 << 20)),
        ),
        (
            "✗ [KERNEL_UNLOAD] Device 2: -1 MB (Total: 0 MB)",
            meter(MeterKind::KernelUnload, 1 << 20, Some(0)),
        ),
        (
            "   PID 9 is dead, removing its buffers...",
            LogEvent::DeadProcess { pid: 9 },
        ),
        (
            "   ✓ Removed 3 CBs (1.5 MB) from PID 9",
            LogEvent::Removed {
                count: 3,
                what: Swept::CircularBuffers,
                pid: 9,
            },
        ),
        ("  Active allocations: 4", LogEvent::ActiveAllocations(4)),
        (
            "   Device 0: Wormhole_B0 (12GB DRAM, 72MB L1)",
            LogEvent::KnownOther(OtherKind::DeviceDetection),
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(event(line), expected, "{line}");
    }
}

#[test]
fn a_total_below_zero_is_marked_as_wrapped() {
    let LogEvent::Meter {
        total_bytes,
        wrapped,
        ..
    } = event("✗ [CB_FREE] Device 0: -1 MB (Total: 1.75922e+13 MB)")
    else {
        panic!("not a meter line");
    };
    assert_eq!((total_bytes, wrapped), (Some(u64::MAX), true));
}

#[test]
fn a_listed_buffer_has_the_device_of_its_heading() {
    let text =
        "REMAINING ALLOCATED BUFFERS\nDevice 5:\n    - Buffer 0x10: 0.5 KB (PID 7, ref_count=2)\n";
    let (records, _) = read(text.as_bytes());
    let listed = |device| LogEvent::Remaining {
        device,
        address: 16,
        size_bytes: 512,
        pid: 7,
        ref_count: Some(2),
    };
    assert_eq!(records[2].what, listed(Some(5)));
    assert_eq!(
        event("    - Buffer 0x10: 0.5 KB (PID 7, ref_count=2)"),
        listed(None)
    );
}

#[test]
fn prefixes_colours_missing_symbols_and_crlf_do_not_matter() {
    let words = "[PID 7] Allocated 4096 bytes of L1 on device 3 (buffer_id=0x10)";
    for line in [
        format!("2026-01-02T03:04:05.678Z ✓ {words}"),
        format!("Jan 02 03:04:05 host server[12]: ✓ {words}"),
        format!("\u{1b}[32m✓\u{1b}[0m {words}\u{1b}[0m"),
        format!("\u{1b}]0;a title\u{7}✓ {words}"),
        format!("\u{1b}]0;a title\u{1b}\\\u{1b}[1;38;5;9m✓\t{words}\u{1b}[m"),
        format!(" {words}"),
        format!("? {words}\r\n"),
        format!("\u{fffd} {words}  \n"),
    ] {
        assert_eq!(event(&line), allocated(16, None), "{line:?}");
    }
    for line in [
        "2026-01-02 03:04:05 📋 DUMP_REMAINING complete.",
        "[12.5] DUMP_REMAINING complete.",
        "??? DUMP_REMAINING complete.",
        "Jan 02 03:04:05 host server[12]: DUMP_REMAINING complete.",
    ] {
        assert_eq!(
            event(line),
            LogEvent::KnownOther(OtherKind::Dump),
            "{line:?}"
        );
    }
}

#[test]
fn numbers_out_of_range_are_unrecognised_with_that_reason() {
    for line in [
        "✓ [PID 7] Allocated 18446744073709551616 bytes of L1 on device 3 (buffer_id=0x10)",
        "✓ [PID 7] Allocated 1 bytes of L1 on device 3 (buffer_id=0x10000000000000000)",
        "✓ [PID 4294967296] Allocated 1 bytes of L1 on device 3 (buffer_id=0x10)",
        "✓ [CB_ALLOC] Device 0: +1e300 MB (Total: 0 MB)",
        "Total tracked allocations: 99999999999999999999",
    ] {
        let expected = LogEvent::Unrecognised(UnrecognisedReason::NumberOutOfRange);
        assert_eq!(event(line), expected, "{line}");
    }
}

#[test]
fn details_that_servers_differ_in_are_known() {
    for line in [
        "🔍 Device detection:",
        "🔍 Device detection (using TT-Metal APIs):",
        "   Device detection failed: no driver",
        "   Device 0: Wormhole_B0 (12GB DRAM, 93MB L1)",
        "   Device 0: Blackhole (32 GB DRAM, 8 channels, 180.5 MB L1, grid 13x10)",
        "   Detected 2 device(s)",
        "   Total: 2 devices",
        "❌ Too many consecutive errors (10), stopping server",
        "Too many consecutive errors (10)",
        "Accept failed: Too many open files (24)",
        "Error: Failed to bind socket",
    ] {
        let event = event(line);
        assert!(
            matches!(
                event,
                LogEvent::KnownOther(OtherKind::DeviceDetection | OtherKind::AcceptFailed)
            ),
            "{line}: {event:?}"
        );
    }
}

#[test]
fn what_our_own_server_says_beside_the_log_is_known() {
    for line in [
        "listening on /tmp/a b/tt.sock",
        "client 0: layout 72 (by whole frames before a pause)",
        "client 3: layout extended (by its hello); if that is wrong, give --layout",
        "warning: a client was turned away: --max-clients are connected; further ones are counted as refused",
        "run.journal: 3 buffers live, from 7 messages",
        "run.journal: 1 buffer live, from 1 message",
        "  its end was not clean and is cut off: a block is damaged",
        "bytes                 297496",
        "lost sequence numbers 0",
        "unknown frees         27",
    ] {
        assert_eq!(
            event(line),
            LogEvent::KnownOther(OtherKind::OwnNotice),
            "{line}"
        );
    }
    for line in ["bytes", "bytes many", "other figures 3", "from 3 messages"] {
        assert!(matches!(event(line), LogEvent::Unrecognised(_)), "{line}");
    }
}

#[test]
fn overlong_lines_are_skipped_and_counted() {
    let mut bytes = vec![b'x'; MAX_LINE_BYTES + 1];
    bytes.extend_from_slice(b"\nUnknown message type: 1\n");
    bytes.extend(vec![b' '; MAX_LINE_BYTES]);
    let (records, accounting) = read(&bytes);
    assert_eq!(
        records[0].what,
        LogEvent::Unrecognised(UnrecognisedReason::Overlong)
    );
    assert_eq!(records[1].what, LogEvent::UnknownMessageType(1));
    assert_eq!(records[2].what, LogEvent::KnownOther(OtherKind::Blank));
    assert_eq!((accounting.overlong, accounting.unrecognised), (1, 1));
    assert_adds_up(&accounting, &records);
}

#[test]
fn only_the_first_unrecognised_lines_are_kept() {
    let text = "what is this\n".repeat(MAX_EXCERPTS + 5);
    let (_, accounting) = read(text.as_bytes());
    assert_eq!(accounting.unrecognised, MAX_EXCERPTS as u64 + 5);
    assert_eq!(accounting.first_unrecognised.len(), MAX_EXCERPTS);
    assert_eq!(accounting.first_unrecognised[1].line, 2);
}

#[test]
fn an_accepted_alloc_that_was_cut_off_is_not_read() {
    let line = "✓ [PID 7] Allocated 4096 bytes of L1 on device 3 (buffer_id=0x1ab20, ref_count=2)";
    for end in 1..line.len() {
        let (records, _) = read(&line.as_bytes()[..end]);
        assert!(
            matches!(
                records[0].what,
                LogEvent::Unrecognised(_) | LogEvent::KnownOther(_)
            ),
            "{end}"
        );
    }
}

#[test]
fn a_line_end_that_was_lost_leaves_no_message_unsaid() {
    let alloc = "✓ [PID 1] Allocated 4096 bytes of DRAM on device 0 (buffer_id=0x1000)";
    let free = "✗ [PID 1] Freed buffer 0x1000 on device 0 (4096 bytes, FINAL)";
    let meter = "✓ [CB_ALLOC] Device 0: +1.5 MB (Total: 1.5 MB)";
    for first in [alloc, free, meter, "⚠ Unknown message type: 105"] {
        for then in [alloc, free, meter] {
            for end in [first.len(), first.len() - 3] {
                let merged = format!("{}{then}", first.get(..end).unwrap_or(first));
                let (records, accounting) = read(merged.as_bytes());
                let lost = LogEvent::Unrecognised(UnrecognisedReason::MergedMessages);
                assert_eq!(records[0].what, lost, "{merged}");
                assert_eq!(accounting.unrecognised, 1);
            }
        }
    }
    // A pid of a log collector, and of nothing else.
    for prefix in ["[PID 9] ", "12:00 [PID 9] server: ", "Allocated 3 [PID 9] "] {
        let (records, _) = read(format!("{prefix}{alloc}").as_bytes());
        let whole = matches!(records[0].what, LogEvent::Allocated { pid: 1, .. });
        assert!(whole, "{prefix}");
    }
}

#[test]
fn damaged_lines_never_panic_and_stay_accounted() {
    for (_, text) in SAMPLES {
        for line in text.lines() {
            for at in 0..line.len() {
                for damaged in [
                    line.as_bytes()[..at].to_vec(),
                    flipped(line, at, 0x80),
                    flipped(line, at, 1),
                ] {
                    let (records, accounting) = read(&damaged);
                    assert_adds_up(&accounting, &records);
                }
            }
        }
    }
}

fn flipped(line: &str, at: usize, bits: u8) -> Vec<u8> {
    let mut bytes = line.as_bytes().to_vec();
    bytes[at] ^= bits;
    bytes
}

#[test]
fn an_error_of_the_source_ends_the_reading() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("gone"))
        }
    }
    let mut reader = ServerLogReader::new(std::io::BufReader::new(Broken));
    assert!(reader.next().unwrap().is_err());
    assert!(reader.next().is_none());
}

#[test]
fn messages_are_rebuilt_with_what_the_server_said() {
    let text = SAMPLES[0].1;
    let (records, _) = read(text.as_bytes());
    let messages: Vec<_> = records.iter().filter_map(to_message).collect();
    assert_eq!(messages.len(), 7 + 5 + 4 + 3 + 11);
    assert_eq!(
        (
            messages[0].line,
            messages[0].server_answer,
            messages[0].complete
        ),
        (8, ServerAnswer::Inserted, true)
    );
    assert_eq!(messages[1].server_answer, ServerAnswer::RefCount(2));
    assert_eq!(
        messages[3].server_answer,
        ServerAnswer::Freed(RefsLeft::Remaining(2))
    );
    assert_eq!(
        (messages[3].message.size_bytes, messages[3].message.address),
        (0, 0x18b20)
    );
    assert_eq!(messages[6].server_answer, ServerAnswer::UnknownFree);
    assert_eq!(
        (messages[12].server_answer, messages[12].message.buffer_type),
        (ServerAnswer::Rejected, 5)
    );
}

proptest! {
    #[test]
    fn any_text_yields_one_class_a_line(text in "\\PC*(\n\\PC*){0,4}") {
        let (records, accounting) = read(text.as_bytes());
        assert_adds_up(&accounting, &records);
    }

    #[test]
    fn any_bytes_yield_one_class_a_line(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let (records, accounting) = read(&bytes);
        assert_adds_up(&accounting, &records);
    }
}
