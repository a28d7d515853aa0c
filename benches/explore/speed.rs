//! Random walks: schedules and steps a second.

use heisenbed::engine::controlled::sample::{SamplePlan, Strategy, sample};

use super::clock::ThreadClock;
use super::row::{Effort, Row, median, median_ratio, rate};
use super::{ours, shuttle_model};

/// Threads, pairs, and schedules a round: ours and shuttle's.
const SIZES: [(usize, usize, u64, usize); 2] = [(2, 4, 200_000, 20_000), (4, 16, 20_000, 2_000)];

/// Schedules and steps per CPU-second.
#[derive(Default)]
struct Rates {
    schedules: Vec<f64>,
    steps: Vec<f64>,
}

impl Rates {
    fn add(&mut self, schedules: f64, steps: f64, seconds: f64) {
        self.schedules.push(schedules / seconds);
        self.steps.push(steps / seconds);
    }

    fn text(&self) -> String {
        format!(
            "{} ({:.1} M steps/s)",
            rate(median(&self.schedules)),
            median(&self.steps) / 1e6
        )
    }
}

/// The wide lock, which every schedule gets through, so that all are run to their end.
pub fn random_walk(effort: Effort) -> Vec<Row> {
    let rounds = effort.pick(3, 9);
    SIZES
        .into_iter()
        .map(|(threads, pairs, count, peer_count)| {
            let setup = ours::setup("lifecycle-wide", threads, pairs, false);
            let model = shuttle_model::Model {
                threads,
                pairs,
                discipline: shuttle_model::Discipline::Wide,
                free_first: false,
            };
            let (mut own, mut peer) = (Rates::default(), Rates::default());
            for seed in 0..rounds {
                let plan = SamplePlan {
                    strategy: Strategy::Random,
                    seed,
                    schedules: count,
                    until: None,
                    workers: 1,
                    max_steps: u64::MAX,
                };
                let clock = ThreadClock::start();
                let sampled = sample(&setup, &plan, &|_| true);
                let seconds = clock.seconds();
                assert_eq!((sampled.diverged, sampled.complete), (0, true));
                own.add(sampled.schedules as f64, sampled.steps as f64, seconds);
                let outcome = shuttle_model::random(&model, peer_count, seed);
                assert!(!outcome.diverged);
                peer.add(
                    outcome.schedules as f64,
                    outcome.steps as f64,
                    outcome.seconds,
                );
            }
            let ratio = median_ratio(&own.schedules, &peer.schedules);
            Row {
                what: format!("random walk, wide, {threads} × {pairs}, schedules per CPU-second"),
                peer: format!("shuttle {}", peer.text()),
                ours: own.text(),
                ratio: format!("{ratio:.1}"),
                target: "≥ 10 × shuttle".to_owned(),
                met: Some(ratio >= 10.0),
            }
        })
        .collect()
}
