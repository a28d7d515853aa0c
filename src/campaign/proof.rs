//! Proofs that are divided among machines: each searches one part of a scenario's space and leaves
//! a file, and only all of them together prove anything.
//!
//! The file names the scenario by a digest, so parts of different searches are never put together.
//! Deeper states may be in several parts (see [`crate::engine::controlled::exhaustive::Part`]): the
//! sum of their states is at least the space's.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::controlled::exhaustive::{
    Goal, Part, SearchEnd, SearchOptions, Searched, SearchedPart, search_part,
};
use crate::engine::controlled::machine::Setup;
use crate::oracle::{Kind, Verdict};
use crate::shrink::shrink_ops;

use super::cause::unminimised;
use super::folder::{Folder, write_whole};
use super::plan::digest;
use super::{CampaignError, Shard};

/// What one part of a search found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProofPart {
    /// Which part.
    pub(crate) shard: Shard,
    /// The scenario, in words.
    pub(crate) scenario: String,
    /// The scenario, how its space is divided and by which version: parts with another digest are
    /// of another search.
    pub(crate) digest: String,
    /// Whether all of the part was searched.
    pub(crate) exhausted: bool,
    /// What the part says: `proved` means that nothing diverges in it.
    pub(crate) verdict: Verdict,
    /// Why it says nothing, where it does not.
    pub(crate) note: Option<String>,
    /// States of the part.
    pub(crate) states: u64,
    /// Of those, the ones that every part has.
    pub(crate) trunk: u64,
    /// States among which the rest of the space was divided.
    pub(crate) frontier: u64,
    /// Those that fell to this part.
    pub(crate) own: u64,
    /// Steps.
    pub(crate) steps: u64,
    /// In how many places of the part each kind of divergence shows.
    pub(crate) divergences: BTreeMap<Kind, u64>,
    /// Most buffers live at rest.
    pub(crate) leaks: u64,
    /// The smallest run that diverges.
    pub(crate) reproducer: Option<String>,
}

/// What all parts come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Proof {
    /// The scenario, in words.
    pub(crate) scenario: String,
    /// The scenario, how its space is divided and by which version.
    pub(crate) digest: String,
    /// `proved`: all parts are there, all of each was searched, and none diverges.
    pub(crate) verdict: Verdict,
    /// How many parts there are.
    pub(crate) parts: u32,
    /// Parts that are not there.
    pub(crate) missing: Vec<Shard>,
    /// Parts of which not all was searched, or that say nothing.
    pub(crate) unfinished: Vec<Shard>,
    /// States of all parts; some are in several.
    pub(crate) states: u64,
    /// Steps.
    pub(crate) steps: u64,
    /// The kinds that show, and in how many places.
    pub(crate) divergences: BTreeMap<Kind, u64>,
    /// Most buffers live at rest.
    pub(crate) leaks: u64,
    /// The smallest run that diverges, of the first part that has one.
    pub(crate) reproducer: Option<String>,
    /// Why it is inconclusive.
    pub(crate) note: Option<String>,
}

/// Searches the part of `shard`; the space of `setup` is divided at `depth` choices. `keep_going`
/// is told how far it is.
pub(crate) fn prove(
    setup: &Arc<Setup>,
    headline: String,
    shard: Shard,
    depth: u32,
    max_states: u64,
    keep_going: &mut dyn FnMut(&Searched) -> bool,
) -> ProofPart {
    let options = SearchOptions {
        goal: Goal::AllKinds,
        max_states,
        ..SearchOptions::default()
    };
    let part = Part {
        index: shard.number() - 1,
        of: shard.of(),
        depth,
    };
    let SearchedPart {
        found,
        trunk,
        frontier,
        own,
    } = search_part(setup, &options, part, keep_going);
    let scenario = &setup.scenario;
    let content = toml::to_string(scenario).expect("a scenario has string keys");
    let (verdict, note) = found.verdict(None);
    let reproducer = found.example.as_ref().map(|example| {
        let first = example.report.first.map(|first| first.kind);
        let shrunk = first.and_then(|kind| {
            shrink_ops(scenario, setup.ops(), kind, &mut || keep_going(&found)).ok()
        });
        match shrunk {
            Some(shrunk) => shrunk.reproducer,
            None => unminimised(scenario, setup.ops(), example),
        }
        .to_toml()
    });
    ProofPart {
        shard,
        scenario: headline,
        digest: digest([
            content.as_str(),
            &depth.to_string(),
            &shard.of().to_string(),
            env!("CARGO_PKG_VERSION"),
        ]),
        exhausted: found.ended == SearchEnd::Exhausted,
        verdict,
        note,
        states: found.states,
        trunk,
        frontier,
        own,
        steps: found.steps,
        divergences: found.divergences.clone(),
        leaks: found.leaks,
        reproducer,
    }
}

impl ProofPart {
    /// The name of its file.
    pub(crate) fn file_name(&self) -> String {
        format!(
            "{PREFIX}{}-{}-of-{}.json",
            &self.digest[..16],
            self.shard.number(),
            self.shard.of()
        )
    }

    /// Its text.
    pub(crate) fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("a part has string keys only");
        text + "\n"
    }
}

const PREFIX: &str = "part-";

/// The parts in a folder.
pub(crate) fn parts_in(folder: &Path) -> Result<Vec<ProofPart>, CampaignError> {
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(CampaignError::io(folder))? {
        let path = entry.map_err(CampaignError::io(folder))?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !name.starts_with(PREFIX) || !name.ends_with(".json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(CampaignError::io(&path))?;
        parts.push(
            serde_json::from_str(&text).map_err(|error| CampaignError::File {
                path: path.display().to_string(),
                problem: format!("{error}; search this part again"),
            })?,
        );
    }
    Ok(parts)
}

/// Writes `parts` and what they come to into `out`.
pub(crate) fn write_merged(
    out: &Folder,
    parts: Vec<ProofPart>,
) -> Result<Vec<Proof>, CampaignError> {
    let mut searches: BTreeMap<String, BTreeMap<Shard, ProofPart>> = BTreeMap::new();
    for part in parts {
        let search = searches.entry(part.digest.clone()).or_default();
        // Of two, the one that says more.
        let rank = |part: &ProofPart| (part.verdict == Verdict::Inconclusive, part.to_json());
        match search.get(&part.shard) {
            Some(kept) if rank(kept) <= rank(&part) => {}
            _ => {
                search.insert(part.shard, part);
            }
        }
    }
    let mut proofs = Vec::new();
    for parts in searches.into_values() {
        for part in parts.values() {
            out.write(&part.file_name(), part.to_json())?;
        }
        let proof = together(&parts);
        let name = &proof.digest[..16];
        if let Some(reproducer) = &proof.reproducer {
            let path = out.path().join(format!("proof-{name}.toml"));
            write_whole(&path, reproducer)?;
        }
        let text = serde_json::to_string_pretty(&proof).expect("a proof has string keys only");
        out.write(&format!("proof-{name}.json"), &(text + "\n"))?;
        proofs.push(proof);
    }
    Ok(proofs)
}

/// What parts of one search come to; there is one at least.
fn together(parts: &BTreeMap<Shard, ProofPart>) -> Proof {
    let first = parts.values().next().expect("a search has a part");
    let of = first.shard.of();
    let missing: Vec<Shard> = (1..=of)
        .filter_map(|number| Shard::new(number, of))
        .filter(|shard| !parts.contains_key(shard))
        .collect();
    let unfinished: Vec<Shard> = parts
        .values()
        .filter(|part| !part.exhausted || part.verdict == Verdict::Inconclusive)
        .map(|part| part.shard)
        .collect();
    let mut divergences: BTreeMap<Kind, u64> = BTreeMap::new();
    for (kind, count) in parts.values().flat_map(|part| &part.divergences) {
        *divergences.entry(*kind).or_default() += count;
    }
    let diverged = parts.values().any(|part| part.verdict == Verdict::Diverged);
    let names = |shards: &[Shard]| {
        shards
            .iter()
            .map(Shard::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (verdict, note) = if diverged {
        (Verdict::Diverged, None)
    } else if !missing.is_empty() {
        let note = format!(
            "missing are {}; search them and merge again",
            names(&missing)
        );
        (Verdict::Inconclusive, Some(note))
    } else if !unfinished.is_empty() {
        let why = parts
            .values()
            .find_map(|part| part.note.clone())
            .unwrap_or_default();
        let note = format!("not finished are {}: {why}", names(&unfinished));
        (Verdict::Inconclusive, Some(note))
    } else {
        (Verdict::Proved, None)
    };
    Proof {
        scenario: first.scenario.clone(),
        digest: first.digest.clone(),
        verdict,
        parts: of,
        missing,
        unfinished,
        states: parts.values().map(|part| part.states).sum(),
        steps: parts.values().map(|part| part.steps).sum(),
        divergences,
        leaks: parts.values().map(|part| part.leaks).max().unwrap_or(0),
        reproducer: parts.values().find_map(|part| part.reproducer.clone()),
        note,
    }
}
