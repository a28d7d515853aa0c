//! Every file in `corpus/fuzz/` through the fuzz target that it is for.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use heisenbed::fuzzing::{FuzzTarget, TARGETS};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/fuzz")
}

/// The files of a target, in order of their names.
fn seeds(target: &str) -> Vec<PathBuf> {
    let folder = corpus().join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    files.sort();
    files
}

#[test]
fn every_seed_passes_its_target() {
    for FuzzTarget { name, run, .. } in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in seeds {
            let bytes = std::fs::read(&seed).expect("a readable seed");
            catch_unwind(|| run(&bytes))
                .unwrap_or_else(|_| panic!("{name}: {} fails", seed.display()));
        }
    }
}

#[test]
fn every_prefix_and_flipped_byte_of_a_seed_passes_too() {
    for FuzzTarget { name, run, .. } in TARGETS {
        for seed in seeds(name) {
            let mut bytes = std::fs::read(&seed).expect("a readable seed");
            let step = (bytes.len() / 16).max(1);
            for at in (0..bytes.len()).step_by(step) {
                run(&bytes[..at]);
                bytes[at] ^= 1 << (at % 8);
                run(&bytes);
                bytes[at] ^= 1 << (at % 8);
            }
        }
    }
}

#[test]
fn every_folder_has_its_target() {
    let mut folders: Vec<String> = std::fs::read_dir(corpus())
        .expect("a readable folder")
        .map(|entry| {
            let name = entry.expect("a readable folder").file_name();
            name.to_string_lossy().into_owned()
        })
        .collect();
    folders.sort();
    let mut targets: Vec<String> = TARGETS
        .iter()
        .map(|target| target.name.to_owned())
        .collect();
    targets.sort();
    assert_eq!(folders, targets);
}
