//! Reproducers in files, as `replay`, `shrink` and `corpus` run and show them.

use std::path::Path;

use super::terminal_style;
use crate::corpus::{Reproducer, Rerun};
use crate::report::Timeline;

/// Whether a file is a reproducer, by its name, rather than a trace.
pub(super) fn is_text(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "toml")
}

/// Runs the reproducer in a file; errors name the file.
pub(super) fn rerun_of(path: &Path) -> Result<Rerun, String> {
    let reproducer = Reproducer::load(path).map_err(|error| error.to_string())?;
    reproducer
        .run()
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// What came out instead.
pub(super) fn drawn(rerun: &Rerun) -> String {
    rerun.observed.as_ref().map_or(String::new(), |observed| {
        format!(
            "\n{}\n",
            terminal_style::timeline(&Timeline::of(&rerun.setup.scenario, observed))
        )
    })
}
