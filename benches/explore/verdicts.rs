//! Second opinions: what loom and shuttle say of each discipline and order, beside what we say.

use std::time::Duration;

use heisenbed::engine::controlled::exhaustive::{SearchEnd, SearchOptions};

use super::loom_model::{self, LoomOutcome};
use super::row::{Effort, Row};
use super::{ours, shuttle_model};

const DISCIPLINES: [(&str, loom_model::Discipline, shuttle_model::Discipline); 4] = [
    (
        "lifecycle-wide",
        loom_model::Discipline::Wide,
        shuttle_model::Discipline::Wide,
    ),
    (
        "lifecycle-narrow",
        loom_model::Discipline::Narrow,
        shuttle_model::Discipline::Narrow,
    ),
    (
        "tracker-mutex",
        loom_model::Discipline::TrackerMutex,
        shuttle_model::Discipline::TrackerMutex,
    ),
    (
        "unlocked",
        loom_model::Discipline::Unlocked,
        shuttle_model::Discipline::Unlocked,
    ),
];

/// Schedules that shuttle draws: enough to find what there is, and no proof where there is nothing.
const DRAWN: usize = 5_000;

/// Two threads, one pair each and two; where loom does not finish, it has no say.
pub fn agreement(effort: Effort) -> Vec<Row> {
    let budget = Duration::from_secs(effort.pick(2, 20));
    let mut rows = Vec::new();
    for pairs in [1, 2] {
        for (name, of_loom, of_shuttle) in DISCIPLINES {
            for free_first in [false, true] {
                let setup = ours::setup(name, 2, pairs, free_first);
                let (found, _) = ours::searched(&setup, &SearchOptions::default(), 60.0);
                let diverged = found.example.is_some();
                assert_eq!(diverged, found.ended == SearchEnd::Reached);
                let model = loom_model::Model {
                    threads: 2,
                    pairs,
                    discipline: of_loom,
                    free_first,
                };
                let drawn = shuttle_model::random(
                    &shuttle_model::Model {
                        threads: 2,
                        pairs,
                        discipline: of_shuttle,
                        free_first,
                    },
                    DRAWN,
                    11,
                );
                let (peer, peer_diverged) = match loom_model::check(&model, budget, None) {
                    LoomOutcome::Proved { iterations } => (
                        format!("loom: proved, {iterations} iterations"),
                        Some(false),
                    ),
                    LoomOutcome::Diverged => ("loom: diverged".to_owned(), Some(true)),
                    LoomOutcome::NotDone { iterations } => {
                        (format!("loom: not done, {iterations} iterations"), None)
                    }
                };
                let order = if free_first {
                    "free-first"
                } else {
                    "track-first"
                };
                rows.push(Row {
                    what: format!("verdict, {name}, {order}, 2 × {pairs}"),
                    peer: format!(
                        "{peer}; shuttle: {}",
                        if drawn.diverged {
                            "diverged"
                        } else {
                            "nothing found"
                        }
                    ),
                    ours: format!(
                        "{}, {} states",
                        if diverged { "diverged" } else { "proved" },
                        found.states
                    ),
                    ratio: String::new(),
                    target: peer_diverged.map_or(String::new(), |_| "agree".to_owned()),
                    // That a walk found nothing says nothing.
                    met: peer_diverged.map(|peer| peer == diverged && drawn.diverged <= diverged),
                });
            }
        }
    }
    rows
}
