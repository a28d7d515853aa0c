//! Arbitrary programs through the lint: what it accepts can be run, and what it says of it is true.
//!
//! Input: one byte for the built-in discipline to begin with, one for the number of edits, these,
//! drawn by [`arbitrary`], and then one byte a choice of the [`Bytes`] scheduler. Edits rather than
//! programs, because nearly no program made of random steps is accepted.
//!
//! Demanded, whatever the program: it survives its text form, and a scenario takes it exactly when
//! the lint finds no error. Of what it accepts: it runs, never beyond its programs' steps, without
//! an alarm that has no divergence to it; without a warning about locks no schedule deadlocks, the
//! drawn one and those of a search; and no number is taken that no message carries.

use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};

use crate::engine::controlled::exhaustive::{self, Goal, SearchOptions};
use crate::engine::controlled::machine::{RunEnd, Setup};
use crate::engine::controlled::observe::observe;
use crate::engine::controlled::schedulers::Bytes;
use crate::lifecycle::{
    Discipline, LintFinding, MicroStep, Program, ProgramKind, Severity, builtin, lint,
};
use crate::oracle::Kind;
use crate::registry::Semantics;
use crate::scenario::{Scenario, ScenarioFile};

const MAX_EDITS: usize = 16;
/// More than two threads of two pairs can take with [`Program::MAX_STEPS`] steps each.
const MAX_STEPS: u64 = 4096;
/// Enough to find a cycle of locks, few enough to be searched in milliseconds.
const MAX_STATES: u64 = 400;

/// One change of a program.
#[derive(Clone, Copy, Debug, Arbitrary)]
struct Edit {
    /// What, and in which program.
    what: u8,
    /// Where, modulo the length.
    at: u8,
    /// The step that comes in.
    step: MicroStep,
}

/// Runs the target.
pub fn run(bytes: &[u8]) {
    let Some((discipline, schedule)) = draw(bytes) else {
        return;
    };
    survives_its_text(&discipline);
    let findings = lint(&discipline);
    let accepted = !findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    match scenario(&discipline) {
        Some(scenario) => {
            assert!(
                accepted,
                "a scenario takes what the lint refuses: {findings:?}"
            );
            let setup = Setup::new(scenario, 0).expect("it is small");
            holds(&setup, &findings, schedule);
        }
        None => assert!(!accepted, "a scenario refuses what the lint accepts"),
    }
}

/// The input as a discipline and what the lint says of it. `None`: it is too short to be one.
pub(crate) fn decode(bytes: &[u8]) -> Option<String> {
    let (discipline, _) = draw(bytes)?;
    Some(super::linted(&discipline))
}

fn draw(bytes: &[u8]) -> Option<(Discipline, &[u8])> {
    let (&[base, count], rest) = bytes.split_first_chunk()?;
    let all: Vec<&Discipline> = builtin::all().iter().collect();
    let mut discipline = all[usize::from(base) % all.len()].clone();
    discipline.name = "fuzzed".to_owned();
    let mut programs = ProgramKind::ALL.map(|kind| discipline.program(kind).steps().to_vec());
    let mut draws = Unstructured::new(rest);
    for _ in 0..usize::from(count) % (MAX_EDITS + 1) {
        let edit = Edit::arbitrary(&mut draws).ok()?;
        apply(&mut programs[usize::from(edit.what & 1)], edit);
    }
    let [allocate, deallocate] = programs.map(|steps| Program::new(steps).ok());
    discipline.allocate = allocate?;
    discipline.deallocate = deallocate?;
    Some((discipline, draws.take_rest()))
}

fn apply(steps: &mut Vec<MicroStep>, edit: Edit) {
    if steps.is_empty() {
        steps.push(edit.step);
        return;
    }
    let at = usize::from(edit.at) % steps.len();
    match edit.what >> 1 & 3 {
        0 => steps.insert(at, edit.step),
        1 => drop(steps.remove(at)),
        2 => {
            let other = (at + 1) % steps.len();
            steps.swap(at, other);
        }
        _ => steps[at] = edit.step,
    }
}

fn survives_its_text(discipline: &Discipline) {
    let text = toml::to_string(discipline).expect("a discipline has string keys");
    let again: Discipline = toml::from_str(&text).expect("its own text parses");
    assert_eq!(
        &again, discipline,
        "another discipline comes out of its text"
    );
}

/// Two threads of two pairs on two devices, where the discipline is accepted.
fn scenario(discipline: &Discipline) -> Option<Scenario> {
    let mut scenario = ScenarioFile::load("own-buffers")
        .expect("it is built in")
        .condensed(Some(2), Some(4))
        .resolve()
        .expect("it is sound");
    scenario.devices = 2;
    scenario.semantics = discipline.semantics.unwrap_or(Semantics::Typed);
    scenario.discipline = discipline.clone();
    scenario.check().ok()?;
    Some(scenario)
}

/// What the lint claims of what it accepts.
fn holds(setup: &Arc<Setup>, findings: &[LintFinding], schedule: &[u8]) {
    let (observed, _) = observe(setup, Bytes::new(schedule), 0, MAX_STEPS);
    assert_ne!(observed.end, RunEnd::CutShort, "a run has no end");
    let discipline = &setup.scenario.discipline;
    let kinds = &observed.report.divergences;
    assert!(
        !kinds.contains_key(&Kind::LostMessage) || is_warned_of(discipline, findings, is_send),
        "a number was taken that no message carries: {kinds:?}"
    );
    if is_warned_of(discipline, findings, may_wait) {
        return;
    }
    assert_ne!(
        observed.end,
        RunEnd::Deadlock,
        "a deadlock without a warning"
    );
    let options = SearchOptions {
        goal: Goal::Kind(Kind::Deadlock),
        max_states: MAX_STATES,
        ..SearchOptions::default()
    };
    let found = exhaustive::search(setup, &options, &mut |_| true);
    assert!(
        !found.divergences.contains_key(&Kind::Deadlock),
        "a deadlock without a warning"
    );
}

/// Whether the lint warns of a step of that sort.
fn is_warned_of(
    discipline: &Discipline,
    findings: &[LintFinding],
    sort: impl Fn(MicroStep) -> bool,
) -> bool {
    findings.iter().any(|finding| {
        let steps = discipline.program(finding.program).steps();
        let step = finding.step.and_then(|at| steps.get(at));
        step.is_some_and(|step| sort(*step))
    })
}

/// A step that waits for a lock, or an early return that keeps one.
fn may_wait(step: MicroStep) -> bool {
    matches!(
        step,
        MicroStep::Lock(_) | MicroStep::Alloc | MicroStep::Free | MicroStep::CheckLiveUnguarded
    )
}

fn is_send(step: MicroStep) -> bool {
    matches!(step, MicroStep::Send(_))
}
