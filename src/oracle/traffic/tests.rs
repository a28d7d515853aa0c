use super::*;
use crate::oracle::kind::{Kind, Strength, Verdict};
use crate::tracking::wire::encode;
use crate::tracking::{Message, MessageKind};

const L1: u32 = 1;

impl TrafficRules {
    fn check(&self, events: &[TrafficEvent], completed: bool, in_words: bool) -> TrafficReport {
        self.check_without(None, events, completed, in_words)
    }
}

fn alloc(thread: u16, address: u64, size_bytes: u64) -> TrafficEvent {
    TrafficEvent::Alloc {
        thread,
        device: 0,
        memory: L1,
        address,
        size_bytes,
    }
}

fn free(thread: u16, address: u64) -> TrafficEvent {
    TrafficEvent::Free {
        thread,
        device: 0,
        memory: L1,
        address,
    }
}

fn message(kind: MessageKind, address: u64, size_bytes: u64) -> Vec<u8> {
    let message = Message {
        size_bytes,
        buffer_type: 1,
        address,
        ..Message::bare(kind, 0, 7)
    };
    encode(Layout::V112, &message).as_bytes().to_vec()
}

fn sent(thread: u16, bytes: Vec<u8>) -> TrafficEvent {
    TrafficEvent::Sent {
        thread,
        conn: 0,
        bytes,
        at_once: true,
    }
}

fn says_alloc(thread: u16, address: u64, size_bytes: u64) -> TrafficEvent {
    sent(thread, message(MessageKind::Alloc, address, size_bytes))
}

fn says_free(thread: u16, address: u64) -> TrafficEvent {
    sent(thread, message(MessageKind::Free, address, 0))
}

fn rules(semantics: Semantics) -> TrafficRules {
    TrafficRules {
        semantics,
        layout: Some(Layout::V112),
        devices: None,
    }
}

fn check(semantics: Semantics, events: &[TrafficEvent]) -> Report {
    let mut all = vec![TrafficEvent::Opened];
    all.extend_from_slice(events);
    rules(semantics).check(&all, true, true).report
}

fn kinds(report: &Report) -> Vec<&'static str> {
    report.divergences.keys().map(|kind| kind.name()).collect()
}

#[test]
fn messages_that_follow_the_allocator_are_clean() {
    let report = check(
        Semantics::Refcount,
        &[
            alloc(0, 64, 4096),
            says_alloc(0, 64, 4096),
            says_free(0, 64),
            free(0, 64),
            alloc(1, 64, 8192),
            says_alloc(1, 64, 8192),
        ],
    );
    assert_eq!(
        (report.verdict, report.strength),
        (Verdict::Clean, Strength::Exact)
    );
    assert_eq!((report.leaks, report.messages, report.ops), (1, 3, 3));
}

#[test]
fn messages_that_are_written_together_are_taken_together() {
    let both = [
        message(MessageKind::Alloc, 64, 4096),
        message(MessageKind::Free, 64, 0),
        message(MessageKind::Alloc, 64, 512),
    ];
    let report = check(
        Semantics::Refcount,
        &[
            alloc(0, 64, 4096),
            free(0, 64),
            alloc(0, 64, 512),
            sent(0, both.concat()),
        ],
    );
    assert_eq!(report.verdict, Verdict::Clean, "{report:?}");
    let report = check(
        Semantics::Refcount,
        &[alloc(0, 64, 4096), sent(0, both[..2].concat()), free(0, 64)],
    );
    assert_eq!(report.verdict, Verdict::Clean, "{report:?}");
}

/// The reported race: the address is given back before its FREE is sent, and handed out again.
fn overtaken() -> Vec<TrafficEvent> {
    vec![
        alloc(0, 64, 4096),
        says_alloc(0, 64, 4096),
        free(0, 64),
        alloc(1, 64, 8192),
        says_alloc(1, 64, 8192),
        says_free(0, 64),
    ]
}

#[test]
fn a_free_that_is_overtaken_leaves_a_live_buffer_missing() {
    let report = check(Semantics::Overwrite, &overtaken());
    assert_eq!(kinds(&report), ["duplicate-alloc", "missing-live"]);
    assert_eq!(
        report.first.map(|first| first.kind),
        Some(Kind::DuplicateAlloc)
    );
}

#[test]
fn a_server_that_counts_references_keeps_the_old_size() {
    let report = check(Semantics::Refcount, &overtaken());
    assert_eq!(kinds(&report), ["stale-metadata"]);
}

#[test]
fn a_free_before_its_alloc_is_an_unknown_buffer_and_a_phantom() {
    let report = check(
        Semantics::Overwrite,
        &[
            alloc(0, 64, 4096),
            free(0, 64),
            says_free(0, 64),
            says_alloc(0, 64, 4096),
        ],
    );
    assert_eq!(kinds(&report), ["unknown-free", "phantom-live"]);
}

#[test]
fn a_message_of_another_size_than_the_allocator_s_is_told_at_once() {
    let mut all = vec![TrafficEvent::Opened];
    all.extend([alloc(0, 64, 100), says_alloc(0, 64, 128)]);
    let found = rules(Semantics::Refcount).check(&all, true, true);
    let first = found.report.first.expect("it is one");
    assert_eq!((first.kind, first.address), (Kind::StaleMetadata, Some(64)));
    assert!(found.words[2].contains("of 100 bytes to the allocator"));
}

#[test]
fn an_address_that_is_taken_back_twice_is_a_double_free() {
    let report = check(
        Semantics::Overwrite,
        &[
            alloc(0, 64, 4096),
            says_alloc(0, 64, 4096),
            says_free(0, 64),
            free(0, 64),
            free(1, 64),
        ],
    );
    assert_eq!(kinds(&report), ["double-free"]);
}

#[test]
fn a_message_without_room_is_lost_unless_it_is_sent_again() {
    let dropped = |thread| TrafficEvent::Dropped {
        thread,
        conn: 0,
        bytes: message(MessageKind::Alloc, 64, 4096),
    };
    let again = check(
        Semantics::Overwrite,
        &[
            alloc(0, 64, 4096),
            dropped(0),
            dropped(0),
            says_alloc(0, 64, 4096),
        ],
    );
    assert_eq!(again.verdict, Verdict::Clean);
    let lost = check(
        Semantics::Overwrite,
        &[
            alloc(0, 64, 4096),
            dropped(0),
            alloc(0, 128, 4096),
            says_alloc(0, 128, 4096),
        ],
    );
    assert_eq!(kinds(&lost), ["missing-live", "lost-message"]);
}

#[test]
fn pieces_of_one_thread_are_a_frame_and_of_two_are_torn() {
    let (first, second) = (
        message(MessageKind::Alloc, 64, 4096),
        message(MessageKind::Alloc, 128, 4096),
    );
    let half = |thread, bytes: &[u8], which: usize| {
        sent(thread, bytes[which * 56..(which + 1) * 56].to_vec())
    };
    let truth = [alloc(0, 64, 4096), alloc(1, 128, 4096)];
    let whole = [
        half(0, &first, 0),
        half(0, &first, 1),
        half(1, &second, 0),
        half(1, &second, 1),
    ];
    let report = check(Semantics::Overwrite, &[&truth[..], &whole].concat());
    assert_eq!(report.verdict, Verdict::Clean, "{report:?}");
    let mixed = [
        half(0, &first, 0),
        half(1, &second, 0),
        half(0, &first, 1),
        half(1, &second, 1),
    ];
    let report = check(Semantics::Overwrite, &[&truth[..], &mixed].concat());
    assert_eq!(kinds(&report), ["torn-frame"]);
    // A buffer that one thread fills and another writes out is no torn frame.
    let joined = [first.clone(), second.clone()].concat();
    let flushed = [
        sent(0, joined[..80].to_vec()),
        sent(1, joined[80..].to_vec()),
    ];
    let report = check(Semantics::Overwrite, &[&truth[..], &flushed].concat());
    assert_eq!(report.verdict, Verdict::Clean, "{report:?}");
}

#[test]
fn a_layout_that_does_not_fit_is_said_and_nothing_is_accused() {
    let events: Vec<TrafficEvent> = (1..20)
        .flat_map(|i| [alloc(0, 64 * i, 4096), says_alloc(0, 64 * i, 4096)])
        .collect();
    let mut all = vec![TrafficEvent::Opened];
    all.extend(events);
    let stated = TrafficRules {
        layout: Some(Layout::V144),
        ..rules(Semantics::Refcount)
    };
    let report = stated.check(&all, true, false).report;
    assert_eq!(report.verdict, Verdict::Inconclusive);
    let note = report.note.unwrap_or_default();
    assert!(note.contains("do not fit layout 144"), "{note}");
    assert!(note.contains("look like layout 112"), "{note}");
    assert!(!report.complete);
    let found = TrafficRules {
        layout: None,
        ..stated
    };
    assert_eq!(
        found.check(&all, true, false).report.verdict,
        Verdict::Clean
    );
}

#[test]
fn what_was_not_checked_is_said() {
    let rules = rules(Semantics::Refcount);
    let nobody = rules.check(&[alloc(0, 64, 4096)], true, false).report;
    assert_eq!(nobody.verdict, Verdict::Inconclusive);
    assert!(nobody.note.unwrap().contains("never connected"));
    let elsewhere = TrafficEvent::Elsewhere {
        path: "/run/other.sock".to_owned(),
    };
    let there = rules.check(&[elsewhere], true, false).report;
    assert!(there.note.unwrap().contains("--tracking /run/other.sock"));
    let silent = rules.check(&[TrafficEvent::Opened], true, false).report;
    assert!(silent.note.unwrap().contains("sent no message"));
    let untold = check(Semantics::Refcount, &[says_alloc(0, 64, 4096)]);
    assert_eq!(
        (untold.verdict, untold.strength),
        (Verdict::Inconclusive, Strength::Messages)
    );
    assert!(untold.complete);
}

#[test]
fn without_truth_messages_are_held_against_each_other() {
    let report = check(
        Semantics::Refcount,
        &[says_alloc(0, 64, 4096), says_free(1, 64), says_free(1, 64)],
    );
    assert_eq!(kinds(&report), ["unknown-free"]);
    assert_eq!(report.first.and_then(|first| first.thread), Some(1));
    assert_eq!(report.strength, Strength::Messages);
}

#[test]
fn totals_are_compared_at_rest() {
    let total = |bytes| TrafficEvent::Total {
        device: 0,
        memory: L1,
        bytes,
        at_rest: false,
    };
    let right = [says_alloc(0, 64, 4096), total(0), total(4096)];
    let report = check(Semantics::Refcount, &right);
    assert_eq!(
        (report.verdict, report.strength),
        (Verdict::Clean, Strength::Totals)
    );
    let wrong = [says_alloc(0, 64, 4096), total(0)];
    assert_eq!(kinds(&check(Semantics::Refcount, &wrong)), ["phantom-live"]);
}

#[test]
fn a_truth_that_knows_less_than_all_accuses_nobody() {
    let report = check(
        Semantics::Overwrite,
        &[says_alloc(0, 64, 4096), says_free(0, 64), free(0, 64)],
    );
    assert_eq!(report.verdict, Verdict::Inconclusive);
    assert!(report.note.unwrap().contains("never handed out"));
    let all = [&[TrafficEvent::Opened], &overtaken()[..]].concat();
    let why = Some("it is not there".to_owned());
    let rules = rules(Semantics::Refcount);
    let report = rules.check_without(why, &all[..5], true, false).report;
    assert_eq!(report.note.as_deref(), Some("it is not there"));
    assert_eq!(report.verdict, Verdict::Inconclusive);
}

#[test]
fn a_layout_that_is_stated_wrong_is_no_torn_frame() {
    let mut all = vec![TrafficEvent::Opened];
    for i in 1..20u16 {
        all.push(says_alloc(i % 2, 64 * u64::from(i), 4096));
    }
    let stated = TrafficRules {
        layout: Some(Layout::V144),
        ..rules(Semantics::Refcount)
    };
    let report = stated.check(&all, true, false).report;
    assert!(report.divergences.is_empty(), "{report:?}");
    assert!(report.note.unwrap().contains("look like layout 112"));
}

#[test]
fn torn_frames_from_the_first_on_are_torn_also_where_no_layout_is_stated() {
    let messages: Vec<Vec<u8>> = (1..5)
        .map(|i| message(MessageKind::Alloc, 64 * i, 4096))
        .collect();
    let mut all = vec![TrafficEvent::Opened];
    for pair in messages.chunks(2) {
        for (range, thread) in [(0..40, 0), (0..40, 1), (40..112, 0), (40..112, 1)] {
            all.push(sent(thread, pair[usize::from(thread)][range].to_vec()));
        }
    }
    let found = TrafficRules {
        layout: None,
        ..rules(Semantics::Refcount)
    };
    assert_eq!(
        kinds(&found.check(&all, true, false).report),
        ["torn-frame"]
    );
}

#[test]
fn a_truth_that_contradicts_itself_accuses_nobody() {
    let report = check(
        Semantics::Overwrite,
        &[
            alloc(0, 64, 4096),
            says_alloc(0, 64, 4096),
            alloc(1, 64, 4096),
        ],
    );
    assert_eq!(report.verdict, Verdict::Inconclusive);
    assert!(report.note.unwrap().contains("which is live"));
    let beyond = TrafficEvent::Alloc {
        thread: 0,
        device: 70_000,
        memory: 9,
        address: 0,
        size_bytes: 1,
    };
    let report = check(Semantics::Overwrite, &[beyond, says_alloc(0, 64, 1)]);
    assert!(report.note.unwrap().contains("names device 70000"));
}

#[test]
fn kernels_and_circular_buffers_that_the_allocator_does_not_know_are_not_held_against_it() {
    let report = check(
        Semantics::Refcount,
        &[
            alloc(0, 64, 4096),
            says_alloc(0, 64, 4096),
            sent(0, message(MessageKind::CbAlloc, 64, 512)),
            sent(0, message(MessageKind::KernelLoad, 0, 512)),
            sent(0, message(MessageKind::CbFree, 4096, 0)),
        ],
    );
    assert_eq!(report.verdict, Verdict::Clean, "{report:?}");
}

#[test]
fn what_happened_is_told_in_words() {
    let mut all = vec![TrafficEvent::Opened];
    all.extend(overtaken());
    let found = rules(Semantics::Overwrite).check(&all, true, true);
    assert_eq!(
        found.words[5],
        "ALLOC 0x40 (device 0, l1, 8,192 bytes) → replaces a live one of 4,096 bytes  ← duplicate-alloc"
    );
    assert_eq!(found.first_event, Some(5));
    assert_eq!(found.words[3], "allocator takes back 0x40 (device 0, l1)");
}

#[test]
fn two_connections_are_taken_in_the_order_that_is_given() {
    let on = |conn, thread, bytes: Vec<u8>| TrafficEvent::Sent {
        thread,
        conn,
        bytes,
        at_once: false,
    };
    let sends = [
        TrafficEvent::Opened,
        TrafficEvent::Opened,
        alloc(0, 64, 4096),
        on(0, 0, message(MessageKind::Alloc, 64, 4096)),
        on(1, 1, message(MessageKind::Free, 64, 0)),
        free(1, 64),
    ];
    let taken = |order: [u32; 2]| {
        let takes = order.map(|conn| TrafficEvent::Taken { conn });
        let rules = rules(Semantics::Refcount);
        rules
            .check(&[&sends[..], &takes].concat(), true, false)
            .report
    };
    assert_eq!(taken([0, 1]).verdict, Verdict::Clean);
    assert_eq!(kinds(&taken([1, 0])), ["unknown-free", "phantom-live"]);
}
