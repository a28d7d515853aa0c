//! What is advised, and what a run is called: nothing that cannot help, nothing that was done
//! already, and nothing that is not known.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{heisenbed, run, run_json};

fn said(words: &str) -> String {
    String::from_utf8(run(&format!("{words} --quiet")).stdout).expect("text")
}

#[test]
fn no_lock_scope_is_advised_against_what_no_lock_mends() {
    for (words, remedy) in [
        ("stress --scenario dontwait-loss", "--transport blocking"),
        (
            "stress --discipline unlocked --transport split=4 --perturb --ops 2000 --runs 20",
            "--transport split=1,shared",
        ),
        ("stress --defect circular-never-released", "--twin"),
        (
            "stress --semantics overwrite --profile custom:1x65536 --ops 2000",
            "--semantics typed",
        ),
        (
            "stress --discipline lifecycle-narrow --order free-first --perturb --ops 2000",
            "--discipline claimed-wide",
        ),
    ] {
        let text = said(words);
        assert!(text.contains("diverged in"), "{words}: {text}");
        assert!(text.contains(remedy), "{words}: {text}");
        let lock_scope = text.contains("another lock scope");
        assert_eq!(
            lock_scope,
            remedy.contains("claimed-wide"),
            "{words}: {text}"
        );
    }
}

#[test]
fn what_was_given_is_not_advised() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("race.hb").display().to_string();
    let words = "stress --discipline unlocked --order free-first --perturb --ops 2000";
    assert!(said(words).contains("--record race.hb"));
    let text = said(&format!("{words} --record {file}"));
    assert!(!text.contains("--record"), "{text}");
    assert!(text.contains(&format!("heisenbed shrink {file}")), "{text}");
}

#[test]
fn a_message_that_was_lost_is_not_charged_to_the_client() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("lost.hb").display().to_string();
    said(&format!("stress --scenario dontwait-loss --record {file}"));
    let text = said(&format!("diagnose {file}"));
    assert!(text.contains("dropped on the way"), "{text}");
    assert!(!text.contains("client dropped"), "{text}");
}

#[test]
fn a_server_elsewhere_is_not_called_what_it_may_not_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("server.sock");
    let path = socket.display().to_string();
    let mut server = heisenbed(&["serve", "--semantics", "refcount", "--socket", &path])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the server starts");
    let began = Instant::now();
    while !socket.exists() {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "it does not listen"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let words = format!("stress --ops 50 --server unix:{path}");
    let text = said(&words);
    let (found, _) = run_json(&words);
    let (told, _) = run_json(&format!("{words} --semantics refcount"));
    server.kill().expect("it runs");
    server.wait().expect("it ends");
    let head = text.lines().next().expect("a line");
    assert!(
        head.contains(&format!("the server at unix:{path}")) && !head.contains("typed"),
        "{head}"
    );
    assert!(found["semantics"].is_null(), "{found}");
    assert_eq!(told["semantics"], "refcount");
}
