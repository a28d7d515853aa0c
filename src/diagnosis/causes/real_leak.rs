//! Real leak: the program allocates and does not release.
//!
//! It leaves buffers that are live when their clients have ended, and no other trouble: the address
//! never comes back, so nothing contradicts. The record must show that the clients have ended, or
//! at least that everything else was released; else what is live may be in use. A leak is older
//! than buffers become, twice over: FREEs that were lost shortly before the end leave live what is
//! not. Where call stacks are recorded, a place in the program that allocates and never releases
//! says it plainly.

use super::super::facts::Facts;
use super::super::outcome::PROBABLE;
use super::evidence::Evidence;
use super::shares::Shares;
use crate::numbers::plural;

/// The highest score where messages are lost, or may be: what is live may have lost its FREE in one
/// burst.
const BESIDE_LOSSES: f64 = 0.7;
/// What a live buffer is worth where only the rest was released, and nothing says that the clients
/// have ended.
const DRAINED: f64 = 0.75;

/// What one is worth that is no older than others became, up to one piece of all of these: a single
/// burst may have taken their FREEs.
const YOUNG: f64 = 0.25;

pub(super) fn evidence(facts: &Facts, shares: &Shares) -> Evidence {
    let swept = shares.leaked.min(facts.swept_live.count as f64);
    let at_end = shares.leaked - swept;
    let weight = if facts.circumstances.complete {
        1.0
    } else if is_drained(facts) {
        DRAINED
    } else {
        0.0
    };
    let all = (facts.live.count + facts.swept_live.count).max(1) as f64;
    let outlived = facts.outlived as f64 / all;
    let leaked = swept + at_end * weight;
    let amount = leaked * outlived + (YOUNG * leaked * (1.0 - outlived)).min(1.0);
    let count = leaked.round() as u64;
    let mut says = Vec::new();
    if weight > 0.0 && at_end >= 0.5 {
        says.push(format!(
            "{} still live at the end",
            plural(at_end.round() as u64, "buffer")
        ));
    }
    if swept > 0.0 {
        says.push(format!(
            "{} swept after a process had ended without releasing them",
            plural(swept.round() as u64, "buffer")
        ));
    }
    let mut evidence = Evidence {
        amount,
        proven: amount.min(facts.circumstances.never_released as f64),
        count,
        says: says.join(", "),
        at_least: match is_all_that_is_wrong(facts, shares) {
            true => PROBABLE,
            false => 0.0,
        },
        at_most: ((shares.losses > 0.5
            || facts.first_frees.inferred() > 0
            || facts.lost_frees.count > 0)
            && facts.circumstances.never_released == 0)
            .then_some(BESIDE_LOSSES),
        ..Evidence::default()
    };
    if weight > 0.0 {
        evidence.exhibit(&facts.live, "ALLOC; no FREE came");
    }
    evidence.exhibit(
        &facts.swept_live,
        "ALLOC, and the sweep of its process, which has ended: no FREE came",
    );
    evidence
}

/// Whether the clients have ended, and all that is wrong is what they left: however short the
/// record is, that is no riddle.
fn is_all_that_is_wrong(facts: &Facts, shares: &Shares) -> bool {
    facts.circumstances.complete
        && facts.kinds.is_empty()
        && facts.doubts.is_empty()
        && facts.odd() + facts.torn.count + facts.swept_live.count == 0
        && shares.losses == 0.0
        && shares.leaked >= 1.0
}

/// Whether nearly all that was ever live is released.
pub(super) fn is_drained(facts: &Facts) -> bool {
    facts.has_released(facts.live.count)
}
