//! The exploration benchmarks: what is found and proved in how much time, beside what a user of
//! shuttle or loom would get for the same lifecycle.
//!
//! `cargo bench -p heisenbed-benches --bench explore` runs all; `-- FILTER` those whose name
//! contains FILTER; `-- --quick` fewer repetitions and smaller budgets. Ours and the peer take
//! turns, rates are per second of CPU time, and the figures are medians, so that a busy machine
//! disturbs both alike. Nothing here fails: a missed target is printed as missed.

mod any;
#[path = "../common/clock.rs"]
mod clock;
mod loom_model;
#[path = "../common/memory.rs"]
mod memory;
mod ours;
mod proofs;
#[path = "../common/row.rs"]
mod row;
mod shuttle_model;
mod speed;
mod verdicts;

use row::Bench;

const BENCHES: [Bench; 5] = [
    ("random-walk", speed::random_walk),
    ("exhaustive", proofs::exhaustive),
    ("depth-first", proofs::beside_peers),
    ("verdicts", verdicts::agreement),
    ("random-disciplines", any::random_disciplines),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rows = row::measured(&BENCHES, &arguments);
    println!(
        "shuttle 0.9, loom 0.7; all in one build: opt-level 3, no LTO, the peers' logging compiled out\n"
    );
    println!("{}", row::table(&rows));
}
