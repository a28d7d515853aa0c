//! `conformance --client`: deliberately faulty clients, and our own C interface, fail exactly where
//! they should.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::compiled;
use crate::common::heisenbed;
use heisenbed::conformance::client_suite::CLIENT_CASES;
use serde_json::Value;

/// The clients of `faulty_clients.cpp`, compiled.
fn faulty_clients() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("faulty_clients");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/faulty_clients.cpp");
    let output = Command::new("g++")
        .args(["-std=c++17", "-Wall", "-Wextra", "-Werror", "-pthread"])
        .arg(source)
        .arg("-o")
        .arg(&program)
        .output()
        .expect("g++ starts: install a C++ compiler (Debian: g++)");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    (folder, program)
}

/// Tries a client; the report, and the cases that failed with what was seen.
fn tried(command: &str, more: &[&str]) -> (Value, Vec<(String, String)>) {
    let output = heisenbed(&["conformance", "--quiet", "--format", "json"])
        .args(["--client", command])
        .args(more)
        .output()
        .expect("the program starts");
    let report: Value = serde_json::from_slice(&output.stdout).expect("an object");
    let cases = report["cases"].as_array().expect("a list");
    let text = |case: &Value, key: &str| case[key].as_str().expect("text").to_owned();
    let failed: Vec<_> = cases
        .iter()
        .filter(|case| case["outcome"] == "failed")
        .map(|case| (text(case, "case"), text(case, "seen")))
        .collect();
    let code = output.status.code();
    assert_eq!(code, Some(i32::from(!failed.is_empty())), "{report}");
    (report, failed)
}

fn names(failed: &[(String, String)]) -> Vec<&str> {
    failed.iter().map(|(case, _)| case.as_str()).collect()
}

fn of_fault(fault: &str) -> (Value, Vec<(String, String)>) {
    let (_folder, program) = faulty_clients();
    let command = format!("exec '{}' {fault} {{socket}}", program.display());
    tried(&command, &["--tries", "2", "--timeout", "8s"])
}

#[test]
fn a_sound_client_fails_nowhere() {
    let (report, failed) = of_fault("sound");
    assert_eq!(failed, [], "{report}");
    assert_eq!(report["passed"], CLIENT_CASES.len(), "{report}");
    assert_eq!(report["verdict"], "clean");
}

#[test]
fn a_client_that_dies_of_sigpipe_is_found_by_its_signal() {
    let (report, failed) = of_fault("sigpipe");
    let expected = ["server-dies", "server-restarts", "server-turns-away"];
    assert_eq!(names(&failed), expected, "{report}");
    for (_, seen) in &failed {
        assert_eq!(seen, "it was killed by SIGPIPE");
    }
}

#[test]
fn a_client_that_hangs_on_a_stopped_server_is_found() {
    let (report, failed) = of_fault("hangs");
    assert_eq!(names(&failed), ["server-stops"], "{report}");
    assert_eq!(failed[0].1, "it did not end and had to be killed");
}

#[test]
fn a_descriptor_that_is_closed_twice_is_found() {
    let (report, failed) = of_fault("closes");
    assert_eq!(names(&failed), ["no-server"], "{report}");
    assert_eq!(failed[0].1, "1 close of descriptors that were not open");
}

#[test]
fn threads_that_connect_each_for_itself_are_found_by_their_connections() {
    let (report, failed) = of_fault("races");
    let expected = [
        "no-server",
        "server-late",
        "server-restarts",
        "server-turns-away",
    ];
    assert_eq!(names(&failed), expected, "{report}");
    assert!(failed[0].1.starts_with("it tried to connect "), "{report}");
    for seen in [&failed[1].1, &failed[2].1] {
        assert!(seen.ends_with(" open at once (1 allowed)"), "{report}");
    }
    assert!(failed[3].1.starts_with("it connected "), "{report}");
}

/// It sends with HB_BLOCKING: that waits for a server that takes nothing, and nothing else is
/// wrong. What a server makes of its messages is told by its exit code.
#[test]
fn our_own_c_client_waits_for_a_stopped_server_and_fails_nowhere_else() {
    let (_folder, program) = compiled("client/examples/tracked_allocator.cpp");
    let command = format!("exec '{}' \"$HEISENBED_SOCKET\" 4 500", program.display());
    // It waits for an answer for 10 s.
    let (report, failed) = tried(&command, &["--tries", "1", "--timeout", "20s"]);
    assert_eq!(names(&failed), ["server-stops"], "{report}");
    assert_eq!(
        report["cases"][0]["seen"],
        "3,998 messages over 1 connection, and exit code 0"
    );
}

#[test]
fn our_own_c_client_fails_nowhere_where_it_does_not_wait() {
    let (_folder, program) = compiled("tests/servers/checks.cpp");
    let command = format!("exec '{}' traffic {{socket}}", program.display());
    let (report, failed) = tried(&command, &["--tries", "2"]);
    assert_eq!(failed, [], "{report}");
    assert_eq!(report["passed"], CLIENT_CASES.len(), "{report}");
}

#[test]
fn a_client_that_does_not_talk_to_its_server_cannot_be_tried() {
    let (report, failed) = tried("true", &["--only", "server-lives,server-dies,no-server"]);
    assert_eq!(names(&failed), ["server-lives"], "{report}");
    assert!(failed[0].1.contains("HEISENBED_SOCKET"), "{report}");
    assert_eq!(report["skipped"], 2);
}

#[test]
fn a_client_that_does_not_exist_is_bad_input() {
    for command in ["nosuchprogram --flag", "./no/such/program", ""] {
        let output = heisenbed(&["conformance", "--client", command])
            .output()
            .expect("the program starts");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert!(complaint.contains("no program of this name"), "{complaint}");
    }
}

#[test]
fn a_path_that_a_server_has_is_left_to_it() {
    let served = crate::served::Served::start(&[]);
    let output = heisenbed(&["conformance", "--client", "true", "--socket"])
        .arg(served.socket())
        .output()
        .expect("the program starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(
        complaint.contains("a server is listening here"),
        "{complaint}"
    );
}

#[test]
fn every_case_for_clients_is_listed_and_in_the_documentation() {
    let (list, code) = crate::common::run_json("conformance --client x --list");
    assert_eq!(code, 0);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/conformance.md"))
        .expect("readable");
    let listed = list["cases"].as_array().expect("a list");
    assert_eq!(listed.len(), CLIENT_CASES.len());
    for case in listed {
        let name = case["case"].as_str().expect("a name");
        assert!(page.contains(&format!("### {name}\n")), "{name}");
    }
}
