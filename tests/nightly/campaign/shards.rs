//! A campaign on many machines, and the merge of what they found.

use super::*;

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
