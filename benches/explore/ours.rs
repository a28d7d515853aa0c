//! The lifecycle that the peers model, as a scenario.

use std::sync::Arc;

use heisenbed::engine::controlled::exhaustive::{SearchOptions, Searched, search};
use heisenbed::engine::controlled::machine::Setup;
use heisenbed::scenario::ScenarioFile;

use super::clock::ThreadClock;

/// `threads` threads, each of which allocates and releases `pairs` buffers of its own, one after
/// the other, on one device.
pub fn setup(discipline: &str, threads: usize, pairs: usize, free_first: bool) -> Arc<Setup> {
    let order = if free_first {
        "free-first"
    } else {
        "track-first"
    };
    let file = format!(
        "name = 'explore'\nthreads = {threads}\nops = {ops}\ndiscipline = '{discipline}'\norder = '{order}'\n\
         [workload]\nprivate-slots = 1\nsizes = {{ draw = 'fixed', bytes = 4096 }}\nmemories = {{ dram = 0, l1 = 1 }}\n",
        ops = 2 * pairs
    );
    let file: ScenarioFile = toml::from_str(&file).expect("a scenario");
    let scenario = file.resolve().expect("a sound scenario");
    Setup::new(scenario, 0).expect("small enough")
}

/// Searches, for at most so many seconds of CPU time; what was found, and the seconds.
pub fn searched(setup: &Arc<Setup>, options: &SearchOptions, budget: f64) -> (Searched, f64) {
    let clock = ThreadClock::start();
    let found = search(setup, options, &mut |_| clock.seconds() < budget);
    (found, clock.seconds())
}

/// Without any reduction: each state that any interleaving passes through.
pub fn unreduced() -> SearchOptions {
    SearchOptions {
        partial_order: false,
        symmetry: false,
        dead_slots: false,
        addresses: false,
        ..SearchOptions::default()
    }
}
