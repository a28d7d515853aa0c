//! The summary of a campaign: its verdict and its figures, as JSON and for people, and the files
//! that it leaves.
//!
//! All of it follows from the parameters and the tally, so the same records give the same bytes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::numbers::plural;
use crate::oracle::Verdict;

use super::folder::{Folder, Manifest};
use super::history::{self, PastRun};
use super::plan::{LEVELS, UnitKind};
use super::record::CauseRecord;
use super::tally::{Found, Fuzzed, UnitTally};
use super::target::TargetName;
use super::{CampaignError, Shard, junit, markdown};

/// See the [module](self).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CampaignSummary {
    /// Diverged: there is something new. Inconclusive: nothing is, which says nothing. Clean:
    /// nothing is.
    pub(crate) verdict: Verdict,
    /// Whether a canary was not found, so that silence says nothing.
    pub(crate) blind: bool,
    /// Whether nothing was looked at: no unit was done, or each of them says nothing.
    pub(crate) idle: bool,
    /// Whether no reproducer was run again though that was not asked for: the corpus is empty, or
    /// none was named and the usual one is not there.
    pub(crate) without_corpus: bool,
    /// Whether every shard came to its end.
    pub(crate) complete: bool,
    /// Shards that are missing or did not come to their end.
    pub(crate) missing: Vec<Shard>,
    /// Whose work it is; `None`: that of all shards, merged.
    pub(crate) shard: Option<Shard>,
    /// How many shards there are.
    pub(crate) shards: u32,
    /// The seed.
    pub(crate) seed: u64,
    /// The version of heisenbed.
    pub(crate) version: String,
    /// What the parameters come to.
    pub(crate) digest: String,
    /// Units of each sort.
    pub(crate) units: BTreeMap<UnitKind, u64>,
    /// Schedules, and runs on real threads.
    pub(crate) schedules: u64,
    /// Of those, the runs on real threads.
    pub(crate) runs: u64,
    /// Micro-steps.
    pub(crate) steps: u64,
    /// States that searches visited.
    pub(crate) states: u64,
    /// Messages.
    pub(crate) messages: u64,
    /// Of each fuzz target, what it came to.
    pub(crate) fuzz: BTreeMap<String, Fuzzed>,
    /// Schedules whose behaviours were told apart.
    pub(crate) observations: u64,
    /// Behaviours among those.
    pub(crate) behaviours: u64,
    /// Behaviours that one schedule alone of its unit showed.
    pub(crate) singletons: u64,
    /// `singletons / observations`: how likely the next schedule of a unit shows a behaviour that
    /// none before it did.
    pub(crate) chance_of_news: Option<f64>,
    /// How many targets there are.
    pub(crate) targets: u64,
    /// At each size, how many of them are proved.
    pub(crate) proved: Vec<Proved>,
    /// What was found, once each.
    pub(crate) causes: Vec<MergedCause>,
    /// How many of the causes are not in the corpus.
    pub(crate) new_causes: u64,
    /// Reproducers of the corpus that did not come out as they say, and units in which heisenbed
    /// itself failed.
    pub(crate) regressions: BTreeMap<TargetName, String>,
    /// The canaries.
    pub(crate) canaries: Vec<CanarySummary>,
    /// Units that say nothing.
    pub(crate) inconclusive_units: u64,
    /// Why the first of them does.
    pub(crate) inconclusive: Option<String>,
    /// Seconds of work, over all shards.
    pub(crate) elapsed_s: f64,
}

/// Where inputs are on which fuzz targets fail.
const CRASHES: &str = "crashes";

/// Proofs of one size.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Proved {
    /// Threads.
    pub(crate) threads: u16,
    /// Operations of each.
    pub(crate) ops: u64,
    /// Targets whose every schedule was searched, and none diverged.
    pub(crate) targets: u64,
}

/// A cause.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MergedCause {
    /// Tells it from others.
    pub(crate) id: String,
    /// The kind of divergence that shows first; what it looked like is all that is known where the
    /// campaign was stopped before.
    pub(crate) kind: String,
    /// The discipline, with its switches.
    pub(crate) discipline: String,
    /// The preemption that decides.
    pub(crate) deciding: String,
    /// How small it is.
    pub(crate) size: String,
    /// The reproducer of the corpus with the same cause: then it is not new.
    pub(crate) known: Option<String>,
    /// Its reproducer, or the trace that shows it.
    pub(crate) reproducer: Option<String>,
    /// The lowest unit that found it.
    pub(crate) unit: u64,
    /// Units that found it.
    pub(crate) units: u64,
    /// Schedules and runs that diverged so.
    pub(crate) diverged: u64,
    /// Where.
    pub(crate) targets: Vec<TargetName>,
}

/// What came of a canary.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CanarySummary {
    /// Its name.
    pub(crate) canary: String,
    /// With what it was looked for.
    pub(crate) engine: String,
    /// Whether every shard found it.
    pub(crate) found: bool,
    /// The most tries that a shard took.
    pub(crate) tries: u64,
    /// Shards that did not find it.
    pub(crate) not_found_by: Vec<Shard>,
}

impl CampaignSummary {
    /// What `tally` comes to.
    pub(crate) fn of(manifest: &Manifest, tally: &UnitTally) -> CampaignSummary {
        let found = tally.found();
        let causes: Vec<MergedCause> = found.iter().map(MergedCause::of).collect();
        let of = tally
            .shards
            .keys()
            .map(|shard| shard.of())
            .max()
            .unwrap_or(1);
        let is_done = |shard: &Shard| {
            tally
                .shards
                .get(shard)
                .is_some_and(|end| end.is_some_and(|end| end.complete))
        };
        let wanted: Vec<Shard> = match manifest.shard {
            Some(shard) => vec![shard],
            None => (1..=of)
                .filter_map(|number| Shard::new(number, of))
                .collect(),
        };
        let missing: Vec<Shard> = wanted
            .iter()
            .filter(|shard| !is_done(shard))
            .copied()
            .collect();
        let canaries = canaries(manifest, tally);
        let blind = canaries
            .iter()
            .any(|canary| !canary.not_found_by.is_empty());
        let new_causes = causes.iter().filter(|cause| cause.known.is_none()).count() as u64;
        let complete = missing.is_empty();
        let done: u64 = tally.units.values().sum();
        let idle = done <= tally.inconclusive.len() as u64;
        let without_corpus = manifest.parameters.without_corpus;
        let verdict = if new_causes > 0 || !tally.regressions.is_empty() {
            Verdict::Diverged
        } else if blind || !complete || idle || without_corpus {
            Verdict::Inconclusive
        } else {
            Verdict::Clean
        };
        let parameters = &manifest.parameters;
        let proved = tally.proved();
        CampaignSummary {
            verdict,
            blind,
            idle,
            without_corpus,
            complete,
            missing,
            shard: manifest.shard,
            shards: manifest.shard.map_or(of, Shard::of),
            seed: parameters.seed,
            version: parameters.version.clone(),
            digest: parameters.digest.clone(),
            units: tally.units.clone(),
            schedules: tally.schedules,
            runs: tally.runs,
            steps: tally.steps,
            states: tally.states,
            messages: tally.messages,
            fuzz: tally.fuzz.clone(),
            observations: tally.observations,
            behaviours: tally.behaviours,
            singletons: tally.singletons,
            chance_of_news: tally.chance_of_news(),
            targets: parameters.targets.len() as u64,
            proved: proved
                .into_iter()
                .map(|(level, targets)| Proved {
                    threads: LEVELS[level].0,
                    ops: LEVELS[level].1,
                    targets,
                })
                .collect(),
            causes,
            new_causes,
            regressions: tally.regressions.clone(),
            canaries,
            inconclusive_units: tally.inconclusive.len() as u64,
            inconclusive: tally.inconclusive.values().next().cloned(),
            elapsed_s: tally.elapsed_s(),
        }
    }

    /// Whether a fuzz target failed otherwise than by a divergence.
    pub(crate) fn has_crashes(&self) -> bool {
        let mut files = self
            .causes
            .iter()
            .filter_map(|cause| cause.reproducer.as_ref());
        files.any(|file| file.starts_with(CRASHES))
    }

    /// `3/8`, or `merged`.
    pub(crate) fn shard_name(&self) -> String {
        self.shard
            .map_or("merged".to_owned(), |shard| shard.to_string())
    }

    /// The verdict in a sentence.
    pub(crate) fn sentence(&self) -> String {
        let mut parts = Vec::new();
        if self.new_causes > 0 {
            parts.push(plural(self.new_causes, "new divergence"));
        }
        if !self.regressions.is_empty() {
            parts.push(plural(self.regressions.len() as u64, "regression"));
        }
        if parts.is_empty() {
            let what = match self.idle {
                true => "nothing was looked at: no unit was done, or each says nothing",
                false => "nothing new",
            };
            parts.push(what.to_owned());
        }
        if self.without_corpus {
            parts.push(
                "NO CORPUS: the folder has no reproducer, or none was named and the usual one is not there, so \
                 no known reproducer was run again (--corpus DIR, or --corpus none)"
                    .to_owned(),
            );
        }
        if self.blind {
            parts.push("BLIND: a planted defect was not found, so silence says nothing".to_owned());
        }
        if !self.complete {
            let names: Vec<String> = self.missing.iter().map(Shard::to_string).collect();
            parts.push(match self.shard {
                Some(_) => {
                    "incomplete: it was stopped; the same command goes on with it".to_owned()
                }
                None => format!(
                    "incomplete: missing are {}; run them (again) and merge",
                    names.join(", ")
                ),
            });
        }
        parts.join("; ")
    }
}

fn canaries(manifest: &Manifest, tally: &UnitTally) -> Vec<CanarySummary> {
    let of = |name: &String| {
        let looked: Vec<_> = tally
            .canaries
            .values()
            .filter(|record| record.canary == *name)
            .collect();
        CanarySummary {
            canary: name.clone(),
            engine: looked
                .first()
                .map_or(String::new(), |record| record.engine.clone()),
            found: !looked.is_empty() && looked.iter().all(|record| record.found),
            tries: looked.iter().map(|record| record.tries).max().unwrap_or(0),
            not_found_by: looked
                .iter()
                .filter(|record| !record.found)
                .map(|record| record.shard)
                .collect(),
        }
    };
    manifest.parameters.canaries.iter().map(of).collect()
}

impl MergedCause {
    fn of(found: &Found) -> MergedCause {
        let (id, kind, discipline, deciding, size, known) = match &found.cause {
            Some(cause) => (
                cause.id.clone(),
                cause.kind.clone(),
                cause.discipline.clone(),
                cause.deciding.clone(),
                cause.size.clone(),
                cause.known.clone(),
            ),
            None => {
                let stopped = "not minimised: the campaign was stopped before".to_owned();
                (
                    String::new(),
                    found.looks.clone(),
                    String::new(),
                    String::new(),
                    stopped,
                    None,
                )
            }
        };
        MergedCause {
            id,
            kind,
            discipline,
            deciding,
            size,
            known,
            reproducer: found.cause.as_ref().and_then(file_of),
            unit: found.unit,
            units: found.units,
            diverged: found.diverged,
            targets: found.targets.iter().cloned().collect(),
        }
    }
}

/// Where the reproducer of a cause is, or the trace that shows it.
fn file_of(cause: &CauseRecord) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let place = cause.discipline.replace(' ', "-");
    let place = place.replace(|c| !plain(c), "_");
    let name = format!("{}-{place}-{}", cause.kind, &cause.id[..8]);
    match (&cause.reproducer, &cause.input) {
        (Some(_), _) => Some(format!("reproducers/{name}.toml")),
        (None, Some(_)) => Some(format!("{CRASHES}/{name}")),
        (None, None) => cause.trace.clone(),
    }
}

/// Writes the reproducers of all causes, and the inputs of fuzz targets that fail, each once.
pub(crate) fn write_reproducers(folder: &Folder, tally: &UnitTally) -> Result<(), CampaignError> {
    for found in tally.found() {
        if let Some(cause) = &found.cause
            && let Some(name) = file_of(cause)
        {
            let text = cause.reproducer.as_ref().map(String::as_bytes);
            let input = cause.input.as_ref().map(|input| input.0.as_slice());
            let Some(content) = text.or(input) else {
                continue;
            };
            let path = folder.path().join(&name);
            if std::fs::read(&path).is_ok_and(|before| before == content) {
                continue;
            }
            folder.write(&name, content)?;
        }
    }
    Ok(())
}

/// Takes away the reproducers that are none of a cause's any more, for a lower unit turned out to
/// have a finding that looks alike.
fn clear_reproducers(folder: &Folder, summary: &CampaignSummary) -> Result<(), CampaignError> {
    for sub in ["reproducers", CRASHES] {
        let path = folder.path().join(sub);
        if !path.exists() {
            continue;
        }
        for found in std::fs::read_dir(&path).map_err(CampaignError::io(&path))? {
            let found = found.map_err(CampaignError::io(&path))?;
            let name = format!("{sub}/{}", found.file_name().to_string_lossy());
            let is_listed = |cause: &MergedCause| cause.reproducer.as_ref() == Some(&name);
            if !summary.causes.iter().any(is_listed) {
                std::fs::remove_file(found.path()).map_err(CampaignError::io(&path))?;
            }
        }
    }
    Ok(())
}

/// Writes every file that a campaign leaves. Returns the summary, and it for people.
pub(crate) fn write_all(
    folder: &Folder,
    manifest: &Manifest,
    tally: &UnitTally,
    history: Option<&Path>,
) -> Result<(CampaignSummary, String), CampaignError> {
    let summary = CampaignSummary::of(manifest, tally);
    write_reproducers(folder, tally)?;
    clear_reproducers(folder, &summary)?;
    let json = serde_json::to_string_pretty(&summary)
        .expect("a summary has string keys and finite numbers");
    folder.write("summary.json", &(json + "\n"))?;
    folder.write("junit.xml", junit::junit(&summary, tally)?)?;
    let own: PathBuf = folder.path().join("history.jsonl");
    let nights = history::remember(history.unwrap_or(&own), PastRun::of(&summary))?;
    // The folder holds all that a page of it shows.
    if let Some(kept) = history {
        let text = std::fs::read_to_string(kept).map_err(CampaignError::io(kept))?;
        folder.write("history.jsonl", text)?;
    }
    folder.write("summary.md", markdown::page(&summary, &nights))?;
    let mut text = markdown::text(&summary, &nights);
    let _ = writeln!(text, "\nall of it: {}/summary.md", folder.path().display());
    Ok((summary, text))
}
