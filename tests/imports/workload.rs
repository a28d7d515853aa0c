//! Imported allocations as a workload of `stress` and `explore`.

use heisenbed::trace::file::{Header, TraceFile};

use super::debug_log::{allocated, deallocated, log};
use super::torch_snapshot::pickled;
use super::{Recording, run_json};

/// Runs the recording's workload on threads; the script that the run's trace holds, and what was
/// said of the run.
fn stressed(recording: &Recording, more: &str) -> (Vec<Vec<String>>, serde_json::Value) {
    recording.import();
    let run = recording.folder.path().join("run.hb");
    let (trace, run_path) = (recording.trace(), run.display());
    let words = format!(
        "stress --workload import:{} --record {run_path} {more}",
        trace.display()
    );
    let (said, code) = run_json(&words);
    assert_eq!((code, &said["verdict"]), (0, &"clean".into()), "{said}");
    let trace = TraceFile::open(&run).expect("a trace");
    let Header::Run(header) = trace.header() else {
        panic!("a run's trace")
    };
    (
        header.scenario.workload.script.clone().expect("a script"),
        said,
    )
}

#[test]
fn a_debug_log_gives_its_sizes_memories_and_lifetimes() {
    let mut dram = allocated(0x4000, 1 << 20, &["weights()"]);
    dram[6] = "Type: DRAM".to_owned();
    dram[3] = "Device: 5".to_owned();
    let log = Recording::new(
        "debug-log",
        "tt_buffer_debug.log",
        log(&[
            allocated(0x1000, 4096, &["a()"]),
            allocated(0x2000, 64, &["b()"]),
            deallocated(0x1000, 4096),
            dram,
            allocated(0x1000, 2048, &["a()"]),
            deallocated(0x1000, 2048),
        ]),
    );
    // A debug log names no threads: its lives are dealt out.
    let (script, said) = stressed(&log, "--threads 1");
    assert_eq!(
        script,
        [[
            "allocate s0#1 4096 l1 d0",
            "allocate s1#1 64 l1 d0 releases=0",
            "release s0#1",
            "allocate s0#2 1048576 dram d1 releases=0",
            "allocate s2#1 2048 l1 d0",
            "release s2#1",
        ]]
    );
    assert_eq!(
        (&said["leaks"], &said["imported"]["format"]),
        (&2.into(), &"debug-log".into())
    );
    assert_eq!(
        said["imported"]["divided-by"],
        serde_json::json!([1, 1, 1, 1])
    );
    let (script, _) = stressed(&log, "--threads 2");
    let operations: Vec<usize> = script.iter().map(Vec::len).collect();
    assert_eq!(operations, [3, 3], "{script:?}");
}

#[test]
fn an_rmm_log_gives_its_threads_too() {
    let rows = "Thread,Time,Action,Pointer,Size,Stream\n\
                71,10:00:00.1,allocate,0x1000,4096,0\n\
                72,10:00:00.2,allocate,0x2000,64,0\n\
                73,10:00:00.3,free,0x2000,64,0\n\
                71,10:00:00.4,free,0x1000,4096,0\n\
                73,10:00:00.5,allocate,0x2000,128,0\n";
    let (script, said) = stressed(&Recording::new("rmm-log", "rmm.csv", rows), "");
    assert_eq!(
        script,
        [
            vec!["allocate s0#1 4096 dram d0", "release s0#1"],
            vec!["allocate s1#1 64 dram d0"],
            vec!["release s1#1", "allocate s2#1 128 dram d0 releases=0"],
        ]
    );
    assert_eq!(
        (&said["threads"], &said["imported"]["threads-in-source"]),
        (&3.into(), &3.into())
    );
}

#[test]
fn a_snapshot_gives_its_devices_and_drives_a_search() {
    let snapshot = pickled("sound", 4);
    let (script, said) = stressed(&snapshot, "--threads 2");
    let all = script.concat();
    for device in 0..3 {
        let of = |op: &&String| {
            op.starts_with("allocate") && op.contains(&format!(" 512 dram d{device}"))
        };
        assert_eq!(
            all.iter().filter(of).count(),
            4,
            "device {device}: {script:?}"
        );
    }
    // Requested is as good as released; two of each device's buffers stay.
    assert_eq!(all.iter().filter(|op| op.starts_with("release")).count(), 6);
    assert_eq!(
        (&said["leaks"], &said["imported"]["devices-in-source"]),
        (&6.into(), &3.into())
    );

    let words = format!(
        "explore --workload import:{} --threads 2 --ops 4 --devices 1",
        snapshot.trace().display()
    );
    let (found, code) = run_json(&format!("{words} --discipline unlocked --order free-first"));
    assert_eq!(
        (code, &found["verdict"]),
        (1, &"diverged".into()),
        "{found}"
    );
    assert_eq!(found["imported"]["format"], "torch-snapshot");
    let (proved, code) = run_json(&format!("{words} --discipline lifecycle-wide"));
    assert_eq!(
        (code, &proved["verdict"]),
        (0, &"proved".into()),
        "{proved}"
    );
}

#[test]
fn a_recording_without_allocations_is_no_workload() {
    let log = Recording::new("debug-log", "empty.log", log(&[deallocated(0x1000, 64)]));
    log.import();
    let (said, code) = run_json(&format!(
        "stress --workload import:{}",
        log.trace().display()
    ));
    assert_eq!(code, 2, "{said}");
    assert!(
        said["error"]
            .as_str()
            .is_some_and(|text| text.contains("holds no allocation to run again")),
        "{said}"
    );
}

#[test]
fn a_workload_of_a_damaged_trace_says_so() {
    let rows: String = (0..20_000)
        .map(|n| format!("alloc,{0},64\nfree,{0},64\n", 64 + n * 64))
        .collect();
    let log = Recording::new("csv", "own.csv", format!("op,address,size\n{rows}"));
    log.import();
    let whole = std::fs::read(log.trace()).expect("it was written");
    let shown = || {
        let trace = log.trace();
        let output = super::run(&format!(
            "stress --workload import:{} --ops 10 --quiet",
            trace.display()
        ));
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(!shown().contains("damaged"), "{}", shown());
    std::fs::write(log.trace(), &whole[..whole.len() / 2]).expect("writable");
    assert!(shown().contains("the trace is damaged"), "{}", shown());
}
