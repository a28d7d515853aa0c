//! Runs on real threads that diverged come down to a few operations that show the same kind of
//! divergence every time.

use heisenbed::lifecycle::{Order, Publication};
use heisenbed::oracle::Kind;
use heisenbed::scenario::{Connections, ScenarioFile};
use heisenbed::shrink::{ShrinkError, ShrunkSize, shrink_trace};
use heisenbed::trace::file::TraceFile;

fn record(file: ScenarioFile, run: u64) -> TraceFile {
    crate::common::recorded(&file.resolve().expect("valid"), run).1
}

fn broken(name: &str, discipline: &str, order: Order, publish: Publication) -> ScenarioFile {
    let mut file = ScenarioFile::load(name).expect("built in");
    discipline.clone_into(&mut file.discipline);
    (file.order, file.publish) = (Some(order), Some(publish));
    (file.threads, file.ops, file.perturb) = (4, 2000, true);
    file
}

fn shrunk(file: ScenarioFile, kind: Option<Kind>) -> ShrunkSize {
    // Real threads on a busy machine may not get into each other's way in one run.
    let shrunk = (0..crate::common::RUN_LIMIT)
        .find_map(|run| shrink_trace(&record(file.clone(), run), kind, &mut || true).ok())
        .expect("a run of them diverged");
    assert_eq!(shrunk.size.replayed, shrunk.size.replays, "{}", shrunk.size);
    assert!(shrunk.observed.report.count(shrunk.size.kind) > 0);
    shrunk.size
}

#[test]
fn races_of_real_threads_shrink_to_two_threads_and_four_operations() {
    use Order::{FreeFirst, TrackFirst};
    use Publication::{Early, Late};
    for (name, discipline, order, publish) in [
        ("own-buffers", "lifecycle-narrow", FreeFirst, Late),
        ("own-buffers", "unlocked", FreeFirst, Late),
        ("handoff", "tracker-mutex", TrackFirst, Early),
        ("shared-free", "lifecycle-wide", TrackFirst, Late),
        ("mesh", "lifecycle-narrow", FreeFirst, Late),
        ("circular", "unlocked", FreeFirst, Late),
        ("mixed", "unlocked", FreeFirst, Late),
    ] {
        let size = shrunk(broken(name, discipline, order, publish), None);
        assert!(
            size.threads <= 2 && size.ops <= 4 && size.preemptions <= 2,
            "{name}: {size}"
        );
        assert!(size.fewest_ops && size.fewest_preemptions, "{name}: {size}");
    }
}

#[test]
fn the_kind_that_is_asked_for_is_kept() {
    for kind in [Kind::UnknownFree, Kind::DuplicateAlloc, Kind::MissingLive] {
        let file = broken(
            "own-buffers",
            "unlocked",
            Order::FreeFirst,
            Publication::Late,
        );
        assert_eq!(shrunk(file, Some(kind)).kind, kind);
    }
}

#[test]
fn loss_and_torn_frames_shrink_too() {
    let mut torn = broken(
        "own-buffers",
        "unlocked",
        Order::TrackFirst,
        Publication::Late,
    );
    torn.transport.chunks = 3;
    let size = shrunk(torn, Some(Kind::TornFrame));
    assert_eq!((size.threads, size.ops), (2, 2));
    let lost = ScenarioFile::load("dontwait-loss").expect("built in");
    let size = shrunk(lost, Some(Kind::LostMessage));
    assert!(size.threads == 1 && size.ops == 2, "{size}");
    let mut apart = broken(
        "own-buffers",
        "unlocked",
        Order::FreeFirst,
        Publication::Late,
    );
    apart.transport.connections = Connections::PerThread;
    assert!(shrunk(apart, None).ops <= 4);
}

#[test]
fn a_clean_trace_has_nothing_to_shrink() {
    let file = broken(
        "own-buffers",
        "lifecycle-wide",
        Order::FreeFirst,
        Publication::Late,
    );
    let error = shrink_trace(&record(file, 0), None, &mut || true).expect_err("clean");
    assert!(matches!(error, ShrinkError::Clean), "{error}");
}
