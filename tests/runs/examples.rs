//! The programs in `examples/` say what their first lines promise.

use std::fs::File;
use std::io::BufReader;

#[allow(dead_code, reason = "tests take the answer, `main` prints it")]
#[path = "../../examples/prove_my_lock.rs"]
mod prove_my_lock;
#[allow(dead_code, reason = "tests take the answer, `main` prints it")]
#[path = "../../examples/read_a_log.rs"]
mod read_a_log;
#[allow(dead_code, reason = "tests take the answer, `main` prints it")]
#[path = "../../examples/stress_and_check.rs"]
mod stress_and_check;

fn assert_parts(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn a_lock_is_proved_until_a_workload_refutes_it() {
    let text = prove_my_lock::answer(prove_my_lock::MY_LOCK).expect("it can be searched");
    assert_parts(
        &text,
        &[
            "own-buffers: proved",
            "handoff: proved",
            "shared-free: diverged",
            "preempted here",
        ],
    );
    let text = prove_my_lock::answer("claimed-wide").expect("it can be searched");
    assert_parts(&text, &["own-buffers: proved", "shared-free: proved"]);
}

#[test]
fn a_lock_with_a_mistake_is_refused_with_its_line() {
    let wrong = prove_my_lock::MY_LOCK.replace("lock tracker", "lock gate");
    let error = prove_my_lock::answer(&wrong)
        .expect_err("no such lock")
        .to_string();
    assert_parts(&error, &["the discipline:", "gate"]);
}

#[test]
fn a_stressed_race_is_recorded_checked_and_made_small() {
    let text = stress_and_check::answer("lifecycle-narrow").expect("it runs");
    assert_parts(
        &text,
        &["messages diverged:", "× ", "The smallest:", "at rest"],
    );
    let text = stress_and_check::answer("claimed-wide").expect("it runs");
    assert_parts(&text, &["none of 20 runs diverged"]);
}

#[test]
fn a_log_is_counted_and_diagnosed() {
    let log = File::open(read_a_log::SAMPLE).expect("it ships");
    let text = read_a_log::answer(BufReader::new(log)).expect("it can be read");
    assert_parts(
        &text,
        &[
            "120 lines, 0 of them not understood",
            "ALLOC",
            "type-aliasing (score 0.91)",
        ],
    );
}
