//! What the program says to people: every help page, the lists, and the verdicts, as snapshots in
//! `snapshots/`.
//!
//! Only what differs from run to run (times, rates, directories) is replaced; counts are part of
//! the text.

use std::process::Stdio;

use crate::common::{discipline_text, heisenbed};

/// What the command writes to stdout (or stderr, where it writes nothing to stdout).
fn said(arguments: &[&str]) -> String {
    let output = heisenbed(arguments)
        .env("COLUMNS", "100")
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let text = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    String::from_utf8(text).expect("the program writes UTF-8")
}

/// Compares `text` with `snapshots/NAME.snap`.
fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(r"\d+\.\d+ s\b", "[time]");
    settings.add_filter(r"[\d,]+ a second", "[rate] a second");
    settings.add_filter(r"\(\d+\.\d+ bytes each\)", "([size] bytes each)");
    settings.add_filter(r"\([\d,]+ bytes\)", "([size] bytes)");
    settings.add_filter(r"/[^\s:]*/([\w.-]+\.(?:hb|toml))", "[directory]/$1");
    settings.add_filter(r"at byte \d+", "at byte [offset]");
    settings.add_filter(r"[ \t]+\n", "\n");
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn every_help_page_is_as_reviewed() {
    snapshot("cli_help", &said(&["--help"]));
    for command in [
        "stress",
        "explore",
        "matrix",
        "check",
        "conformance",
        "diagnose",
        "replay",
        "report",
        "shrink",
        "corpus",
        "campaign",
        "serve",
        "proxy",
        "import",
        "export",
        "init",
        "completions",
        "man",
        "fuzz",
        "disciplines",
        "scenarios",
        "zoo",
    ] {
        snapshot(&format!("cli_help_{command}"), &said(&[command, "--help"]));
    }
    for command in ["show", "bench", "table"] {
        snapshot(
            &format!("cli_help_zoo_{command}"),
            &said(&["zoo", command, "--help"]),
        );
    }
    snapshot("cli_help_fuzz_decode", &said(&["fuzz", "decode", "--help"]));
    for command in ["run", "merge", "prove"] {
        let text = said(&["campaign", command, "--help"]);
        snapshot(&format!("cli_help_campaign_{command}"), &text);
    }
}

#[test]
fn a_race_is_explored_down_to_the_smallest_run_that_shows_it() {
    let narrow = [
        "explore",
        "--discipline",
        "lifecycle-narrow",
        "--order",
        "free-first",
    ];
    snapshot("cli_explore_diverged", &said(&narrow));
    let wide = [
        "explore",
        "--discipline",
        "lifecycle-wide",
        "--order",
        "free-first",
    ];
    snapshot("cli_explore_proved", &said(&wide));
    let pct = [
        "explore",
        "--strategy",
        "pct",
        "--schedules",
        "1000",
        "--discipline",
        "lifecycle-wide",
    ];
    snapshot("cli_explore_pct", &said(&pct));
    let bounded = [
        "explore",
        "--preemptions",
        "0",
        "--discipline",
        "unlocked",
        "--order",
        "free-first",
    ];
    snapshot("cli_explore_bounded", &said(&bounded));
}

#[test]
fn the_matrix_answers_which_fix_works() {
    snapshot("cli_matrix", &said(&["matrix", "--quiet"]));
}

#[test]
fn a_schedule_is_adapted_to_another_protocol_and_says_where_it_was_left() {
    let reported = "corpus/reproducers/reported/lifecycle-narrow.toml";
    snapshot(
        "cli_replay_adapt",
        &said(&[
            "replay",
            reported,
            "--adapt",
            "--discipline",
            "lifecycle-wide",
        ]),
    );
}

#[test]
fn scenarios_and_disciplines_are_listed_with_what_they_show() {
    snapshot("cli_scenarios", &said(&["scenarios"]));
    snapshot("cli_disciplines", &said(&["disciplines"]));
}

#[test]
fn the_zoo_is_listed_and_one_defect_is_shown_with_its_twin() {
    snapshot("cli_zoo", &said(&["zoo"]));
    snapshot("cli_zoo_show", &said(&["zoo", "show", "narrow-lock"]));
}

#[test]
fn a_clean_run_says_what_was_checked_and_what_to_try_next() {
    let text = said(&["stress", "--threads", "2", "--ops", "400"]);
    assert!(text.contains("--order free-first --perturb"));
    snapshot("cli_stress_clean", &text);
}

#[test]
fn leaks_are_told_apart_from_divergences_in_words() {
    let text = said(&[
        "stress",
        "--scenario",
        "real-leak",
        "--threads",
        "1",
        "--ops",
        "200",
    ]);
    snapshot("cli_stress_leaks", &text);
}

#[test]
fn a_diverged_run_and_its_trace_are_told_in_the_same_words() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let (mine, trace) = (at("mine.toml"), at("race.hb"));
    let text = discipline_text(
        "alloc, mark-live, send ALLOC, send ALLOC, publish",
        "claim, send FREE, free, mark-dead",
    );
    std::fs::write(&mine, text).unwrap();
    let arguments = [
        "stress",
        "--threads",
        "1",
        "--ops",
        "100",
        "--discipline",
        &mine,
        "--record",
        &trace,
    ];
    snapshot("cli_stress_diverged", &said(&arguments));
    snapshot("cli_check_diverged", &said(&["check", &trace]));
    let bytes = std::fs::read(&trace).unwrap();
    std::fs::write(&trace, &bytes[..bytes.len() - 10]).unwrap();
    snapshot("cli_check_cut", &said(&["check", &trace]));
}

#[test]
fn imported_logs_are_accounted_for_and_checked_in_words() {
    let directory = tempfile::tempdir().unwrap();
    for name in [
        "01_basic",
        "04_dram_l1_same_addr",
        "20_v144_basic",
        "40_enh",
        "40_v72",
    ] {
        let log = format!("corpus/imports/{name}.log");
        let trace = directory
            .path()
            .join(format!("{name}.hb"))
            .display()
            .to_string();
        let account = said(&["import", "server-log", &log, "-o", &trace]);
        let verdict = said(&["check", &trace]);
        snapshot(
            &format!("cli_import_{name}"),
            &format!("{account}\n$ heisenbed check\n{verdict}"),
        );
    }
}

/// A word may be longer than a line.
#[test]
fn what_replay_draws_is_as_wide_as_the_terminal_with_all_that_stands_above_it() {
    for width in [60, 80, 120] {
        for name in [
            "a-connection-a-thread",
            "counting-server-keeps-the-old-size",
            "lock-table-of-8",
        ] {
            let file = format!("corpus/reproducers/defects/{name}.toml");
            let output = heisenbed(&["replay", &file])
                .env("COLUMNS", width.to_string())
                .stdin(Stdio::null())
                .output()
                .expect("the program starts");
            let text = String::from_utf8(output.stdout).expect("the program writes UTF-8");
            assert!(text.contains("diverged"), "{text}");
            for line in text.lines() {
                let fits = line.chars().count() <= width || !line.trim().contains(' ');
                assert!(fits, "{width} columns: {line}");
            }
        }
    }
}
