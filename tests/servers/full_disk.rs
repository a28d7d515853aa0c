//! Disks that fill up while something is recorded: whoever serves goes on serving, says at its end
//! what could not be written, and exits 2.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use heisenbed::tracking::transport::{Connection, SendMode};
use heisenbed::tracking::{Layout, Message, MessageKind, wire};

/// So large may a file be, in the shell's blocks of 512 or 1,024 bytes.
const BLOCKS: u32 = 8;

/// Our program, for which every disk is full after a few blocks: a write fails, no signal comes.
fn with_little_disk(blocks: u32) -> Command {
    let mut command = Command::new("sh");
    let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    command
        .args(["-c", &limited, env!("CARGO_BIN_EXE_heisenbed")])
        .env_remove("COLUMNS")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Starts what listens, and waits until it does.
fn listening(command: &mut Command) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut child = command.spawn().expect("it starts");
    let mut said = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.starts_with("listening on") {
        line.clear();
        assert!(said.read_line(&mut line).expect("text") > 0, "it listens");
    }
    (child, said)
}

fn ended(child: Child) -> (serde_json::Value, Option<i32>) {
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    let output: Output = child.wait_with_output().expect("it ends");
    let said = serde_json::from_slice(&output.stdout).expect("an object");
    (said, output.status.code())
}

/// Allocates that many buffers, and waits until the server has taken all of them.
fn allocate(socket: &Path, count: u64) {
    let connection = Connection::open(socket, Layout::V112, None).expect("it listens");
    for at in 0..count {
        // In no order that would be told in a few bytes.
        let mixed = (at ^ 0x9e37_79b9).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let slot = (mixed ^ mixed >> 29).wrapping_mul(0x94d0_49bb_1331_11eb) >> 24;
        let message = Message {
            kind: MessageKind::Alloc,
            device: 0,
            size_bytes: 64,
            buffer_type: 0,
            pid: 7,
            address: 0x1000 + 0x40 * slot,
            timestamp_ns: 0,
            extension: None,
        };
        let frame = wire::encode(Layout::V112, &message);
        connection.write(frame.as_bytes(), SendMode::Blocking);
    }
    let asked = connection.query(0, std::time::Duration::from_secs(20));
    asked.expect("the server answers");
}

#[test]
fn a_server_whose_journal_does_not_fit_goes_on_and_says_so_at_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let (socket, journal) = (folder.path().join("s"), folder.path().join("table.hb"));
    let mut command = with_little_disk(BLOCKS);
    command.args(["serve", "--no-sweep", "--format", "json", "--socket"]);
    command.arg(&socket).arg("--record").arg(&journal);
    let (server, _said) = listening(&mut command);
    allocate(&socket, 5_000);
    let (summary, code) = ended(server);
    assert_eq!(
        (&summary["live"], code),
        (&5_000.into(), Some(2)),
        "{summary}"
    );
    let error = summary["record_error"].as_str().expect("an error");
    assert!(error.contains("File too large"), "{error}");
    let (checked, _) = crate::common::run_json(&format!("check {}", journal.display()));
    assert_eq!(checked["verdict"], "inconclusive", "{checked}");
}

#[test]
fn a_proxy_whose_capture_does_not_fit_passes_all_on_and_says_so_at_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let mut real = crate::common::heisenbed(&["serve", "--no-sweep", "--format", "json"]);
    real.arg("--socket").arg(path("real"));
    let (server, _said) = listening(real.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut command = with_little_disk(BLOCKS);
    command.args(["proxy", "--format", "json", "--upstream"]);
    command.arg(path("real")).arg("--listen").arg(path("s"));
    let (proxy, _said) = listening(command.arg("--record").arg(path("run.hb")));
    allocate(&path("s"), 5_000);
    let (report, code) = ended(proxy);
    assert_eq!(code, Some(2), "{report}");
    let error = report["record_error"].as_str().expect("an error");
    assert!(error.contains("File too large"), "{error}");
    assert_eq!(ended(server).0["live"], 5_000);
}

#[test]
fn a_template_that_does_not_fit_is_not_left_in_part() {
    let folder = tempfile::tempdir().expect("a folder");
    let set_up = |command: &mut Command| {
        let output = command.arg("init").current_dir(folder.path()).output();
        output.expect("it runs")
    };
    let output = set_up(&mut with_little_disk(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("File too large"), "{said}");
    let output = set_up(&mut crate::common::heisenbed(&[]));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let whole = tempfile::tempdir().expect("a folder");
    let mut again = crate::common::heisenbed(&["init"]);
    let output = again.current_dir(whole.path()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(files(folder.path()), files(whole.path()));
}

/// Every file below a folder, and its length.
fn files(folder: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder") {
            let entry = entry.expect("an entry");
            let about = entry.metadata().expect("it is there");
            if about.is_dir() {
                folders.push(entry.path());
                continue;
            }
            let path = entry.path();
            let name = path.strip_prefix(folder).expect("it is below");
            found.push((name.display().to_string(), about.len()));
        }
    }
    found.sort();
    found
}
