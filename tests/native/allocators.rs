//! Three allocators of different kinds, written as their users would: a ring, buddies, and slabs
//! with a cache for each thread. Whatever is planted in them is found by `run`, by `stress` and by
//! fuzzing, and made small; the twins are silent.

use std::path::{Path, PathBuf};

use heisenbed::fuzzing::target::FuzzedTarget;

use super::targets::{Said, TIGHT, built, drawn, left, with};

/// The file, the fault, the kinds that it may show as, and how few operations show it.
const FAULTS: [(&str, &str, &[&str], usize); 15] = [
    ("ring", "no-lock", &["overlap"], 2),
    ("ring", "misaligned", &["misaligned"], 2),
    ("ring", "wrap", &["overlap"], 8),
    ("ring", "one-at-a-time", &["fragmented"], 4),
    ("ring", "end", &["out-of-bounds"], 10),
    ("ring", "wrong-totals", &["wrong-totals"], 6),
    ("buddy", "no-lock", &["overlap", "crash", "invariant"], 3),
    ("buddy", "order", &["overlap", "invariant"], 8),
    ("buddy", "lost", &["fragmented", "exhausted"], 12),
    (
        "buddy",
        "stale-header",
        &["invariant", "overlap", "fragmented"],
        4,
    ),
    ("buddy", "totals", &["wrong-totals"], 4),
    ("slab", "no-lock", &["overlap", "crash", "wrong-totals"], 4),
    ("slab", "lost-page", &["fragmented"], 6),
    ("slab", "dead-class", &["fragmented"], 12),
    ("slab", "border", &["overlap", "out-of-bounds"], 4),
];

fn library(name: &str) -> PathBuf {
    built(name, &format!("{name}.cpp"), &["-std=c++17"])
}

fn is_found(found: &Said, fault: (&str, &str, &[&str], usize)) {
    let (name, fault, kinds, fewest) = fault;
    let json = found.json();
    assert_eq!(found.code, 1, "{name} {fault}: {json}");
    let kind = found.kind().unwrap();
    assert!(kinds.contains(&kind.as_str()), "{name} {fault}: {json}");
    let left = left(&json);
    assert!(
        0 < left && left <= fewest,
        "{name} {fault}: {}",
        json["smallest"]
    );
}

fn found_by_run(name: &str) {
    for fault in FAULTS.into_iter().filter(|fault| fault.0 == name) {
        is_found(&with("run", &library(name), fault.1, &[]), fault);
    }
}

#[test]
fn faults_of_a_ring_are_found_by_run() {
    found_by_run("ring");
}

#[test]
fn faults_of_buddies_are_found_by_run() {
    found_by_run("buddy");
}

#[test]
fn faults_of_slabs_are_found_by_run() {
    found_by_run("slab");
}

/// What real threads show depends on them: where they show nothing, one thread alone does, or two
/// under control.
///
/// Only faults that leave no loop in the allocator's own lists, each of which takes its whole time.
fn found_by_stress(faults: &[&str]) {
    let is_one = |fault: &(&str, &str, _, _)| faults.contains(&fault.1);
    for (name, fault, kinds, fewest) in FAULTS.into_iter().filter(is_one) {
        let more = ["--ops", "100", "--perturb"];
        let found = with("stress", &library(name), fault, &more);
        // Of what is racing, another consequence may come first.
        let kinds = [kinds, &["overlap", "exhausted", "crash", "fragmented"]].concat();
        is_found(&found, (name, fault, &kinds, 2 * fewest + 8));
    }
}

#[test]
fn faults_of_a_ring_are_found_by_stress() {
    found_by_stress(&["misaligned", "wrap", "one-at-a-time", "wrong-totals"]);
}

#[test]
fn faults_of_buddies_and_slabs_are_found_by_stress() {
    found_by_stress(&["lost", "totals", "border"]);
}

fn fuzzed(library: &Path, fault: &str) -> Option<String> {
    let mut target = FuzzedTarget::new(library, fault).unwrap();
    (0..60).find_map(|seed| target.run(&drawn(seed)).err())
}

#[test]
fn their_faults_are_found_by_fuzzing() {
    // One of each kind: the driver that does it is the one of the survey, which `run` has shown.
    let some = ["wrap", "wrong-totals", "lost", "border"];
    for (name, fault, kinds, _) in FAULTS.into_iter().filter(|one| some.contains(&one.1)) {
        let found = fuzzed(&library(name), fault).unwrap_or_default();
        let kind = found.split(':').next().unwrap();
        // In what is soon full, another consequence may come first.
        let kinds = [kinds, &["exhausted", "overlap", "fragmented"]].concat();
        assert!(kinds.contains(&kind), "{name} {fault}: {found}");
    }
}

#[test]
fn their_twins_are_silent() {
    for name in ["ring", "buddy", "slab"] {
        let library = library(name);
        let tight = ["--profile", "custom:1x65536", "--ops", "6"];
        for more in [&[][..], &tight, &["--scenario", "handoff"]] {
            let clean = with("run", &library, "", more);
            let json = clean.json();
            assert_eq!(json["verdict"], "clean", "{name} {more:?}: {json}");
            let survey = &json["target"]["survey"];
            assert!(survey["programs"].as_u64().unwrap() >= 1000, "{json}");
            assert!(survey["note"].is_null(), "{json}");
        }
        for more in [
            &["--ops", "2000"][..],
            &["--ops", "200", "--profile", "custom:1x65536", "--perturb"],
        ] {
            let clean = with("stress", &library, "", more);
            assert_eq!(clean.json()["verdict"], "clean", "{name}: {}", clean.json());
        }
        assert_eq!(fuzzed(&library, ""), None, "{name}");
    }
}

#[test]
fn what_one_thread_alone_shows_is_kept_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("found.toml").display().to_string();
    let found = with("run", &library("buddy"), "order", &["--save", &file]);
    assert_eq!(found.code, 1, "{}", found.stderr);
    let again = super::targets::heisenbed(&["replay", &file]);
    assert_eq!(again.code, 0, "{}{}", again.stdout, again.stderr);
    assert!(again.stdout.contains("overlap"), "{}", again.stdout);
}

/// The arena, declaring this policy.
fn of_policy(policy: &str) -> PathBuf {
    let flag = format!("-DARENA_POLICY=\"{policy}\"");
    built(&format!("arena-{policy}"), "arena.c", &[&flag])
}

/// What a target declares, and what it does instead.
const BROKEN_POLICIES: [(&str, &[&str]); 3] = [
    ("first-fit", &["last-fit", "worst-fit", "other-end"]),
    ("best-fit", &["first-fit", "last-fit", "worst-fit"]),
    ("top-down", &["first-fit", "worst-fit", "other-end"]),
];

fn is_misplaced(found: &Said, policy: &str, fault: &str) {
    let json = found.json();
    assert_eq!(found.code, 1, "{policy} {fault}: {json}");
    assert_eq!(
        found.kind().as_deref(),
        Some("misplaced"),
        "{policy} {fault}: {json}"
    );
    assert!(
        json.to_string().contains(&format!("where {policy} puts")),
        "{policy} {fault}: {json}"
    );
}

#[test]
fn a_policy_that_is_declared_and_broken_is_found_by_run() {
    for (policy, faults) in BROKEN_POLICIES {
        for fault in faults {
            let found = with("run", &of_policy(policy), fault, &[]);
            is_misplaced(&found, policy, fault);
            // Best fit needs two holes of two sizes, each below a buffer that stays.
            let left = left(&found.json());
            assert!(left <= 12, "{policy} {fault}: {}", found.json());
        }
    }
}

#[test]
fn a_policy_that_is_declared_and_broken_is_found_by_stress() {
    for (policy, faults) in BROKEN_POLICIES {
        for fault in faults {
            let found = with("stress", &of_policy(policy), fault, &["--ops", "200"]);
            is_misplaced(&found, policy, fault);
        }
    }
}

#[test]
fn whoever_places_as_it_declares_is_silent() {
    for (policy, _) in BROKEN_POLICIES {
        let library = of_policy(policy);
        for more in [&[][..], &TIGHT, &["--scenario", "handoff"]] {
            let clean = with("run", &library, "", more);
            let json = clean.json();
            assert_eq!(json["verdict"], "clean", "{policy} {more:?}: {json}");
        }
        for more in [
            &["--ops", "20000"][..],
            &["--ops", "2000", "--profile", "custom:1x65536", "--perturb"],
        ] {
            let clean = with("stress", &library, "", more);
            assert_eq!(
                clean.json()["verdict"],
                "clean",
                "{policy}: {}",
                clean.json()
            );
        }
    }
}
