//! `run --target`, `stress --target`: drawn programs in small memories, where the workload itself
//! showed nothing: of one thread alone, then of two in a few schedules.

use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::{Value, json};

use super::super::outcome::Context;
use super::super::progress::Progress;
use super::target::PreparedTarget;
use crate::native::plan::RunStrategy;
use crate::native::races::{RaceFails, RacePlan};
use crate::native::target::TargetSetup;
use crate::native::target::shrink::ShrunkOps;
use crate::native::target::survey::{MEMORIES, Survey};
use crate::native::{Execution, Launcher, RunPlan, WorkCut};
use crate::numbers::plural;

/// Schedules of a program of two threads.
const SCHEDULES_OF_A_PAIR: u64 = 5;
/// In all there are as many as were asked for of the workload, but not fewer, and not more.
const LEAST_SCHEDULES: u64 = 2_500;
const MOST_SCHEDULES: u64 = 100_000;

/// A survey, and what came of its failure under control.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Surveyed {
    pub(in crate::cli) survey: Survey,
    /// Programs of two threads that were run.
    pairs: u64,
    /// The one that failed, and how many operations it had.
    failed_pair: Option<(u64, u64)>,
    /// It failed, and not under control: neither is to be believed.
    pub(in crate::cli) unconfirmed: Option<String>,
}

/// The plan that failed under control, with what was done.
pub(in crate::cli) type SurveyedFailure = (RunPlan, Execution, TargetSetup);

/// Surveys the target, if its workload is a drawn one, of which so many schedules were asked for,
/// and until then; where a program fails, `launcher` does that from then on.
pub(in crate::cli) fn survey(
    target: &mut PreparedTarget,
    launcher: &mut Launcher,
    plan: &RunPlan,
    (schedules, end): (u64, Option<Instant>),
    context: &Context,
) -> Result<Option<SurveyedFailure>, Box<dyn std::error::Error>> {
    let workload = &target.scenario.workload;
    if workload.script.is_some() || workload.imported.is_some() {
        return Ok(None);
    }
    let schedules = schedules.clamp(LEAST_SCHEDULES, MOST_SCHEDULES);
    let pairs_of_a_memory = schedules / SCHEDULES_OF_A_PAIR / MEMORIES.len() as u64;
    let mut progress = Progress::new(context.quiet, "one thread alone", "programs", 0);
    let survey = Survey::run(
        (&target.program.path, &target.about),
        &target.setup.options,
        &target.scenario,
        (plan.seed, pairs_of_a_memory),
        &mut |programs| {
            progress.update(programs);
            !context.interrupt.load(Ordering::Relaxed)
        },
    )?;
    progress.finish();
    let surveyed = target.surveyed.insert(Surveyed {
        survey,
        pairs: 0,
        failed_pair: None,
        unconfirmed: None,
    });
    let with_socket = |setup: &TargetSetup| TargetSetup {
        socket: target.setup.socket.clone(),
        ..setup.clone()
    };
    let Some(failed) = &surveyed.survey.failed else {
        let pairs = std::mem::take(&mut surveyed.survey.pairs);
        let mut racing = None;
        let all = pairs.len() as u64;
        let mut progress = Progress::new(context.quiet, "two threads", "programs", all);
        for setup in pairs.iter().map(with_socket) {
            let is_late = end.is_some_and(|end| Instant::now() > end);
            if is_late || context.interrupt.load(Ordering::Relaxed) {
                break;
            }
            progress.update(surveyed.pairs);
            launcher.drive(setup.clone())?;
            surveyed.pairs += 1;
            for index in 0..SCHEDULES_OF_A_PAIR {
                let plan = RunPlan {
                    strategy: RunStrategy::Random,
                    index,
                    ..plan.clone()
                };
                let execution = launcher.run(&plan)?;
                if execution.failure.is_some() {
                    surveyed.failed_pair = Some((surveyed.pairs - 1, setup.count()));
                    return Ok(Some((plan, execution, setup)));
                }
                if racing.is_none() && !execution.seen_races().races.is_empty() {
                    racing = Some((surveyed.pairs - 1, plan, setup.clone()));
                }
            }
        }
        progress.finish();
        // Nothing else failed in the end.
        let Some((number, plan, setup)) = racing else {
            return Ok(None);
        };
        launcher.drive(setup.clone())?;
        let plan = RunPlan {
            races: RacePlan {
                fails: RaceFails::Any,
                ..plan.races
            },
            ..plan
        };
        let execution = launcher.run(&plan)?;
        if execution.failure.is_none() {
            return Ok(None);
        }
        surveyed.failed_pair = Some((number, setup.count()));
        return Ok(Some((plan, execution, setup)));
    };
    let setup = with_socket(&failed.setup);
    launcher.drive(setup.clone())?;
    let plan = RunPlan {
        strategy: RunStrategy::First,
        index: 0,
        ..plan.clone()
    };
    let execution = launcher.run(&plan)?;
    if execution.failure.is_none() {
        surveyed.unconfirmed = Some(format!(
            "one thread alone failed twice ({}), each time in a process of its own, and not under \
             control",
            failed.what
        ));
        return Ok(None);
    }
    Ok(Some((plan, execution, setup)))
}

/// Whether operations are still to be left out: what one thread alone showed was made small as it
/// was found.
pub(in crate::cli) fn is_to_shrink(surveyed: Option<&Surveyed>) -> bool {
    !surveyed.is_some_and(Surveyed::is_alone)
}

/// How operations became fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct FewerOps {
    /// How many there were.
    pub(super) before: u64,
    /// Schedules that it took.
    pub(super) tried: u64,
    /// Why not all was tried.
    pub(super) cut: Option<WorkCut>,
}

/// Of a survey's failure, or else of `shrunk`.
pub(in crate::cli) fn fewer_ops(
    surveyed: Option<&Surveyed>,
    shrunk: Option<&ShrunkOps>,
) -> Option<FewerOps> {
    let of_survey = surveyed.and_then(Surveyed::before);
    let before = of_survey.or(shrunk.map(|shrunk| shrunk.before))?;
    Some(FewerOps {
        before,
        tried: shrunk.map_or(0, |shrunk| shrunk.tried),
        cut: shrunk.and_then(|shrunk| shrunk.cut),
    })
}

impl Surveyed {
    /// As the key `survey` of the target.
    pub(super) fn json(&self) -> Value {
        let survey = &self.survey;
        json!({
            "programs": survey.programs,
            "memories": survey.memories,
            "pairs": self.pairs,
            "failed_pair": self.failed_pair.map(|(number, _)| number),
            "failed": survey.failed.as_ref().map(|failed| failed.program),
            "note": self.unconfirmed.as_ref().or(survey.note.as_ref()),
        })
    }

    /// What was run, in words.
    pub(super) fn words(&self) -> String {
        let mut words = self.survey.words();
        if self.pairs > 0 {
            let pairs = plural(self.pairs, "drawn program");
            words += &format!(
                "\ntwo threads: {pairs} in the same memories, {SCHEDULES_OF_A_PAIR} schedules \
                 each: {}",
                match self.failed_pair {
                    Some((number, _)) => format!("number {number} fails"),
                    None => "nothing failed".to_owned(),
                }
            );
        }
        words
    }

    /// Whether one thread alone failed.
    fn is_alone(&self) -> bool {
        self.survey.failed.is_some() && self.unconfirmed.is_none()
    }

    /// How many operations the program had that failed.
    fn before(&self) -> Option<u64> {
        let alone = self.survey.failed.as_ref().map(|failed| failed.before);
        alone.or(self.failed_pair.map(|(_, before)| before))
    }

    /// In which program it failed.
    pub(in crate::cli) fn place(&self) -> Option<String> {
        if let Some((number, _)) = self.failed_pair {
            return Some(format!(
                "in program {number} of those that were drawn for two threads"
            ));
        }
        let failed = self.survey.failed.as_ref()?;
        self.unconfirmed.is_none().then(|| {
            format!(
                "by one thread alone, in program {} of those that were drawn for it",
                failed.program
            )
        })
    }
}
