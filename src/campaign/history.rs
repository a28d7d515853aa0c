//! The history: one line a night, from which the next prints how things go.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::folder::write_whole;
use super::{CampaignError, CampaignSummary};

/// What is remembered of a night.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PastRun {
    /// Tells nights apart: a night that is resumed or merged again takes its own place.
    pub(crate) night: String,
    /// Its seed.
    pub(crate) seed: u64,
    /// The version of heisenbed.
    pub(crate) version: String,
    /// Units done.
    pub(crate) units: u64,
    /// Schedules, and runs on real threads.
    pub(crate) schedules: u64,
    /// States that searches visited.
    pub(crate) states: u64,
    /// Behaviours that were told apart.
    pub(crate) behaviours: u64,
    /// How likely the next schedule shows a behaviour that none before it did.
    pub(crate) chance_of_news: Option<f64>,
    /// Causes found.
    pub(crate) causes: u64,
    /// Of those, new ones.
    pub(crate) new_causes: u64,
    /// Whether a canary was not found.
    pub(crate) blind: bool,
    /// Whether all came to its end.
    pub(crate) complete: bool,
    /// Seconds of work.
    pub(crate) elapsed_s: f64,
}

/// How many nights before are shown.
const SHOWN: usize = 6;

impl PastRun {
    /// The night that `summary` is of.
    pub(crate) fn of(summary: &CampaignSummary) -> PastRun {
        PastRun {
            night: format!(
                "{} {} {}",
                summary.seed,
                summary.shard_name(),
                &summary.digest[..8]
            ),
            seed: summary.seed,
            version: summary.version.clone(),
            units: summary.units.values().sum(),
            schedules: summary.schedules,
            states: summary.states,
            behaviours: summary.behaviours,
            chance_of_news: summary.chance_of_news,
            causes: summary.causes.len() as u64,
            new_causes: summary.new_causes,
            blind: summary.blind,
            complete: summary.complete,
            elapsed_s: summary.elapsed_s,
        }
    }
}

/// Puts `tonight` into the history at `path`, and returns it with those before.
pub(crate) fn remember(path: &Path, tonight: PastRun) -> Result<Vec<PastRun>, CampaignError> {
    let mut nights = read(path)?;
    let at = nights.iter().position(|night| night.night == tonight.night);
    let at = at.unwrap_or(nights.len());
    nights.splice(at..nights.len().min(at + 1), [tonight]);
    let mut text = String::new();
    for night in &nights {
        text += &serde_json::to_string(night).expect("a night has string keys and finite numbers");
        text.push('\n');
    }
    write_whole(path, &text)?;
    nights.truncate(at + 1);
    Ok(nights.split_off(nights.len().saturating_sub(SHOWN)))
}

fn read(path: &Path) -> Result<Vec<PastRun>, CampaignError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(CampaignError::io(path)(error)),
    };
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| CampaignError::File {
            path: format!("{}:{}", path.display(), number + 1),
            problem: format!("{error}; take this line out, or give another --history"),
        })
    };
    text.lines().enumerate().map(parse).collect()
}
