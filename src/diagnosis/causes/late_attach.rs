//! Late attach: the server, or the record, began when buffers were live.
//!
//! It leaves FREEs of addresses that no message named before: each once an address, most of them
//! soon after the beginning, and no other trouble. A server that begins anew with nothing while its
//! clients live leaves the same from there on.

use super::super::facts::Facts;
use super::super::outcome::CONFIDENT;
use super::evidence::{Evidence, at_least_one};
use super::shares::Shares;
use crate::numbers::plural;

/// Messages that may come before the first FREE of an earlier buffer: at the beginning all that is
/// live is earlier. A socket that is full from the start takes a few more messages before the rest
/// is lost.
const BEFORE_FIRST: u64 = 2;
/// The highest score where messages may be lost: a burst that takes the first ALLOCs of a thread
/// leaves the same, and a FREE after a FREE at an address that was used before.
const BESIDE_LOSSES: f64 = CONFIDENT - 0.05;

pub(super) fn evidence(facts: &Facts, shares: &Shares) -> Evidence {
    let proven = facts.first_frees.proven as f64;
    let count = match facts.allocs {
        0 => facts.first_frees.count,
        _ => facts.first_frees.proven + at_least_one(shares.first_late),
    };
    let restarts = &facts.server_starts_with_live;
    let mut says = format!(
        "{} of buffers that were allocated before",
        plural(count, "FREE")
    );
    if restarts.count > 0 {
        says += &format!(
            "; the server began anew {} while buffers were live",
            plural(restarts.count, "time")
        );
    }
    // All are of one kind: many of them are no surer than that division is.
    let sure = shares.first_late / facts.first_frees.inferred().max(1) as f64;
    let sure = match may_be_lost(facts) {
        true => sure.min(BESIDE_LOSSES),
        false => sure,
    };
    let mut evidence = Evidence {
        amount: proven + shares.first_late,
        proven,
        count,
        says,
        at_most: (proven == 0.0 && facts.allocs > 0).then_some(sure),
        ..Evidence::default()
    };
    if proven > 0.0 || shares.first_late >= shares.first_lost {
        evidence.exhibit(
            restarts,
            "the server begins with nothing while buffers are live",
        );
        evidence.exhibit(
            &facts.first_frees,
            "FREE of an address that no message named before",
        );
    }
    evidence
}

/// Whether something speaks for losses, if only little.
fn may_be_lost(facts: &Facts) -> bool {
    facts.messages_before_first_unknown() > BEFORE_FIRST
        || facts.second_frees.inferred() > 0
        || facts.lost_frees.inferred() > 0
}
