//! `run --strategy exhaustive`, and the proof that a failure takes no fewer preemptions.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use serde_json::json;

use super::super::outcome::Context;
use super::super::progress::Progress;
use super::{FailedOptions, ProgramRunArgs, RunStrategyArg, is_in_time};
use crate::native::exhaustive::{Exhausted, ExhaustivePlan, MinimumProof, exhaust, prove_minimum};
use crate::native::minimise::Minimised;
use crate::native::{LaunchError, Launcher, RunPlan, Search, SearchPlan};
use crate::numbers::{grouped, plural};

/// The most schedules where nothing else was asked for.
const SCHEDULES: u64 = 20_000;

/// The most schedules for the proof of a minimum.
pub(super) const PROVE_MINIMUM: u64 = 2_000;

/// What does not go together.
pub(super) fn check(args: &ProgramRunArgs) -> Result<(), String> {
    if args.strategy != RunStrategyArg::Exhaustive {
        let only = [
            (args.preemptions.is_some(), "--preemptions"),
            (args.assume_locked, "--assume-locked"),
        ];
        return match only.iter().find(|(given, _)| *given) {
            Some((_, option)) => Err(format!("{option} is for --strategy exhaustive only")),
            None => Ok(()),
        };
    }
    if args.state.is_some() {
        return Err(
            "--state and --strategy exhaustive do not go together: what was run is not kept"
                .to_owned(),
        );
    }
    if args.spurious {
        return Err(
            "--spurious and --strategy exhaustive do not go together: a wait that may wake up \
             at any time may do so any number of times"
                .to_owned(),
        );
    }
    if args.pass_through {
        return Err(
            "--pass-through and --strategy exhaustive do not go together: what the program reads \
             must be the same in every schedule"
                .to_owned(),
        );
    }
    Ok(())
}

/// Runs every schedule that differs.
pub(super) fn search(
    launcher: &mut Launcher,
    args: &ProgramRunArgs,
    search: SearchPlan,
    progress: &mut Progress,
    context: &Context,
) -> Result<Search, LaunchError> {
    let plan = ExhaustivePlan {
        search: SearchPlan {
            schedules: args.schedules.unwrap_or(SCHEDULES),
            ..search
        },
        preemptions: args.preemptions,
        assume_locked: args.assume_locked,
    };
    exhaust(launcher, &plan, |found| {
        if let Some(exhausted) = &found.exhausted {
            progress.expect((exhausted.estimate as u64).max(exhausted.runs + 1));
            progress.update(exhausted.runs);
        }
        !context.interrupt.load(Ordering::Relaxed)
    })
}

/// In the report.
pub(super) fn proved(found: &Search, run: &str) -> String {
    let exhausted = found.exhausted.as_ref();
    let all = exhausted.map(Exhausted::all).unwrap_or_default();
    let mut text = format!("proved: no schedule fails: {all}\n  {run}\n");
    if let Some(file) = exhausted.and_then(|exhausted| exhausted.unseen.as_ref()) {
        let _ = writeln!(
            text,
            "  if threads share memory only under locks: what {file} loads and stores is not seen"
        );
    }
    text
}

/// As a key of the JSON.
pub(super) fn json(exhausted: &Exhausted) -> serde_json::Value {
    json!({
        "runs": exhausted.runs,
        "traces": exhausted.traces,
        "given_up": exhausted.given_up,
        "complete": exhausted.complete,
        "estimate": exhausted.estimate,
        "estimate_left": exhausted.left(),
        "preemptions": exhausted.preemptions,
        "limits": exhausted.limits,
        "unseen": exhausted.unseen,
        "assumed_locked": exhausted.assumed_locked,
        "orders": exhausted.orders,
    })
}

/// Tries to prove that fewer preemptions do not do, or finds a schedule that has fewer.
pub(super) fn prove(
    launcher: &mut Launcher,
    plan: &RunPlan,
    minimised: &mut Minimised,
    options: &FailedOptions,
    context: &Context,
) -> Result<Option<MinimumProof>, LaunchError> {
    let most = options.prove_minimum;
    if most == 0 {
        return Ok(None);
    }
    let mut progress = Progress::new(context.quiet, "minimum", "schedules", 0);
    let proof = prove_minimum(launcher, plan, minimised, most, |done| {
        progress.update(done);
        is_in_time(options.until) && !context.interrupt.load(Ordering::Relaxed)
    })?;
    progress.finish();
    Ok(Some(proof))
}

/// In the report.
pub(super) fn minimum(proof: &MinimumProof, preemptions: u64) -> String {
    match (&proof.why_not, proof.proved) {
        _ if preemptions == 0 => String::new(),
        (_, true) => format!(
            "  no schedule with fewer than {} fails so (proved: {})\n",
            plural(preemptions, "preemption"),
            plural(proof.schedules, "schedule")
        ),
        (why, false) => format!(
            "  that fewer than {} do not do was not proved {} ({} run)\n",
            plural(preemptions, "preemption"),
            why.as_deref().unwrap_or_default(),
            grouped(proof.schedules)
        ),
    }
}

/// As a key of the JSON.
pub(super) fn minimum_json(proof: &MinimumProof) -> serde_json::Value {
    json!({
        "proved": proof.proved,
        "why_not": proof.why_not,
        "schedules": proof.schedules,
    })
}
