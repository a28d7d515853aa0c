//! Runs by real processes over shared memory, some of which are killed: what a kill leaves behind
//! is found, its repair is silent, what is recorded replays, and nobody is left.

use std::process::Stdio;
use std::time::{Duration, Instant};

use heisenbed::engine::controlled::replay::replay;
use heisenbed::oracle::{Report, Verdict, check_trace};
use heisenbed::scenario::Scenario;
use heisenbed::trace::file::TraceFile;
use heisenbed::zoo::{self, Defect, Engine};

use crate::common::{heisenbed, recorded, run, run_json};

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

#[test]
fn the_command_says_how_many_were_killed_and_refuses_a_kill_of_what_is_one_process() {
    let (found, code) = run_json("stress --defect counters-killed-midway --twin --runs 5");
    assert_eq!((code, &found["verdict"]), (0, &"clean".into()), "{found:#}");
    assert_eq!(
        (&found["processes"], &found["killed"]),
        (&2.into(), &5.into())
    );
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

/// Whatever happens to the controller, nobody is left.
#[test]
fn no_process_outlives_a_controller_that_is_killed() {
    let mut controller = heisenbed(&["stress", "--defect", "counters-killed-midway", "--runs"])
        .args(["1000000", "--quiet"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let list = format!("/proc/{0}/task/{0}/children", controller.id());
    let until = Instant::now() + Duration::from_secs(15);
    let mut known: Vec<String> = Vec::new();
    while known.is_empty() && Instant::now() < until {
        let listed = std::fs::read_to_string(&list).unwrap_or_default();
        known = listed.split_whitespace().map(str::to_owned).collect();
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
