//! The folder of a campaign: what it is, in `campaign.json`; its journal; and whoever works in it,
//! alone.
//!
//! Files other than the journal are written whole beside their place and then moved there: a reader
//! sees the old or the new.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{CampaignError, Parameters, Shard};

/// What a folder holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// What decides the work.
    pub(crate) parameters: Parameters,
    /// Whose work it is; `None`: that of several, merged.
    pub(crate) shard: Option<Shard>,
}

/// A folder, and the right to write into it.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// The lock ends with the file, however the process does.
    _lock: File,
}

impl Folder {
    /// Takes the folder, which need not exist.
    pub(crate) fn take(path: &Path) -> Result<Folder, CampaignError> {
        std::fs::create_dir_all(path).map_err(CampaignError::io(path))?;
        refuse_foreign(path)?;
        let lock_path = path.join("lock");
        let mut open = File::options();
        let lock = open.write(true).create(true).truncate(false);
        let lock = lock
            .open(&lock_path)
            .map_err(CampaignError::io(&lock_path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Folder {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(CampaignError::Busy {
                path: path.display().to_string(),
            }),
            Err(error) => Err(CampaignError::io(&lock_path)(error.into())),
        }
    }

    /// Makes it the folder of this campaign, or checks that it is.
    pub(crate) fn claim(&self, manifest: &Manifest) -> Result<(), CampaignError> {
        match read_manifest(&self.path)? {
            None => {
                let text = serde_json::to_string_pretty(manifest)
                    .expect("a manifest has string keys only");
                self.write(MANIFEST, &(text + "\n"))
            }
            Some(found) if found == *manifest => Ok(()),
            Some(found) => Err(CampaignError::Other {
                path: self.path.display().to_string(),
                differs: differences(&found, manifest),
            }),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its journal.
    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join(JOURNAL)
    }

    /// Writes a file in it, whole.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<(), CampaignError> {
        write_whole(&self.path.join(name), content)
    }
}

/// Refuses a folder that holds files of the names that are written, and is none of a campaign's:
/// they would be lost.
fn refuse_foreign(folder: &Path) -> Result<(), CampaignError> {
    let size = |name: &str| std::fs::metadata(folder.join(name)).map_or(0, |data| data.len());
    if size(MANIFEST) > 0 {
        return Ok(());
    }
    let written = ["summary.json", "summary.md", "junit.xml", JOURNAL, "lock"];
    match written.into_iter().find(|name| size(name) > 0) {
        None => Ok(()),
        Some(name) => Err(CampaignError::File {
            path: folder.join(name).display().to_string(),
            problem: "it is there, in a folder that is no campaign's; give another --out"
                .to_owned(),
        }),
    }
}

/// The name of the journal.
pub(crate) const JOURNAL: &str = "journal.jsonl";

const MANIFEST: &str = "campaign.json";

/// What the folder holds, if it is a campaign's.
pub(crate) fn read_manifest(folder: &Path) -> Result<Option<Manifest>, CampaignError> {
    let path = folder.join(MANIFEST);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CampaignError::io(&path)(error)),
    };
    let manifest = serde_json::from_str(&text).map_err(|error| CampaignError::File {
        path: path.display().to_string(),
        problem: format!("{error}; it was written by another version, or is damaged"),
    })?;
    Ok(Some(manifest))
}

/// Writes a file whole: it is the old or the new one, whenever the machine stops.
pub(crate) fn write_whole(path: &Path, content: impl AsRef<[u8]>) -> Result<(), CampaignError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || {
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(folder)?;
        file.write_all(content.as_ref())?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(CampaignError::io(path))
}

/// The fields in which two campaigns differ, in words.
pub(crate) fn differences(found: &Manifest, wanted: &Manifest) -> String {
    let fields = |manifest: &Manifest| {
        let mut value =
            serde_json::to_value(&manifest.parameters).expect("parameters have string keys only");
        value["shard"] = serde_json::json!(manifest.shard);
        value
    };
    let (found, wanted) = (fields(found), fields(wanted));
    let mut differ = Vec::new();
    for (name, was) in found.as_object().into_iter().flatten() {
        let is = &wanted[name];
        if was == is {
            continue;
        }
        differ.push(match name.as_str() {
            // Too long to be shown; the others say enough.
            "targets" | "canaries" | "corpus" | "fuzz" | "programs" => format!("other {name}"),
            "digest" => {
                "other contents of the disciplines, workloads, canaries or the corpus".to_owned()
            }
            _ => format!("{name} {was} there, {is} here"),
        });
    }
    differ.join("; ")
}
