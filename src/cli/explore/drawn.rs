//! `explore` with a strategy that draws schedules: what they showed, of how many.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::json;

use super::super::outcome::Context;
use super::super::progress::Progress;
use super::super::verdict::VerdictSummary;
use super::{ExploreArgs, Explored, SCHEDULES};
use crate::engine::controlled::machine::Setup;
use crate::engine::controlled::sample::{self, SamplePlan, Sampled, Strategy};
use crate::numbers::{grouped, plural};
use crate::oracle::Verdict;
use crate::scenario::Condensed;

pub(super) fn draw(
    args: &ExploreArgs,
    strategy: Strategy,
    setup: &Arc<Setup>,
    context: &Context,
    started: Instant,
) -> Explored {
    let scenario = &setup.scenario;
    let plan = SamplePlan {
        strategy,
        seed: scenario.seed,
        schedules: args.schedules.unwrap_or(SCHEDULES),
        until: args.duration.map(|limit| started + limit),
        workers: usize::from(args.workers.unwrap_or(1)),
        max_steps: args.max_steps.unwrap_or(sample::MAX_STEPS),
    };
    let sampled = sample_all(setup, &plan, context);
    let mut summary = summarise(&sampled, &plan, setup, context);
    let mut more = json!({
        "strategy": format!("{:?}", args.strategy).to_lowercase(),
        "diverged": sampled.diverged,
    });
    let elapsed_s = started.elapsed().as_secs_f64();
    let mut how = format!(
        "{} in {elapsed_s:.2} s ({} a second), {} steps\n",
        plural(sampled.schedules, "schedule"),
        grouped((sampled.schedules as f64 / elapsed_s.max(1e-6)) as u64),
        grouped(sampled.steps),
    );
    if let Strategy::Pct { depth } = strategy {
        let pct = sample::pct(setup, plan.seed, depth);
        let steps = pct.steps();
        let _ = writeln!(
            how,
            "PCT, depth {depth}: a divergence of that depth shows in ≥ 1/(n·k^(d−1)) = 1/({}·{steps}^{}) = {:.2e} of the schedules",
            setup.actors().len(),
            depth - 1,
            pct.bound(),
        );
        more["bound"] = json!(pct.bound());
    }
    let mut example = None;
    if let Some((index, first)) = sampled.first {
        summary.first = first.report.first;
        summary.preemptions = Some(first.preemptions.len() as u64);
        more["first_schedule"] = json!(index);
        let _ = writeln!(
            how,
            "diverged: {} of {}, the first is number {index}",
            grouped(sampled.diverged),
            grouped(sampled.schedules)
        );
        example = Some(first);
    }
    Explored {
        summary,
        condensed: Condensed::default(),
        how,
        more,
        example,
        smallest: None,
    }
}

/// Draws them all, and says how far it is.
fn sample_all(setup: &Arc<Setup>, plan: &SamplePlan, context: &Context) -> Sampled {
    let progress = Mutex::new(Progress::new(
        context.quiet,
        "explore",
        "schedules",
        plan.schedules,
    ));
    let most = AtomicU64::new(0);
    let sampled = sample::sample(setup, plan, &|done| {
        // Workers report out of order.
        if most.fetch_max(done, Ordering::Relaxed) < done
            && let Ok(mut progress) = progress.try_lock()
        {
            progress.update(done);
        }
        !context.interrupt.load(Ordering::Relaxed)
    });
    if let Ok(mut progress) = progress.into_inner() {
        progress.finish();
    }
    sampled
}

/// The verdict and the counts; the first divergence is its example's.
fn summarise(
    sampled: &Sampled,
    plan: &SamplePlan,
    setup: &Setup,
    context: &Context,
) -> VerdictSummary {
    let scenario = &setup.scenario;
    let mut summary = VerdictSummary::new(scenario.threads, scenario.seed);
    summary.verdict = sampled.verdict();
    summary.note = sampled_note(sampled, plan);
    if !sampled.complete && summary.verdict != Verdict::Diverged {
        let interrupted = context.interrupt.load(Ordering::Relaxed);
        let (what, verdict) = match interrupted {
            true => ("interrupted", Verdict::Inconclusive),
            false => ("the time was up", summary.verdict),
        };
        summary.verdict = verdict;
        summary.note.get_or_insert(format!(
            "{what}: {} of {} schedules were run, and none diverged",
            grouped(sampled.schedules),
            grouped(plan.schedules)
        ));
    }
    summary.divergences = sampled.divergences.clone();
    summary.leaks = sampled.leaks;
    summary.schedules = sampled.schedules;
    summary.steps = sampled.steps;
    summary.events = sampled.events;
    summary.messages = sampled.messages;
    let ops: usize = setup
        .ops()
        .iter()
        .flatten()
        .filter(|op| op.counts())
        .count();
    summary.ops = sampled.schedules * ops as u64;
    summary
}

fn sampled_note(sampled: &Sampled, plan: &SamplePlan) -> Option<String> {
    if sampled.inconclusive > 0 {
        let why = sampled.why.as_deref().unwrap_or_default();
        return Some(match sampled.messages {
            0 => why.to_owned(),
            _ => format!(
                "{} not come to their end within --max-steps {}",
                plural(sampled.inconclusive, "schedule") + " did",
                grouped(plan.max_steps)
            ),
        });
    }
    None
}
