//! A search in parts: all parts together are the whole search, whatever the depth at which the
//! space is divided.

use std::collections::BTreeMap;

use crate::common::{all_kinds, kinds, searched, small, small_file};
use heisenbed::engine::controlled::exhaustive::{
    Part, SearchEnd, SearchOptions, SearchedPart, search_part,
};
use heisenbed::engine::controlled::machine::Setup;
use heisenbed::lifecycle::{Order, Publication};
use heisenbed::oracle::Kind;
use heisenbed::scenario::Scenario;

fn parts(scenario: &Scenario, of: u32, depth: u32) -> Vec<SearchedPart> {
    let setup = Setup::new(scenario.clone(), 0).expect("it can be run under control");
    (0..of)
        .map(|index| {
            let part = Part { index, of, depth };
            search_part(&setup, &all_kinds(), part, &mut |_| true)
        })
        .collect()
}

fn union(parts: &[SearchedPart]) -> Vec<Kind> {
    let mut all: BTreeMap<Kind, u64> = BTreeMap::new();
    for part in parts {
        for (kind, count) in &part.found.divergences {
            *all.entry(*kind).or_default() += count;
        }
    }
    all.into_keys().collect()
}

#[test]
fn parts_find_the_kinds_that_the_whole_search_finds() {
    for (workload, discipline, order) in [
        ("own-buffers", "lifecycle-narrow", Order::FreeFirst),
        ("handoff", "unlocked", Order::FreeFirst),
        ("shared-free", "lifecycle-wide", Order::TrackFirst),
        ("mesh", "claimed-wide", Order::FreeFirst),
        ("device-close", "in-allocator", Order::TrackFirst),
        ("real-leak", "tracker-mutex", Order::FreeFirst),
    ] {
        let scenario = small(workload, discipline, order, Publication::Early);
        let whole = searched(&scenario, &all_kinds());
        for (of, depth) in [(1, 0), (2, 3), (8, 5), (5, 1000)] {
            let parts = parts(&scenario, of, depth);
            let named = format!("{workload} under {discipline}, {of} parts at depth {depth}");
            assert_eq!(union(&parts), kinds(&whole), "{named}");
            for part in &parts {
                assert_eq!(part.found.ended, SearchEnd::Exhausted, "{named}");
                assert_eq!(
                    (part.frontier, part.trunk),
                    (parts[0].frontier, parts[0].trunk)
                );
            }
            let own: u64 = parts.iter().map(|part| part.own).sum();
            assert_eq!(
                own, parts[0].frontier,
                "{named}: each frontier state falls to one part"
            );
            let beyond: u64 = parts
                .iter()
                .map(|part| part.found.states - part.trunk)
                .sum();
            assert!(
                parts[0].trunk + beyond >= whole.states,
                "{named}: every state is in a part"
            );
            let leaks = parts.iter().map(|part| part.found.leaks).max();
            assert_eq!(leaks, Some(whole.leaks), "{named}");
        }
    }
}

#[test]
fn one_part_of_one_visits_each_state_once() {
    let scenario = small(
        "handoff",
        "lifecycle-wide",
        Order::FreeFirst,
        Publication::Early,
    );
    // Parts tell states apart by their addresses.
    let options = SearchOptions {
        addresses: false,
        ..all_kinds()
    };
    let whole = searched(&scenario, &options);
    for depth in [0, 1, 4, 9] {
        assert_eq!(
            parts(&scenario, 1, depth)[0].found.states,
            whole.states,
            "depth {depth}"
        );
    }
}

/// A race that only a part can find is lost with that part, and with no other.
#[test]
fn a_missing_part_can_hide_a_divergence() {
    let mut file = small_file(
        "own-buffers",
        "lifecycle-narrow",
        Order::FreeFirst,
        Publication::Late,
    );
    (file.threads, file.ops) = (3, 4);
    let scenario = file.resolve().expect("the test's scenario resolves");
    let parts = parts(&scenario, 64, 6);
    let finds: Vec<bool> = parts
        .iter()
        .map(|part| part.found.example.is_some())
        .collect();
    assert!(finds.contains(&true) && finds.contains(&false), "{finds:?}");
}
