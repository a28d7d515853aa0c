//! What recording costs a thread for each event, against a mutex taken and given back.

use std::hint::black_box;
use std::sync::Mutex;

use heisenbed::scenario::Scenario;
use heisenbed::trace::event::Event;
use heisenbed::trace::file::{End, RunHeader};
use heisenbed::trace::recorder::Recorder;

use super::clock::ThreadClock;
use super::row::{Effort, Row, median, median_ratio};
use super::trace;

/// The events of real threads' streams, recorded again with the clock running.
pub fn cost_per_event(effort: Effort) -> Vec<Row> {
    let scenario = trace::standard(2, effort.pick(80_000, 300_000));
    let streams = streams(&scenario);
    let rounds = effort.pick(5, 15);
    let (mut mutex, mut one, mut two) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        mutex.push(mutex_ns());
        one.push(record_ns(&scenario, &streams[..1]));
        two.push(record_ns(&scenario, &streams));
    }
    let row = |name: &str, ours: &[f64]| Row {
        what: format!("recording, {name}: an event a thread"),
        peer: format!("std mutex lock+unlock {:.1} ns", median(&mutex)),
        ours: format!("{:.1} ns", median(ours)),
        ratio: format!("{:.2}", median_ratio(ours, &mutex)),
        target: "≤ 25 ns".to_owned(),
        met: Some(median(ours) <= 25.0),
    };
    vec![
        row("1 thread + writer", &one),
        row("2 threads + writer", &two),
    ]
}

/// The events of each thread of a run.
fn streams(scenario: &Scenario) -> Vec<Vec<Event>> {
    let directory = tempfile::tempdir().expect("a directory");
    let trace = trace::record(scenario, &directory.path().join("t.hb"));
    let mut streams = vec![Vec::new(); usize::from(scenario.threads)];
    for merged in trace::events(&trace) {
        if let Some(stream) = streams.get_mut(usize::from(merged.stream)) {
            stream.push(merged.event);
        }
    }
    streams
}

/// Nanoseconds an event, each stream on a thread of its own, the writer beside them.
fn record_ns(scenario: &Scenario, streams: &[Vec<Event>]) -> f64 {
    let header = RunHeader {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        engine: "threads".to_owned(),
        run: 0,
        server_recorded: false,
        scenario: scenario.clone(),
    };
    let file = tempfile::tempfile().expect("a file");
    let recorder = Recorder::start(file, header, scenario.objects()).expect("a recorder");
    let costs: Vec<f64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(streams)
            .map(|(number, events)| {
                let mut stream = recorder.stream(number);
                scope.spawn(move || {
                    let started = ThreadClock::start();
                    for event in events {
                        stream.record(black_box(event));
                    }
                    drop(stream);
                    started.seconds() * 1e9 / events.len() as f64
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a recording thread"))
            .collect()
    });
    recorder.finish(&End::default()).expect("a whole trace");
    median(&costs)
}

/// Nanoseconds to take and give back a mutex that nobody else wants.
fn mutex_ns() -> f64 {
    const TIMES: u32 = 4_000_000;
    let mutex = Mutex::new(0u64);
    let started = ThreadClock::start();
    for _ in 0..TIMES {
        *black_box(&mutex).lock().expect("nobody panics") += 1;
    }
    started.seconds() * 1e9 / f64::from(TIMES)
}
