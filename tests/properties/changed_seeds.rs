//! Every fuzz target on its seeds with random changes: what finds shallow mistakes without
//! libFuzzer. It follows no coverage, and the same numbers come each time.
//!
//! `HEISENBED_EXECUTIONS=20000 cargo nextest run --test properties changed_seeds` looks longer.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use heisenbed::fuzzing::TARGETS;
use heisenbed::scenario::random::{Purpose, Random};

/// Executions of each target where nothing else is asked for.
const EXECUTIONS: u64 = 200;
/// Changes to one seed.
const MOST_CHANGES: u64 = 8;
/// Longer inputs only take longer.
const MAX_BYTES: usize = 4096;

/// The seeds of a target, in order.
fn seeds_of(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus/fuzz")
        .join(target);
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("a folder a target")
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    let seeds = paths.iter().map(|path| fs::read(path).expect("readable"));
    let mut seeds: Vec<Vec<u8>> = seeds.collect();
    seeds.iter_mut().for_each(|seed| seed.truncate(MAX_BYTES));
    seeds
}

/// A seed with some bytes changed, left out, doubled, or taken from another seed.
fn changed(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let pick = |random: &mut Random| &seeds[random.below(seeds.len() as u64) as usize];
    let mut input = pick(random).clone();
    for _ in 0..random.between(1, MOST_CHANGES) {
        let at = random.below(input.len() as u64 + 1) as usize;
        let length = random.between(1, 40) as usize;
        let end = (at + length).min(input.len());
        match random.below(6) {
            0 if at < input.len() => input[at] = random.bits() as u8,
            1 if at < input.len() => input[at] ^= 1 << random.below(8),
            2 => _ = input.drain(at..end),
            3 => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            4 => input.insert(at, random.bits() as u8),
            _ => {
                let other = pick(random);
                let from = random.below(other.len() as u64 + 1) as usize;
                let piece = other[from..(from + length).min(other.len())].to_vec();
                input.splice(at..at, piece);
            }
        }
        input.truncate(MAX_BYTES);
    }
    input
}

#[test]
fn changed_seeds_break_no_promise() {
    let asked = std::env::var("HEISENBED_EXECUTIONS");
    let executions = asked.map_or(EXECUTIONS, |text| text.parse().expect("a number"));
    let mut failed = Vec::new();
    for target in &TARGETS {
        let seeds = seeds_of(target.name);
        let mut random = Random::new(1, 0, Purpose::Workload, 0);
        let started = Instant::now();
        let broken = (1..=executions).find(|_| {
            let input = changed(&seeds, &mut random);
            catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err()
        });
        if let Some(number) = broken {
            let seconds = started.elapsed().as_secs_f64();
            failed.push(format!(
                "{}: execution {number}, {seconds:.1} s",
                target.name
            ));
        }
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}
