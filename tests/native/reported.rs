//! The reported runtime in C++ (`examples/reported`): what its discipline says, its code does; what
//! its code does, `extract` writes down; and a change of a line is noticed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use super::programs::{Ran, binary, run};

/// Each discipline that the example can be.
const VARIANTS: [&str; 8] = [
    "unlocked",
    "tracker-mutex",
    "lifecycle-narrow",
    "lifecycle-wide",
    "lifecycle-array8",
    "global-wide",
    "claimed-wide",
    "views-first",
];

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/reported")
}

/// Builds the program of `folder` into another one.
fn make(folder: &Path, out: &Path, compiler: &str) -> PathBuf {
    make_file("reported", folder, out, compiler)
}

/// Builds a file of `folder` into another one.
fn make_file(name: &str, folder: &Path, out: &Path, compiler: &str) -> PathBuf {
    std::fs::create_dir_all(out).unwrap();
    let lock = std::fs::File::create(out.join(".lock")).unwrap();
    lock.lock().unwrap();
    let program = out.join(name);
    let output = Command::new("make")
        .arg("-C")
        .arg(folder)
        .arg(format!("OUT={}", out.display()))
        .arg(format!("CXX={compiler}"))
        .arg(&program)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    program
}

fn built(name: &str, compiler: &str) -> String {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("reported-{name}"));
    make(&sources(), &out, compiler).display().to_string()
}

/// Built by the system's compiler.
fn plain() -> &'static str {
    static BUILT: OnceLock<String> = OnceLock::new();
    BUILT.get_or_init(|| built("plain", "g++"))
}

/// Built by `heisenbed c++`, so that loads and stores are seen.
fn seen() -> &'static str {
    static BUILT: OnceLock<String> = OnceLock::new();
    BUILT.get_or_init(|| built("seen", &format!("{} c++", binary().display())))
}

/// Both orders and publications.
const FORMS: [(&str, &str); 4] = [
    ("track-first", "late"),
    ("free-first", "late"),
    ("track-first", "early"),
    ("free-first", "early"),
];

/// The whole of its operations, on two devices, with its debug log.
fn mixed<'a>(discipline: &'a str, (order, publish): (&'a str, &'a str)) -> Vec<&'a str> {
    let words = "--workload mixed --devices 2 --debug-log /dev/null --discipline";
    let mut words: Vec<&str> = words.split(' ').collect();
    words.extend([discipline, "--order", order, "--publish", publish]);
    words
}

fn heisenbed(words: &[&str]) -> Ran {
    let output = Command::new(binary())
        .args(["--format", "json", "-q"])
        .args(words)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_str(&stdout)
        .unwrap_or_else(|error| panic!("{words:?}: {error}: {stdout}{stderr}"));
    Ran {
        json,
        code: output.status.code().unwrap(),
    }
}

fn extract(seed: &str, schedules: &str, program: &[&str]) -> Ran {
    let options = ["extract", "--seed", seed, "--schedules", schedules, "--"];
    heisenbed(&[&options[..], program].concat())
}

fn same_as(ran: &Ran) -> Vec<[String; 3]> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let same = ran.json["same_as"].as_array();
    same.unwrap_or_else(|| panic!("{}", ran.json))
        .iter()
        .map(|one| ["discipline", "order", "publish"].map(|key| text(&one[key])))
        .collect()
}

#[test]
fn extract_gives_back_the_discipline_of_each_variant() {
    for (number, discipline) in VARIANTS.into_iter().enumerate() {
        // Each form of two of them, and each variant in one.
        let form = FORMS[number % FORMS.len()];
        let program = [&[seen()][..], &mixed(discipline, form)].concat();
        let ran = extract("1", "4", &program);
        let expected = [[discipline, form.0, form.1].map(str::to_owned)];
        assert_eq!(same_as(&ran), expected, "{}", ran.json["text"]);
        assert_eq!((&ran.json["verdict"], ran.code), (&"clean".into(), 0));
    }
}

#[test]
#[ignore = "ten minutes: each variant in each form, 20 seeds"]
fn extract_gives_back_each_form_by_each_of_20_seeds() {
    for seed in 1..=20 {
        for discipline in VARIANTS {
            for form in FORMS {
                let program = [&[seen()][..], &mixed(discipline, form)].concat();
                let ran = extract(&seed.to_string(), "4", &program);
                let expected = [[discipline, form.0, form.1].map(str::to_owned)];
                assert_eq!(same_as(&ran), expected, "{seed}: {}", ran.json["text"]);
            }
        }
    }
}

#[test]
fn what_was_extracted_is_a_file_that_explore_judges_as_it_does_the_built_in_one() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("mine.toml");
    let file = file.to_str().unwrap();
    let form = ("free-first", "late");
    let words = ["extract", "--schedules", "4", "-o", file, "--", seen()];
    let program = mixed("lifecycle-narrow", form);
    assert_eq!(heisenbed(&[&words[..], &program].concat()).code, 0);
    let text = std::fs::read_to_string(file).unwrap();
    for said in [
        "\"lock lifecycle\",    # Buffer::allocate_impl (buffer.cpp:",
        "# statistics_mutex (the same for all devices): guards only itself, and is left out",
        "\"publish\",           # the operation ends",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let compare = |order: &str| {
        let words = [
            "disciplines",
            "compare",
            file,
            "lifecycle-narrow",
            "--order",
            order,
        ];
        heisenbed(&words).code
    };
    assert_eq!((compare("free-first"), compare("track-first")), (0, 1));
    for (workload, verdict) in [("own-buffers", "diverged"), ("mesh", "diverged")] {
        let search = [
            "explore",
            "--strategy",
            "exhaustive",
            "--threads",
            "2",
            "--ops",
            "4",
        ];
        let of = |discipline: &str, more: &[&str]| {
            let words = ["--workload", workload, "--discipline", discipline];
            heisenbed(&[&search[..], &words, more].concat())
        };
        let mine = of(file, &["--order", "free-first"]);
        let known = of("lifecycle-narrow", &["--order", "free-first"]);
        assert_eq!(mine.json["verdict"], verdict, "{}", mine.json);
        assert_eq!(mine.json["divergences"], known.json["divergences"]);
        assert_eq!(mine.json["states"], known.json["states"]);
    }
    // What was made is made again; what a person wrote is not replaced.
    assert_eq!(heisenbed(&[&words[..], &program].concat()).code, 0);
    std::fs::write(file, "# mine\n").unwrap();
    let refused = heisenbed(&[&words[..], &program].concat());
    assert_eq!(refused.code, 2, "{}", refused.json);
    assert_eq!(std::fs::read_to_string(file).unwrap(), "# mine\n");
}

#[test]
fn what_cannot_be_known_is_no_discipline_without_a_word() {
    let wide = mixed("lifecycle-wide", FORMS[0]);
    let blind = extract("1", "4", &[&[plain()][..], &wide].concat());
    assert_eq!(
        (&blind.json["verdict"], blind.code),
        (&"inconclusive".into(), 3)
    );
    let note = blind.json["note"].to_string();
    assert!(note.contains("heisenbed c++"), "{note}");
    let silent = extract("1", "2", &["/bin/true"]);
    assert_eq!(silent.code, 3, "{}", silent.json);
    let note = silent.json["note"].to_string();
    assert!(note.contains("hb_op_begin"), "{note}");
    let home = tempfile::tempdir().unwrap();
    let program = home.path().join("unmarked");
    let source = "tests/native/programs/tracked/buffers.cpp";
    let status = Command::new("g++")
        .args([
            "-std=c++20",
            "-O1",
            "-g",
            "-pthread",
            "-DANNOTATED",
            "-DWIDE",
            source,
            "-o",
        ])
        .arg(&program)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(status.success());
    let unmarked = extract("1", "4", &[program.to_str().unwrap()]);
    assert_eq!(unmarked.code, 3, "{}", unmarked.json);
    let steps = [
        "lock lifecycle",
        "alloc",
        "send ALLOC",
        "unlock lifecycle",
        "publish",
    ];
    let found = &unmarked.json["discipline"]["allocate"];
    assert_eq!(
        found,
        &serde_json::json!(steps),
        "{}",
        unmarked.json["text"]
    );
}

fn conforms(discipline: &str, program: &[&str]) -> Ran {
    run(&["--conforms", discipline, "--schedules", "8"], program)
}

#[test]
fn executions_are_runs_of_the_discipline_that_the_code_was_written_after() {
    for discipline in [
        "lifecycle-narrow",
        "lifecycle-wide",
        "claimed-wide",
        "views-first",
    ] {
        let program = [&[seen()][..], &mixed(discipline, FORMS[0])].concat();
        let ran = conforms(discipline, &program);
        assert_eq!(ran.json["verdict"], "clean", "{discipline}: {}", ran.json);
        assert!(ran.json["operations"].as_u64() > Some(0));
    }
    let wide = [&[seen()][..], &mixed("lifecycle-wide", FORMS[0])].concat();
    let other = conforms("lifecycle-narrow", &wide);
    assert_eq!(
        (&other.json["verdict"], other.code),
        (&"diverged".into(), 1)
    );
    let blind = [&[plain()][..], &mixed("lifecycle-wide", FORMS[0])].concat();
    let blind = conforms("lifecycle-wide", &blind);
    assert_eq!(
        (&blind.json["verdict"], blind.code),
        (&"inconclusive".into(), 3)
    );
    // An array of 8 is no table without an end.
    let array = [&[seen()][..], &mixed("lifecycle-array8", FORMS[0])].concat();
    let array = conforms("lifecycle-wide", &array);
    let why = array.json["departures"][0]["why"].to_string();
    assert!(why.contains("a table of 8"), "{}", array.json);
}

/// The sources with one line changed in buffer.cpp.
fn mutated(home: &Path, from: &str, to: &str) -> String {
    let folder = home.join("examples/reported");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::create_dir_all(home.join("include")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = "include/heisenbed.h";
    std::fs::copy(root.join(header), home.join(header)).unwrap();
    for entry in std::fs::read_dir(sources()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path
            .extension()
            .is_some_and(|ending| ending == "cpp" || ending == "h")
            || name == "Makefile"
        {
            std::fs::copy(&path, folder.join(name)).unwrap();
        }
    }
    let file = folder.join("buffer.cpp");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{from}");
    std::fs::write(&file, text.replace(from, to)).unwrap();
    let compiler = format!("{} c++", binary().display());
    make(&folder, &home.join("out"), &compiler)
        .display()
        .to_string()
}

#[test]
fn a_line_that_was_changed_is_named_with_the_step_that_it_breaks() {
    let lock =
        "    Guard lifecycle(wide_lock(runtime_.options, device_)); // level 2 as described\n";
    let allocation = "    if (!runtime_.allocator(device_, memory_).allocate_buffer(size_, &address_))\n        \
         return false;\n";
    let check = "    if (!is_allocated())\n        return;\n";
    let send = "        runtime_.tracker.track_deallocate(tracked);\n";
    for (from, to, program, step, expected, found) in [
        (
            format!("{lock}{allocation}"),
            format!("{allocation}{lock}"),
            "allocate",
            1,
            "lock lifecycle",
            "alloc",
        ),
        (
            check.into(),
            String::new(),
            "deallocate",
            1,
            "check-live",
            "lock ",
        ),
        (
            send.into(),
            send.repeat(2),
            "deallocate",
            7,
            "free",
            "lock ",
        ),
    ] {
        let home = tempfile::tempdir().unwrap();
        let changed = mutated(home.path(), &from, &to);
        let ran = conforms(
            "lifecycle-wide",
            &[&[&changed[..]][..], &mixed("lifecycle-wide", FORMS[0])].concat(),
        );
        assert_eq!(
            (&ran.json["verdict"], ran.code),
            (&"diverged".into(), 1),
            "{from}"
        );
        let first = &ran.json["departures"][0];
        assert_eq!(first["program"], program, "{from}: {first}");
        let said = first["found"].as_str().unwrap_or_default();
        assert!(said.starts_with(found), "{from}: {first}");
        // A debug log is written here: the numbers are those of the file.
        assert_eq!(first["expected"], expected, "{from}: {first}");
        assert_eq!(first["step"], step, "{from}: {first}");
        assert!(first["place"].as_str().unwrap().contains("cpp:"), "{first}");
    }
}

/// As a target it is also driven by drawn programs, in memories that all begin at one address.
#[test]
fn as_a_target_the_right_disciplines_are_not_accused_and_a_wrong_one_is() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reported-target");
    let library = make_file("libreported.so", &sources(), &out, "g++");
    let library = library.display().to_string();
    let verdict = |options: &str| {
        let words = "run -q --format json --schedules 40 --scenario own-buffers --target";
        let mut words: Vec<&str> = words.split(' ').collect();
        words.extend([&library, "--target-options", options]);
        let ran = heisenbed(&words);
        (ran.json["verdict"].clone(), ran.json["failure"].to_string())
    };
    for discipline in ["lifecycle-wide", "global-wide", "claimed-wide"] {
        for (order, publish) in FORMS {
            let options = format!("discipline={discipline},order={order},publish={publish}");
            let (verdict, failure) = verdict(&options);
            assert_eq!(verdict, "clean", "{options}: {failure}");
        }
    }
    let (wrong, _) = verdict("discipline=lifecycle-narrow,order=free-first");
    assert_eq!(wrong, "diverged");
}

/// Where each thread has so many allocations.
fn code<'a>(workload: &'a str, more: &'a str) -> Vec<&'a str> {
    let devices = if workload == "mesh" { "2" } else { "1" };
    let mut words = vec!["--workload", workload, "--devices", devices];
    words.extend(more.split(' '));
    words
}

#[test]
fn the_code_fails_where_its_discipline_is_refuted_and_nowhere_else() {
    for (workload, variant, fails) in [
        (
            "own",
            "--discipline lifecycle-narrow --order free-first",
            true,
        ),
        (
            "own",
            "--discipline lifecycle-wide --order free-first",
            false,
        ),
        ("own", "--discipline unlocked", false),
        (
            "handoff",
            "--discipline lifecycle-narrow --publish early",
            true,
        ),
        (
            "handoff",
            "--discipline lifecycle-wide --publish early",
            false,
        ),
        ("mesh", "--discipline lifecycle-wide", true),
        ("mesh", "--discipline views-first", false),
        ("shared", "--discipline lifecycle-wide", true),
        ("shared", "--discipline claimed-wide", false),
        (
            "circular",
            "--discipline lifecycle-narrow --order free-first",
            true,
        ),
        (
            "circular",
            "--discipline lifecycle-wide --order free-first",
            false,
        ),
    ] {
        let program = [&[plain()][..], &code(workload, variant)].concat();
        let ran = run(
            &["--tracking", "--schedules", "100", "--no-shrink"],
            &program,
        );
        let verdict = if fails { "diverged" } else { "clean" };
        assert_eq!(
            ran.json["verdict"], verdict,
            "{workload} {variant}: {}",
            ran.json
        );
        assert_eq!(ran.json["check"], "exact", "{workload} {variant}");
    }
}

#[test]
fn every_schedule_of_the_smallest_case_is_run_and_proves_it() {
    let exhaustive = [
        "--tracking",
        "--strategy",
        "exhaustive",
        "--schedules",
        "2000",
    ];
    for (workload, variant, verdict) in [
        (
            "own",
            "--ops 1 --discipline lifecycle-wide --order free-first",
            "proved",
        ),
        (
            "own",
            "--ops 1 --discipline lifecycle-narrow --order free-first",
            "diverged",
        ),
        (
            "handoff",
            "--ops 1 --discipline lifecycle-wide --publish early",
            "proved",
        ),
        (
            "handoff",
            "--ops 1 --discipline lifecycle-narrow --publish early",
            "diverged",
        ),
    ] {
        let program = [&[seen()][..], &code(workload, variant)].concat();
        let ran = run(&[&exhaustive[..], &["--no-shrink"]].concat(), &program);
        assert_eq!(
            ran.json["verdict"], verdict,
            "{workload} {variant}: {}",
            ran.json
        );
    }
    // Two threads may open two connections: the order between these is the server's choice.
    let variant = "--ops 1 --discipline unlocked --connect lazy";
    let program = [&[seen()][..], &code("own", variant)].concat();
    let ran = run(&[&exhaustive[..], &["--no-shrink"]].concat(), &program);
    assert_ne!(ran.json["verdict"], "proved", "{}", ran.json);
}

#[test]
fn the_smallest_failure_has_four_operations_and_one_preemption() {
    let variant = "--ops 1 --discipline lifecycle-narrow --order free-first";
    let program = [&[seen()][..], &code("own", variant)].concat();
    let ran = run(&["--tracking", "--strategy", "exhaustive"], &program);
    assert_eq!(ran.json["preemptions"], 1, "{}", ran.json);
    assert_eq!(
        ran.json["minimum"]["proved"], true,
        "{}",
        ran.json["minimum"]
    );
    assert_eq!(ran.json["ops"], 8, "four a schedule, in two: {}", ran.json);
}
