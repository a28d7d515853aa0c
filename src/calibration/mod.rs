//! Calibration of the diagnosis: runs with one known cause, and what the diagnosis makes of them.
//!
//! [`runs`] makes them, under control or on real threads ([`RunsOn`]) in several states of the
//! [`machine`], with the engine's own faults where it has them and by changing recorded messages
//! where it has not, or takes the traffic of somebody's [`program`]; [`forms`] shows each as one of
//! the records that people have: a recorded run, a proxy's capture, the lines of a server's log, in
//! any layout and semantics. [`calibrate`] diagnoses them and counts; [`measurement`] keeps what
//! was counted and prints it; [`kept`] writes down what was confident and wrong. Run i of a seed is
//! drawn alike whatever else is run; what real threads make of it is another each time.

pub(crate) mod forms;
mod heard;
mod kept;
pub(crate) mod machine;
pub(crate) mod measurement;
mod mesh;
pub(crate) mod program;
pub(crate) mod runs;
mod transform;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::diagnosis::{CONFIDENT, Cause, Diagnosis};
use program::ClientProgram;
use runs::PlantedRun;
pub(crate) use runs::RunsOn;

/// What to calibrate with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CalibrationPlan<'a> {
    /// Runs of each cause, and as many without one.
    pub runs: u64,
    /// Where they come from.
    pub seed: u64,
    /// Who runs them.
    pub engine: RunsOn,
    /// Only runs of this cause.
    pub only: Option<Cause>,
    /// Whose traffic it is, where it is not the engine's.
    pub program: Option<&'a ClientProgram>,
    /// The folder in which runs are kept that were confident and wrong.
    pub keep: Option<&'a Path>,
    /// Set by somebody who wants it to end early.
    pub interrupt: &'a AtomicBool,
}

/// How runs came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// How many.
    pub runs: u64,
    /// The planted cause was ranked first (nothing wrong was found, where there is none).
    pub right: u64,
    /// It was not, and the diagnosis says that it cannot tell: it names no cause, or several of
    /// which the planted one is one.
    pub cannot_tell: u64,
    /// Right, and with confidence.
    pub right_confident: u64,
    /// Another cause was named with confidence, first or not.
    pub wrong_confident: u64,
}

/// What the diagnosis made of runs with one cause.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The cause; none for runs without trouble.
    pub planted: Option<Cause>,
    /// How they came out.
    #[serde(flatten)]
    pub all: Tally,
    /// How often each cause was ranked first, whatever its score.
    pub first: BTreeMap<Cause, u64>,
    /// Nothing wrong was found.
    pub nothing: u64,
    /// Something was wrong, and no cause was named: the record does not tell, and that was said.
    pub undecided: u64,
    /// The highest score that another cause got.
    pub highest_wrong: f64,
    /// The same by what the record is, its layout, the server's semantics, and the state of the
    /// machine.
    #[serde(default)]
    pub conditions: BTreeMap<String, Tally>,
    /// The runs in which the planted cause was not first or another was named with confidence:
    /// `RUN/form/layout/semantics` (no layout of a program, which has its own), of real threads
    /// with the state of the machine, and what was ranked first.
    pub missed: Vec<String>,
}

/// The confusion matrix.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Confusion {
    /// A row a cause, and one for runs without trouble.
    pub rows: Vec<Row>,
}

impl CalibrationPlan<'_> {
    /// The causes that it plants, in their order; none: no trouble.
    pub(crate) fn causes(&self) -> Vec<Option<Cause>> {
        let all = match self.program {
            Some(program) => program.causes(),
            None => std::iter::once(None)
                .chain(Cause::ALL.into_iter().map(Some))
                .collect(),
        };
        let is_asked = |cause: &Option<Cause>| self.only.is_none() || self.only == *cause;
        all.into_iter().filter(is_asked).collect()
    }
}

/// Makes runs and diagnoses them; the rows that are whole, where it is interrupted. `progress` is
/// told how many runs are done.
pub(crate) fn calibrate(
    plan: CalibrationPlan<'_>,
    mut progress: impl FnMut(u64),
) -> Result<Confusion, runs::PlantError> {
    let mut rows = Vec::new();
    let (mut done, mut kept) = (0, 0);
    for cause in plan.causes() {
        let mut row = Row::new(cause);
        for run in 0..plan.runs {
            progress(done);
            let planted = PlantedRun::new(cause, &plan, run);
            if plan.interrupt.load(Ordering::Relaxed) {
                return Ok(Confusion { rows });
            }
            let planted = planted?;
            let diagnosis = planted.diagnose();
            let is_wrong = row.add(run, &planted, &diagnosis);
            if is_wrong
                && kept < kept::MAX_KEPT
                && let Some(folder) = plan.keep
            {
                kept::keep(folder, plan.seed, run, &planted, &diagnosis)
                    .map_err(|source| runs::PlantError::kept(folder, source))?;
                kept += 1;
            }
            done += 1;
        }
        rows.push(row);
    }
    Ok(Confusion { rows })
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.runs += other.runs;
        self.right += other.right;
        self.cannot_tell += other.cannot_tell;
        self.right_confident += other.right_confident;
        self.wrong_confident += other.wrong_confident;
    }
}

impl Row {
    fn new(planted: Option<Cause>) -> Row {
        Row {
            planted,
            all: Tally::default(),
            first: BTreeMap::new(),
            nothing: 0,
            undecided: 0,
            highest_wrong: 0.0,
            conditions: BTreeMap::new(),
            missed: Vec::new(),
        }
    }

    /// Adds a run; whether another cause was named with confidence.
    fn add(&mut self, run: u64, planted: &PlantedRun, diagnosis: &Diagnosis) -> bool {
        let first = diagnosis.causes.first();
        match first {
            Some(first) => *self.first.entry(first.cause).or_default() += 1,
            None if diagnosis.trouble => {}
            None => self.nothing += 1,
        }
        let is_undecided = diagnosis.trouble && diagnosis.named().is_none();
        self.undecided += u64::from(is_undecided);
        let between = diagnosis.undecided_between();
        let says_so = planted.cause.is_some_and(|cause| between.contains(&cause));
        let is_right = match (self.planted, first) {
            (None, None) => !diagnosis.trouble,
            (Some(planted), Some(first)) => planted == first.cause,
            _ => false,
        };
        let wrong = diagnosis.causes.iter();
        let wrong = wrong.filter(|cause| Some(cause.cause) != self.planted);
        let highest_wrong = wrong.map(|cause| cause.score).fold(0.0, f64::max);
        let is_wrong = highest_wrong >= CONFIDENT;
        self.highest_wrong = self.highest_wrong.max(highest_wrong);
        let confident = first.is_none_or(|first| first.score >= CONFIDENT);
        let tally = Tally {
            runs: 1,
            right: u64::from(is_right),
            cannot_tell: u64::from((is_undecided || says_so) && !is_right),
            right_confident: u64::from(is_right && confident),
            wrong_confident: u64::from(is_wrong),
        };
        self.all.add(tally);
        for condition in planted.conditions() {
            self.conditions.entry(condition).or_default().add(tally);
        }
        if !is_right || is_wrong {
            let ranked = diagnosis.causes.iter().take(2);
            let ranked = ranked.map(|cause| format!("{} {:.2}", cause.cause, cause.score));
            let ranked: Vec<String> = ranked.collect();
            self.missed
                .push(format!("{} ({})", planted.name(run), ranked.join(", ")));
        }
        is_wrong
    }
}

impl PlantedRun {
    /// What it is called among those of its cause.
    fn name(&self, run: u64) -> String {
        let shape = match self.is_program {
            true => format!("{}/{}", self.shape.form, self.shape.semantics),
            false => self.shape.to_string(),
        };
        match self.machine {
            Some(machine) => format!("{run}/{shape}/{machine}"),
            None => format!("{run}/{shape}"),
        }
    }

    /// Under what it was run and recorded, a word for each.
    fn conditions(&self) -> Vec<String> {
        let shape = self.shape;
        let mut conditions = vec![
            format!("record: {}", shape.form),
            format!("semantics: {}", shape.semantics),
        ];
        conditions.extend((!self.is_program).then(|| format!("layout: {}", shape.layout)));
        conditions.extend(self.machine.map(|machine| format!("machine: {machine}")));
        conditions
    }
}
