//! What was imported and goes out again comes back as it was, as far as the format can say it.

use std::fs;

use heisenbed::import::allocation::{AllocationEvent, AllocationRecord, Buffer};
use heisenbed::trace::file::ImportFormat;
use proptest::prelude::*;
use serde_json::Value;

use super::{Recording, exported, json_lines, records, run, run_json};

/// A row of somebody's log.
#[derive(Clone, Debug)]
struct Row {
    op: &'static str,
    device: u8,
    memory: &'static str,
    address: u64,
    size: Option<u32>,
    thread: Option<u8>,
    process: Option<u8>,
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let memory = prop::sample::select(vec!["dram", "l1", "system", "l1_small", "trace", "pool"]);
    let op = prop::sample::select(vec!["alloc", "alloc", "free", "release-requested", "fail"]);
    let optional = |most: u8| prop::option::of(0..most);
    let address = prop_oneof![0..9_u64, Just(u64::MAX - 70_000), any::<u64>()];
    let row = (
        (op, 0..3_u8, memory),
        (address, prop::option::of(1..70_000_u32)),
        (optional(4), optional(3)),
    );
    let row = row.prop_map(
        |((op, device, memory), (address, size), (thread, process))| Row {
            op,
            device,
            memory,
            address,
            size,
            thread,
            process,
        },
    );
    prop::collection::vec(row, 1..40)
}

fn csv_of(rows: &[Row], step_ns: u64) -> String {
    let shown = |number: Option<u64>| number.map_or(String::new(), |number| number.to_string());
    let mut text = "time,op,device,memory,address,size,thread,process\n".to_owned();
    for (index, row) in rows.iter().enumerate() {
        text += &format!(
            "{},{},{},{},{},{},{},{}\n",
            (index as u64 + 1) * step_ns,
            row.op,
            row.device,
            row.memory,
            row.address,
            shown(row.size.map(u64::from)),
            shown(row.thread.map(u64::from)),
            shown(row.process.map(u64::from)),
        );
    }
    text
}

type Said = (Option<u64>, Option<u64>, AllocationEvent);

fn said(records: &[AllocationRecord]) -> Vec<Said> {
    let of = |record: &AllocationRecord| (record.at_ns, record.thread, record.what);
    records.iter().map(of).collect()
}

/// What `import FORMAT | export EXPORT` gives, read again.
fn round(
    format: ImportFormat,
    text: &str,
    export: &str,
    more: &str,
) -> (Vec<AllocationRecord>, Value) {
    let log = Recording::new(format.name(), "own.log", text);
    log.import();
    let (account, code, output) = exported(export, &log.trace(), more);
    assert!(code == 0 || account["written"] == 0, "{account}");
    let again = fs::read(output).expect("it was written");
    let (read, accounting) = records(format, &again);
    assert_eq!(
        accounting.unrecognised,
        0,
        "{}",
        String::from_utf8_lossy(&again)
    );
    (read, account)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn your_own_log_comes_back_as_it_went_in(rows in rows()) {
        let text = csv_of(&rows, 7);
        let (read, _) = records(ImportFormat::Csv, text.as_bytes());
        let (again, _) = round(ImportFormat::Csv, &text, "csv", "");
        prop_assert_eq!(said(&again), said(&read));
        let log = Recording::new("csv", "own.csv", &text);
        log.import();
        let (_, _, lines) = exported("jsonl", &log.trace(), "");
        let lines = fs::read_to_string(lines).expect("text");
        let (as_lines, accounting) = records(ImportFormat::Jsonl, lines.as_bytes());
        prop_assert_eq!(accounting.unrecognised, 0);
        prop_assert_eq!(said(&as_lines), said(&read));
        let (again, _) = round(ImportFormat::Jsonl, &lines, "jsonl", "");
        prop_assert_eq!(said(&again), said(&read));
    }

    #[test]
    fn an_rmm_log_comes_back_as_it_went_in(rows in rows()) {
        let mut text = "Thread,Time,Action,Pointer,Size,Stream\n".to_owned();
        for (index, row) in rows.iter().enumerate() {
            let action = match row.op {
                "alloc" => "allocate",
                "fail" => "allocate failure",
                _ => "free",
            };
            text += &format!(
                "{},{:02}:59:59.{:06},{action},{:#x},{},0x0\n",
                row.thread.unwrap_or(9), index % 24, index, row.address, row.size.unwrap_or(1),
            );
        }
        let (read, _) = records(ImportFormat::RmmLog, text.as_bytes());
        let (again, _) = round(ImportFormat::RmmLog, &text, "rmm-csv", "");
        prop_assert_eq!(said(&again), said(&read));
    }

    #[test]
    fn a_snapshot_comes_back_with_the_same_allocations(rows in rows()) {
        // A snapshot has no processes, memories and threads, a size always and µs.
        let rows: Vec<Row> = rows.into_iter().map(|row| Row {
            memory: "dram",
            process: None,
            thread: None,
            size: row.size.or(Some(1)),
            ..row
        }).collect();
        let text = csv_of(&rows, 1000);
        let log = Recording::new("csv", "own.csv", &text);
        log.import();
        let (read, _) = records(ImportFormat::Csv, text.as_bytes());
        let first = exported("torch-snapshot", &log.trace(), "").2;
        let bytes = fs::read(&first).expect("bytes");
        let snapshot = Recording::new("torch-snapshot", "one.pickle", bytes);
        let account = snapshot.import();
        prop_assert_eq!(&account["unrecognised"], 0);
        // As a table of rows: what the snapshot's import has of each.
        let table = exported("csv", &snapshot.trace(), "").2;
        let (again, _) = records(ImportFormat::Csv, &fs::read(table).expect("bytes"));
        let plain = |records: &[AllocationRecord]| -> Vec<Said> {
            let what = |what| match what {
                AllocationEvent::Failed { size_bytes, .. } => {
                    AllocationEvent::Failed { device: 0, size_bytes }
                }
                what => what,
            };
            let of = |record: &AllocationRecord| (record.at_ns, None, what(record.what));
            records.iter().map(of).collect()
        };
        prop_assert_eq!(plain(&again), plain(&read));
        // And once more the same bytes: nothing is lost any more.
        let second = exported("torch-snapshot", &snapshot.trace(), "").2;
        prop_assert!(fs::read(first).expect("bytes") == fs::read(second).expect("bytes"));
    }
}

#[test]
fn memories_of_one_s_own_keep_their_names() {
    let text = "time,op,device,memory,address,size,thread,process\n\
        ,alloc,0,scratch,0x1000,64,,\n\
        ,alloc,0,\"weights, \"\"old\"\"\",0x2000,32,,\n\
        ,free,0,scratch,0x1000,64,,\n\
        ,alloc,0,<b>\u{202e},0x3000,16,,\n";
    let log = Recording::new("csv", "own.csv", text);
    log.import();
    let (_, _, again) = exported("csv", &log.trace(), "");
    assert_eq!(fs::read_to_string(again).expect("text"), text);
    let (_, _, lines) = exported("jsonl", &log.trace(), "");
    assert_eq!(json_lines(&lines)[1]["memory"], "weights, \"old\"");
    let checked = run_json(&format!("check {}", log.trace().display())).0;
    assert_eq!(checked["live"][0]["memory"], "weights, \"old\"");
    let page = log.trace().with_extension("html");
    run(&format!(
        "report {} -o {}",
        log.trace().display(),
        page.display()
    ));
    let page = fs::read_to_string(page).expect("a page");
    for said in [
        "device 0 scratch",
        "device 0 weights, ",
        "device 0 &lt;b&gt;\\u{202e}",
    ] {
        assert!(page.contains(said), "{said}");
    }
    assert!(!page.contains("<b>") && !page.contains('\u{202e}'));
}

#[test]
fn a_python_snapshot_keeps_its_table_stacks_and_history() {
    let snapshot = crate::torch_snapshot::pickled("sound", 4);
    snapshot.import();
    let (before, _) = snapshot.said("check");
    let (said, code, output) = exported("torch-snapshot", &snapshot.trace(), "");
    assert_eq!(code, 0, "{said}");
    let again = Recording::new(
        "torch-snapshot",
        "again.pickle",
        fs::read(output).expect("bytes"),
    );
    again.import();
    let (after, _) = again.said("check");
    for key in [
        "verdict",
        "check",
        "live_at_end",
        "live_bytes",
        "failed",
        "table",
    ] {
        assert_eq!(before[key], after[key], "{key}");
    }
    // Entries that are about no buffer are not exported, so lines are others.
    let stacks = |checked: &Value| -> Vec<Value> {
        let live = checked["live_by_stack"].as_array().expect("a list");
        live.iter().map(|group| group["stack"].clone()).collect()
    };
    assert_eq!(stacks(&before), stacks(&after));
    assert!(!stacks(&before).is_empty());
}

#[test]
fn memories_and_processes_become_devices_of_a_snapshot_and_that_is_said() {
    let text = "op,device,memory,address,size,process\n\
        alloc,0,dram,0x1000,64,1\nalloc,0,l1,0x1000,32,1\nalloc,0,dram,0x1000,16,2\n\
        free,0,l1,0x1000,32,1\n";
    let log = Recording::new("csv", "own.csv", text);
    log.import();
    let (said, _, output) = exported("torch-snapshot", &log.trace(), "");
    let note = said["notes"][0].as_str().expect("a note");
    assert!(
        note.contains("0 is dram of device 0 of process 1") && note.contains("l1 of device 0"),
        "{note}"
    );
    let snapshot = Recording::new(
        "torch-snapshot",
        "one.pickle",
        fs::read(output).expect("bytes"),
    );
    snapshot.import();
    let (checked, code) = snapshot.said("check");
    assert_eq!(
        (code, &checked["verdict"]),
        (0, &"clean".into()),
        "{checked}"
    );
    assert_eq!(
        (&checked["live_at_end"], &checked["live_bytes"]),
        (&2.into(), &80.into())
    );
}

#[test]
fn the_end_of_a_holder_is_said_by_json_lines_and_counted_by_csv() {
    let ended = "BUFFER DESTRUCTOR (still ALLOCATED - will deallocate)";
    let text = crate::debug_log::log(&[
        crate::debug_log::allocated(0x1000, 64, &["make()", "main"]),
        crate::debug_log::block(ended, 0x1000, 64, &["~Table()", "main"]),
        crate::debug_log::deallocated(0x1000, 64),
    ]);
    let log = Recording::new("debug-log", "tt.log", &text);
    log.import();
    let (read, _) = records(ImportFormat::DebugLog, text.as_bytes());
    let (_, _, lines) = exported("jsonl", &log.trace(), "");
    let (again, accounting) = records(ImportFormat::Jsonl, &fs::read(lines).expect("bytes"));
    assert_eq!(accounting.unrecognised, 0);
    let plain = |records: &[AllocationRecord]| -> Vec<Said> {
        let bare = |buffer: Buffer| Buffer {
            stack: None,
            ..buffer
        };
        let what = |what| match what {
            AllocationEvent::Allocated(buffer) => AllocationEvent::Allocated(bare(buffer)),
            AllocationEvent::Released(buffer) => AllocationEvent::Released(bare(buffer)),
            AllocationEvent::HolderEnded(buffer) => AllocationEvent::HolderEnded(bare(buffer)),
            what => what,
        };
        let of = |record: &AllocationRecord| (record.at_ns, record.thread, what(record.what));
        records.iter().map(of).collect()
    };
    assert_eq!(plain(&again), plain(&read));
    let ended = read
        .iter()
        .filter(|r| matches!(r.what, AllocationEvent::HolderEnded(_)))
        .count();
    assert!(ended > 0);
    let (said, ..) = exported("csv", &log.trace(), "");
    assert_eq!(
        said["left_out"]["ends of objects that hold a buffer"],
        ended
    );
    assert_eq!(said["written"], read.len() - ended);
}
