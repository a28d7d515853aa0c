//! Defaults from `heisenbed.toml`, what `--verbose` says of them, completions, manual pages, and
//! `--watch`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::heisenbed;

const WRONG: &str = "name = \"mine\"\n\
    allocate   = [\"alloc\", \"mark-live\", \"lock tracker\", \"send ALLOC\",\n\
    \"unlock tracker\", \"publish\"]\n\
    deallocate = [\"check-live\", \"free\", \"lock tracker\", \"send FREE\",\n\
    \"unlock tracker\", \"mark-dead\"]\n";
const RIGHT: &str = "name = \"mine\"\n\
    allocate   = [\"alloc\", \"mark-live\", \"lock tracker\", \"send ALLOC\",\n\
    \"unlock tracker\", \"publish\"]\n\
    deallocate = [\"check-live\", \"lock tracker\", \"send FREE\",\n\
    \"unlock tracker\", \"free\", \"mark-dead\"]\n";

fn tree(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(folder.path().join("deep/er")).expect("writable");
    fs::create_dir(folder.path().join(".git")).expect("writable");
    fs::write(folder.path().join("heisenbed.toml"), config).expect("writable");
    folder
}

fn in_folder(folder: &Path, words: &str) -> Command {
    let arguments: Vec<&str> = words.split_whitespace().collect();
    let mut command = heisenbed(&arguments);
    command.current_dir(folder);
    command
}

fn output(folder: &Path, words: &str) -> Output {
    in_folder(folder, words)
        .output()
        .expect("the program starts")
}

fn json(folder: &Path, words: &str) -> Value {
    let output = output(folder, &format!("{words} --format json --quiet"));
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{words}: {text}{error}"))
}

#[test]
fn defaults_come_from_the_tree_and_what_is_given_wins() {
    let tree = tree(
        "seed = 11\n\n[explore]\nstrategy = \"random\"\nschedules = 7\nthreads = 3\n\
         as-is = false\n\n\
         [corpus]\ndir = \"mine\"\n",
    );
    for folder in [tree.path().to_owned(), tree.path().join("deep/er")] {
        let found = json(&folder, "explore");
        assert_eq!(
            (&found["threads"], &found["schedules"]),
            (&3.into(), &7.into()),
            "{found}"
        );
        assert_eq!(
            (&found["seed"], &found["strategy"]),
            (&11.into(), &"random".into()),
            "{found}"
        );
        let found = json(&folder, "explore --threads 2 --seed 5 --schedules=9");
        assert_eq!(
            (&found["threads"], &found["schedules"]),
            (&2.into(), &9.into()),
            "{found}"
        );
        assert_eq!(found["seed"], 5);
    }
    // A table of another command says nothing here, and one of this says something to its own.
    let refused = output(tree.path(), "corpus run");
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("mine"), "{text}");
    // Behind the program's name nothing is put.
    let run = output(
        tree.path(),
        "run --schedules 2 --format json -- /bin/echo --seed=3",
    );
    let text = String::from_utf8_lossy(&run.stdout);
    let found: Value = serde_json::from_str(&text).expect("an object");
    assert_eq!(
        (&found["schedules"], &found["seed"]),
        (&2.into(), &11.into())
    );
}

#[test]
fn verbose_says_where_each_value_comes_from() {
    let tree = tree("seed = 11\n[explore]\nthreads = 3\n\nschedules = 4\n");
    let said = output(
        tree.path(),
        "explore --strategy random --threads 2 --verbose --quiet",
    );
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    for line in [
        "threads = 2 (given)",
        "strategy = random (given)",
        "heisenbed.toml:5)",
        "seed = 11 (",
        "heisenbed.toml:1)",
        "(default)",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains("heisenbed.toml:3)"), "{text}");
    assert!(!text.contains("ScenarioArgs"), "{text}");
}

#[test]
fn verbose_says_each_option_once() {
    let tree = tree("seed = 11\n");
    for words in [
        "explore --strategy random --verbose",
        "corpus --verbose list",
    ] {
        let said = output(tree.path(), words);
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        let names: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_once(" = "))
            .map(|(name, _)| name)
            .collect();
        for name in ["seed", "format", "quiet", "verbose"] {
            let times = names.iter().filter(|one| **one == name).count();
            assert_eq!(times, 1, "{words}: {name}: {text}");
        }
    }
}

#[test]
fn what_is_no_default_is_refused_with_its_line_and_a_remedy() {
    for (config, words, said) in [
        (
            "\nthread-count = 3\n",
            "explore",
            "heisenbed.toml:2: `thread-count` is no option of every command",
        ),
        (
            "[explore]\n\nthread-count = 3\n",
            "explore",
            "heisenbed.toml:3: `thread-count` is no option",
        ),
        (
            "[explore]\nthread = 3\n",
            "matrix",
            "did you mean `threads`?",
        ),
        (
            "[explroe]\n",
            "explore",
            "heisenbed.toml:1: `explroe` is no command",
        ),
        (
            "[explore]\nas-is = 3\n",
            "explore",
            "heisenbed.toml:2: `as-is` is true or false",
        ),
        (
            "[explore]\nthreads = [1, 2]\n",
            "explore",
            "heisenbed.toml:2: `threads` takes one",
        ),
        (
            "[explore]\nthreads = true\n",
            "explore",
            "heisenbed.toml:2: `threads` takes a number",
        ),
        (
            "[explore]\nthreads = \"many\"\n",
            "explore",
            "this comes of the defaults in",
        ),
        (
            "[explore]\nwatch = 1\n",
            "scenarios list",
            "heisenbed.toml:2: `watch` is true or false",
        ),
        ("[explore\n", "explore", "heisenbed.toml: "),
        ("[explore]\nhelp = true\n", "explore", "`help` is no option"),
    ] {
        let tree = tree(config);
        let refused = output(tree.path(), words);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{config}: {text}");
        assert!(text.contains(said), "{config}: {text}");
        // Help is given all the same.
        let help = output(tree.path(), "explore --help");
        assert_eq!(help.status.code(), Some(0), "{config}");
    }
}

#[test]
fn a_repository_that_was_begun_has_a_gate_that_turns_green_and_red() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    fs::write(root.join("heisenbed.toml"), "# mine\n").expect("writable");
    let begun = output(root, "init");
    let text = String::from_utf8_lossy(&begun.stdout).into_owned();
    assert_eq!(begun.status.code(), Some(0), "{text}");
    assert!(text.contains("kept   heisenbed.toml"), "{text}");
    assert_eq!(
        fs::read_to_string(root.join("heisenbed.toml")).expect("mine"),
        "# mine\n"
    );
    fs::remove_file(root.join("heisenbed.toml")).expect("it is there");
    assert_eq!(
        json(root, "init")["written"].as_array().map(Vec::len),
        Some(1)
    );
    assert_eq!(
        json(root, "init")["kept"].as_array().map(Vec::len),
        Some(10)
    );
    // The whole takes some seconds with a program that is not optimised.
    let config = fs::read_to_string(root.join("heisenbed.toml")).expect("it is there");
    let (before, rest) = config.split_once("    \"handoff\",\n").expect("the list");
    let (_, behind) = rest.split_once(']').expect("its end");
    fs::write(root.join("heisenbed.toml"), format!("{before}]{behind}")).expect("writable");
    let gate = || {
        let output = Command::new("heisenbed/gate.sh")
            .current_dir(root)
            .env("HEISENBED", env!("CARGO_BIN_EXE_heisenbed"))
            .env("HEISENBED_SCHEDULES", "200")
            .output()
            .expect("it starts");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let (code, said) = gate();
    assert_eq!(code, Some(0), "{said}");
    // As a bug would have it: the address goes first.
    let protocol = root.join("heisenbed/protocol.toml");
    let right = fs::read_to_string(&protocol).expect("it is there");
    fs::write(&protocol, WRONG).expect("writable");
    let (code, said) = gate();
    assert_eq!(code, Some(1), "{said}");
    fs::write(&protocol, &right).expect("writable");
    let race = "explore --discipline unlocked --order free-first --quiet --save race.toml";
    assert_eq!(output(root, race).status.code(), Some(1));
    let added = output(root, "corpus add race.toml --about shown");
    assert_eq!(added.status.code(), Some(0));
    assert!(root.join("heisenbed/corpus/race.toml").exists());
    fs::write(root.join("heisenbed/programs"), "# mine\n/bin/true\n").expect("writable");
    assert_eq!(gate().0, Some(0));
    fs::write(root.join("heisenbed/programs"), "/bin/true\n/bin/false\n").expect("writable");
    let (code, said) = gate();
    assert_eq!(code, Some(1), "{said}");
    assert!(root.join("heisenbed/reports/run-2.xml").exists());
    let kept = output(root, "replay heisenbed/reports/run-2.toml");
    assert_eq!(kept.status.code(), Some(0), "it fails again as it is kept");
    // A last line without an end, lines as Windows writes them, words in quotes.
    for (list, expected) in [
        ("/bin/true\n/bin/false", 1),
        ("/bin/true\r\n\r\n/bin/false\r\n", 1),
        ("/usr/bin/test 'a  b' = \"a  b\"", 0),
        ("/usr/bin/test 'a  b' = \"a b\"", 1),
        ("./no-such-program\n/bin/false", 2),
        ("/bin/true 'without an end", 2),
    ] {
        fs::write(root.join("heisenbed/programs"), list).expect("writable");
        let (code, said) = gate();
        assert_eq!(code, Some(expected), "{list:?}: {said}");
    }
    assert!(
        !root.join("heisenbed/reports/run-2.xml").exists(),
        "of a list that was longer"
    );
}

#[test]
fn completions_and_manual_pages_name_every_command() {
    let folder = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = output(folder.path(), &format!("completions {shell}"));
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert_eq!(said.status.code(), Some(0));
        for word in ["explore", "export", "conformance", "junit"] {
            assert!(text.contains(word), "{shell} lacks {word}");
        }
    }
    let bash = output(folder.path(), "completions bash").stdout;
    let script = folder.path().join("heisenbed.bash");
    fs::write(&script, bash).expect("writable");
    let shown = Command::new("bash")
        .args([
            "-c",
            ". ./heisenbed.bash; COMP_WORDS=(heisenbed exp); COMP_CWORD=1; \
            _heisenbed heisenbed exp heisenbed; echo ${COMPREPLY[*]}",
        ])
        .current_dir(folder.path())
        .output()
        .expect("bash runs");
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        text.contains("explore") && text.contains("export"),
        "{text}"
    );
    let page = output(folder.path(), "man explore");
    let text = String::from_utf8_lossy(&page.stdout).into_owned();
    assert!(
        text.contains(".TH heisenbed-explore 1") && text.contains("watch"),
        "{text}"
    );
    let all = output(folder.path(), "man --dir pages");
    assert_eq!(all.status.code(), Some(0));
    let pages = fs::read_dir(folder.path().join("pages"))
        .expect("a folder")
        .count();
    assert!(pages > 30, "{pages}");
    assert!(folder.path().join("pages/heisenbed-corpus-run.1").exists());
    // More of its kind replaces them; what is not theirs stays.
    assert_eq!(
        output(folder.path(), "man --dir pages").status.code(),
        Some(0)
    );
    fs::write(folder.path().join("pages/heisenbed.1"), "mine").expect("writable");
    assert_eq!(
        output(folder.path(), "man --dir pages").status.code(),
        Some(2)
    );
    assert_eq!(output(folder.path(), "man nothing").status.code(), Some(2));
}

#[test]
fn a_watched_discipline_is_explored_again_at_each_save_until_ctrl_c() {
    let tree = tree("");
    let file = tree.path().join("mine.toml");
    fs::write(&file, WRONG).expect("writable");
    let mut child = in_folder(
        tree.path(),
        "explore --discipline mine.toml --watch --format json --quiet",
    )
    .stdin(Stdio::null())
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .expect("the program starts");
    let mut answers = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut verdict = || {
        let line = answers.next().expect("an answer").expect("text");
        let answer: Value = serde_json::from_str(&line).expect("an object");
        answer["verdict"].as_str().map(str::to_owned)
    };
    assert_eq!(verdict().as_deref(), Some("diverged"));
    std::thread::sleep(Duration::from_millis(300));
    // As an editor does it: beside, then renamed.
    let beside = tree.path().join("mine.toml.tmp");
    fs::write(&beside, RIGHT).expect("writable");
    fs::rename(&beside, &file).expect("renamed");
    assert_eq!(verdict().as_deref(), Some("proved"));
    std::thread::sleep(Duration::from_millis(300));
    // In place: emptied first, which is not what was saved.
    fs::write(&file, "").expect("writable");
    std::thread::sleep(Duration::from_millis(500));
    fs::write(&file, WRONG).expect("writable");
    assert_eq!(verdict().as_deref(), Some("diverged"));
    std::thread::sleep(Duration::from_millis(300));
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT).expect("it runs");
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(1), "the last verdict");
    let nothing = output(tree.path(), "explore --watch");
    assert_eq!(nothing.status.code(), Some(2));
}

#[test]
fn paths_of_the_file_are_told_from_its_folder() {
    let tree = tree(
        "[explore]\ndiscipline = \"mine/wrong.toml\"\nsave = \"race.toml\"\n\n\
         [matrix]\ndiscipline = [\"mine/wrong.toml\", \"lifecycle-wide\"]\n\
         workload = [\"own-buffers\"]\n",
    );
    let deep = tree.path().join("deep/er");
    fs::create_dir(tree.path().join("mine")).expect("writable");
    fs::write(tree.path().join("mine/wrong.toml"), WRONG).expect("writable");
    let found = output(&deep, "explore --quiet");
    let said = String::from_utf8_lossy(&found.stderr).into_owned();
    assert_eq!(found.status.code(), Some(1), "{said}");
    assert!(tree.path().join("race.toml").exists() && !deep.join("race.toml").exists());
    // A name of what is built in stays one, and what is given is told from where one works.
    let found = json(&deep, "matrix");
    assert!(found["cells"].as_array().is_some_and(|all| all.len() > 1));
    let given = output(&deep, "explore --quiet --discipline ../../mine/wrong.toml");
    assert_eq!(given.status.code(), Some(1));
    let given = output(&deep, "explore --quiet --discipline mine/wrong.toml");
    assert_eq!(given.status.code(), Some(2));
}
