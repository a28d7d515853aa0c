//! Calibration of the diagnosis: runs with one known cause, and what the diagnosis makes of them.
//!
//! [`runs`] makes them, with the engine's own faults where it has them and by changing recorded
//! messages where it has not; [`forms`] shows each as one of the records that people have: extended
//! messages, messages of the plain wire, the lines of a server's log. [`calibrate`] diagnoses them
//! and counts. Run i of a seed is the same whatever else is run.

pub mod forms;
pub mod runs;
mod transform;

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::diagnosis::{CONFIDENT, Cause, Diagnosis};
use forms::Form;
use runs::PlantedRun;

/// What to calibrate with.
#[derive(Clone, Copy, Debug)]
pub struct CalibrationPlan {
    /// Runs of each cause, and as many without one.
    pub runs: u64,
    /// Where they come from.
    pub seed: u64,
}

/// What the diagnosis made of runs with one cause.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The cause; none for runs without trouble.
    pub planted: Option<Cause>,
    /// How many.
    pub runs: u64,
    /// How often each cause was ranked first, whatever its score.
    pub first: BTreeMap<Cause, u64>,
    /// Nothing wrong was found.
    pub nothing: u64,
    /// Something was wrong and no cause was ranked.
    pub undecided: u64,
    /// The planted cause was ranked first (nothing wrong was found, where there is none).
    pub right: u64,
    /// Of those: with confidence.
    pub right_confident: u64,
    /// Another cause was named with confidence, first or not.
    pub wrong_confident: u64,
    /// The highest score that another cause got.
    pub highest_wrong: f64,
    /// The runs in which the planted cause was not first or another was named with confidence:
    /// `RUN/form`.
    pub missed: Vec<String>,
}

/// The confusion matrix.
#[derive(Clone, Debug, Serialize)]
pub struct Confusion {
    /// A row a cause, and one for runs without trouble.
    pub rows: Vec<Row>,
}

/// Makes runs and diagnoses them. `keep_going` is told how many are done and says whether to.
pub fn calibrate(
    plan: CalibrationPlan,
    mut keep_going: impl FnMut(u64) -> bool,
) -> Result<Confusion, runs::PlantError> {
    let mut rows = Vec::new();
    let mut done = 0;
    for cause in std::iter::once(None).chain(Cause::ALL.into_iter().map(Some)) {
        let mut row = Row::new(cause);
        for run in 0..plan.runs {
            if !keep_going(done) {
                return Ok(Confusion { rows });
            }
            let planted = PlantedRun::new(cause, plan.seed, run)?;
            row.add(run, planted.form, &planted.diagnose());
            done += 1;
        }
        rows.push(row);
    }
    Ok(Confusion { rows })
}

impl Row {
    fn new(planted: Option<Cause>) -> Row {
        Row {
            planted,
            runs: 0,
            first: BTreeMap::new(),
            nothing: 0,
            undecided: 0,
            right: 0,
            right_confident: 0,
            wrong_confident: 0,
            highest_wrong: 0.0,
            missed: Vec::new(),
        }
    }

    fn add(&mut self, run: u64, form: Form, diagnosis: &Diagnosis) {
        self.runs += 1;
        let first = diagnosis.causes.first();
        match first {
            Some(first) => *self.first.entry(first.cause).or_default() += 1,
            None if diagnosis.trouble => self.undecided += 1,
            None => self.nothing += 1,
        }
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
        self.right += u64::from(is_right);
        let confident = first.is_none_or(|first| first.score >= CONFIDENT);
        self.right_confident += u64::from(is_right && confident);
        self.wrong_confident += u64::from(is_wrong);
        if !is_right || is_wrong {
            self.missed.push(format!("{run}/{form}"));
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Extended => "extended",
            Form::Plain => "plain",
            Form::Log => "log",
        })
    }
}
