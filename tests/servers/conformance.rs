//! `conformance`: our own server passes, in every layout; a naive one fails exactly where it
//! should.

use std::path::Path;
use std::time::Duration;

use crate::common::{heisenbed, run_json};
use crate::naive::Naive;
use crate::served::Served;
use heisenbed::conformance::cases;
use heisenbed::registry::Semantics;
use heisenbed::server::listener::{Server, ServerConfig, ServerReport};
use heisenbed::tracking::transport::{Connection, SendMode};
use heisenbed::tracking::wire::encode;
use heisenbed::tracking::{Layout, Message, MessageKind};
use serde_json::Value;

/// A server of ours in a directory of its own.
fn serve(semantics: Semantics) -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = ServerConfig::new(directory.path().join("ours.sock"), semantics);
    let server = Server::start(config).expect("it starts");
    (directory, server)
}

fn conformance(path: &Path, more: &str) -> (Value, i32) {
    run_json(&format!("conformance unix:{} {more}", path.display()))
}

/// The names of the cases with this outcome.
fn with_outcome(report: &Value, outcome: &str) -> Vec<String> {
    let cases = report["cases"].as_array().expect("a list");
    cases
        .iter()
        .filter(|case| case["outcome"] == outcome)
        .map(|case| case["case"].as_str().expect("a name").to_owned())
        .collect()
}

/// The table as a user reads it, without what differs from run to run.
fn table(text: &str, path: &Path) -> String {
    let text = text.replace(path.to_str().expect("plain"), "SOCKET");
    let seconds = text
        .rfind(" skipped, in ")
        .map(|at| at + " skipped, in ".len());
    let Some(start) = seconds else {
        panic!("no figures: {text}")
    };
    let end = start + text[start..].find(" s").expect("seconds");
    format!("{}TIME{}", &text[..start], &text[end..])
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!(format!("conformance_{name}"), text));
}

const SWEEPS: [&str; 4] = [
    "sweep-namespace",
    "sweep-pid-reuse",
    "sweep-zombie",
    "sweep-shared-key",
];

#[test]
fn our_own_server_passes_and_nothing_is_left_in_it() {
    let (_directory, server) = serve(Semantics::Typed);
    let output = heisenbed(&["conformance", "--quiet"])
        .arg(format!("unix:{}", server.path().display()))
        .output()
        .expect("the program starts");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{text}");
    snapshot("ours", &table(&text, server.path()));
    let ServerReport { registry, .. } = server.shutdown();
    // What dead clients left, which this server does not drop, was released in their name.
    assert_eq!(registry.live(), []);
}

#[test]
fn our_own_server_passes_in_every_layout() {
    std::thread::scope(|scope| {
        for layout in Layout::ALL {
            scope.spawn(move || {
                let (_directory, server) = serve(Semantics::Typed);
                let words = format!("--layout {layout} --timeout 10s");
                let (report, code) = conformance(server.path(), &words);
                assert_eq!(code, 0, "{layout}: {report}");
                assert_eq!(
                    with_outcome(&report, "skipped"),
                    SWEEPS,
                    "{layout}: {report}"
                );
                assert_eq!(report["verdict"], "clean");
            });
        }
    });
}

/// What is live already, under the very device, changes nothing.
#[test]
fn what_is_live_already_does_not_matter() {
    let (_directory, server) = serve(Semantics::Typed);
    let client = Connection::open(server.path(), Layout::V112, None).expect("it listens");
    for device in 0..8 {
        let alloc = Message {
            kind: MessageKind::Alloc,
            device,
            size_bytes: 12345,
            buffer_type: 0,
            pid: 77,
            address: 0x1000,
            timestamp_ns: 1,
            extension: None,
        };
        client.write(encode(Layout::V112, &alloc).as_bytes(), SendMode::Blocking);
    }
    client.query(0, Duration::from_secs(10)).expect("an answer");
    let (report, code) = conformance(server.path(), "");
    assert_eq!(code, 0, "{report}");
    drop(client);
    assert_eq!(server.shutdown().registry.len(), 8);
}

#[test]
fn a_server_that_counts_references_fails_where_that_is_wrong() {
    let (_directory, server) = serve(Semantics::Refcount);
    let (report, code) = conformance(server.path(), "");
    assert_eq!(code, 1);
    let failed = ["reused-size", "reused-type", "foreign-free", "shared-key"];
    assert_eq!(with_outcome(&report, "failed"), failed);
}

/// The default server, with its sweeps: what the documentation says of it.
#[test]
fn the_default_server_fails_as_counting_references_does_and_nowhere_else() {
    let served = Served::start(&[]);
    let (report, code) = conformance(&served.socket(), "--sweep-wait 20s --tries 2");
    assert_eq!(code, 1);
    let failed = ["reused-size", "reused-type", "foreign-free", "shared-key"];
    assert_eq!(with_outcome(&report, "failed"), failed, "{report}");
    assert_eq!(with_outcome(&report, "skipped"), [""; 0], "{report}");
}

/// As the reference servers answer, two more.
#[test]
fn in_the_legacy_style_it_fails_as_the_reference_does() {
    let served = Served::start(&["--log-style", "legacy"]);
    let (report, _) = conformance(&served.socket(), "--sweep-wait 20s --tries 1");
    let failed = [
        "reused-size",
        "reused-type",
        "foreign-free",
        "shared-key",
        "wrapping-sizes",
        "sweep-shared-key",
    ];
    assert_eq!(with_outcome(&report, "failed"), failed, "{report}");
}

/// The table of a naive server that is started anew for each try.
fn naive_table(frame_bytes: usize, sweep_ms: Option<u64>, options: &str) -> String {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("naive.sock");
    let output = heisenbed(&[
        "conformance",
        "--quiet",
        "--layout",
        &frame_bytes.to_string(),
    ])
    .arg(format!("unix:{}", path.display()))
    .arg("--restart")
    .arg(Naive::command(&path, frame_bytes, sweep_ms))
    .args(options.split(' '))
    .output()
    .expect("the program starts");
    let text = String::from_utf8(output.stdout).expect("text");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}{complaint}");
    let text = table(&text, &path);
    let end = text.find("TIME").expect("figures");
    text[..end].to_owned()
}

/// Several times the same, at once.
fn naive_tables(frame_bytes: usize, sweep_ms: Option<u64>, options: &str) -> [String; 2] {
    std::thread::scope(|scope| {
        let run = || scope.spawn(|| naive_table(frame_bytes, sweep_ms, options));
        [run(), run()].map(|running| running.join().expect("no panic"))
    })
}

#[test]
fn a_naive_server_fails_exactly_the_expected_cases() {
    let [once, again] = naive_tables(112, None, "--tries 2 --timeout 2s");
    assert_eq!(once, again);
    snapshot("naive", &once);
}

#[test]
fn a_naive_server_of_the_144_byte_layout_that_sweeps_by_pid_fails_these_too() {
    let [once, again] = naive_tables(144, Some(50), "--tries 2 --timeout 2s --sweep-wait 20s");
    assert_eq!(once, again);
    snapshot("naive_144", &once);
}

#[test]
#[ignore = "some minutes"]
fn twenty_tries_twice_give_one_table() {
    let [once, again] = naive_tables(112, None, "--tries 20 --timeout 1s");
    assert_eq!(once, again);
    let failing = once.lines().filter(|line| line.contains("FAIL"));
    for line in failing {
        assert!(line.contains(" 20 of 20 "), "{line}");
    }
}

#[test]
fn what_came_is_said_and_how_the_server_ended() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("naive.sock");
    let output = heisenbed(&["conformance", "--quiet", "--format", "json", "--tries", "1"])
        .arg(format!("unix:{}", path.display()))
        .arg("--restart")
        .arg(Naive::command(&path, 112, None))
        .args([
            "--timeout",
            "2s",
            "--only",
            "own-layout,device-1000,device-negative",
        ])
        .output()
        .expect("the program starts");
    let report: Value = serde_json::from_slice(&output.stdout).expect("an object");
    let seen = |index: usize| report["cases"][index]["seen"].as_str().expect("text");
    let came = "no answer in time: 112 bytes came where 2 answers of 72 bytes were due, as many as an answer of the 112 layout has";
    assert!(seen(0).ends_with(came), "{report}");
    // Each by itself, and not the second by what the first did.
    for index in [1, 2] {
        let end = "; the server is gone (killed by SIGABRT)";
        assert!(seen(index).ends_with(end), "{report}");
    }
    assert_eq!(report["cases"][1]["failures"], 1);
}

/// A client that never reads is told apart from one that is gone.
#[test]
fn a_case_is_not_charged_with_the_crash_of_the_next() {
    let server = Naive::start();
    let words = "--only never-reads,query-and-close --tries 1 --timeout 2s";
    let (report, _) = conformance(&server.path(), words);
    let seen = |index: usize| report["cases"][index]["seen"].as_str().expect("text");
    assert_eq!(with_outcome(&report, "failed").len(), 2, "{report}");
    assert!(!seen(0).contains("server"), "{report}");
    assert!(seen(1).ends_with("; the server is gone"), "{report}");
}

#[test]
fn when_the_server_dies_the_later_cases_say_so() {
    let server = Naive::start();
    let (report, code) = conformance(&server.path(), "--only device-100,answers,query-and-close");
    assert_eq!((code, &report["verdict"]), (1, &"diverged".into()));
    let cases = report["cases"].as_array().expect("a list");
    let of = |index: usize| {
        let [case, outcome, seen] =
            ["case", "outcome", "seen"].map(|key| cases[index][key].as_str().expect("text"));
        (case, outcome, seen)
    };
    assert_eq!((of(0).0, of(0).1), ("answers", "passed"));
    assert_eq!((of(1).0, of(1).1), ("query-and-close", "failed"));
    assert!(of(1).2.ends_with("; the server is gone"), "{report}");
    assert_eq!(of(2), ("device-100", "skipped", "server gone"));
}

#[test]
fn a_command_that_starts_no_server_is_bad_usage() {
    let (error, code) = conformance(Path::new("/nonexistent/s"), "--restart false");
    assert_eq!(code, 2);
    let text = error["error"].as_str().expect("text");
    assert!(
        text.contains("--restart: the command ended: exit code 1"),
        "{text}"
    );
}

#[test]
fn bad_usage_is_told_apart_from_failure() {
    let nobody = Path::new("/nonexistent/server.sock");
    let (error, code) = conformance(nobody, "");
    assert_eq!(code, 2);
    assert!(
        error["error"]
            .as_str()
            .is_some_and(|text| text.contains("cannot connect"))
    );
    for words in [
        "unix:/x --only nothing",
        "tcp:1",
        "unix:/x --layout 100",
        "",
    ] {
        let output = crate::common::run(&format!("conformance {words}"));
        assert_eq!(output.status.code(), Some(2), "{words}");
    }
    // A server of another layout is no failure of the cases, and what to do is said.
    let server = Naive::start();
    let (error, code) = conformance(&server.path(), "--layout 648 --timeout 0.3s");
    assert_eq!(code, 2, "{error}");
    assert!(
        error["error"]
            .as_str()
            .is_some_and(|text| text.contains("--layout"))
    );
}

#[test]
fn every_case_is_listed_and_in_the_documentation() {
    let (list, code) = run_json("conformance --list");
    assert_eq!(code, 0);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/conformance.md"))
        .expect("readable");
    let listed = list["cases"].as_array().expect("a list");
    assert_eq!(listed.len(), cases().count());
    for case in listed {
        let name = case["case"].as_str().expect("a name");
        assert!(page.contains(&format!("### {name}\n")), "{name}");
    }
}
