//! What an independent model says of the built-in disciplines, shown by exhaustive search.

use crate::common::{all_kinds, kinds, scripted, searched, small, small_file};
use heisenbed::engine::controlled::exhaustive::{SearchEnd, Searched};
use heisenbed::lifecycle::{Order, Publication, builtin};
use heisenbed::oracle::Kind;
use heisenbed::registry::Semantics;

const NO_ADDRESS_LOCK: [&str; 3] = ["unlocked", "tracker-mutex", "lifecycle-narrow"];
const WIDE: [&str; 5] = [
    "lifecycle-wide",
    "lifecycle-array8",
    "global-wide",
    "in-allocator",
    "claimed-wide",
];
const ORDERS: [Order; 2] = [Order::TrackFirst, Order::FreeFirst];
const PUBLICATIONS: [Publication; 2] = [Publication::Late, Publication::Early];

fn is_proved(found: &Searched) -> bool {
    found.ended == SearchEnd::Exhausted && found.example.is_none()
}

#[test]
fn track_first_with_late_publication_and_one_owner_needs_no_lock() {
    for workload in ["own-buffers", "handoff", "circular"] {
        for discipline in NO_ADDRESS_LOCK.iter().chain(&WIDE) {
            let scenario = small(workload, discipline, Order::TrackFirst, Publication::Late);
            assert!(
                is_proved(&searched(&scenario, &all_kinds())),
                "{workload} {discipline}"
            );
        }
    }
}

#[test]
fn free_first_is_broken_in_the_same_ways_without_and_with_a_narrow_lock() {
    let found: Vec<Vec<Kind>> = NO_ADDRESS_LOCK
        .iter()
        .map(|discipline| {
            let scenario = small(
                "own-buffers",
                discipline,
                Order::FreeFirst,
                Publication::Late,
            );
            kinds(&searched(&scenario, &all_kinds()))
        })
        .collect();
    assert_eq!(
        found[0],
        [Kind::UnknownFree, Kind::DuplicateAlloc, Kind::MissingLive]
    );
    assert!(found.iter().all(|kinds| *kinds == found[0]));
}

#[test]
fn early_publication_is_broken_without_a_wide_lock_in_either_order() {
    for discipline in NO_ADDRESS_LOCK {
        for order in ORDERS {
            let scenario = small("handoff", discipline, order, Publication::Early);
            let found = searched(&scenario, &all_kinds());
            assert!(found.example.is_some(), "{discipline} {order}");
        }
    }
}

#[test]
fn the_wide_lock_is_correct_in_every_form_where_a_buffer_is_released_once() {
    for workload in ["own-buffers", "handoff", "device-close", "preallocated"] {
        for discipline in WIDE {
            for (order, publish) in ORDERS
                .into_iter()
                .flat_map(|order| PUBLICATIONS.map(|publish| (order, publish)))
            {
                let found = searched(&small(workload, discipline, order, publish), &all_kinds());
                assert!(
                    is_proved(&found),
                    "{workload} {discipline} {order} {publish}"
                );
            }
        }
    }
}

/// The views of a mesh buffer take no lock, and are released after its address was given back.
#[test]
fn mesh_buffers_are_broken_under_every_lock_but_where_their_views_go_first() {
    let forms = || {
        ORDERS
            .into_iter()
            .flat_map(|order| PUBLICATIONS.map(|publish| (order, publish)))
    };
    for discipline in builtin::all() {
        let is_sound =
            ["in-allocator", "views-first", "sequenced"].contains(&discipline.name.as_str());
        for (order, publish) in forms() {
            let mut file = small_file("mesh", &discipline.name, order, publish);
            file.semantics = discipline.semantics.or(file.semantics);
            let found = searched(&file.resolve().expect("resolves"), &all_kinds());
            assert_eq!(
                is_proved(&found),
                is_sound,
                "{} {order} {publish}",
                discipline.name
            );
        }
    }
}

/// A plain buffer that was released free-first has its address taken by a mesh buffer, and the
/// other way round.
#[test]
fn mesh_buffers_beside_plain_ones_need_what_both_agree_on() {
    for discipline in ["views-first", "in-allocator", "sequenced"] {
        for (order, publish) in ORDERS
            .into_iter()
            .flat_map(|order| PUBLICATIONS.map(|publish| (order, publish)))
        {
            let mut scenario = scripted(&[
                &["allocate s0#1 4096 l1 d0 mesh*2", "release s0#1"],
                &["allocate s1#1 4096 l1 d1", "release s1#1"],
                &["allocate s2#1 4096 l1 d1 mesh*2", "release s2#1"],
            ]);
            let built_in = builtin::load(discipline).expect("built in");
            scenario.semantics = built_in.semantics.unwrap_or(scenario.semantics);
            scenario.discipline = built_in.with(order, publish);
            let found = searched(&scenario, &all_kinds());
            assert!(is_proved(&found), "{discipline} {order} {publish}");
        }
    }
}

#[test]
fn two_releases_of_one_buffer_break_every_lock_scope_but_the_claim() {
    for discipline in NO_ADDRESS_LOCK.iter().chain(&WIDE) {
        for order in ORDERS {
            for publish in PUBLICATIONS {
                let scenario = small("shared-free", discipline, order, publish);
                let found = searched(&scenario, &all_kinds());
                let is_claimed = *discipline == "claimed-wide";
                assert_eq!(
                    is_proved(&found),
                    is_claimed,
                    "{discipline} {order} {publish}"
                );
                assert_eq!(
                    found.divergences.contains_key(&Kind::DoubleFree),
                    !is_claimed
                );
            }
        }
    }
}

#[test]
fn a_counting_server_hides_the_free_first_race_as_stale_metadata() {
    let mut file = small_file(
        "own-buffers",
        "unlocked",
        Order::FreeFirst,
        Publication::Late,
    );
    file.semantics = Some(Semantics::Refcount);
    let scenario = file.resolve().expect("resolves");
    assert_eq!(
        kinds(&searched(&scenario, &all_kinds())),
        [Kind::StaleMetadata]
    );
}

#[test]
fn stamped_messages_put_in_order_by_the_server_need_no_lifecycle_lock() {
    for workload in ["own-buffers", "handoff", "mesh"] {
        for order in ORDERS {
            for publish in PUBLICATIONS {
                let found = searched(&small(workload, "sequenced", order, publish), &all_kinds());
                assert!(is_proved(&found), "{workload} {order} {publish}");
            }
        }
    }
}

#[test]
fn a_real_leak_is_a_leak_and_nothing_else() {
    for (workload, leaks) in [("real-leak", 1), ("device-close", 0)] {
        let scenario = small(
            workload,
            "lifecycle-wide",
            Order::TrackFirst,
            Publication::Late,
        );
        let found = searched(&scenario, &all_kinds());
        assert!(is_proved(&found), "{workload}");
        assert_eq!(found.leaks, leaks, "{workload}");
    }
}

#[test]
fn three_and_four_threads_are_proved_too() {
    for (threads, ops) in [(3, 8), (4, 8)] {
        let mut file = small_file(
            "own-buffers",
            "lifecycle-wide",
            Order::FreeFirst,
            Publication::Late,
        );
        (file.threads, file.ops) = (threads, ops);
        let found = searched(&file.resolve().expect("resolves"), &all_kinds());
        assert!(is_proved(&found), "{threads} threads");
    }
}
