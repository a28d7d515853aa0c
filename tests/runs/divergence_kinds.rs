//! Every kind of divergence: a planted defect that yields it, and its correct twin, which stays
//! silent.
//!
//! Where order decides, the `debug-log` step is the delay that makes it: it stands exactly where it
//! is written and takes as long as the scenario says. Defects that need a real race are given
//! several runs; a twin is silent in all.

use crate::common::{
    assert_diverged, assert_silent, play, play_until, scenario, scripted, under, with_debug_log,
};
use heisenbed::device::DeviceId;
use heisenbed::oracle::{Kind, Verdict};
use heisenbed::registry::Semantics;
use heisenbed::scenario::Scenario;

const ALLOCATE: &str = "alloc, mark-live, send ALLOC, publish";
const DEALLOCATE: &str = "claim, send FREE, free, mark-dead";

/// One thread that allocates and releases, 100 times.
fn alone() -> Scenario {
    scenario("name = 'alone'\nthreads = 1\nops = 200")
}

/// Two threads under a race that perturbation widens.
fn raced(discipline: &str, more: &str) -> Scenario {
    scenario(&format!(
        "name = 'raced'\nthreads = 2\nops = 2000\nperturb = true\ndiscipline = '{discipline}'\n{more}"
    ))
}

#[test]
fn a_free_that_is_sent_twice_is_an_unknown_free_each_time() {
    let planted = under(
        alone(),
        ALLOCATE,
        "claim, send FREE, free, send FREE, mark-dead",
    );
    assert_diverged(&play(&planted, 0), &[(Kind::UnknownFree, 100)]);
    assert_silent(&under(alone(), ALLOCATE, DEALLOCATE), 2);
}

#[test]
fn an_alloc_that_is_sent_twice_is_a_duplicate_each_time() {
    let planted = under(
        alone(),
        "alloc, mark-live, send ALLOC, send ALLOC, publish",
        DEALLOCATE,
    );
    assert_diverged(&play(&planted, 0), &[(Kind::DuplicateAlloc, 100)]);
    assert_silent(&under(alone(), ALLOCATE, DEALLOCATE), 2);
}

#[test]
fn a_counting_server_keeps_the_size_of_a_buffer_whose_free_never_came() {
    let mut workload = scripted(&[&[
        "allocate s0#1 4096 dram d0",
        "release s0#1",
        "allocate s0#2 8192 dram d0",
        "release s0#2",
    ]]);
    workload.semantics = Semantics::Refcount;
    let planted = under(workload.clone(), ALLOCATE, "claim, free, mark-dead");
    let played = play(&planted, 0);
    assert_diverged(&played, &[(Kind::StaleMetadata, 1), (Kind::PhantomLive, 1)]);
    let first = played.report.first.expect("the first divergence is named");
    assert_eq!(
        (first.kind, first.thread, first.op),
        (Kind::StaleMetadata, Some(0), Some(2))
    );
    assert_silent(&under(workload, ALLOCATE, DEALLOCATE), 2);
}

#[test]
fn a_counting_server_turns_the_race_into_stale_metadata_without_unknown_frees() {
    let planted = raced(
        "lifecycle-narrow",
        "order = 'free-first'\nsemantics = 'refcount'",
    );
    let played = play_until(&planted, |p| p.report.count(Kind::StaleMetadata) > 0);
    assert_eq!(played.report.count(Kind::UnknownFree), 0);
    assert_eq!(played.report.verdict, Verdict::Diverged);
    assert_silent(
        &raced(
            "lifecycle-wide",
            "order = 'free-first'\nsemantics = 'refcount'",
        ),
        3,
    );
}

#[test]
fn buffers_whose_free_never_came_are_phantoms() {
    let workload = scripted(&[&[
        "allocate s0#1 4096 l1 d0",
        "allocate s1#1 4096 l1 d0",
        "release s0#1",
        "release s1#1",
    ]]);
    let planted = under(workload.clone(), ALLOCATE, "claim, free, mark-dead");
    let played = play(&planted, 0);
    assert_diverged(&played, &[(Kind::PhantomLive, 2)]);
    assert_eq!(played.report.leaks, 0);
    assert_silent(&under(workload, ALLOCATE, DEALLOCATE), 2);
}

#[test]
fn early_publication_lets_free_overtake_alloc_and_leaves_a_phantom() {
    let workload = with_debug_log(
        scripted(&[&["allocate s0#1 4096 l1 d0"], &["release s0#1"]]),
        80,
    );
    let planted = under(
        workload.clone(),
        "alloc, mark-live, publish, debug-log, send ALLOC",
        DEALLOCATE,
    );
    let wanted = |p: &crate::common::Played| p.report.count(Kind::PhantomLive) == 1;
    assert_diverged(
        &play_until(&planted, wanted),
        &[(Kind::UnknownFree, 1), (Kind::PhantomLive, 1)],
    );
    let twin = under(
        workload,
        "lock lifecycle, alloc, mark-live, publish, debug-log, send ALLOC, unlock lifecycle",
        "claim, lock lifecycle, send FREE, free, mark-dead, unlock lifecycle",
    );
    assert_silent(&twin, 2);
}

#[test]
fn a_live_buffer_whose_alloc_never_came_is_missing_and_leaks_apart() {
    let workload = scripted(&[&["allocate s0#1 4096 l1 d0 releases=0"]]);
    let planted = under(workload.clone(), "alloc, mark-live, publish", DEALLOCATE);
    let played = play(&planted, 0);
    assert_diverged(&played, &[(Kind::MissingLive, 1)]);
    assert_eq!(played.report.leaks, 1);
    let twin = under(workload, ALLOCATE, DEALLOCATE);
    assert_silent(&twin, 2);
    assert_eq!(play(&twin, 0).report.leaks, 1);
}

/// The reported race, laid out in time: thread 0 gives its address back and says so two delays
/// later; in between thread 1, which begins after a block about a buffer that is not tracked, gets
/// the same address and says so. Then thread 0 releases that buffer too, or nobody does.
fn late_free(released: bool) -> Scenario {
    let taken = [
        "allocate s2#1 4096 l1 d0 releases=0",
        "allocate s2#1 4096 l1 d0",
    ];
    let zero = ["allocate s0#1 4096 l1 d0", "release s0#1", "release s2#1"];
    with_debug_log(
        scripted(&[
            &zero[..2 + usize::from(released)],
            &[
                "allocate s1#1 4096 l1 d0 preallocated releases=0",
                taken[usize::from(released)],
            ],
        ]),
        60,
    )
}

const LATE_ALLOCATE: &str = "debug-log, alloc, mark-live, send ALLOC, publish";
const LATE_FREE: &str = "claim, free, mark-dead, debug-log, debug-log, send FREE";

#[test]
fn a_free_that_comes_after_the_next_alloc_takes_the_live_buffer_off_the_table() {
    let taken = |p: &crate::common::Played| p.report.count(Kind::MissingLive) == 1;
    let kept = play_until(&under(late_free(false), LATE_ALLOCATE, LATE_FREE), taken);
    assert_diverged(&kept, &[(Kind::DuplicateAlloc, 1), (Kind::MissingLive, 1)]);
    assert_eq!(kept.report.leaks, 1);
    let released = play_until(&under(late_free(true), LATE_ALLOCATE, LATE_FREE), taken);
    assert_diverged(
        &released,
        &[
            (Kind::DuplicateAlloc, 1),
            (Kind::MissingLive, 1),
            (Kind::UnknownFree, 1),
        ],
    );
    let twin = under(
        late_free(true),
        "debug-log, lock lifecycle, alloc, mark-live, send ALLOC, unlock lifecycle, publish",
        "claim, lock lifecycle, free, mark-dead, debug-log, debug-log, send FREE, unlock lifecycle",
    );
    assert_silent(&twin, 1);
}

#[test]
fn equal_addresses_in_two_memories_are_misattributed_by_an_untyped_server() {
    let mut workload = scripted(&[&[
        "allocate s0#1 4096 dram d0",
        "allocate s1#1 4096 l1 d0",
        "release s0#1",
        "release s1#1",
    ]]);
    workload.profile = "custom:1x65536".parse().expect("a profile");
    workload.semantics = Semantics::Overwrite;
    let planted = under(workload, ALLOCATE, DEALLOCATE);
    let played = play(&planted, 0);
    assert_diverged(&played, &[(Kind::Misattributed, 2), (Kind::UnknownFree, 1)]);
    let twin = Scenario {
        semantics: Semantics::Typed,
        ..planted
    };
    assert_silent(&twin, 2);
}

#[test]
fn what_a_full_socket_drops_is_lost_and_counted_by_the_client_too() {
    let slow = |mode: &str| {
        scenario(&format!(
            "name = 'slow'\nthreads = 2\nops = 400\n[transport]\nmode = '{mode}'\nsend-buffer-bytes = 4608\n\
             [server]\ndelay-us = 100"
        ))
    };
    let played = play_until(&slow("dontwait"), |p| p.report.count(Kind::LostMessage) > 0);
    assert_eq!(
        played.report.count(Kind::LostMessage),
        played.result.client_dropped
    );
    assert_eq!(played.report.messages, played.result.client_sent);
    assert_silent(&slow("blocking"), 2);
}

#[test]
fn split_writes_on_one_connection_tear_unless_a_lock_is_held_around_them() {
    let split = |discipline: &str| {
        scenario(&format!(
            "name = 'split'\nthreads = 4\nops = 1000\ndiscipline = '{discipline}'\n[transport]\nchunks = 8"
        ))
    };
    let played = play_until(&split("unlocked"), |p| p.report.count(Kind::TornFrame) > 0);
    assert_eq!(played.report.verdict, Verdict::Diverged);
    assert_silent(&split("tracker-mutex"), 3);
}

#[test]
fn two_threads_that_both_see_a_live_buffer_free_it_twice_under_the_wide_lock() {
    let shared = |discipline: &str| {
        let script: [&[&str]; 2] = [
            &["allocate s0#1 4096 l1 d0 releases=2", "release s0#1"],
            &["release s0#1"],
        ];
        let mut scenario = with_debug_log(scripted(&script), 60);
        scenario.discipline = heisenbed::lifecycle::load(discipline).expect("a built-in one");
        scenario
    };
    let played = play_until(&shared("lifecycle-wide"), |p| {
        p.report.count(Kind::DoubleFree) > 0
    });
    assert_diverged(&played, &[(Kind::UnknownFree, 1), (Kind::DoubleFree, 1)]);
    assert_silent(&shared("claimed-wide"), 2);
}

#[test]
fn perturbed_double_releases_are_found_and_a_claim_ends_them() {
    let shared = |discipline: &str| {
        raced(
            discipline,
            "[workload]\nshared = 6\nprivate-slots = 4\nround-ops = 6",
        )
    };
    play_until(&shared("lifecycle-wide"), |p| {
        p.report.count(Kind::DoubleFree) > 0
    });
    assert_silent(&shared("claimed-wide"), 3);
}

#[test]
fn locks_taken_in_opposite_orders_deadlock() {
    let workload = || {
        with_debug_log(
            scripted(&[
                &[
                    "allocate s0#1 4096 l1 d0",
                    "allocate s1#1 4096 l1 d0",
                    "release s1#1",
                ],
                &["release s0#1"],
            ]),
            60,
        )
    };
    let allocate = "lock tracker, debug-log, lock lifecycle, alloc, mark-live, send ALLOC, unlock lifecycle, \
                    unlock tracker, publish";
    let planted = under(
        workload(),
        allocate,
        "claim, lock lifecycle, debug-log, lock tracker, send FREE, free, mark-dead, unlock tracker, \
         unlock lifecycle",
    );
    let played = play_until(&planted, |p| p.report.count(Kind::Deadlock) > 0);
    assert_diverged(&played, &[(Kind::Deadlock, 1)]);
    let twin = under(
        workload(),
        allocate,
        "claim, lock tracker, debug-log, lock lifecycle, send FREE, free, mark-dead, unlock lifecycle, \
         unlock tracker",
    );
    assert_silent(&twin, 2);
}

#[test]
fn a_device_beyond_the_lock_table_is_named() {
    let on = |device: u16| {
        let allocate = format!("allocate s0#1 4096 l1 d{device}");
        let mut scenario = scripted(&[&[]]);
        scenario.devices = 32;
        scenario.workload.script = Some(vec![vec![allocate, "release s0#1".to_owned()]]);
        scenario.discipline =
            heisenbed::lifecycle::load("lifecycle-array8").expect("a built-in one");
        scenario
    };
    let played = play(&on(9), 0);
    assert_diverged(&played, &[(Kind::LockOutOfBounds, 2)]);
    let first = played.report.first.expect("the first divergence is named");
    assert_eq!(
        (first.device, first.thread, first.op),
        (DeviceId(9), Some(0), Some(0))
    );
    assert_silent(&on(7), 1);
}

#[test]
fn narrow_lock_lets_free_overtake_alloc_and_the_wide_one_does_not() {
    let found = |p: &crate::common::Played| p.report.verdict == Verdict::Diverged;
    for discipline in ["unlocked", "tracker-mutex", "lifecycle-narrow"] {
        let played = play_until(&raced(discipline, "order = 'free-first'"), found);
        assert!(played.report.first.is_some());
    }
    assert_silent(&raced("lifecycle-wide", "order = 'free-first'"), 3);
}

#[test]
fn a_release_that_takes_effect_after_its_buffer_is_gone_is_accounted_with_its_size() {
    // Thread 1 takes its number before thread 0's release and sends it after: until then the server
    // holds the release back, and the allocator is long done with the buffer.
    let workload = with_debug_log(
        scripted(&[
            &["allocate s0#1 12288 dram d0", "release s0#1"],
            &[
                "allocate s1#1 4096 l1 d0 preallocated releases=0",
                "allocate s2#1 4096 l1 d0 releases=0",
            ],
        ]),
        40,
    );
    let mut held = under(
        workload,
        "lock allocator, alloc, stamp, unlock allocator, mark-live, debug-log, debug-log, send ALLOC, publish",
        "debug-log, claim, lock allocator, stamp, unlock allocator, send FREE, free, mark-dead",
    );
    held.semantics = Semantics::Sequenced;
    assert_silent(&held, 2);
}

#[test]
fn a_free_that_names_no_memory_takes_the_buffer_of_the_other_memory_off_the_table() {
    let mut workload = scripted(&[&[
        "allocate s0#1 4096 dram d0 releases=0",
        "allocate s1#1 4096 l1 d0",
        "release s1#1",
    ]]);
    workload.profile = "custom:1x65536".parse().expect("a profile");
    let twin = under(workload, ALLOCATE, DEALLOCATE);
    let mut planted = twin.clone();
    planted.transport.layout = "112".parse().expect("a layout");
    // Once when the message comes, and once at rest: what is shown is L1, what is live is DRAM.
    let played = play(&planted, 0);
    assert_diverged(&played, &[(Kind::Misattributed, 2)]);
    assert_eq!(played.report.leaks, 1);
    assert_silent(&twin, 2);
}

#[test]
fn threads_that_wait_for_what_nobody_does_deadlock() {
    let waits = scripted(&[
        &["release s0#1"],
        &["allocate s1#1 64 l1 d0", "release s1#1"],
    ]);
    let played = play(&under(waits, ALLOCATE, DEALLOCATE), 0);
    assert_diverged(&played, &[(Kind::Deadlock, 1)]);
    let first = played.report.first.expect("the first divergence is named");
    assert_eq!((first.thread, first.op), (Some(0), Some(0)));
    let served = scripted(&[&["release s0#1"], &["allocate s0#1 64 l1 d0"]]);
    assert_silent(&under(served, ALLOCATE, DEALLOCATE), 2);
}

#[test]
fn a_deadlock_of_two_is_found_while_a_third_still_works() {
    let busy: Vec<String> = (1..=40)
        .flat_map(|epoch| {
            [
                format!("allocate s2#{epoch} 4096 l1 d1"),
                format!("release s2#{epoch}"),
            ]
        })
        .collect();
    let busy: Vec<&str> = busy.iter().map(String::as_str).collect();
    let mut workload = with_debug_log(
        scripted(&[
            &["allocate s0#1 4096 l1 d0", "allocate s1#1 4096 l1 d0"],
            &["release s0#1"],
            &[],
        ]),
        40,
    );
    workload.devices = 2;
    workload.workload.script.as_mut().expect("a script")[2] =
        busy.iter().map(|op| (*op).to_owned()).collect();
    let planted = under(
        workload,
        "lock allocator, debug-log, lock lifecycle, alloc, mark-live, send ALLOC, unlock lifecycle, \
         unlock allocator, publish",
        "claim, lock lifecycle, debug-log, lock allocator, send FREE, free, mark-dead, unlock allocator, \
         unlock lifecycle",
    );
    let played = play_until(&planted, |p| p.report.count(Kind::Deadlock) > 0);
    assert_diverged(&played, &[(Kind::Deadlock, 1)]);
    assert!(played.report.ops < 80, "{} operations", played.report.ops);
}

#[test]
fn a_counting_server_keeps_the_owner_of_a_buffer_whose_free_never_came() {
    let mut workload = scripted(&[
        &["allocate s0#1 4096 l1 d0"],
        &["release s0#1", "allocate s1#1 4096 l1 d0 releases=0"],
    ]);
    workload.semantics = Semantics::Refcount;
    // Once when the message comes, and once at rest.
    let planted = under(workload.clone(), ALLOCATE, "claim, free, mark-dead");
    assert_diverged(&play(&planted, 0), &[(Kind::StaleMetadata, 2)]);
    assert_silent(&under(workload, ALLOCATE, DEALLOCATE), 2);
}

#[test]
fn a_mesh_buffer_is_seen_when_all_its_parts_are_there() {
    let mut workload = scripted(&[&["allocate s0#1 4096 l1 d0"], &["release s0#1"]]);
    workload.devices = 2;
    let mesh = "allocate s0#1 4096 l1 d0 mesh*2".to_owned();
    workload.workload.script.as_mut().expect("a script")[0] = vec![mesh];
    let late = under(
        with_debug_log(workload, 30),
        "debug-log, alloc, mark-live, send ALLOC, publish",
        DEALLOCATE,
    );
    let played = play(&late, 0);
    assert_eq!(played.report.verdict, Verdict::Clean);
    assert_eq!((played.report.leaks, played.report.messages), (0, 4));
}
