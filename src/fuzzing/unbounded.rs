//! Random disciplines: whether they are right for any number of threads, beside a bounded search.
//!
//! Input: one byte for how buffers are used and what guards a release, and then the draws of the
//! two programs: the usual steps, mostly in their order, with locks held from one place to another
//! or not at all. Nearly right disciplines are what tells a sound abstraction from another.
//!
//! Demanded: nothing is proved for any number that a bounded search refutes. How often a proof is
//! missed is no mistake; [`compare`] says it, for who counts.

use crate::engine::controlled::exhaustive::{self, Goal, SearchEnd, SearchOptions};
use crate::engine::controlled::machine::Setup;
use crate::lifecycle::{Discipline, Program};
use crate::oracle::Kind;
use crate::scenario::{Scenario, ScenarioFile};
use crate::unbounded::{Abstract, search_ops};

/// Abstract states that a search may take.
const MAX_ABSTRACT_STATES: u64 = 200_000;
/// Locks that a program may hold, or not.
const LOCKS: [&str; 4] = ["tracker", "lifecycle", "global", "allocator"];

/// How the two verdicts stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compared {
    /// The lint refuses the discipline, or the abstraction does not cover it.
    NotCovered,
    /// Proved for any number, and the bounded search finds nothing within its states.
    Proved,
    /// Neither is right: the bounded search has a run.
    Refuted,
    /// The abstraction diverges; the bounded search proves its case.
    CannotTell,
    /// The abstraction diverges; the bounded search did not end.
    Open,
    /// There were more abstract states than were allowed.
    TooMany,
}

/// How far a bounded search goes.
#[derive(Clone, Copy, Debug)]
pub struct BoundedCase {
    /// Threads.
    pub threads: u16,
    /// Operations of each.
    pub ops: u64,
    /// States that it may take.
    pub max_states: u64,
}

/// What the fuzz target looks at.
pub const SMALL: BoundedCase = BoundedCase {
    threads: 2,
    ops: 4,
    max_states: 20_000,
};

/// Runs the target.
pub fn run(bytes: &[u8]) {
    compare(bytes, SMALL);
}

/// Holds the verdict for any number against a bounded search; panics where it was proved and a run
/// diverges.
pub fn compare(bytes: &[u8], bounded: BoundedCase) -> Compared {
    let Some(case) = Case::draw(bytes) else {
        return Compared::NotCovered;
    };
    let Some(scenario) = case.scenario(bounded) else {
        return Compared::NotCovered;
    };
    let setup = Setup::new(scenario, 0).expect("it is small");
    let found = match search_ops(&setup.scenario, setup.ops(), MAX_ABSTRACT_STATES) {
        Err(_) => return Compared::NotCovered,
        Ok(Abstract::TooMany { .. }) => return Compared::TooMany,
        Ok(found) => found,
    };
    let options = SearchOptions {
        goal: Goal::AllKinds,
        max_states: bounded.max_states,
        ..SearchOptions::default()
    };
    // What comes of deadlock is no matter of addresses: the abstraction does not look for it.
    let mut found_enough =
        |found: &exhaustive::Searched| found.divergences.keys().all(|kind| *kind == Kind::Deadlock);
    let searched = exhaustive::search(&setup, &options, &mut found_enough);
    let mut kinds = searched.divergences.keys();
    let refuted = kinds.find(|kind| **kind != Kind::Deadlock);
    match (found, refuted) {
        (Abstract::Proved { .. }, Some(kind)) => {
            panic!(
                "proved for any number, and a run shows {kind}:\n\n{}",
                case.text()
            )
        }
        (Abstract::Proved { .. }, None) => Compared::Proved,
        (_, Some(_)) => Compared::Refuted,
        (_, None) if searched.ended == SearchEnd::Exhausted => Compared::CannotTell,
        (_, None) => Compared::Open,
    }
}

/// The input as a discipline and the workload that it is tried on. `None`: it is too short.
pub(crate) fn decode(bytes: &[u8]) -> Option<String> {
    Some(Case::draw(bytes)?.text())
}

/// What an input stands for.
struct Case {
    workload: &'static str,
    discipline: Discipline,
}

impl Case {
    fn draw(bytes: &[u8]) -> Option<Case> {
        let (&form, draws) = bytes.split_first()?;
        let (allocate, deallocate) = draws.split_at(draws.len().div_ceil(2));
        let workload = match form & 3 {
            0 => "own-buffers",
            1 | 2 => "handoff",
            _ => "shared-free",
        };
        let guard = match form & 4 {
            0 => "check-live",
            _ => "claim",
        };
        let discipline = Discipline {
            name: "random".to_owned(),
            origin: String::new(),
            semantics: None,
            allocate: program(&["alloc", "mark-live", "send ALLOC", "publish"], allocate)?,
            deallocate: program(&[guard, "send FREE", "free", "mark-dead"], deallocate)?,
            mesh: None,
        };
        Some(Case {
            workload,
            discipline,
        })
    }

    /// `None`: the lint refuses the discipline.
    fn scenario(&self, bounded: BoundedCase) -> Option<Scenario> {
        let file = ScenarioFile::load(self.workload).expect("it is built in");
        let small = file.condensed(Some(bounded.threads), Some(bounded.ops));
        let mut scenario = small.resolve().expect("it is sound");
        // As it is drawn: no switch is applied to it.
        scenario.discipline = self.discipline.clone();
        scenario.check().ok()?;
        Some(scenario)
    }

    fn text(&self) -> String {
        let discipline = toml::to_string_pretty(&self.discipline);
        let discipline = discipline.expect("a discipline has string keys");
        format!("# on {}\n{discipline}", self.workload)
    }
}

/// The steps in an order that `draws` gives, each lock held from one place to another or not at
/// all. `None`: it is too long.
fn program(steps: &[&str], draws: &[u8]) -> Option<Program> {
    let mut draws = draws.iter().map(|draw| usize::from(*draw));
    let mut draw = || draws.next().unwrap_or(1);
    let mut program: Vec<String> = steps.iter().map(|step| (*step).to_owned()).collect();
    for at in (1..program.len()).rev() {
        // Mostly in the order that they are given in.
        if draw() % 3 == 0 {
            program.swap(at, draw() % (at + 1));
        }
    }
    for lock in LOCKS {
        if draw() % 5 < 2 {
            let from = draw() % program.len();
            let to = from + 1 + draw() % (program.len() - from);
            program.insert(to, format!("unlock {lock}"));
            program.insert(from, format!("lock {lock}"));
        }
    }
    let steps = program.iter().map(|step| step.parse().expect("a step"));
    Program::new(steps).ok()
}
