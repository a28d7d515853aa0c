//! The checker fed by hand: traces that no run of ours leaves, because the run itself would be
//! wrong.

use crate::common::scripted;
use heisenbed::device::DeviceId;
use heisenbed::oracle::{Checker, Kind, Verdict};
use heisenbed::scenario::Scenario;
use heisenbed::scenario::objects::ConnId;
use heisenbed::trace::event::{Event, FreeOutcome, ReceiveCode, SendOutcome};
use heisenbed::trace::file::{AtRest, End, SERVER_STREAM, TableEntry};
use heisenbed::trace::merge::MergedEvent;
use heisenbed::tracking::sent::SentKind;

/// One thread that allocates a buffer and keeps it.
fn keeps_one() -> Scenario {
    scripted(&[&["allocate s0#1 4096 l1 d0 releases=0"]])
}

fn feed(checker: &mut Checker, stream: u16, event: Event) {
    checker.observe(&MergedEvent { stream, event });
}

/// A checker that has seen the thread allocate and send.
fn sent(scenario: &Scenario) -> Checker {
    let mut checker = Checker::new(scenario, true);
    let op = scenario.ops_of(0, 0).next().expect("one operation");
    let events = [
        Event::Open { op, version: 1 },
        Event::Alloc {
            device: DeviceId(0),
            address: 64,
            version: 1,
        },
        Event::Send {
            kind: SentKind::Alloc,
            chunk: 0,
            conn: ConnId(0),
            outcome: SendOutcome::Sent,
            version: 1,
        },
    ];
    for event in events {
        feed(&mut checker, 0, event);
    }
    checker
}

fn received(checker: &mut Checker, code: ReceiveCode) {
    let conn = ConnId(0);
    feed(checker, SERVER_STREAM, Event::Receive { conn, code });
}

fn end(table: Vec<TableEntry>) -> End {
    End {
        completed: true,
        client_dropped: 0,
        client_sent: 1,
        server: AtRest::Table(table),
    }
}

fn shown() -> TableEntry {
    TableEntry {
        device: 0,
        memory: heisenbed::device::Memory::L1 as u8,
        circular: false,
        address: 64,
        size_bytes: 4096,
        thread: 0,
        generation: 1,
        refcount: 1,
    }
}

#[test]
fn a_message_that_the_server_took_and_shows_is_clean_and_its_buffer_a_leak() {
    let mut checker = sent(&keeps_one());
    received(&mut checker, ReceiveCode::Inserted);
    assert_eq!(checker.contradiction(), None);
    let report = checker.finish(Some(&end(vec![shown()])), None);
    assert_eq!((report.verdict, report.leaks), (Verdict::Clean, 1));
}

#[test]
fn a_message_that_was_sent_and_never_received_is_lost() {
    let report = sent(&keeps_one()).finish(Some(&end(Vec::new())), None);
    assert_eq!(report.count(Kind::LostMessage), 1);
    assert_eq!(report.count(Kind::MissingLive), 1);
}

#[test]
fn a_server_that_shows_another_size_than_it_took_is_stale() {
    let mut checker = sent(&keeps_one());
    received(&mut checker, ReceiveCode::Inserted);
    let wrong = TableEntry {
        size_bytes: 8192,
        ..shown()
    };
    let report = checker.finish(Some(&end(vec![wrong])), None);
    assert_eq!(
        report.divergences.into_iter().collect::<Vec<_>>(),
        [(Kind::StaleMetadata, 1)]
    );
}

#[test]
fn an_outcome_that_does_not_follow_from_the_messages_contradicts_the_trace() {
    let mut checker = sent(&keeps_one());
    received(&mut checker, ReceiveCode::UnknownFree);
    let why = checker.contradiction().expect("a contradiction");
    assert!(
        why.contains("UnknownFree") && why.contains("Inserted"),
        "{why}"
    );
}

#[test]
fn an_allocators_answer_that_does_not_follow_from_its_history_contradicts_the_trace() {
    let mut checker = sent(&keeps_one());
    let event = Event::Free {
        device: DeviceId(0),
        outcome: FreeOutcome::NotAllocated,
        version: 2,
    };
    feed(&mut checker, 0, event);
    let why = checker.contradiction().expect("a contradiction");
    assert!(
        why.contains("NotAllocated") && why.contains("Freed"),
        "{why}"
    );
}

#[test]
fn more_received_than_sent_contradicts_the_trace() {
    let mut checker = sent(&keeps_one());
    received(&mut checker, ReceiveCode::Inserted);
    received(&mut checker, ReceiveCode::Replaced);
    assert!(checker.contradiction().is_some());
}

/// The buffer is gone again before the run is at rest: then nothing else would show it.
#[test]
fn a_message_that_the_server_refuses_is_lost() {
    let too_large = format!("allocate s0#1 {} l1 d0", 200u64 << 30);
    let scenario = scripted(&[&[&too_large, "release s0#1"]]);
    let mut checker = sent(&scenario);
    received(&mut checker, ReceiveCode::Rejected);
    let release = scenario.ops_of(0, 0).nth(1).expect("two operations");
    for event in [
        Event::Open {
            op: release,
            version: 2,
        },
        Event::Free {
            device: DeviceId(0),
            outcome: FreeOutcome::Freed,
            version: 2,
        },
    ] {
        feed(&mut checker, 0, event);
    }
    let report = checker.finish(Some(&end(Vec::new())), None);
    assert_eq!(
        report.divergences.into_iter().collect::<Vec<_>>(),
        [(Kind::LostMessage, 1)]
    );
}
