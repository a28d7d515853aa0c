//! Recorded runs to measure on, and the size of their traces against the same run as an RMM log.

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use heisenbed::engine::threads::{self, RunConfig, RunResult, ServerChoice};
use heisenbed::lifecycle::Order;
use heisenbed::scenario::op::Op;
use heisenbed::scenario::{Scenario, ScenarioFile};
use heisenbed::trace::event::Event;
use heisenbed::trace::file::{Header, TraceFile};
use heisenbed::trace::merge::{Merge, MergedEvent};

use super::row::{Effort, Row};

/// The standard stress run with so many operations a thread.
pub fn standard(threads: u16, ops: u64) -> Scenario {
    scenario(threads, ops, |_| ())
}

/// The racy run: the address is given back before FREE is sent, and the lock covers neither.
pub fn racy(ops: u64, perturb: bool) -> Scenario {
    scenario(2, ops, |file| {
        file.discipline = "lifecycle-narrow".to_owned();
        file.order = Some(Order::FreeFirst);
        file.perturb = perturb;
    })
}

fn scenario(threads: u16, ops: u64, change: impl FnOnce(&mut ScenarioFile)) -> Scenario {
    let mut file = ScenarioFile::load("own-buffers").expect("built in");
    file.threads = threads;
    file.ops = ops;
    change(&mut file);
    file.resolve().expect("a sound scenario")
}

/// Plays a run, recorded to `record` where it is given.
pub fn play(scenario: &Scenario, run: u64, record: Option<File>) -> RunResult {
    let config = RunConfig {
        scenario,
        run,
        record,
        server: ServerChoice::InProcess,
        debug_log: None,
        interrupt: &AtomicBool::new(false),
    };
    threads::run(config, |_| ()).expect("the run is played")
}

/// Plays a run and keeps its trace at `path`.
pub fn record(scenario: &Scenario, path: &Path) -> TraceFile {
    let file = File::create_new(path).expect("a new file");
    play(scenario, 0, Some(file));
    TraceFile::open(path).expect("what was just written")
}

/// Every event of a trace, in the order of its schedule.
pub fn events(trace: &TraceFile) -> impl Iterator<Item = MergedEvent> {
    let Header::Run(header) = trace.header() else {
        panic!("it was recorded here");
    };
    let mut merge = Merge::new(trace, header);
    std::iter::from_fn(move || merge.next_event())
}

/// Bytes an event of the standard stress run, beside the bytes of an RMM log of the same run.
pub fn bytes_per_event(effort: Effort) -> Vec<Row> {
    let directory = tempfile::tempdir().expect("a directory");
    [("4 threads", 4), ("2 threads", 2)]
        .map(|(name, threads)| {
            let scenario = standard(threads, effort.pick(32_000, 200_000));
            let trace = record(&scenario, &directory.path().join(format!("{threads}.hb")));
            let (rows, csv_bytes) = rmm_log(&trace, &scenario);
            let per_event = trace.bytes() as f64 / trace.events() as f64;
            let per_row = csv_bytes as f64 / rows as f64;
            Row {
                what: format!(
                    "trace, standard stress, {name}: bytes an event ({:.1} M events)",
                    trace.events() as f64 / 1e6
                ),
                peer: format!("RMM CSV {per_row:.1} B a row ({} MB)", csv_bytes >> 20),
                ours: format!("{per_event:.2} B ({} MB)", trace.bytes() >> 20),
                ratio: format!("{:.1} %", per_event / per_row * 100.0),
                target: "≤ 4 B".to_owned(),
                met: Some(per_event <= 4.0),
            }
        })
        .into()
}

/// The allocations and releases of a trace as RMM would log them: how many rows, how many bytes.
fn rmm_log(trace: &TraceFile, scenario: &Scenario) -> (u64, u64) {
    let mut row = String::new();
    let (mut rows, mut bytes) = (
        0u64,
        "Thread,Time,Action,Pointer,Size,Stream\n".len() as u64,
    );
    // The slot each thread works on, and what is in each slot.
    let mut slots = vec![0usize; usize::from(scenario.threads)];
    let mut buffers = vec![(0u64, 0u64); scenario.objects().slots as usize];
    for merged in events(trace) {
        let Some(slot) = slots.get_mut(usize::from(merged.stream)) else {
            continue;
        };
        let action = match merged.event {
            Event::Open { op, .. } => {
                match op {
                    Op::Allocate {
                        slot: opened,
                        request,
                        ..
                    } => {
                        *slot = opened.index();
                        buffers[*slot].1 = request.size_bytes;
                    }
                    Op::Release { slot: opened, .. } => *slot = opened.index(),
                    _ => {}
                }
                continue;
            }
            Event::Alloc { address, .. } => {
                buffers[*slot].0 = address;
                "allocate"
            }
            Event::Free { .. } => "free",
            _ => continue,
        };
        let (address, size_bytes) = buffers[*slot];
        // Device addresses of that system lie where 0x7f… pointers do; the time advances by 5 µs a
        // row.
        let time_us = rows * 5;
        row.clear();
        let _ = writeln!(
            row,
            "{},{:02}:{:02}:{:02}.{:06},{action},{:#x},{size_bytes},0",
            12_345 + u64::from(merged.stream),
            time_us / 3_600_000_000 % 24,
            time_us / 60_000_000 % 60,
            time_us / 1_000_000 % 60,
            time_us % 1_000_000,
            0x7f3a_0000_0000 + address,
        );
        rows += 1;
        bytes += row.len() as u64;
    }
    (rows, bytes)
}
