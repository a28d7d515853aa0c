//! What is drawn for one thread, and for two, beside the workload.

use std::path::PathBuf;

use super::{arena, built, heisenbed, instrumented, left, with};

fn talks() -> PathBuf {
    built("talks", "talks.c", &[])
}

#[test]
fn a_target_that_prints_or_reads_has_nothing_of_what_the_driver_says() {
    for what in ["", "prints", "reads"] {
        for command in ["run", "stress"] {
            let more = match command {
                "run" => ["--schedules", "20"],
                _ => ["--ops", "50"],
            };
            let found = with(command, &talks(), what, &more);
            let json = found.json();
            assert_eq!(json["verdict"], "clean", "{command} {what}: {json}");
            let survey = &json["target"]["survey"];
            assert_eq!(survey["programs"], 10_000, "{command} {what}: {json}");
            assert_eq!(survey["note"], serde_json::Value::Null, "{json}");
        }
    }
}

#[test]
fn a_target_that_ends_the_process_at_the_first_question_is_said_to() {
    for (what, status) in [("ends", "status 0"), ("ends-badly", "status 7")] {
        let said = with("run", &talks(), what, &[]);
        let text = said.stdout + &said.stderr;
        assert_eq!(said.code, 2, "{text}");
        assert!(
            text.contains(&format!("ended the process with {status}")),
            "{text}"
        );
    }
}

/// What two threads have there, with one buffer each, never comes to it.
#[test]
fn a_data_race_of_many_buffers_is_found_by_what_is_drawn_for_two_threads() {
    let out = instrumented(&talks(), "talks.c");
    // What it loads and stores is seen, and nothing else need be assumed for a proof.
    let all = ["--strategy", "exhaustive", "--threads", "2", "--ops", "2"];
    let proved = with("run", &out, "", &all);
    assert_eq!(proved.json()["verdict"], "proved", "{}", proved.json());
    assert_eq!(
        proved.json()["exhaustive"]["unseen"],
        serde_json::Value::Null
    );
    let found = with("run", &out, "counts", &["--schedules", "50", "--no-shrink"]);
    assert_eq!(
        found.kind().as_deref(),
        Some("data-race"),
        "{}",
        found.json()
    );
    let summary = found.json()["failure"]["summary"].to_string();
    assert!(summary.contains("times"), "{summary}");
    let clean = with("run", &out, "", &["--schedules", "50"]);
    assert_eq!(clean.json()["verdict"], "clean", "{}", clean.json());
}

#[test]
fn a_target_that_crashes_at_the_first_question_is_shown_where_it_does() {
    for command in ["run", "stress"] {
        let found = with(command, arena(), "crash-at-once", &[]);
        let json = found.json();
        assert_eq!(found.code, 1, "{command}: {json}");
        assert_eq!(found.kind().as_deref(), Some("crash"), "{command}: {json}");
        assert!(left(&json) <= 2, "{command}: {json}");
        // No run shows what it does where it was only asked.
        let asked = with(command, arena(), "crash-preallocated", &[]);
        assert_eq!(asked.code, 2, "{command}: {}", asked.stdout);
        assert!(
            asked.stderr.contains("asked what it can do") && asked.stderr.contains("SIGSEGV"),
            "{command}: {}",
            asked.stderr
        );
    }
    let words = heisenbed(&[
        "run",
        "--target",
        &arena().display().to_string(),
        "--target-options",
        "crash-at-once",
    ]);
    assert!(
        words.stdout.contains("arena_deallocate (arena.c:"),
        "{}",
        words.stdout
    );
}

#[test]
fn headers_and_rests_that_are_too_small_to_keep_are_no_holes() {
    for policy in ["best-fit", "first-fit", "top-down"] {
        let declared = format!("-DARENA_POLICY=\"{policy}\"");
        for beside in ["-DARENA_HEADER=64", "-DARENA_REST=128"] {
            let name = format!("{policy}{beside}");
            let library = built(&name, "arena.c", &[beside, &declared]);
            let tight = ["--profile", "custom:1x65536", "--ops", "100"];
            for (command, more) in [
                ("run", &["--ops", "20"][..]),
                ("stress", &["--ops", "200"]),
                ("stress", &tight),
            ] {
                let clean = with(command, &library, "", more);
                let json = clean.json();
                assert_eq!(json["verdict"], "clean", "{name} {command}: {json}");
            }
            let found = with("run", &library, "worst-fit", &[]);
            let kind = found.kind();
            assert_eq!(
                kind.as_deref(),
                Some("misplaced"),
                "{name}: {}",
                found.json()
            );
        }
    }
}

#[test]
fn an_allocator_that_cuts_more_coarsely_than_it_must_is_not_accused() {
    for policy in ["best-fit", "first-fit", "top-down"] {
        let declared = format!("-DARENA_POLICY=\"{policy}\"");
        let name = format!("coarse-{policy}");
        let library = built(&name, "arena.c", &["-DARENA_GRAIN=256", &declared]);
        for command in ["run", "stress"] {
            let clean = with(command, &library, "", &["--ops", "200"]);
            assert_eq!(
                clean.json()["verdict"],
                "clean",
                "{policy}: {}",
                clean.json()
            );
        }
        let wrong = match policy {
            "best-fit" => "worst-fit",
            "first-fit" => "last-fit",
            _ => "first-fit",
        };
        let found = with("stress", &library, wrong, &["--ops", "200"]);
        let kind = found.kind();
        assert_eq!(
            kind.as_deref(),
            Some("misplaced"),
            "{policy}: {}",
            found.json()
        );
    }
}
