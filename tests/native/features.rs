//! Programs that use every call that is modelled print what they print without heisenbed.

use std::process::Command;

use super::programs::{Row, binary, folder, path, plain, rows, run};

fn command(row: &Row) -> Vec<String> {
    let program = path(plain(), &row.name);
    match row.file.ends_with(".py") {
        true => vec![python(), program],
        false => vec![program],
    }
}

/// The interpreter itself: what PATH names may be a script that chooses one.
fn python() -> String {
    let output = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn programs_that_run_free_print_what_they_always_print() {
    for row in rows("feature") {
        let expected =
            std::fs::read_to_string(folder().join(row.output.as_ref().unwrap())).unwrap();
        for strategy in ["observe", "perturb"] {
            let output = Command::new(binary())
                .args(["run", "-q", "--strategy", strategy, "--"])
                .args(command(&row))
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert_eq!(text, expected, "{} {strategy}", row.name);
            assert_eq!(output.status.code(), Some(0), "{} {strategy}", row.name);
        }
    }
}

#[test]
fn programs_under_control_print_it_in_every_schedule() {
    for row in rows("feature") {
        let command = command(&row);
        let program: Vec<&str> = command.iter().map(String::as_str).collect();
        for strategy in ["random", "pos", "pct"] {
            let options = ["--strategy", strategy, "--schedules", "15", "--no-shrink"];
            let ran = run(&options, &program);
            // The programs check what they get, and exit with another status if it is not right.
            assert_eq!(ran.json["verdict"], "clean", "{}: {}", row.name, ran.json);
            assert!(ran.json["threads"].as_u64() > Some(1), "{}", row.name);
        }
    }
}

#[test]
fn programs_have_the_cores_that_they_have_without_heisenbed() {
    let alone = Command::new("nproc").output().unwrap();
    let cores = String::from_utf8(alone.stdout).unwrap().trim().to_owned();
    for strategy in ["observe", "perturb", "pos"] {
        let output = Command::new(binary())
            .args([
                "run",
                "-q",
                "--strategy",
                strategy,
                "--schedules",
                "2",
                "--",
            ])
            .arg(path(plain(), "threads"))
            .env("CORES", &cores)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{strategy}");
    }
    // What is not controlled runs on all of them.
    let output = Command::new(binary())
        .args(["run", "-q", "--strategy", "observe", "--", "grep"])
        .args(["Cpus_allowed_list", "/proc/self/status"])
        .output()
        .unwrap();
    let seen = String::from_utf8_lossy(&output.stdout);
    assert_eq!(seen.lines().next(), Some(&*allowed_cores()));
}

/// The cores of this process, as the system writes them in its line of a status.
fn allowed_cores() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mut lines = status.lines();
    let own = lines.find(|line| line.starts_with("Cpus_allowed_list:"));
    own.unwrap().to_owned()
}

/// `taskset` may have left out the first core: its threads share one of those that are left.
#[test]
fn threads_share_a_core_that_heisenbed_may_use() {
    let own = allowed_cores();
    let last = own.rsplit([',', '-', '\t']).next().unwrap();
    let output = Command::new("taskset")
        .args(["-c", last])
        .arg(binary())
        .args(["run", "-q", "--strategy", "pos", "--schedules", "1"])
        .args(["--pass-through", "--", "grep", "Cpus_allowed_list"])
        .arg("/proc/self/status")
        .output()
        .unwrap();
    let seen = String::from_utf8_lossy(&output.stdout);
    assert_eq!(seen.trim(), format!("Cpus_allowed_list:\t{last}"));
}

#[test]
fn scripts_foreign_and_missing_programs_are_refused_with_the_remedy() {
    let script = folder().join("build.sh");
    let here = script.display().to_string();
    for (program, word) in [
        (here.as_str(), "interpreter"),
        ("no-such-program-anywhere", "no such program"),
    ] {
        let ran = run(&[], &[program]);
        assert_eq!(ran.code, 2);
        let error = ran.json["error"].as_str().unwrap();
        assert!(error.contains(word), "{error}");
    }
}
