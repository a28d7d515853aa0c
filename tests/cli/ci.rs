//! What CI pages are told: JUnit of the schema of Jenkins, and GitHub's annotations, of every
//! command that gives a verdict.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::{heisenbed, record_diverged, run};

/// Puts the address back before the tracker hears of it.
const WRONG: &str = "name = \"wrong\"\n\n\
    allocate   = [\"alloc\", \"mark-live\", \"lock tracker\", \"send ALLOC\",\n\
    \"unlock tracker\", \"publish\"]\n\
    deallocate = [\"check-live\", \"free\", \"lock tracker\", \"send FREE\",\n\
    \"unlock tracker\", \"mark-dead\"]\n";

/// Where commands of the tests write, with files that they read.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("writable");
    write("wrong.toml", WRONG);
    write("race.toml", "");
    let at = |name: &str| folder.path().join(name).display().to_string();
    run(&format!(
        "explore --discipline unlocked --order free-first --quiet --save {} --force",
        at("race.toml")
    ));
    run(&format!(
        "stress --ops 50 --quiet --record {}",
        at("clean.hb")
    ));
    record_diverged(
        "--defect free-first-gap --ops 2000 --perturb",
        &folder.path().join("diverged.hb"),
    );
    folder
}

/// The number of cases of a report that is of the schema.
fn cases(report: &Path) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("python3")
        .arg(root.join("tests/scripts/junit_schema.py"))
        .arg(root.join("tests/scripts/junit-10.xsd"))
        .arg(report)
        .output()
        .expect("python3 runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {error}", report.display());
    let count = String::from_utf8_lossy(&output.stdout).trim().parse();
    count.expect("a number")
}

#[test]
fn every_command_with_a_verdict_writes_a_report_of_the_schema() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let report = folder.path().join("report.xml");
    let own_server = "conformance unix:/nowhere/at.all";
    for (words, code, least, bad) in [
        (format!("check {}", at("clean.hb")), 0, 1, None),
        (
            format!("check {}", at("diverged.hb")),
            1,
            1,
            Some("failure"),
        ),
        (format!("check {}", at("wrong.toml")), 2, 1, Some("error")),
        (
            format!("explore --discipline {}", at("wrong.toml")),
            1,
            1,
            Some("failure"),
        ),
        ("explore --discipline lifecycle-wide".to_owned(), 0, 1, None),
        (
            "explore --discipline unlocked --max-states 3".to_owned(),
            3,
            1,
            Some("error"),
        ),
        (
            format!(
                "matrix --workload own-buffers,handoff --discipline {}",
                at("wrong.toml")
            ),
            1,
            4,
            Some("failure"),
        ),
        (
            "corpus run defects/ --dir corpus/reproducers".to_owned(),
            0,
            10,
            None,
        ),
        (
            format!("diagnose {}", at("diverged.hb")),
            1,
            1,
            Some("failure"),
        ),
        (format!("diagnose {}", at("clean.hb")), 0, 1, None),
        (own_server.to_owned(), 2, 1, Some("error")),
        ("run --schedules 5 -- /bin/true".to_owned(), 0, 1, None),
        (
            "run --schedules 5 -- /bin/false".to_owned(),
            1,
            1,
            Some("failure"),
        ),
        ("run -- /nowhere/at.all".to_owned(), 2, 1, Some("error")),
    ] {
        // What stands behind `--` is the program's.
        let junit = format!("--format json --junit {} --quiet", report.display());
        let (before, behind) = words.split_once(" -- ").unwrap_or((&words, ""));
        let behind = if behind.is_empty() {
            String::new()
        } else {
            format!(" -- {behind}")
        };
        let output = run(&format!("{before} {junit}{behind}"));
        let came = output.status.code().expect("it ends by itself");
        let answer = String::from_utf8_lossy(&output.stdout);
        assert_eq!(came, code, "{words}: {answer}");
        let count = cases(&report);
        assert!(count >= least, "{words}: {count}");
        let text = fs::read_to_string(&report).expect("a report");
        let has =
            |tag: &str| text.contains(&format!("<{tag} ")) || text.contains(&format!("<{tag}>"));
        assert_eq!(has("failure"), bad == Some("failure"), "{words}: {text}");
        assert_eq!(has("error"), bad == Some("error"), "{words}: {text}");
        let named = text.split("<testcase name=\"").skip(1);
        let wrapped = |name: &str| name.contains('\n') || name.contains("&#");
        let mut names = named.filter_map(|rest| rest.split('"').next());
        assert!(!names.any(wrapped), "{words}: {text}");
    }
}

#[test]
fn a_report_replaces_reports_only_and_is_the_same_each_time() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let words = format!(
        "explore --discipline unlocked --order free-first --junit {}",
        at("report.xml")
    );
    run(&words);
    let first = fs::read(folder.path().join("report.xml")).expect("a report");
    let again = run(&words);
    assert_eq!(again.status.code(), Some(1));
    let second = fs::read_to_string(folder.path().join("report.xml")).expect("a report");
    assert_eq!(String::from_utf8(first).expect("text"), second);
    assert!(second.contains(", at most 46 a schedule\n"), "{second}");
    let refused = run(&format!("explore --junit {}", at("wrong.toml")));
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(
        fs::read_to_string(folder.path().join("wrong.toml")).expect("mine"),
        WRONG
    );
}

/// stdout with `--format github`, and the job's summary.
fn github(folder: &Path, words: &str) -> (String, String) {
    let summary = folder.join("summary.md");
    let arguments: Vec<&str> = words.split_whitespace().collect();
    let output = heisenbed(&arguments)
        .args(["--format", "github", "--quiet"])
        .env("GITHUB_STEP_SUMMARY", &summary)
        .output()
        .expect("the program starts");
    let text = fs::read_to_string(&summary).unwrap_or_default();
    let _ = fs::remove_file(&summary);
    (String::from_utf8(output.stdout).expect("text"), text)
}

#[test]
fn what_fails_is_annotated_at_its_line() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (said, summary) = github(
        folder.path(),
        &format!("explore --discipline {}", at("wrong.toml")),
    );
    let annotations: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("::error "))
        .collect();
    let [annotation] = annotations.as_slice() else {
        panic!("{said}");
    };
    let place = format!("::error file={},line=5,title=", at("wrong.toml"));
    assert!(
        annotation.starts_with(&place) && annotation.contains("%0A"),
        "{annotation}"
    );
    assert!(
        summary.contains("1 failed") && summary.contains("| **failed** |"),
        "{summary}"
    );
    let (said, summary) = github(folder.path(), "explore --discipline lifecycle-wide");
    assert!(!said.contains("::error"), "{said}");
    assert!(summary.contains("1 passed, 0 failed"), "{summary}");
    let (said, _) = github(
        folder.path(),
        "explore --discipline unlocked --max-states 3",
    );
    assert!(said.contains("::warning title="), "{said}");
}

#[test]
fn a_log_that_speaks_to_github_is_not_heard() {
    let folder = folder();
    let log = folder.path().join("evil.log");
    let text = "✓ [PID 1] Allocated 64 bytes of DRAM on device 0 (buffer_id=0x1000)\n\
        ::add-mask::x\n::set-output name=a::b\n\
        ✗ [PID 1] Freed buffer 0x1000 on device 0 (64 bytes, FINAL)\n\
        ⚠ [PID 1] Deallocation for unknown buffer 0x1000 on device 0 \
        (allocated before tracking started)\n";
    fs::write(&log, text).expect("writable");
    let (said, _) = github(folder.path(), &format!("diagnose {}", log.display()));
    let lines: Vec<&str> = said.lines().collect();
    let mark = lines[0]
        .strip_prefix("::stop-commands::")
        .expect("commands are stopped first");
    let on = format!("::{mark}::");
    let end = lines
        .iter()
        .position(|line| *line == on)
        .expect("and go on later");
    assert!(
        lines[1..end]
            .iter()
            .all(|line| !line.starts_with(&format!("::{mark}")))
    );
    let commands = &lines[end + 1..];
    assert!(!commands.is_empty(), "{said}");
    for command in commands {
        assert!(
            command.starts_with("::error file=") || command.starts_with("::warning file="),
            "{command}"
        );
    }
    // The line of the log that shows it.
    assert!(commands[0].contains(",line="), "{said}");
}

#[test]
fn a_failure_of_a_program_is_annotated_at_its_source_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("lock.c");
    let code = "#include <pthread.h>\n\
        static pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER, b = PTHREAD_MUTEX_INITIALIZER;\n\
        static void *one(void *x) {\n pthread_mutex_lock(&a);\n pthread_mutex_lock(&b);\n\
        pthread_mutex_unlock(&b);\n pthread_mutex_unlock(&a);\n return x; }\n\
        int main(void) {\n pthread_t t;\n pthread_create(&t, 0, one, 0);\n\
        pthread_mutex_lock(&b);\n pthread_mutex_lock(&a);\n pthread_mutex_unlock(&a);\n\
        pthread_mutex_unlock(&b);\n return pthread_join(t, 0); }\n";
    fs::write(&source, code).expect("writable");
    let program = folder.path().join("lock");
    let built = Command::new("gcc")
        .args(["-g", "-O0", "-pthread", "-o"])
        .arg(&program)
        .arg(&source)
        .status()
        .expect("gcc runs");
    assert!(built.success());
    let output = heisenbed(&["run", "--format", "github", "--quiet", "--"])
        .arg(&program)
        .current_dir(folder.path())
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let annotation = said
        .lines()
        .find(|line| line.starts_with("::error "))
        .expect("one");
    assert!(
        annotation.starts_with("::error file=lock.c,line="),
        "{annotation}"
    );
}

/// What `run` says to GitHub of a program that speaks to GitHub itself, on both of its streams.
fn passed_through(words: &[&str]) -> (Vec<String>, String) {
    let script = "echo ::error::mine; echo ::error::other >&2; printf ::end";
    let output = heisenbed(&["run", "--format", "github", "--quiet"])
        .args(words)
        .args(["--", "/bin/sh", "-c", script])
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}{error}");
    (said.lines().map(str::to_owned).collect(), error)
}

#[test]
fn a_program_that_speaks_to_github_is_not_heard() {
    let mut marks = Vec::new();
    for words in [
        ["--strategy", "observe"].as_slice(),
        &["--pass-through", "--schedules", "2"],
    ] {
        let (said, error) = passed_through(words);
        let mark = said[0]
            .strip_prefix("::stop-commands::")
            .expect("commands are stopped first");
        let on = format!("::{mark}::");
        let end = said.iter().position(|line| *line == on);
        let (before, behind) = said.split_at(end.expect("and go on later"));
        for line in ["::error::mine", "::error::other"] {
            assert!(before.iter().any(|one| one == line), "{line}: {said:?}");
            assert!(!behind.iter().any(|one| one.contains(line)), "{said:?}");
        }
        assert!(!error.lines().any(|line| line.starts_with("::")), "{error}");
        marks.push(mark.to_owned());
    }
    // A program that knew it could end it.
    assert_ne!(marks[0], marks[1]);
}

#[test]
fn a_target_that_fails_is_annotated_in_its_own_source() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = folder.path().join("free_list.cpp");
    fs::copy(root.join("examples/targets/free_list.cpp"), &source).expect("readable");
    let built = Command::new("g++")
        .args(["-std=c++17", "-g", "-O1", "-fPIC", "-shared", "-I"])
        .arg(root.join("include"))
        .arg(&source)
        .arg("-o")
        .arg(folder.path().join("free_list.so"))
        .status()
        .expect("g++ runs");
    assert!(built.success());
    let output = heisenbed(&["run", "--format", "github", "--quiet", "--no-shrink"])
        .args(["--target", "./free_list.so"])
        .current_dir(folder.path())
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let annotation = said.lines().find(|line| line.starts_with("::error "));
    assert!(
        annotation.is_some_and(|line| {
            line.starts_with("::error file=free_list.cpp,line=")
                && line.contains(",title=--target ./free_list.so::")
        }),
        "{said}"
    );
}
