//! The C interface, from C++ programs that g++ compiles here, against `heisenbed serve`.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::served::Served;
use heisenbed::tracking::Layout;
use heisenbed::tracking::transport::Connection;

/// Compiles a program of this repository against the header and the shared library.
pub fn compiled(source: &str) -> (tempfile::TempDir, PathBuf) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Cargo puts the libraries of a dependency beside the tests that need it.
    let test = std::env::current_exe().expect("a path");
    let libraries = test.parent().expect("a test is in a folder");
    assert!(
        libraries.join("libheisenbed_client.so").exists(),
        "no libheisenbed_client.so in {}: cargo build -p heisenbed-client",
        libraries.display()
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("program");
    let output = Command::new("g++")
        .args(["-std=c++17", "-Wall", "-Wextra", "-Werror", "-pthread"])
        .arg("-I")
        .arg(root.join("include"))
        .arg(root.join(source))
        .arg("-L")
        .arg(libraries)
        .args(["-lheisenbed_client", "-o"])
        .arg(&program)
        .arg(format!("-Wl,-rpath,{}", libraries.display()))
        .output()
        .unwrap_or_else(|error| {
            panic!("g++: {error}. These tests compile C++: install a C++ compiler (Debian: g++)")
        });
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (folder, program)
}

/// Runs one case of `tests/servers/checks.cpp` against `served`.
fn check(case: &str, served: &Served) {
    let (_folder, program) = compiled("tests/servers/checks.cpp");
    let output = Command::new(&program)
        .arg(case)
        .arg(served.socket())
        .output()
        .expect("the program starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{case}: {:?} {complaint}",
        output.status
    );
}

fn assert_no_trouble(figures: &serde_json::Value) {
    let troubles = [
        "unknown_frees",
        "duplicate_allocs",
        "rejected",
        "lost_sequence_numbers",
        "unknown_frames",
        "torn_frames",
    ];
    for trouble in troubles {
        assert_eq!(figures[trouble], 0, "{trouble} in {figures}");
    }
}

#[test]
fn a_tracked_allocator_in_cpp_is_reconstructed_exactly() {
    let (_folder, program) = compiled("client/examples/tracked_allocator.cpp");
    let served = Served::start(&["--no-sweep", "--semantics", "sequenced"]);
    let output = Command::new(&program)
        .arg(served.socket())
        .args(["8", "2000"])
        .output()
        .expect("the program starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?} {complaint}", output.status);

    let observer = Connection::open(&served.socket(), Layout::Extended, None).expect("connected");
    let table = observer
        .full_table(Duration::from_secs(10))
        .expect("a table");
    let mut shown: Vec<String> = table
        .iter()
        .map(|entry| {
            let (device, memory) = (entry.device.0, entry.buffer_type);
            let (address, size) = (entry.address, entry.size_bytes);
            format!(
                "{device} {memory} {address} {size} {} {}",
                entry.generation, entry.thread
            )
        })
        .collect();
    let live = String::from_utf8(output.stdout).expect("text");
    let mut live: Vec<&str> = live.lines().collect();
    live.sort_unstable();
    shown.sort_unstable();
    assert_eq!(
        (live.len(), shown),
        (8, live.iter().map(|l| (*l).to_owned()).collect())
    );

    let figures = served.figures();
    assert_no_trouble(&figures);
    // 8 threads with 2,000 allocations and 1,999 releases each, 2 queries; the table is no message.
    assert_eq!(
        (&figures["messages"], &figures["live"]),
        (&(8 * 3999 + 2).into(), &8.into())
    );
}

#[test]
fn messages_sent_in_reverse_take_effect_in_the_order_of_their_numbers() {
    let served = Served::start(&["--no-sweep", "--semantics", "sequenced"]);
    check("reversed", &served);
    assert_no_trouble(&served.figures());
}

#[test]
fn a_number_that_was_never_sent_is_missed() {
    let served = Served::start(&["--no-sweep", "--semantics", "sequenced"]);
    check("gap", &served);
    assert_eq!(served.figures()["lost_sequence_numbers"], 1);
}

#[test]
fn memories_and_circular_buffers_are_told_apart() {
    let served = Served::start(&["--no-sweep", "--semantics", "typed"]);
    check("apart", &served);
    assert_no_trouble(&served.figures());
}

#[test]
fn clients_of_one_process_count_together() {
    let served = Served::start(&["--no-sweep", "--semantics", "sequenced"]);
    check("reconnect", &served);
    let figures = served.figures();
    assert_no_trouble(&figures);
    assert_eq!(
        (&figures["connections"], &figures["messages"]),
        (&3.into(), &6.into())
    );
}

#[test]
fn a_child_of_fork_is_kept_off_its_parents_connection() {
    let served = Served::start(&["--no-sweep", "--semantics", "sequenced"]);
    check("forked", &served);
    assert_no_trouble(&served.figures());
}

#[test]
fn what_a_full_socket_drops_is_counted() {
    check(
        "dontwait",
        &Served::start(&["--no-sweep", "--delay-us", "20000"]),
    );
}

#[test]
fn misuse_gets_a_status() {
    let served = Served::start(&["--no-sweep"]);
    check("misuse", &served);
    assert_no_trouble(&served.figures());
}

#[test]
fn a_dead_server_is_a_status_and_no_signal() {
    let (_folder, program) = compiled("tests/servers/checks.cpp");
    let mut served = Served::start(&["--no-sweep"]);
    let mut client = Command::new(&program)
        .arg("gone")
        .arg(served.socket())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    BufReader::new(client.stdout.take().expect("piped"))
        .read_line(&mut line)
        .expect("a line");
    assert_eq!(line, "connected\n");
    served.kill();
    let mut input = client.stdin.take().expect("piped");
    input.write_all(b"\n").expect("it reads");
    drop(input);
    assert!(client.wait().expect("it ends").success());
}
