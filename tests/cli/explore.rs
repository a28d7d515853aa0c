//! `explore`, `matrix`, `shrink`, `replay` and `corpus` as scripts use them: exit codes, JSON keys,
//! files.

use crate::common::{KEYS, record_diverged, run, run_json};
use serde_json::{Value, json};

fn without_time(mut value: Value) -> Value {
    value["elapsed_s"] = Value::Null;
    value
}

#[test]
fn what_is_drawn_does_not_depend_on_the_number_of_workers() {
    for strategy in ["random", "pct", "urw"] {
        let words = |workers: u32| {
            format!(
                "explore --strategy {strategy} --schedules 3000 --discipline lifecycle-narrow --order free-first --seed 7 --workers {workers}"
            )
        };
        let (one, code) = run_json(&words(1));
        assert_eq!((code, &one["verdict"]), (1, &json!("diverged")));
        assert_eq!(one["schedules"], json!(3000));
        for workers in [2, 3] {
            let (more, _) = run_json(&words(workers));
            assert_eq!(
                without_time(more).to_string(),
                without_time(one.clone()).to_string()
            );
        }
    }
}

/// The spaces are larger than what a search goes through by one thread (8,192 states).
#[test]
fn what_a_search_finds_does_not_depend_on_the_number_of_workers() {
    for (words, verdict) in [
        (
            "explore --defect adaptivecpp-2209 --twin --threads 3 --ops 2",
            "proved",
        ),
        (
            "explore --defect adaptivecpp-2209 --threads 3 --ops 2 --all-kinds --max-states 11000",
            "diverged",
        ),
    ] {
        let (one, _) = run_json(&format!("{words} --workers 1"));
        assert_eq!(one["verdict"], json!(verdict), "{words}");
        assert!(
            one["states"].as_u64() > Some(10_500),
            "{words}: {}",
            one["states"]
        );
        for workers in [2, 3] {
            let (more, _) = run_json(&format!("{words} --workers {workers}"));
            assert_eq!(
                without_time(more).to_string(),
                without_time(one.clone()).to_string(),
                "{words}"
            );
        }
    }
}

#[test]
fn another_seed_draws_other_schedules() {
    let words =
        "explore --strategy random --schedules 500 --discipline unlocked --order free-first --seed";
    let (one, _) = run_json(&format!("{words} 1"));
    let (two, _) = run_json(&format!("{words} 2"));
    assert_ne!(one["schedule"], two["schedule"]);
}

#[test]
fn a_proof_exits_0_and_a_race_1_with_the_documented_keys() {
    let (proof, code) = run_json("explore --discipline lifecycle-wide --order free-first");
    assert_eq!((code, &proof["verdict"]), (0, &json!("proved")));
    let (race, code) = run_json("explore --discipline unlocked --order free-first");
    assert_eq!((code, &race["verdict"]), (1, &json!("diverged")));
    assert_eq!(race["first"]["kind"], json!("duplicate-alloc"));
    assert_eq!(race["preemptions"], json!(1));
    for key in KEYS {
        assert!(race.get(key).is_some() && proof.get(key).is_some(), "{key}");
    }
}

#[test]
fn what_was_not_searched_is_not_proved() {
    let (cut, code) =
        run_json("explore --discipline unlocked --threads 4 --ops 8 --max-states 1000");
    assert_eq!((code, &cut["verdict"]), (3, &json!("inconclusive")));
    assert!(
        cut["note"]
            .as_str()
            .is_some_and(|note| note.contains("not the whole space"))
    );
    let (bounded, code) =
        run_json("explore --discipline unlocked --order free-first --preemptions 0");
    assert_eq!((code, &bounded["verdict"]), (0, &json!("inconclusive")));
    assert!(
        bounded["note"]
            .as_str()
            .is_some_and(|note| note.contains("at most 0 preemptions"))
    );
    assert_eq!(bounded["preemption_bound"], json!(0));
}

#[test]
fn a_recorded_race_shrinks_to_a_reproducer_that_replays_and_joins_the_corpus() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    record_diverged(
        "--discipline lifecycle-narrow --order free-first --perturb --threads 3 --ops 1000",
        &folder.path().join("race.hb"),
    );
    let (shrunk, code) = run_json(&format!("shrink {} -o {}", at("race.hb"), at("race.toml")));
    assert_eq!((code, &shrunk["verdict"]), (0, &json!("diverged")));
    assert_eq!(shrunk["threads"], json!(2));
    assert_eq!(
        (&shrunk["replayed"], &shrunk["replays"]),
        (&json!(20), &json!(20))
    );
    assert_eq!(shrunk["reproducer"], json!(at("race.toml")));
    let (replayed, code) = run_json(&format!("replay {}", at("race.toml")));
    assert_eq!((code, &replayed["replayed"]), (0, &json!(true)));
    assert_eq!(replayed["divergences"], shrunk["divergences"]);
    let (fixed, code) = run_json(&format!(
        "replay {} --adapt --discipline lifecycle-wide",
        at("race.toml")
    ));
    assert_eq!((code, &fixed["verdict"]), (0, &json!("clean")));
    assert!(fixed["left_at"].is_u64());
    let corpus = at("corpus");
    let (added, code) = run_json(&format!(
        "corpus add {} --name mine --dir {corpus}",
        at("race.toml")
    ));
    assert_eq!(code, 0, "{added}");
    assert_eq!(
        run(&format!(
            "corpus add {} --name mine --dir {corpus}",
            at("race.toml")
        ))
        .status
        .code(),
        Some(2)
    );
    let (ran, code) = run_json(&format!("corpus run --dir {corpus}"));
    assert_eq!((code, &ran["failed"]), (0, &json!(0)));
    let path = folder.path().join("corpus/mine.toml");
    let text = std::fs::read_to_string(&path).expect("it was added");
    std::fs::write(
        &path,
        text.replace("lock lifecycle", "lock global")
            .replace("unglobal", "unlock"),
    )
    .expect("writable");
    let (_, code) = run_json(&format!("corpus run --dir {corpus}"));
    assert_eq!(code, 0, "another narrow lock shows the same");
    let text = std::fs::read_to_string(&path).expect("it is there");
    std::fs::write(
        &path,
        text.replace("duplicate-alloc = 1", "duplicate-alloc = 2"),
    )
    .expect("writable");
    let (ran, code) = run_json(&format!("corpus run --dir {corpus}"));
    assert_eq!((code, &ran["failed"]), (1, &json!(1)));
    assert!(
        ran["reproducers"][0]["problem"]
            .as_str()
            .is_some_and(|problem| problem.contains("expected"))
    );
}

#[test]
fn what_is_no_reproducer_is_refused_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("broken.toml");
    for (text, part) in [
        ("schedule = \"t0*x\"", "no run of steps"),
        ("[expect]\nverdict = \"fine\"", "unknown variant"),
        ("nonsense", "broken.toml"),
    ] {
        std::fs::write(&path, text).expect("writable");
        let output = run(&format!("replay {}", path.display()));
        assert_eq!(output.status.code(), Some(2), "{text}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains(part) && said.contains("broken.toml"),
            "{said}"
        );
    }
    assert_eq!(run("explore --threads 70").status.code(), Some(2));
    assert_eq!(run("corpus run --dir /nonexistent").status.code(), Some(2));
}

#[test]
fn the_matrix_lists_its_cells_for_scripts() {
    let (matrix, code) = run_json(
        "matrix --discipline unlocked,lifecycle-wide --workload own-buffers --semantics typed --workers 2",
    );
    assert_eq!(code, 1);
    let cells = matrix["cells"].as_array().expect("a list");
    assert_eq!(cells.len(), 8);
    for cell in cells {
        for key in [
            "discipline",
            "order",
            "publish",
            "workload",
            "semantics",
            "verdict",
            "states",
            "divergences",
            "reproducer",
        ] {
            assert!(cell.get(key).is_some(), "{key}");
        }
        let broken = cell["discipline"] == "unlocked" && cell["order"] == "free-first";
        assert_eq!(
            cell["verdict"],
            json!(if broken { "diverged" } else { "proved" })
        );
    }
}
