//! The campaign as a user runs it: killed and resumed, on one machine and on many, blind and
//! seeing.

mod fuzz;
mod proof;
mod shards;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::heisenbed;
use heisenbed::corpus::Reproducer;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Small units, without real threads: their records depend on the parameters alone.
const SURE: &str = "--unit-steps 20000 --weights explore=3,search=2";

/// A night in a folder of its own.
struct Night {
    folder: TempDir,
}

impl Night {
    fn new() -> Night {
        Night {
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The narrow lock under a name that the corpus does not know.
    fn broken(&self) -> String {
        self.discipline(
            "my-fix",
            "alloc, mark-live, lock lifecycle, send ALLOC, unlock lifecycle, publish",
            "check-live, lock lifecycle, send FREE, unlock lifecycle, free, mark-dead",
        )
    }

    fn discipline(&self, name: &str, allocate: &str, deallocate: &str) -> String {
        let path = self.path(&format!("{name}.toml"));
        let text = crate::common::discipline_text(allocate, deallocate);
        std::fs::write(
            &path,
            text.replacen("\"planted\"", &format!("\"{name}\""), 1),
        )
        .expect("writable");
        path.display().to_string()
    }

    /// Looks at the broken discipline where it is broken.
    fn looking(&self) -> String {
        format!(
            "{SURE} --discipline {} --order free-first --workload own-buffers,handoff --semantics typed",
            self.broken()
        )
    }

    fn run(&self, out: &str, words: &str) -> Output {
        campaign(&format!("run --out {} {words}", self.shown(out)))
    }

    fn start(&self, out: &str, words: &str) -> Child {
        let words = format!("campaign run --out {} {words} --quiet", self.shown(out));
        let words: Vec<&str> = words.split_whitespace().collect();
        heisenbed(&words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts")
    }

    fn merge(&self, dirs: &[&str], out: &str) -> Output {
        let dirs: Vec<String> = dirs.iter().map(|dir| self.shown(dir)).collect();
        campaign(&format!(
            "merge {} --out {}",
            dirs.join(" "),
            self.shown(out)
        ))
    }

    fn summary(&self, out: &str) -> Value {
        let text = std::fs::read_to_string(self.path(out).join("summary.json")).expect("a summary");
        serde_json::from_str(&text).expect("JSON")
    }

    fn lines(&self, out: &str) -> usize {
        std::fs::read_to_string(self.path(out).join("journal.jsonl"))
            .map_or(0, |text| text.lines().count())
    }
}

fn campaign(words: &str) -> Output {
    crate::common::run(&format!("campaign {words} --quiet"))
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ends by itself")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn assert_code(output: &Output, wanted: i32) {
    assert_eq!(code(output), wanted, "{}", said(output));
}

/// Every file of a folder with what is in it, but for the lock.
fn contents(folder: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for sub in ["", "reproducers"] {
        let Ok(entries) = std::fs::read_dir(folder.join(sub)) else {
            continue;
        };
        for entry in entries.map(|entry| entry.expect("readable")) {
            if entry.path().is_file() && entry.file_name() != "lock" {
                let name = format!("{sub}/{}", entry.file_name().to_string_lossy());
                all.insert(name, std::fs::read_to_string(entry.path()).expect("text"));
            }
        }
    }
    all
}

/// What is found, apart from how long it took and who did it.
fn result(mut summary: Value) -> Value {
    for key in ["elapsed_s", "shard", "shards"] {
        summary[key] = Value::Null;
    }
    // How soon a race shows on real threads is luck.
    for canary in summary["canaries"].as_array_mut().expect("a list") {
        if canary["engine"] == "threads" {
            canary["tries"] = Value::Null;
        }
    }
    summary
}

fn reproducers(folder: &Path) -> BTreeMap<String, String> {
    let mut all = contents(folder);
    all.retain(|name, _| name.starts_with("reproducers/"));
    all
}

#[test]
fn every_canary_is_found_and_correct_disciplines_are_silent() {
    let night = Night::new();
    let output = night.run("a", "--units 260 --unit-steps 20000 --workers 2");
    assert_code(&output, 0);
    let summary = night.summary("a");
    let canaries = summary["canaries"].as_array().expect("a list");
    assert!(canaries.len() >= 20);
    let engines: BTreeSet<&str> = canaries
        .iter()
        .filter_map(|canary| canary["engine"].as_str())
        .collect();
    assert_eq!(
        engines,
        BTreeSet::from(["pct", "random", "search", "threads", "urw"])
    );
    assert!(
        canaries.iter().all(|canary| canary["found"] == true),
        "{canaries:?}"
    );
    assert_eq!(
        (&summary["verdict"], &summary["causes"]),
        (&json!("clean"), &json!([]))
    );
    for sort in ["corpus", "stress", "explore", "search"] {
        assert!(summary["units"][sort].as_u64() > Some(0), "{sort}");
    }
}

#[test]
fn a_broken_discipline_of_ones_own_is_reported_once_and_its_reproducer_is_one() {
    let night = Night::new();
    let broken = night.broken();
    let words = format!(
        "--units 260 --unit-steps 20000 --workers 2 --discipline {broken} --order free-first --workload own-buffers --semantics typed"
    );
    let output = night.run("a", &words);
    assert_code(&output, 1);
    let summary = night.summary("a");
    let causes = summary["causes"].as_array().expect("a list");
    assert_eq!(causes.len(), 1, "{causes:#?}");
    assert!(causes[0]["units"].as_u64() > Some(20));
    assert_eq!(causes[0]["kind"], "duplicate-alloc");
    assert_eq!(
        causes[0]["deciding"],
        "a release is preempted between `free` and `lock lifecycle`, an allocate goes first"
    );
    let files = reproducers(&night.path("a"));
    assert_eq!(files.len(), 1);
    let path = night.path("a").join(files.keys().next().expect("one"));
    let rerun = Reproducer::load(&path)
        .expect("it parses")
        .run()
        .expect("it runs");
    assert_eq!(rerun.mismatch, None);
    assert_eq!(
        code(&crate::common::run(&format!("replay {}", path.display()))),
        0
    );
    let corpus = crate::common::run(&format!(
        "corpus run --dir {}",
        night.path("a").join("reproducers").display()
    ));
    assert_eq!(code(&corpus), 0, "{}", said(&corpus));
    // In the corpus it is known, and no news.
    let corpus = night.path("corpus");
    std::fs::create_dir(&corpus).expect("a folder");
    std::fs::copy(&path, corpus.join("kept.toml")).expect("a copy");
    let output = night.run("b", &format!("{words} --corpus {}", corpus.display()));
    assert_code(&output, 0);
    let known = night.summary("b")["causes"][0]["known"].clone();
    assert_eq!(known, json!(corpus.join("kept.toml").display().to_string()));
}

#[test]
fn a_reproducer_that_comes_out_otherwise_is_a_regression() {
    let night = Night::new();
    let corpus = night.path("corpus");
    std::fs::create_dir(&corpus).expect("a folder");
    let text = std::fs::read_to_string("corpus/reproducers/reported/unlocked.toml")
        .expect("in the corpus");
    let wrong = text.replacen("verdict = \"diverged\"", "verdict = \"clean\"", 1);
    std::fs::write(corpus.join("wrong.toml"), wrong).expect("writable");
    let output = night.run(
        "a",
        &format!("{SURE} --units 1 --corpus {}", corpus.display()),
    );
    assert_code(&output, 1);
    assert!(said(&output).contains("regression: ") && said(&output).contains("expected clean"));
    let junit = std::fs::read_to_string(night.path("a").join("junit.xml")).expect("a report");
    assert!(junit.contains("<failure>expected clean"), "{junit}");
}

#[test]
fn a_night_that_cannot_find_a_planted_defect_is_blind() {
    let night = Night::new();
    let output = night.run("no-budget", &format!("{SURE} --units 1 --canary-budget 0"));
    assert_code(&output, 3);
    assert!(said(&output).contains("BLIND"), "{}", said(&output));
    assert_eq!(night.summary("no-budget")["blind"], true);
    // A canary that was repaired: nobody can find it.
    let text = std::fs::read_to_string("corpus/reproducers/defects/free-never-sent.toml")
        .expect("in the corpus");
    let repaired = text.replacen("\"free\"", "\"send FREE\", \"free\"", 1);
    assert_ne!(text, repaired);
    let path = night.path("repaired.toml");
    std::fs::write(&path, repaired).expect("writable");
    let output = night.run(
        "repaired",
        &format!("{SURE} --units 1 --canary {}", path.display()),
    );
    assert_code(&output, 3);
    let missed: Vec<Value> = night.summary("repaired")["canaries"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|canary| canary["found"] == false)
        .map(|canary| canary["canary"].clone())
        .collect();
    assert_eq!(missed, [json!(path.display().to_string())]);
    // What is new is said nevertheless.
    let output = night.run(
        "both",
        &format!("{} --units 300 --canary-budget 0", night.looking()),
    );
    assert_code(&output, 1);
}

/// Waits until the journal has `lines` lines, or the night is over.
fn wait_for(night: &Night, out: &str, lines: usize, child: &mut Child) {
    let started = Instant::now();
    while night.lines(out) < lines && child.try_wait().expect("a child").is_none() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{} lines",
            night.lines(out)
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_night_that_is_killed_again_and_again_ends_as_if_it_had_not_been() {
    let night = Night::new();
    let words = format!("{} --units 420", night.looking());
    assert_code(&night.run("whole", &words), 1);
    let mut kills = 0;
    for lines in [10, 100, 230, 300, 380] {
        let mut child = night.start("killed", &format!("{words} --workers 2"));
        wait_for(&night, "killed", lines, &mut child);
        child.kill().expect("it is killed");
        kills += usize::from(child.wait().expect("it ends").code().is_none());
    }
    assert!(kills >= 3, "{kills} kills");
    assert_code(&night.run("killed", &words), 1);
    assert_eq!(
        result(night.summary("killed")),
        result(night.summary("whole"))
    );
    assert_eq!(
        reproducers(&night.path("killed")),
        reproducers(&night.path("whole"))
    );
    // Over is over: once more changes nothing.
    let before = contents(&night.path("killed"));
    assert_code(&night.run("killed", &words), 1);
    assert_eq!(contents(&night.path("killed")), before);
}

#[test]
fn a_night_that_is_interrupted_says_so_and_goes_on() {
    let night = Night::new();
    let mut child = night.start("a", &format!("{SURE} --duration 10m"));
    wait_for(&night, "a", 200, &mut child);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it is told to stop");
    let output = child.wait_with_output().expect("it ends");
    assert_code(&output, 3);
    assert!(said(&output).contains("incomplete"), "{}", said(&output));
    assert_eq!(night.summary("a")["complete"], false);
    let done = night.lines("a");
    assert_code(&night.run("a", &format!("{SURE} --units 300")), 0);
    assert!(night.lines("a") > done);
    assert_eq!(night.summary("a")["complete"], true);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let night = Night::new();
    assert_code(&night.run("a", &format!("{SURE} --units 2 --shard 1/2")), 0);
    for (out, words, complaint) in [
        (
            "a",
            "--units 2 --seed 9 --shard 1/2",
            "seed 0 there, 9 here",
        ),
        (
            "a",
            "--units 2 --shard 2/2",
            "shard \"1/2\" there, \"2/2\" here",
        ),
        (
            "a",
            "--units 2 --shard 1/2 --discipline claimed-wide",
            "other targets",
        ),
        ("b", "--units 2 --shard 0/2", "from 1 to N"),
        ("b", "--units 2 --weights corpus=1", "use stress=N"),
        ("b", "--shard 1/2", "--duration"),
        ("b", "--units 2 --discipline nowhere.toml", "nowhere.toml"),
        ("b", "--units 2 --canary nowhere.toml", "nowhere.toml"),
    ] {
        let weights = if words.contains("--weights") {
            "--unit-steps 20000"
        } else {
            SURE
        };
        let output = night.run(out, &format!("{weights} {words}"));
        assert_code(&output, 2);
        assert!(
            said(&output).contains(complaint),
            "{words}: {}",
            said(&output)
        );
    }
    assert_code(
        &night.run("other", &format!("{SURE} --units 2 --seed 9 --shard 2/2")),
        0,
    );
    let output = night.merge(&["a", "other"], "merged");
    assert_code(&output, 2);
    assert!(
        said(&output).contains("seed 0 there, 9 here"),
        "{}",
        said(&output)
    );
    assert_code(
        &night.run("quarter", &format!("{SURE} --units 2 --shard 1/4")),
        0,
    );
    let output = night.merge(&["a", "quarter"], "merged");
    assert_code(&output, 2);
    assert!(
        said(&output).contains("do not belong together"),
        "{}",
        said(&output)
    );
    std::fs::create_dir(night.path("empty")).expect("a folder");
    assert_code(&night.merge(&["empty"], "merged"), 2);
}

#[test]
fn a_folder_is_one_campaigns_at_a_time() {
    let night = Night::new();
    let mut child = night.start("a", &format!("{SURE} --duration 10m"));
    wait_for(&night, "a", 1, &mut child);
    let output = night.run("a", &format!("{SURE} --duration 10m"));
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    assert_code(&output, 2);
    assert!(
        said(&output).contains("another campaign is running"),
        "{}",
        said(&output)
    );
}

#[test]
fn nights_are_remembered_once_each() {
    let night = Night::new();
    let history = night.shown("history.jsonl");
    for (out, seed) in [("a", 1), ("b", 2), ("b", 2), ("c", 3)] {
        assert_code(
            &night.run(
                out,
                &format!("{SURE} --units 200 --seed {seed} --history {history}"),
            ),
            0,
        );
    }
    let text = std::fs::read_to_string(&history).expect("a history");
    assert_eq!(text.lines().count(), 3, "{text}");
    // A page of the folder shows them, too.
    let kept = std::fs::read_to_string(night.path("c").join("history.jsonl")).expect("a copy");
    assert_eq!(kept, text);
    let page = std::fs::read_to_string(night.path("c").join("summary.md")).expect("a page");
    assert!(
        page.contains("## Nights") && page.contains("\n| 1 |") && page.contains("\n| 3 |"),
        "{page}"
    );
}

#[test]
fn json_has_every_key_that_scripts_rely_on() {
    let night = Night::new();
    let words = format!(
        "campaign run --out {} {} --units 300",
        night.shown("a"),
        night.looking()
    );
    let (json, code) = crate::common::run_json(&words);
    assert_eq!((&json["verdict"], code), (&json!("diverged"), 1));
    let missing: Vec<_> = crate::common::KEYS
        .iter()
        .filter(|key| json.get(**key).is_none())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let path = night
        .path("a")
        .join(json["reproducer"].as_str().expect("a path"));
    assert!(path.exists());
}

#[test]
fn the_page_of_a_night_is_as_reviewed() {
    let night = Night::new();
    let words = format!("{} --units 300 --seed 4 --corpus none", night.looking(),);
    let output = night.run("a", &words);
    assert_code(&output, 1);
    let page = std::fs::read_to_string(night.path("a").join("summary.md")).expect("a page");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(r"/[^\s:]*/(summary\.md)", "[directory]/$1");
    settings.add_filter(r"hours of work( \| | +)[\d.]+", "hours of work$1[time]");
    settings.bind(|| {
        insta::assert_snapshot!("campaign_page", page);
        insta::assert_snapshot!("campaign_text", String::from_utf8_lossy(&output.stdout));
    });
}

#[test]
fn a_night_that_looked_at_nothing_is_not_green() {
    let night = Night::new();
    for (out, words) in [
        ("time", "--duration 0s --corpus none"),
        ("units", "--units 0 --corpus none"),
        ("shard", "--units 1 --shard 2/2 --corpus none"),
    ] {
        let output = night.run(out, words);
        assert_eq!(code(&output), 3, "{words}: {}", said(&output));
        assert!(said(&output).contains("nothing was looked at"), "{words}");
        let summary = night.summary(out);
        assert_eq!(summary["verdict"], json!("inconclusive"), "{words}");
        assert_eq!(summary["idle"], json!(true), "{words}");
        let junit = std::fs::read_to_string(night.path(out).join("junit.xml")).expect("a page");
        assert!(junit.contains("no unit was done"), "{junit}");
    }
    let output = night.run(
        "named",
        &format!("--units 1 --corpus {}", night.shown("nodir")),
    );
    assert_eq!(code(&output), 2, "{}", said(&output));
    assert!(said(&output).contains("nodir"), "{}", said(&output));
}

#[test]
fn a_usual_corpus_that_is_not_there_is_said() {
    let night = Night::new();
    let out = night.shown("out");
    let output = heisenbed(&["campaign", "run", "--units", "1", "--quiet", "--out", &out])
        .current_dir(night.folder.path())
        .output()
        .expect("the program starts");
    assert_eq!(code(&output), 3, "{}", said(&output));
    assert!(said(&output).contains("NO CORPUS"), "{}", said(&output));
}

#[test]
fn a_corpus_that_is_empty_is_said() {
    let night = Night::new();
    std::fs::create_dir(night.path("empty")).expect("a folder");
    let words = format!("--units 1 --corpus {}", night.shown("empty"));
    let output = night.run("out", &words);
    assert_eq!(code(&output), 3, "{}", said(&output));
    assert!(said(&output).contains("NO CORPUS"), "{}", said(&output));
    let output = night.run("none", "--units 1 --corpus none");
    assert_eq!(code(&output), 0, "{}", said(&output));
}
