//! The defect zoo: every defect is found with the kinds that it must show and no others, and its
//! twin is silent.
//!
//! The measurement over 30 seeds, 10^6 schedules and 100 runs a twin is `heisenbed zoo bench`; its
//! table is in `docs/effectiveness.md`.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::common::{RUN_LIMIT, assert_silent, heisenbed, run, run_json};
use heisenbed::oracle::{Report, Verdict};
use heisenbed::zoo::trial::{Budget, Trial, run_trial};
use heisenbed::zoo::{self, Defect, Engine};
use rustix::process::{Pid, Signal, kill_process};

const REQUIRED: usize = 28;

fn look(engine: Engine, defect: &Defect, defective: bool, seed: u64, schedules: u64) -> Trial {
    let scenario = engine
        .scenario(defect, defective, seed)
        .expect("the scenario resolves");
    let budget = Budget {
        schedules,
        time: Duration::from_secs(60),
        workers: 1,
        interrupt: &AtomicBool::new(false),
    };
    let shows = |report: &Report| report.verdict != Verdict::Clean;
    run_trial(engine, scenario, &budget, &shows).expect(&defect.name)
}

fn controlled() -> impl Iterator<Item = Engine> {
    Engine::ALL.into_iter().filter(|engine| !engine.is_stress())
}

#[test]
fn every_defect_has_a_name_of_its_own_an_origin_and_something_to_show() {
    let names: BTreeSet<&str> = zoo::defects()
        .iter()
        .map(|defect| defect.name.as_str())
        .collect();
    assert_eq!(names.len(), zoo::defects().len());
    assert!(names.len() >= REQUIRED);
    for defect in zoo::defects() {
        assert!(defect.origin.len() > 20, "{}", defect.name);
        assert!(!defect.expected.is_empty(), "{}", defect.name);
        assert!(!defect.twin_words().is_empty(), "{}", defect.name);
        assert!(
            defect
                .also
                .iter()
                .all(|kind| !defect.expected.contains(kind)),
            "{}",
            defect.name
        );
    }
}

/// What an engine cannot find, for a reason: it takes PCT of depth 4, and the zoo's is of depth 3.
const BEYOND: [(Engine, &str); 1] = [(Engine::Pct, "unsynchronised-lazy-connect")];

#[test]
fn every_controlled_engine_finds_every_defect_as_what_it_is() {
    for defect in zoo::defects() {
        let able = |engine: &Engine| !BEYOND.contains(&(*engine, defect.name.as_str()));
        for engine in controlled().filter(able) {
            let trial = look(engine, defect, true, 0, 20_000);
            let report = trial
                .found
                .unwrap_or_else(|| panic!("{engine} did not find {}", defect.name));
            assert!(
                defect.shows_in(&report),
                "{} {engine}: {report:?}",
                defect.name
            );
            assert_eq!(defect.unexplained(&report), [], "{} {engine}", defect.name);
        }
    }
}

#[test]
fn no_schedule_of_a_twin_diverges() {
    for defect in zoo::defects() {
        let searched = look(Engine::Exhaustive, defect, false, 0, 1_000_000);
        assert!(searched.proved, "{}: {:?}", defect.name, searched.found);
        for engine in controlled().filter(|engine| *engine != Engine::Exhaustive) {
            let drawn = look(engine, defect, false, 1, 500);
            assert_eq!(drawn.schedules, 500, "{} {engine}", defect.name);
            assert!(drawn.found.is_none(), "{} {engine}", defect.name);
        }
    }
}

#[test]
fn real_threads_find_what_was_planted_in_a_few_runs_and_twins_are_silent() {
    for defect in zoo::defects() {
        let scenario = Engine::Stress
            .scenario(defect, true, 0)
            .expect("it resolves");
        let planted = scenario.planted;
        if planted.is_some() && Engine::Stress.can_run(&scenario) {
            let report = look(Engine::Stress, defect, true, 0, RUN_LIMIT).found;
            let report = report.unwrap_or_else(|| panic!("{} was not found", defect.name));
            assert!(defect.shows_in(&report), "{}: {report:?}", defect.name);
            assert_eq!(defect.unexplained(&report), [], "{}", defect.name);
        }
        let mut twin = Engine::Stress
            .scenario(defect, false, 0)
            .expect("it resolves");
        twin.ops = twin.ops.min(400);
        assert_silent(&twin, 1);
    }
}

#[test]
fn what_real_threads_cannot_make_they_refuse_to_run() {
    let output = run("stress --defect swept-by-pid-reuse");
    assert_eq!(output.status.code(), Some(2));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("use explore"), "{complaint}");
}

#[test]
fn a_planted_defect_stays_with_its_reproducer() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("found.toml");
    let path = file.display();
    let (found, code) = run_json(&format!("explore --defect free-to-device-0 --save {path}"));
    assert_eq!((code, found["verdict"].as_str()), (1, Some("diverged")));
    let text = std::fs::read_to_string(&file).expect("it was written");
    assert!(text.contains("planted = \"free-on-device-zero\""), "{text}");
    let (_, code) = run_json(&format!("replay {path}"));
    assert_eq!(code, 0);
    let (twin, code) = run_json("explore --defect free-to-device-0 --twin");
    assert_eq!((code, twin["verdict"].as_str()), (0, Some("proved")));
}

#[test]
fn a_defect_shows_under_an_imported_workload_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, trace) = (folder.path().join("a.csv"), folder.path().join("a.hb"));
    let rows = "Thread,Time,Action,Pointer,Size,Stream\n\
                1,10:00:00.000001,allocate,0x1000,4096,0\n\
                1,10:00:00.000002,free,0x1000,4096,0\n\
                2,10:00:00.000003,allocate,0x1000,4096,0\n\
                2,10:00:00.000004,free,0x1000,4096,0\n";
    std::fs::write(&log, rows).expect("it is written");
    let (log, trace) = (log.display(), trace.display());
    run_json(&format!("import rmm-log {log} -o {trace}"));
    let words = format!("explore --defect free-first-gap --workload import:{trace}");
    let (found, code) = run_json(&words);
    assert_eq!((code, found["verdict"].as_str()), (1, Some("diverged")));
    let (twin, code) = run_json(&format!("{words} --twin"));
    assert_eq!((code, twin["verdict"].as_str()), (0, Some("proved")));
}

#[test]
fn a_planted_defect_stays_with_its_trace() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("found.hb");
    let path = path.display();
    for defect in ["sizes-of-another-layout", "coalescing-off-by-one"] {
        let (found, code) = run_json(&format!("stress --defect {defect} --record {path}"));
        assert_eq!(code, 1, "{defect}");
        let (checked, code) = run_json(&format!("check {path}"));
        assert_eq!(code, 1, "{defect}");
        assert_eq!(found["divergences"], checked["divergences"], "{defect}");
    }
}

#[test]
fn canaries_are_found_within_their_budgets() {
    let canaries = zoo::canaries();
    assert!(canaries.len() >= 5);
    for canary in canaries {
        let budget = Budget {
            schedules: canary.schedules,
            time: Duration::from_secs(60),
            workers: 1,
            interrupt: &AtomicBool::new(false),
        };
        let shows = |report: &Report| canary.defect.shows_in(report);
        let trial = run_trial(canary.engine, canary.scenario, &budget, &shows).expect("it runs");
        assert!(
            trial
                .found
                .is_some_and(|report| canary.defect.shows_in(&report)),
            "{} by {}",
            canary.defect.name,
            canary.engine
        );
    }
}

#[test]
fn the_measurement_says_what_was_found_and_keeps_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("zoo.json");
    let words = format!(
        "zoo bench --defect free-first-gap --defect swept-by-pid-reuse --engine stress,random,exhaustive --seeds 3 --budget 2s \
         --twin-schedules 1000 --twin-runs 2 -o {}",
        file.display()
    );
    let (measured, code) = run_json(&words);
    assert_eq!(code, 0, "{measured}");
    let kept = std::fs::read_to_string(&file).expect("it was written");
    let kept: serde_json::Value = serde_json::from_str(&kept).expect("it is JSON");
    assert_eq!(kept["defects"], measured["defects"]);
    assert_eq!(measured["holds"], true);
    let (again, code) = run_json(&format!("zoo table {0} {0}", file.display()));
    assert_eq!((code, again), (0, measured.clone()));
    let random = &measured["defects"][0]["engines"][1];
    assert_eq!(
        (&random["engine"], &random["found"]),
        (&"random".into(), &3.into())
    );
    assert_eq!(measured["defects"][0]["reproducer"]["ops"], 3);
    assert_eq!(measured["defects"][0]["twin"]["false_alarms"], 0);
    assert_eq!(measured["defects"][1]["engines"][0]["runnable"], false);
}

#[test]
fn the_table_in_the_documentation_is_the_measured_one() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");
    let printed = run(&format!("zoo table --markdown {docs}/effectiveness.json")).stdout;
    let printed = String::from_utf8(printed).expect("it is text");
    let page = std::fs::read_to_string(format!("{docs}/effectiveness.md")).expect("it is there");
    assert!(
        page.contains(printed.trim_end()),
        "print it anew with `zoo table`"
    );
    for defect in zoo::defects() {
        assert!(printed.contains(&format!("| `{}` |", defect.name)));
    }
}

#[test]
fn a_measurement_that_is_interrupted_gives_what_it_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("zoo.json");
    // PCT does not find the second, and would look for a minute.
    let words = format!(
        "zoo bench --format json --defect unload-with-size-0,unsynchronised-lazy-connect --engine pct --budget 20s \
         --twin-schedules 0 --twin-runs 0 -o {}",
        file.display()
    );
    let mut child = heisenbed(&words.split(' ').collect::<Vec<_>>())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    while std::fs::metadata(&file).map_or(0, |data| data.len()) == 0 {
        assert!(child.try_wait().expect("it can be asked").is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    let measured: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(output.status.code(), Some(3), "{measured}");
    assert_eq!(measured["interrupted"], true);
    let told: Vec<_> = ["interrupted", "defect"]
        .iter()
        .flat_map(|key| [&measured["defects"][0][key], &measured["defects"][1][key]])
        .collect();
    let whole: [serde_json::Value; 4] = [
        false.into(),
        true.into(),
        "unload-with-size-0".into(),
        "unsynchronised-lazy-connect".into(),
    ];
    assert_eq!(told, whole.iter().collect::<Vec<_>>());
    assert_eq!(measured["defects"][0]["engines"][0]["found"], 30);
}

#[test]
fn an_unknown_defect_is_answered_with_the_known_ones() {
    for words in [
        "explore --defect nessie",
        "zoo show nessie",
        "zoo bench --defect nessie",
    ] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(2), "{words}");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(complaint.contains("free-first-gap"), "{words}: {complaint}");
    }
}

#[test]
fn one_defect_is_shown_with_its_twin() {
    let (shown, code) = run_json("zoo show counter-underflow");
    assert_eq!(code, 0);
    assert_eq!(shown["scenario"]["planted"], "unchecked-counters");
    assert!(shown["twin_scenario"].get("planted").is_none());
    let text = run("zoo show counter-underflow").stdout;
    assert!(String::from_utf8_lossy(&text).contains("explore --defect counter-underflow --twin"));
}
