//! Late attach: the server, or the record, began when buffers were live.
//!
//! It leaves FREEs of addresses that no message named before: each once an address, most of them
//! soon after the beginning, and no other trouble. A server that begins anew with nothing while its
//! clients live leaves the same from there on.

use super::super::facts::Facts;
use super::shares::Shares;
use super::{Evidence, at_least_one};
use crate::numbers::plural;

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
    let mut evidence = Evidence {
        amount: proven + shares.first_late,
        proven,
        count,
        says,
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
