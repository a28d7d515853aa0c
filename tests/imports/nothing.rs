//! Files of which nothing is understood, and files that are something else: they are refused, and
//! what they are is said. Nothing is said to be right where nothing was checked.

use super::{Recording, run, run_json};

/// A file that is imported as `format`; the error, and no trace is left.
fn refused(format: &'static str, name: &str, bytes: &[u8]) -> String {
    let recording = Recording::new(format, name, bytes);
    let error = recording.refused();
    assert!(!recording.trace().exists(), "{error}");
    error
}

const TEXT_FORMATS: [&str; 9] = [
    "server-log",
    "debug-log",
    "rmm-log",
    "csv",
    "jsonl",
    "graph-capture",
    "umpire",
    "rocprof",
    "vma-replay",
];

#[test]
fn a_file_of_another_format_is_refused_with_the_one_that_it_has() {
    let rmm = "Thread,Time,Action,Pointer,Size,Stream\n1,10:00:00.000001,allocate,0x1000,4096,0\n";
    let server = "✓ [PID 1] Allocated 4096 bytes of DRAM on device 0 (buffer_id=0x1000)\n";
    for format in TEXT_FORMATS {
        if format != "server-log" {
            let error = refused(format, "server.log", server.as_bytes());
            assert!(
                error.contains("is it the right FORMAT?"),
                "{format}: {error}"
            );
            assert!(error.contains("heisenbed import server-log"), "{error}");
        }
        if format != "rmm-log" && format != "csv" {
            let error = refused(format, "rmm.csv", rmm.as_bytes());
            assert!(error.contains("heisenbed import rmm-log"), "{error}");
        }
        let error = refused(format, "random.bin", b"\x00\x01\xfe\xff\x7f random\n\n\x02");
        assert!(error.contains("right FORMAT?"), "{format}: {error}");
        assert!(error.contains("has lines like"), "{error}");
        assert!(!error.contains('\u{0}'), "{error}");
        for empty in [&b""[..], b"\n\n  \n"] {
            let error = refused(format, "empty", empty);
            assert!(error.contains("it is empty"), "{format}: {error}");
        }
    }
    let error = refused("torch-snapshot", "rmm.csv", rmm.as_bytes());
    assert!(error.contains("heisenbed import rmm-log"), "{error}");
    let error = refused("server-log", "x.pickle", b"\x80\x04}\x94.");
    assert!(error.contains("heisenbed import torch-snapshot"), "{error}");
}

#[test]
fn a_server_that_nobody_talked_to_is_an_import_of_which_nothing_was_checked() {
    let log = Recording::new(
        "server-log",
        "server.log",
        "🚀 Allocation Server started\n   Listening on: /tmp/a.sock\nsomething new\n",
    );
    let account = log.import();
    assert_eq!(account["parsed"], 0, "{account}");
    let (checked, code) = log.said("check");
    assert_eq!((code, &checked["verdict"]), (0, &"inconclusive".into()));
    let note = checked["note"].as_str().expect("a note");
    assert!(note.starts_with("nothing was checked"), "{note}");
    let (diagnosed, code) = log.said("diagnose");
    assert_eq!(
        (code, &diagnosed["verdict"]),
        (0, &"inconclusive".into()),
        "{diagnosed}"
    );
}

#[test]
fn a_log_with_a_header_and_no_rows_is_an_import_of_which_nothing_was_checked() {
    let log = Recording::new(
        "rmm-log",
        "rmm.csv",
        "Thread,Time,Action,Pointer,Size,Stream\n",
    );
    log.import();
    let shown = super::run(&log.words());
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("nothing in it says"), "{shown}");
    let (checked, code) = log.said("check");
    assert_eq!((code, &checked["verdict"]), (0, &"inconclusive".into()));
    let note = checked["note"].as_str().expect("a note");
    assert!(note.starts_with("nothing was checked"), "{note}");
    let (diagnosed, _) = log.said("diagnose");
    assert_eq!(diagnosed["verdict"], "inconclusive", "{diagnosed}");
}

#[test]
fn what_is_known_to_be_something_else_is_named_with_its_remedy() {
    let mut tar = vec![b'a'; 600];
    tar[257..262].copy_from_slice(b"ustar");
    let rmm_debug = include_bytes!("fixtures/rmm-debug.txt");
    let cases: [(&[u8], &str, &str); 8] = [
        (b"\x1f\x8b\x08\x00\x00", "gzip", "gunzip -k"),
        (b"\x28\xb5\x2f\xfd\x04", "zstd", "zstd -d"),
        (b"\xfd7zXZ\x00\x00", "xz", "xz -dk"),
        (b"PK\x03\x04\x14\x00", "zip", "unzip"),
        (&tar, "tar archive", "tar xf"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
            "Git LFS pointer",
            "git lfs pull",
        ),
        (b"<!DOCTYPE html>\n<html>", "web page", "Raw"),
        (rmm_debug, "RMM's debug log", "RMM_LOG_FILE"),
    ];
    for (bytes, what, remedy) in cases {
        for format in TEXT_FORMATS.into_iter().chain(["torch-snapshot", "wire"]) {
            let error = refused(format, "a-file", bytes);
            assert!(
                error.contains(what) && error.contains(remedy),
                "{format}: {error}"
            );
        }
        let file = Recording::new("csv", "a-file", bytes);
        for command in ["check", "diagnose"] {
            let (said, code) = run_json(&format!("{command} {}", file.file.display()));
            let error = said["error"].as_str().expect("an error");
            assert_eq!(code, 2);
            assert!(error.contains(what) && error.contains(remedy), "{error}");
        }
    }
}

#[test]
fn a_file_of_no_known_form_is_told_which_were_tried() {
    let file = Recording::new("csv", "notes.txt", "dear diary,\n\u{1b}[31mtoday\n");
    for command in ["check", "diagnose"] {
        let output = run(&format!("{command} {}", file.file.display()));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2));
        for part in [
            "begins with `dear diary,`",
            "HBTRACE",
            "✓ [PID 4711] Allocated",
            "BUFFER ALLOCATED",
            "Thread,Time,Action,Pointer,Size,Stream",
            "time,op,device,memory,address,size,thread,process",
            "\"node_type\":\"buffer_allocate\"",
            "Vulkan Memory Allocator,Calls recording",
            "docs/formats.md",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
    let empty = Recording::new("csv", "empty", "");
    let (said, code) = run_json(&format!("check {}", empty.file.display()));
    assert_eq!(code, 2);
    assert!(
        said["error"]
            .as_str()
            .is_some_and(|text| text.contains("it is empty"))
    );
}

#[test]
fn every_format_has_its_sample_in_the_documentation() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/formats.md")).expect("a page");
    for format in heisenbed::trace::file::ImportFormat::ALL {
        assert!(
            page.contains(&format!("`{}`", format.name())),
            "{}",
            format.name()
        );
        for line in format.sample().lines() {
            assert!(page.contains(&format!("    {line}\n")), "{line}");
        }
    }
}

#[test]
fn a_recording_that_was_not_imported_is_told_how() {
    let rmm = "Thread,Time,Action,Pointer,Size,Stream\n1,10:00:00.000001,allocate,0x1000,4096,0\n";
    let log = Recording::new("rmm-log", "rmm.csv", rmm);
    let (said, code) = run_json(&format!("check {}", log.file.display()));
    assert_eq!(code, 2);
    let error = said["error"].as_str().expect("an error");
    assert!(error.contains("heisenbed import rmm-log"), "{error}");
    log.import();
    let again = Recording::new(
        "rmm-log",
        "x.hb",
        std::fs::read(log.trace()).expect("a trace"),
    );
    assert!(again.refused().contains("a trace of heisenbed already"));
}

#[test]
fn bytes_without_a_message_are_no_import_either() {
    for (bytes, says) in [
        (&b""[..], "it is empty"),
        (b"GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n", "right FORMAT"),
    ] {
        let error = refused("wire", "raw", bytes);
        assert!(error.contains(says), "{error}");
    }
}
