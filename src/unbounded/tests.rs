//! The known answers, and every verdict against a bounded search.

use proptest::prelude::*;

use super::search::search;
use super::*;
use crate::engine::controlled::exhaustive::{self, Goal, SearchOptions};
use crate::engine::controlled::machine::Setup;
use crate::lifecycle::{Discipline, Order, Program, Publication, builtin};
use crate::oracle::Kind;
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

fn is_proved(discipline: &Discipline, releases: u8) -> bool {
    let scenario = scenario("handoff", discipline);
    let found = search(&scenario, releases, MAX_STATES).expect("it is covered");
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
        search(scenario, 1, MAX_STATES)
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

/// The steps in an order that `draws` gives, each lock held from one place to another or not at
/// all.
fn program(steps: &[&str], draws: &[u8]) -> Program {
    let mut draw = draws.iter().copied().cycle();
    let mut draw = || usize::from(draw.next().unwrap_or(0));
    let mut program: Vec<String> = steps.iter().map(|step| (*step).to_owned()).collect();
    for at in (1..program.len()).rev() {
        // Mostly in the order that they are given in.
        if draw() % 3 == 0 {
            program.swap(at, draw() % (at + 1));
        }
    }
    for lock in ["tracker", "lifecycle", "global", "allocator"] {
        if draw() % 5 < 2 {
            let from = draw() % program.len();
            let to = from + 1 + draw() % (program.len() - from);
            program.insert(to, format!("unlock {lock}"));
            program.insert(from, format!("lock {lock}"));
        }
    }
    let steps = program.iter().map(|step| step.parse().expect("a step"));
    Program::new(steps).expect("it is short")
}

/// Disciplines that are nearly right, and some that are.
fn any_discipline() -> impl Strategy<Value = Discipline> {
    let draws = || proptest::collection::vec(any::<u8>(), 24);
    (draws(), draws(), any::<bool>()).prop_map(|(allocate, deallocate, claims)| {
        let guard = if claims { "claim" } else { "check-live" };
        Discipline {
            name: "random".to_owned(),
            origin: String::new(),
            semantics: None,
            allocate: program(&["alloc", "mark-live", "send ALLOC", "publish"], &allocate),
            deallocate: program(&[guard, "send FREE", "free", "mark-dead"], &deallocate),
            mesh: None,
            cells: Default::default(),
            programs: Default::default(),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// No random discipline is proved for any number of threads that a bounded search refutes.
    #[test]
    fn nothing_is_proved_that_a_bounded_search_refutes(discipline in any_discipline(), shared in any::<bool>()) {
        let workload = if shared { "shared-free" } else { "handoff" };
        let scenario = scenario(workload, &discipline);
        let found = search(&scenario, 1 + u8::from(shared), MAX_STATES);
        if let Ok(Abstract::Proved { .. }) = found {
            let setup = Setup::new(scenario, 0).expect("small");
            let options = SearchOptions {
                goal: Goal::AllKinds,
                max_states: 300_000,
                ..SearchOptions::default()
            };
            let mut bounded = exhaustive::search(&setup, &options, &mut |_| true).divergences;
            // What comes of one is no matter of addresses.
            bounded.remove(&Kind::Deadlock);
            prop_assert!(bounded.is_empty(), "{bounded:?}: {discipline:?}");
        }
    }
}
