//! Images: what is left out of their build is none of the sources.

use std::fs;
use std::path::Path;

/// The folders that have sources which a build needs.
const SOURCES: [&str; 6] = ["src", "client", "runtime", "sampling", "corpus", "include"];

fn paths(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("readable").path();
        let below = path.strip_prefix(root).expect("it is below the root");
        found.push(below.display().to_string());
        if path.is_dir() {
            paths(root, &path, found);
        }
    }
}

#[test]
fn an_image_is_built_of_all_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in SOURCES {
        paths(root, &root.join(folder), &mut sources);
    }
    assert!(sources.iter().any(|path| path == "src/native/target"));
    for ignored in [
        "Containerfile.dockerignore",
        "deploy/kubernetes/Dockerfile.dockerignore",
    ] {
        let text = fs::read_to_string(root.join(ignored)).expect("it is there");
        for pattern in text.lines() {
            // A name of one folder is one of a folder of ours, too: `src/native/target`.
            assert!(!pattern.contains('*'), "{ignored}: {pattern}");
            let is_hit = |path: &String| Path::new(path).starts_with(pattern);
            let hit = sources.iter().find(|path| is_hit(path));
            assert_eq!(hit, None, "{ignored}: {pattern}");
        }
    }
}
