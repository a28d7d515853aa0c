use std::io::Cursor;

use super::*;
use crate::import::server_log::ServerLogReader;
use MessageFinding::*;

fn check(text: &str) -> MessageReport {
    let mut log = ServerLogReader::new(Cursor::new(text));
    let mut check = MessageCheck::default();
    for record in &mut log {
        check.observe(&record.unwrap());
    }
    let read = log.into_accounting();
    assert_eq!(read.unrecognised, 0, "{:?}", read.first_unrecognised);
    check.finish()
}

fn findings(text: &str) -> Vec<(MessageFinding, u64)> {
    check(text).findings.into_iter().collect()
}

fn assert_silent(text: &str) {
    let report = check(text);
    assert!(
        report.findings.is_empty() && report.notes.is_empty() && report.first.is_none(),
        "{report:?}"
    );
}

const ALLOC: &str = "✓ [PID 7] Allocated 4096 bytes of L1 on device 0 (buffer_id=0x10)\n";
const ALLOC_2: &str =
    "✓ [PID 7] Allocated 4096 bytes of L1 on device 0 (buffer_id=0x10, ref_count=2)\n";
const FREE: &str = "✗ [PID 7] Freed buffer 0x10 on device 0 (4096 bytes, FINAL)\n";
const FREE_1: &str =
    "✗ [PID 7] Freed buffer 0x10 on device 0 (4096 bytes, ref_count=1 remaining)\n";
const UNKNOWN: &str = "⚠ [PID 7] Deallocation for unknown buffer 0x10 on device 0 (allocated before tracking started)\n";

#[test]
fn samples_give_the_known_findings() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    for (name, text) in [
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
    ] {
        settings
            .bind(|| insta::assert_debug_snapshot!(format!("message_check_{name}"), check(text)));
    }
}

#[test]
fn alternating_messages_are_silent() {
    assert_silent(&format!("{ALLOC}{FREE}{ALLOC}{FREE}"));
}

#[test]
fn a_free_of_a_key_that_was_never_live_is_an_unknown_free() {
    let report = check(UNKNOWN);
    assert_eq!(report.findings, BTreeMap::from([(UnknownFree, 1)]));
    let first = FirstFinding {
        kind: UnknownFree,
        device: Some(0),
        address: 0x10,
        line: 1,
    };
    assert_eq!(report.first, Some(first));
}

#[test]
fn a_free_after_a_free_is_unknown_and_noted_until_the_key_is_allocated_again() {
    let freed_before = |text: &str| {
        let report = check(text);
        let noted = report.notes.get(&MessageNote::FreedBefore);
        assert_eq!(report.findings[&UnknownFree], 1);
        noted.map_or(0, |noted| noted.count)
    };
    assert_eq!(freed_before(&format!("{ALLOC}{FREE}{UNKNOWN}")), 1);
    // The server's own words say how many messages came, not in which order they were sent.
    let already =
        "⚠ [PID 7] Deallocation for ALREADY FREED buffer 0x10 on device 0 (allocs=1 frees=2)\n";
    assert_eq!(freed_before(&format!("{ALLOC}{FREE}{already}")), 1);
    assert_eq!(freed_before(&already.replace("allocs=1", "allocs=0")), 0);
    assert_eq!(freed_before(UNKNOWN), 0);
    assert_silent(&format!("{ALLOC}{FREE}{ALLOC}{FREE}"));
}

#[test]
fn an_alloc_of_a_live_key_is_a_duplicate_and_nothing_else_if_it_is_the_same() {
    assert_eq!(
        findings(&format!("{ALLOC}{ALLOC_2}{FREE_1}{FREE}")),
        [(DuplicateAlloc, 1)]
    );
}

#[test]
fn a_server_without_counts_shows_duplicates_by_repeated_allocs_only() {
    assert_eq!(findings(&format!("{ALLOC}{ALLOC}")), [(DuplicateAlloc, 1)]);
    let report = check(&format!("{ALLOC}{FREE}{ALLOC}{ALLOC}"));
    assert!(report.findings.is_empty());
    assert_eq!(
        report.notes[&MessageNote::RefCountDisagreement],
        Noted {
            count: 1,
            first_line: 4
        }
    );
}

#[test]
fn kept_metadata_that_differs_is_stale_and_another_type_is_misattributed() {
    let size = ALLOC_2.replace("4096", "2048");
    assert_eq!(
        findings(&format!("{ALLOC}{size}{FREE_1}{FREE}")),
        [(DuplicateAlloc, 1), (StaleMetadata, 1)]
    );
    let owner = ALLOC_2.replace("PID 7", "PID 8");
    assert_eq!(
        findings(&format!("{ALLOC}{owner}")),
        [(DuplicateAlloc, 1), (StaleMetadata, 1)]
    );
    let memory = ALLOC_2.replace("L1", "DRAM");
    let expected = [(DuplicateAlloc, 1), (StaleMetadata, 1), (Misattributed, 1)];
    assert_eq!(findings(&format!("{ALLOC}{memory}")), expected);
}

#[test]
fn a_freed_size_that_no_alloc_stated_last_is_stale() {
    let free = FREE.replace("4096", "1");
    assert_eq!(findings(&format!("{ALLOC}{free}")), [(StaleMetadata, 1)]);
}

#[test]
fn a_size_that_the_server_takes_over_is_not_stale() {
    let size = ALLOC_2.replace("4096", "2048");
    let notice =
        "⚠ [PID 7] Buffer reused with DIFFERENT size: old=4096 new=2048 (buffer_id=16, device=0)\n";
    assert_eq!(
        findings(&format!("{ALLOC}{notice}{size}")),
        [(DuplicateAlloc, 1)]
    );
}

#[test]
fn what_is_live_at_the_end_is_listed_with_its_origin_and_is_no_finding() {
    let report = check(&format!("\n{ALLOC}"));
    assert!(report.findings.is_empty());
    assert_eq!(report.live_at_end_total, 1);
    let live = report.live_at_end[0];
    assert_eq!(
        (live.line, live.address, live.size_bytes, live.ref_count),
        (2, 0x10, Some(4096), 1)
    );
    assert_eq!(check(&format!("{ALLOC}{FREE}")).live_at_end_total, 0);
}

#[test]
fn a_long_list_of_live_keys_is_cut_off_but_counted() {
    let text: String = (0..1500)
        .map(|i| ALLOC.replace("0x10", &i.to_string()))
        .collect();
    let report = check(&text);
    assert_eq!(
        (report.live_at_end_total, report.live_at_end.len()),
        (1500, MAX_LIVE_LISTED)
    );
    assert!(report.live_at_end.is_sorted_by_key(|key| key.line));
}

#[test]
fn a_log_that_starts_late_is_noted_and_followed() {
    let report = check(&format!("{FREE_1}{FREE}"));
    assert!(report.findings.is_empty());
    assert_eq!(
        report.notes[&MessageNote::LateAttach],
        Noted {
            count: 1,
            first_line: 1
        }
    );
    assert_eq!((report.notes.len(), report.live_at_end_total), (1, 0));
}

#[test]
fn a_sweep_removes_what_the_dead_process_owned() {
    let sweep = "   PID 7 is dead, removing its buffers...\n   ✓ Removed 1 buffers (0.00390625 MB) from PID 7\n";
    let report = check(&format!("{ALLOC}{sweep}"));
    assert_eq!(
        (report.swept, report.live_at_end_total, report.notes.len()),
        (1, 0, 0)
    );
    assert_eq!(check(sweep).notes[&MessageNote::SweepDisagreement].count, 1);
}

#[test]
fn a_restart_forgets_what_was_live() {
    let report = check(&format!("{ALLOC}🚀 Allocation Server started\n{ALLOC}"));
    assert!(report.findings.is_empty());
    assert_eq!(
        (
            report.live_at_end_total,
            report.notes[&MessageNote::RestartWithLive].count
        ),
        (1, 1)
    );
}

#[test]
fn unknown_message_types_and_wrapped_totals_are_counted_apart() {
    let report =
        check("Unknown message type: 10\n✗ [CB_FREE] Device 0: -1 MB (Total: 1.75922e+13 MB)\n");
    assert!(report.findings.is_empty());
    assert_eq!((report.unknown_messages, report.messages), (1, 1));
    assert_eq!(report.notes[&MessageNote::WrappedTotal].count, 1);
}

#[test]
fn a_count_of_live_keys_that_differs_is_noted() {
    assert_silent(&format!("{ALLOC}  Active allocations: 1\n"));
    let report = check(&format!("{ALLOC}  Active allocations: 2\n"));
    assert_eq!(report.notes[&MessageNote::LiveCountDisagreement].count, 1);
}
