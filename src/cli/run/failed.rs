//! A failing schedule of `run`, made as small as its time allows, and run once more to be shown.

use std::time::{Duration, Instant};

use super::super::outcome::Context;
use super::super::progress::Progress;
use super::surveyed::{self, FewerOps, Surveyed};
use super::{ProgramRunArgs, again, exhaustive};
use crate::native::exhaustive::{MinimumProof, prove_minimum};
use crate::native::findings::CodeLine;
use crate::native::minimise::{Minimised, minimise};
use crate::native::target::TargetSetup;
use crate::native::target::shrink::{ShrunkOps, shrink_ops};
use crate::native::{Execution, LaunchError, Launcher, RunPlan, WorkLimit};

/// Without `--duration` a failure is made small, and that proved, for so long.
const MAKING_SMALL: Duration = Duration::from_secs(300);

/// The first failing schedule, with fewer operations where it is a target's, and fewer preemptions.
pub(super) fn shrunk_failure(
    launcher: &mut Launcher,
    args: &ProgramRunArgs,
    first: (&RunPlan, &Execution),
    surveyed: Option<&Surveyed>,
    limit: &WorkLimit,
    context: &Context,
) -> Result<Failed, Box<dyn std::error::Error>> {
    let shrunk = match surveyed::is_to_shrink(surveyed) {
        true => shrunk_ops(launcher, args, first, limit, context)?,
        false => None,
    };
    let (plan, execution) = match &shrunk {
        Some(shrunk) => (&shrunk.plan, &shrunk.execution),
        None => first,
    };
    let options = FailedOptions {
        shrink: !args.no_shrink,
        prove_minimum: args.prove_minimum,
        limit: limit.clone(),
        library: args.target.library(),
    };
    let mut failed = Failed::new(launcher, options, plan, execution, context)?;
    failed.fewer_ops = surveyed::fewer_ops(surveyed, shrunk.as_ref());
    Ok(failed)
}

/// How a failing schedule is made small.
#[derive(Clone, Debug)]
pub(in crate::cli) struct FailedOptions {
    pub(in crate::cli) shrink: bool,
    pub(in crate::cli) prove_minimum: u64,
    /// When it must be as small as it is to be.
    pub(in crate::cli) limit: WorkLimit,
    /// The file name of a target.
    pub(in crate::cli) library: Option<String>,
}

impl Default for FailedOptions {
    fn default() -> FailedOptions {
        FailedOptions {
            shrink: true,
            prove_minimum: exhaustive::PROVE_MINIMUM,
            limit: WorkLimit::default(),
            library: None,
        }
    }
}

/// A failing schedule, made small, and run once more to be shown.
pub(in crate::cli) struct Failed {
    pub(in crate::cli) minimised: Minimised,
    pub(in crate::cli) shown: Execution,
    pub(in crate::cli) story: String,
    /// The line of the user's code that it passed last.
    pub(in crate::cli) line: Option<CodeLine>,
    /// Running it again came to the same.
    pub(super) repeats: bool,
    /// Whether fewer preemptions can do.
    pub(super) minimum: Option<MinimumProof>,
    /// Of a target: what is done with it.
    pub(in crate::cli) setup: Option<TargetSetup>,
    /// What was left out of its operations.
    pub(in crate::cli) fewer_ops: Option<FewerOps>,
}

/// Leaves out operations of a target's workload.
fn shrunk_ops(
    launcher: &mut Launcher,
    args: &ProgramRunArgs,
    (plan, execution): (&RunPlan, &Execution),
    limit: &WorkLimit,
    context: &Context,
) -> Result<Option<ShrunkOps>, LaunchError> {
    if args.no_shrink {
        return Ok(None);
    }
    let mut progress = Progress::new(context.quiet, "shrink", "schedules", 0);
    let shrunk = launcher.within(limit, |launcher| {
        shrink_ops(launcher, (plan, execution), &mut |tried| {
            progress.update(tried);
            true
        })
    })?;
    progress.finish();
    Ok(shrunk)
}

/// A search that was given `duration` may shrink what it found as long as there is time left, and a
/// tenth of it where there is none: what comes out of its last second is to be read, too.
pub(in crate::cli) fn shrink_limit(
    started: Instant,
    duration: Option<Duration>,
    context: &Context,
) -> WorkLimit {
    let until = match duration {
        Some(limit) => (started + limit).max(Instant::now() + limit / 10),
        None => Instant::now() + MAKING_SMALL,
    };
    WorkLimit::new(Some(until), Some(&context.interrupt))
}

/// A failing schedule with the fewest preemptions that are found within the launcher's limit, and
/// whether fewer can do: at most `prove` schedules are run for that.
pub(super) fn least(
    launcher: &mut Launcher,
    prove: u64,
    (plan, execution): (&RunPlan, &Execution),
    context: &Context,
) -> Result<(Minimised, Option<MinimumProof>), LaunchError> {
    let mut progress = Progress::new(context.quiet, "shrink", "schedules", 0);
    let mut minimised = minimise(launcher, plan, execution, |tried| {
        progress.update(tried);
        true
    })?;
    progress.finish();
    if prove == 0 {
        return Ok((minimised, None));
    }
    let minimum = match minimised.cut {
        Some(cut) => MinimumProof::not_begun(cut),
        None => {
            let mut progress = Progress::new(context.quiet, "minimum", "schedules", 0);
            let proof = prove_minimum(launcher, plan, &mut minimised, prove, |done| {
                progress.update(done);
            })?;
            progress.finish();
            proof
        }
    };
    Ok((minimised, Some(minimum)))
}

impl Failed {
    pub(in crate::cli) fn new(
        launcher: &mut Launcher,
        options: FailedOptions,
        plan: &RunPlan,
        execution: &Execution,
        context: &Context,
    ) -> Result<Failed, LaunchError> {
        let (minimised, minimum) = match options.shrink {
            true => launcher.within(&options.limit, |launcher| {
                least(launcher, options.prove_minimum, (plan, execution), context)
            })?,
            false => (Minimised::none(plan, execution), None),
        };
        let library = options.library.as_deref();
        let (shown, story, line) = again::show_with_line(launcher, &minimised.plan, library)?;
        let kind = |execution: &Execution| execution.failure.as_ref().map(|failure| failure.kind);
        let repeats = shown.strayed.is_none()
            && kind(&shown) == kind(&minimised.execution)
            && shown.step_count == minimised.execution.step_count;
        Ok(Failed {
            minimised,
            shown,
            story,
            line,
            repeats,
            minimum,
            setup: launcher.setup().cloned(),
            fewer_ops: None,
        })
    }
}
