//! The merge: the outputs of any number of machines, in any order and as often as one likes, to
//! one.
//!
//! A merge is a union of records. Where two say of the same unit, canary or end, one of them is
//! taken by a rule that knows nothing of where it was found; so the result depends on the set of
//! records alone, merging again changes nothing, and what was merged can be merged further.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::folder::{Folder, JOURNAL, Manifest, differences, read_manifest};
use super::journal::{self, line};
use super::proof::{self, Proof};
use super::record::{Begun, CampaignRecord, CanaryRecord, ShardEnd, UnitRecord};
use super::summary::{CampaignSummary, write_all};
use super::tally::UnitTally;
use super::{CampaignError, Shard};

/// What came of a merge.
#[derive(Debug)]
pub(crate) struct MergedCampaign {
    /// The campaign, if there was one: its summary, and that for people.
    pub(crate) campaign: Option<(CampaignSummary, String)>,
    /// The proofs.
    pub(crate) proofs: Vec<Proof>,
}

/// Merges the outputs in `folders`, and what was merged into `out` before, into `out`.
pub(crate) fn merge(
    folders: &[PathBuf],
    out: &Path,
    history: Option<&Path>,
) -> Result<MergedCampaign, CampaignError> {
    let mut union = Union::default();
    let mut manifest: Option<(PathBuf, Manifest)> = None;
    let mut parts = Vec::new();
    let out_too = out.exists().then(|| out.to_owned());
    for (index, folder) in folders.iter().chain(&out_too).enumerate() {
        let found = read_manifest(folder)?.map(|found| Manifest {
            shard: None,
            ..found
        });
        let proofs = proof::parts_in(folder)?;
        if found.is_none() && proofs.is_empty() && index < folders.len() {
            return Err(CampaignError::Nothing(format!(
                "{}: it holds no output of a campaign and no part of a proof",
                folder.display()
            )));
        }
        parts.extend(proofs);
        let Some(found) = found else { continue };
        match &manifest {
            Some((first, wanted)) if *wanted != found => {
                return Err(CampaignError::Other {
                    path: format!("{} and {}", first.display(), folder.display()),
                    differs: differences(wanted, &found),
                });
            }
            Some(_) => {}
            None => manifest = Some((folder.clone(), found)),
        }
        let path = folder.join(JOURNAL);
        if path.exists() {
            journal::read(&path, &mut |record| union.add(record))?;
        }
    }
    union.check()?;
    let out = Folder::take(out)?;
    let proofs = proof::write_merged(&out, parts)?;
    let campaign = match manifest {
        None => None,
        Some((_, manifest)) => {
            out.claim(&manifest)?;
            keep_traces(folders, &out)?;
            let (text, tally) = union.lines();
            out.write(JOURNAL, &text)?;
            Some(write_all(&out, &manifest, &tally, history)?)
        }
    };
    Ok(MergedCampaign { campaign, proofs })
}

/// Traces that no reproducer could be made of go with their causes.
fn keep_traces(folders: &[PathBuf], out: &Folder) -> Result<(), CampaignError> {
    for folder in folders {
        let from = folder.join("traces");
        let Ok(entries) = std::fs::read_dir(&from) else {
            continue;
        };
        let to = out.path().join("traces");
        std::fs::create_dir_all(&to).map_err(CampaignError::io(&to))?;
        for entry in entries {
            let entry = entry.map_err(CampaignError::io(&from))?;
            let target = to.join(entry.file_name());
            if !target.exists() {
                std::fs::copy(entry.path(), &target).map_err(CampaignError::io(&target))?;
            }
        }
    }
    Ok(())
}

/// A set of records, with one for each unit, canary and end.
#[derive(Default)]
struct Union {
    begun: BTreeSet<Shard>,
    canaries: BTreeMap<(String, Shard), CanaryRecord>,
    units: BTreeMap<u64, UnitRecord>,
    ended: BTreeMap<Shard, ShardEnd>,
}

impl Union {
    fn add(&mut self, record: CampaignRecord) {
        match record {
            CampaignRecord::Begun(begun) => {
                self.begun.insert(begun.shard);
            }
            CampaignRecord::Canary(canary) => {
                let key = (canary.canary.clone(), canary.shard);
                // One that was not found once was not found.
                let rank = |canary: &CanaryRecord| {
                    (canary.found, line(&CampaignRecord::Canary(canary.clone())))
                };
                keep_least(&mut self.canaries, key, canary, rank);
            }
            CampaignRecord::Unit(unit) => {
                // One that has a cause says more, and one that found something more than one that
                // did not.
                let rank = |unit: &UnitRecord| {
                    let cause = unit
                        .finding
                        .as_ref()
                        .and_then(|finding| finding.cause.as_ref());
                    let nothing = (cause.is_none(), unit.finding.is_none());
                    (nothing, line(&CampaignRecord::Unit(Box::new(unit.clone()))))
                };
                keep_least(&mut self.units, unit.unit, *unit, rank);
            }
            CampaignRecord::Ended(ended) => {
                // A complete one, then the longest.
                let rank =
                    |ended: &ShardEnd| (!ended.complete, u64::MAX - ended.elapsed_s.to_bits());
                keep_least(&mut self.ended, ended.shard, ended, rank);
            }
        }
    }

    /// Shards of one number belong together.
    fn check(&self) -> Result<(), CampaignError> {
        let (first, last) = (self.begun.iter().next(), self.begun.iter().next_back());
        let of: BTreeSet<u32> = self.begun.iter().map(|shard| shard.of()).collect();
        match (first, last) {
            (Some(first), Some(last)) if of.len() > 1 => Err(CampaignError::Nothing(format!(
                "shards {first} and {last} do not belong together: work was divided otherwise"
            ))),
            _ => Ok(()),
        }
    }

    /// The journal, in order, and what it comes to.
    fn lines(self) -> (String, UnitTally) {
        let begun = self
            .begun
            .into_iter()
            .map(|shard| CampaignRecord::Begun(Begun { shard }));
        let canaries = self.canaries.into_values().map(CampaignRecord::Canary);
        let units = self.units.into_values();
        let units = units.map(|unit| CampaignRecord::Unit(Box::new(unit)));
        let ended = self.ended.into_values().map(CampaignRecord::Ended);
        let (mut text, mut tally) = (String::new(), UnitTally::default());
        for record in begun.chain(canaries).chain(units).chain(ended) {
            text += &line(&record);
            tally.add(&record);
        }
        (text, tally)
    }
}

fn keep_least<K: Ord, V, R: Ord>(
    map: &mut BTreeMap<K, V>,
    key: K,
    value: V,
    rank: impl Fn(&V) -> R,
) {
    match map.get(&key) {
        Some(kept) if rank(kept) <= rank(&value) => {}
        _ => {
            map.insert(key, value);
        }
    }
}
