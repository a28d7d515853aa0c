//! Strategies that learn find what they are for; what they draw depends on nothing but the seed:
//! not on how many work, and not on whether the search was left and taken up again.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::programs::{binary, instrumented, path, run};

const ALL: [&str; 8] = ["random", "pos", "pct", "surw", "rff", "few", "rare", "mix"];

/// What must not differ.
fn drawn(json: &Value) -> [Value; 6] {
    [
        "failure",
        "failures",
        "schedules",
        "steps",
        "threads",
        "accesses",
    ]
    .map(|key| json[key].clone())
}

#[test]
fn each_strategy_finds_what_it_is_for_and_accuses_no_twin() {
    for (strategy, name, schedules) in [
        // An order of two accesses that any of many threads hides.
        ("rff", "reorder-20", "200"),
        ("rff", "twostage-50", "200"),
        // One preemption, while another thread runs to its end.
        ("few", "bluetooth", "400"),
        ("few", "twostage-20", "400"),
        // A rare order of many steps on few objects.
        ("surw", "wsq-interlocked", "400"),
        ("surw", "quicksort", "200"),
        ("mix", "reorder-100", "400"),
        ("mix", "bluetooth", "400"),
        ("mix", "wsq-interlocked", "600"),
        ("mix", "bounded-buffer", "400"),
    ] {
        let options = ["--strategy", strategy, "--no-shrink", "--schedules"];
        let with = |number| [&options[..], &[number]].concat();
        let found = run(&with(schedules), &[&path(instrumented(), name)]);
        assert_eq!(found.code, 1, "{strategy} {name}: {}", found.json);
        let twin = run(
            &with("100"),
            &[&path(instrumented(), &format!("{name}-fixed"))],
        );
        assert_eq!(twin.json["verdict"], "clean", "{name}: {}", twin.json);
    }
}

#[test]
fn what_needs_seven_preemptions_is_found_from_rare_situations_on_and_not_without() {
    for (strategy, schedules, code) in [("mix", "12000", 1), ("pos", "3000", 0)] {
        let options = [
            "--strategy",
            strategy,
            "--no-shrink",
            "--data-races",
            "ignore",
        ];
        let with = |number| [&options[..], &["--schedules", number]].concat();
        let found = run(&with(schedules), &[&path(instrumented(), "safestack")]);
        assert_eq!(found.code, code, "{strategy}: {}", found.json);
        let twin = run(&with("600"), &[&path(instrumented(), "safestack-fixed")]);
        assert_eq!(twin.json["verdict"], "clean", "{}", twin.json);
    }
}

#[test]
fn who_spins_does_not_starve_who_holds_the_lock() {
    for strategy in ALL {
        let options = ["--strategy", strategy, "--no-shrink", "--schedules", "150"];
        let twin = run(&options, &[&path(instrumented(), "spinlock-fixed")]);
        assert_eq!(twin.json["verdict"], "clean", "{strategy}: {}", twin.json);
        let options = ["--strategy", strategy, "--no-shrink", "--schedules", "400"];
        let found = run(&options, &[&path(instrumented(), "spinlock")]);
        assert_eq!(found.kind(), Some("abort"), "{strategy}: {}", found.json);
    }
}

#[test]
fn what_sampling_alone_misses_is_missed_by_it() {
    // Else the test above would show nothing.
    let options = ["--strategy", "pos", "--no-shrink", "--schedules", "400"];
    let found = run(&options, &[&path(instrumented(), "reorder-100")]);
    // Its data races are seen, and no more than they.
    assert_eq!(found.kind(), Some("data-race"), "{}", found.json);
}

#[test]
fn the_same_seed_draws_the_same_and_another_draws_another() {
    for strategy in ALL {
        let drawn_by = |seed: &str| {
            let options = ["--strategy", strategy, "--seed", seed, "--keep-going"];
            let options = [&options[..], &["--no-shrink", "--schedules", "150"]].concat();
            drawn(&run(&options, &[&path(instrumented(), "wsq")]).json)
        };
        assert_eq!(drawn_by("3"), drawn_by("3"), "{strategy}");
        assert_ne!(drawn_by("3"), drawn_by("4"), "{strategy}");
    }
}

#[test]
fn the_number_of_workers_changes_nothing() {
    for (strategy, name) in [("mix", "wsq"), ("rff", "reorder-10"), ("rare", "wsq")] {
        for keep_going in [&["--keep-going"][..], &[]] {
            let by = |workers: &str| {
                let options = ["--strategy", strategy, "--workers", workers, "--no-shrink"];
                let options = [&options[..], &["--schedules", "200"], keep_going].concat();
                drawn(&run(&options, &[&path(instrumented(), name)]).json)
            };
            let one = by("1");
            for workers in ["2", "5"] {
                assert_eq!(by(workers), one, "{strategy} {name} {workers}");
            }
        }
    }
}

#[test]
fn workers_shrink_to_the_same() {
    let file = |workers: &str| {
        let home = tempfile::tempdir().unwrap();
        let save = home.path().join("a.toml");
        let options = ["--workers", workers, "--save", save.to_str().unwrap()];
        let found = run(&options, &[&path(instrumented(), "account")]);
        assert_eq!(found.json["repeats"], true, "{}", found.json);
        std::fs::read_to_string(save).unwrap()
    };
    assert_eq!(file("1"), file("3"));
}

#[test]
fn a_search_that_was_killed_goes_on_as_if_it_had_not_been() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state.json");
    let program = path(instrumented(), "bounded-buffer");
    let options = ["--keep-going", "--no-shrink", "--schedules", "6000"];
    let whole = run(&options, &[&program]);
    let kept = [&options[..], &["--state", state.to_str().unwrap()]].concat();
    let mut kills = 0;
    for _ in 0..3 {
        let written = || state.metadata().and_then(|about| about.modified()).ok();
        let before = written();
        let mut child = Command::new(binary())
            .args(["run", "-q"])
            .args(&kept)
            .args(["--", &program])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while written() == before && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(20));
        }
        // A little further than what was written.
        std::thread::sleep(Duration::from_millis(70));
        kills += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(kills > 0, "it was over before it could be killed");
    let resumed = run(&kept, &[&program]);
    assert_eq!(drawn(&resumed.json), drawn(&whole.json));
    // It is over: nothing is drawn again.
    let again = run(&kept, &[&program]);
    assert_eq!(drawn(&again.json), drawn(&whole.json));
}

#[test]
fn a_failure_that_was_kept_is_shown_again_and_more_schedules_go_on() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state.json");
    let state = state.to_str().unwrap();
    let program = path(instrumented(), "reorder-20");
    let with = |schedules: &str| {
        run(
            &[
                "--state",
                state,
                "--data-races",
                "ignore",
                "--no-shrink",
                "--schedules",
                schedules,
            ],
            &[&program],
        )
    };
    assert_eq!(with("1").json["verdict"], "clean");
    let found = with("400");
    assert_eq!(found.code, 1, "{}", found.json);
    assert_eq!(drawn(&with("400").json), drawn(&found.json));
    let options = [
        "--data-races",
        "ignore",
        "--no-shrink",
        "--schedules",
        "400",
    ];
    let at_once = run(&options, &[&program]);
    assert_eq!(drawn(&at_once.json), drawn(&found.json));
}

#[test]
fn a_file_that_keeps_another_search_or_none_is_named() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state.json");
    let name = state.to_str().unwrap();
    let program = path(instrumented(), "account-fixed");
    let refused = |options: &[&str]| {
        let output = Command::new(binary())
            .args(["run", "-q", "--schedules", "3", "--state", name])
            .args(options)
            .args(["--", &program])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    run(&["--schedules", "3", "--state", name], &[&program]);
    let said = refused(&["--seed", "9"]);
    assert!(said.contains("seed 1 there, 9 here"), "{said}");
    let whole = std::fs::read_to_string(&state).unwrap();
    for cut in (0..whole.len() - 2).step_by(37) {
        std::fs::write(&state, &whole[..cut]).unwrap();
        let said = refused(&[]);
        assert!(said.contains("state.json"), "{cut}: {said}");
    }
}
