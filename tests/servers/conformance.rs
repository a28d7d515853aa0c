//! `conformance`: our own server passes, in every layout; a naive one fails exactly where it
//! should.

use std::path::Path;
use std::time::Duration;

use crate::common::{heisenbed, run_json};
use crate::naive::Naive;
use heisenbed::conformance::{Case, cases};
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

const SWEEPS: [&str; 3] = ["sweep-namespace", "sweep-pid-reuse", "sweep-shared-key"];

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

/// Each case on a server of its own, some at a time: a naive server does not survive all of them.
fn each_on_a_naive_server(start: impl Fn() -> Naive + Sync, options: &str) -> String {
    const AT_A_TIME: usize = 4;
    let all: Vec<_> = cases().collect();
    let on_its_own = |case: &Case| {
        let server = start();
        let words = format!("--only {} --timeout 1s {options}", case.name);
        let (report, code) = conformance(&server.path(), &words);
        let found = &report["cases"][0];
        let outcome = found["outcome"].as_str().expect("an outcome");
        // Of a case that cannot be tried nothing is known.
        let expected = match outcome {
            "failed" => 1,
            "skipped" => 3,
            _ => 0,
        };
        assert_eq!(code, expected, "{report}");
        // What a torn stream is taken for depends on where the reads fell, and how a server's end
        // is seen on when.
        let evidence = match found["seen"].as_str().expect("evidence") {
            _ if outcome == "failed" && UNSTEADY.contains(&case.name) => String::new(),
            seen => format!(": {seen}"),
        };
        format!("{:20} {outcome}{evidence}\n", case.name)
    };
    let some = |cases: &[&'static Case]| -> String {
        std::thread::scope(|scope| {
            let running: Vec<_> = cases
                .iter()
                .map(|case| scope.spawn(|| on_its_own(case)))
                .collect();
            let lines = running
                .into_iter()
                .map(|line| line.join().expect("no panic"));
            lines.collect()
        })
    };
    all.chunks(AT_A_TIME).map(some).collect()
}

/// Cases whose evidence differs from run to run where they fail.
const UNSTEADY: [&str; 10] = [
    "own-layout",
    "mixed-layouts",
    "torn-end",
    "split-frames",
    "byte-by-byte",
    "large-writes",
    "unknown-types",
    "never-reads",
    "query-and-close",
    "device-bounds",
];

#[test]
fn a_naive_server_fails_exactly_the_expected_cases() {
    snapshot("naive", &each_on_a_naive_server(Naive::start, ""));
}

#[test]
fn a_naive_server_of_the_144_byte_layout_that_sweeps_by_pid_fails_these_too() {
    let start = || Naive::start_with(144, Some(50));
    let options = "--layout 144 --sweep-wait 2s";
    snapshot("naive_144", &each_on_a_naive_server(start, options));
}

#[test]
fn when_the_server_dies_the_later_cases_say_so() {
    let server = Naive::start();
    let (report, code) = conformance(
        &server.path(),
        "--only device-bounds,answers,query-and-close",
    );
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
    assert_eq!(of(2), ("device-bounds", "skipped", "server gone"));
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
