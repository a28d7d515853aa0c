//! `replay --to` and `stress --server`: recorded and live messages against any server, and its
//! totals against the truth.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use crate::common::{run, run_json};
use crate::naive::Naive;
use heisenbed::registry::Semantics;
use heisenbed::server::listener::{Server, ServerConfig};
use heisenbed::tracking::transport::{Connection, SendMode};
use heisenbed::tracking::{Layout, Message, MessageKind, wire};
use serde_json::Value;

/// A directory for what a test writes, and a server of ours in it.
struct Bench {
    directory: tempfile::TempDir,
    server: Server,
}

impl Bench {
    fn new(semantics: Semantics) -> Bench {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let config = ServerConfig::new(directory.path().join("ours.sock"), semantics);
        let server = Server::start(config).expect("it starts");
        Bench { directory, server }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Records a run, and says where.
    fn record(&self, words: &str) -> PathBuf {
        let trace = self.file("run.hb");
        let (run, code) = run_json(&format!("stress {words} --record {}", trace.display()));
        assert!(code < 2, "{run}");
        trace
    }

    fn replay(&self, trace: &Path, words: &str) -> (Value, i32) {
        replay(trace, self.server.path(), words)
    }
}

fn replay(trace: &Path, server: &Path, words: &str) -> (Value, i32) {
    let (trace, server) = (trace.display(), server.display());
    run_json(&format!("replay {trace} --to unix:{server} {words}"))
}

/// A thread that leaves a buffer in DRAM and one in L1 at the same address, in a file.
fn aliasing(bench: &Bench) -> PathBuf {
    let scenario = r#"
        name = "aliasing"
        threads = 1
        devices = 1
        profile = "custom:1x65536"
        [transport]
        layout = "112"
        [workload]
        script = [[
            "allocate s0#1 4096 dram d0 releases=0",
            "allocate s1#1 8192 l1 d0 releases=0",
        ]]
    "#;
    let file = bench.file("aliasing.toml");
    std::fs::write(&file, scenario).expect("writable");
    file
}

#[test]
fn a_recorded_run_plays_to_our_server_in_every_layout_and_ends_at_the_truth() {
    let bench = Bench::new(Semantics::Typed);
    for scenario in ["real-leak", "mixed", "circular"] {
        let trace = bench.record(&format!("--scenario {scenario} --ops 200"));
        for layout in Layout::ALL {
            let (report, code) = bench.replay(&trace, &format!("--layout {layout}"));
            assert_eq!(
                (code, &report["verdict"]),
                (0, &"clean".into()),
                "{scenario} {layout}: {report}"
            );
            assert_eq!(
                (&report["compared_with"], &report["check"]),
                (&"truth".into(), &"totals".into())
            );
            assert!(report["messages"].as_u64() > Some(500), "{report}");
        }
    }
}

/// Hand-off: what one connection allocates, another releases. Recorded with a connection a thread,
/// where the server may have taken the release first: whatever it took, it takes again, so that it
/// ends where our registry does.
#[test]
fn messages_about_one_address_keep_their_order_over_all_connections() {
    let bench = Bench::new(Semantics::Typed);
    let trace = bench.record("--scenario handoff --threads 8 --ops 400 --transport per-thread");
    for _ in 0..3 {
        let (report, code) = bench.replay(&trace, "--semantics typed");
        assert_eq!((code, &report["connections"]), (0, &8.into()), "{report}");
    }
}

#[test]
fn a_naive_server_is_told_where_it_is_wrong() {
    let bench = Bench::new(Semantics::Typed);
    let trace = bench.record(&format!("--scenario {}", aliasing(&bench).display()));
    let (report, code) = bench.replay(&trace, "");
    assert_eq!(code, 0, "{report}");
    let naive = Naive::start();
    let (report, code) = replay(&trace, &naive.path(), "");
    assert_eq!((code, &report["verdict"]), (1, &"diverged".into()));
    let expected = serde_json::json!([
        { "device": 0, "memory": "l1", "before": 0, "expected": 8192, "got": 0, "registry": 8192 }
    ]);
    assert_eq!(report["mismatches"], expected);
    assert_eq!(report["first"]["kind"], "missing-live");
    let (trace, path) = (trace.display(), naive.path());
    // It can be played again: nothing is left.
    let output = run(&format!(
        "replay {trace} --to unix:{} --quiet",
        path.display()
    ));
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.contains("diverged: totals of 1 device compared with the truth"),
        "{text}"
    );
    let words: Vec<&str> = text
        .lines()
        .find(|line| line.contains(" l1 "))
        .expect("a row")
        .split_whitespace()
        .collect();
    assert_eq!(words, ["0", "l1", "8,192", "0", "8,192"]);
}

/// Messages that do not tell of every release end elsewhere than at the truth, whoever takes them.
#[test]
fn where_the_messages_are_wrong_the_server_is_not_blamed() {
    let bench = Bench::new(Semantics::Typed);
    let discipline = bench.file("free-never-sent.toml");
    let text = crate::common::discipline_text(
        "alloc, mark-live, send ALLOC, publish",
        "claim, free, mark-dead",
    );
    std::fs::write(&discipline, text).expect("writable");
    let trace = bench.record(&format!("--ops 20 --discipline {}", discipline.display()));
    let server = bench.server.path().display();
    let output = run(&format!(
        "replay {} --to unix:{server} --quiet",
        trace.display()
    ));
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("the server is not to blame"), "{text}");
    // Asked for by name, it is the registry that the server is compared with.
    let (report, code) = bench.replay(&trace, "--semantics typed");
    assert_eq!(
        (code, &report["compared_with"]),
        (0, &"registry".into()),
        "{report}"
    );
}

#[test]
fn what_was_dropped_when_it_was_recorded_is_counted_and_not_played() {
    let bench = Bench::new(Semantics::Typed);
    let trace = bench.record("--scenario dontwait-loss");
    let (report, _) = bench.replay(&trace, "--semantics typed");
    let (check, _) = run_json(&format!("check {}", trace.display()));
    let dropped = &report["not_played"]["dropped"];
    assert!(dropped.as_u64() > Some(0), "{report}");
    assert_eq!(dropped, &check["divergences"]["lost-message"], "{check}");
}

#[test]
fn an_imported_log_plays_as_far_as_it_is_complete_and_is_compared_with_our_registry() {
    let bench = Bench::new(Semantics::Typed);
    let mut played = 0;
    for log in [
        "01_basic",
        "04_dram_l1_same_addr",
        "20_v144_basic",
        "40_enh",
        "40_v72",
    ] {
        let trace = bench.file("log.hb");
        let words = format!(
            "import server-log corpus/imports/{log}.log -o {}",
            trace.display()
        );
        assert!(run(&words).status.success());
        let (report, code) = bench.replay(&trace, "");
        assert_eq!(
            (code, &report["compared_with"]),
            (0, &"registry".into()),
            "{log}: {report}"
        );
        played += report["messages"].as_u64().expect("a number");
    }
    assert!(played > 20, "{played}");
}

#[test]
fn what_a_server_understands_otherwise_than_our_registry_is_a_mismatch() {
    let bench = Bench::new(Semantics::Typed);
    let (log, trace) = (bench.file("server.log"), bench.file("log.hb"));
    let lines = "✓ [PID 1] Allocated 4096 bytes of DRAM on device 3 (buffer_id=0x1000)\n\
                 ✓ [PID 2] Allocated 8192 bytes of DRAM on device 3 (buffer_id=0x1000)\n\
                 ⚠ [PID 1] Invalid buffer_type 5 for buffer 4101 on device 1\n";
    std::fs::write(&log, lines).expect("writable");
    let words = format!("import server-log {} -o {}", log.display(), trace.display());
    assert!(run(&words).status.success());
    let (report, code) = bench.replay(&trace, "");
    assert_eq!(
        (code, &report["not_played"]["incomplete"]),
        (0, &1.into()),
        "{report}"
    );
    // A connection a process.
    assert_eq!(
        (&report["messages"], &report["connections"]),
        (&2.into(), &2.into())
    );
    let naive = Naive::start_with(144, None);
    let (report, code) = replay(&trace, &naive.path(), "--layout 144");
    assert_eq!(
        (code, &report["mismatches"][0]["memory"]),
        (1, &"dram".into()),
        "{report}"
    );
    assert_eq!(report["mismatches"][0]["device"], 3);
    // Understood as it does, it is right.
    let naive = Naive::start_with(144, None);
    let (report, code) = replay(&trace, &naive.path(), "--layout 144 --semantics refcount");
    assert_eq!(code, 0, "{report}");
}

#[test]
fn the_recorded_speed_is_kept_where_it_is_known() {
    let bench = Bench::new(Semantics::Typed);
    let (csv, trace) = (bench.file("rmm.csv"), bench.file("rmm.hb"));
    let rows = "Thread,Time,Action,Pointer,Size,Stream\n\
                1,10:00:00.000000,allocate,0x1000,4096,0\n\
                1,10:00:00.400000,allocate,0x2000,64,0\n\
                1,10:00:00.500000,free,0x1000,4096,0\n";
    std::fs::write(&csv, rows).expect("writable");
    let words = format!("import rmm-log {} -o {}", csv.display(), trace.display());
    assert!(run(&words).status.success());
    let began = Instant::now();
    let (report, code) = bench.replay(&trace, "--speed recorded");
    assert_eq!((code, &report["messages"]), (0, &3.into()), "{report}");
    assert!(began.elapsed().as_millis() >= 500);
    let run = bench.record("--ops 20");
    let (error, code) = bench.replay(&run, "--speed recorded");
    assert_eq!(code, 2);
    assert!(
        error["error"]
            .as_str()
            .is_some_and(|text| text.contains("--speed full")),
        "{error}"
    );
}

#[test]
fn a_server_that_dies_is_a_mismatch_and_one_that_is_not_there_is_bad_usage() {
    let bench = Bench::new(Semantics::Typed);
    let trace = bench.record("--scenario many-devices --ops 200 --transport layout=112");
    let naive = Naive::start();
    let (report, code) = replay(&trace, &naive.path(), "");
    assert_eq!(code, 1, "{report}");
    assert!(
        report["error"]
            .as_str()
            .is_some_and(|text| text.contains("the server failed")),
        "{report}"
    );
    let nobody = bench.file("nobody.sock");
    assert_eq!(replay(&trace, &nobody, "").1, 2);
    let (error, code) = replay(&trace, &Naive::start().path(), "--layout extended");
    assert_eq!(code, 2, "{error}");
    assert!(
        error["error"]
            .as_str()
            .is_some_and(|text| text.contains("--layout")),
        "{error}"
    );
    for words in [
        "--layout 112",
        "--semantics typed",
        "--to unix:x --adapt",
        "--to tcp:1",
    ] {
        let output = run(&format!("replay {} {words}", trace.display()));
        assert_eq!(output.status.code(), Some(2), "{words}");
    }
}

fn stress(server: &Path, words: &str) -> (Value, i32) {
    run_json(&format!(
        "stress --server unix:{} {words}",
        server.display()
    ))
}

#[test]
fn stress_asks_any_server_for_totals_in_the_layout_it_speaks() {
    let bench = Bench::new(Semantics::Typed);
    let server = bench.server.path();
    for layout in Layout::LEGACY {
        let (report, code) = stress(
            server,
            &format!("--scenario real-leak --ops 200 --transport layout={layout}"),
        );
        assert_eq!(
            (code, &report["verdict"]),
            (0, &"clean".into()),
            "{layout}: {report}"
        );
        assert_eq!(report["check"], "totals");
    }
    // What leaked is gone again.
    let (report, code) = stress(server, "--scenario real-leak --ops 200 --runs 2");
    assert_eq!((code, &report["check"]), (0, &"exact".into()), "{report}");
}

#[test]
fn stress_shows_what_a_naive_server_gets_wrong() {
    let bench = Bench::new(Semantics::Typed);
    let naive = Naive::start();
    let (report, code) = stress(
        &naive.path(),
        "--scenario handoff --ops 200 --transport layout=112",
    );
    assert_eq!((code, &report["check"]), (0, &"totals".into()), "{report}");
    let words = format!("--scenario {}", aliasing(&bench).display());
    let (report, code) = stress(&naive.path(), &words);
    assert_eq!(
        (code, &report["verdict"], &report["check"]),
        (1, &"diverged".into(), &"totals".into())
    );
    assert_eq!(
        report["divergences"],
        serde_json::json!({ "missing-live": 1 })
    );
    assert_eq!(report["first"]["memory"], "l1");
    // And our own server, of the same workload.
    let (report, code) = stress(bench.server.path(), &words);
    assert_eq!((code, &report["verdict"]), (0, &"clean".into()), "{report}");
}

#[test]
fn a_server_that_does_not_speak_the_layout_is_told_apart_before_the_run() {
    let naive = Naive::start();
    let (error, code) = stress(&naive.path(), "--ops 20");
    assert_eq!(code, 2);
    assert!(
        error["error"]
            .as_str()
            .is_some_and(|text| text.contains("--transport layout=")),
        "{error}"
    );
}

/// What others had there before, and give back during the run, does not make it look clean.
#[test]
fn totals_that_fall_below_what_was_there_before_are_no_match() {
    let bench = Bench::new(Semantics::Overwrite);
    let connection = Connection::open(bench.server.path(), Layout::V112, None).expect("it listens");
    let alloc = Message {
        kind: MessageKind::Alloc,
        device: 0,
        size_bytes: 1 << 20,
        buffer_type: 1,
        pid: 7,
        address: 0,
        timestamp_ns: 1,
        extension: None,
    };
    for address in (0..65536).step_by(32) {
        let alloc = Message {
            address,
            ..alloc.clone()
        };
        connection.write(
            wire::encode(Layout::V112, &alloc).as_bytes(),
            SendMode::Blocking,
        );
    }
    connection
        .query(0, std::time::Duration::from_secs(10))
        .expect("an answer");
    // One buffer of DRAM takes the place of one of those in L1, of which the run has none.
    let scenario = std::fs::read_to_string(aliasing(&bench)).expect("readable");
    let of_dram: Vec<&str> = scenario
        .lines()
        .filter(|line| !line.contains(" l1 "))
        .collect();
    let file = bench.file("dram.toml");
    std::fs::write(&file, of_dram.join("\n")).expect("writable");
    let words = format!("--scenario {}", file.display());
    let (report, code) = stress(bench.server.path(), &words);
    assert_eq!(
        (code, &report["verdict"]),
        (1, &"diverged".into()),
        "{report}"
    );
}

#[test]
fn totals_agree_about_nothing_where_no_message_is_one_that_servers_take() {
    let bench = Bench::new(Semantics::Typed);
    let (log, trace) = (bench.file("own.csv"), bench.file("own.hb"));
    for (memory, expected) in [("hbm", (3, "inconclusive")), ("dram", (0, "clean"))] {
        let text = format!("op,address,size,memory\nalloc,0x1000,64,{memory}\n");
        std::fs::write(&log, text).expect("writable");
        let (log, output) = (log.display(), trace.display());
        run(&format!("import csv {log} -o {output} --quiet"));
        let (report, code) = bench.replay(&trace, "");
        let verdict = report["verdict"].as_str().expect("a word");
        assert_eq!((code, verdict), expected, "{memory}: {report}");
    }
}

/// A server that takes no message and answers 0 to each QUERY, in the 112-byte layout.
fn deaf(path: &Path) {
    let listener = UnixListener::bind(path).expect("a free place");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut frame = [0; 112];
                while stream.read_exact(&mut frame).is_ok() {
                    if frame[0] == 3 {
                        let mut answer = [0; 112];
                        answer[0] = 4;
                        answer[4..8].copy_from_slice(&frame[4..8]);
                        let _ = stream.write_all(&answer);
                    }
                }
            });
        }
    });
}

#[test]
fn a_server_that_shows_nothing_all_the_time_does_not_agree() {
    let bench = Bench::new(Semantics::Typed);
    let trace = bench.record("--scenario own-buffers --ops 200 --transport layout=112");
    let (report, code) = bench.replay(&trace, "--layout 112");
    let verdict = |report: &Value| report["verdict"].as_str().expect("a word").to_owned();
    assert_eq!((code, verdict(&report).as_str()), (0, "clean"), "{report}");
    let path = bench.file("deaf.sock");
    deaf(&path);
    let (report, code) = replay(&trace, &path, "--layout 112");
    assert_eq!(
        (code, verdict(&report).as_str()),
        (3, "inconclusive"),
        "{report}"
    );
    let note = report["note"].as_str().expect("a note");
    assert!(note.contains("the same totals all the time"), "{note}");
}
