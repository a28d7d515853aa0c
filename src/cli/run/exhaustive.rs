//! `run --strategy exhaustive`, and the proof that a failure takes no fewer preemptions.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use serde_json::json;

use super::super::outcome::Context;
use super::super::progress::Progress;
use super::{ProgramRunArgs, RunStrategyArg};
use crate::native::exhaustive::{Exhausted, ExhaustivePlan, MinimumProof, NotProved, exhaust};
use crate::native::{LaunchError, Launcher, Search, SearchPlan};
use crate::numbers::plural;

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

/// What was not searched.
const ASSUMED: &str = "as if memory were sequentially consistent, and nobody woke up from a \
    condition variable for no reason";

/// In the report.
pub(super) fn proved(found: &Search, run: &str) -> String {
    let exhausted = found.exhausted.as_ref();
    let all = exhausted.map(Exhausted::all).unwrap_or_default();
    let mut text = format!("proved: no schedule fails: {all}\n  {run}\n  {ASSUMED}\n");
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

/// In the report.
pub(super) fn minimum(proof: &MinimumProof, preemptions: u64) -> String {
    match (&proof.why_not, proof.proved) {
        _ if preemptions == 0 => String::new(),
        (_, true) => format!(
            "  no schedule with fewer than {} fails so (proved: {})\n",
            plural(preemptions, "preemption"),
            plural(proof.schedules, "schedule")
        ),
        (Some(why), false) => format!(
            "  the minimum is not proved: {why} ({} with fewer run)\n",
            plural(proof.schedules, "schedule")
        ),
        (None, false) => String::new(),
    }
}

/// As a key of the JSON.
pub(super) fn minimum_json(proof: &MinimumProof) -> serde_json::Value {
    json!({
        "proved": proof.proved,
        "why_not": proof.why_not.as_ref().map(NotProved::to_string),
        "schedules": proof.schedules,
    })
}
