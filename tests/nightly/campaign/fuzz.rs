//! A campaign with fuzz targets: those that fail, die, or are not there.

use super::*;

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
