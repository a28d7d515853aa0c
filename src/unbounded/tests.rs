//! The known answers. Random disciplines beside a bounded search: `fuzzing::unbounded`.

use super::search::search;
use super::usage::Usage;
use super::*;
use crate::lifecycle::{Discipline, Order, Publication, builtin};
use crate::scenario::{Scenario, ScenarioFile};

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
    }
}

fn is_proved(discipline: &Discipline, releases: u8) -> bool {
    let scenario = scenario("handoff", discipline);
    let found = search(&scenario, by_anybody(releases), MAX_STATES).expect("it is covered");
    assert!(
        !matches!(found, Abstract::TooMany { .. }),
        "{}: {found:?}",
        discipline.name
    );
    matches!(found, Abstract::Proved { .. })
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
            let usage = Usage { releases, by_owner };
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
    let mut sequenced = scenario("handoff", get("sequenced"));
    sequenced.semantics = crate::registry::Semantics::Sequenced;
    assert!(refused(&sequenced).contains("sequenced"));
}
