//! Records: the lines of a journal. The set of them is all that a campaign leaves; everything else
//! follows from it.

use serde::{Deserialize, Serialize};

use super::plan::UnitKind;
use super::shard::Shard;
use super::target::TargetName;

/// One line of a journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum CampaignRecord {
    /// A shard was begun, or resumed.
    Begun(Begun),
    /// A shard looked for a canary.
    Canary(CanaryRecord),
    /// A unit was done.
    Unit(Box<UnitRecord>),
    /// A shard came to an end by itself or was told to stop; where none says so, it was killed.
    Ended(ShardEnd),
}

/// A shard was begun.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Begun {
    /// Which.
    pub(crate) shard: Shard,
}

/// A shard came to an end.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShardEnd {
    /// Which.
    pub(crate) shard: Shard,
    /// Whether its time or its units were up.
    pub(crate) complete: bool,
    /// How long it worked.
    pub(crate) elapsed_s: f64,
}

/// What came of a canary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CanaryRecord {
    /// Who looked.
    pub(crate) shard: Shard,
    /// Its name.
    pub(crate) canary: String,
    /// With what.
    pub(crate) engine: String,
    /// Whether it was found.
    pub(crate) found: bool,
    /// Schedules, runs or states that it took.
    pub(crate) tries: u64,
}

/// What a unit was like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnitRecord {
    /// Its number.
    pub(crate) unit: u64,
    /// What sort of work it was.
    pub(crate) sort: UnitKind,
    /// When it was done, in seconds of the campaign's working time.
    pub(crate) at_s: f64,
    /// Where it looked; of the corpus, the reproducer.
    pub(crate) target: TargetName,
    /// Schedules, or runs on real threads.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) schedules: u64,
    /// Micro-steps.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) steps: u64,
    /// States.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) states: u64,
    /// Messages that the server took.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) messages: u64,
    /// Inputs that a fuzz target was run on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) executions: u64,
    /// Edges of the program that its inputs cover.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) edges: u64,
    /// Schedules whose behaviours were told apart.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) observations: u64,
    /// Behaviours among those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) behaviours: u64,
    /// Behaviours that one of them alone showed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) singletons: u64,
    /// Which part of a space was searched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) searched: Option<SearchedPartRecord>,
    /// What diverged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) finding: Option<UnitFinding>,
    /// Whether it made heisenbed itself panic; what it said is the problem.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) panicked: bool,
    /// Why it says nothing, or, of the corpus, what did not come out as expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// A part of a space.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchedPartRecord {
    /// How large the workload was, as an index into the plan's levels.
    pub(crate) level: usize,
    /// Which part, from 0.
    pub(crate) part: u32,
    /// How many there are.
    pub(crate) of: u32,
    /// Whether all of it was searched, and that says something.
    pub(crate) exhausted: bool,
}

/// What diverged in a unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnitFinding {
    /// What it looks like before it is minimised: findings that look alike are minimised once, in
    /// the lowest unit that has one.
    pub(crate) looks: String,
    /// Schedules that diverged.
    pub(crate) diverged: u64,
    /// Its cause, where this unit is the lowest that this shard did of those that look alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<Box<CauseRecord>>,
}

/// The cause of a divergence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CauseRecord {
    /// Tells it from others: the same cause has the same id everywhere.
    pub(crate) id: String,
    /// The kind of divergence that shows first; of a fuzz target, how it fails.
    pub(crate) kind: String,
    /// The discipline with its switches, or the fuzz target.
    pub(crate) discipline: String,
    /// The preemption that decides, or where the fuzz target fails.
    pub(crate) deciding: String,
    /// How small it could be made, or why not.
    pub(crate) size: String,
    /// The reproducer of the corpus that has the same cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) known: Option<String>,
    /// A reproducer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reproducer: Option<String>,
    /// The trace that was kept because it could not be made a reproducer of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trace: Option<String>,
    /// The input on which a fuzz target fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<Input>,
}

/// The bytes of an input of a fuzz target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Input(#[serde(with = "hex::serde")] pub Vec<u8>);

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl UnitRecord {
    /// Nothing done yet.
    pub(crate) fn new(unit: u64, sort: UnitKind, target: TargetName) -> UnitRecord {
        UnitRecord {
            unit,
            sort,
            at_s: 0.0,
            target,
            schedules: 0,
            steps: 0,
            states: 0,
            messages: 0,
            executions: 0,
            edges: 0,
            observations: 0,
            behaviours: 0,
            singletons: 0,
            searched: None,
            finding: None,
            panicked: false,
            problem: None,
        }
    }
}
