//! What one execution is to do.

use heisenbed_runtime::protocol::{flag, mode, strategy};

use super::aims::RunAim;
use super::races::RacePlan;
use super::steps::Steps;

/// How a program's threads are scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunStrategy {
    /// In parallel, as they like; recorded.
    Observe,
    /// In parallel, with delays drawn from the seed.
    Perturb,
    /// Whoever can go on is as likely as another.
    Random,
    /// Partial order sampling.
    Pos,
    /// Priorities that change at `depth - 1` of the steps.
    Pct {
        /// How many ordering constraints the bug needs.
        depth: u32,
    },
    /// As uniform over the orders of some steps as earlier executions let it be.
    Surw,
    /// Pairs of accesses whose order is turned round: see [`Director`](super::director::Director).
    Rff,
    /// Few preemptions, each at a place that threads share.
    Few,
    /// From a situation on that came about seldom.
    Rare,
    /// All of them in turn. No plan of one execution has it.
    Mix,
    /// Whoever runs goes on as long as it can; then the lowest.
    First,
    /// Every schedule that differs.
    Exhaustive,
}

impl RunStrategy {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            RunStrategy::Observe => "observe",
            RunStrategy::Perturb => "perturb",
            RunStrategy::Random => "random",
            RunStrategy::Pos => "pos",
            RunStrategy::Pct { .. } => "pct",
            RunStrategy::Surw => "surw",
            RunStrategy::Rff => "rff",
            RunStrategy::Few => "few",
            RunStrategy::Rare => "rare",
            RunStrategy::Mix => "mix",
            RunStrategy::First => "first",
            RunStrategy::Exhaustive => "exhaustive",
        }
    }

    /// The one of that name.
    pub(crate) fn named(name: &str) -> Option<RunStrategy> {
        [
            RunStrategy::Observe,
            RunStrategy::Perturb,
            RunStrategy::Random,
            RunStrategy::Pos,
            RunStrategy::Pct { depth: 3 },
            RunStrategy::Surw,
            RunStrategy::Rff,
            RunStrategy::Few,
            RunStrategy::Rare,
            RunStrategy::Mix,
        ]
        .into_iter()
        .find(|strategy| strategy.name() == name)
    }

    /// Whether one thread runs at a time.
    pub(crate) fn is_controlled(self) -> bool {
        !matches!(self, RunStrategy::Observe | RunStrategy::Perturb)
    }

    pub(super) fn mode(self) -> u32 {
        match self {
            RunStrategy::Observe => mode::OBSERVE,
            RunStrategy::Perturb => mode::PERTURB,
            _ => mode::CONTROL,
        }
    }
}

/// What one execution is to do. The same plan for the same program gives the same execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunPlan {
    /// Who decides, after `steps`.
    pub(crate) strategy: RunStrategy,
    /// Where the draws come from.
    pub(crate) seed: u64,
    /// The number of the schedule: another one draws others.
    pub(crate) index: u64,
    /// Steps to take first; of `rare`, those to its situation.
    pub(crate) steps: Steps,
    /// Whether an execution that cannot take them ends there.
    pub(crate) strict: bool,
    /// How often a timed wait may end before it must, in percent.
    pub(crate) early_percent: u32,
    /// Whether condition variables may wake up without a signal.
    pub(crate) spurious: bool,
    /// Record the stack of each visible action.
    pub(crate) stacks: bool,
    /// Record where operations begin and end, and all accesses in them.
    pub(crate) operations: bool,
    /// More steps are a livelock.
    pub(crate) max_steps: u64,
    /// About how many choices an execution has.
    pub(crate) expected_steps: u64,
    /// Of `surw`: about how many selected steps each thread takes, and the thread that makes it.
    pub(crate) expected: Vec<(u32, u32)>,
    /// Of `surw`: the objects whose steps are selected; none: all steps are.
    pub(crate) selected: Option<Vec<u64>>,
    /// Of `rff` and `few`: who is held where.
    pub(crate) aims: Vec<RunAim>,
    /// Of `rff` and `few`: threads that are not held run on, by priorities.
    pub(crate) runs_on: bool,
    /// Where virtual time begins: nanoseconds since 1970.
    pub(crate) start_time_ns: u64,
    /// How data races are treated.
    pub(crate) races: RacePlan,
    /// Each action is a choice, and what it touches is told: for an exhaustive search.
    pub(crate) every_action: bool,
    /// With that: threads that do not go on from the last of `steps` on, a bit each.
    pub(crate) asleep: u64,
    /// A target may begin anew in the process of another schedule: the launcher says so.
    pub(crate) anew: bool,
    /// With that, its threads share one thread of the system.
    pub(crate) swift: bool,
}

/// How often a timed wait ends early where nothing else was asked for.
pub(crate) const EARLY_PERCENT: u32 = 10;

/// Virtual time begins here where nothing else was asked for: 2025-01-01.
pub(crate) const START_TIME_NS: u64 = 1_735_689_600_000_000_000;

impl RunPlan {
    /// Schedule `index` of `seed`.
    pub(crate) fn new(strategy: RunStrategy, seed: u64, index: u64) -> RunPlan {
        RunPlan {
            strategy,
            seed,
            index,
            steps: Steps::new(),
            strict: false,
            early_percent: EARLY_PERCENT,
            spurious: false,
            stacks: false,
            operations: false,
            max_steps: 1_000_000,
            expected_steps: 100,
            expected: Vec::new(),
            selected: None,
            aims: Vec::new(),
            runs_on: false,
            start_time_ns: START_TIME_NS,
            races: RacePlan::default(),
            every_action: false,
            asleep: 0,
            anew: false,
            swift: false,
        }
    }

    /// The same steps again, and nothing else.
    pub(crate) fn again(&self, steps: Steps) -> RunPlan {
        RunPlan {
            strategy: RunStrategy::First,
            steps,
            strict: true,
            asleep: 0,
            aims: Vec::new(),
            selected: None,
            expected: Vec::new(),
            ..self.clone()
        }
    }

    /// What the runtime calls its strategy.
    pub(super) fn number(&self) -> u32 {
        match self.strategy {
            RunStrategy::Observe
            | RunStrategy::Perturb
            | RunStrategy::First
            | RunStrategy::Exhaustive => strategy::FIRST,
            RunStrategy::Random => strategy::RANDOM,
            RunStrategy::Pos | RunStrategy::Rare | RunStrategy::Mix => strategy::POS,
            RunStrategy::Pct { .. } => strategy::PCT,
            RunStrategy::Surw => strategy::SURW,
            RunStrategy::Rff | RunStrategy::Few if self.runs_on => strategy::HELD_RUN,
            RunStrategy::Rff | RunStrategy::Few => strategy::HELD_POS,
        }
    }

    pub(super) fn flags(&self) -> u32 {
        let bit = |set: bool, flag: u32| if set { flag } else { 0 };
        bit(self.stacks, flag::STACKS)
            | bit(self.operations, flag::OPS)
            | bit(self.spurious, flag::SPURIOUS)
            | bit(self.strict, flag::STRICT)
            | bit(self.strategy.is_controlled(), flag::PIN)
            | bit(self.anew, flag::AGAIN)
            | bit(self.anew && self.swift, flag::SWIFT)
            | bit(self.every_action, flag::EXPLORE)
    }
}
