//! TT-Metal's graph captures.

use heisenbed::import::accounting::Accounting;
use heisenbed::import::allocation::{self, AllocationEvent, AllocationRecord};
use heisenbed::trace::file::{ImportFormat, ImportHeader};
use serde_json::{Value, json};

use super::{Recording, assert_uncontradicted, buffer};

fn node(counter: u64, kind: &str, params: Value, connections: &[u64]) -> Value {
    json!({
        "arguments": [], "connections": connections, "counter": counter, "node_type": kind,
        "params": params, "stacking_level": 0,
    })
}

fn allocate(counter: u64, address: u64, size: u64, memory: &str, device: u64, of: u64) -> Value {
    let params = json!({
        "address": address.to_string(), "size": size.to_string(), "type": memory, "layout": "INTERLEAVED",
        "page_size": "1024", "num_cores": "0", "device_id": device.to_string(),
    });
    node(counter, "buffer_allocate", params, &[of])
}

/// As TT-Metal writes it: without an address.
fn deallocate(counter: u64, size: u64, memory: &str, device: u64, of: u64) -> Value {
    let params = json!({
        "size": size.to_string(), "type": memory, "layout": "INTERLEAVED", "page_size": "1024",
        "num_cores": "0", "device_id": device.to_string(),
    });
    node(counter, "buffer_deallocate", params, &[of])
}

fn capture() -> Vec<Value> {
    let of_buffer = |memory: &str| json!({ "size": "4096", "type": memory, "layout": "INTERLEAVED", "device_id": "0" });
    vec![
        node(0, "capture_start", json!({}), &[1]),
        node(
            1,
            "function_start",
            json!({ "name": "ttnn::add [\"x\"]", "inputs": "2" }),
            &[2],
        ),
        node(2, "buffer", of_buffer("DRAM"), &[3]),
        node(
            3,
            "tensor",
            json!({ "shape": "Shape([1, 1])", "tensor_id": "7" }),
            &[],
        ),
        node(4, "buffer", of_buffer("DRAM"), &[]),
        allocate(5, 0x1000, 4096, "DRAM", 0, 4),
        node(6, "buffer", of_buffer("L1"), &[]),
        allocate(7, 0x1000, 2048, "L1", 0, 6),
        allocate(8, 0x1000, 4096, "DRAM", 1, 9),
        node(9, "buffer", of_buffer("DRAM"), &[]),
        node(
            10,
            "circular_buffer_allocate",
            json!({ "size": "64", "address": "4096", "core_range_set": "{[0-0]}" }),
            &[],
        ),
        node(
            11,
            "circular_buffer_deallocate_all",
            json!({ "device_id": "0" }),
            &[],
        ),
        deallocate(12, 2048, "L1", 0, 6),
        // Of a buffer from before the capture.
        deallocate(13, 4096, "DRAM", 0, 2),
        node(14, "function_end", json!({ "name": "ttnn::add" }), &[15]),
        node(15, "capture_end", json!({}), &[]),
    ]
}

fn read(text: &[u8]) -> (Vec<AllocationRecord>, Accounting) {
    let header = ImportHeader::new(ImportFormat::GraphCapture, "a test");
    let mut source = allocation::source(&header, text).expect("it is about allocations");
    let records = source
        .by_ref()
        .map(|record| record.expect("bytes can be read"));
    let records = records.collect();
    let accounting = source.accounting().clone();
    let parts = accounting.parsed + accounting.known_other + accounting.unrecognised;
    assert_eq!(accounting.lines, parts);
    (records, accounting)
}

#[test]
fn a_capture_is_read_however_it_is_written() {
    let nodes = capture();
    let flat = serde_json::to_string(&nodes).expect("JSON");
    let pretty = serde_json::to_string_pretty(&nodes).expect("JSON");
    let inside = serde_json::to_string(&json!({ "version": 1, "graph": nodes })).expect("JSON");
    let (first, accounting) = read(flat.as_bytes());
    assert_eq!(
        (accounting.lines, accounting.parsed, accounting.known_other),
        (16, 4, 12),
        "{accounting:?}"
    );
    for text in [pretty, inside] {
        assert_eq!(read(text.as_bytes()), (first.clone(), accounting.clone()));
    }
    let places: Vec<_> = first
        .iter()
        .map(|record| {
            let buffer = buffer(record);
            (
                buffer.device,
                buffer.buffer_type,
                buffer.address,
                buffer.size_bytes,
            )
        })
        .collect();
    assert_eq!(
        places,
        [
            (0, 0, 0x1000, Some(4096)),
            (0, 1, 0x1000, Some(2048)),
            (1, 0, 0x1000, Some(4096)),
            (0, 1, 0x1000, Some(2048)),
        ]
    );
    assert!(matches!(first[3].what, AllocationEvent::Released(_)));
}

#[test]
fn a_capture_is_checked_as_a_part_of_a_program() {
    let flat = serde_json::to_string(&capture()).expect("JSON");
    let log = Recording::new("graph-capture", "capture.json", flat);
    let account = log.import();
    assert_eq!(account["forms"]["other-earlier"], 1, "{account}");
    let (checked, code) = log.said("check");
    assert_uncontradicted(&checked, code);
    assert_eq!(
        (
            &checked["leaks"],
            &checked["live_at_end"],
            &checked["position"]
        ),
        (&0.into(), &2.into(), &"node".into())
    );
    let (run, code) = super::run_json(&format!(
        "explore --schedules 3 --workload import:{}",
        log.trace().display()
    ));
    assert!(code < 2, "{run}");
    // A buffer that is deallocated twice.
    let mut nodes = capture();
    nodes.push(deallocate(16, 2048, "L1", 0, 6));
    let log = Recording::new(
        "graph-capture",
        "x",
        serde_json::to_string(&nodes).expect("JSON"),
    );
    log.import();
    let (checked, code) = log.said("check");
    assert_eq!(
        (code, &checked["divergences"]),
        (1, &json!({ "double-free": 1 }))
    );
}

#[test]
fn an_address_in_the_deallocation_is_taken() {
    let with_address = json!([
        { "node_type": "buffer_deallocate", "params": { "address": 4096, "size": 64, "type": "DRAM", "device_id": 2 } },
        { "node_type": "buffer_allocate", "params": { "address": "0x2000", "size": 64, "type": "l1_small", "device_id": 2 } },
        { "node_type": "buffer_deallocate", "params": { "address": 8192, "type": "L1_SMALL", "device_id": 2 } },
    ]);
    let (records, accounting) = read(with_address.to_string().as_bytes());
    assert_eq!(
        (records.len(), accounting.unrecognised),
        (3, 0),
        "{accounting:?}"
    );
    assert_eq!(buffer(&records[2]).buffer_type, 3);
}

#[test]
fn nodes_that_are_none_are_reported() {
    let wrong = json!([
        7,
        "text",
        {},
        { "node_type": "teleport" },
        { "node_type": 3 },
        { "node_type": "buffer_allocate" },
        { "node_type": "buffer_allocate", "params": { "address": "x", "size": "1" } },
        { "node_type": "buffer_allocate", "params": { "address": "1", "size": "-1" } },
        { "node_type": "buffer_allocate", "params": { "address": "1", "size": "1", "type": "TAPE" } },
        { "node_type": "buffer_allocate", "params": { "address": "1", "size": "1", "device_id": "-1" } },
    ]);
    let (records, accounting) = read(wrong.to_string().as_bytes());
    assert_eq!(
        (records.len(), accounting.unrecognised),
        (0, 10),
        "{accounting:?}"
    );
    for text in ["no JSON at all", "{\"a\":1} trailing", "[] []"] {
        let (_, accounting) = read(text.as_bytes());
        assert_eq!(accounting.unrecognised, 1, "{text}");
    }
}

#[test]
fn a_capture_that_is_cut_anywhere_is_read_up_to_there() {
    for text in [
        serde_json::to_string(&capture()).expect("JSON"),
        serde_json::to_string_pretty(&capture()).expect("JSON"),
    ] {
        let (whole, _) = read(text.as_bytes());
        for end in 0..text.len() {
            let (read, accounting) = read(&text.as_bytes()[..end]);
            assert_eq!(read, whole[..read.len()], "cut at {end}");
            assert!(accounting.unrecognised <= 1, "cut at {end}");
        }
    }
}
