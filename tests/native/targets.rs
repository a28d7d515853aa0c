//! Targets: other people's allocators as shared libraries, driven by `run --target` and
//! `stress --target`: what they print, keep and refuse.

mod planted;
mod processes;
mod surveyed;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use serde_json::Value;

use super::programs::{binary, folder};

/// A library, built once by the system's compilers with these flags: each test is a process, and
/// takes what another has built.
pub(crate) fn built(name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("native-targets");
    std::fs::create_dir_all(&out).unwrap();
    let lock = std::fs::File::create(out.join(".lock")).unwrap();
    lock.lock().unwrap();
    let library = out.join(format!("{name}.so"));
    let compiler = if source.ends_with(".c") { "cc" } else { "c++" };
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let source = folder().join("targets").join(source);
    let mut command = Command::new(compiler);
    command
        .args([
            "-g", "-O1", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", "-pthread", "-I",
        ])
        .arg(&include)
        .args(flags)
        .arg(&source);
    let said_how = out.join(format!("{name}.how"));
    let how = format!("{command:?}");
    let parts = [folder(), folder().join("targets"), include];
    if std::fs::read_to_string(&said_how).is_ok_and(|said| said == how)
        && modified(&library)
            > parts
                .iter()
                .flat_map(files)
                .filter_map(|of| modified(&of))
                .max()
    {
        return library;
    }
    // Other processes may be using the one that is there.
    let beside = out.join(format!("{name}.{}", std::process::id()));
    let output = command.arg("-o").arg(&beside).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    std::fs::rename(beside, &library).unwrap();
    std::fs::write(said_how, how).unwrap();
    library
}

/// The library `plain` of this source, built by `heisenbed cc`.
pub(crate) fn instrumented(plain: &Path, source: &str) -> PathBuf {
    let out = plain.with_extension("instrumented.so");
    let status = Command::new(binary())
        .args(["cc", "-g", "-O1", "-fPIC", "-shared", "-pthread", "-I"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"))
        .arg(folder().join("targets").join(source))
        .arg("-o")
        .arg(&out)
        .status()
        .unwrap();
    assert!(status.success());
    out
}

fn files(folder: &PathBuf) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path())
}

fn modified(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).ok()?.modified().ok()
}

fn arena() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built("arena", "arena.c", &[]))
}

fn lifecycle() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built("lifecycle", "lifecycle.cpp", &["-std=c++17"]))
}

pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.stdout);
        parsed.unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }

    pub(crate) fn kind(&self) -> Option<String> {
        Some(self.json()["failure"]["kind"].as_str()?.to_owned())
    }
}

pub(crate) fn heisenbed(words: &[&str]) -> Said {
    let output = Command::new(binary())
        .arg("-q")
        .args(words)
        .output()
        .unwrap();
    Said {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(crate) fn with(command: &str, library: &Path, options: &str, more: &[&str]) -> Said {
    let library = library.display().to_string();
    let words = [
        command,
        "--format",
        "json",
        "--target",
        &library,
        "--target-options",
        options,
    ];
    heisenbed(&[&words, more].concat())
}

/// How many operations are left.
pub(crate) fn left(json: &Value) -> usize {
    let threads = json["smallest"].as_array().unwrap();
    threads
        .iter()
        .map(|ops| ops.as_array().unwrap().len())
        .sum()
}

/// Small memories, so that some allocations find no room.
pub(crate) const TIGHT: [&str; 4] = ["--profile", "custom:1x6144", "--ops", "4"];

#[test]
fn the_same_search_finds_the_same_and_is_replayed_and_shrunk_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("found.toml").display().to_string();
    let again = folder.path().join("again.toml").display().to_string();
    let small = folder.path().join("small.toml").display().to_string();
    for path in [&file, &again] {
        let found = with("run", arena(), "stale-header", &["--save", path]);
        assert_eq!(found.code, 1, "{}", found.json());
    }
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, std::fs::read_to_string(&again).unwrap());
    assert!(
        text.contains("[target]") && text.contains("allocate s0#1"),
        "{text}"
    );
    let replayed = heisenbed(&["replay", &file]);
    assert_eq!(replayed.code, 0, "{}{}", replayed.stdout, replayed.stderr);
    assert!(
        replayed.stdout.contains("as expected (overlap)"),
        "{}",
        replayed.stdout
    );
    assert!(
        replayed.stdout.contains("arena_deallocate (arena.c:"),
        "{}",
        replayed.stdout
    );
    assert!(
        replayed.stdout.contains("release s0#1:"),
        "{}",
        replayed.stdout
    );
    let whole = folder.path().join("whole.toml").display().to_string();
    let more = ["--save", &whole, "--no-shrink"];
    assert_eq!(with("run", arena(), "stale-header", &more).code, 1);
    let shrunk = heisenbed(&["shrink", &whole, "-o", &small]);
    assert_eq!(shrunk.code, 0, "{}{}", shrunk.stdout, shrunk.stderr);
    assert_eq!(heisenbed(&["replay", &small]).code, 0);
    let count = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap();
        text.matches("allocate s").count()
    };
    assert!(count(&small) < count(&whole), "{}", shrunk.stdout);
}

#[test]
fn what_stress_found_is_kept_as_a_reproducer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("found.toml").display().to_string();
    let found = with(
        "stress",
        arena(),
        "off-by-one",
        &["--ops", "200", "--record", &file],
    );
    assert_eq!(
        found.json()["reproducer"],
        file.as_str(),
        "{}",
        found.json()
    );
    assert_eq!(heisenbed(&["replay", &file]).code, 0);
    let refused = with(
        "stress",
        arena(),
        "",
        &["--record", &binary().display().to_string()],
    );
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    let trace = folder.path().join("run.hb").display().to_string();
    let refused = with("stress", arena(), "off-by-one", &["--record", &trace]);
    assert_eq!(refused.code, 2, "{}", refused.stdout);
    let said = refused.stdout + &refused.stderr;
    assert!(
        said.contains("run.toml") && said.contains("extract"),
        "{said}"
    );
    assert!(!Path::new(&trace).exists());
}

/// The first failure has all that there is; whatever is left out, the rest does not come to an end.
#[test]
fn few_of_the_simpler_runs_that_hang_are_tried() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (whole, hung) = (file("whole.toml"), file("hung"));
    let library = built("interrupted", "interrupted.c", &[]);
    let more = ["--ops", "8", "--no-shrink", "--save", &whole];
    let found = with("run", &library, "calm", &more);
    assert_eq!(
        found.kind().as_deref(),
        Some("invariant"),
        "{}",
        found.json()
    );
    let text = std::fs::read_to_string(&whole).unwrap();
    assert!(text.contains("calm"), "{text}");
    std::fs::write(&whole, text.replace("calm", &hung)).unwrap();
    let shrunk = heisenbed(&["shrink", &whole]);
    assert!(
        [0, 1].contains(&shrunk.code),
        "{}{}",
        shrunk.stdout,
        shrunk.stderr
    );
    // Three each: of those with less to do, of those with fewer preemptions, and for the proof; one
    // in the process of others is run once more. Each takes a second.
    let hung = std::fs::metadata(&hung).unwrap().len();
    assert!((1..=18).contains(&hung), "{hung}: {}", shrunk.stdout);
    assert!(
        shrunk
            .stdout
            .contains("is not proved: too many of the schedules that were tried hang"),
        "{}",
        shrunk.stdout
    );
    // What found less, and three that hung. What a busy machine runs once more is not counted.
    let (_, tried) = shrunk.stdout.split_once(", before ").unwrap();
    let (_, tried) = tried.split_once('(').unwrap();
    let tried: u64 = tried.split(' ').next().unwrap().parse().unwrap();
    assert!(tried <= 6, "{tried}: {}", shrunk.stdout);
}

#[test]
fn messages_are_held_against_the_truth() {
    let exact = with("run", lifecycle(), "", &[]);
    assert_eq!(exact.json()["verdict"], "clean", "{}", exact.json());
    assert_eq!(exact.json()["check"], "exact");
    let silent = with("run", lifecycle(), "silent", &[]);
    assert_eq!(silent.json()["check"], "totals", "{}", silent.json());
    assert_ne!(silent.json()["verdict"], "diverged", "{}", silent.json());
    for (options, verdict) in [("free-first", "diverged"), ("free-first wide", "clean")] {
        let found = with("run", lifecycle(), options, &[]);
        assert_eq!(
            found.json()["verdict"],
            verdict,
            "{options}: {}",
            found.json()
        );
        if verdict == "diverged" {
            assert!(left(&found.json()) <= 3, "{}", found.json()["smallest"]);
        }
        let more = ["--ops", "2000", "--perturb", "--runs", "10"];
        let found = with("stress", lifecycle(), options, &more);
        assert_eq!(
            found.json()["verdict"],
            verdict,
            "{options}: {}",
            found.json()
        );
        assert_eq!(found.json()["check"], "exact");
    }
}

#[test]
fn a_plain_status_word_that_two_threads_test_is_a_data_race() {
    let out = lifecycle().with_file_name("instrumented.so");
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let status = Command::new(binary())
        .args([
            "c++",
            "-std=c++17",
            "-g",
            "-O1",
            "-fPIC",
            "-shared",
            "-pthread",
            "-I",
        ])
        .arg(include)
        .arg(folder().join("targets/lifecycle.cpp"))
        .arg("-o")
        .arg(&out)
        .status()
        .unwrap();
    assert!(status.success());
    what_it_does_is_extracted_and_conforms(&out);
    let found = with("run", &out, "", &["--scenario", "shared-free"]);
    assert_eq!(found.code, 1, "{}", found.json());
    let clean = with("run", &out, "wide", &["--scenario", "shared-free"]);
    assert_eq!(clean.json()["verdict"], "clean", "{}", clean.json());
}

/// The driver marks operations: a target gives its discipline back, and another is no run of it.
fn what_it_does_is_extracted_and_conforms(library: &Path) {
    let out = tempfile::tempdir().unwrap();
    for (options, steps) in [
        ("wide", ["lock", "send FREE", "free"]),
        ("free-first wide", ["lock", "free", "send FREE"]),
    ] {
        let file = out
            .path()
            .join(format!("{}.toml", options.replace(' ', "-")));
        let file = file.to_str().unwrap();
        let more = ["--schedules", "8"];
        let extracted = with(
            "extract",
            library,
            options,
            &[&more[..], &["-o", file]].concat(),
        );
        assert_eq!(
            extracted.code, 0,
            "{}{}",
            extracted.stdout, extracted.stderr
        );
        let text = std::fs::read_to_string(file).unwrap();
        let release = &text[text.find("deallocate = [").unwrap()..];
        let at = steps.map(|step| release.find(&format!("\"{step}")).expect(step));
        assert!(at.is_sorted(), "{options}: {text}");
        assert!(!text.contains("outside of marked operations"), "{text}");
        let conforms = [&more[..], &["--conforms", file]].concat();
        let same = with("run", library, options, &conforms);
        assert_eq!(same.code, 0, "{}", same.json());
        let other = with("run", library, "", &conforms);
        assert_eq!(other.code, 1, "{}", other.json());
        assert!(!other.json()["departures"].as_array().unwrap().is_empty());
    }
}

fn dram_only() -> PathBuf {
    built(
        "dram-only",
        "arena.c",
        &["-DARENA_HAS=(1u<<HB_MEMORY_DRAM)"],
    )
}

#[test]
fn what_a_scenario_has_in_several_memories_is_condensed_to_one_that_the_target_has() {
    let clean = with("run", &dram_only(), "", &["--schedules", "20"]);
    let json = clean.json();
    assert_eq!(clean.code, 0, "{json}");
    assert_eq!(json["verdict"], "clean", "{json}");
    let found = with("run", &dram_only(), "misaligned", &[]);
    let json = found.json();
    assert_eq!(found.kind().as_deref(), Some("misaligned"), "{json}");
    assert!(json["smallest"].to_string().contains("dram"), "{json}");
}

#[test]
fn what_a_target_cannot_do_is_said() {
    let lacks = |library: &Path, more: &[&str]| {
        let said = with("run", library, "", more);
        assert_eq!(said.code, 2, "{}{}", said.stdout, said.stderr);
        said.stdout + &said.stderr
    };
    for (scenario, what) in [
        ("mesh", "buffers over several devices"),
        ("shared-free", "buffers that two threads release"),
        ("device-close", "the closing of a device"),
        ("preallocated", "pre-allocated buffers"),
    ] {
        let said = lacks(arena(), &["--scenario", scenario]);
        assert!(said.contains(what) && said.contains(scenario), "{said}");
    }
    let said = lacks(&dram_only(), &["--scenario", "reported-timeline"]);
    for what in [
        "no memory l1",
        "HB_TARGET_UNSUPPORTED",
        "it has dram;",
        "dram = 1",
    ] {
        assert!(said.contains(what), "{what}: {said}");
    }
    let unknown = built("unknown", "arena.c", &["-DARENA_ABILITIES=512"]);
    let said = lacks(&unknown, &[]);
    assert!(
        said.contains("0x200") && said.contains("HB_TARGET_TRACKS"),
        "{said}"
    );
    let newer = built("newer", "arena.c", &["-DARENA_ABI=7"]);
    assert!(lacks(&newer, &[]).contains("version 7 of the target ABI"));
    let none = binary();
    assert!(lacks(&none, &[]).contains("heisenbed"));
    let early = lacks(arena(), &["--publish", "early"]);
    assert!(early.contains("HB_TARGET_PUBLISHES_EARLY"), "{early}");
    assert!(lacks(Path::new("/nowhere/lib.so"), &[]).contains("/nowhere/lib.so"));
    let stress = with("stress", arena(), "", &["--scenario", "mesh"]);
    assert_eq!(stress.code, 2, "{}", stress.stderr);
}

/// Inputs as a fuzzer would make them: drawn bytes, of one, two or three threads.
pub(crate) fn drawn(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..1 + 4 * 400).map(|_| byte()).collect()
}

#[test]
fn an_input_of_the_fuzzer_is_a_scenario() {
    let folder = tempfile::tempdir().unwrap();
    let (input, scenario) = (
        folder.path().join("input"),
        folder.path().join("found.toml"),
    );
    let mut bytes = drawn(1);
    bytes[0] = 0;
    std::fs::write(&input, &bytes[..81]).unwrap();
    let (input, scenario) = (input.display().to_string(), scenario.display().to_string());
    let decoded = heisenbed(&["fuzz", "decode", "target", &input, "-o", &scenario]);
    assert_eq!(decoded.code, 0, "{}", decoded.stderr);
    let found = with("run", arena(), "off-by-one", &["--scenario", &scenario]);
    assert_eq!(found.code, 1, "{}{}", found.stdout, found.stderr);
}

/// docs/targets.md goes through these.
#[test]
fn the_examples_of_the_documentation_fail_as_it_says() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/targets");
    for (name, kind) in [("bump.c", "overlap"), ("free_list.cpp", "")] {
        let source = examples.join(name);
        let flags: &[&str] = if name.ends_with(".cpp") {
            &["-std=c++17"]
        } else {
            &[]
        };
        let library = built(name, source.to_str().unwrap(), flags);
        if name.ends_with(".cpp") {
            let more = ["--perturb", "--runs", "20", "--ops", "2000"];
            let found = with("stress", &library, "", &more);
            assert_eq!(found.code, 1, "{}{}", found.stdout, found.stderr);
        }
        let compiler = if name.ends_with(".cpp") { "c++" } else { "cc" };
        let instrumented = library.with_extension("heisenbed.so");
        let status = Command::new(binary())
            .args([compiler, "-g", "-O1", "-fPIC", "-shared", "-pthread", "-I"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"))
            .args(flags)
            .arg(&source)
            .arg("-o")
            .arg(&instrumented)
            .status()
            .unwrap();
        assert!(status.success());
        let found = with("run", &instrumented, "", &[]);
        assert_eq!(found.code, 1, "{}{}", found.stdout, found.stderr);
        if !kind.is_empty() {
            assert_eq!(found.kind().as_deref(), Some(kind), "{}", found.json());
        }
        assert!(left(&found.json()) <= 6, "{}", found.json()["smallest"]);
    }
}

#[test]
fn a_workload_without_operations_is_no_clean_one() {
    let nothing = with("run", lifecycle(), "", &["--ops", "1", "--schedules", "3"]);
    assert_eq!(nothing.code, 2, "{}", nothing.stdout);
}
