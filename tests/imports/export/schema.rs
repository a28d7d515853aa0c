//! What `export perfetto` writes is held against the published schema, read by code of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{exported, folder, recorded_run, run_json};

#[test]
fn a_perfetto_trace_is_of_the_published_schema() {
    let schema = Schema::read();
    let folder = folder();
    let scenario = folder.path().join("split.toml");
    let text = "name = \"split\"\n[transport]\nchunks = 2\n";
    fs::write(&scenario, text).expect("writable");
    let trace = recorded_run(folder.path(), &format!("--scenario {}", scenario.display()));
    let (said, code, output) = exported("perfetto", &trace, "");
    assert_eq!(code, 0, "{said}");
    let bytes = fs::read(output).expect("bytes");
    let mut counts = BTreeMap::new();
    let mut values = BTreeMap::new();
    schema.walk("Trace", &bytes, &mut counts, &mut values);
    assert_eq!(
        counts["Trace.packet"],
        said["written"].as_u64().expect("a count")
    );
    // Slices that begin also end, but those that are open at the end of the run.
    let types = &values["TrackEvent.type"];
    let of = |wanted: u64| types.iter().filter(|value| **value == wanted).count();
    assert_eq!(of(1), of(2));
    // Every flow that ends has begun; a frame of two writes is one flow.
    let begun = &values["TrackEvent.flow_ids"];
    let ended = &values["TrackEvent.terminating_flow_ids"];
    assert!(!ended.is_empty() && ended.iter().all(|flow| begun.contains(flow)));
    assert_eq!(begun.len(), 2 * ended.len());
    let (checked, _) = run_json(&format!("check {}", trace.display()));
    assert_eq!(checked["messages"], ended.len());
    // Events are on tracks that were described, by one sequence that begins.
    let tracks = &values["TrackDescriptor.uuid"];
    let used = &values["TrackEvent.track_uuid"];
    assert!(used.iter().all(|track| tracks.contains(track)));
    assert_eq!(values["TracePacket.sequence_flags"], [1]);
}

/// A schema: messages with their fields by number.
struct Schema(BTreeMap<String, BTreeMap<u64, (String, String)>>);

impl Schema {
    fn read() -> Schema {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imports/fixtures/perfetto.proto");
        let text = fs::read_to_string(path).expect("it is there");
        let (mut messages, mut current) = (BTreeMap::new(), String::new());
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["message", name, "{"] => {
                    (*name).clone_into(&mut current);
                    messages.insert(current.clone(), BTreeMap::new());
                }
                [_, kind, name, "=", number] => {
                    let number = number.trim_end_matches(';').parse().expect("a number");
                    let fields: &mut BTreeMap<_, _> = messages.get_mut(&current).expect("begun");
                    fields.insert(number, ((*kind).to_owned(), (*name).to_owned()));
                }
                _ => {}
            }
        }
        Schema(messages)
    }

    /// Walks a message; every field must be one of the schema's, of its type.
    fn walk(
        &self,
        message: &str,
        mut bytes: &[u8],
        counts: &mut BTreeMap<String, u64>,
        values: &mut BTreeMap<String, Vec<u64>>,
    ) {
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let (kind, name) = self.0[message]
                .get(&(key >> 3))
                .unwrap_or_else(|| panic!("{message} has no field {}", key >> 3));
            let path = format!("{message}.{name}");
            *counts.entry(path.clone()).or_default() += 1;
            let wire_type = match kind.as_str() {
                "fixed64" | "double" => 1,
                "uint64" | "int64" | "uint32" | "int32" | "bool" => 0,
                _ => 2,
            };
            assert_eq!(key & 7, wire_type, "{path}");
            match wire_type {
                0 => values.entry(path).or_default().push(varint(&mut bytes)),
                1 => {
                    let (now, later) = bytes.split_at(8);
                    let value = u64::from_le_bytes(now.try_into().expect("8 bytes"));
                    values.entry(path).or_default().push(value);
                    bytes = later;
                }
                _ => {
                    let length = varint(&mut bytes) as usize;
                    let (now, later) = bytes.split_at(length);
                    match kind.as_str() {
                        "string" => drop(std::str::from_utf8(now).expect("text")),
                        "bytes" => {}
                        kind => self.walk(kind, now, counts, values),
                    }
                    bytes = later;
                }
            }
        }
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a byte");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}
