//! Schedules of a target share a process, and its threads one of the system: what shows of that.

use super::{arena, built, lifecycle, with};

#[test]
fn what_a_target_leaves_behind_is_named_and_costs_a_process_each() {
    let found = with("run", arena(), "keeps-state", &["--schedules", "200"]);
    assert_eq!(found.json()["verdict"], "clean", "{}", found.json());
    assert!(
        found.stderr.contains("leaves something behind"),
        "{}",
        found.stderr
    );
}

/// The ends of a connection may be those of the schedule before: not where they would hide that.
#[test]
fn a_descriptor_that_outlives_its_connection_is_named() {
    let found = with("run", lifecycle(), "stale", &["--schedules", "20"]);
    assert_eq!(found.json()["verdict"], "clean", "{}", found.json());
    let said = &found.stderr;
    assert!(said.contains("leaves something behind"), "{said}");
}

#[test]
fn a_target_that_ends_the_process_in_between_has_failed() {
    let library = built("leaves", "leaves.c", &[]);
    let more = ["--ops", "8", "--schedules", "5", "--no-shrink"];
    let stays = with("run", &library, "", &more);
    assert_eq!(stays.json()["verdict"], "clean", "{}", stays.json());
    for how in ["leaves", "vanishes", "unseen"] {
        let leaves = with("run", &library, how, &more);
        assert_eq!(
            leaves.kind().as_deref(),
            Some("target-failed"),
            "{how}: {}",
            leaves.json()
        );
        assert_eq!(leaves.code, 1, "{how}");
    }
}

#[test]
fn processes_that_a_target_makes_do_not_outlive_it() {
    let library = built("leaves", "leaves.c", &[]);
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("who");
    let more = ["--schedules", "5"];
    with("run", &library, &file.display().to_string(), &more);
    let who = std::fs::read_to_string(&file).unwrap();
    assert!(who.lines().count() > 0);
    let is_ended = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || !stat.contains("heisenbed_drive") || stat.contains(") Z")
    };
    // Who was killed may take a moment to be gone.
    let gone = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        who.lines().all(is_ended)
    });
    assert!(gone, "{who}");
}

/// Locks, thread-local variables and names of threads are those of each thread, though one thread
/// of the system runs them all; what cannot be done so is done in another way, to the same end.
#[test]
fn threads_that_share_one_of_the_system_are_who_they_were() {
    let library = built("threads", "threads.cpp", &["-std=c++17"]);
    for options in ["", "thread", "signal", "sleep"] {
        let found = with("run", &library, options, &["--schedules", "60"]);
        assert_eq!(
            found.json()["verdict"],
            "clean",
            "{options}: {}",
            found.json()
        );
        if options.is_empty() || options == "signal" {
            let named = found.stderr.contains("leaves something behind");
            assert!(!named, "{options}: {}", found.stderr);
        }
    }
    for (options, kind) in [("abort", "abort"), ("segv", "crash")] {
        let found = with(
            "run",
            &library,
            options,
            &["--schedules", "60", "--no-shrink"],
        );
        assert_eq!(
            found.kind().as_deref(),
            Some(kind),
            "{options}: {}",
            found.json()
        );
    }
}

/// What libraries do once in a process is no part of a schedule: the next one has none of it.
#[test]
fn a_question_behind_the_workload_that_does_not_end_is_named() {
    let more = ["--scenario", "real-leak", "--timeout", "300ms"];
    let found = with("run", arena(), "endless-totals", &more);
    let json = found.json();
    assert_eq!(found.kind().as_deref(), Some("livelock"), "{json}");
    let summary = json["failure"]["summary"].as_str().unwrap();
    assert!(summary.contains("in the target's totals"), "{summary}");
    // What hangs in an operation is not said to.
    let found = with("run", arena(), "lost-wakeup", &["--ops", "4"]);
    let summary = found.json()["failure"]["summary"].to_string();
    assert!(!summary.contains("in the target's"), "{summary}");
}

#[test]
fn what_is_done_once_in_a_process_is_not_left_behind() {
    let library = built("threads", "threads.cpp", &["-std=c++17"]);
    let found = with("run", &library, "once", &["--schedules", "1100"]);
    assert_eq!(found.json()["verdict"], "clean", "{}", found.json());
    assert!(
        !found.stderr.contains("leaves something"),
        "{}",
        found.stderr
    );
}
