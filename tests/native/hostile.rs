//! Programs that crash, hang, fork, and write where they must not: each ends in time, with a word
//! that is right, and leaves nothing behind.

use std::time::{Duration, Instant};

use super::programs::{Ran, path, plain, rows, run};

/// What `run` says of each: the verdict, the kind of failure, and what its note has in it.
const EXPECTED: [(&str, &str, &str, &str); 31] = [
    ("crash-", "diverged", "crash", ""),
    ("exit-locked-signal", "diverged", "crash", ""),
    ("exit-locked-", "diverged", "exit-status", ""),
    (
        "spin-waits",
        "inconclusive",
        "",
        "did nothing that heisenbed sees",
    ),
    ("spin-", "diverged", "livelock", ""),
    ("fork-bomb", "clean", "", ""),
    ("exhaust-memory", "clean", "", ""),
    ("close-", "clean", "", ""),
    ("never-starts", "clean", "", ""),
    ("signals", "clean", "", ""),
    ("stack-overflow", "diverged", "crash", ""),
    ("many-threads", "clean", "", ""),
    ("preload-", "clean", "", ""),
    ("scribble", "inconclusive", "", "wrote over"),
    ("change-uid", "clean", "", ""),
    ("exec-self", "clean", "", ""),
    ("child-", "clean", "", ""),
    ("inline-futex", "inconclusive", "", "does not see"),
    ("plain", "clean", "", ""),
    ("static", "", "", "linked statically"),
    ("openmp", "inconclusive", "", "does not see"),
    ("lose-page", "inconclusive", "", "took away the memory"),
    ("kill-group", "diverged", "crash", ""),
    ("kill-parent", "", "", "the fork server"),
    ("stop-itself", "inconclusive", "", "a signal stopped it"),
    ("traced", "clean", "", ""),
    ("handler-pipe", "clean", "", ""),
    ("limit-memory", "clean", "", ""),
    (
        "limit-threads",
        "inconclusive",
        "",
        "would not make a thread",
    ),
    ("threads-", "clean", "", ""),
    ("receive-timeout", "clean", "", ""),
];

#[test]
fn hostile_programs_end_in_time_with_a_word_that_is_right() {
    // Built before the time is taken.
    let built = plain();
    for row in rows("hostile") {
        let started = Instant::now();
        let ran = ran_in_time(&path(built, &row.name));
        let (_, verdict, kind, note) = EXPECTED
            .iter()
            .find(|(name, ..)| row.name.starts_with(name))
            .unwrap_or_else(|| panic!("{} is in no row", row.name));
        let name = &row.name;
        // On a machine that is busy throughout, that is the right word.
        if name.starts_with("spin-") && hardly_ran(&ran) {
            assert_eq!(ran.code, 3, "{name}: {}", ran.json);
            assert!(left_of(name).is_empty(), "{name}: {:?}", left_of(name));
            continue;
        }
        assert_eq!(
            ran.json["verdict"].as_str().unwrap_or(""),
            *verdict,
            "{name}: {}",
            ran.json
        );
        assert_eq!(ran.kind().unwrap_or(""), *kind, "{name}: {}", ran.json);
        let said = format!("{}{}", ran.json["note"], ran.json["error"]);
        assert!(said.contains(note), "{name}: {}", ran.json);
        let code = match *verdict {
            "clean" => 0,
            "diverged" => 1,
            "inconclusive" => 3,
            _ => 2,
        };
        assert_eq!(ran.code, code, "{name}");
        // A livelock by steps takes as long as so many steps take.
        assert!(started.elapsed() < Duration::from_secs(120), "{name}");
        assert!(left_of(name).is_empty(), "{name}: {:?}", left_of(name));
    }
}

#[test]
fn a_limit_of_the_address_space_is_the_programs_own() {
    let ran = try_run(&path(plain(), "limit-memory"), "10s");
    assert_eq!(ran.json["threads"], 3, "{}", ran.json);
    assert_eq!(ran.json["refused_threads"], 0, "{}", ran.json);
}

/// With a longer time where the machine had none for it.
fn ran_in_time(program: &str) -> Ran {
    for timeout in ["1s", "4s"] {
        let ran = try_run(program, timeout);
        if !hardly_ran(&ran) {
            return ran;
        }
    }
    try_run(program, "15s")
}

fn hardly_ran(ran: &Ran) -> bool {
    let note = ran.json["note"].to_string();
    note.contains("hardly had the processor")
}

fn try_run(program: &str, timeout: &str) -> Ran {
    let options = ["--schedules", "2", "--timeout", timeout, "--no-shrink"];
    run(&options, &[program])
}

/// Processes of this program that are still there.
fn left_of(name: &str) -> Vec<String> {
    let program = path(plain(), name);
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path().join("exe")).ok())
        .filter(|exe| exe.as_os_str() == program.as_str())
        .map(|exe| exe.display().to_string())
        .collect()
}
