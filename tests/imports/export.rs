//! `export`: what goes out comes back in, another's reader takes it, and what a format cannot say
//! is counted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use heisenbed::import::allocation::{AllocationEvent, AllocationRecord, Buffer};
use heisenbed::trace::file::ImportFormat;
use heisenbed::tracking::{Layout, Message, MessageKind, wire};
use proptest::prelude::*;
use serde_json::Value;

use super::{Recording, record_diverged, records, run, run_json};

const FORMATS: [&str; 6] = [
    "jsonl",
    "csv",
    "perfetto",
    "torch-snapshot",
    "rmm-csv",
    "server-log",
];

/// Exports to a file beside the input; what was said, and the file.
fn exported(format: &str, input: &Path, more: &str) -> (Value, i32, PathBuf) {
    let output = input.with_extension(format!("{format}.out"));
    let words = format!(
        "export {format} {} -o {} --force {more}",
        input.display(),
        output.display()
    );
    let (said, code) = run_json(&words);
    (said, code, output)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn recorded_run(folder: &Path, more: &str) -> PathBuf {
    let trace = folder.join("run.hb");
    let words = format!(
        "stress --ops 300 --quiet --record {} {more}",
        trace.display()
    );
    let code = run(&words).status.code();
    assert!(code < Some(2), "{words}: {code:?}");
    trace
}

fn json_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("text");
    let parse = |line: &str| serde_json::from_str(line).expect("an object");
    text.lines().map(parse).collect()
}

#[test]
fn json_lines_have_every_event_of_a_run_in_order() {
    let folder = folder();
    let trace = recorded_run(folder.path(), "--scenario mixed");
    let (checked, _) = run_json(&format!("check {}", trace.display()));
    let (said, code, output) = exported("jsonl", &trace, "");
    assert_eq!(code, 0, "{said}");
    let lines = json_lines(&output);
    assert_eq!(said["written"], lines.len());
    assert_eq!(checked["events_found"], lines.len());
    let numbers: Vec<u64> = lines.iter().filter_map(|line| line["n"].as_u64()).collect();
    assert_eq!(numbers, (1..=lines.len() as u64).collect::<Vec<_>>());
    let sends = |line: &&Value| line["event"] == "send" && line["outcome"] == "sent";
    let sends = lines.iter().filter(sends).count();
    assert_eq!(
        checked["messages"], sends,
        "every message is sent in one write"
    );
    let opened = lines.iter().filter(|line| line["event"] == "open");
    let counted = opened.filter(|line| {
        let does = line["does"].as_str().expect("a text");
        does.starts_with("allocate") || does.starts_with("release")
    });
    assert_eq!(checked["ops"], counted.count());
}

#[test]
fn an_export_is_the_same_bytes_every_time() {
    let folder = folder();
    let trace = recorded_run(folder.path(), "--scenario mixed --devices 1");
    for format in FORMATS {
        let (_, code, output) = exported(format, &trace, "");
        assert_eq!(code, 0, "{format}");
        let first = fs::read(&output).expect("it was written");
        exported(format, &trace, "");
        assert!(
            first == fs::read(&output).expect("it was written"),
            "{format}"
        );
        let to_stdout = run(&format!("export {format} {} -o -", trace.display()));
        assert!(first == to_stdout.stdout, "{format}");
    }
}

#[test]
fn the_allocations_of_a_run_are_those_that_its_check_counts() {
    let folder = folder();
    let trace = recorded_run(folder.path(), "--scenario real-leak");
    let (checked, _) = run_json(&format!("check {}", trace.display()));
    let leaks = checked["leaks"].as_u64().expect("a count");
    assert!(leaks > 0, "{checked}");
    for (format, import) in [("csv", "csv"), ("torch-snapshot", "torch-snapshot")] {
        let (said, code, output) = exported(format, &trace, "");
        assert_eq!(code, 0, "{said}");
        let again = folder.path().join("again.hb");
        let words = format!(
            "import {import} {} -o {} --force",
            output.display(),
            again.display()
        );
        let (account, code) = run_json(&words);
        assert_eq!(
            (code, &account["parsed"]),
            (0, &said["written"]),
            "{account}"
        );
        let (found, code) = run_json(&format!("check {}", again.display()));
        assert_eq!(code, 0, "{format}: {found}");
        let live = match format {
            "csv" => &found["leaks"],
            _ => &found["live_at_end"],
        };
        assert_eq!(live, leaks, "{format}: {found}");
    }
}

#[test]
fn every_kind_of_input_is_exported_in_every_format() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let race = at("race.toml");
    run(&format!(
        "explore --discipline unlocked --order free-first --quiet --save {}",
        race.display()
    ));
    let raw = at("raw");
    let message = |kind, address| Message {
        kind,
        device: 0,
        size_bytes: if kind == MessageKind::Alloc { 64 } else { 0 },
        buffer_type: 1,
        pid: 7,
        address,
        timestamp_ns: 0,
        extension: None,
    };
    let frames = (1..20).flat_map(|index| {
        let of = |kind| wire::encode(Layout::V112, &message(kind, index * 64));
        let pair = [of(MessageKind::Alloc), of(MessageKind::Free)];
        pair.map(|frame| frame.as_bytes().to_vec()).concat()
    });
    fs::write(&raw, frames.collect::<Vec<u8>>()).expect("writable");
    let (capture, log) = (at("capture.hb"), at("log.hb"));
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/imports/01_basic.log");
    for (format, from, to) in [("wire", &raw, &capture), ("server-log", &own, &log)] {
        let words = format!("import {format} {} -o {}", from.display(), to.display());
        assert_eq!(run(&words).status.code(), Some(0), "{words}");
    }
    for input in [&race, &capture, &log] {
        for format in FORMATS {
            let more = if format == "rmm-csv" {
                "--device 0"
            } else {
                ""
            };
            let (said, code, output) = exported(format, input, more);
            assert_eq!(code, 0, "{format} of {}: {said}", input.display());
            assert!(said["written"].as_u64() > Some(0), "{said}");
            let length = fs::metadata(&output).expect("it was written").len();
            assert_eq!(said["bytes"], length, "{format} of {}", input.display());
        }
    }
    // Capture and log are of messages: that is what their CSV has, unless something else is wanted.
    let (_, _, output) = exported("csv", &capture, "");
    let table = fs::read_to_string(output).expect("text");
    assert!(table.starts_with("position,time,connection"), "{table}");
    assert_eq!(table.lines().count(), 39);
    let (said, ..) = exported("csv", &capture, "--table allocations");
    assert_eq!(said["written"], 38);
    // The log comes back as it was, to the byte.
    let (_, _, output) = exported("server-log", &log, "");
    assert_eq!(
        fs::read(output).expect("bytes"),
        fs::read(own).expect("bytes")
    );
}

#[test]
fn what_a_server_would_have_logged_of_a_run_reads_as_the_same_messages() {
    let folder = folder();
    let trace = folder.path().join("run.hb");
    record_diverged(
        "--discipline unlocked --order free-first --perturb --ops 300",
        &trace,
    );
    let (checked, _) = run_json(&format!("check {}", trace.display()));
    let (_, code, output) = exported("server-log", &trace, "");
    assert_eq!(code, 0);
    let log = folder.path().join("log.hb");
    run(&format!(
        "import server-log {} -o {}",
        output.display(),
        log.display()
    ));
    let (found, _) = run_json(&format!("check {}", log.display()));
    assert_eq!(found["messages"], checked["messages"], "{found}");
    // A log shows less than a trace: of a race, that releases came twice.
    assert_eq!(checked["verdict"], "diverged");
    assert_eq!(found["verdict"], "diverged", "{found}");
}

#[test]
fn a_cut_trace_is_exported_as_far_as_it_reaches_and_says_so() {
    let folder = folder();
    let trace = recorded_run(folder.path(), "");
    let whole = fs::read(&trace).expect("bytes");
    let cut = folder.path().join("cut.hb");
    fs::write(&cut, &whole[..whole.len() - 50]).expect("writable");
    for format in ["jsonl", "csv", "perfetto", "torch-snapshot", "server-log"] {
        let (said, code, output) = exported(format, &cut, "");
        assert_eq!(code, 3, "{format}: {said}");
        assert!(said["note"].is_string() && output.exists(), "{said}");
    }
}

#[test]
fn nothing_is_replaced_without_leave_and_no_bad_question_is_answered() {
    let folder = folder();
    let trace = recorded_run(folder.path(), "--scenario many-devices");
    let mine = folder.path().join("mine.csv");
    fs::write(&mine, "mine").expect("writable");
    let (trace, mine) = (trace.display().to_string(), mine.display().to_string());
    for (words, said) in [
        (format!("export csv {trace} -o {mine}"), "--force"),
        (
            format!("export csv {trace} -o {trace} --force"),
            "it would replace what is read",
        ),
        (format!("export csv {mine} -o -"), "mine.csv"),
        (
            format!("export jsonl {trace} -o - --table messages"),
            "--table is for csv",
        ),
        (
            format!("export csv {trace} -o - --device 1"),
            "--device is for rmm-csv",
        ),
        (
            format!("export rmm-csv {trace} -o -"),
            "choose one with --device",
        ),
        (format!("export nothing {trace} -o -"), "possible values"),
        (format!("export csv {trace}"), "--output"),
    ] {
        let output = run(&words);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{words}: {text}");
        assert!(text.contains(said), "{words}: {text}");
    }
    assert_eq!(fs::read_to_string(&mine).expect("it is there"), "mine");
    let (said, code, _) = exported("rmm-csv", Path::new(&trace), "--device 1");
    assert_eq!(code, 0, "{said}");
    let others = said["left_out"]["records of other devices"].as_u64();
    assert!(others > Some(0), "{said}");
}

#[test]
fn python_unpickles_a_snapshot_with_the_same_counts() {
    let folder = folder();
    let trace = recorded_run(folder.path(), "--scenario real-leak");
    let (checked, _) = run_json(&format!("check {}", trace.display()));
    let (said, _, output) = exported("torch-snapshot", &trace, "");
    let script = "import pickle, sys, json\n\
        class Plain(pickle.Unpickler):\n\
        \x20   def find_class(self, module, name): raise ValueError(name)\n\
        s = Plain(open(sys.argv[1], 'rb')).load()\n\
        entries = [e for t in s['device_traces'] for e in t]\n\
        live = [b for g in s['segments'] for b in g['blocks'] if b['state'] != 'inactive']\n\
        for g in s['segments']:\n\
        \x20   at = g['address']\n\
        \x20   for b in g['blocks']:\n\
        \x20       assert b['address'] == at, 'the viewer lays blocks end to end'\n\
        \x20       at += b['size']\n\
        \x20   assert at == g['address'] + g['total_size']\n\
        print(json.dumps({'entries': len(entries), 'live': len(live),\n\
        \x20   'bytes': sum(b['size'] for b in live),\n\
        \x20   'keys': sorted(s)}))\n";
    let python = Command::new("python3")
        .args(["-c", script])
        .arg(&output)
        .output()
        .expect("python3 runs");
    let text = String::from_utf8_lossy(&python.stdout);
    let error = String::from_utf8_lossy(&python.stderr);
    let counts: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{error}"));
    assert_eq!(counts["entries"], said["written"]);
    assert_eq!(counts["live"], checked["leaks"]);
    assert_eq!(
        counts["keys"],
        serde_json::json!(["device_traces", "segments"])
    );
    // The viewer's own reader knows these instructions and no others.
    let known = b"\x80\x95.(]eKMJ\x8a\x8cX}uqrhjasN\x88\x89";
    for opcode in opcodes(&fs::read(&output).expect("bytes")) {
        assert!(known.contains(&opcode), "{opcode:#x}");
    }
}

/// The instructions of a pickle, by Python's own disassembler.
fn opcodes(pickle: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let script = "import pickletools, sys\n\
        print(' '.join(sorted({str(ord(o.code)) for o, _, _ in\n\
        \x20   pickletools.genops(sys.stdin.buffer.read())})))\n";
    let mut python = Command::new("python3")
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut stdin = python.stdin.take().expect("a pipe");
    stdin.write_all(pickle).expect("it reads");
    drop(stdin);
    let output = python.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stdout).expect("text");
    let numbers = text.split_whitespace().map(|number| number.parse());
    numbers.map(|number| number.expect("a byte")).collect()
}

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
    let snapshot = super::torch_snapshot::pickled("sound", 4);
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
    let text = super::debug_log::log(&[
        super::debug_log::allocated(0x1000, 64, &["make()", "main"]),
        super::debug_log::block(ended, 0x1000, 64, &["~Table()", "main"]),
        super::debug_log::deallocated(0x1000, 64),
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

#[test]
fn what_cannot_be_written_is_the_outputs_fault() {
    let folder = folder();
    let trace = recorded_run(folder.path(), "");
    let output = run(&format!("export jsonl {} -o /dev/full", trace.display()));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("error: /dev/full: "), "{said}");
    assert!(!said.contains("run.hb"), "{said}");
    let program = env!("CARGO_BIN_EXE_heisenbed");
    let closed = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "{program} export jsonl {} -o - >&-",
            trace.display()
        ))
        .output()
        .expect("a shell");
    assert_eq!(closed.status.code(), Some(2));
    let said = String::from_utf8_lossy(&closed.stderr).into_owned();
    assert_eq!(said, "error: stdout: it is closed\n");
}
