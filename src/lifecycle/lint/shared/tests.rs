//! A test a rule, each with its line; and what is sound.

use crate::lifecycle::{Discipline, Severity, lint};

fn with_cells(allocate: &str, deallocate: &str, cells: &str) -> Vec<String> {
    let text = format!(
        "name = \"own\"\nallocate = [\n{}\n]\ndeallocate = [\n{}\n]\n[cells]\n{cells}",
        steps_by_line(allocate),
        steps_by_line(deallocate)
    );
    let parsed = Discipline::from_toml("own.toml", &text).expect("it parses");
    let found = lint(&parsed).into_iter();
    let errors = found.filter(|finding| finding.severity == Severity::Error);
    errors.map(|finding| finding.located("own.toml")).collect()
}

/// A step a line.
fn steps_by_line(steps: &str) -> String {
    let steps: Vec<String> = steps
        .split("; ")
        .map(|step| format!("\"{step}\","))
        .collect();
    steps.join("\n")
}

const CELLS: &str = "total = \"global atomic\"\nmine = \"global plain\"\n\
                     pid = \"global[2] atomic\"\nmap = \"global ledger\"";

/// An allocate, the line that is named, and what is said of it.
const MISTAKES: [(&str, u32, &str); 20] = [
    (
        "alloc; mark-live; publish; fetch-add totl size",
        6,
        "`totl` is not declared",
    ),
    (
        "alloc; mark-live; fetch-add mine size; publish",
        5,
        "mine is a plain word",
    ),
    (
        "alloc; mark-live; x = load map; publish",
        5,
        "map is a ledger, and no cell",
    ),
    (
        "alloc; mark-live; insert total; publish",
        5,
        "total is a cell, and no ledger",
    ),
    (
        "insert map; alloc; mark-live; publish",
        3,
        "there is no address before `alloc`",
    ),
    (
        "alloc; mark-live; x = load pid; publish",
        5,
        "pid is a table of 2",
    ),
    (
        "alloc; mark-live; x = load total[1]; publish",
        5,
        "total is no table",
    ),
    (
        "alloc; mark-live; store total x; publish",
        5,
        "`x` was not set before",
    ),
    (
        "alloc; mark-live; publish; if size > 0; store total 1",
        6,
        "no `end` follows",
    ),
    ("alloc; mark-live; publish; end", 6, "no block is open here"),
    ("alloc; mark-live; publish; else", 6, "no `if` is open here"),
    (
        "alloc; mark-live; publish; break",
        6,
        "it stands in no loop",
    ),
    (
        "alloc; mark-live; publish; if size > 0; end",
        7,
        "nothing stands in the block",
    ),
    (
        "mark-live; publish; if size > 0; alloc; end",
        6,
        "it is done once",
    ),
    (
        "alloc; mark-live; publish; retry 4; store total 1; end",
        6,
        "nothing in it ends it",
    ),
    (
        "alloc; mark-live; publish; if size > 0; lock global; end; store total 1",
        8,
        "two ways to this step hold different locks",
    ),
    (
        "alloc; mark-live; publish; unlock-shared global",
        6,
        "does not hold it",
    ),
    (
        "alloc; mark-live; publish; wait global",
        6,
        "does not hold it",
    ),
    (
        "alloc; mark-live; publish; lock-shared allocator",
        6,
        "more than a mutex",
    ),
    (
        "lock global; alloc; mark-live; publish",
        3,
        "still held at the end",
    ),
];

#[test]
fn each_mistake_with_cells_and_branches_is_named_with_its_line() {
    const DEALLOCATE: &str = "claim; free; mark-dead";
    for (allocate, line, message) in MISTAKES {
        let errors = with_cells(allocate, DEALLOCATE, CELLS);
        let place = format!("own.toml:{line}:");
        assert!(
            errors
                .iter()
                .any(|error| error.starts_with(&place) && error.contains(message)),
            "{allocate}: {errors:#?}"
        );
    }
}

#[test]
fn what_is_sound_with_cells_and_branches_is_accepted() {
    for allocate in [
        "x = load total; retry 4; won = cas total x -> x + size; if won == 1; break; end; end; \
         alloc; mark-live; publish",
        "alloc; mark-live; got = try-lock tracker; if got == 1; insert map; unlock tracker; end; \
         publish",
        "alloc; mark-live; got = try-lock tracker; if got == 0; lock tracker; end; insert map; \
         unlock tracker; publish",
        "lock global; retry 4; x = load total; if x < 9; break; end; wait global; end; \
         unlock global; alloc; mark-live; publish",
        "x = load total; if x > 9; return; else; store total 1; end; alloc; mark-live; publish",
        "alloc; mark-live; repeat 3; lock global; add mine 1; unlock global; end; publish",
    ] {
        let errors = with_cells(allocate, "claim; free; mark-dead", CELLS);
        assert_eq!(errors, [""; 0], "{allocate}");
    }
}
