//! `heisenbed diagnose`, as a user runs it: on logs, on imported and on recorded traces, and on
//! runs with a known cause.

mod attached_late;
mod calibrated;
mod coherence;
mod connections;
mod late_or_lost;
mod lost_in_bursts;
mod mistaken;
mod mixed;
mod sent_again;
mod taken_for;
mod uncertain;

use std::fs;
use std::path::Path;

use crate::common::{record_diverged, run, run_json};
use heisenbed::diagnosis::CONFIDENT;
use serde_json::Value;

/// The first cause and its score.
fn first(diagnosis: &Value) -> Option<(String, f64)> {
    let first = diagnosis["causes"].get(0)?;
    Some((
        first["cause"].as_str()?.to_owned(),
        first["score"].as_f64()?,
    ))
}

/// Numbers that look random.
struct Drawn(u64);

impl Drawn {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

/// Diagnoses this text, as a file of its own.
fn of_text(text: &str) -> (Value, i32) {
    let file = tempfile::Builder::new()
        .suffix(".log")
        .tempfile()
        .expect("a temporary file");
    fs::write(file.path(), text).expect("writable");
    run_json(&format!("diagnose {}", file.path().display()))
}

/// A log in short: `+a` allocates at address a (`+a:DRAM` in that memory), `-a` frees it, `!n`
/// sweeps process n, `?n` is a frame of unknown type; `@n` after an ALLOC is its process.
fn log(events: &str) -> String {
    let mut text = String::from("🚀 Allocation Server started\n");
    let mut live: Vec<&str> = Vec::new();
    for event in events.split_whitespace() {
        let (sign, rest) = event.split_at(1);
        let (rest, pid) = rest.split_once('@').unwrap_or((rest, "7"));
        let (address, memory) = rest.split_once(':').unwrap_or((rest, "L1"));
        let line = match sign {
            "+" => {
                live.push(address);
                let refs = live.iter().filter(|known| **known == address).count();
                let refs = if refs > 1 {
                    format!(", ref_count={refs}")
                } else {
                    String::new()
                };
                format!(
                    "✓ [PID {pid}] Allocated 4096 bytes of {memory} on device 0 (buffer_id=0x{address}{refs})"
                )
            }
            "-" => match live.iter().position(|known| *known == address) {
                Some(index) => {
                    live.remove(index);
                    format!(
                        "✗ [PID {pid}] Freed buffer 0x{address} on device 0 (4096 bytes, FINAL)"
                    )
                }
                None => format!(
                    "⚠ [PID {pid}] Deallocation for unknown buffer 0x{address} on device 0 (allocated before tracking started)"
                ),
            },
            "!" => {
                live.clear();
                format!("   PID {rest} is dead, removing its buffers...")
            }
            "?" => format!("Unknown message type: {rest}"),
            _ => panic!("{event}"),
        };
        text += &line;
        text.push('\n');
    }
    text
}

/// Alternating lives at many addresses, so that there is something normal beside the trouble.
fn normal(lives: usize) -> String {
    let mut text = String::new();
    for life in 0..lives {
        let address = life % 16;
        text += &format!("+{:x} ", 0x9000 + address * 16);
        let released = (life + 8) % 16;
        if life >= 8 {
            text += &format!("-{:x} ", 0x9000 + released * 16);
        }
    }
    for life in lives.saturating_sub(8)..lives {
        text += &format!("-{:x} ", 0x9000 + (life % 16) * 16);
    }
    text
}

/// Trouble in the middle of what is normal.
fn amid(trouble: &str) -> String {
    log(&format!("{} {trouble} {}", normal(64), normal(64)))
}

#[test]
fn each_cause_is_told_from_the_lines_it_leaves() {
    let repeated = |pattern: &str| -> String {
        let at = |index: u32| pattern.replace('a', &format!("{:x}", 0x100 + index * 16));
        (0..8).map(at).collect::<Vec<_>>().join(" ")
    };
    let between = normal(20);
    for (cause, text) in [
        ("reordering", amid(&repeated("+a +a -a -a"))),
        ("reordering", amid(&repeated("-a +a +a -a"))),
        (
            "loss",
            amid(&repeated(&format!("+a {between} +a -a +a -a +a -a +a -a"))),
        ),
        ("double-release", amid(&repeated("+a -a -a"))),
        ("type-aliasing", amid("+100:DRAM +100:L1 -100 -100")),
        (
            "late-attach",
            log(&format!(
                "{} {}",
                repeated("-a"),
                normal(64) + &repeated("+a -a")
            )),
        ),
        (
            "dead-client-sweep",
            log(&format!("{} !7 {}", repeated("+a@7"), repeated("-a@7"))),
        ),
        (
            "dead-client-sweep",
            log(&format!("{} {}", repeated("+a@7"), repeated("+a@8 -a@8"))),
        ),
        (
            "pid-reuse",
            amid(&format!(
                "{} {} {}",
                repeated("+a"),
                repeated("+a"),
                repeated("-a +a -a +a -a +a -a")
            )),
        ),
        ("layout-mismatch", amid(&"?0 ?77 ?0 ?9 ".repeat(60))),
        (
            "real-leak",
            log(&format!(
                "{} {} {} !7",
                normal(64),
                repeated("+a"),
                normal(400)
            )),
        ),
    ] {
        let (diagnosis, code) = of_text(&text);
        let (named, score) = first(&diagnosis).unwrap_or_default();
        assert_eq!(named, cause, "{diagnosis:#}");
        assert!(score >= 0.5, "{cause}: {score}");
        assert_eq!(code, 1, "{cause}");
    }
}

#[test]
fn what_fits_together_is_nothing_wrong() {
    for text in [log(&normal(200)), log("+100 +200 -100 +300 -200 -300")] {
        let (diagnosis, code) = of_text(&text);
        assert_eq!(diagnosis["verdict"], "clean");
        assert_eq!(diagnosis["causes"], serde_json::json!([]));
        assert_eq!(code, 0);
    }
}

#[test]
fn a_record_that_begins_after_its_server_is_nothing_wrong_and_says_so() {
    let whole = log(&normal(100));
    let late: Vec<&str> = whole.lines().skip(30).collect();
    let (diagnosis, code) = of_text(&late.join("\n"));
    assert_eq!((diagnosis["verdict"].as_str(), code), (Some("clean"), 0));
    let note = diagnosis["notes"][0].as_str().unwrap_or_default();
    assert!(note.contains("it began before the record"), "{diagnosis:#}");
}

#[test]
fn what_cannot_be_told_names_what_to_record() {
    // FREEs alone: from before the server, or without their ALLOCs.
    let (diagnosis, code) = of_text(&log("-100 -200 -300 -400 -500 -600"));
    assert_eq!(
        (diagnosis["verdict"].as_str(), code),
        (Some("inconclusive"), 1)
    );
    assert!(
        diagnosis["record_to_tell"][0]
            .as_str()
            .is_some_and(|advice| !advice.is_empty())
    );
    assert_eq!(diagnosis["divergences"]["unknown-free"], 6);
}

#[test]
fn a_few_odd_frames_among_sound_ones_are_mentioned_and_not_named() {
    let (diagnosis, _) = of_text(&amid("?13 ?0"));
    let (named, score) = first(&diagnosis).expect("it is mentioned");
    assert_eq!(named, "layout-mismatch");
    assert!(score < 0.5, "{score}");
    assert_eq!(diagnosis["verdict"], "inconclusive");
}

#[test]
fn every_key_is_there_and_evidence_points_at_lines() {
    let text = amid("+100 +100 -100 -100 +200 +200 -200 -200");
    let (diagnosis, _) = of_text(&text);
    for key in
        crate::common::KEYS
            .iter()
            .chain(&["causes", "record_to_tell", "live_at_end", "complete"])
    {
        assert!(diagnosis.get(key).is_some(), "{key}");
    }
    let lines: Vec<&str> = text.lines().collect();
    let evidence = diagnosis["causes"][0]["evidence"]
        .as_array()
        .expect("a list");
    assert_eq!(evidence.len(), 6);
    for line in evidence {
        let line = lines[line.as_u64().expect("a number") as usize - 1];
        assert!(line.contains("0x100") || line.contains("0x200"), "{line}");
    }
}

#[test]
fn a_debug_log_shows_the_call_stack_that_never_releases() {
    let block = |what: &str, address: u64, holder: u64, place: &str| {
        let owns = if what == "BUFFER ALLOCATED" {
            "Owns Data: yes\nHooked: no\n"
        } else {
            ""
        };
        format!(
            "{}\n{what}\nTime: 12:00:00\nDevice: 0\nAddress: {address:#x} ({address})\nSize: 4096 bytes (4 KB)\nType: L1\n\
             Buffer*: {holder:#x}\n{owns}Call Stack:\n    {place}\n    main\n",
            "═".repeat(59)
        )
    };
    let mut text = String::new();
    for index in 0..20 {
        let address = 0x1000 + 64 * (index % 4);
        text += &block(
            "BUFFER ALLOCATED",
            address,
            0x7000 + index,
            "tensor::create()",
        );
        text += &block(
            "BUFFER DEALLOCATED",
            address,
            0x7000 + index,
            "tensor::drop()",
        );
        if index % 10 == 3 {
            text += &block(
                "BUFFER ALLOCATED",
                0x9000 + index * 64,
                0x8000 + index,
                "cache::insert()",
            );
        }
    }
    let (diagnosis, code) = of_text(&text);
    assert_eq!(
        first(&diagnosis).map(|first| first.0).as_deref(),
        Some("real-leak")
    );
    assert_eq!(diagnosis["causes"][0]["confident"], true, "{diagnosis:#}");
    assert_eq!(
        (
            diagnosis["verdict"].as_str(),
            diagnosis["leaks"].as_u64(),
            code
        ),
        (Some("clean"), Some(2), 1)
    );
    let place = &diagnosis["live_by_stack"][0];
    assert_eq!(
        place["stack"],
        serde_json::json!(["cache::insert()", "main"])
    );
    assert_eq!(
        (place["buffers"].as_u64(), place["allocations"].as_u64()),
        (Some(2), Some(2))
    );
}

#[test]
fn recorded_runs_are_diagnosed_by_what_the_server_saw() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (scenario, cause) in [
        ("--scenario reported-timeline", Some("reordering")),
        ("--scenario dontwait-loss", Some("loss")),
        (
            "--scenario shared-free --discipline lifecycle-wide --perturb --ops 4000",
            Some("double-release"),
        ),
        ("--scenario real-leak", Some("real-leak")),
        ("--scenario mixed --ops 4000", None),
        (
            "--scenario own-buffers --discipline sequenced --order free-first --ops 4000",
            None,
        ),
    ] {
        let trace = folder.path().join("run.hb");
        // A leak alone is no divergence.
        if cause.is_some_and(|cause| cause != "real-leak") {
            record_diverged(scenario, &trace);
        } else {
            run(&format!(
                "stress {scenario} --quiet --record {}",
                trace.display()
            ));
        }
        let (diagnosis, code) = run_json(&format!("diagnose {}", trace.display()));
        let first = first(&diagnosis);
        assert_eq!(
            first.as_ref().map(|first| first.0.as_str()),
            cause,
            "{scenario}: {diagnosis:#}"
        );
        assert!(first.is_none_or(|first| first.1 >= CONFIDENT), "{scenario}");
        assert_eq!(code, i32::from(cause.is_some()), "{scenario}");
        assert_eq!(diagnosis["complete"], true, "{scenario}: {diagnosis:#}");
    }
}

#[test]
fn an_imported_trace_says_what_its_text_says() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trace = folder.path().join("log.hb");
    for log in logs() {
        let output = run(&format!(
            "import server-log {log} -o {} --quiet",
            trace.display()
        ));
        assert!(output.status.success());
        let (of_text, _) = run_json(&format!("diagnose {log}"));
        let (of_trace, _) = run_json(&format!("diagnose {}", trace.display()));
        for key in [
            "causes",
            "divergences",
            "verdict",
            "notes",
            "events",
            "messages",
        ] {
            assert_eq!(of_text[key], of_trace[key], "{log}: {key}");
        }
    }
}

#[test]
fn sample_logs_say_what_they_show() {
    for log in logs() {
        let output = run(&format!("diagnose {log} --quiet"));
        let name = Path::new(&log)
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        settings.bind(|| insta::assert_snapshot!(format!("cli_diagnose_{name}"), text));
    }
}

/// The sample logs, by path from the project's folder, where tests run.
fn logs() -> Vec<String> {
    let mut logs: Vec<String> = fs::read_dir("corpus/imports")
        .expect("the corpus is there")
        .map(|entry| entry.expect("readable").path().display().to_string())
        .filter(|path| path.ends_with(".log"))
        .collect();
    logs.sort();
    assert!(logs.len() >= 5);
    logs
}

#[test]
fn what_is_neither_trace_nor_log_is_bad_input() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("noise");
    for bytes in [
        &b""[..],
        b"\x00\xff\x13 noise \n\n",
        b"HBTRACE\0cut",
        b"a text about nothing\nof two lines\n",
    ] {
        fs::write(&file, bytes).expect("writable");
        let output = run(&format!("diagnose {}", file.display()));
        assert_eq!(output.status.code(), Some(2), "{bytes:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
    assert_eq!(run("diagnose").status.code(), Some(2));
    assert_eq!(run("diagnose /nowhere/at/all").status.code(), Some(2));
}

#[test]
fn a_trace_that_was_cut_is_diagnosed_as_far_as_it_reaches() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trace = folder.path().join("run.hb");
    run(&format!(
        "stress --scenario reported-timeline --ops 20000 --record {} --quiet",
        trace.display()
    ));
    let bytes = fs::read(&trace).expect("recorded");
    fs::write(&trace, &bytes[..bytes.len() * 3 / 4]).expect("writable");
    let (diagnosis, _) = run_json(&format!("diagnose {}", trace.display()));
    assert_eq!(diagnosis["complete"], false);
    assert!(diagnosis["note"].as_str().is_some(), "{diagnosis:#}");
    assert_eq!(
        first(&diagnosis).map(|first| first.0).as_deref(),
        Some("reordering")
    );
}

#[test]
fn every_life_at_an_address_that_a_sweep_takes_counts() {
    let (diagnosis, _) = of_text(&log("+100@7 +100@7 +200@8 -200@8 !7 -100@7 -100@7"));
    assert_eq!(first(&diagnosis).expect("a cause").0, "dead-client-sweep");
    assert_eq!(diagnosis["causes"][0]["count"], 2, "{diagnosis}");
    let second = diagnosis["causes"].get(1);
    assert!(second.is_none(), "{diagnosis}");
}
