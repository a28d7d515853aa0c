//! What is kept of a search, so that it can be left at any moment and taken up again.
//!
//! Of what was learnt only which schedules it was learnt from is kept, and which instructions touch
//! shared memory: a search that is taken up runs those schedules once more. So nothing in the file
//! depends on where the program was loaded, and the search goes on as if it had never been left.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::plan::RunPlan;
use super::program::UserProgram;
use super::search::{Search, SearchPlan};

/// A search and where it is kept.
#[derive(Debug)]
pub(crate) struct SearchState {
    path: PathBuf,
    kept: KeptSearch,
    written: Instant,
}

/// Why a file does not keep this search.
#[derive(Debug, Error)]
pub(crate) enum StateError {
    /// It cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is something else.
    #[error("{}: it keeps no search of this version of heisenbed: {error}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Where and why.
        error: serde_json::Error,
    },
    /// It keeps another search.
    #[error(
        "{}: it keeps another search ({differs}); give the same options and program, or another \
         --state",
        path.display()
    )]
    Other {
        /// Which.
        path: PathBuf,
        /// What differs.
        differs: String,
    },
}

/// The file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptSearch {
    /// Always `search`.
    kind: StateKind,
    search: SearchIdentity,
    /// The first schedule that was not drawn.
    next: u64,
    found: Search,
    /// The first that failed.
    failed: Option<u64>,
    hot: Vec<HotSince>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StateKind {
    Search,
}

/// What decides which schedules are drawn, and what comes of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchIdentity {
    heisenbed: String,
    program: PathBuf,
    args: Vec<String>,
    build_id: String,
    strategy: String,
    seed: u64,
    first: u64,
    keep_going: bool,
    spurious: bool,
    early_percent: u32,
    max_steps: u64,
    timeout_ms: u64,
}

/// Bits of the map of instructions that touch shared memory, and the schedule that showed them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HotSince {
    pub(super) schedule: u64,
    pub(super) bits: Vec<u16>,
}

/// Between two times that it is written.
const INTERVAL: Duration = Duration::from_secs(1);

impl SearchState {
    /// What `path` keeps of this search; nothing yet, if it is not there.
    pub(crate) fn open(
        path: &Path,
        program: &UserProgram,
        search: &SearchPlan,
        timeout: Duration,
    ) -> Result<SearchState, StateError> {
        let identity = SearchIdentity::of(program, search, timeout);
        let kept = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => KeptSearch {
                kind: StateKind::Search,
                search: identity,
                next: search.first,
                found: Search::default(),
                failed: None,
                hot: Vec::new(),
            },
            Err(error) => {
                return Err(StateError::Unreadable {
                    path: path.to_owned(),
                    error,
                });
            }
            Ok(text) => {
                let kept: KeptSearch =
                    serde_json::from_str(&text).map_err(|error| StateError::Malformed {
                        path: path.to_owned(),
                        error,
                    })?;
                if kept.search != identity {
                    return Err(StateError::Other {
                        path: path.to_owned(),
                        differs: differences(&kept.search, &identity),
                    });
                }
                kept
            }
        };
        Ok(SearchState {
            path: path.to_owned(),
            kept,
            written: Instant::now(),
        })
    }

    /// The first schedule that is still to be drawn.
    pub(super) fn next(&self) -> u64 {
        self.kept.next
    }

    /// The first that failed.
    pub(super) fn failed(&self) -> Option<u64> {
        self.kept.failed
    }

    /// What was found so far, but for the failure itself.
    pub(super) fn found(&self) -> &Search {
        &self.kept.found
    }

    /// What schedule `index` showed of instructions that touch shared memory.
    pub(super) fn hot_of(&self, schedules: std::ops::Range<u64>) -> Vec<u16> {
        let shown = self.kept.hot.iter();
        shown
            .filter(|since| schedules.contains(&since.schedule))
            .flat_map(|since| since.bits.iter().copied())
            .collect()
    }

    /// Schedule `index` was drawn.
    pub(super) fn drawn(&mut self, index: u64, plan: &RunPlan, found: &Search, bits: Vec<u16>) {
        debug_assert_eq!(plan.index, index);
        self.kept.next = index + 1;
        if found.failures > 0 {
            self.kept.failed.get_or_insert(index);
        }
        if !bits.is_empty() {
            self.kept.hot.push(HotSince {
                schedule: index,
                bits,
            });
        }
    }

    /// Writes it, now and then, or `at_once`: whenever the machine stops, the file is the old or
    /// the new one.
    pub(super) fn write(&mut self, found: &Search, at_once: bool) -> std::io::Result<()> {
        if !at_once && self.written.elapsed() < INTERVAL {
            return Ok(());
        }
        self.written = Instant::now();
        self.kept.found = Search {
            failed: None,
            ..found.clone()
        };
        let folder = self.path.parent().filter(|path| path != &Path::new(""));
        let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        serde_json::to_writer(&mut file, &self.kept)?;
        file.write_all(b"\n")?;
        file.persist(&self.path)?;
        Ok(())
    }
}

impl SearchIdentity {
    fn of(program: &UserProgram, search: &SearchPlan, timeout: Duration) -> SearchIdentity {
        let plan = &search.plan;
        SearchIdentity {
            heisenbed: env!("CARGO_PKG_VERSION").to_owned(),
            program: program.path.clone(),
            args: program.arg_texts(),
            build_id: program.build_id.clone(),
            strategy: format!("{:?}", plan.strategy),
            seed: plan.seed,
            first: search.first,
            keep_going: search.keep_going,
            spurious: plan.spurious,
            early_percent: plan.early_percent,
            max_steps: plan.max_steps,
            timeout_ms: timeout.as_millis() as u64,
        }
    }
}

/// The fields in which two searches differ.
fn differences(kept: &SearchIdentity, wanted: &SearchIdentity) -> String {
    let fields = |identity| serde_json::to_value(identity).unwrap_or_default();
    let (kept, wanted) = (fields(kept), fields(wanted));
    let differ: Vec<String> = kept
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, was)| wanted[name.as_str()] != **was)
        .map(|(name, was)| format!("{name} {was} there, {} here", wanted[name.as_str()]))
        .collect();
    differ.join("; ")
}
