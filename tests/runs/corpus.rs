//! The corpus: every reproducer comes out as it says, and its timeline is the one that was
//! reviewed.

use std::path::Path;

use heisenbed::corpus::Reproducer;
use heisenbed::engine::controlled::machine::RunEnd;
use heisenbed::report::Timeline;

#[test]
fn every_reproducer_comes_out_as_expected_with_the_timeline_that_was_reviewed() {
    insta::with_settings!({snapshot_path => "../../snapshots", prepend_module_to_snapshot => false}, {
        insta::glob!("../../corpus/reproducers", "**/*.toml", |path| {
            insta::assert_snapshot!("corpus", story(path));
        });
    });
}

/// What a reader of the corpus wants to know of a reproducer.
fn story(path: &Path) -> String {
    let reproducer = Reproducer::load(path).expect("the corpus parses");
    let rerun = reproducer.run().expect("the corpus can be run");
    let mismatch = rerun
        .mismatch
        .as_ref()
        .map_or("as expected".to_owned(), ToString::to_string);
    let searched = rerun.states.map_or(String::new(), |states| {
        format!("every schedule searched: {states} states\n")
    });
    let drawn = rerun.observed.as_ref().map_or(String::new(), |observed| {
        Timeline {
            scenario: &rerun.setup.scenario,
            events: &observed.events,
            deciding: observed.deciding(),
            completed: observed.end == RunEnd::Completed,
        }
        .render()
    });
    format!(
        "{} ({mismatch})\n{}\n{searched}\n{drawn}",
        rerun.came_out.verdict, reproducer.about
    )
}

#[test]
fn a_reproducer_whose_verdict_changes_says_what_was_expected_and_what_came_out() {
    let text = std::fs::read_to_string("corpus/reproducers/reported/lifecycle-narrow.toml")
        .expect("the reported timeline is in the corpus");
    let wrong = text.replacen("verdict = \"diverged\"", "verdict = \"clean\"", 1);
    let rerun = Reproducer::from_toml(&wrong, "wrong")
        .expect("parses")
        .run()
        .expect("runs");
    let mismatch = rerun.mismatch.expect("it is not clean").to_string();
    assert!(
        mismatch.starts_with("expected clean") && mismatch.contains("diverged"),
        "{mismatch}"
    );
}
