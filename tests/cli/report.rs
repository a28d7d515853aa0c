//! `report`: what it writes is whole, says what `check` says, replaces nothing of somebody's, and
//! has no markup from a log in it. What a browser makes of it: tests/browser/.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::{heisenbed, run, run_json};

const RACE: &str = "explore --discipline unlocked --order free-first --quiet";

fn at(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

/// The page of these files, with what the command said of it.
fn page(folder: &Path, files: &[&str]) -> (String, Value) {
    let output = at(folder, "page.html");
    let mut arguments = vec!["report", "--format", "json", "--force", "-o", &output];
    arguments.extend(files);
    let said = heisenbed(&arguments).output().expect("it runs");
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let errors = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(0), "{files:?}: {text}{errors}");
    let value = serde_json::from_str(&text).expect("JSON");
    (fs::read_to_string(output).expect("the page"), value)
}

#[test]
fn the_same_file_makes_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let race = at(folder.path(), "race.toml");
    run(&format!("{RACE} --save {race}"));
    let (first, _) = page(folder.path(), &[&race]);
    let (second, said) = page(folder.path(), &[&race]);
    assert!(first == second, "two pages of one reproducer differ");
    assert_eq!(said["parts"][0]["verdict"], "diverged");
    assert_eq!(said["bytes"], first.len());
}

#[test]
fn a_page_asks_for_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let race = at(folder.path(), "race.toml");
    run(&format!("{RACE} --save {race}"));
    let (page, _) = page(folder.path(), &[&race]);
    for loads in [
        "src=", "<link", "@import", "url(", "fetch(", "XMLHttp", "import(",
    ] {
        assert!(!page.contains(loads), "{loads}");
    }
    assert!(page.contains("default-src 'none'; script-src 'sha256-"));
}

#[test]
fn every_reproducer_has_the_verdict_that_it_expects() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/reproducers");
    let folder = tempfile::tempdir().expect("a folder");
    let mut files: Vec<PathBuf> = Vec::new();
    for part in ["defects", "reported"] {
        let entries = fs::read_dir(root.join(part)).expect("a folder");
        files.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    files.sort();
    assert!(files.len() > 10, "the reproducers were not found");
    for file in files {
        let text = fs::read_to_string(&file).expect("a reproducer");
        if text.contains("kind = \"run\"") {
            continue;
        }
        let name = file.display().to_string();
        let (page, said) = page(folder.path(), &[&name]);
        let verdict = said["parts"][0]["verdict"].as_str().expect("a verdict");
        assert!(
            text.contains(&format!("verdict = \"{verdict}\"")),
            "{name}: {verdict}"
        );
        assert!(!page.contains("It did not come out as it says"), "{name}");
        // A twin is silent in the memory, too.
        let is_wrong = page.contains("that no message on its way explains");
        assert!(verdict == "diverged" || !is_wrong, "{name}: {verdict}");
    }
}

#[test]
fn a_page_says_what_check_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let (bad, good, log) = (at(path, "bad.hb"), at(path, "good.hb"), at(path, "log.hb"));
    run(&format!(
        "stress --discipline lifecycle-narrow --order free-first --ops 200 --quiet --record {bad}"
    ));
    run(&format!(
        "stress --discipline lifecycle-wide --ops 100 --quiet --record {good}"
    ));
    let server_log = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/imports/40_enh.log");
    let server_log = server_log.display().to_string();
    run(&format!("import server-log {server_log} -o {log} --quiet"));
    for file in [&bad, &good, &log, &server_log] {
        let trace = if file == &server_log { &log } else { file };
        let (checked, _) = run_json(&format!("check {trace}"));
        let (page, said) = page(path, &[file]);
        assert_eq!(said["parts"][0]["verdict"], checked["verdict"], "{file}");
        let counts: BTreeMap<String, u64> =
            serde_json::from_value(checked["divergences"].clone()).expect("counts");
        for (kind, count) in counts {
            let row = format!("✗ {kind}</td><td class=\"number\">{count}</td>");
            assert!(page.contains(&row), "{file}: {row}");
        }
    }
}

#[test]
fn a_heading_names_its_file_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/imports/40_enh.log");
    fs::copy(log, folder.path().join("server.log")).expect("copied");
    let (text, _) = page(folder.path(), &[&at(folder.path(), "server.log")]);
    let (_, heading) = text.split_once("<h2>").expect("a heading");
    let (heading, _) = heading.split_once("</h2>").expect("its end");
    assert_eq!(heading, "<bdi>server.log</bdi>: a server's log");
}

#[test]
fn nothing_of_somebody_s_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let race = at(folder.path(), "race.toml");
    run(&format!("{RACE} --save {race}"));
    let mine = at(folder.path(), "mine.html");
    fs::write(&mine, "<p>mine").expect("writable");
    let refused = run(&format!("report {race} -o {mine}"));
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("mine.html") && said.contains("--force"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&mine).expect("it is there"), "<p>mine");
    // Nor is what is shown, whatever it is.
    assert_eq!(
        run(&format!("report {race} -o {race}")).status.code(),
        Some(2)
    );
    // A page may be, and with --force all.
    let page = at(folder.path(), "page.html");
    for words in [
        format!("report {race} -o {page}"),
        format!("report {race} -o {page}"),
        format!("report {race} -o {mine} --force"),
    ] {
        assert_eq!(run(&words).status.code(), Some(0), "{words}");
    }
}

#[test]
fn what_is_no_input_is_refused_with_a_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    fs::create_dir(path.join("folder")).expect("a folder");
    fs::write(path.join("empty.log"), "").expect("writable");
    fs::write(path.join("words.txt"), "nothing of ours\n").expect("writable");
    fs::write(path.join("other.json"), "{\"cells\": 3}\n").expect("writable");
    fs::write(path.join("cut.hb"), "HBTRACE").expect("writable");
    fs::write(path.join("wrong.toml"), "schedule = 3\n").expect("writable");
    for (name, says) in [
        ("folder", "summary.json"),
        ("empty.log", "empty"),
        ("words.txt", "tried were"),
        ("other.json", "other.json"),
        ("cut.hb", "shorter"),
        ("wrong.toml", "line 1"),
        ("missing.hb", "No such file"),
    ] {
        let page = at(path, "page.html");
        let output = run(&format!("report {} -o {page}", at(path, name)));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains(says) && said.contains(name), "{name}: {said}");
        assert!(!Path::new(&page).exists(), "{name}");
    }
}

#[test]
fn a_trace_that_is_cut_is_shown_as_far_as_it_reaches() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = at(folder.path(), "run.hb");
    run(&format!(
        "stress --discipline lifecycle-wide --ops 2000 --quiet --record {trace}"
    ));
    let bytes = fs::read(&trace).expect("a trace");
    fs::write(&trace, &bytes[..bytes.len() * 2 / 3]).expect("writable");
    let (checked, _) = run_json(&format!("check {trace}"));
    let (page, said) = page(folder.path(), &[&trace]);
    assert_eq!(checked["verdict"], "inconclusive");
    assert_eq!(said["parts"][0]["verdict"], "inconclusive");
    assert!(page.contains("It cannot be said"));
}
