//! The searches' own watch never stays silent where the oracle finds a divergence: random small
//! scenarios under random disciplines and schedules, each run checked in full.

use crate::common::{discipline_text, scenario};
use heisenbed::engine::controlled::machine::{Machine, RunEnd, Setup};
use heisenbed::engine::controlled::observe::{NoRecording, observe};
use heisenbed::engine::controlled::schedulers::{RandomWalk, Scheduler};
use heisenbed::lifecycle::Discipline;
use heisenbed::oracle::Verdict;
use heisenbed::scenario::Scenario;
use heisenbed::scenario::random::{Purpose, Random};

const ALLOCATES: [&str; 6] = [
    "alloc, mark-live, send ALLOC, publish",
    "alloc, mark-live, publish, send ALLOC",
    "lock lifecycle, alloc, mark-live, send ALLOC, unlock lifecycle, publish",
    "lock allocator, alloc, stamp, unlock allocator, mark-live, send ALLOC, publish",
    "alloc, mark-live, publish",
    "lock lifecycle[1], alloc, mark-live, send ALLOC, unlock lifecycle[1], publish",
];
const DEALLOCATES: [&str; 7] = [
    "check-live, free, send FREE, mark-dead",
    "check-live, send FREE, free, mark-dead",
    "claim, free, send FREE, mark-dead",
    "check-live, lock lifecycle, send FREE, free, mark-dead, unlock lifecycle",
    "claim, lock allocator, stamp, unlock allocator, send FREE, free, mark-dead",
    "claim, free, mark-dead",
    "claim, send FREE, free, send FREE, mark-dead",
];
const SEMANTICS: [&str; 4] = ["typed", "overwrite", "refcount", "sequenced"];
const TRANSPORTS: [&str; 8] = [
    "",
    "layout = '112'",
    "layout = '648'",
    "chunks = 2",
    "connections = 'per-thread'",
    "connections = 'lazy'",
    "send-buffer-bytes = 1",
    "send-buffer-bytes = 1\nmode = 'dontwait'",
];
const WORKLOADS: [&str; 6] = [
    "private-slots = 1",
    "private-slots = 2\nleaks = 1",
    "private-slots = 0\nround-ops = 0\nhandoff = 1",
    "private-slots = 0\nround-ops = 0\nshared = 1",
    "private-slots = 1\ncircular-percent = 50\npreallocated-percent = 20",
    "private-slots = 1\nmesh-percent = 50",
];
const SIZES: [&str; 2] = [
    "{ draw = 'fixed', bytes = 4096 }",
    "{ draw = 'uniform', min-bytes = 1, max-bytes = 20000 }",
];

fn pick<'a>(random: &mut Random, from: &[&'a str]) -> &'a str {
    from[random.below(from.len() as u64) as usize]
}

/// One of many scenarios; `None` where the parts do not go together.
fn drawn(random: &mut Random) -> Option<Scenario> {
    let discipline = discipline_text(pick(random, &ALLOCATES), pick(random, &DEALLOCATES));
    let discipline = Discipline::from_toml("drawn", &discipline).ok()?;
    let discipline = discipline.accepted("drawn").ok()?;
    let mut scenario = scenario(&format!(
        "name = 'drawn'\nthreads = {}\nops = 4\ndevices = 2\nprofile = '{}'\nallocator = '{}'\nsemantics = '{}'\nseed = {}\n[transport]\n{}\n[workload]\n{}\nsizes = {}\nmemories = {{ dram = 1, l1 = 1 }}",
        2 + random.below(2),
        pick(random, &["n300", "custom:2x32768"]),
        pick(random, &["best-fit", "first-fit", "range"]),
        pick(random, &SEMANTICS),
        random.below(1000),
        pick(random, &TRANSPORTS),
        pick(random, &WORKLOADS),
        pick(random, &SIZES),
    ));
    scenario.order = discipline.order();
    scenario.publish = discipline.publication();
    scenario.discipline = discipline;
    scenario.check().ok()?;
    Some(scenario)
}

#[test]
fn what_the_oracle_finds_raises_the_alarm() {
    let mut random = Random::new(3, 0, Purpose::Schedule, 0);
    let (mut diverged, mut clean) = (0, 0);
    for _ in 0..1500 {
        let Some(scenario) = drawn(&mut random) else {
            continue;
        };
        let setup = Setup::new(scenario, 0).expect("small");
        let mut machine = Machine::new(&setup);
        let mut walk = RandomWalk::new(1);
        for index in 0..12 {
            machine.reset();
            walk.begin(index);
            let end = machine.run(&mut walk, &mut NoRecording, u64::MAX);
            let silent =
                end == RunEnd::Completed && !machine.alarmed() && !machine.differs_at_rest();
            let (observed, _) = observe(&setup, walk.clone(), index, u64::MAX);
            let report = &observed.report;
            let empty = report.nothing_checked(report.messages).is_some();
            assert!(
                empty || report.verdict != Verdict::Inconclusive,
                "{:?}",
                report.note
            );
            if report.divergences.is_empty() {
                clean += 1;
            } else {
                diverged += 1;
                if silent {
                    let t = heisenbed::report::Timeline {
                        scenario: &setup.scenario,
                        events: &observed.events,
                        deciding: None,
                        completed: true,
                    }
                    .render();
                    panic!("{:?}\n{t}", report.divergences);
                }
            }
        }
    }
    assert!(
        diverged > 2000 && clean > 2000,
        "{diverged} diverged, {clean} clean"
    );
}
