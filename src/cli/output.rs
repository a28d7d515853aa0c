//! Files that commands write, by one rule: what is there already is replaced only by more of its
//! kind, or with `--force`; and a file is there whole or not at all.
//!
//! A trace that is recorded is written where it will be, so that a killed run leaves its prefix:
//! see [`super::recording`].

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::NamedTempFile;

use crate::corpus::Reproducer;
use crate::native::RunReproducer;
use crate::trace::file::{CaptureSource, Header, TraceFile};
use crate::zoo::results::Results;

/// What a file holds that a command writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputKind {
    /// A reproducer.
    Reproducer,
    /// A reproducer of a program's schedule.
    RunReproducer,
    /// The trace of a run.
    RunTrace,
    /// What a proxy recorded. It replaces nothing, not even more of its kind: of that there is no
    /// second one.
    Capture,
    /// A trace that an import made.
    ImportTrace,
    /// What `zoo bench` measured.
    Measurement,
    /// A page of `report`.
    Page,
    /// What `export` writes. It replaces nothing without leave: who wrote a CSV nobody can tell.
    Export,
    /// A manual page.
    ManPage,
    /// JUnit XML.
    Junit,
    /// A debug log, to which is appended.
    DebugLog,
    /// A lifecycle discipline.
    Discipline,
}

impl OutputKind {
    fn name(self) -> &'static str {
        match self {
            OutputKind::Reproducer => "a reproducer",
            OutputKind::RunReproducer => "a reproducer of `run`",
            OutputKind::RunTrace => "the trace of a run",
            OutputKind::Capture | OutputKind::Export => "empty",
            OutputKind::ImportTrace => "a trace that `import` made",
            OutputKind::Measurement => "a measurement of `zoo bench`",
            OutputKind::Page => "a page that `report` made",
            OutputKind::ManPage => "a manual page",
            OutputKind::Junit => "a JUnit report",
            OutputKind::DebugLog => "a debug log",
            OutputKind::Discipline => "a discipline that `extract` made",
        }
    }

    /// Whether the file at `path` holds this.
    fn is_at(self, path: &Path) -> bool {
        let header = || Some(TraceFile::open(path).ok()?.header().clone());
        match self {
            OutputKind::Reproducer => Reproducer::load(path).is_ok(),
            OutputKind::RunReproducer => RunReproducer::read(path).is_ok(),
            OutputKind::RunTrace => matches!(header(), Some(Header::Run(_))),
            OutputKind::Capture | OutputKind::Export => false,
            OutputKind::ImportTrace => {
                match header() {
                    Some(Header::Import(_)) => true,
                    // Of a proxy's capture there is no second one.
                    Some(Header::Capture(capture)) => capture.source == CaptureSource::Wire,
                    _ => false,
                }
            }
            OutputKind::Measurement => std::fs::read_to_string(path)
                .is_ok_and(|text| serde_json::from_str::<Results>(&text).is_ok()),
            OutputKind::Page => begins_with(path, crate::report::page::MARK),
            OutputKind::ManPage => begins_with(path, ".TH heisenbed"),
            OutputKind::Junit => begins_with(path, "<testsuite"),
            OutputKind::DebugLog => begins_with(path, "BUFFER "),
            // What people wrote by hand is not made again.
            OutputKind::Discipline => std::fs::read_to_string(path)
                .is_ok_and(|text| text.starts_with("# Extracted by heisenbed ")),
        }
    }
}

/// Whether a command may write what is of `kind` to `path`. An empty file and what is no plain file
/// (a device, a pipe) hold nothing that could be lost.
pub(super) fn may_replace(path: &Path, kind: OutputKind, force: bool) -> Result<(), String> {
    if path.as_os_str().is_empty() {
        return Err(format!(
            "the path for {} is empty: name a file",
            kind.name()
        ));
    }
    if path.as_os_str() == "-" {
        return Err("-: it would be a file of that name; for stdout, say /dev/stdout".to_owned());
    }
    let Some(there) = plain_file(path) else {
        return Ok(());
    };
    if force || there.len() == 0 || kind.is_at(path) {
        return Ok(());
    }
    Err(format!(
        "{}: it is there and not {}; give another file, or --force to replace it",
        path.display(),
        kind.name()
    ))
}

/// As [`may_replace`], for a command that reads `input`: that it is of the same kind is no leave to
/// replace it.
pub(super) fn may_replace_beside(
    path: &Path,
    kind: OutputKind,
    input: &Path,
    force: bool,
) -> Result<(), String> {
    if !force && is_same(path, input) {
        return Err(format!(
            "{}: it would replace what is read; give another file, or --force to replace it",
            path.display()
        ));
    }
    may_replace(path, kind, force)
}

/// Writes `text` to `path`: beside it first, so that a full disk leaves what was there.
pub(super) fn write(path: &Path, text: &str) -> Result<(), String> {
    let beside = Beside::create(path).map_err(|error| at(path, &error))?;
    let mut file = beside.file().map_err(|error| at(path, &error))?;
    file.write_all(text.as_bytes())
        .map_err(|error| at(path, &error))?;
    beside.keep().map_err(|error| at(path, &error))
}

/// A file that takes its place when it is whole, and is gone when it is dropped before.
pub(super) enum Beside {
    /// Beside the place.
    New {
        /// What is written.
        file: NamedTempFile,
        /// Its place, links followed.
        place: PathBuf,
    },
    /// No plain file is there: it is written to as it is.
    Direct(File),
}

impl Beside {
    /// For what will be at `path`.
    pub(super) fn create(path: &Path) -> io::Result<Beside> {
        if std::fs::metadata(path).is_ok_and(|data| !data.is_file()) {
            return Ok(Beside::Direct(File::options().write(true).open(path)?));
        }
        let there = plain_file(path);
        let place = match there {
            Some(_) => std::fs::canonicalize(path)?,
            None => path.to_owned(),
        };
        let folder = match place.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mode = there.map_or(0o666, |data| data.permissions().mode() & 0o777);
        let file = tempfile::Builder::new()
            .prefix(".heisenbed-")
            .permissions(PermissionsExt::from_mode(mode))
            .tempfile_in(folder)?;
        unfinished().push(file.path().to_owned());
        Ok(Beside::New { file, place })
    }

    /// To write to.
    pub(super) fn file(&self) -> io::Result<File> {
        match self {
            Beside::New { file, .. } => file.as_file().try_clone(),
            Beside::Direct(file) => file.try_clone(),
        }
    }

    /// It is whole, and takes its place.
    pub(super) fn keep(self) -> io::Result<()> {
        match self {
            Beside::New { file, place } => {
                file.persist(place)?;
                Ok(())
            }
            Beside::Direct(_) => Ok(()),
        }
    }
}

/// Files beside their places that may not be whole yet.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Before the process ends without coming back to who writes them.
pub(super) fn remove_unfinished() {
    for path in unfinished().drain(..) {
        let _ = std::fs::remove_file(path);
    }
}

/// Whether `mark` stands in the first bytes: of a debug log the beginning of a block.
fn begins_with(path: &Path, mark: &str) -> bool {
    const LOOKED_AT_BYTES: u64 = 4096;
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| {
        let mut file = file.take(LOOKED_AT_BYTES);
        file.read_to_end(&mut start)
    });
    read.is_ok() && String::from_utf8_lossy(&start).contains(mark)
}

fn plain_file(path: &Path) -> Option<Metadata> {
    std::fs::metadata(path).ok().filter(Metadata::is_file)
}

/// Whether two paths lead to one plain file.
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path| Some((plain_file(path)?.dev(), plain_file(path)?.ino()));
    id(one).is_some() && id(one) == id(other)
}

fn at(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
