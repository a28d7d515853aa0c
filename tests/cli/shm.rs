//! `heisenbed shm`: regions of counters in files, sound and not.

use std::path::Path;

use serde_json::{Value, json};

use crate::common::{run, run_json};

const CHIPS: usize = 48 + 8 * 5;
const PROCESSES: usize = CHIPS + 16 * (8 + 8 * 5);
const READY: usize = PROCESSES + 64 * (80 + 8 * 5);

/// A region of version 4 with one buffer of 4,096 bytes of L1 that `pid` has.
fn region(pid: u32) -> Vec<u8> {
    let mut bytes = vec![0; READY + 40];
    let mut put = |at: usize, word: u32| bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    put(0, 4);
    put(40, 3); // the device
    for slot in 0..16 {
        put(CHIPS + slot * 48, if slot == 0 { 0 } else { u32::MAX });
    }
    put(48 + 8, 4096);
    put(CHIPS + 8 + 8, 4096);
    put(PROCESSES, pid);
    put(PROCESSES + 8 + 8, 4096);
    put(READY, 0x5245_4459);
    bytes
}

fn read(path: &Path) -> (Value, i32) {
    run_json(&format!("shm {}", path.display()))
}

#[test]
fn a_sound_region_is_clean_and_its_totals_are_a_probe() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tt_device_9_memory");
    std::fs::write(&path, region(std::process::id())).expect("written");
    let (found, code) = read(&path);
    assert_eq!((code, &found["verdict"]), (0, &json!("clean")), "{found:#}");
    assert_eq!(found["regions"][0]["totals"]["l1"], 4096);
    assert_eq!(found["regions"][0]["processes"][0]["alive"], true);
    let totals = run(&format!("shm --totals {}", path.display()));
    let totals = String::from_utf8_lossy(&totals.stdout).into_owned();
    assert_eq!(totals, "3 dram 0\n3 l1 4096\n3 l1-small 0\n3 trace 0\n");
}

#[test]
fn a_dead_process_and_a_counter_below_nothing_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("region");
    // No process has so high a number.
    std::fs::write(&path, region(0x3fff_ffff)).expect("written");
    let (found, code) = read(&path);
    assert_eq!(
        (code, &found["verdict"]),
        (1, &json!("diverged")),
        "{found:#}"
    );
    assert_eq!(found["divergences"], json!({ "phantom-live": 1 }));
    let mut below = region(std::process::id());
    below[48..56].copy_from_slice(&64_u64.wrapping_neg().to_le_bytes());
    std::fs::write(&path, below).expect("written");
    let (found, code) = read(&path);
    assert_eq!(code, 1, "{found:#}");
    assert_eq!(found["divergences"]["underflow"], 1, "{found:#}");
}

#[test]
fn what_is_no_region_is_bad_input_and_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("region");
    for (bytes, says) in [
        (vec![], "too few"),
        (vec![0; 9280], "version 0"),
        (b"PK\x03\x04 something else".to_vec(), "not known"),
    ] {
        std::fs::write(&path, bytes).expect("written");
        let (found, code) = read(&path);
        assert_eq!(code, 2, "{found:#}");
        assert!(found["error"].to_string().contains(says), "{found:#}");
    }
    let (found, code) = read(&folder.path().join("none"));
    assert_eq!(code, 2, "{found:#}");
    assert!(found["error"].to_string().contains("none"), "{found:#}");
}

#[test]
fn a_pipe_is_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.expect("mkfifo runs").success());
    let (found, code) = read(&path);
    assert_eq!(code, 2, "{found:#}");
    assert!(
        found["error"].to_string().contains("no regular file"),
        "{found:#}"
    );
}
