//! `export`: what goes out comes back in, another's reader takes it, and what a format cannot say
//! is counted.

#[cfg(feature = "parquet")]
mod parquet;
mod round_trips;
mod schema;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use heisenbed::tracking::{Layout, Message, MessageKind, wire};
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
