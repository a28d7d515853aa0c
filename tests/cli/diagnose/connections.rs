//! What connections say of processes: one that ends, and one that begins anew.

use heisenbed::diagnosis::{Cause, Circumstances, Diagnoser, Diagnosis};
use heisenbed::trace::observation::{Observation, Observed};
use heisenbed::tracking::{Message, MessageKind};

/// A message of the plain wire, over a connection.
pub(super) fn message(position: u64, conn: u32, kind: MessageKind, address: u64) -> Observation {
    Observation {
        position,
        at_ns: None,
        conn: Some(conn),
        what: Observed::Message {
            message: Message {
                kind,
                device: 0,
                size_bytes: 4096,
                buffer_type: 1,
                pid: 7,
                address,
                timestamp_ns: 0,
                extension: None,
            },
            complete: true,
            server_answer: None,
        },
    }
}

/// What is made of these messages: kind, connection and address; no kind closes the connection.
fn of_connections(messages: &[(Option<MessageKind>, u32, u64)]) -> Diagnosis {
    let mut diagnoser = Diagnoser::default();
    for (position, (kind, conn, address)) in (1..).zip(messages) {
        diagnoser.observe(&match kind {
            Some(kind) => message(position, *conn, *kind, *address),
            None => Observation {
                what: Observed::Closed,
                ..message(position, *conn, MessageKind::Free, 0)
            },
        });
    }
    diagnoser.finish(Circumstances {
        complete: true,
        ..Circumstances::default()
    })
}

#[test]
fn a_process_that_begins_anew_is_seen_by_its_connection() {
    let addresses = [0x100, 0x200, 0x300, 0x400];
    let allocs = |conn| addresses.map(|address| (Some(MessageKind::Alloc), conn, address));
    let frees = addresses.map(|address| (Some(MessageKind::Free), 1, address));
    let messages: Vec<_> = allocs(0)
        .into_iter()
        .chain([(None, 0, 0)])
        .chain(allocs(1))
        .chain(frees)
        .collect();
    let diagnosis = of_connections(&messages);
    let named = diagnosis.named().expect("four lives end where it begins");
    assert_eq!((named.cause, named.count), (Cause::PidReuse, 4));
}

#[test]
fn a_client_that_connects_again_is_no_new_process() {
    let addresses = [0x100, 0x200, 0x300, 0x400];
    let messages: Vec<_> = addresses
        .map(|address| (Some(MessageKind::Alloc), 0, address))
        .into_iter()
        .chain([(None, 0, 0)])
        .chain(addresses.map(|address| (Some(MessageKind::Free), 1, address)))
        .collect();
    let diagnosis = of_connections(&messages);
    assert!(!diagnosis.trouble, "{:?}", diagnosis.causes);
}
