//! One proof in parts, on several machines: whole when all parts are there.

use super::*;

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
