//! Planted failures are found and named; their correct twins are not accused.

use super::programs::{Row, instrumented, path, plain, rows, run};

#[test]
fn each_planted_failure_is_named_and_its_twin_is_not_accused() {
    for row in &rows("planted") {
        let built = if row.instrumented {
            instrumented()
        } else {
            plain()
        };
        let options = ["--schedules", "300", "--no-shrink"];
        let found = run(&options, &[&path(built, &row.name)]);
        assert_eq!(found.kind(), row.fails.as_deref(), "{}", row.name);
        assert_eq!(found.code, 1, "{}", row.name);
        let twin = run(&options, &[&path(built, twin(row))]);
        assert_eq!(twin.kind(), None, "{}: {}", row.name, twin.json);
        assert_eq!(twin.json["verdict"], "clean", "{}", row.name);
        assert_eq!(twin.json["schedules"], 300);
    }
}

#[test]
fn a_failing_lock_order_is_shown_with_source_lines_and_names() {
    let output = std::process::Command::new(super::programs::binary())
        .args(["run", "-q", "--", &path(plain(), "abba")])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("deadlock:"), "{text}");
    assert!(text.contains("abba.c:"), "{text}");
    assert!(text.contains("holds, taken at"), "{text}");
    assert!(text.contains("with 1 preemption"), "{text}");
}

#[test]
fn what_loads_and_stores_do_is_found_in_programs_built_by_cc() {
    // Nothing but plain accesses: without them there is nothing to schedule.
    for (name, kind) in [
        ("account", "abort"),
        ("reorder-3", "abort"),
        ("stack", "abort"),
        ("wsq", "abort"),
        ("stringbuffer", "abort"),
    ] {
        let found = run(
            &["--schedules", "2000", "--no-shrink"],
            &[&path(instrumented(), name)],
        );
        assert_eq!(found.kind(), Some(kind), "{name}: {}", found.json);
        assert!(found.json["accesses"].as_u64() > Some(0), "{name}");
        let twin = run(
            &["--schedules", "200", "--no-shrink"],
            &[&path(instrumented(), &format!("{name}-fixed"))],
        );
        assert_eq!(twin.kind(), None, "{name}: {}", twin.json);
    }
}

#[test]
fn every_strategy_finds_a_lost_update() {
    for strategy in ["random", "pos", "pct", "surw", "rff", "few", "rare", "mix"] {
        let program = path(instrumented(), "account");
        let options = ["--strategy", strategy, "--schedules", "2000", "--no-shrink"];
        let found = run(&options, &[&program]);
        assert_eq!(found.kind(), Some("abort"), "{strategy}: {}", found.json);
    }
}

#[test]
fn the_same_seed_finds_the_same_schedule() {
    let program = path(instrumented(), "wronglock");
    let options = ["--seed", "7", "--schedules", "500", "--no-shrink"];
    let (first, second) = (run(&options, &[&program]), run(&options, &[&program]));
    for key in ["failure", "schedules", "steps", "preemptions"] {
        assert_eq!(first.json[key], second.json[key], "{key}");
    }
}

fn twin(row: &Row) -> &str {
    row.twin.as_deref().unwrap()
}

#[test]
fn a_deadlock_over_descriptors_of_its_own_is_known_without_waiting() {
    // Somebody outside would have had a minute in each schedule.
    for (name, preemptions) in [("pipe-answer", 2), ("pair-answer", 1), ("socket-answer", 1)] {
        let found = run(&["--timeout", "60s"], &[&path(plain(), name)]);
        let summary = found.json["failure"]["summary"].as_str();
        assert!(
            summary.is_some_and(|summary| summary.contains("nobody can go on")),
            "{name}: {}",
            found.json
        );
        assert_eq!(found.json["preemptions"], preemptions, "{name}");
    }
}
