//! Properties of the whole room: built-ins and switches together, and the lint against an
//! interpreter that shares no code with it.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const ORDERS: [Order; 2] = [Order::TrackFirst, Order::FreeFirst];
const PUBLICATIONS: [Publication; 2] = [Publication::Late, Publication::Early];

fn texts(program: &Program) -> Vec<String> {
    program.steps().iter().map(MicroStep::to_string).collect()
}

fn sorted(program: &Program) -> Vec<MicroStep> {
    let mut steps: Vec<MicroStep> = program.steps().to_vec();
    steps.sort();
    steps
}

fn builtin(name: &str) -> &'static Discipline {
    builtin::get(name).expect("a built-in")
}

#[test]
fn each_built_in_is_drawn_in_all_four_forms() {
    for discipline in builtin::all() {
        let mut text = format!("{}: {}\n", discipline.name, discipline.origin);
        for order in ORDERS {
            for publication in PUBLICATIONS {
                let drawn = render(&discipline.with(order, publication));
                text += &format!("\n{order}, {publication}\n\n{drawn}");
            }
        }
        testing::snapshot(&format!("discipline_{}", discipline.name), &text);
    }
}

#[test]
fn each_built_in_is_written_track_first_and_late_under_its_file_s_name() {
    let names: Vec<&str> = builtin::all()
        .iter()
        .map(|discipline| discipline.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "unlocked",
            "tracker-mutex",
            "lifecycle-narrow",
            "lifecycle-wide",
            "lifecycle-array8",
            "global-wide",
            "in-allocator",
            "claimed-wide",
            "views-first",
            "sequenced"
        ]
    );
    for discipline in builtin::all() {
        assert_eq!(
            (discipline.order(), discipline.publication()),
            (Order::TrackFirst, Publication::Late)
        );
        assert_eq!(
            discipline.allocate.steps().last(),
            Some(&MicroStep::Publish)
        );
        assert!(!discipline.origin.is_empty());
    }
}

#[test]
fn free_first_moves_the_release_before_the_tracking_section() {
    let free_first = |name: &str| {
        texts(
            &builtin(name)
                .with(Order::FreeFirst, Publication::Late)
                .deallocate,
        )
    };
    assert_eq!(
        free_first("lifecycle-narrow"),
        [
            "check-live",
            "free",
            "lock lifecycle",
            "debug-log",
            "lock tracker",
            "send FREE",
            "unlock tracker",
            "unlock lifecycle",
            "mark-dead"
        ]
    );
    assert_eq!(
        free_first("lifecycle-wide"),
        [
            "check-live",
            "lock lifecycle",
            "free",
            "debug-log",
            "lock tracker",
            "send FREE",
            "unlock tracker",
            "mark-dead",
            "unlock lifecycle"
        ]
    );
    assert_eq!(
        free_first("in-allocator"),
        [
            "check-live",
            "lock allocator",
            "free",
            "debug-log",
            "send FREE",
            "mark-dead",
            "unlock allocator"
        ]
    );
    assert_eq!(
        free_first("sequenced"),
        [
            "check-live",
            "lock allocator",
            "free",
            "stamp",
            "unlock allocator",
            "debug-log",
            "send FREE",
            "mark-dead"
        ]
    );
}

#[test]
fn early_publication_follows_the_address_and_its_status() {
    let early = |allocate: &str| {
        let text = format!("name = \"x\"\nallocate = [{allocate}]\ndeallocate = [\"free\"]");
        let written = Discipline::from_toml("x.toml", &text).expect("the steps are known");
        texts(&written.with(Order::TrackFirst, Publication::Early).allocate).join(", ")
    };
    assert_eq!(
        early("'alloc', 'mark-live', 'send ALLOC', 'publish'"),
        "alloc, mark-live, publish, send ALLOC"
    );
    assert_eq!(
        early("'alloc', 'send ALLOC', 'mark-live', 'publish'"),
        "alloc, publish, send ALLOC, mark-live"
    );
    assert_eq!(
        early("'alloc', 'publish', 'stamp', 'send ALLOC'"),
        "alloc, publish, stamp, send ALLOC"
    );
    assert_eq!(
        early("'alloc', 'mark-live', 'publish'"),
        "alloc, mark-live, publish"
    );
}

#[test]
fn every_form_of_a_built_in_is_what_it_says_and_leads_back() {
    for discipline in builtin::all() {
        for order in ORDERS {
            for publication in PUBLICATIONS {
                let form = discipline.with(order, publication);
                assert_eq!(
                    (form.order(), form.publication()),
                    (order, publication),
                    "{}",
                    discipline.name
                );
                assert_eq!(&form.with(Order::TrackFirst, Publication::Late), discipline);
            }
        }
    }
}

#[test]
fn a_step_that_a_switch_moves_keeps_its_line_and_so_do_the_others() {
    for discipline in builtin::all() {
        let mut written: Vec<(MicroStep, u32)> = Vec::new();
        let mut switched: Vec<(MicroStep, u32)> = Vec::new();
        let form = discipline.with(Order::FreeFirst, Publication::Early);
        for kind in ProgramKind::ALL {
            for (list, program) in [
                (&mut written, discipline.program(kind)),
                (&mut switched, form.program(kind)),
            ] {
                list.extend(
                    (program.steps().iter().enumerate())
                        .map(|(at, step)| (*step, program.line(at))),
                );
            }
            // and back, which moves the steps the other way
            let back = form.with(Order::TrackFirst, Publication::Late);
            let lines = |program: &Program| {
                (0..program.steps().len())
                    .map(|at| program.line(at))
                    .collect()
            };
            let (there, here): (Vec<u32>, Vec<u32>) =
                (lines(back.program(kind)), lines(discipline.program(kind)));
            assert_eq!(there, here, "{}", discipline.name);
        }
        written.sort();
        switched.sort();
        assert_eq!(written, switched, "{}", discipline.name);
    }
}

#[test]
fn switches_are_written_and_read_by_the_same_words() {
    for (order, text) in ORDERS.into_iter().zip(["track-first", "free-first"]) {
        assert_eq!(
            (order.to_string().as_str(), text.parse()),
            (text, Ok(order))
        );
        assert_eq!(serde_json::to_value(order).expect("a word"), text);
    }
    for (publication, text) in PUBLICATIONS.into_iter().zip(["late", "early"]) {
        assert_eq!(
            (publication.to_string().as_str(), text.parse()),
            (text, Ok(publication))
        );
        assert_eq!(serde_json::to_value(publication).expect("a word"), text);
    }
    let error = "first"
        .parse::<Order>()
        .expect_err("not an order")
        .to_string();
    assert_eq!(error, "`first`: expected track-first or free-first");
}

#[test]
fn a_built_in_is_found_by_name_and_a_near_miss_is_answered_with_it() {
    assert_eq!(
        &load("sequenced").expect("a built-in"),
        builtin("sequenced")
    );
    let error = load("lifecycle-wid")
        .expect_err("no such discipline")
        .to_string();
    assert_eq!(
        error,
        "lifecycle-wid: no built-in discipline and no file has this name; did you mean `lifecycle-wide`?"
    );
}

/// Runs a program with every outcome of its guards, and says whether it only ever takes locks that
/// are free and gives back locks that it holds, and ends with none on every path. Early returns
/// drop what is held.
fn locks_are_sound(program: &Program) -> bool {
    let steps = texts(program);
    let guards = steps
        .iter()
        .filter(|step| ["check-live", "claim"].contains(&step.as_str()))
        .count();
    (0..=guards).all(|passed| {
        let mut held = BTreeSet::new();
        let mut left = passed;
        for step in &steps {
            match step.split_once(' ') {
                Some(("lock", lock)) if !held.insert(lock) => return false,
                Some(("unlock", lock)) if !held.remove(lock) => return false,
                _ => {}
            }
            if ["check-live", "claim"].contains(&step.as_str()) {
                if left == 0 {
                    held.clear();
                    break;
                }
                left -= 1;
            }
        }
        held.is_empty()
    })
}

fn step_from(texts: &'static [&'static str]) -> impl Strategy<Value = MicroStep> {
    proptest::sample::select(texts).prop_map(|text| text.parse().expect("a known step"))
}

const LOCKING: &[&str] = &[
    "lock tracker",
    "unlock tracker",
    "lock lifecycle",
    "unlock lifecycle",
    "lock lifecycle[8]",
    "unlock lifecycle[8]",
    "lock global",
    "unlock global",
    "debug-log",
];

/// `core` with random locking, balanced or not, strewn in.
fn strewn(core: &'static [&'static str]) -> impl Strategy<Value = Program> {
    proptest::collection::vec((any::<proptest::sample::Index>(), step_from(LOCKING)), 0..6)
        .prop_map(move |extra| {
            let mut steps: Vec<MicroStep> = core
                .iter()
                .map(|text| text.parse().expect("a known step"))
                .collect();
            for (at, step) in extra {
                steps.insert(at.index(steps.len() + 1), step);
            }
            Program::new(steps).expect("short")
        })
}

fn nearly_right() -> impl Strategy<Value = Discipline> {
    let allocate = prop_oneof![
        strewn(&["alloc", "mark-live", "send ALLOC", "publish"]),
        strewn(&["alloc", "publish", "stamp", "send CB_ALLOC", "mark-live"]),
    ];
    let deallocate = prop_oneof![
        strewn(&["check-live", "send FREE", "free", "mark-dead"]),
        strewn(&["claim", "free", "stamp", "send FREE", "mark-dead"]),
        strewn(&[
            "lock tracker",
            "check-live",
            "send FREE",
            "unlock tracker",
            "claim",
            "free"
        ]),
    ];
    (allocate, deallocate).prop_map(|(allocate, deallocate)| Discipline {
        name: "random".to_string(),
        origin: String::new(),
        semantics: None,
        allocate,
        deallocate,
        mesh: None,
        cells: Default::default(),
        programs: Default::default(),
    })
}

fn any_program() -> impl Strategy<Value = Program> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..200);
    bytes.prop_map(|bytes| {
        let steps: Vec<MicroStep> = arbitrary::Unstructured::new(&bytes)
            .arbitrary_iter()
            .expect("an iterator takes no bytes")
            .map_while(Result::ok)
            .take(Program::MAX_STEPS)
            .collect();
        Program::new(steps).expect("short")
    })
}

fn accepted(discipline: &Discipline) -> bool {
    lint(discipline)
        .iter()
        .all(|finding| finding.severity != Severity::Error)
}

fn switches() -> impl Strategy<Value = (Order, Publication)> {
    (
        proptest::sample::select(&ORDERS),
        proptest::sample::select(&PUBLICATIONS),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_lint_accepts_exactly_the_programs_whose_locks_are_sound(discipline in nearly_right()) {
        let sound = locks_are_sound(&discipline.allocate) && locks_are_sound(&discipline.deallocate);
        prop_assert_eq!(accepted(&discipline), sound, "{:?}", lint(&discipline));
    }

    #[test]
    fn switches_keep_every_step_and_change_nothing_the_second_time(
        discipline in nearly_right(),
        (order, publication) in switches(),
    ) {
        let switched = discipline.with(order, publication);
        prop_assert_eq!(switched.order(), order);
        prop_assert_eq!(switched.publication(), publication);
        prop_assert_eq!(&switched.with(order, publication), &switched);
        prop_assert_eq!(sorted(&switched.allocate), sorted(&discipline.allocate));
        prop_assert_eq!(sorted(&switched.deallocate), sorted(&discipline.deallocate));
        prop_assert!(!accepted(&discipline) || accepted(&switched), "{}\n{:?}", render(&switched), lint(&switched));
    }

    #[test]
    fn no_program_makes_lint_switches_or_drawing_panic(
        allocate in any_program(),
        deallocate in any_program(),
        (order, publication) in switches(),
    ) {
        let discipline =
            Discipline { name: "any".to_string(), origin: String::new(), semantics: None, allocate, deallocate, mesh: None, cells: Default::default(), programs: Default::default() };
        let switched = discipline.with(order, publication);
        prop_assert_eq!(sorted(&switched.deallocate), sorted(&discipline.deallocate));
        lint(&switched);
        render(&switched);
        if accepted(&discipline) {
            prop_assert!(locks_are_sound(&discipline.allocate) && locks_are_sound(&discipline.deallocate));
        }
    }
}
