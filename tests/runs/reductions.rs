//! Every reduction of the exhaustive search is a shortcut, not another answer: with and without it,
//! a family of small scenarios gets the same verdict, the same kinds of divergence and the same
//! leaks.

use std::collections::BTreeSet;

use crate::common::{
    all_kinds, discipline_text, kinds, scripted, searched, small, small_file, under,
};
use heisenbed::engine::controlled::exhaustive::{SearchEnd, SearchOptions};
use heisenbed::engine::controlled::machine::Setup;
use heisenbed::engine::controlled::sample::{SamplePlan, Strategy, sample};
use heisenbed::lifecycle::{Order, Publication, builtin};
use heisenbed::oracle::Kind;
use heisenbed::registry::Semantics;
use heisenbed::scenario::{Connections, Scenario};
use heisenbed::tracking::transport::SendMode;

/// Each reduction alone switched off, and all of them.
fn weaker() -> [(&'static str, SearchOptions); 5] {
    let full = all_kinds();
    [
        (
            "partial order",
            SearchOptions {
                partial_order: false,
                ..full
            },
        ),
        (
            "symmetry",
            SearchOptions {
                symmetry: false,
                ..full
            },
        ),
        (
            "dead slots",
            SearchOptions {
                dead_slots: false,
                ..full
            },
        ),
        (
            "addresses",
            SearchOptions {
                addresses: false,
                ..full
            },
        ),
        (
            "all",
            SearchOptions {
                partial_order: false,
                symmetry: false,
                dead_slots: false,
                addresses: false,
                ..full
            },
        ),
    ]
}

fn assert_same(name: &str, scenario: &Scenario) {
    let reduced = searched(scenario, &all_kinds());
    assert_eq!(reduced.ended, SearchEnd::Exhausted, "{name}");
    for (without, options) in weaker() {
        let found = searched(scenario, &options);
        assert_eq!(
            found.ended,
            SearchEnd::Exhausted,
            "{name} without {without}"
        );
        assert_eq!(kinds(&found), kinds(&reduced), "{name} without {without}");
        assert_eq!(found.leaks, reduced.leaks, "{name} without {without}");
        assert!(found.states >= reduced.states, "{name} without {without}");
    }
}

const FORMS: [(Order, Publication); 4] = [
    (Order::TrackFirst, Publication::Late),
    (Order::TrackFirst, Publication::Early),
    (Order::FreeFirst, Publication::Late),
    (Order::FreeFirst, Publication::Early),
];

#[test]
fn every_discipline_in_every_form_on_own_buffers_and_handed_on_ones() {
    for discipline in builtin::all() {
        for (order, publish) in FORMS {
            for workload in ["own-buffers", "handoff"] {
                let mut file = small_file(workload, &discipline.name, order, publish);
                file.ops = 2;
                let name = format!("{workload} {} {order} {publish}", discipline.name);
                assert_same(&name, &file.resolve().expect("resolves"));
            }
        }
    }
}

#[test]
fn every_other_workload_under_a_narrow_and_a_wide_lock() {
    for workload in [
        "shared-free",
        "mesh",
        "circular",
        "preallocated",
        "device-close",
        "real-leak",
        "exception",
    ] {
        for discipline in ["lifecycle-narrow", "lifecycle-wide", "sequenced"] {
            let mut file = small_file(workload, discipline, Order::FreeFirst, Publication::Early);
            file.ops = 2;
            assert_same(
                &format!("{workload} {discipline}"),
                &file.resolve().expect("resolves"),
            );
        }
    }
}

#[test]
fn mesh_buffers_under_every_discipline() {
    for discipline in builtin::all() {
        let (order, publish) = (Order::TrackFirst, Publication::Late);
        let mut file = small_file("mesh", &discipline.name, order, publish);
        file.ops = 2;
        assert_same(&discipline.name, &file.resolve().expect("resolves"));
    }
}

/// Programs for mesh buffers that hold locks, once for the whole or for each device.
#[test]
fn mesh_buffers_beside_plain_ones_under_locks() {
    let wide = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/lifecycle/builtin/lifecycle-wide.toml"
    ))
    .expect("it is there");
    let plain = wide.split("[mesh]").next().expect("programs for all");
    let paths = [
        (
            "one lock for the whole",
            "allocate = ['lock global', 'each device', 'alloc', 'end', 'each device', 'send ALLOC', \
             'end', 'unlock global', 'publish']\n\
             deallocate = ['lock global', 'each device', 'free', 'end', 'each device', 'send FREE', \
             'end', 'unlock global']\n",
        ),
        (
            "the lock of each device",
            "allocate = ['each device', 'lock lifecycle', 'end', 'each device', 'alloc', 'end', \
             'each device', 'send ALLOC', 'unlock lifecycle', 'end', 'publish']\n\
             deallocate = ['each device', 'lock lifecycle', 'free', 'end', 'each device', \
             'send FREE', 'unlock lifecycle', 'end']\n",
        ),
    ];
    let ops: [&[&str]; 2] = [
        &["allocate s0#1 4096 l1 d0 mesh*2", "release s0#1"],
        &["allocate s1#1 4096 l1 d1", "release s1#1"],
    ];
    for (name, path) in paths {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mesh.toml");
        std::fs::write(&file, format!("{plain}\n[mesh]\n{path}")).expect("written");
        let mut scenario = scripted(&ops);
        scenario.discipline =
            heisenbed::lifecycle::load(&file.display().to_string()).expect("the lint accepts it");
        assert_same(name, &scenario);
    }
}

#[test]
fn two_devices_and_three_threads() {
    let ops: [&[&str]; 3] = [
        &["allocate s0#1 4096 l1 d0", "release s0#1"],
        &["allocate s1#1 4096 l1 d1", "release s1#1"],
        &["allocate s2#1 4096 l1 d0"],
    ];
    for discipline in ["unlocked", "lifecycle-wide", "global-wide", "tracker-mutex"] {
        let mut scenario = scripted(&ops);
        scenario.discipline = builtin::load(discipline)
            .expect("built in")
            .with(Order::FreeFirst, Publication::Late);
        assert_same(discipline, &scenario);
    }
}

#[test]
fn transports_in_which_the_server_takes_part() {
    for discipline in ["unlocked", "lifecycle-wide"] {
        for connections in [
            Connections::PerThread,
            Connections::Lazy,
            Connections::Shared,
        ] {
            for (chunks, send_buffer_bytes, mode) in [
                (1, 0, SendMode::Blocking),
                (2, 0, SendMode::Blocking),
                (1, 1, SendMode::Blocking),
                (1, 1, SendMode::DontWait),
            ] {
                let mut scenario = scripted(&[
                    &["allocate s0#1 4096 l1 d0", "release s0#1"],
                    &["allocate s1#1 4096 l1 d0"],
                ]);
                scenario.discipline = builtin::load(discipline)
                    .expect("built in")
                    .with(Order::FreeFirst, Publication::Late);
                scenario.transport.connections = connections;
                scenario.transport.chunks = chunks;
                scenario.transport.send_buffer_bytes = send_buffer_bytes;
                scenario.transport.mode = mode;
                assert_same(
                    &format!("{discipline} {connections:?} {chunks} {send_buffer_bytes} {mode:?}"),
                    &scenario,
                );
            }
        }
    }
}

#[test]
fn locks_in_odd_places() {
    let programs = [
        // A lock around the allocator in one program only.
        (
            "lock tracker, alloc, unlock tracker, mark-live, send ALLOC, publish",
            "check-live, send FREE, free, mark-dead",
        ),
        // Inverted order.
        (
            "lock lifecycle, lock tracker, alloc, mark-live, send ALLOC, unlock tracker, unlock lifecycle, publish",
            "check-live, lock tracker, lock lifecycle, send FREE, free, mark-dead, unlock lifecycle, unlock tracker",
        ),
        // A check under the lock, and an early return that leaves it locked.
        (
            "lock lifecycle, alloc, mark-live, send ALLOC, unlock lifecycle, publish",
            "lock lifecycle, check-live-unguarded, send FREE, free, mark-dead, unlock lifecycle",
        ),
        // The lock of another device.
        (
            "lock lifecycle@0, alloc, mark-live, send ALLOC, unlock lifecycle@0, publish",
            "check-live, lock lifecycle, send FREE, free, mark-dead, unlock lifecycle",
        ),
    ];
    let programs = programs.into_iter().chain([
        // A check and a mark with nothing between them: no claim, where two threads release.
        (
            "lock lifecycle, alloc, mark-live, send ALLOC, unlock lifecycle, publish",
            "check-live, mark-dead, lock lifecycle, send FREE, free, unlock lifecycle",
        ),
        // The status is set when the handle is known already.
        (
            "lock lifecycle, alloc, send ALLOC, unlock lifecycle, publish, mark-live",
            "check-live, lock lifecycle, send FREE, free, mark-dead, unlock lifecycle",
        ),
    ]);
    // The allocator's mutex held while another lock is waited for: a guard of all that `alloc` and
    // `send` touch is none of it.
    let programs = programs.into_iter().chain([
        (
            "lock tracker, lock allocator, lock lifecycle, alloc, mark-live, send ALLOC, unlock lifecycle, unlock allocator, unlock tracker, publish",
            "check-live, lock tracker, lock lifecycle, send FREE, unlock tracker, free, mark-dead, unlock lifecycle",
        ),
        // A table without an entry for the device, around the message only.
        (
            "alloc, mark-live, lock lifecycle[1], send ALLOC, unlock lifecycle[1], publish",
            "check-live, free, lock lifecycle[1], send FREE, unlock lifecycle[1], mark-dead",
        ),
    ]);
    for (allocate, deallocate) in programs {
        let scenario = scripted(&[
            &["allocate s0#1 4096 l1 d1 releases=2", "release s0#1"],
            &["release s0#1", "allocate s1#1 4096 l1 d1"],
        ]);
        let scenario = under(scenario, allocate, deallocate);
        assert_same(&discipline_text(allocate, deallocate), &scenario);
    }
}

#[test]
fn schedules_that_are_drawn_show_what_the_search_shows_and_nothing_else() {
    for (workload, discipline, order, publish) in [
        (
            "own-buffers",
            "unlocked",
            Order::FreeFirst,
            Publication::Late,
        ),
        (
            "handoff",
            "tracker-mutex",
            Order::TrackFirst,
            Publication::Early,
        ),
        (
            "shared-free",
            "lifecycle-wide",
            Order::TrackFirst,
            Publication::Late,
        ),
        (
            "handoff",
            "lifecycle-wide",
            Order::FreeFirst,
            Publication::Early,
        ),
    ] {
        let scenario = small(workload, discipline, order, publish);
        let all: BTreeSet<Kind> = kinds(&searched(&scenario, &all_kinds()))
            .into_iter()
            .collect();
        let setup = Setup::new(scenario, 0).expect("can be run");
        for strategy in [Strategy::Random, Strategy::Pct { depth: 3 }, Strategy::Urw] {
            let plan = SamplePlan {
                strategy,
                seed: 1,
                schedules: 5000,
                until: None,
                workers: 1,
                max_steps: u64::MAX,
            };
            let sampled = sample(&setup, &plan, &|_| true);
            let drawn: BTreeSet<Kind> = sampled.divergences.keys().copied().collect();
            assert_eq!(drawn, all, "{workload} {discipline} {strategy:?}");
        }
    }
}

#[test]
fn a_lock_order_through_the_allocators_mutex_deadlocks_with_reductions_too() {
    let scenario = under(
        scripted(&[
            &["allocate s0#1 4096 l1 d0", "release s0#1"],
            &["allocate s1#1 4096 l1 d0"],
        ]),
        "lock tracker, lock allocator, lock lifecycle, alloc, mark-live, send ALLOC, unlock lifecycle, unlock allocator, unlock tracker, publish",
        "check-live, lock tracker, lock lifecycle, send FREE, unlock tracker, free, mark-dead, unlock lifecycle",
    );
    assert_eq!(kinds(&searched(&scenario, &all_kinds())), [Kind::Deadlock]);
}

#[test]
fn a_bounded_search_is_the_same_with_and_without_reductions() {
    let programs = [
        (
            "alloc, mark-live, send ALLOC, publish",
            "check-live, free, send FREE, mark-dead",
        ),
        (
            "alloc, mark-live, lock lifecycle, send ALLOC, unlock lifecycle, publish",
            "check-live, free, lock lifecycle, send FREE, unlock lifecycle, mark-dead",
        ),
        (
            "lock lifecycle, lock tracker, alloc, mark-live, send ALLOC, unlock tracker, unlock lifecycle, publish",
            "check-live, lock tracker, lock lifecycle, send FREE, free, mark-dead, unlock lifecycle, unlock tracker",
        ),
    ];
    for (allocate, deallocate) in programs {
        let scenario = scripted(&[
            &["allocate s0#1 4096 l1 d0 releases=2", "release s0#1"],
            &["release s0#1", "allocate s1#1 4096 l1 d0"],
        ]);
        let scenario = under(scenario, allocate, deallocate);
        for bound in 0..4 {
            let bounded = |options: SearchOptions| {
                let options = SearchOptions {
                    preemptions: Some(bound),
                    ..options
                };
                kinds(&searched(&scenario, &options))
            };
            let reduced = bounded(all_kinds());
            for (without, options) in weaker() {
                assert_eq!(
                    bounded(options),
                    reduced,
                    "{allocate}: bound {bound} without {without}"
                );
            }
        }
    }
}

#[test]
fn a_bound_on_preemptions_covers_what_it_says() {
    let scenario = small(
        "own-buffers",
        "unlocked",
        Order::FreeFirst,
        Publication::Late,
    );
    let bounded = |bound| {
        searched(
            &scenario,
            &SearchOptions {
                preemptions: Some(bound),
                ..all_kinds()
            },
        )
    };
    assert_eq!(kinds(&bounded(0)), []);
    let one = bounded(1);
    assert_eq!(one.example.expect("one is enough").preemptions.len(), 1);
    assert_eq!(
        bounded(2).divergences.keys().collect::<Vec<_>>(),
        searched(&scenario, &all_kinds())
            .divergences
            .keys()
            .collect::<Vec<_>>()
    );
    assert!(one.states < bounded(3).states);
}

/// Where one buffer is allocated while something is left of another, which address it gets may
/// matter; where none ever is, it does not, and there are fewer states.
#[test]
fn addresses_are_left_out_where_nothing_is_left_of_past_lives_only() {
    for (discipline, fewer) in [("lifecycle-wide", true), ("unlocked", false)] {
        let mut file = small_file(
            "own-buffers",
            discipline,
            Order::FreeFirst,
            Publication::Late,
        );
        file.threads = 3;
        file.ops = 4;
        let scenario = file.resolve().expect("resolves");
        let with = SearchOptions {
            addresses: false,
            ..all_kinds()
        };
        let (left_out, with) = (
            searched(&scenario, &all_kinds()),
            searched(&scenario, &with),
        );
        assert_eq!(kinds(&left_out), kinds(&with), "{discipline}");
        assert_eq!(left_out.states < with.states, fewer, "{discipline}");
    }
}

/// Who looks at the status of a buffer that another thread releases, too, sees what that thread
/// did to it in between.
#[test]
fn a_check_and_a_mark_of_a_shared_slot_are_no_claim() {
    let scenario = under(
        scripted(&[
            &["allocate s0#1 4096 l1 d0 releases=2", "release s0#1"],
            &["release s0#1"],
        ]),
        "lock lifecycle, alloc, mark-live, send ALLOC, unlock lifecycle, publish",
        "check-live, mark-dead, lock lifecycle, send FREE, free, unlock lifecycle",
    );
    let found = kinds(&searched(&scenario, &all_kinds()));
    assert!(found.contains(&Kind::DoubleFree), "{found:?}");
    assert_same("check and mark", &scenario);
}

/// Messages that carry the numbers of their addresses' changes may come in any order, to a server
/// that goes by them, and to no other.
#[test]
fn numbered_messages_in_every_form_to_servers_that_go_by_them_and_others() {
    for (order, publish) in FORMS {
        for (workload, threads) in [("own-buffers", 3), ("handoff", 2), ("shared-free", 2)] {
            for semantics in [Semantics::Sequenced, Semantics::Typed] {
                let mut file = small_file(workload, "sequenced", order, publish);
                file.threads = threads;
                file.ops = 2;
                file.semantics = Some(semantics);
                let name = format!("{workload} {order} {publish} {semantics:?}");
                assert_same(&name, &file.resolve().expect("resolves"));
            }
        }
    }
}
