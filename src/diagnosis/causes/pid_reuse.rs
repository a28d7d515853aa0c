//! Pid reuse: a process ends with live buffers, and its id goes to another one before the server
//! notices.
//!
//! It leaves a moment (a *cut*) across which no life with a FREE reaches, and lives from before it
//! that never get one, their addresses allocated again after it. Where connections or generations
//! are recorded they show the new process directly.

use super::super::facts::Facts;
use super::super::outcome::CONFIDENT;
use super::super::sightings::{MAX_SIGHTINGS, Sighting};
use super::evidence::Evidence;
use super::shares::Shares;
use crate::numbers::plural;

/// The highest score where only the pattern of messages shows the moment, and where it is not one
/// moment with [`MANY`] lives left behind in a process that held something all the time: the last
/// FREEs of a thread that are lost in one burst leave the same.
const BY_PATTERN: f64 = CONFIDENT - 0.05;
/// More than a burst takes.
const MANY: usize = 32;

pub(super) fn evidence(facts: &Facts, shares: &Shares) -> Evidence {
    let proven = facts.abandoned as f64;
    let cuts = if shares.cut > 0.0 {
        facts.cuts.len() as u64
    } else {
        0
    };
    let left = facts.abandoned + shares.cut.round() as u64;
    let mut evidence = Evidence {
        amount: proven + shares.cut,
        proven,
        at_most: (proven == 0.0 && shares.cut_shown == 0.0 && !is_plain(facts))
            .then_some(BY_PATTERN),
        count: left,
        says: format!(
            "{} of a process id that went on as another process, {} left behind without FREE",
            plural(cuts + facts.restarts.count, "time"),
            plural(left, "buffer")
        ),
        ..Evidence::default()
    };
    evidence.exhibit(
        &facts.restarts,
        "a process begins anew under an id whose buffers are live",
    );
    if shares.cut > 0.0 {
        for cut in &facts.cuts {
            let sighting = Sighting::at(cut.at).with_number(i64::from(cut.pid));
            evidence.exhibit_all(
                &[sighting],
                "no buffer that got its FREE lives across this moment",
            );
            let room = cut.lives.len().min(MAX_SIGHTINGS);
            evidence.exhibit_all(
                &cut.lives[..room],
                "ALLOC before that moment, ALLOC of the address after it, no FREE between",
            );
        }
    }
    evidence
}

/// Whether the pattern alone is plain enough.
fn is_plain(facts: &Facts) -> bool {
    // A client that announces again what it holds leaves the same; where it does so between other
    // messages, no whole lives follow.
    let is_said_again =
        facts.is_said_again() && !facts.overlaps.are_followed_by_lives(&facts.lives);
    !facts.is_announced_again()
        && !is_said_again
        && matches!(facts.cuts.as_slice(), [cut] if !cut.is_often_empty && cut.lives.len() >= MANY)
}
