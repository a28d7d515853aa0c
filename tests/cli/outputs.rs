//! What commands write: nothing of the user's is replaced by something else, nothing that was to be
//! written is lost without a word, and nothing that was read moves a terminal's cursor.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;

use crate::common::{heisenbed, run, run_json};

const MINE: &str = "name = \"mine\"\n";
const RACE: &str = "explore --discipline unlocked --order free-first --quiet";

fn code(words: &str) -> Option<i32> {
    run(words).status.code()
}

/// Each command with an option for a file that it writes.
fn writers(folder: &Path) -> Vec<String> {
    let at = |name: &str| folder.join(name).display().to_string();
    run(&format!("{RACE} --save {}", at("race.toml")));
    run(&format!(
        "stress --ops 50 --quiet --record {}",
        at("run.hb")
    ));
    fs::write(
        folder.join("rmm.csv"),
        "Thread,Time,Action,Pointer,Size,Stream\n1,10:00:00.000001,allocate,0x10,16,0\n\
         1,10:00:00.000002,free,0x10,16,0\n",
    )
    .expect("writable");
    vec![
        format!("{RACE} --save"),
        "stress --ops 50 --quiet --record".to_owned(),
        "stress --ops 4 --threads 1 --debug-log --quiet --debug-log-file".to_owned(),
        format!("shrink {} --quiet -o", at("race.toml")),
        format!("import rmm-log {} --quiet -o", at("rmm.csv")),
        "zoo bench --defect unload-with-size-0 --engine pct --seeds 1 --twin-runs 0 --twin-schedules 0 --quiet -o"
            .to_owned(),
    ]
}

#[test]
fn a_file_of_another_kind_is_replaced_only_by_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let mine = folder.path().join("my-fix.toml");
    for writer in writers(folder.path()) {
        fs::write(&mine, MINE).expect("writable");
        let words = format!("{writer} {}", mine.display());
        let refused = run(&words);
        assert_eq!(refused.status.code(), Some(2), "{words}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            said.contains("my-fix.toml") && said.contains("--force"),
            "{said}"
        );
        assert_eq!(fs::read_to_string(&mine).expect("it is there"), MINE);
        let forced = run(&format!("{words} --force"));
        assert_ne!(forced.status.code(), Some(2), "{words} --force");
        assert_ne!(fs::read(&mine).expect("it is there"), MINE.as_bytes());
        // More of its kind is no loss that needs a word.
        assert_ne!(code(&words), Some(2), "{words}, once more");
    }
}

#[test]
fn what_is_read_is_not_replaced_by_what_comes_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("race.toml").display().to_string();
    run(&format!("{RACE} --save {file}"));
    let before = fs::read(&file).expect("it is there");
    assert_eq!(code(&format!("shrink {file} -o {file} --quiet")), Some(2));
    assert_eq!(fs::read(&file).expect("it is there"), before);
    let other = folder.path().join("smaller.toml").display().to_string();
    assert_eq!(code(&format!("shrink {file} -o {other} --quiet")), Some(0));
}

#[test]
fn a_recording_that_fails_leaves_what_was_recorded_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("run.hb").display().to_string();
    let words = format!("stress --ops 50 --quiet --record {file}");
    assert_eq!(code(&words), Some(0));
    let before = fs::read(&file).expect("it is there");
    assert_eq!(code(&format!("{words} --server unix:/no/server")), Some(2));
    assert!(fs::read(&file).expect("it is there") == before);
    assert_eq!(code(&words), Some(0), "a run replaces a run");
    let files = fs::read_dir(folder.path()).expect("a folder");
    assert_eq!(files.count(), 1, "and what was there before is gone then");
}

#[test]
fn what_a_proxy_recorded_is_replaced_only_by_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let _server = UnixListener::bind(at("up.sock")).expect("a socket");
    let record = at("run.hb");
    let words = format!(
        "proxy --listen {} --upstream {} --record {record}",
        at("l.sock"),
        at("up.sock")
    );
    let proxied = |more: &str| {
        let words = format!("{words} {more}");
        let mut child = heisenbed(&words.split_whitespace().collect::<Vec<_>>())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut said = String::new();
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        stderr.read_line(&mut said).expect("text");
        if said.starts_with("listening") {
            let id = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it runs");
        }
        stderr.read_to_string(&mut said).expect("text");
        (child.wait().expect("it ends").code(), said)
    };
    fs::write(&record, "").expect("writable");
    assert_eq!(proxied("").0, Some(0), "an empty file is no loss");
    let first = fs::read(&record).expect("it is there");
    assert!(!first.is_empty());
    let (code, said) = proxied("");
    assert_eq!(code, Some(2));
    assert!(
        said.contains("run.hb") && said.contains("--force"),
        "{said}"
    );
    assert!(fs::read(&record).expect("it is there") == first);
    assert_eq!(proxied("--force").0, Some(0));
    assert_ne!(
        fs::read(&record).expect("it is there"),
        first,
        "its time is another"
    );

    let second = fs::read(&record).expect("it is there");
    fs::remove_file(at("up.sock")).expect("it is there");
    assert_eq!(proxied("--force").0, Some(2), "no server");
    assert!(fs::read(&record).expect("it is there") == second);
}

#[test]
fn the_matrix_replaces_reproducers_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let words = format!(
        "matrix --quiet --discipline unlocked --order free-first --publish late --workload own-buffers --semantics typed --save {}",
        folder.path().display()
    );
    assert_eq!(code(&words), Some(1));
    let files: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
    let path = files[0].as_ref().expect("a file").path();
    assert_eq!(code(&words), Some(1), "once more");
    fs::write(&path, MINE).expect("writable");
    assert_eq!(code(&words), Some(2));
    assert_eq!(fs::read_to_string(&path).expect("it is there"), MINE);
}

#[test]
fn a_folder_with_files_of_the_user_s_is_no_campaign_s() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["summary.md", "lock"] {
        let mine = folder.path().join(name);
        fs::write(&mine, MINE).expect("writable");
        let words = format!(
            "campaign run --units 0 --corpus none --quiet --out {}",
            folder.path().display()
        );
        assert_eq!(code(&words), Some(2), "{name}");
        assert_eq!(fs::read_to_string(&mine).expect("it is there"), MINE);
        fs::remove_file(&mine).expect("it is there");
    }
}

#[test]
fn output_that_cannot_be_written_is_no_success() {
    for words in ["explore --quiet", "scenarios", "--help", "--version"] {
        let arguments: Vec<&str> = words.split(' ').collect();
        let full = File::options()
            .write(true)
            .open("/dev/full")
            .expect("Linux");
        let status = heisenbed(&arguments)
            .stdout(full)
            .stderr(Stdio::null())
            .status()
            .expect("it starts");
        assert_eq!(status.code(), Some(2), "{words} > /dev/full");
        let program = env!("CARGO_BIN_EXE_heisenbed");
        let closed = std::process::Command::new("sh")
            .args(["-c", &format!("{program} {words} >&- 2>/dev/null")])
            .status()
            .expect("a shell");
        assert_eq!(closed.code(), Some(2), "{words} >&-");
    }
    let arguments: Vec<&str> = "explore --quiet".split(' ').collect();
    let status = heisenbed(&arguments).stdout(Stdio::null()).status();
    assert_eq!(status.expect("it starts").code(), Some(0), "> /dev/null");
    assert_eq!(code(&format!("{RACE} --save /dev/full")), Some(2));
    for path in ["/dev/full", "/no/such/folder/run.hb", ""] {
        let output = heisenbed(&["stress", "--ops", "10", "--record", path])
            .output()
            .expect("the program starts");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{path}: {complaint}");
        let names = if path.is_empty() { "is empty" } else { path };
        assert!(complaint.contains(names), "{path}: {complaint}");
    }
}

#[test]
fn what_is_written_to_a_closed_stdout_is_no_success() {
    let folder = tempfile::tempdir().expect("a folder");
    let race = folder.path().join("race.toml").display().to_string();
    assert_eq!(code(&format!("{RACE} --save {race}")), Some(1));
    let socket = folder.path().join("socket").display().to_string();
    for words in [
        format!("export jsonl {race} -o -"),
        format!("serve --socket {socket} --log-style legacy"),
    ] {
        let program = env!("CARGO_BIN_EXE_heisenbed");
        let closed = std::process::Command::new("timeout")
            .args([
                "10",
                "sh",
                "-c",
                &format!("exec {program} {words} >&- 2>/dev/null"),
            ])
            .status()
            .expect("a shell");
        assert_eq!(closed.code(), Some(2), "{words} >&-");
    }
}

#[test]
fn nothing_is_left_where_nothing_could_be_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let inside = folder.path().join("no-folder/race.toml");
    assert_eq!(
        code(&format!("{RACE} --save {}", inside.display())),
        Some(2)
    );
    let file = folder.path().join("race.toml");
    assert_eq!(code(&format!("{RACE} --save {}", file.display())), Some(1));
    let names: Vec<_> = fs::read_dir(folder.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, ["race.toml"], "no file beside it stays");
}

#[test]
fn what_is_behind_the_end_of_a_trace_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("run.hb").display().to_string();
    run(&format!("stress --ops 50 --quiet --record {file}"));
    let silent = run(&format!("check {file} --quiet"));
    assert!(silent.stderr.is_empty());
    let mut bytes = fs::read(&file).expect("it is there");
    let once = bytes.len();
    bytes.extend_from_within(1..);
    fs::write(&file, bytes).expect("writable");
    for command in ["check", "replay", "diagnose"] {
        let output = run(&format!("{command} {file} --quiet"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("behind the end of the trace"),
            "{command}: {said}"
        );
    }
    let (checked, _) = run_json(&format!("check {file}"));
    assert_eq!(checked["trailing_bytes"], once - 1);
}

#[test]
fn a_trace_behind_a_trace_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let [clean, diverged, both] = ["clean.hb", "diverged.hb", "both.hb"]
        .map(|name| folder.path().join(name).display().to_string());
    run(&format!("stress --ops 50 --quiet --record {clean}"));
    run(&format!(
        "stress --defect free-to-device-0 --quiet --record {diverged}"
    ));
    let bytes = [&clean, &diverged].map(|file| fs::read(file).expect("it is there"));
    fs::write(&both, bytes.concat()).expect("writable");
    for command in ["check", "replay", "diagnose", "shrink"] {
        let (answer, code) = run_json(&format!("{command} {both}"));
        let error = answer["error"].as_str().unwrap_or_default();
        let at = format!("another trace begins at byte {}", bytes[0].len());
        assert!(code == 2 && error.contains(&at), "{command}: {answer}");
    }
}

#[test]
fn what_can_be_read_only_once_is_refused_in_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).expect("a pipe");
    let output = folder.path().join("out.hb").display().to_string();
    let places = [
        (folder.path().display().to_string(), "a folder"),
        (
            pipe.display().to_string(),
            "a pipe, which cannot be read twice",
        ),
        (
            "/dev/zero".to_owned(),
            "a device, which cannot be read twice",
        ),
    ];
    for (place, why) in &places {
        for command in ["check", "diagnose", "replay", "shrink"] {
            let (answer, code) = run_json(&format!("{command} {place}"));
            let error = answer["error"].as_str().unwrap_or_default();
            assert!(code == 2 && error.contains(why), "{command}: {answer}");
        }
    }
    let (answer, code) = run_json(&format!("import csv /dev/zero -o {output}"));
    let error = answer["error"].as_str().unwrap_or_default();
    assert!(code == 2 && error.contains(places[2].1), "{answer}");
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("server.log");
    let text = "✓ [PID 7] Allocated 64 bytes of L1 on device 0 (buffer_id=0x10)\n\
                \u{1b}]0;title\u{7}\u{1b}[2Jnot understood \u{9b}1m\u{202e}\n";
    fs::write(&log, text).expect("writable");
    let hostile = |character: char| {
        (character.is_control() && character != '\n' && character != '\t')
            || character == '\u{202e}'
    };
    for words in ["import server-log", "diagnose"] {
        for format in ["human", "json"] {
            let output = run(&format!("{words} {} --format {format}", log.display()));
            for bytes in [output.stdout, output.stderr] {
                let said = String::from_utf8(bytes).expect("text");
                assert!(!said.contains(hostile), "{words}: {said:?}");
            }
        }
    }
    let output = run("explore --scenario a\u{1b}[2Jb");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(!said.contains(hostile), "{said:?}");
}

#[test]
fn usage_errors_are_json_where_json_was_asked_for() {
    for words in [
        "explore --nonsense",
        "stress --ops none",
        "nonsense",
        "explore --max-states -1",
        "matrix --ops 0",
        "diagnose --calibrate --runs 0",
    ] {
        let (found, code) = run_json(words);
        assert_eq!(code, 2, "{words}");
        assert!(found["error"].as_str().is_some_and(|text| !text.is_empty()));
    }
}

#[test]
fn options_that_have_no_effect_are_said() {
    for (words, option) in [
        ("explore --schedules 5", "--schedules"),
        ("explore --depth 2", "--depth"),
        ("explore --perturb", "--perturb"),
        (
            "explore --strategy random --schedules 5 --depth 2",
            "--depth",
        ),
        (
            "explore --strategy random --schedules 5 --max-states 5",
            "--max-states",
        ),
        (
            "explore --strategy urw --schedules 5 --all-kinds",
            "--all-kinds",
        ),
        (
            "explore --strategy pct --schedules 5 --preemptions 1",
            "--preemptions",
        ),
        (
            "stress --ops 10 --debug-log-file /dev/null",
            "--debug-log-file",
        ),
    ] {
        let output = run(&format!("{words} --quiet"));
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(
            said.contains(&format!("note: {option} has no effect")),
            "{words}: {said}"
        );
    }
    let output = run("explore --strategy pct --schedules 5 --depth 2 --workers 2 --quiet");
    assert!(output.stderr.is_empty());
}

#[test]
fn a_reproducer_says_which_defect_it_comes_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("race.toml");
    run(&format!(
        "explore --defect double-release --quiet --save {}",
        file.display()
    ));
    let text = fs::read_to_string(&file).expect("it was written");
    assert!(
        text.contains("from = \"explore --defect double-release\""),
        "{text}"
    );
}

#[test]
fn who_reads_and_is_interrupted_concludes_nothing_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = folder.path().join("rows.csv");
    // It takes seconds to read.
    let life = "alloc,0x1000,64\nfree,0x1000,64\n".repeat(1 << 20);
    fs::write(&rows, format!("op,address,size\n{life}")).expect("writable");
    let (path, out) = (rows.display(), folder.path().join("out.hb"));
    for words in [
        format!("import csv {path} -o {}", out.display()),
        format!("diagnose {path}"),
        format!("report {path} -o {}", out.display()),
    ] {
        let arguments: Vec<&str> = words.split(' ').collect();
        let child = heisenbed(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        std::thread::sleep(std::time::Duration::from_millis(150));
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(3), "{words}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("nothing is concluded"), "{words}: {said}");
        let left = fs::read_dir(folder.path()).expect("readable").flatten();
        let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["rows.csv"], "{words}");
    }
}
