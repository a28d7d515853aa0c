//! A client's raw bytes, whose start is damaged. That every byte is accounted for is shown in
//! `tests/servers/proxy.rs`.

use heisenbed::tracking::{Layout, Message, MessageKind, wire};

use super::{Recording, run_json};

const LAYOUTS: [Layout; 6] = [
    Layout::V72,
    Layout::V112,
    Layout::V128,
    Layout::V144,
    Layout::V648,
    Layout::Extended,
];

fn frame(layout: Layout, kind: MessageKind, address: u64) -> Vec<u8> {
    let message = Message {
        kind,
        device: 2,
        size_bytes: if kind == MessageKind::Alloc { 4096 } else { 0 },
        buffer_type: 1,
        pid: 4242,
        address,
        timestamp_ns: 1_700_000_000_000_000_000,
        extension: None,
    };
    wire::encode(layout, &message).as_bytes().to_vec()
}

#[test]
fn a_damaged_start_costs_what_is_damaged_in_every_layout() {
    let starts: [(&str, Vec<u8>); 3] = [
        (
            "noise",
            (0..61_u32)
                .map(|index| (index * 151 + 13) as u8 | 0x20)
                .collect(),
        ),
        ("another log's text", b"INFO the server is ready\n".to_vec()),
        ("ones", vec![0xff; 1000]),
    ];
    for layout in LAYOUTS {
        let messages: Vec<u8> = (0..50)
            .flat_map(|index| {
                let kind = if index % 5 == 4 {
                    MessageKind::Free
                } else {
                    MessageKind::Alloc
                };
                frame(
                    layout,
                    kind,
                    0x1000 * (if index % 5 == 4 { index } else { index + 1 }),
                )
            })
            .collect();
        for (name, start) in &starts {
            let raw = Recording::new("wire", "raw", [start.as_slice(), &messages].concat());
            // Heisenbed's own layout is announced by what is missing here; it has to be told.
            let told = match layout {
                Layout::Extended => " --layout extended",
                _ => "",
            };
            let (account, code) = run_json(&format!("{}{told}", raw.words()));
            assert_eq!(code, 0, "{layout:?}, {name}: {account}");
            assert_eq!(
                account["layouts"].as_array().map(Vec::len),
                Some(1),
                "{account}"
            );
            assert_eq!(
                account["layouts"][0]["layout"],
                serde_json::json!(layout),
                "{name}: {account}"
            );
            let whole = frame(layout, MessageKind::Alloc, 0).len() as u64;
            let known = whole * account["frames"].as_u64().expect("a count");
            let skipped = account["skipped_bytes"].as_u64().expect("a count");
            let torn = account["torn_bytes"].as_u64().expect("a count");
            assert_eq!(
                known + skipped + torn,
                (start.len() + messages.len()) as u64,
                "{account}"
            );
            assert_eq!(
                (&account["messages"], torn),
                (&50.into(), 0),
                "{layout:?}, {name}: {account}"
            );
            let (checked, code) = raw.said("check");
            // As many bytes as a frame has may have been one: then nothing is certain.
            let expected = if skipped >= whole { 3 } else { 0 };
            assert_eq!(
                (code, &checked["verdict"]),
                (expected, &"inconclusive".into()),
                "{checked}"
            );
        }
    }
}

#[test]
fn a_record_that_begins_within_a_message_may_begin_when_buffers_are_live() {
    let lives: Vec<u8> = [
        (MessageKind::Alloc, 0x1000),
        (MessageKind::Alloc, 0x2000),
        (MessageKind::Free, 0x2000),
        (MessageKind::Free, 0x1000),
    ]
    .into_iter()
    .flat_map(|(kind, address)| frame(Layout::V72, kind, address))
    .collect();
    let raw = Recording::new("wire", "raw", &lives[13..]);
    let _ = run_json(&raw.words());
    for command in ["check", "diagnose"] {
        let (said, code) = raw.said(command);
        assert_eq!(code, 0, "{command}: {said}");
        assert_ne!(said["verdict"], "diverged", "{command}: {said}");
    }
    // Twin: of what was allocated in the record, a second FREE is one too many.
    let again = [&lives[13..], &frame(Layout::V72, MessageKind::Free, 0x2000)].concat();
    let raw = Recording::new("wire", "again", again);
    let _ = run_json(&raw.words());
    let (checked, code) = raw.said("check");
    assert_eq!(
        (&checked["verdict"], code),
        (&"diverged".into(), 1),
        "{checked}"
    );
}
