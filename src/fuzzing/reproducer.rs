//! Bytes as a reproducer: TOML, whatever it says.
//!
//! Input: the text. Demanded: an error or a reproducer, never a panic; a reproducer survives its
//! text form; and one that is small enough runs, the same way twice, and its timeline can be drawn.

use crate::corpus::Reproducer;
use crate::corpus::reproducer::ReproducerError;
use crate::report::timeline::Timeline;
use crate::scenario::Scenario;

/// Larger ones only take longer.
const MAX_OPS: usize = 64;
const MAX_STEPS: u64 = 10_000;
/// Without a schedule all of them are searched.
const MAX_SEARCHED_OPS: usize = 4;
const MAX_THREADS: u16 = 8;
const MAX_DEVICES: u16 = 16;

/// Runs the target.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(reproducer) = Reproducer::from_toml(text, "fuzzed.toml") else {
        return;
    };
    let again = Reproducer::from_toml(&reproducer.to_toml(), "again.toml");
    assert_eq!(
        again.as_ref().map_err(ReproducerError::to_string),
        Ok(&reproducer),
        "another reproducer comes out of its text"
    );
    let Ok(scenario) = reproducer.scenario() else {
        return;
    };
    if !is_small(&reproducer, &scenario) {
        return;
    }
    let (Ok(first), Ok(second)) = (reproducer.run(), reproducer.run()) else {
        return;
    };
    assert_eq!(first.came_out, second.came_out, "two runs differ");
    assert_eq!(first.mismatch, second.mismatch, "two runs differ");
    if first.mismatch.is_none() {
        assert_eq!(
            first.came_out, reproducer.expect,
            "it came out otherwise, and nothing is said"
        );
    }
    if let Some(observed) = &first.observed {
        let drawn = Timeline::of(&scenario, observed).render();
        assert!(!drawn.is_empty());
    }
}

fn is_small(reproducer: &Reproducer, scenario: &Scenario) -> bool {
    let ops = scenario.workload.script.iter().flatten().flatten().count();
    let schedule = reproducer.schedule.as_ref();
    scenario.threads <= MAX_THREADS
        && scenario.devices <= MAX_DEVICES
        && match schedule {
            Some(schedule) => ops <= MAX_OPS && schedule.steps() <= MAX_STEPS,
            None => ops <= MAX_SEARCHED_OPS,
        }
}
