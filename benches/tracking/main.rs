//! The tracking benchmarks: each target of the design that belongs to tracking and recording,
//! measured beside its peer in the same run, and printed as a ratio.
//!
//! `cargo bench -p heisenbed-benches --bench tracking` runs all; `-- FILTER` those whose name
//! contains FILTER; `-- --quick` fewer repetitions. Measures of ours and of the peer take turns,
//! and the figures are medians, so that a busy machine disturbs both alike. Nothing here fails: a
//! missed target is printed as missed.

mod check;
#[path = "../common/clock.rs"]
mod clock;
#[path = "../common/memory.rs"]
mod memory;
mod probe;
mod proxy;
mod recorder;
#[path = "../common/row.rs"]
mod row;
mod server;
mod trace;

use row::Bench;

const BENCHES: [Bench; 8] = [
    ("server-single", server::single_writes),
    ("server-batched", server::batched_writes),
    ("proxy", proxy::added_latency),
    ("recorder", recorder::cost_per_event),
    ("probe-effect", probe::effect_of_recording),
    ("bug-probability", probe::bug_probability),
    ("trace-size", trace::bytes_per_event),
    ("check", check::rate_and_memory),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(path) = check::child_argument(&arguments) {
        return check::child(path);
    }
    let rows = row::measured(&BENCHES, &arguments);
    println!("{}", row::table(&rows));
}
