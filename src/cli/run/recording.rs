//! Runs a program's schedules for what its operations do: for `extract` and `run --conforms`.

use std::ffi::OsString;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::outcome::Context;
use super::super::progress::Progress;
use super::target::RunTargetArgs;
use crate::native::extract::{RecordPlan, Recorded};
use crate::native::launcher::{LaunchOptions, ProgramOutput};
use crate::native::tracked::TrackingPlan;
use crate::native::{Launcher, Symbols, UserProgram};

/// What is to be run.
pub(super) struct RecordingRequest {
    /// With its connection to a tracking server.
    pub(super) program: UserProgram,
    pub(super) schedules: u64,
    pub(super) timeout: Duration,
    pub(super) max_steps: u64,
    /// For the progress bar.
    pub(super) what: &'static str,
}

/// The program or target that was given, with its connection to a tracking server.
pub(super) fn program(
    words: &[OsString],
    target: &RunTargetArgs,
    tracking: TrackingPlan,
    context: &Context,
) -> Result<UserProgram, Box<dyn std::error::Error>> {
    if let Some(target) = target.prepare(context.seed, Some(tracking.clone()))? {
        if let Some(crash) = target.crash() {
            return Err(crash.into());
        }
        return Ok(target.program);
    }
    let Some((name, rest)) = words.split_first() else {
        return Err("no program was given".into());
    };
    Ok(UserProgram::find(name, rest)?.tracked(Some(tracking)))
}

/// Runs it.
pub(super) fn record(
    request: &RecordingRequest,
    context: &Context,
) -> Result<(Recorded, Symbols), Box<dyn std::error::Error>> {
    let options = LaunchOptions {
        timeout: request.timeout,
        output: ProgramOutput::Kept,
    };
    context.catch_interrupts();
    let mut launcher = Launcher::start(&request.program, options)?;
    let mut progress = Progress::new(context.quiet, request.what, "schedules", request.schedules);
    let plan = RecordPlan {
        seed: seed(context),
        schedules: request.schedules,
        max_steps: request.max_steps,
    };
    let recorded = Recorded::run(&mut launcher, &plan, |ran| {
        progress.update(ran);
        !context.interrupt.load(Ordering::Relaxed)
    })?;
    progress.finish();
    let symbols = Symbols::new(launcher.maps());
    Ok((recorded, symbols))
}

pub(super) fn seed(context: &Context) -> u64 {
    context.seed.unwrap_or(1)
}

/// Why nothing was seen, if that is so.
pub(super) fn says_nothing(recorded: &Recorded) -> Option<String> {
    if let (0, Some(why)) = (recorded.schedules, &recorded.unusable_why) {
        return Some(why.clone());
    }
    if recorded.schedules == 0 {
        return Some("it was interrupted before a schedule was over".to_owned());
    }
    if recorded.operations() > 0 {
        return None;
    }
    Some(format!(
        "no operation was seen: the program is to say where one begins and ends, by hb_op_begin \
         and hb_op_end of heisenbed.h{}",
        match recorded.outside {
            0 => " (and what its allocator does, by hb_truth_alloc and hb_truth_free)",
            _ => "",
        }
    ))
}
