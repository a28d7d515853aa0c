//! The known answers. Random disciplines beside a bounded search: `fuzzing::unbounded`.

use super::search::search;
use super::usage::Usage;
use super::*;
use crate::engine::controlled::exhaustive::{self, SearchOptions};
use crate::engine::controlled::machine::Setup;
use crate::lifecycle::{Discipline, Order, Publication, builtin};
use crate::registry::Semantics;
use crate::scenario::{Scenario, ScenarioFile};
use crate::tracking::Layout;

const FORMS: [(Order, Publication); 4] = [
    (Order::TrackFirst, Publication::Late),
    (Order::TrackFirst, Publication::Early),
    (Order::FreeFirst, Publication::Late),
    (Order::FreeFirst, Publication::Early),
];
const MAX_STATES: u64 = 200_000;

fn scenario(workload: &str, discipline: &Discipline) -> Scenario {
    let file = ScenarioFile::load(workload).expect("built in");
    let mut scenario = file
        .condensed(Some(2), Some(4))
        .resolve()
        .expect("it is sound");
    scenario.discipline = discipline.clone();
    scenario
}

/// Buffers that any thread may release.
fn by_anybody(releases: u8) -> Usage {
    Usage {
        releases,
        by_owner: false,
        mixes_memories: false,
    }
}

fn is_proved(discipline: &Discipline, releases: u8) -> bool {
    is_proved_in(&scenario("handoff", discipline), releases)
}

fn is_proved_in(scenario: &Scenario, releases: u8) -> bool {
    let found = search(scenario, by_anybody(releases), MAX_STATES).expect("it is covered");
    assert!(
        !matches!(found, Abstract::TooMany { .. }),
        "{}: {found:?}",
        scenario.discipline.name
    );
    matches!(found, Abstract::Proved { .. })
}

/// With a server that goes by numbers.
fn sequenced(workload: &str, discipline: &Discipline) -> Scenario {
    let mut scenario = scenario(workload, discipline);
    scenario.semantics = Semantics::Sequenced;
    scenario.transport.layout = Layout::Extended;
    scenario
}

#[test]
fn one_owner_a_buffer_is_proved_under_what_covers_the_address() {
    for (order, publication) in FORMS {
        let form = |name: &str| {
            builtin::get(name)
                .expect("built in")
                .with(order, publication)
        };
        for name in [
            "lifecycle-wide",
            "global-wide",
            "in-allocator",
            "claimed-wide",
            "views-first",
        ] {
            assert!(is_proved(&form(name), 1), "{name} {order} {publication}");
        }
        let needs_none = (order, publication) == FORMS[0];
        for name in ["unlocked", "tracker-mutex", "lifecycle-narrow"] {
            assert_eq!(
                is_proved(&form(name), 1),
                needs_none,
                "{name} {order} {publication}"
            );
        }
    }
}

#[test]
fn an_owner_that_releases_by_itself_needs_no_lock_however_early_the_handle_is_known() {
    for (releases, by_owner, expected) in [(1, true, true), (2, true, true), (1, false, false)] {
        for name in ["unlocked", "tracker-mutex", "lifecycle-narrow"] {
            let discipline = builtin::get(name).expect("built in");
            let early = discipline.with(Order::TrackFirst, Publication::Early);
            let usage = Usage {
                releases,
                by_owner,
                mixes_memories: false,
            };
            let found = search(&scenario("own-buffers", &early), usage, MAX_STATES);
            let is_proved = matches!(found, Ok(Abstract::Proved { .. }));
            assert_eq!(is_proved, expected, "{name} {usage:?}: {found:?}");
        }
    }
}

#[test]
fn two_releases_of_a_buffer_are_proved_under_a_claim_only() {
    for discipline in builtin::all() {
        if ["lifecycle-array8", "sequenced"].contains(&discipline.name.as_str()) {
            continue;
        }
        for (order, publication) in FORMS {
            let claims = ["claimed-wide", "views-first"].contains(&discipline.name.as_str());
            let name = &discipline.name;
            let form = discipline.with(order, publication);
            assert_eq!(is_proved(&form, 2), claims, "{name} {order} {publication}");
        }
    }
}

/// While each key sees ALLOC and FREE in turn, what a server makes of two ALLOCs does not matter.
#[test]
fn what_is_proved_for_one_server_is_for_those_that_differ_in_what_they_make_of_disorder() {
    for semantics in [Semantics::Overwrite, Semantics::Refcount] {
        for (name, expected) in [("lifecycle-wide", true), ("lifecycle-narrow", false)] {
            let discipline = builtin::get(name).expect("built in");
            let free_first = discipline.with(Order::FreeFirst, Publication::Late);
            let mut scenario = scenario("handoff", &free_first);
            scenario.semantics = semantics;
            assert_eq!(is_proved_in(&scenario, 1), expected, "{semantics} {name}");
        }
    }
}

/// A number that is taken where the address is given and given back puts the messages in order, and
/// one that is taken elsewhere does not.
#[test]
fn numbers_that_are_taken_with_the_address_are_proved_and_others_are_not() {
    let built_in = builtin::get("sequenced").expect("built in");
    for (order, publication) in FORMS {
        let form = built_in.with(order, publication);
        assert!(
            is_proved_in(&sequenced("handoff", &form), 1),
            "{order} {publication}"
        );
        assert!(
            !is_proved_in(&sequenced("shared-free", &form), 2),
            "{order} {publication}"
        );
    }
    let with = |allocate: &[&str], deallocate: &[&str]| {
        let text = format!(
            "name = \"numbered\"\nsemantics = \"sequenced\"\nallocate = {allocate:?}\n\
             deallocate = {deallocate:?}\n"
        );
        Discipline::from_toml("numbered.toml", &text).expect("it parses")
    };
    let allocate = ["alloc", "mark-live", "stamp", "send ALLOC", "publish"];
    let free_first = ["check-live", "free", "stamp", "send FREE", "mark-dead"];
    let track_first = ["check-live", "stamp", "send FREE", "free", "mark-dead"];
    for (deallocate, expected) in [(free_first, false), (track_first, true)] {
        let scenario = sequenced("handoff", &with(&allocate, &deallocate));
        assert_eq!(is_proved_in(&scenario, 1), expected, "{deallocate:?}");
        // The bounded search says the same.
        let setup = Setup::new(scenario, 0).expect("it is small");
        let found = exhaustive::search(&setup, &SearchOptions::default(), &mut |_| true);
        assert_eq!(found.example.is_none(), expected, "{deallocate:?}");
    }
}

#[test]
fn what_is_not_covered_is_refused_by_name() {
    let get = |name: &str| builtin::get(name).expect("built in");
    let refused = |scenario: &Scenario| {
        search(scenario, by_anybody(1), MAX_STATES)
            .expect_err("it is not covered")
            .to_string()
    };
    let said = refused(&scenario("handoff", get("lifecycle-array8")));
    assert!(said.contains("lifecycle[8]"), "{said}");
    let said = refused(&scenario("mesh", get("lifecycle-wide")));
    assert!(said.contains("mesh"), "{said}");
    let mut lossy = scenario("handoff", get("lifecycle-wide"));
    lossy.transport.mode = crate::tracking::transport::SendMode::DontWait;
    assert!(refused(&lossy).contains("do not wait"));
    let mut counting = scenario("handoff", get("lifecycle-wide"));
    counting.semantics = Semantics::Refcount;
    let mixed = Usage {
        mixes_memories: true,
        ..by_anybody(1)
    };
    let said = search(&counting, mixed, MAX_STATES).expect_err("one key for two");
    assert!(said.to_string().contains("refcount"), "{said}");
    let mut unnumbered = sequenced("handoff", get("lifecycle-wide"));
    assert!(refused(&unnumbered).contains("`send ALLOC` without a number"));
    unnumbered = sequenced("handoff", get("sequenced"));
    unnumbered.transport.layout = Layout::V72;
    assert!(refused(&unnumbered).contains("messages without numbers"));
    let mut processes = scenario("handoff", get("lifecycle-wide"));
    processes.workload.processes = 2;
    assert!(refused(&processes).contains("several processes"));
}
