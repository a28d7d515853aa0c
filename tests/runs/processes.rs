//! Runs by real processes over shared memory, some of which are killed: what a kill leaves behind
//! is found, its repair is silent, what is recorded replays, and nobody is left.

use std::process::Stdio;
use std::time::{Duration, Instant};

use heisenbed::engine::controlled::replay::replay;
use heisenbed::oracle::{Kind, Report, Verdict, check_trace};
use heisenbed::scenario::Scenario;
use heisenbed::trace::file::TraceFile;
use heisenbed::zoo::{self, Defect, Engine};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::{heisenbed, recorded, run, run_json};
use crate::shared_checks::{AFTER_A_KILL, ALONE, Case};

fn protocol(name: &str) -> &'static Defect {
    let mut all = zoo::protocols().iter();
    all.find(|protocol| protocol.name == name)
        .expect("it is there")
}

fn scenario(name: &str, defective: bool) -> Scenario {
    let scenario = Engine::Stress.scenario(protocol(name), defective, 0);
    scenario.unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn played(scenario: &Scenario, run: u64) -> (Report, TraceFile) {
    let (_, trace) = recorded(scenario, run);
    let report = check_trace(&trace, |_| ()).expect("the trace gets a verdict");
    (report, trace)
}

fn replayed(trace: &TraceFile) -> Report {
    let replayed = replay(trace, |_| ()).unwrap_or_else(|error| panic!("{error}"));
    replayed.report
}

/// The processes that this one has started and that are there, as the system counts them; none
/// where other tests run beside in this process, whose they may be.
fn children() -> String {
    if std::env::var_os("NEXTEST_EXECUTION_MODE").is_none_or(|mode| mode != "process-per-test") {
        return String::new();
    }
    let tasks = std::fs::read_dir("/proc/self/task").expect("the system has it");
    let of = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children"));
    tasks
        .filter_map(|task| of(task.ok()?).ok())
        .collect::<String>()
}

#[test]
fn a_kill_at_any_step_shows_what_was_reported_and_its_repair_is_silent() {
    for name in ["counters-killed-midway", "counters-killed-process"] {
        let (broken, repaired) = (scenario(name, true), scenario(name, false));
        let mut diverged = 0;
        for run in 0..15 {
            let (report, trace) = played(&broken, run);
            diverged += u64::from(report.verdict == Verdict::Diverged);
            let unexplained = protocol(name).unexplained(&report);
            assert!(unexplained.is_empty(), "{name} {run}: {report:?}");
            assert_eq!(replayed(&trace), report, "{name} {run}");
            let (report, trace) = played(&repaired, run);
            assert_eq!(report.verdict, Verdict::Clean, "{name} {run}: {report:?}");
            assert_eq!(replayed(&trace), report, "{name} {run}");
        }
        println!("{name}: {diverged} of 15 diverged");
        assert!(diverged > 0, "{name}");
    }
    assert_eq!(children(), "");
}

/// Where a process is killed while it holds a plain mutex, the others wait for ever: that is seen,
/// and they end all the same.
#[test]
fn a_mutex_of_a_killed_process_is_a_deadlock_and_a_robust_one_is_none() {
    let name = "mutex-of-a-killed-process";
    let broken = scenario(name, true);
    let found = (0..20)
        .map(|run| played(&broken, run).0)
        .find(|report| report.verdict == Verdict::Diverged)
        .expect("one of twenty kills strikes where the mutex is held");
    assert!(protocol(name).shows_in(&found), "{found:?}");
    let repaired = scenario(name, false);
    for run in 0..10 {
        let (report, _) = played(&repaired, run);
        assert_eq!(report.verdict, Verdict::Clean, "{run}: {report:?}");
    }
    assert_eq!(children(), "");
}

/// What a killed process had allocated is handed out again, as in the replay.
#[test]
fn the_system_takes_back_what_a_killed_process_had() {
    for run in 0..10 {
        let (report, trace) = played(&AFTER_A_KILL.scenario(), run);
        assert_eq!(report.verdict, Verdict::Clean, "{run}: {report:?}");
        assert_eq!(replayed(&trace), report, "{run}");
    }
}

/// Who takes a robust lock is told that its holder died, and only then.
#[test]
fn a_robust_lock_says_whether_its_holder_was_killed() {
    let mended = Case {
        script: &[&["run hold"], &["kill p1", "run mend"]],
        processes: 2,
        cells: &[
            ("held", "global atomic"),
            ("mended", "global atomic counts buffers"),
        ],
        programs: &[
            (
                "hold",
                "died = lock-robust global, store held 1, store held 0, unlock global",
            ),
            (
                "mend",
                "died = lock-robust global, if died == 1, store mended 1, end, unlock global",
            ),
        ],
        ..ALONE
    };
    let mut told = 0;
    for run in 0..20 {
        let (report, trace) = played(&mended.scenario(), run);
        // There is no buffer: it says that somebody was told.
        told += report.count(Kind::DriftedTotal);
        assert_eq!(replayed(&trace), report, "{run}");
    }
    assert!((1..20).contains(&told), "{told} of 20");
}

/// Counted by the controller too, for runs of which no trace is kept.
#[test]
fn a_double_free_and_a_lock_beyond_its_table_are_counted_without_a_trace() {
    let wrong = Case {
        script: &[
            &["allocate s0#1 4096 l1 d1", "release s0#1"],
            &["allocate s1#1 4096 l1 d0 releases=0"],
        ],
        processes: 2,
        deallocate: "free, free",
        allocate: "alloc, fetch-add held 1, publish",
        cells: &[("held", "global atomic")],
        ..ALONE
    };
    let locked = "lock lifecycle[1], alloc, fetch-add held 1, unlock lifecycle[1], publish";
    let beyond = Case {
        allocate: locked,
        deallocate: "free",
        ..wrong
    };
    for (case, kind, counts) in [
        (wrong, Kind::DoubleFree, (1, 0)),
        (beyond, Kind::LockOutOfBounds, (0, 1)),
    ] {
        let (result, trace) = recorded(&case.scenario(), 0);
        assert_eq!((result.double_frees, result.out_of_bounds), counts);
        let report = check_trace(&trace, |_| ()).expect("the trace gets a verdict");
        assert_eq!(report.count(kind), 1, "{report:?}");
    }
}

#[test]
fn the_command_says_how_many_were_killed_and_refuses_a_kill_of_what_is_one_process() {
    let (found, code) = run_json("stress --defect counters-killed-midway --twin --runs 5");
    assert_eq!((code, &found["verdict"]), (0, &"clean".into()), "{found:#}");
    assert_eq!(
        (&found["processes"], &found["killed"]),
        (&2.into(), &5.into())
    );
    // Where each is killed is drawn among its steps and its end.
    let midway = run_json("stress --defect counters-killed-midway --twin --runs 20").0;
    let midway = midway["killed_midway"].as_u64().expect("a number");
    assert!((1..20).contains(&midway), "{midway} of 20");
    let said = run("stress --defect counters-killed-midway --twin --runs 2");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.contains("2 real processes each over shared memory"),
        "{said}"
    );
    let refused = run("stress --defect counters-killed-process --debug-log");
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{error}");
    assert!(
        error.contains("kill p1") && error.contains("debug-log"),
        "{error}"
    );
}

/// Whatever ends a process that the run did not mean to end: that is no verdict about the program.
#[test]
fn a_process_that_somebody_else_ends_is_an_error_and_not_waited_for() {
    let mut controller = heisenbed(&["stress", "--defect", "counters-plain-users", "--twin"])
        .args(["--runs", "1000000", "--quiet"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let until = Instant::now() + Duration::from_secs(30);
    let mut ended = None;
    while ended.is_none() && Instant::now() < until {
        for child in children_of(controller.id()) {
            let pid = child.parse().ok().and_then(Pid::from_raw);
            // It may have ended since.
            let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
        }
        std::thread::sleep(Duration::from_millis(1));
        ended = controller.try_wait().expect("a child");
    }
    controller.kill().expect("it is ours");
    let output = controller.wait_with_output().expect("it has ended");
    let error = String::from_utf8_lossy(&output.stderr);
    let ended = ended.expect("it does not wait for a process that is gone");
    assert_eq!(ended.code(), Some(2), "{error}");
    assert!(error.contains("ended by signal 9"), "{error}");
}

/// The processes that a process has started, as the system lists them.
fn children_of(process: u32) -> Vec<String> {
    let list = format!("/proc/{process}/task/{process}/children");
    let listed = std::fs::read_to_string(list).unwrap_or_default();
    listed.split_whitespace().map(str::to_owned).collect()
}

/// Whatever happens to the controller, nobody is left.
#[test]
fn no_process_outlives_a_controller_that_is_killed() {
    let mut controller = heisenbed(&["stress", "--defect", "counters-killed-midway", "--runs"])
        .args(["1000000", "--quiet"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let until = Instant::now() + Duration::from_secs(15);
    let mut known: Vec<String> = Vec::new();
    while known.is_empty() && Instant::now() < until {
        known = children_of(controller.id());
    }
    assert!(!known.is_empty(), "it starts processes");
    controller.kill().expect("it runs");
    controller.wait().expect("it has ended");
    // A child may have been made after the list was read: it is of the same sort.
    let is_there = |pid: &String| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains("heisenbed") && !stat.contains(") Z ")
    };
    while known.iter().any(is_there) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!known.iter().any(is_there), "{known:?}");
}
