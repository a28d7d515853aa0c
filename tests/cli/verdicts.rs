//! What a verdict is about, and what it is not: a discipline as it is written, a workload of which
//! something was left out, and work that was not done to its end.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{record_diverged, run, run_json};

const FORGET_THEN_FREE: &str = r#"
name = "forget-then-free"
allocate = ["alloc", "mark-live", "lock tracker", "send ALLOC", "unlock tracker", "publish"]
deallocate = ["check-live", "lock tracker", "send FREE", "unlock tracker", "free", "mark-dead"]
"#;

const FREE_THEN_FORGET: &str = r#"
name = "free-then-forget"
allocate = ["alloc", "mark-live", "lock tracker", "send ALLOC", "unlock tracker", "publish"]
deallocate = ["check-live", "free", "lock tracker", "send FREE", "unlock tracker", "mark-dead"]
"#;

struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes `text` into the file `name`; its path, for a command line.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("writable");
        path.display().to_string()
    }
}

fn said(words: &str) -> (String, Option<i32>) {
    let output = run(&format!("{words} --quiet"));
    let text = String::from_utf8(output.stdout).expect("text");
    (text, output.status.code())
}

#[test]
fn a_discipline_file_is_judged_as_it_is_written() {
    let folder = Folder::new();
    let fix = folder.file("fix.toml", FORGET_THEN_FREE);
    let bug = folder.file("bug.toml", FREE_THEN_FORGET);
    let words = |file: &str| format!("matrix --workload own-buffers --discipline {file}");
    let (text, code) = said(&words(&fix));
    assert_eq!(code, Some(0), "{text}");
    let answer = "Does forget-then-free work, as it is written (track-first, late publication)?\n  \
                  works: proved in all 2 cells\n";
    assert!(text.contains(answer), "{text}");
    assert!(text.contains("What if it were"), "{text}");
    let (text, code) = said(&words(&bug));
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("as it is written (free-first, late publication)?\n  does not work:"),
        "{text}"
    );
    let (fixed, _) = run_json(&words(&fix));
    let (broken, _) = run_json(&words(&bug));
    assert_eq!(fixed["verdict"], json!("proved"));
    assert_eq!(fixed["answer"][0]["works"], json!("everywhere"));
    assert_eq!(
        fixed["answer"][0]["written"],
        json!({ "order": "track-first", "publish": "late", "judged": true })
    );
    assert_eq!(broken["verdict"], json!("diverged"));
    assert_eq!(broken["answer"][0]["works"], json!("no"));
    // All forms are there in both; of one it is said that it is judged.
    for matrix in [&fixed, &broken] {
        let cells = matrix["cells"].as_array().expect("a list");
        let judged = cells.iter().filter(|cell| cell["what_if"] == json!(false));
        assert_eq!((cells.len(), judged.count()), (8, 2));
    }
}

#[test]
fn where_two_threads_release_one_buffer_is_said_apart() {
    let folder = Folder::new();
    let fix = folder.file("fix.toml", FORGET_THEN_FREE);
    let (matrix, code) = run_json(&format!(
        "matrix --discipline {fix} --workload own-buffers,handoff,shared-free --semantics typed"
    ));
    assert_eq!((code, &matrix["verdict"]), (1, &json!("diverged")));
    assert_eq!(matrix["answer"][0]["works"], json!("where-released-once"));
    assert_eq!(matrix["answer"][0]["diverging"], json!(["shared-free"]));
}

#[test]
fn switches_that_leave_out_the_written_form_are_judged_as_asked() {
    let folder = Folder::new();
    let fix = folder.file("fix.toml", FORGET_THEN_FREE);
    let words = format!(
        "matrix --discipline {fix} --workload own-buffers --order free-first --publish late"
    );
    let (text, code) = said(&words);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("as asked, though it is written track-first, late publication?"),
        "{text}"
    );
}

#[test]
fn files_that_share_a_name_are_told_apart() {
    let folder = Folder::new();
    let fix = folder.file("one.toml", FORGET_THEN_FREE);
    let text = FREE_THEN_FORGET.replace("free-then-forget", "forget-then-free");
    let bug = folder.file("two.toml", &text);
    let (matrix, _) = run_json(&format!(
        "matrix --discipline {fix},{bug} --workload own-buffers --semantics typed"
    ));
    let answers = matrix["answer"].as_array().expect("a list");
    let works: Vec<&Value> = answers.iter().map(|answer| &answer["works"]).collect();
    assert_eq!(works, [&json!("everywhere"), &json!("no")]);
}

#[test]
fn cells_that_are_not_decided_neither_work_nor_do_not() {
    let words =
        "matrix --discipline claimed-wide,lifecycle-wide --workload mesh,handoff --max-states 10";
    let (text, code) = said(words);
    assert_eq!(code, Some(3), "{text}");
    assert!(
        !text.contains("does not work") && !text.contains("  works"),
        "{text}"
    );
    assert!(text.contains("claimed-wide: undecided: "), "{text}");
    assert!(text.contains("not decided: not the whole space"), "{text}");
    let (matrix, code) = run_json(words);
    assert_eq!((code, &matrix["verdict"]), (3, &json!("inconclusive")));
    assert_eq!(matrix["interrupted"], json!(false));
    assert_eq!(matrix["answer"][0]["works"], json!("undecided"));
    assert_eq!(
        matrix["answer"][0]["open"],
        json!(["handoff", "mesh"]),
        "{matrix}"
    );
}

const TWO_MEMORIES: &str = r#"
name = "two-memories"
threads = 2
ops = 4
devices = 1
profile = "custom:1x65536"
discipline = "lifecycle-wide"
semantics = "overwrite"
[workload]
private-slots = 2
round-ops = 4
"#;

#[test]
fn the_memories_that_a_scenario_names_are_searched() {
    let folder = Folder::new();
    for memories in ["dram = 1\nl1 = 1", "l1 = 1\ndram = 0\ntrace = 2"] {
        let text = format!("{TWO_MEMORIES}[workload.memories]\n{memories}\n");
        let file = folder.file("two.toml", &text);
        let (found, code) = run_json(&format!("explore --scenario {file}"));
        assert_eq!((code, &found["verdict"]), (1, &json!("diverged")), "{file}");
        assert!(found["divergences"]["misattributed"].is_u64(), "{found}");
        let (found, _) = run_json(&format!("explore --scenario {file} --semantics typed"));
        assert_eq!(found["verdict"], json!("proved"));
    }
    // They need not be named where the server's key can't tell them apart.
    let file = folder.file("default.toml", TWO_MEMORIES);
    let (found, _) = run_json(&format!("explore --scenario {file}"));
    assert_eq!(found["verdict"], json!("diverged"), "{found}");
}

#[test]
fn an_example_has_only_what_its_scenario_has() {
    let folder = Folder::new();
    let text = format!(
        "{TWO_MEMORIES}circular-percent = 50\nsizes = {{ draw = \"fixed\", bytes = 1024 }}\n\
         memories = {{ dram = 1, l1 = 0 }}\n"
    );
    let file = folder.file("sizes.toml", &text);
    let (text, _) = said(&format!(
        "explore --scenario {file} --discipline lifecycle-narrow --order free-first"
    ));
    assert!(text.contains("allocate s0#1 1024 dram d0"), "{text}");
    assert!(!text.contains("allocate s0#1 4096"), "{text}");
    assert!(
        !text.contains("sizes 1024"),
        "nothing of them was left out: {text}"
    );
}

#[test]
fn a_proof_says_what_was_left_out_of_the_workload() {
    let (text, code) = said("explore --scenario handoff");
    assert_eq!(code, Some(0));
    let head = text.lines().next().expect("a line");
    assert!(head.starts_with("handoff, condensed, under"), "{head}");
    assert!(text.contains("\ncondensed: 2 of 4 threads, 4 of 32,000 operations a thread,"));
    assert!(text.contains("proved: no schedule of the condensed workload makes"));
    let (found, _) = run_json("explore --scenario handoff");
    let whats: Vec<&Value> = found["condensed"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|left_out| &left_out["what"])
        .collect();
    assert!(whats.contains(&&json!("memories")) && whats.contains(&&json!("sizes")));
    let (whole, _) =
        run_json("explore --scenario handoff --as-is --strategy random --schedules 2 --ops 8");
    assert_eq!(whole["condensed"], Value::Null);
}

#[test]
fn the_devices_that_a_scenario_names_are_kept() {
    let folder = Folder::new();
    let text = "name = \"mesh\"\ndevices = 3\n[workload]\nmesh-percent = 50\n";
    let file = folder.file("mesh.toml", text);
    let (text, _) = said(&format!("explore --scenario {file}"));
    assert!(text.contains("3 devices"), "{text}");
    assert!(!text.contains("kinds of buffer"), "mesh and plain: {text}");
}

#[test]
fn a_search_is_never_of_more_than_the_scenario_has() {
    let folder = Folder::new();
    let text =
        "name = \"one\"\nthreads = 1\nops = 2\ndiscipline = \"unlocked\"\norder = \"free-first\"\n";
    let file = folder.file("one.toml", text);
    let (found, code) = run_json(&format!("explore --scenario {file}"));
    assert_eq!((code, &found["verdict"]), (0, &json!("proved")), "{found}");
    assert_eq!((&found["threads"], &found["ops"]), (&json!(1), &json!(2)));
    let (found, _) = run_json(&format!("explore --scenario {file} --threads 2"));
    assert_eq!(found["verdict"], json!("diverged"));
    let words = format!("matrix --workload {file} --discipline unlocked --order free-first");
    // Nobody to race with: that says nothing of the discipline.
    let (found, code) = run_json(&words);
    let inconclusive = json!("inconclusive");
    assert_eq!((code, &found["verdict"]), (3, &inconclusive), "{found}");
}

#[test]
fn a_search_that_was_cut_exits_3() {
    let (cut, code) =
        run_json("explore --discipline unlocked --threads 4 --ops 8 --max-states 1000");
    assert_eq!((code, &cut["verdict"]), (3, &json!("inconclusive")));
    for most in [0, 1, 5, 14] {
        let (cut, code) = run_json(&format!("explore --max-states {most}"));
        assert_eq!(
            (code, &cut["verdict"]),
            (3, &json!("inconclusive")),
            "{most}"
        );
        assert_eq!(cut["states"], json!(most));
    }
}

#[test]
fn what_the_readme_says_of_a_protocol_is_so() {
    let folder = Folder::new();
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"))
        .expect("the README");
    let block = |name: &str| {
        let head = format!("    name       = \"{name}\"\n");
        let start = readme.find(&head).expect("it is in the README");
        let lines = readme[start..].lines().take(3).map(str::trim_start);
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        folder.file(&format!("{name}.toml"), &text)
    };
    let (fix, next) = (block("my-fix"), block("my-next-fix"));
    for file in [&fix, &next] {
        let (text, _) = said(&format!("matrix --discipline {file}"));
        let answer = text.find("Does my-").expect("an answer");
        let mut lines = text[answer..].lines();
        for line in lines.by_ref().take(2) {
            assert!(readme.contains(&format!("    {line}\n")), "{line}");
        }
    }
    let race = folder.path("race.hb");
    record_diverged(&format!("--discipline {fix} --perturb --ops 2000"), &race);
    let race = race.display();
    let small = folder.path("race.toml").display().to_string();
    said(&format!("shrink {race} -o {small}"));
    let (_, code) = said(&format!("replay {small} --adapt --discipline {next}"));
    assert_eq!(code, Some(0));
}

#[test]
fn a_discipline_file_keeps_its_form_in_every_scenario() {
    let folder = Folder::new();
    let fix = folder.file("fix.toml", FORGET_THEN_FREE);
    let words = format!("explore --scenario reported-timeline --discipline {fix}");
    let (found, code) = run_json(&words);
    assert_eq!((code, &found["verdict"]), (0, &json!("proved")));
    let (found, _) = run_json(&format!("{words} --order free-first"));
    assert_eq!(found["verdict"], json!("diverged"));
    let (found, _) = run_json("explore --scenario reported-timeline --discipline tracker-mutex");
    assert_eq!(
        found["verdict"],
        json!("diverged"),
        "a lock scope has the scenario's form"
    );
}

#[test]
fn a_part_of_an_import_is_not_the_whole() {
    let folder = Folder::new();
    let mut rows = "Thread,Time,Action,Pointer,Size,Stream\n".to_owned();
    for (second, action) in [(1, "allocate"), (2, "free")] {
        for address in 1..=5 {
            rows += &format!("1,10:00:0{second}.00000{address},{action},0x{address}000,64,0\n");
        }
    }
    let log = folder.file("rmm.csv", &rows);
    let trace = folder.path("rmm.hb").display().to_string();
    said(&format!("import rmm-log {log} -o {trace}"));
    let (text, _) = said(&format!("explore --workload import:{trace}"));
    assert!(
        text.contains("\ncondensed: 2 of 5 imported allocations\n"),
        "{text}"
    );
    assert!(text.contains("of the condensed workload"), "{text}");
    let (text, _) = said(&format!("explore --as-is --workload import:{trace}"));
    assert!(text.contains("proved: no schedule makes"), "{text}");
}

/// A process that is ended from outside is one of a discipline that says what processes share.
#[test]
fn a_kill_without_cells_is_bad_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("kill.toml");
    std::fs::write(
        &file,
        "name = 'kill'\nthreads = 2\n[workload]\nprocesses = 2\nscript = [['allocate s0#1 64 l1 d0'], ['kill p1']]\n",
    )
    .expect("written");
    let words = format!(
        "explore --scenario {} --discipline lifecycle-wide",
        file.display()
    );
    let (found, code) = run_json(&words);
    assert_eq!(code, 2, "{found}");
    assert!(
        found["error"].to_string().contains("ended from outside"),
        "{found}"
    );
}
