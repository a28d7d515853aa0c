//! Recordings, which are written where they will be, so that a killed command leaves what was
//! recorded by then. What was at the place is moved beside it first, and goes when the new one is
//! whole: at no moment is there neither.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::trace::file::TraceFile;

/// A place that a recording is written to.
#[derive(Debug)]
pub(super) struct Recording {
    /// Links followed; nothing where no plain file is written (a device, a pipe).
    place: Option<PathBuf>,
    /// Where that is now which was there.
    before: Option<PathBuf>,
}

impl Recording {
    /// Makes the place at `path` free.
    pub(super) fn begin(path: &Path) -> io::Result<Recording> {
        let there = match std::fs::metadata(path) {
            Ok(there) if !there.is_file() => {
                return Ok(Recording {
                    place: None,
                    before: None,
                });
            }
            there => there.ok(),
        };
        let place = match &there {
            Some(_) => std::fs::canonicalize(path)?,
            None => path.to_owned(),
        };
        let before = match there {
            Some(there) if there.len() > 0 => {
                let before = free_name(&place);
                std::fs::rename(&place, &before)?;
                Some(before)
            }
            _ => None,
        };
        Ok(Recording {
            place: Some(place),
            before,
        })
    }

    /// The recording is whole: what was there before may go.
    pub(super) fn keep(self) -> io::Result<()> {
        match self.before {
            Some(before) => std::fs::remove_file(before),
            None => Ok(()),
        }
    }

    /// The recording did not come to its end. Puts back what was there, where nothing of it was
    /// written; else both stay, and the words say where the other one is.
    pub(super) fn fail(self) -> String {
        let Some(place) = self.place else {
            return String::new();
        };
        if holds_nothing(&place) {
            let _ = match &self.before {
                Some(before) => std::fs::rename(before, &place),
                None => std::fs::remove_file(&place),
            };
            return String::new();
        }
        self.before.map_or(String::new(), |before| {
            format!("; what was there before is in {}", before.display())
        })
    }
}

/// The file at `path`, to write to and to read back.
pub(super) fn create(path: &Path) -> Result<File, String> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .map_err(|error| at(path, &error))
}

/// Whether nothing was recorded in the file at `place`: it is empty, absent or only a header.
fn holds_nothing(place: &Path) -> bool {
    std::fs::metadata(place).map_or(true, |data| data.len() == 0)
        || TraceFile::open(place)
            .is_ok_and(|trace| trace.streams().next().is_none() && trace.end().is_none())
}

/// A name beside `place` that no file has.
fn free_name(place: &Path) -> PathBuf {
    let named = |number: u64| {
        let mut name = place.as_os_str().to_owned();
        name.push(match number {
            1 => ".before".to_owned(),
            number => format!(".before-{number}"),
        });
        PathBuf::from(name)
    };
    let is_free = |path: &PathBuf| std::fs::symlink_metadata(path).is_err();
    (1..)
        .map(named)
        .find(is_free)
        .expect("a folder has fewer files than there are numbers")
}

fn at(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_there_stays_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("run.hb");
        fs::write(&place, "old").expect("writable");
        fs::write(folder.path().join("run.hb.before"), "the user's").expect("writable");
        let recording = Recording::begin(&place).expect("free");
        fs::write(&place, "new").expect("writable");
        assert_eq!(
            names(folder.path()),
            ["run.hb", "run.hb.before", "run.hb.before-2"]
        );
        recording.keep().expect("removable");
        assert_eq!(names(folder.path()), ["run.hb", "run.hb.before"]);
        assert_eq!(fs::read_to_string(&place).expect("readable"), "new");
    }

    #[test]
    fn of_a_recording_that_failed_nothing_is_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("run.hb");
        fs::write(&place, "old").expect("writable");
        let recording = Recording::begin(&place).expect("free");
        create(&place).expect("writable");
        assert_eq!(recording.fail(), "");
        assert_eq!(names(folder.path()), ["run.hb"]);
        assert_eq!(fs::read_to_string(&place).expect("readable"), "old");

        let recording = Recording::begin(&place).expect("free");
        fs::write(&place, "ne").expect("writable");
        assert!(recording.fail().ends_with("run.hb.before"));
        assert_eq!(names(folder.path()), ["run.hb", "run.hb.before"]);
    }

    #[test]
    fn a_link_stays_and_a_device_is_written_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let (place, link) = (folder.path().join("run.hb"), folder.path().join("link"));
        fs::write(&place, "old").expect("writable");
        std::os::unix::fs::symlink(&place, &link).expect("a link");
        let recording = Recording::begin(&link).expect("free");
        create(&link).expect("writable");
        recording.keep().expect("removable");
        assert_eq!(names(folder.path()), ["link", "run.hb"]);
        assert_eq!(fs::read_to_string(&place).expect("readable"), "");

        let null = Path::new("/dev/null");
        let recording = Recording::begin(null).expect("a device");
        create(null).expect("writable");
        assert_eq!(recording.fail(), "");
        assert!(null.exists());
    }
}
