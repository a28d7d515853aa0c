//! Proofs that the wide lock is correct: time, states and memory, and how far the peers come.

use std::time::{Duration, Instant};

use heisenbed::engine::controlled::exhaustive::{SearchEnd, SearchOptions, Searched};

use super::memory::peak_kib;
use super::row::{Effort, Row};
use super::{loom_model, ours, shuttle_model};

const DISCIPLINE: &str = "lifecycle-wide";

/// Threads, pairs, and the seconds that a proof may take; none: its memory counts.
const SIZES: [(usize, usize, Option<f64>); 4] = [
    (3, 2, Some(0.05)),
    (3, 4, Some(0.5)),
    (4, 2, Some(5.0)),
    (4, 4, None),
];

/// What a proof of the largest size may take.
const MEMORY_KIB: u64 = 16 << 20;

/// What this machine can hold without the reductions.
const MAX_STATES: u64 = 100_000_000;

/// Each size with every reduction, and without any as far as a minute goes.
pub fn exhaustive(effort: Effort) -> Vec<Row> {
    let budget = effort.pick(10.0, 60.0);
    // All of these first: the peak of memory is the whole process's.
    let proofs = SIZES.map(|(threads, pairs, limit)| {
        let setup = ours::setup(DISCIPLINE, threads, pairs, false);
        let (found, seconds) = ours::searched(&setup, &SearchOptions::default(), 600.0);
        (threads, pairs, limit, setup, found, seconds, peak_kib())
    });
    proofs
        .into_iter()
        .map(|(threads, pairs, limit, setup, found, seconds, peak_kib)| {
            let proved = found.ended == SearchEnd::Exhausted;
            let options = SearchOptions {
                max_states: MAX_STATES,
                ..ours::unreduced()
            };
            let (plain, plain_seconds) = ours::searched(&setup, &options, budget);
            let took = |found: &Searched, seconds: f64| {
                let end = if found.ended == SearchEnd::Exhausted {
                    ""
                } else {
                    "not done: "
                };
                format!("{end}{} states, {seconds:.3} s", found.states)
            };
            let memory = format!(", peak of the process {} MiB", peak_kib >> 10);
            let (target, met, memory) = match limit {
                Some(limit) => (format!("≤ {limit} s"), seconds <= limit, String::new()),
                None => ("≤ 16 GiB".to_owned(), peak_kib <= MEMORY_KIB, memory),
            };
            Row {
                what: format!("proof, wide, {threads} × {pairs}"),
                peer: format!("ours, no reductions: {}", took(&plain, plain_seconds)),
                ours: format!("{}{memory}", took(&found, seconds)),
                ratio: fraction(found.states, plain.states),
                target,
                met: Some(proved && met),
            }
        })
        .collect()
}

/// What loom and shuttle's depth-first search make of small sizes.
pub fn beside_peers(effort: Effort) -> Vec<Row> {
    let budget = Duration::from_secs(effort.pick(5, 30));
    let mut rows = Vec::new();
    for (threads, pairs) in [(2, 1), (2, 2)] {
        let setup = ours::setup(DISCIPLINE, threads, pairs, false);
        let (found, seconds) = ours::searched(&setup, &SearchOptions::default(), 60.0);
        assert_eq!(found.ended, SearchEnd::Exhausted);
        let mut row = |peer: String, peer_count: usize| {
            rows.push(Row {
                what: format!("proof, wide, {threads} × {pairs}"),
                peer,
                ours: format!("{} states, {seconds:.4} s", found.states),
                ratio: fraction(found.states, peer_count as u64),
                target: String::new(),
                met: None,
            });
        };
        let started = Instant::now();
        let model = loom_model::Model {
            threads,
            pairs,
            discipline: loom_model::Discipline::Wide,
            free_first: false,
        };
        let outcome = loom_model::check(&model, budget, None);
        let took = started.elapsed().as_secs_f64();
        match outcome {
            loom_model::LoomOutcome::Proved { iterations } => {
                row(
                    format!("loom: {iterations} iterations, {took:.3} s"),
                    iterations,
                );
            }
            loom_model::LoomOutcome::NotDone { iterations } => row(
                format!("loom, not done: {iterations} iterations, {took:.3} s"),
                iterations,
            ),
            loom_model::LoomOutcome::Diverged => unreachable!("the wide lock is correct"),
        }
        let model = shuttle_model::Model {
            threads,
            pairs,
            discipline: shuttle_model::Discipline::Wide,
            free_first: false,
        };
        let (outcome, finished) = shuttle_model::depth_first(&model, budget);
        assert!(!outcome.diverged);
        row(
            format!(
                "shuttle{}: {} schedules, {:.1} s",
                if finished { "" } else { ", not done" },
                outcome.schedules,
                outcome.seconds
            ),
            outcome.schedules,
        );
    }
    rows
}

/// What is left of `all`.
fn fraction(part: u64, all: u64) -> String {
    format!("1/{:.0}", all as f64 / part as f64)
}
