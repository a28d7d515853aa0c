//! The plan: what each unit of work is, by its number.
//!
//! The corpus comes first, a reproducer a unit. Then cycles follow, without end, in which stress,
//! explore, search and fuzz units come as often as their weights say; where a cycle begins is
//! hashed from its number, so that no shard gets some sorts only. Everything else about a unit is
//! drawn from the campaign's seed and the unit's number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_128;

use crate::engine::controlled::exhaustive::Part;
use crate::engine::controlled::sample::Strategy;
use crate::scenario::random::{Purpose, Random, mix};

use super::fuzz::Built;
use super::programs::CampaignProgram;
use super::target::{CampaignTarget, TargetName};

/// What decides the work: everything but when to stop and who does it. Campaigns with the same
/// parameters number the same units.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    /// The version of heisenbed.
    pub(crate) version: String,
    /// Where all random choices come from.
    pub(crate) seed: u64,
    /// How often each sort of unit comes.
    pub(crate) weights: Weights,
    /// Micro-steps of a unit, about.
    pub(crate) unit_steps: u64,
    /// Schedules in which a canary must be found.
    pub(crate) canary_budget: u64,
    /// Where it looks.
    pub(crate) targets: Vec<TargetName>,
    /// The canaries.
    pub(crate) canaries: Vec<String>,
    /// The reproducers that it runs again.
    pub(crate) corpus: Vec<String>,
    /// There is no reproducer to run again, though that was not asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) without_corpus: bool,
    /// The fuzz targets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) fuzz: Vec<String>,
    /// The programs of run units.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) programs: Vec<String>,
    /// The contents behind those names.
    pub(crate) digest: String,
}

/// The digest of some contents.
pub(crate) fn digest<'a>(contents: impl IntoIterator<Item = &'a str>) -> String {
    let mut all = String::new();
    for content in contents {
        all.push_str(&format!("{}:{content}", content.len()));
    }
    format!("{:032x}", xxh3_128(all.as_bytes()))
}

/// Sorts of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UnitKind {
    /// A reproducer of the corpus, run again.
    Corpus,
    /// A run on real threads.
    Stress,
    /// Schedules drawn at random.
    Explore,
    /// A part of an exhaustive search.
    Search,
    /// A fuzz target on new inputs.
    Fuzz,
    /// Schedules of a program of the user's own.
    Run,
}

impl fmt::Display for UnitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UnitKind::Corpus => "corpus",
            UnitKind::Stress => "stress",
            UnitKind::Explore => "explore",
            UnitKind::Search => "search",
            UnitKind::Fuzz => "fuzz",
            UnitKind::Run => "run",
        })
    }
}

/// How often each sort of unit comes in a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weights {
    stress: u16,
    explore: u16,
    search: u16,
    fuzz: u16,
    run: u16,
}

impl Default for Weights {
    fn default() -> Weights {
        Weights {
            stress: 1,
            explore: 6,
            search: 3,
            fuzz: 0,
            run: 0,
        }
    }
}

impl Weights {
    /// The usual ones where there are fuzz targets.
    pub(crate) fn with_fuzz() -> Weights {
        Weights {
            fuzz: 2,
            ..Weights::default()
        }
    }

    /// The same, and run units.
    pub(crate) fn and_programs(self) -> Weights {
        Weights { run: 6, ..self }
    }

    /// Whether run units come.
    pub(crate) fn runs(self) -> bool {
        self.run > 0
    }

    /// Whether fuzz units come.
    pub(crate) fn fuzzes(self) -> bool {
        self.fuzz > 0
    }
}

/// A text says nothing of weights.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{0}`: use stress=N,explore=N,search=N,fuzz=N,run=N with some N above 0 and none above 1000; what is left out is 0"
)]
pub(crate) struct WeightsError(String);

impl FromStr for Weights {
    type Err = WeightsError;

    fn from_str(text: &str) -> Result<Weights, WeightsError> {
        let bad = || WeightsError(text.to_owned());
        let mut weights = Weights {
            stress: 0,
            explore: 0,
            search: 0,
            fuzz: 0,
            run: 0,
        };
        for word in text.split(',') {
            let (name, number) = word.split_once('=').ok_or_else(bad)?;
            let weight = match name {
                "stress" => &mut weights.stress,
                "explore" => &mut weights.explore,
                "search" => &mut weights.search,
                "fuzz" => &mut weights.fuzz,
                "run" => &mut weights.run,
                _ => return Err(bad()),
            };
            *weight = number.parse().ok().filter(|n| *n <= 1000).ok_or_else(bad)?;
        }
        (weights.cycle() > 0).then_some(weights).ok_or_else(bad)
    }
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Weights {
            stress,
            explore,
            search,
            fuzz,
            run,
        } = self;
        write!(f, "stress={stress},explore={explore},search={search}")?;
        for (name, weight) in [("fuzz", fuzz), ("run", run)] {
            if *weight > 0 {
                write!(f, ",{name}={weight}")?;
            }
        }
        Ok(())
    }
}

serde_as_text!(Weights);

impl Weights {
    fn each(self) -> [(UnitKind, u64); 5] {
        [
            (UnitKind::Stress, self.stress.into()),
            (UnitKind::Explore, self.explore.into()),
            (UnitKind::Search, self.search.into()),
            (UnitKind::Fuzz, self.fuzz.into()),
            (UnitKind::Run, self.run.into()),
        ]
    }

    fn cycle(self) -> u64 {
        self.each().into_iter().map(|(_, weight)| weight).sum()
    }

    /// What unit `number` after the corpus is, and how many of its sort come before it.
    fn at(self, number: u64) -> (UnitKind, u64) {
        let cycle = number / self.cycle();
        let mut slot = (number % self.cycle() + mix(cycle) % self.cycle()) % self.cycle();
        for (sort, weight) in self.each() {
            if slot < weight {
                return (sort, cycle * weight + slot);
            }
            slot -= weight;
        }
        unreachable!("a slot is below the sum of the weights")
    }
}

/// What a unit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Runs this reproducer of the corpus again.
    Corpus(usize),
    /// Runs a target on real threads.
    Stress {
        /// Which target.
        target: usize,
        /// Threads.
        threads: u16,
        /// Operations of each.
        ops: u64,
        /// Whether micro-steps are delayed.
        perturb: bool,
    },
    /// Draws schedules of a target.
    Explore {
        /// Which target.
        target: usize,
        /// Threads.
        threads: u16,
        /// Operations of each.
        ops: u64,
        /// How schedules are drawn.
        strategy: Strategy,
        /// How many.
        schedules: u64,
    },
    /// Searches a part of a target's space.
    Search {
        /// Which target.
        target: usize,
        /// How large: an index into [`LEVELS`].
        level: usize,
        /// Which part.
        part: Part,
        /// States after which it gives up.
        max_states: u64,
    },
    /// Runs a fuzz target on new inputs.
    Fuzz {
        /// Which of the fuzz targets.
        target: usize,
        /// How many inputs.
        executions: u64,
    },
    /// Draws schedules of a program.
    Run {
        /// Which of the programs.
        program: usize,
        /// How many units of it come before.
        ordinal: u64,
    },
}

/// How large the searched forms of targets are: threads, operations of each, parts. Every target is
/// searched at one before any is at the next.
pub(crate) const LEVELS: [(u16, u64, u32); 6] = [
    (2, 4, 1),
    (3, 4, 4),
    (2, 8, 4),
    (3, 6, 16),
    (4, 4, 16),
    (3, 8, 32),
];

/// At how many choices a searched space is divided.
const PART_DEPTH: u32 = 6;

/// Threads and operations of each, of which schedules are drawn.
const EXPLORED: [(u16, u64); 8] = [
    (2, 4),
    (2, 8),
    (3, 4),
    (3, 6),
    (4, 4),
    (4, 8),
    (2, 16),
    (4, 16),
];

impl Parameters {
    /// What unit `number` does.
    pub(crate) fn work(&self, number: u64) -> Work {
        if let Some(index) = usize::try_from(number)
            .ok()
            .filter(|index| *index < self.corpus.len())
        {
            return Work::Corpus(index);
        }
        let (sort, ordinal) = self.weights.at(number - self.corpus.len() as u64);
        match sort {
            UnitKind::Stress => self.stress(number, ordinal),
            UnitKind::Search => self
                .search(ordinal)
                .unwrap_or_else(|| self.explore(number, ordinal)),
            UnitKind::Fuzz if !self.fuzz.is_empty() => self.fuzz(ordinal),
            UnitKind::Run if !self.programs.is_empty() => {
                let of = self.programs.len() as u64;
                Work::Run {
                    program: (ordinal % of) as usize,
                    ordinal: ordinal / of,
                }
            }
            UnitKind::Explore | UnitKind::Corpus | UnitKind::Fuzz | UnitKind::Run => {
                self.explore(number, ordinal)
            }
        }
    }

    /// The seed of unit `number`.
    pub(crate) fn unit_seed(&self, number: u64) -> u64 {
        self.random(number, 1).bits()
    }

    fn random(&self, number: u64, index: u64) -> Random {
        Random::new(self.seed, number, Purpose::Campaign, index)
    }

    fn target(&self, ordinal: u64) -> usize {
        (ordinal % self.targets.len() as u64) as usize
    }

    fn stress(&self, number: u64, ordinal: u64) -> Work {
        let mut random = self.random(number, 0);
        Work::Stress {
            target: self.target(ordinal),
            threads: random.between(2, 4) as u16,
            ops: (self.unit_steps / 4000).clamp(10, 20_000),
            perturb: random.percent(50),
        }
    }

    fn fuzz(&self, ordinal: u64) -> Work {
        /// An execution takes about as long as so many steps.
        const STEPS_PER_EXECUTION: u64 = 2000;
        Work::Fuzz {
            target: (ordinal % self.fuzz.len() as u64) as usize,
            executions: (self.unit_steps / STEPS_PER_EXECUTION).max(100),
        }
    }

    fn explore(&self, number: u64, ordinal: u64) -> Work {
        /// Steps of an operation, about.
        const STEPS_PER_OP: u64 = 8;
        let mut random = self.random(number, 0);
        let (threads, ops) = EXPLORED[random.below(EXPLORED.len() as u64) as usize];
        let strategy = match random.below(4) {
            0 => Strategy::Random,
            1 => Strategy::Pct { depth: 2 },
            2 => Strategy::Pct { depth: 3 },
            _ => Strategy::Urw,
        };
        let steps = u64::from(threads) * ops * STEPS_PER_OP;
        Work::Explore {
            target: self.target(ordinal),
            threads,
            ops,
            strategy,
            schedules: (self.unit_steps / steps).max(16),
        }
    }

    /// Every part of every target, level by level; `None` when there are no more.
    fn search(&self, mut ordinal: u64) -> Option<Work> {
        for (level, (_, _, of)) in LEVELS.into_iter().enumerate() {
            let units = self.targets.len() as u64 * u64::from(of);
            if ordinal < units {
                let index = (ordinal % u64::from(of)) as u32;
                return Some(Work::Search {
                    target: self.target(ordinal / u64::from(of)),
                    level,
                    part: Part {
                        index,
                        of,
                        depth: if of == 1 { 0 } else { PART_DEPTH },
                    },
                    max_states: (self.unit_steps / 8).max(1000),
                });
            }
            ordinal -= units;
        }
        None
    }
}

/// All that a campaign needs to do its units.
#[derive(Debug)]
pub(crate) struct CampaignPlan {
    /// What decides the work.
    pub(crate) parameters: Parameters,
    /// Where it looks.
    pub(crate) targets: Vec<CampaignTarget>,
    /// The reproducers of the corpus: where each is, and its text.
    pub(crate) corpus: Vec<(String, String)>,
    /// The fuzz targets, where they are built.
    pub(crate) fuzz: Option<Built>,
    /// The programs of run units.
    pub(crate) programs: Vec<CampaignProgram>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn parameters(targets: usize, corpus: usize, weights: &str) -> Parameters {
        Parameters {
            version: String::new(),
            seed: 7,
            weights: weights.parse().expect("weights"),
            unit_steps: 1_000_000,
            canary_budget: 0,
            targets: vec![TargetName(String::new()); targets],
            canaries: Vec::new(),
            corpus: vec![String::new(); corpus],
            without_corpus: false,
            fuzz: vec!["registry".to_owned(), "lifecycle".to_owned()],
            programs: vec!["queue".to_owned(), "stack".to_owned()],
            digest: String::new(),
        }
    }

    #[test]
    fn each_sort_comes_as_often_as_its_weight_says() {
        let plan = parameters(5, 3, "stress=1,explore=3,search=2,fuzz=3,run=1");
        let sorts = |sort: fn(&Work) -> bool| (3..1003).map(|n| plan.work(n)).filter(sort).count();
        assert!((0..3).all(|n| plan.work(n) == Work::Corpus(n as usize)));
        assert_eq!(sorts(|work| matches!(work, Work::Stress { .. })), 100);
        assert_eq!(sorts(|work| matches!(work, Work::Explore { .. })), 300);
        assert_eq!(sorts(|work| matches!(work, Work::Run { .. })), 100);
        assert_eq!(sorts(|work| matches!(work, Work::Search { .. })), 200);
        assert_eq!(sorts(|work| matches!(work, Work::Fuzz { .. })), 300);
    }

    #[test]
    fn every_part_of_every_target_is_searched_once() {
        let plan = parameters(3, 0, "search=1");
        let units: u64 = LEVELS.iter().map(|(_, _, of)| 3 * u64::from(*of)).sum();
        let searched: BTreeSet<String> =
            (0..units).map(|n| format!("{:?}", plan.work(n))).collect();
        assert_eq!(searched.len() as u64, units);
        assert!(matches!(plan.work(units), Work::Explore { .. }));
    }

    #[test]
    fn a_shard_gets_every_sort_whatever_the_number_of_shards() {
        let plan = parameters(5, 0, "stress=1,explore=2,search=1,fuzz=1");
        for of in [2, 4, 8] {
            let sorts: BTreeSet<u8> = (0..400)
                .filter(|n| n % of == 0)
                .map(|n| match plan.work(n) {
                    Work::Corpus(_) => 0,
                    Work::Stress { .. } => 1,
                    Work::Explore { .. } => 2,
                    Work::Search { .. } => 3,
                    Work::Fuzz { .. } => 4,
                    Work::Run { .. } => 5,
                })
                .collect();
            assert_eq!(sorts.len(), 4, "1 of {of}");
        }
    }

    #[test]
    fn weights_are_read_as_they_are_written() {
        let weights: Weights = "stress=1,explore=6,search=3".parse().expect("as written");
        assert_eq!(weights, Weights::default());
        let weights: Weights = "fuzz=2,stress=1,search=3,explore=6"
            .parse()
            .expect("in any order");
        assert_eq!(weights, Weights::with_fuzz());
        assert_eq!(weights.to_string().parse(), Ok(weights));
        for text in [
            "",
            "stress",
            "stress=0",
            "corpus=1",
            "explore=-1",
            "explore=1001",
        ] {
            assert!(text.parse::<Weights>().is_err(), "{text}");
        }
    }
}
