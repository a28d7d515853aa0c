//! Proofs for any number of threads beside bounded searches of random disciplines: how often both
//! say the same, and how often the abstraction can't tell.

use std::collections::BTreeMap;
use std::time::Instant;

use heisenbed::fuzzing::unbounded::{Compared, SmallCase, compare};
use heisenbed::scenario::random::{Purpose, Random};

use super::row::{Effort, Row};

/// Bytes of a drawn input: more than the longest programs use.
const INPUT_BYTES: usize = 49;
/// The published goal of missed proofs, of those that 3 × 4 proves.
const MOST_MISSED: f64 = 0.01;

/// Random disciplines on buffers that are handed over, of one owner, or released twice.
pub fn random_disciplines(effort: Effort) -> Vec<Row> {
    let disciplines = effort.pick(300, 10_000);
    let bounded = SmallCase {
        threads: 3,
        ops: 4,
        max_states: 2_000_000,
    };
    let started = Instant::now();
    let mut counts: BTreeMap<Compared, u64> = BTreeMap::new();
    for seed in 0..disciplines {
        let mut random = Random::new(seed, 0, Purpose::Workload, 0);
        let input: Vec<u8> = (0..INPUT_BYTES).map(|_| random.bits() as u8).collect();
        // It panics where a proof is refuted.
        *counts.entry(compare(&input, bounded)).or_default() += 1;
    }
    let count = |what: Compared| counts.get(&what).copied().unwrap_or(0);
    let (proved, missed) = (count(Compared::Proved), count(Compared::CannotTell));
    let share = missed as f64 / (proved + missed).max(1) as f64;
    vec![Row {
        what: format!("any number beside 3 × 4, {disciplines} random disciplines"),
        peer: format!(
            "3 × 4: {} refuted, {} proved, {} not ended",
            count(Compared::Refuted),
            proved + missed,
            count(Compared::Open)
        ),
        ours: format!(
            "{proved} proved, none of them refuted; {missed} not told, {} beyond the limit, {} not covered; {:.0} s",
            count(Compared::TooMany),
            count(Compared::NotCovered),
            started.elapsed().as_secs_f64()
        ),
        ratio: format!("{:.1} % not told", 100.0 * share),
        target: format!("≤ {:.0} %", 100.0 * MOST_MISSED),
        met: Some(share <= MOST_MISSED),
    }]
}
