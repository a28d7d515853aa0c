//! Second opinions on proofs: loom, over a model that shares no code with ours, comes to the same
//! verdicts.

#[path = "../explore/loom_model.rs"]
mod loom_model;

use std::time::Duration;

use heisenbed::engine::controlled::exhaustive::{SearchEnd, SearchOptions, search};
use heisenbed::engine::controlled::machine::Setup;
use heisenbed::scenario::ScenarioFile;
use loom_model::{Discipline, LoomOutcome, Model};

const DISCIPLINES: [(&str, Discipline); 4] = [
    ("lifecycle-wide", Discipline::Wide),
    ("lifecycle-narrow", Discipline::Narrow),
    ("tracker-mutex", Discipline::TrackerMutex),
    ("unlocked", Discipline::Unlocked),
];

/// Whether some schedule of two threads, one pair each, diverges.
fn diverges(discipline: &str, order: &str) -> bool {
    let file = format!(
        "name = 'peers'\nthreads = 2\nops = 2\ndiscipline = '{discipline}'\norder = '{order}'\n\
         [workload]\nprivate-slots = 1\nsizes = {{ draw = 'fixed', bytes = 4096 }}\nmemories = {{ dram = 0, l1 = 1 }}\n"
    );
    let file: ScenarioFile = toml::from_str(&file).expect("a scenario");
    let scenario = file.resolve().expect("a sound scenario");
    let setup = Setup::new(scenario, 0).expect("small enough");
    let found = search(&setup, &SearchOptions::default(), &mut |_| true);
    match found.ended {
        SearchEnd::Exhausted => false,
        SearchEnd::Reached => true,
        SearchEnd::Abandoned => panic!("nobody asked to stop"),
    }
}

#[test]
fn loom_comes_to_the_same_verdict_on_every_discipline_in_both_orders() {
    for (name, discipline) in DISCIPLINES {
        for (order, free_first) in [("track-first", false), ("free-first", true)] {
            let model = Model {
                threads: 2,
                pairs: 1,
                discipline,
                free_first,
            };
            let peer = match loom_model::check(&model, Duration::from_secs(60), None) {
                LoomOutcome::Proved { iterations } => {
                    assert!(
                        iterations > 1,
                        "{name} {order}: one interleaving is no proof"
                    );
                    false
                }
                LoomOutcome::Diverged => true,
                LoomOutcome::NotDone { iterations } => {
                    panic!("{name} {order}: not done after {iterations} iterations")
                }
            };
            assert_eq!(diverges(name, order), peer, "{name} {order}");
        }
    }
}
