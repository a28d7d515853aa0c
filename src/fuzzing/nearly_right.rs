//! Disciplines that are nearly right, and some that are: what tells a sound shortcut from another.
//!
//! Input: one byte for how buffers are used, what guards a release and what the server is (one that
//! goes by numbers gets them), and then the draws of the two programs: the usual steps, mostly in
//! their order, with locks held from one place to another or not at all.

use crate::lifecycle::{Discipline, Program};
use crate::registry::Semantics;
use crate::scenario::{Scenario, ScenarioFile};

/// Locks that a program may hold, or not.
const LOCKS: [&str; 4] = ["tracker", "lifecycle", "global", "allocator"];

/// How far a bounded search goes.
#[derive(Clone, Copy, Debug)]
pub struct SmallCase {
    /// Threads.
    pub threads: u16,
    /// Operations of each.
    pub ops: u64,
    /// States that it may take.
    pub max_states: u64,
}

/// What an input stands for.
pub(super) struct DisciplineCase {
    workload: &'static str,
    discipline: Discipline,
    semantics: Semantics,
}

impl DisciplineCase {
    /// `None`: it is too short, or its programs are too long.
    pub(super) fn draw(bytes: &[u8]) -> Option<DisciplineCase> {
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
        let semantics = match form >> 3 & 3 {
            0 => Semantics::Sequenced,
            1 => Semantics::Refcount,
            _ => Semantics::Typed,
        };
        let stamp = (semantics == Semantics::Sequenced).then_some("stamp");
        let steps = |before: &[&'static str], after: &[&'static str]| -> Vec<&'static str> {
            let before = before.iter().copied();
            before.chain(stamp).chain(after.iter().copied()).collect()
        };
        let opens = steps(&["alloc"], &["mark-live", "send ALLOC", "publish"]);
        let closes = steps(&[guard], &["send FREE", "free", "mark-dead"]);
        let discipline = Discipline {
            name: "random".to_owned(),
            origin: String::new(),
            semantics: stamp.map(|_| semantics),
            allocate: program(&opens, allocate)?,
            deallocate: program(&closes, deallocate)?,
            mesh: None,
            cells: Default::default(),
            programs: Default::default(),
        };
        Some(DisciplineCase {
            workload,
            discipline,
            semantics,
        })
    }

    /// On a small workload. `None`: the lint refuses the discipline.
    pub(super) fn scenario(&self, small: SmallCase) -> Option<Scenario> {
        let file = ScenarioFile::load(self.workload).expect("it is built in");
        let condensed = file.condensed(Some(small.threads), Some(small.ops));
        let mut scenario = condensed.resolve().expect("it is sound");
        // As it is drawn: no switch is applied to it.
        scenario.discipline = self.discipline.clone();
        scenario.semantics = self.semantics;
        scenario.check().ok()?;
        Some(scenario)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
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
