//! The campaign as a user runs it: killed and resumed, on one machine and on many, blind and
//! seeing.

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
    let repaired = text.replacen("\"mark-dead\"", "\"send FREE\", \"mark-dead\"", 1);
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
fn eight_shards_merged_are_one_run_in_any_order_and_twice() {
    let night = Night::new();
    let words = format!("{} --units 400", night.looking());
    assert_code(&night.run("whole", &words), 1);
    let shards: Vec<String> = (1..=8).map(|shard| format!("{shard}")).collect();
    for shard in &shards {
        let output = night.run(shard, &format!("{words} --shard {shard}/8"));
        assert!([0, 1].contains(&code(&output)), "{}", said(&output));
    }
    let mut order: Vec<&str> = shards.iter().map(String::as_str).collect();
    assert_code(&night.merge(&order, "merged"), 1);
    let merged = contents(&night.path("merged"));
    assert_eq!(
        reproducers(&night.path("merged")),
        reproducers(&night.path("whole"))
    );
    let mut whole = result(night.summary("whole"));
    // Each shard looks for its own canaries.
    whole["canaries"] = result(night.summary("merged"))["canaries"].clone();
    assert_eq!(result(night.summary("merged")), whole);

    order.reverse();
    order.extend(["3", "3", "merged"]);
    assert_code(&night.merge(&order, "again"), 1);
    assert_eq!(contents(&night.path("again")), merged);
    assert_code(&night.merge(&["merged"], "merged"), 1);
    assert_eq!(contents(&night.path("merged")), merged);
    // Two machines did the same shard, each at its own pace: which is merged first does not matter.
    night.run("3-again", &format!("{words} --shard 3/8 --workers 2"));
    assert_ne!(
        contents(&night.path("3-again"))["/journal.jsonl"],
        contents(&night.path("3"))["/journal.jsonl"]
    );
    for (out, dirs) in [("ab", ["3", "3-again"]), ("ba", ["3-again", "3"])] {
        night.merge(&dirs, out);
    }
    assert_eq!(contents(&night.path("ab")), contents(&night.path("ba")));
    // Step by step, as shards come in.
    for shard in ["5", "1", "8", "2", "7", "3", "6", "4"] {
        night.merge(&[shard], "stepwise");
    }
    assert_eq!(contents(&night.path("stepwise")), merged);
}

#[test]
fn a_shard_that_is_missing_or_was_killed_is_named_until_it_is_there() {
    let night = Night::new();
    for shard in [1, 3] {
        assert_code(
            &night.run(
                &shard.to_string(),
                &format!("{SURE} --units 200 --shard {shard}/4"),
            ),
            0,
        );
    }
    let mut child = night.start("2", &format!("{SURE} --duration 10m --shard 2/4"));
    wait_for(&night, "2", 40, &mut child);
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    let output = night.merge(&["1", "2", "3"], "merged");
    assert_code(&output, 3);
    assert!(
        said(&output).contains("missing are 2/4, 4/4"),
        "{}",
        said(&output)
    );
    assert_eq!(night.summary("merged")["missing"], json!(["2/4", "4/4"]));
    for shard in [2, 4] {
        assert_code(
            &night.run(
                &shard.to_string(),
                &format!("{SURE} --units 200 --shard {shard}/4"),
            ),
            0,
        );
    }
    let output = night.merge(&["1", "2", "3", "4"], "merged");
    assert_code(&output, 0);
    assert_eq!(night.summary("merged")["complete"], true);
}

/// What a fuzz target does as far as a campaign sees it, without the fuzzing: where it FAILS it
/// comes upon "a longer input". On inputs with a `g` it panics at one place, on others with an `n`
/// at another.
const FUZZ_TARGET: &str = r##"#!/bin/sh
for word; do
    case $word in
        -artifact_prefix=*) artifacts=${word#*=} ;;
        -*) ;;
        *) [ -d "$word" ] || input=$word; kept=${kept:-$word} ;;
    esac
done
fails() {
    [ -n "$input" ] || printf "$1" > "${artifacts}crash-0"
    echo "thread '<unnamed>' panicked at /somewhere/src/planted.rs:$2:5:" >&2
    echo "it does not hold" >&2
    echo "stat::number_of_executed_units: 17" >&2
    exit 77
}
if [ -n "$input" ]; then
    if grep -q g "$input"; then fails "$(cat "$input")" 1; fi
    if grep -q n "$input"; then fails "$(cat "$input")" 2; fi
    exit 0
elif [ "FAILS" = yes ]; then
    fails "a longer input" 1
fi
printf found > "$kept/found"
echo "#2 INITED cov: 12 ft: 12" >&2
echo "#9 NEW    cov: 34 ft: 40" >&2
echo "stat::number_of_executed_units: 50" >&2
"##;

impl Night {
    /// Puts a program in the place of a fuzz target that is built.
    fn fuzz_target(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path("built").join(name);
        std::fs::create_dir_all(self.path("built")).expect("a folder");
        std::fs::write(&path, text).expect("writable");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("its owner");
    }

    /// Six units, all of fuzz targets.
    fn fuzzing(&self) -> String {
        format!(
            "--weights fuzz=1 --fuzz {} --corpus none --units 6 --unit-steps 20000",
            self.shown("built"),
        )
    }
}

#[test]
fn a_fuzz_target_that_fails_is_reported_once_with_its_smallest_input() {
    let night = Night::new();
    night.fuzz_target("registry", &FUZZ_TARGET.replace("FAILS", "yes"));
    night.fuzz_target("allocator", &FUZZ_TARGET.replace("FAILS", "no"));
    let output = night.run("a", &night.fuzzing());
    assert_code(&output, 1);
    let summary = night.summary("a");
    let [cause] = &summary["causes"].as_array().expect("a list")[..] else {
        panic!("one cause: {summary:#}")
    };
    assert_eq!(
        (&cause["kind"], &cause["discipline"], &cause["deciding"]),
        (
            &json!("crash"),
            &json!("fuzz registry"),
            &json!("panicked at src/planted.rs:1:5: it does not hold")
        )
    );
    assert_eq!(
        (&cause["units"], &cause["size"]),
        (&json!(3), &json!("1 byte"))
    );
    let input = night
        .path("a")
        .join(cause["reproducer"].as_str().expect("a file"));
    assert_eq!(std::fs::read(&input).expect("the input"), b"g");
    assert_eq!(
        summary["fuzz"],
        json!({
            "allocator": { "executions": 150, "edges": 34 },
            "registry": { "executions": 51, "edges": 0 },
        })
    );
    // What reached something new is where the next unit begins.
    assert!(night.path("a").join("fuzz/allocator/found").exists());
    // What fails is not: libFuzzer would end at it each time.
    let left = std::fs::read_dir(night.path("a").join("fuzz/registry")).expect("a folder");
    assert_eq!(left.count(), 0);
    let page = std::fs::read_to_string(night.path("a").join("summary.md")).expect("a page");
    assert!(page.contains("| allocator | 150 | 34 |"), "{page}");
    // Another machine has the merged input too.
    assert_code(&night.merge(&["a"], "merged"), 1);
    let merged = night
        .path("merged")
        .join(cause["reproducer"].as_str().expect("a file"));
    assert_eq!(std::fs::read(merged).expect("the input"), b"g");
}

#[test]
fn a_lifecycle_input_that_is_clean_when_it_is_run_again_is_a_failure_of_the_target() {
    let night = Night::new();
    let seeds = std::fs::read_dir("corpus/fuzz/lifecycle").expect("seeds");
    let seed = seeds.map(|seed| seed.expect("readable").path()).next();
    let input = std::fs::read(seed.expect("a seed")).expect("readable");
    let octal: String = input.iter().map(|byte| format!("\\{byte:03o}")).collect();
    let text = FUZZ_TARGET.replace("FAILS", "yes");
    night.fuzz_target("lifecycle", &text.replace("a longer input", &octal));
    assert_code(&night.run("a", &night.fuzzing()), 1);
    let summary = night.summary("a");
    assert_eq!(summary["causes"].as_array().map(Vec::len), Some(1));
    assert_eq!(summary["causes"][0]["discipline"], "fuzz lifecycle");
}

#[test]
fn a_fuzz_target_that_dies_by_a_signal_ends_its_unit_and_not_the_night() {
    let night = Night::new();
    night.fuzz_target("registry", "#!/bin/sh\nkill -KILL $$\n");
    night.fuzz_target("allocator", &FUZZ_TARGET.replace("FAILS", "no"));
    let output = night.run("a", &night.fuzzing());
    assert_code(&output, 0);
    let summary = night.summary("a");
    assert_eq!(summary["inconclusive_units"], 3);
    let why = summary["inconclusive"].as_str().expect("a reason");
    assert!(
        why.contains("fuzz target registry ended with signal: 9"),
        "{why}"
    );
    assert_eq!(summary["fuzz"]["allocator"]["executions"], 150);
}

#[test]
fn a_night_that_is_stopped_while_it_makes_an_input_smaller_keeps_the_input() {
    let night = Night::new();
    // An input at a time takes so long that there is time to stop.
    let slow = FUZZ_TARGET.replace("FAILS", "yes").replacen(
        "if [ -n \"$input\" ]; then\n",
        "if [ -n \"$input\" ]; then\n    sleep 0.3\n",
        1,
    );
    night.fuzz_target("registry", &slow);
    for signal in [rustix::process::Signal::KILL, rustix::process::Signal::INT] {
        let mut child = night.start("a", &night.fuzzing());
        let fails = night.path("a").join("fuzz/registry/fails-0");
        let started = Instant::now();
        while !fails.exists() {
            assert!(started.elapsed() < Duration::from_secs(60), "nothing fails");
            std::thread::sleep(Duration::from_millis(2));
        }
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).expect("it is there");
        child.wait().expect("it ends");
        // Killed, it is left for the next unit to come upon; told to stop, it is reported as it is.
        assert_eq!(fails.exists(), signal == rustix::process::Signal::KILL);
        let _ = std::fs::remove_file(&fails);
    }
    let summary = night.summary("a");
    let [cause] = &summary["causes"].as_array().expect("a list")[..] else {
        panic!("one cause: {summary:#}")
    };
    let input = night
        .path("a")
        .join(cause["reproducer"].as_str().expect("a file"));
    let input = std::fs::read(input).expect("the input");
    assert!(input.contains(&b'g'), "{input:?}");
}

#[test]
fn fuzz_targets_that_are_not_there_or_cannot_be_run_are_said() {
    let night = Night::new();
    let output = night.run("a", "--weights fuzz=1 --units 1");
    assert_code(&output, 2);
    assert!(said(&output).contains("--fuzz DIR"), "{}", said(&output));
    std::fs::create_dir(night.path("built")).expect("a folder");
    let output = night.run("a", &night.fuzzing());
    assert_code(&output, 2);
    assert!(
        said(&output).contains("cargo fuzz build"),
        "{}",
        said(&output)
    );
    night.fuzz_target(
        "registry",
        "#!/bin/sh\necho no such library >&2\nexit 127\n",
    );
    let output = night.run("a", &night.fuzzing());
    assert_code(&output, 2);
    assert!(
        said(&output).contains("no such library"),
        "{}",
        said(&output)
    );
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

fn prove(night: &Night, out: &str, shard: &str, words: &str) -> Output {
    campaign(&format!(
        "prove --out {} --shard {shard} {words}",
        night.shown(out)
    ))
}

#[test]
fn a_proof_in_parts_is_the_whole_one_when_all_parts_are_there() {
    let night = Night::new();
    for (name, words, verdict, exit) in [
        (
            "correct",
            "--discipline claimed-wide --workload shared-free --threads 3",
            "proved",
            0,
        ),
        (
            "broken",
            "--discipline lifecycle-narrow --order free-first --workload handoff",
            "diverged",
            1,
        ),
    ] {
        let (whole, _) = crate::common::run_json(&format!(
            "explore --strategy exhaustive --all-kinds {words}"
        ));
        assert_eq!(whole["verdict"], verdict);
        for part in 1..=5 {
            let output = prove(&night, name, &format!("{part}/6"), words);
            assert!([0, exit].contains(&code(&output)), "{}", said(&output));
        }
        let merged = format!("{name}-merged");
        let output = night.merge(&[name], &merged);
        assert_code(&output, if exit == 0 { 3 } else { 1 });
        if exit == 0 {
            assert!(
                said(&output).contains("missing are 6/6"),
                "{}",
                said(&output)
            );
        }
        prove(&night, "last", "6/6", words);
        let (json, code) = crate::common::run_json(&format!(
            "campaign merge {} {} --out {}",
            night.shown("last"),
            night.shown(name),
            night.shown(&merged)
        ));
        let proof = &json["proofs"][0];
        assert_eq!((&proof["verdict"], code), (&json!(verdict), exit), "{json}");
        let kinds = |value: &Value| -> Vec<String> {
            value["divergences"]
                .as_object()
                .expect("kinds")
                .keys()
                .cloned()
                .collect()
        };
        assert_eq!(kinds(proof), kinds(&whole));
        assert_eq!(proof["leaks"], whole["leaks"]);
        assert!(proof["states"].as_u64() >= whole["states"].as_u64());
        std::fs::remove_dir_all(night.path("last")).expect("there");
    }
}

#[test]
fn a_part_that_was_given_up_proves_nothing() {
    let night = Night::new();
    let words = "--discipline claimed-wide --workload handoff --threads 3 --ops 6";
    assert_code(
        &prove(
            &night,
            "parts",
            "1/2",
            &format!("{words} --max-states 2000"),
        ),
        3,
    );
    assert_code(
        &prove(
            &night,
            "parts",
            "2/2",
            &format!("{words} --max-states 2000"),
        ),
        3,
    );
    let output = night.merge(&["parts"], "merged");
    assert_code(&output, 3);
    assert!(
        said(&output).contains("not finished are 1/2, 2/2"),
        "{}",
        said(&output)
    );
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
