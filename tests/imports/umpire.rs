//! Umpire's replay logs, of both shapes.

use heisenbed::import::allocation::AllocationEvent;
use heisenbed::trace::file::ImportFormat;

use super::{Recording, buffer, cut_anywhere, records, refused_lines};

fn allocate(size: u64, pointer: &str) -> String {
    format!(
        r#"{{"category":"operation","name":"allocate","numeric_args":{{"size":{size}}},"string_args":{{"allocator_ref":"0x55d0","pointer":"{pointer}"}},"tags":{{"replay":"true"}},"timestamp":1700000000000000001}}"#
    ) + "\n"
}

fn deallocate(pointer: &str) -> String {
    format!(
        r#"{{"category":"operation","name":"deallocate","string_args":{{"allocator_ref":"0x55d0","pointer":"{pointer}"}},"tags":{{"replay":"true"}},"timestamp":1700000000000000002}}"#
    ) + "\n"
}

fn reallocate(current: &str, size: u64, new: &str) -> [String; 2] {
    [
        format!(
            r#"{{"category":"operation","name":"reallocate","numeric_args":{{"size":{size}}},"string_args":{{"allocator_ref":"0x55d0","current_ptr":"{current}"}},"tags":{{"allocator_name":"pool","replay":"true"}},"timestamp":1700000000000000003}}"#
        ) + "\n",
        format!(
            r#"{{"category":"operation","name":"reallocate","numeric_args":{{}},"string_args":{{"allocator_ref":"0x55d0","new_ptr":"{new}"}},"tags":{{"allocator_name":"pool"}},"timestamp":1700000000000000004}}"#
        ) + "\n",
    ]
}

const HEAD: &str = r#"{"category":"metadata","name":"version","numeric_args":{"major":2025,"minor":9},"string_args":{},"tags":{"replay":"true"},"timestamp":1}
{"category":"operation","name":"make_allocator","numeric_args":{},"string_args":{"allocator_name":"pool"},"tags":{"replay":"true"},"timestamp":2}
"#;

/// The shape of Umpire 4 and before: an allocation has two lines.
const OLDER: &str = r##"# Copyright of somebody
{ "kind":"replay", "uid":27494, "timestamp":1558388052211435757, "event": "version", "payload": { "major":0, "minor":3, "patch":3 } }
{ "kind":"replay", "uid":27494, "timestamp":1558388052211477678, "event": "makeMemoryResource", "payload": { "name": "HOST" }, "result": "0x101626b0" }
{ "kind":"replay", "uid":27494, "timestamp":1558388052595911583, "event": "allocate", "payload": { "allocator_ref": "0x108a8730", "size": 0 } }
{ "kind":"replay", "uid":27494, "timestamp":1558388052595934822, "event": "allocate", "payload": { "allocator_ref": "0x108a8730", "size": 0 }, "result": { "memory_ptr": "0x200040000010" } }
{ "kind":"replay", "uid":27494, "timestamp":1558388052595939623, "event": "allocate", "payload": { "allocator_ref": "0x108a8730", "size": 134 } }
{ "kind":"replay", "uid":27494, "timestamp":1558388052595943793, "event": "allocate", "payload": { "allocator_ref": "0x108a8730", "size": 134 }, "result": { "memory_ptr": "0x200040000010" } }
{ "kind":"replay", "uid":27494, "timestamp":1558388052595947408, "event": "reallocate", "payload": { "ptr": "0x200040000010", "size": 300 } }
{ "kind":"replay", "uid":27494, "timestamp":1558388052595947409, "event": "reallocate", "payload": { "ptr": "0x200040000010", "size": 300 }, "result": { "memory_ptr": "0x200040000400" } }
{ "kind":"replay", "uid":27494, "timestamp":1558388052596958586, "event": "deallocate", "payload": { "allocator_ref": "0x108a8730", "memory_ptr": "0x200040000400" } }
{ "kind":"replay", "uid":27494, "timestamp":1558388052596958587, "event": "deallocate", "payload": { "allocator_ref": "0x108a8730", "memory_ptr": "0x200040000010" } }
"##;

/// What a log makes of the check: allocations, releases, leaks and divergences.
fn checked(text: &str) -> (u64, u64, u64, String) {
    let log = Recording::new("umpire", "replay.json", text);
    let account = log.import();
    assert_eq!(account["unrecognised"], 0, "{account}");
    let (checked, _) = log.said("check");
    let count = |key: &str| checked[key].as_u64().expect("a count");
    (
        count("allocations"),
        count("releases"),
        count("leaks"),
        checked["divergences"].to_string(),
    )
}

#[test]
fn both_shapes_are_read() {
    let newer = format!(
        "{HEAD}{}{}{}{}",
        allocate(134, "0x2000"),
        allocate(64, "0x3000"),
        deallocate("0x2000"),
        deallocate("(nil)"),
    );
    assert_eq!(checked(&newer), (2, 1, 1, "{}".to_owned()));
    // The allocation of no bytes shares its pointer.
    assert_eq!(checked(OLDER), (2, 2, 0, "{}".to_owned()));
    let (read, _) = records(ImportFormat::Umpire, newer.as_bytes());
    assert_eq!(read[0].at_ns, Some(1_700_000_000_000_000_001));
}

#[test]
fn a_reallocation_is_a_release_and_an_allocation() {
    let [begins, ends] = reallocate("0x2000", 300, "0x4000");
    let moved = format!(
        "{}{begins}{ends}{}",
        allocate(134, "0x2000"),
        deallocate("0x4000")
    );
    assert_eq!(checked(&moved), (2, 2, 0, "{}".to_owned()));
    // What it does is told between its lines, and not twice.
    let told = format!(
        "{}{begins}{}{}{ends}{}",
        allocate(134, "0x2000"),
        allocate(300, "0x4000"),
        deallocate("0x2000"),
        deallocate("0x4000")
    );
    assert_eq!(checked(&told), (2, 2, 0, "{}".to_owned()));
    let [begins, ends] = reallocate("0x2000", 100, "0x2000");
    let in_place = format!("{}{begins}{ends}", allocate(134, "0x2000"));
    assert_eq!(checked(&in_place), (2, 1, 1, "{}".to_owned()));
    let [begins, ends] = reallocate("0x0", 100, "0x5000");
    let of_nothing = format!("{begins}{ends}");
    assert_eq!(checked(&of_nothing), (1, 0, 1, "{}".to_owned()));
    let (read, _) = records(ImportFormat::Umpire, moved.as_bytes());
    assert!(matches!(read[1].what, AllocationEvent::Released(_)));
    assert_eq!(buffer(&read[2]).size_bytes, Some(300));
}

#[test]
fn a_pointer_that_is_given_back_twice_is_found() {
    let twice = format!(
        "{}{}{}",
        allocate(134, "0x2000"),
        deallocate("0x2000"),
        deallocate("0x2000")
    );
    assert_eq!(checked(&twice).3, "{\"double-free\":1}");
}

#[test]
fn lines_that_are_none_are_reported_and_cuts_are_harmless() {
    let wrong = [
        "no JSON",
        "{}",
        "[1]",
        "{\"category\":\"operation\"}",
        "{\"category\":\"operation\",\"name\":\"allocate\",\"string_args\":{\"pointer\":\"0x1\"}}",
        "{\"category\":\"operation\",\"name\":\"deallocate\",\"string_args\":{}}",
        "{\"category\":\"operation\",\"name\":\"reallocate\",\"string_args\":{\"new_ptr\":\"0x1\"}}",
        "{\"kind\":\"replay\",\"event\":\"allocate\",\"payload\":{}}",
        "{\"kind\":\"replay\",\"event\":\"allocate\",\"payload\":7}",
    ];
    let lines: Vec<u64> = (1..=wrong.len() as u64).collect();
    assert_eq!(
        refused_lines(ImportFormat::Umpire, &(wrong.join("\n") + "\n")),
        lines
    );
    cut_anywhere(ImportFormat::Umpire, OLDER);
    let [begins, ends] = reallocate("0x2000", 300, "0x4000");
    cut_anywhere(
        ImportFormat::Umpire,
        &format!("{HEAD}{}{begins}{ends}", allocate(134, "0x2000")),
    );
}
