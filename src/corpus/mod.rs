//! The corpus: reproducers as regressions.
//!
//! A [`Reproducer`] is a small scenario with its operations, the schedule that shows something, and
//! what must come of it; as text, to be reviewed like code. [`files`] finds them in a folder.

pub(crate) mod reproducer;

use std::path::{Path, PathBuf};

pub use reproducer::{Expected, Mismatch, Provenance, Reproducer, ReproducerError, Rerun};

/// The reproducers in `folder` and the folders in it, sorted by path.
pub(crate) fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
