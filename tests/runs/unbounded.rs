//! `explore --threads any`: what it says, and that it never takes the abstraction's word for a run.

use crate::common::run_json;
use serde_json::json;

fn any(words: &str) -> (serde_json::Value, i32) {
    run_json(&format!("explore --threads any {words}"))
}

#[test]
fn a_claim_is_proved_for_any_number_also_where_two_threads_release() {
    for workload in ["own-buffers", "handoff", "shared-free", "circular"] {
        let (found, code) = any(&format!("--scenario {workload} --discipline claimed-wide"));
        assert_eq!((code, &found["verdict"]), (0, &json!("proved")), "{found}");
        assert_eq!(found["threads_any"]["verdict"], "proved", "{found}");
        assert!(
            found["threads_any"]["abstract_states"].as_u64() > Some(5),
            "{found}"
        );
    }
}

#[test]
fn what_diverges_comes_as_a_run_of_so_many_threads() {
    let (found, code) = any("--discipline lifecycle-narrow --order free-first");
    assert_eq!(
        (code, &found["verdict"]),
        (1, &json!("diverged")),
        "{found}"
    );
    assert_eq!(found["threads"], 2);
}

#[test]
fn what_is_not_covered_is_undecided_and_named() {
    for (words, says) in [
        (
            "--discipline views-first --semantics sequenced",
            "without a number",
        ),
        ("--discipline lifecycle-array8", "lifecycle[8]"),
        ("--scenario mesh --discipline views-first", "mesh"),
        (
            "--scenario device-close --discipline claimed-wide",
            "closing a device",
        ),
    ] {
        let (found, code) = any(words);
        assert_eq!(
            (code, &found["verdict"]),
            (3, &json!("inconclusive")),
            "{words}: {found}"
        );
        assert!(found["note"].to_string().contains(says), "{words}: {found}");
    }
}

#[test]
fn a_run_has_a_number_of_threads() {
    let output = crate::common::run("stress --threads any --ops 10");
    assert_eq!(output.status.code(), Some(2));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        complaint.contains("heisenbed explore --threads any"),
        "{complaint}"
    );
}

#[test]
fn a_proof_for_a_server_that_goes_by_numbers_says_what_it_takes() {
    let (found, code) = any("--discipline sequenced --workload handoff --order free-first");
    assert_eq!((code, &found["verdict"]), (0, &json!("proved")), "{found}");
    let said = found["threads_any"]["note"].to_string();
    assert!(said.contains("no more than 65,536"), "{said}");
}
