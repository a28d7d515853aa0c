//! The log of our own server, in the reference servers' words, with what it says beside it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::common::heisenbed;
use super::{Recording, run};

#[test]
fn every_line_of_our_own_servers_log_is_understood() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("tt.sock");
    let log = folder.path().join("server.log");
    let file = std::fs::File::create(&log).expect("writable");
    let socket_word = socket.display().to_string();
    let mut server = heisenbed(&[
        "serve",
        "--socket",
        &socket_word,
        "--semantics",
        "refcount",
        "--log-style",
        "legacy",
    ])
    .stdin(Stdio::null())
    .stdout(file.try_clone().expect("a second handle"))
    .stderr(file)
    .spawn()
    .expect("it starts");
    let started = Instant::now();
    while !socket.exists() && started.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    for layout in ["72", "112", "128", "144", "648", "extended"] {
        run(&format!(
            "stress --quiet --runs 1 --threads 2 --ops 60 --devices 2 --discipline lifecycle-narrow \
             --order free-first --server unix:{socket_word} --transport layout={layout}"
        ));
    }
    let killed = std::process::Command::new("kill")
        .args(["-INT", &server.id().to_string()])
        .status();
    assert!(killed.expect("kill runs").success());
    assert!(server.wait().expect("a child").success());
    let text = std::fs::read(&log).expect("readable");
    assert!(text.len() > 1000);
    let account = Recording::new("server-log", "server.log", text).import();
    assert_eq!(
        account["unrecognised_lines"],
        serde_json::json!([]),
        "{account}"
    );
    assert!(account["parsed"].as_u64() > Some(100), "{account}");
}
