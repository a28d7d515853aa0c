//! Every schedule: what one order of two actions does is found, and its twin is proved.

use super::programs::{Row, instrumented, instrumented_own, path, plain, rows, run};

fn exhausted(program: &str, options: &[&str]) -> super::programs::Ran {
    let mut all = vec!["--strategy", "exhaustive", "--no-shrink"];
    all.extend(options);
    run(&all, &[program])
}

fn twin(row: &Row) -> String {
    path(instrumented_own(), row.twin.as_deref().unwrap())
}

#[test]
fn each_planted_order_is_found_and_its_twin_is_proved() {
    for row in rows("exhaustive").iter().filter(|row| row.twin.is_some()) {
        let name = &row.name;
        let found = exhausted(&path(instrumented_own(), name), &[]);
        assert_eq!(found.kind(), row.fails.as_deref(), "{name}: {}", found.json);
        assert_eq!(found.code, 1, "{name}");
        let twin = exhausted(&twin(row), &[]);
        assert_eq!(twin.json["verdict"], "proved", "{name}: {}", twin.json);
        assert_eq!(twin.code, 0, "{name}");
    }
}

#[test]
fn as_many_schedules_are_run_as_differ() {
    // Nine sections of three threads: 9! / (3! 3! 3!) orders, and two of them a thread: 6!/8.
    for (program, traces) in [
        (path(instrumented_own(), "needle-fixed"), 1680),
        (path(instrumented(), "wronglock-3-fixed"), 24),
        (path(instrumented(), "account-fixed"), 6),
        (path(instrumented(), "deadlock-fixed"), 2),
    ] {
        let ran = exhausted(&program, &[]);
        assert_eq!(ran.json["verdict"], "proved", "{program}: {}", ran.json);
        assert_eq!(ran.json["exhaustive"]["traces"], traces, "{program}");
        assert_eq!(ran.json["exhaustive"]["estimate_left"], 0.0, "{program}");
    }
}

#[test]
fn what_was_not_run_to_its_end_is_no_proof() {
    let program = path(instrumented_own(), "needle-fixed");
    let ran = exhausted(&program, &["--schedules", "100"]);
    assert_eq!(ran.json["verdict"], "inconclusive", "{}", ran.json);
    assert_eq!(ran.code, 3);
    let left = ran.json["exhaustive"]["estimate_left"].as_f64().unwrap();
    assert!((100.0..20_000.0).contains(&left), "{left}");
}

#[test]
fn a_loop_that_only_looks_waits_until_another_thread_changes_what_it_looks_at() {
    // The flag is seen at the first look, or once it is set.
    let ran = exhausted(&path(instrumented_own(), "spin"), &[]);
    assert_eq!(ran.json["verdict"], "proved", "{}", ran.json);
    assert_eq!(ran.json["exhaustive"]["traces"], 2, "{}", ran.json);
    // Nobody ever sets it.
    let ran = exhausted(&path(instrumented_own(), "await-never"), &[]);
    assert_eq!(ran.kind(), Some("livelock"), "{}", ran.json);
    let summary = ran.json["failure"]["summary"].as_str().unwrap();
    assert!(summary.contains("waits in a loop"), "{summary}");
}

#[test]
fn a_loop_that_does_more_than_look_is_no_proof() {
    let ran = exhausted(&path(instrumented_own(), "await-counted"), &[]);
    assert_eq!(ran.json["verdict"], "inconclusive", "{}", ran.json);
    assert!(ran.json["note"].as_str().unwrap().contains("loop"));
}

#[test]
fn what_is_not_seen_is_no_proof() {
    // Built by the system's compiler: a lost update between two loads is not seen.
    let program = path(plain(), "account");
    let ran = exhausted(&program, &[]);
    assert_eq!(ran.json["verdict"], "inconclusive", "{}", ran.json);
    assert!(ran.json["note"].as_str().unwrap().contains("heisenbed cc"));
    // What every order of its calls shows is found all the same.
    let freed = exhausted(&path(plain(), "use-after-free"), &[]);
    assert_eq!(freed.kind(), Some("crash"), "{}", freed.json);
    let assumed = exhausted(&path(plain(), "abba-fixed"), &["--assume-locked"]);
    assert_eq!(assumed.json["verdict"], "proved", "{}", assumed.json);
}

#[test]
fn what_is_left_to_the_system_is_no_proof() {
    for name in ["threads", "descriptors", "child-fork"] {
        let ran = exhausted(&path(plain(), name), &["--schedules", "20"]);
        assert_eq!(ran.json["verdict"], "inconclusive", "{name}: {}", ran.json);
    }
}

#[test]
fn with_a_bound_all_schedules_with_so_few_preemptions_are_run() {
    let program = path(instrumented(), "circular-buffer");
    for (bound, verdict) in [
        ("0", "inconclusive"),
        ("1", "inconclusive"),
        ("2", "diverged"),
    ] {
        let ran = exhausted(&program, &["--preemptions", bound]);
        assert_eq!(ran.json["verdict"], verdict, "{bound}: {}", ran.json);
        if verdict == "inconclusive" {
            let note = ran.json["note"].as_str().unwrap();
            assert!(note.contains("at most"), "{note}");
            assert_eq!(ran.json["exhaustive"]["complete"], true, "{bound}");
        }
    }
}

#[test]
fn the_fewest_preemptions_are_proved_to_be() {
    for (name, fewest) in [
        ("circular-buffer", 2),
        ("wsq", 2),
        ("account", 1),
        ("carter", 1),
    ] {
        let program = path(instrumented(), name);
        let ran = run(&["--schedules", "2000"], &[&program]);
        assert_eq!(ran.json["preemptions"], fewest, "{name}: {}", ran.json);
        assert_eq!(ran.json["minimum"]["proved"], true, "{name}: {}", ran.json);
    }
}

#[test]
fn a_schedule_of_an_exhaustive_search_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("race.toml").display().to_string();
    let program = path(instrumented_own(), "order-tried");
    let found = run(&["--strategy", "exhaustive", "--save", &file], &[&program]);
    assert_eq!(found.kind(), Some("abort"), "{}", found.json);
    for command in ["replay", "shrink"] {
        let output = std::process::Command::new(super::programs::binary())
            .args([command, "-q", &file])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{command}: {text}");
    }
}

#[test]
fn a_search_gives_the_same_twice() {
    let program = path(instrumented(), "wsq-fixed");
    let options = ["--schedules", "300"];
    let (first, second) = (exhausted(&program, &options), exhausted(&program, &options));
    assert_eq!(first.json["exhaustive"], second.json["exhaustive"]);
    assert_eq!(first.json["steps"], second.json["steps"]);
}

#[test]
fn what_does_not_go_together_is_said() {
    let program = path(plain(), "abba");
    for options in [
        &["--strategy", "exhaustive", "--spurious"][..],
        &["--strategy", "exhaustive", "--pass-through"],
        &["--preemptions", "2"],
    ] {
        let ran = run(options, &[&program]);
        assert_eq!(ran.code, 2, "{options:?}");
        assert!(ran.json["error"].as_str().unwrap().contains("exhaustive"));
    }
}
