//! The tally: what a set of records comes to. It depends on the set alone, not on the order in
//! which the records are added.
//!
//! A unit that is recorded twice, as when two outputs of the same shard are merged, must be added
//! once: see [`super::merge`].

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::plan::UnitKind;
use super::record::{CampaignRecord, CanaryRecord, CauseRecord, ShardEnd, UnitRecord};
use super::shard::Shard;
use super::target::TargetName;

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(crate) struct UnitTally {
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
    /// Schedules whose behaviours were told apart.
    pub(crate) observations: u64,
    /// Behaviours among those of each unit.
    pub(crate) behaviours: u64,
    /// Behaviours that one schedule alone of its unit showed.
    pub(crate) singletons: u64,
    /// Of each fuzz target, what it came to.
    pub(crate) fuzz: BTreeMap<String, Fuzzed>,
    /// Of each target: its units, and those that diverged.
    pub(crate) targets: BTreeMap<TargetName, (u64, u64)>,
    /// What did not come out as the corpus says, and units in which heisenbed itself failed.
    pub(crate) regressions: BTreeMap<TargetName, String>,
    /// Units that say nothing, and why.
    pub(crate) inconclusive: BTreeMap<u64, String>,
    /// Of each canary and shard, what came of it.
    pub(crate) canaries: BTreeMap<(String, Shard), CanaryRecord>,
    /// The shards that were begun, and how each ended.
    pub(crate) shards: BTreeMap<Shard, Option<ShardEnd>>,
    looks: BTreeMap<String, Look>,
    searched: BTreeMap<(usize, TargetName), BTreeMap<u32, bool>>,
    parts: BTreeMap<(usize, TargetName), u32>,
}

/// What a fuzz target came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Fuzzed {
    /// Inputs that it was run on.
    pub(crate) executions: u64,
    /// Edges of the program that its inputs cover, at most in a unit.
    pub(crate) edges: u64,
}

/// Findings that look alike.
#[derive(Clone, Debug)]
struct Look {
    units: u64,
    diverged: u64,
    targets: BTreeSet<TargetName>,
    /// The lowest unit with a cause, and that.
    cause: Option<(u64, CauseRecord)>,
    lowest: u64,
    /// Whether it was seen on real threads or by a fuzz target, where luck has a part in it.
    by_luck: bool,
}

/// A cause with all that it was found in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    /// What it is; `None`: what it looks like is all that is known, for the campaign was stopped
    /// while it was minimised.
    pub(crate) cause: Option<CauseRecord>,
    /// What it looks like where it was first found.
    pub(crate) looks: String,
    /// The lowest unit that found it, of those that would find it again.
    pub(crate) unit: u64,
    /// Units that found it.
    pub(crate) units: u64,
    /// Schedules and runs that diverged so.
    pub(crate) diverged: u64,
    /// Where.
    pub(crate) targets: BTreeSet<TargetName>,
}

impl UnitTally {
    /// Adds a record.
    pub(crate) fn add(&mut self, record: &CampaignRecord) {
        match record {
            CampaignRecord::Begun(begun) => {
                self.shards.entry(begun.shard).or_default();
            }
            CampaignRecord::Ended(ended) => {
                let before = self.shards.entry(ended.shard).or_default();
                // The one that says most: whether it is complete, then how long it worked.
                let better = |a: &ShardEnd, b: &ShardEnd| {
                    (a.complete, a.elapsed_s) > (b.complete, b.elapsed_s)
                };
                if before.as_ref().is_none_or(|before| better(ended, before)) {
                    *before = Some(*ended);
                }
            }
            CampaignRecord::Canary(canary) => {
                let key = (canary.canary.clone(), canary.shard);
                self.canaries.insert(key, canary.clone());
            }
            CampaignRecord::Unit(unit) => self.add_unit(unit),
        }
    }

    fn add_unit(&mut self, unit: &UnitRecord) {
        *self.units.entry(unit.sort).or_default() += 1;
        self.schedules += unit.schedules;
        self.runs += if unit.sort == UnitKind::Stress {
            unit.schedules
        } else {
            0
        };
        self.steps += unit.steps;
        self.states += unit.states;
        self.messages += unit.messages;
        if unit.sort == UnitKind::Fuzz {
            let name = unit.target.0.trim_start_matches("fuzz ").to_owned();
            let fuzzed = self.fuzz.entry(name).or_default();
            fuzzed.executions += unit.executions;
            fuzzed.edges = fuzzed.edges.max(unit.edges);
        }
        self.observations += unit.observations;
        self.behaviours += unit.behaviours;
        self.singletons += unit.singletons;
        match (&unit.problem, unit.sort) {
            (Some(problem), _) if unit.panicked => {
                let name = TargetName(format!("unit {}: {}", unit.unit, unit.target.0));
                let panicked = format!("heisenbed itself panicked: {problem}");
                self.regressions.insert(name, panicked);
            }
            (Some(problem), UnitKind::Corpus) => {
                self.regressions
                    .insert(unit.target.clone(), problem.clone());
            }
            (Some(problem), _) => {
                self.inconclusive.insert(unit.unit, problem.clone());
            }
            (None, _) => {}
        }
        if unit.sort != UnitKind::Corpus {
            let target = self.targets.entry(unit.target.clone()).or_default();
            target.0 += 1;
            target.1 += u64::from(unit.finding.is_some());
        }
        if let Some(part) = unit.searched {
            let space = (part.level, unit.target.clone());
            self.parts.insert(space.clone(), part.of);
            self.searched
                .entry(space)
                .or_default()
                .insert(part.part, part.exhausted);
        }
        if let Some(finding) = &unit.finding {
            let look = self
                .looks
                .entry(finding.looks.clone())
                .or_insert_with(|| Look {
                    units: 0,
                    diverged: 0,
                    targets: BTreeSet::new(),
                    cause: None,
                    lowest: unit.unit,
                    by_luck: matches!(unit.sort, UnitKind::Stress | UnitKind::Fuzz),
                });
            look.units += 1;
            look.diverged += finding.diverged;
            look.targets.insert(unit.target.clone());
            look.lowest = look.lowest.min(unit.unit);
            if let Some(cause) = &finding.cause
                && look
                    .cause
                    .as_ref()
                    .is_none_or(|(lowest, _)| unit.unit < *lowest)
            {
                look.cause = Some((unit.unit, (**cause).clone()));
            }
        }
    }

    /// Of each look that has a cause, the lowest unit that has it.
    pub(crate) fn lowest(&self) -> BTreeMap<String, u64> {
        let of = |(looks, look): (&String, &Look)| {
            look.cause.as_ref().map(|(unit, _)| (looks.clone(), *unit))
        };
        self.looks.iter().filter_map(of).collect()
    }

    /// Every cause once, in the order in which they were found.
    pub(crate) fn found(&self) -> Vec<Found> {
        let mut by_id: BTreeMap<&str, (Found, (bool, u64))> = BTreeMap::new();
        for (looks, look) in &self.looks {
            let id = look
                .cause
                .as_ref()
                .map_or(looks.as_str(), |(_, cause)| &cause.id);
            let unit = look.cause.as_ref().map_or(look.lowest, |(unit, _)| *unit);
            let rank = (look.by_luck, unit);
            let (found, best) = by_id.entry(id).or_insert_with(|| {
                let nothing = Found {
                    cause: None,
                    looks: looks.clone(),
                    unit,
                    units: 0,
                    diverged: 0,
                    targets: BTreeSet::new(),
                };
                (nothing, (true, u64::MAX))
            });
            found.units += look.units;
            found.diverged += look.diverged;
            found.targets.extend(look.targets.iter().cloned());
            if rank < *best {
                *best = rank;
                found.unit = unit;
                found.looks.clone_from(looks);
                found.cause = look.cause.as_ref().map(|(_, cause)| cause.clone());
            }
        }
        let mut all: Vec<Found> = by_id.into_values().map(|(found, _)| found).collect();
        all.sort_by(|a, b| (a.unit, &a.looks).cmp(&(b.unit, &b.looks)));
        all
    }

    /// How many targets are proved at each level: all parts of their spaces were exhausted.
    pub(crate) fn proved(&self) -> BTreeMap<usize, u64> {
        let mut proved = BTreeMap::new();
        for (space, parts) in &self.searched {
            let whole = self.parts.get(space) == Some(&(parts.len() as u32));
            let all = whole && parts.values().all(|exhausted| *exhausted);
            *proved.entry(space.0).or_default() += u64::from(all);
        }
        proved
    }

    /// How likely the next schedule of a unit shows a behaviour that none before it did: Good and
    /// Turing's estimate over all units.
    pub(crate) fn chance_of_news(&self) -> Option<f64> {
        (self.observations > 0).then(|| self.singletons as f64 / self.observations as f64)
    }

    /// Seconds of work, over all shards.
    pub(crate) fn elapsed_s(&self) -> f64 {
        self.shards
            .values()
            .flatten()
            .map(|ended| ended.elapsed_s)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::record::{SearchedPartRecord, UnitFinding};

    fn unit(number: u64, sort: UnitKind) -> UnitRecord {
        UnitRecord::new(number, sort, TargetName("somewhere".to_owned()))
    }

    fn tally(units: impl IntoIterator<Item = UnitRecord>) -> UnitTally {
        let mut tally = UnitTally::default();
        for unit in units {
            tally.add(&CampaignRecord::Unit(Box::new(unit)));
        }
        tally
    }

    #[test]
    fn a_space_is_proved_when_all_its_parts_are_exhausted() {
        let part = |number: u64, exhausted| {
            let mut unit = unit(number, UnitKind::Search);
            unit.searched = Some(SearchedPartRecord {
                level: 1,
                part: number as u32,
                of: 3,
                exhausted,
            });
            unit
        };
        let proved = |units: [Option<bool>; 3]| {
            let parts = (0..).zip(units).filter_map(|(n, e)| Some(part(n, e?)));
            tally(parts).proved()[&1]
        };
        assert_eq!(proved([Some(true), Some(true), Some(true)]), 1);
        assert_eq!(proved([Some(true), None, Some(true)]), 0);
        assert_eq!(proved([Some(true), Some(false), Some(true)]), 0);
    }

    #[test]
    fn what_was_found_and_not_minimised_is_not_lost() {
        let mut found = unit(7, UnitKind::Explore);
        found.finding = Some(UnitFinding {
            looks: "unknown-free somewhere".to_owned(),
            diverged: 3,
            cause: None,
        });
        let found = tally([found]).found();
        assert_eq!((found.len(), found[0].unit, found[0].diverged), (1, 7, 3));
        assert_eq!(found[0].cause, None);
    }

    #[test]
    fn a_unit_in_which_heisenbed_panicked_is_a_regression() {
        let mut broken = unit(9, UnitKind::Explore);
        broken.panicked = true;
        broken.problem = Some("index out of bounds".to_owned());
        let regressions = tally([broken]).regressions;
        let [(name, problem)] = &regressions.into_iter().collect::<Vec<_>>()[..] else {
            panic!("it is one")
        };
        assert_eq!(name.0, "unit 9: somewhere");
        assert!(problem.contains("index out of bounds"));
    }
}
