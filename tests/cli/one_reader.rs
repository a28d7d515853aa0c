//! `check`, `diagnose`, `replay` and `replay --to` read one and the same run: as many messages, as
//! many torn frames, in one order. Over every defect of the zoo that real threads can make, the
//! ones of the wire among them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use crate::common::run_json;
use heisenbed::trace::file::TraceFile;
use heisenbed::trace::observation::Observed;
use heisenbed::{observe, zoo};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// What a command says of a run.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    messages: u64,
    torn_frames: u64,
}

fn account(report: &Value, torn_frames: &Value) -> Account {
    Account {
        messages: report["messages"].as_u64().expect("a count"),
        torn_frames: torn_frames.as_u64().unwrap_or(0),
    }
}

#[test]
fn four_commands_agree_on_every_defect_of_the_zoo() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut runs, mut torn) = (0, 0);
    for defect in zoo::defects() {
        let name = &defect.name;
        let trace = directory.path().join(format!("{name}.hb"));
        let file = trace.display();
        let words = format!("stress --defect {name} --perturb --ops 300 --record {file}");
        // Some defects need an order of reads that real threads cannot make: `stress` refuses them.
        if crate::common::run(&words).status.code() == Some(2) {
            continue;
        }
        runs += 1;

        let (check, code) = run_json(&format!("check {file}"));
        assert!(code < 2, "{name}: {check}");
        let truth = account(&check, &check["divergences"]["torn-frame"]);
        torn += truth.torn_frames;

        let (diagnosis, code) = run_json(&format!("diagnose {file}"));
        assert!(code < 2, "{name}: {diagnosis}");
        let said = account(&diagnosis, &diagnosis["divergences"]["torn-frame"]);
        assert_eq!(said, truth, "{name}: diagnose and check");

        let (replay, code) = run_json(&format!("replay {file}"));
        assert!(code < 2, "{name}: {replay}");
        let said = account(&replay, &replay["divergences"]["torn-frame"]);
        assert_eq!(said, truth, "{name}: replay and check");

        let journal = directory.path().join(format!("{name}.journal.hb"));
        let (played, code) = play_to_a_server(&trace, &journal);
        assert!(code < 2, "{name}: {played}");
        let said = account(&played, &played["torn_frames"]);
        assert_eq!(said, truth, "{name}: replay --to and check");
        let got = by_address(&journal);
        for (at, recorded) in by_address(&trace) {
            // What the recording leaves live is released at the end.
            let got = &got[&at];
            assert!(
                got.starts_with(&recorded),
                "{name}: {at:?}: {got:?}, recorded {recorded:?}"
            );
            let tail = &got[recorded.len()..];
            assert!(
                tail.iter().all(|kind| kind.ends_with("FREE")),
                "{name}: {at:?}: {tail:?}"
            );
        }
    }
    assert!(runs >= 20, "only {runs} defects were played");
    assert!(torn > 0, "no defect of the wire has torn a frame");
}

/// Plays the trace to a server that keeps a journal.
fn play_to_a_server(trace: &Path, journal: &Path) -> (Value, i32) {
    let socket = journal.with_extension("sock");
    let mut server = crate::common::piped(&[
        "serve",
        "--no-sweep",
        "--semantics",
        "typed",
        "--socket",
        socket.to_str().expect("a plain name"),
        "--record",
        journal.to_str().expect("a plain name"),
    ]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(std::time::Instant::now() < deadline, "the server listens");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let answer = run_json(&format!(
        "replay {} --to unix:{}",
        trace.display(),
        socket.display()
    ));
    let pid = Pid::from_child(&server);
    kill_process(pid, Signal::INT).expect("it runs");
    server.wait().expect("it ends");
    answer
}

/// The kinds of the messages about each address, in the order of the record.
fn by_address(record: &Path) -> BTreeMap<(i32, u64), Vec<&'static str>> {
    let trace = TraceFile::open(record).expect("a trace");
    let mut seen: BTreeMap<(i32, u64), Vec<&'static str>> = BTreeMap::new();
    observe::each(&trace, &mut |observation| {
        if let Observed::Message { message, .. } = observation.what
            && message.kind.class().is_some()
        {
            let at = (message.device, message.address);
            seen.entry(at).or_default().push(message.kind.name());
        }
        ControlFlow::Continue(())
    })
    .expect("it can be read");
    seen
}
