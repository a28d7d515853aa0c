//! A failing schedule of a program as a file: text, small enough for a review, complete enough to
//! be run elsewhere.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::execution::{Execution, Failure, FailureKind};
use super::plan::{RunPlan, RunStrategy};
use super::program::{UserProgram, UserProgramError};
use super::races::RacePlan;
use super::steps::Steps;
use super::target::TargetSetup;
use super::tracked::TrackingPlan;
use crate::scenario::{TomlFileError, toml_file};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunReproducer {
    /// Always `run`: other reproducers have no such key.
    pub(crate) kind: ReproducerKind,
    /// The version of this format: 1.
    pub(crate) version: u32,
    /// The program, its arguments, and what it was built from.
    pub(crate) program: ProgramRecord,
    /// How its threads were scheduled.
    pub(crate) schedule: ScheduleRecord,
    /// What must come of it.
    pub(crate) expect: ExpectedFailure,
    /// How it was tracked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tracking: Option<TrackingPlan>,
    /// The program is a target: what is done with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<TargetSetup>,
}

/// `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReproducerKind {
    /// A schedule of a program.
    Run,
}

/// `[program]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProgramRecord {
    /// Where it was.
    pub(crate) path: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// The build id that the linker gave it, or a digest of its file.
    pub(crate) build_id: String,
}

/// `[schedule]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScheduleRecord {
    /// Who took the steps.
    pub(crate) steps: Steps,
    /// Where its random numbers come from.
    pub(crate) seed: u64,
    /// The same.
    pub(crate) index: u64,
    /// Where its clock begins: nanoseconds since 1970.
    pub(crate) start_time_ns: u64,
    /// Whether condition variables might wake up without a signal.
    pub(crate) spurious: bool,
    /// Steps that were a livelock.
    pub(crate) max_steps: u64,
    /// The steps are those of an exhaustive search, where each action is one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) every_action: bool,
}

/// `[expect]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpectedFailure {
    /// The kind of failure.
    pub(crate) failure: FailureKind,
    /// In one line.
    pub(crate) summary: String,
    /// How many preemptions it takes.
    pub(crate) preemptions: u64,
    /// Of a data race: where both accesses are, in alphabetical order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) race: Option<[String; 2]>,
}

/// Why a file is no reproducer of a run.
#[derive(Debug, Error)]
pub(crate) enum RunReproducerError {
    /// It cannot be read, or is none.
    #[error(transparent)]
    File(#[from] TomlFileError),
    /// It is newer than this heisenbed.
    #[error("{}: version {version} of the format; this heisenbed reads version 1", path.display())]
    TooNew {
        /// Which.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

impl RunReproducer {
    /// Of a failing execution.
    pub(crate) fn new(
        program: &UserProgram,
        plan: &RunPlan,
        execution: &Execution,
        failure: &Failure,
    ) -> RunReproducer {
        RunReproducer {
            kind: ReproducerKind::Run,
            version: 1,
            program: ProgramRecord {
                path: program.path.clone(),
                args: program.arg_texts(),
                build_id: program.build_id.clone(),
            },
            schedule: ScheduleRecord {
                steps: execution.steps.clone(),
                seed: plan.seed,
                index: plan.index,
                start_time_ns: plan.start_time_ns,
                spurious: plan.spurious,
                max_steps: plan.max_steps,
                every_action: plan.every_action,
            },
            expect: ExpectedFailure {
                failure: failure.kind,
                summary: failure.summary.clone(),
                preemptions: execution.preempted.len() as u64,
                race: execution
                    .race
                    .as_ref()
                    .and_then(|accused| Some(accused.text.as_ref()?.places())),
            },
            tracking: program.tracking.clone(),
            target: None,
        }
    }

    /// The same of a target with which `setup` was done.
    pub(crate) fn of_target(mut self, setup: Option<&TargetSetup>) -> RunReproducer {
        self.target = setup.cloned();
        if self.target.is_some() {
            self.program.args.clear();
        }
        self
    }

    /// Whether a text is one, as far as its first lines say.
    pub(crate) fn is_one(text: &str) -> bool {
        text.lines().any(|line| {
            let line: String = line.split_whitespace().collect();
            line == "kind=\"run\""
        })
    }

    /// Reads one.
    pub(crate) fn read(path: &Path) -> Result<RunReproducer, RunReproducerError> {
        let text = toml_file::read(path)?;
        let reproducer: RunReproducer = toml_file::parse(&path.display().to_string(), &text)?;
        if reproducer.version > 1 {
            return Err(RunReproducerError::TooNew {
                path: path.to_owned(),
                version: reproducer.version,
            });
        }
        Ok(reproducer)
    }

    /// As text.
    pub(crate) fn to_text(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// The program that it names, as it is now.
    pub(crate) fn program(&self) -> Result<UserProgram, UserProgramError> {
        if let Some(setup) = &self.target {
            let program = UserProgram::target(&self.program.path, setup.clone())?;
            return Ok(program.tracked(self.tracking.clone()));
        }
        let args: Vec<OsString> = self.program.args.iter().map(OsString::from).collect();
        let program = UserProgram::find(&self.program.path.clone().into_os_string(), &args)?;
        Ok(program.tracked(self.tracking.clone()))
    }

    /// The plan that gives the schedule again.
    pub(crate) fn plan(&self) -> RunPlan {
        let schedule = &self.schedule;
        let races = match self.expect.failure {
            FailureKind::DataRace => RacePlan::FAIL,
            _ => RacePlan::default(),
        };
        RunPlan {
            races,
            spurious: schedule.spurious,
            start_time_ns: schedule.start_time_ns,
            max_steps: schedule.max_steps,
            every_action: schedule.every_action,
            ..RunPlan::new(RunStrategy::First, schedule.seed, schedule.index)
        }
        .again(schedule.steps.clone())
    }
}
