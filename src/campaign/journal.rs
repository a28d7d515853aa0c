//! The journal: JSON Lines, appended as units are done and flushed each, read back to resume and to
//! merge.
//!
//! A line that was cut by a crash is the last one; it has no end and is dropped, and its unit is
//! done again.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::CampaignError;
use super::record::CampaignRecord;

/// A journal that is being written.
#[derive(Debug)]
pub(crate) struct CampaignJournal {
    file: File,
    path: PathBuf,
}

impl CampaignJournal {
    /// Opens the journal at `path`, which need not exist, tells `each` of every record, and drops a
    /// line that was cut.
    pub(crate) fn open(
        path: &Path,
        each: &mut dyn FnMut(CampaignRecord),
    ) -> Result<CampaignJournal, CampaignError> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(CampaignError::io(path))?;
        let whole = read_from(&file, path, each)?;
        file.set_len(whole).map_err(CampaignError::io(path))?;
        let mut journal = CampaignJournal {
            file,
            path: path.to_owned(),
        };
        journal
            .file
            .seek(SeekFrom::Start(whole))
            .map_err(CampaignError::io(path))?;
        Ok(journal)
    }

    /// Appends a record. When this returns, the record outlives the process.
    pub(crate) fn append(&mut self, record: &CampaignRecord) -> Result<(), CampaignError> {
        self.file
            .write_all(line(record).as_bytes())
            .map_err(CampaignError::io(&self.path))
    }
}

/// Tells `each` of every record in the journal at `path`.
pub(crate) fn read(path: &Path, each: &mut dyn FnMut(CampaignRecord)) -> Result<(), CampaignError> {
    let file = File::open(path).map_err(CampaignError::io(path))?;
    read_from(&file, path, each).map(drop)
}

/// A record as a line.
pub(crate) fn line(record: &CampaignRecord) -> String {
    let text = serde_json::to_string(record).expect("a record has string keys and finite numbers");
    text + "\n"
}

/// Returns how many bytes are whole lines.
fn read_from(
    file: &File,
    path: &Path,
    each: &mut dyn FnMut(CampaignRecord),
) -> Result<u64, CampaignError> {
    let mut reader = BufReader::new(file);
    let (mut text, mut whole) = (Vec::new(), 0);
    for number in 1.. {
        text.clear();
        let length = reader
            .read_until(b'\n', &mut text)
            .map_err(CampaignError::io(path))?;
        if text.pop() != Some(b'\n') {
            break;
        }
        let record = serde_json::from_slice(&text).map_err(|error| CampaignError::File {
            path: format!("{}:{number}", path.display()),
            problem: format!("{error}; take this line out, and what it says is done again"),
        })?;
        each(record);
        whole += length as u64;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::plan::UnitKind;
    use crate::campaign::record::{Begun, UnitRecord};
    use crate::campaign::target::TargetName;

    fn unit(number: u64) -> CampaignRecord {
        let target = TargetName("a target".to_owned());
        CampaignRecord::Unit(Box::new(UnitRecord::new(number, UnitKind::Explore, target)))
    }

    fn records(path: &Path) -> Vec<CampaignRecord> {
        let mut all = Vec::new();
        read(path, &mut |record| all.push(record)).expect("readable");
        all
    }

    #[test]
    fn a_line_that_was_cut_anywhere_is_dropped_and_the_next_takes_its_place() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("journal.jsonl");
        let (first, cut) = (line(&unit(1)), line(&unit(2)));
        for length in 0..cut.len() {
            std::fs::write(&path, format!("{first}{}", &cut[..length])).expect("writable");
            assert_eq!(records(&path), [unit(1)]);
            let mut journal = CampaignJournal::open(&path, &mut |_| ()).expect("resumable");
            // Shorter than most of what was cut.
            let next = CampaignRecord::Begun(Begun {
                shard: "1/1".parse().expect("the only shard"),
            });
            journal.append(&next).expect("writable");
            let text = std::fs::read_to_string(&path).expect("readable");
            assert_eq!(text, format!("{first}{}", line(&next)), "cut at {length}");
        }
    }

    #[test]
    fn a_line_that_is_no_record_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("journal.jsonl");
        std::fs::write(
            &path,
            format!("{}nonsense\n{}", line(&unit(1)), line(&unit(2))),
        )
        .expect("writable");
        let error = CampaignJournal::open(&path, &mut |_| ()).expect_err("nonsense is no record");
        assert!(error.to_string().contains("journal.jsonl:2: "), "{error}");
    }
}
