//! Messages that come late are not lost, however late they come.

use heisenbed::diagnosis::{CONFIDENT, Cause, Circumstances, Diagnoser, Diagnosis};
use heisenbed::trace::observation::Observation;
use heisenbed::tracking::MessageKind;
use serde_json::Value;

use super::connections::message;
use super::{first, log, of_text};
use crate::common::{record_diverged, run, run_json};

/// A log in which so many threads release an address and are preempted before their FREE, while
/// others allocate and release it `lives` times.
fn late_by_lives(threads: u64, lives: usize, balanced: bool) -> String {
    let mut events = String::new();
    for thread in 0..threads {
        let address = format!("{:x}", 0x1000 * (thread + 1));
        events += &format!("+{address} ");
        for _ in 0..lives {
            events += &format!("+{address} -{address} ");
        }
        if balanced {
            events += &format!("-{address} ");
        }
    }
    log(&events)
}

#[test]
fn a_free_that_is_late_by_thousands_of_lives_is_not_lost() {
    let (diagnosis, _) = of_text(&late_by_lives(20, 1500, true));
    let (cause, score) = first(&diagnosis).expect("something is wrong");
    // An allocator that has 20 addresses twice among what is free leaves the same.
    assert!(cause == "reordering" && score > 0.8, "{diagnosis:#}");
    // Its twin, whose FREEs never come.
    let (diagnosis, _) = of_text(&late_by_lives(20, 1500, false));
    let (cause, score) = first(&diagnosis).expect("something is wrong");
    assert!(cause == "loss" && score >= CONFIDENT, "{diagnosis:#}");
}

#[test]
fn one_pair_far_apart_is_late_or_lost_and_the_diagnosis_says_so() {
    let (diagnosis, code) = of_text(&late_by_lives(1, 1500, true));
    assert_eq!(code, 1);
    let mut between: Vec<&str> = diagnosis["undecided_between"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    between.sort_unstable();
    assert_eq!(between, ["loss", "reordering"], "{diagnosis:#}");
    let advice = diagnosis["record_to_tell"].to_string();
    assert!(
        advice.contains("record until the clients have ended"),
        "{advice}"
    );
}

/// What is made of these observations, of clients that have ended.
fn diagnosed(observations: &[Observation]) -> Diagnosis {
    let mut diagnoser = Diagnoser::default();
    for observation in observations {
        diagnoser.observe(observation);
    }
    diagnoser.finish(Circumstances {
        complete: true,
        ..Circumstances::default()
    })
}

#[test]
fn messages_of_two_connections_that_come_in_batches_are_not_lost() {
    // One thread allocates and another one releases; the server reads each connection in batches.
    let mut seen = Vec::new();
    for round in 0..4 {
        for (conn, kind) in [(0, MessageKind::Alloc), (1, MessageKind::Free)] {
            for _ in 0..20 {
                for address in 0..12 {
                    let position = seen.len() as u64 + 1;
                    seen.push(message(position, conn, kind, 0x1000 * (address + round)));
                }
            }
        }
    }
    let diagnosis = diagnosed(&seen);
    let loss = diagnosis
        .causes
        .iter()
        .find(|suspect| suspect.cause == Cause::Loss);
    assert!(
        loss.is_none_or(|loss| loss.score < CONFIDENT),
        "{diagnosis:?}"
    );
    assert_eq!(diagnosis.causes[0].cause, Cause::Reordering);
}

#[test]
fn frees_that_are_read_before_their_allocs_are_not_lost() {
    // The server reads the connection of the thread that releases before that of the other one.
    let mut seen = Vec::new();
    for _ in 0..6 {
        for (conn, kind) in [(1, MessageKind::Free), (0, MessageKind::Alloc)] {
            for address in 1..24 {
                let position = seen.len() as u64 + 1;
                seen.push(message(position, conn, kind, 0x1000 * address));
            }
        }
    }
    let diagnosis = diagnosed(&seen);
    let confident = diagnosis.causes.iter().filter(|it| it.score >= CONFIDENT);
    let confident: Vec<Cause> = confident.map(|it| it.cause).collect();
    assert!(
        confident.iter().all(|cause| *cause == Cause::Reordering),
        "{diagnosis:?}"
    );
}

#[test]
fn circular_buffers_are_spoken_of_by_their_messages() {
    let mut seen = Vec::new();
    for address in 0..12 {
        for kind in [
            MessageKind::CbAlloc,
            MessageKind::CbAlloc,
            MessageKind::CbFree,
            MessageKind::CbFree,
        ] {
            let position = seen.len() as u64 + 1;
            seen.push(message(position, 0, kind, 0x1000 * (1 + address)));
        }
    }
    let diagnosis = diagnosed(&seen);
    let suspect = &diagnosis.causes[0];
    assert_eq!(suspect.cause, Cause::Reordering);
    assert_eq!(
        suspect.exhibits[0].words(),
        "CB_ALLOC, the next CB_ALLOC of the address, and only then the first one's CB_FREE"
    );
    assert!(
        suspect.says.starts_with("12 CB_FREEs came after"),
        "{}",
        suspect.says
    );
}

#[test]
fn an_early_free_is_followed_by_its_alloc_and_not_by_another_free() {
    // What the server of a run under early publication gets: one address, each FREE before its own
    // ALLOC.
    let kinds = [MessageKind::Free, MessageKind::Alloc];
    let seen: Vec<Observation> = (0..40)
        .map(|position| {
            let address = 0x100 + 64 * (position / 2 % 2);
            message(position + 1, 0, kinds[position as usize % 2], address)
        })
        .collect();
    let diagnosis = diagnosed(&seen);
    // One FREE too early, or one ALLOC missing, at each of two addresses: too little to be certain
    // of either.
    assert!(diagnosis.trouble);
    assert!(diagnosis.causes.iter().all(|cause| cause.score < CONFIDENT));
}

/// Real threads that release a buffer twice each, give its address back before they say so, and
/// hold no lock: second FREEs among late ones. Their server's log.
#[test]
fn second_releases_among_late_messages_are_no_certain_loss() {
    for discipline in ["lifecycle-narrow", "unlocked"] {
        let folder = tempfile::tempdir().expect("a folder");
        let trace = folder.path().join("run.hb");
        let options = format!(
            "--scenario shared-free --discipline {discipline} --order free-first --perturb \
             --ops 2000 --transport layout=112"
        );
        record_diverged(&options, &trace);
        let log = folder.path().join("server.log").display().to_string();
        let exported = run(&format!("export server-log {} -o {log}", trace.display()));
        assert!(exported.status.success(), "{exported:?}");
        let (diagnosis, _) = run_json(&format!("diagnose {log}"));
        let (cause, score) = first(&diagnosis).expect("something is wrong");
        assert!(
            cause == "double-release" || score < CONFIDENT,
            "{diagnosis:#}"
        );
    }
}
