//! `explore --threads any`: what a bounded search proved, for any number of threads, operations and
//! addresses.
//!
//! The bounded search comes first: what it finds is a run that anybody can replay. Where it finds
//! nothing, the abstract one is asked. Its verdict is a proof; its divergence is none, and is tried
//! with more threads.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;

use super::super::outcome::Context;
use super::{Explored, MAX_STATES};
use crate::engine::controlled::exhaustive::{self, Goal, SearchOptions};
use crate::engine::controlled::machine::Setup;
use crate::lifecycle::has_one_lock_order;
use crate::numbers::{grouped, plural};
use crate::oracle::Verdict;
use crate::registry::{Limits, Semantics};
use crate::unbounded::{self, Abstract, AbstractStep};

/// More abstract states are given up. The built-in disciplines have at most a few hundred.
const MAX_ABSTRACT: u64 = 2_000_000;

/// Says of a proof within a case whether it holds for any number; nothing of another verdict.
///
/// Where more threads diverge, `setup` becomes theirs.
pub(super) fn extend(explored: &mut Explored, setup: &mut Arc<Setup>, context: &Context) {
    if explored.summary.verdict != Verdict::Proved {
        explored.more["threads_any"] = json!({ "verdict": explored.summary.verdict });
        return;
    }
    let found = unbounded::search_ops(&setup.scenario, setup.ops(), MAX_ABSTRACT);
    let (verdict, states, why, path) = match found {
        Ok(Abstract::Proved { states }) => (Verdict::Proved, states, proved(setup), Vec::new()),
        Ok(Abstract::TooMany { states }) => {
            let why = format!("gave up after {}", plural(states, "abstract state"));
            (
                Verdict::Inconclusive,
                states,
                undecided(setup, &why),
                Vec::new(),
            )
        }
        Ok(Abstract::Diverges { states, kind, path }) => {
            if larger(explored, setup, context) {
                explored.more["threads_any"] = json!({ "verdict": Verdict::Diverged });
                return;
            }
            let why = format!(
                "with buffers that are counted no further than to two, {kind} is reached, and no \
                 schedule was found that does: the abstraction cannot tell"
            );
            (Verdict::Inconclusive, states, undecided(setup, &why), path)
        }
        Err(not_covered) => {
            let why = undecided(setup, &not_covered.to_string());
            explored.more["threads_any"] = json!({
                "verdict": Verdict::Inconclusive,
                "covered": false,
                "note": why,
            });
            explored.summary.verdict = Verdict::Inconclusive;
            explored.summary.note = Some(why);
            return;
        }
    };
    let steps: Vec<String> = path.iter().map(AbstractStep::to_string).collect();
    explored.more["threads_any"] = json!({
        "verdict": verdict,
        "abstract_states": states,
        "note": why,
        "path": steps,
    });
    explored.summary.verdict = verdict;
    if verdict == Verdict::Proved {
        explored.how.push_str(&format!(
            "for any number: {}\n{why}\n",
            plural(states, "abstract state")
        ));
        return;
    }
    for (number, step) in steps.iter().enumerate() {
        explored
            .how
            .push_str(&format!("  {:>3}  {step}\n", number + 1));
    }
    explored.summary.note = Some(why);
}

/// Three threads: whether they diverge. What they do is then what was explored.
fn larger(explored: &mut Explored, setup: &mut Arc<Setup>, context: &Context) -> bool {
    let mut scenario = setup.scenario.clone();
    if scenario.workload.script.is_some() || scenario.threads > 2 {
        return false;
    }
    scenario.threads = 3;
    let Ok(larger) = Setup::new(scenario, 0) else {
        return false;
    };
    let options = SearchOptions {
        goal: Goal::First,
        max_states: MAX_STATES.min(2_000_000),
        ..SearchOptions::default()
    };
    let mut keep_going = |_: &_| !context.interrupt.load(Ordering::Relaxed);
    let found = exhaustive::search(&larger, &options, &mut keep_going);
    let Some(example) = found.example else {
        return false;
    };
    explored.summary.verdict = Verdict::Diverged;
    explored.summary.note = Some("it takes three threads".to_owned());
    explored.summary.divergences = example.report.divergences.clone();
    explored.summary.first = example.report.first;
    explored.example = Some(example);
    *setup = larger;
    true
}

/// What the proof says, and what it does not.
fn proved(setup: &Setup) -> String {
    let deadlock = if has_one_lock_order(&setup.scenario.discipline) {
        "locks are taken in one order everywhere, so that none wait for each other for good"
    } else {
        "that no two wait for each other is shown within the case only"
    };
    let owners = match unbounded::owners_release(setup.ops()) {
        true => "where each buffer is released by the thread that allocated it, ",
        false => "",
    };
    let server = match setup.scenario.semantics {
        // Further ahead of one that has not come, they are refused.
        Semantics::Sequenced => format!(
            "for a server that takes messages in the order of their numbers, as long as no more than {} \
             of a device come between a number and its message",
            grouped(Limits::default().sequence_window)
        ),
        _ => "for a server that takes messages in the order in which they are sent".to_owned(),
    };
    format!(
        "whatever the number of threads, operations and addresses, and wherever the allocator puts \
         buffers, {owners}{server}; {deadlock} (docs/proofs.md)"
    )
}

fn undecided(setup: &Setup, why: &str) -> String {
    let ops = setup.ops().iter().map(|ops| ops.len()).max().unwrap_or(0);
    format!(
        "not proved for any number: {why}; proved for {} of {} each",
        plural(setup.scenario.threads.into(), "thread"),
        plural(ops as u64, "operation")
    )
}
