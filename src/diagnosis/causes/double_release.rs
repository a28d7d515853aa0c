//! Double release: two threads release one buffer, because each finds it live before the other
//! marks it dead.
//!
//! It leaves two FREEs of one life, close together (`A F F`), and no ALLOC too many: the surplus is
//! of FREEs only. Where the second FREE falls into the address's next life it ends that one, and
//! the surplus FREE is that life's own. Against it speak lives without FREE, which a loss leaves
//! and a second release does not.

use super::super::facts::Facts;
use super::super::outcome::CONFIDENT;
use super::evidence::{Evidence, at_least_one};
use super::shares::{CLOSE_BY, Shares};
use crate::numbers::plural;

/// The highest score where FREEs of what no message named came, too, or second FREEs come no sooner
/// than others: lost ALLOCs leave both.
const BESIDE_UNNAMED: f64 = CONFIDENT - 0.05;

pub(super) fn evidence(facts: &Facts, shares: &Shares) -> Evidence {
    let proven = facts.second_frees.proven as f64;
    let count = facts.second_frees.proven + at_least_one(shares.second_double);
    // The pieces are judged together: many of them are no surer than the judgement is.
    let inferred = facts.second_frees.inferred();
    let sure = shares.second_double / inferred.max(1) as f64;
    // A few lost ALLOCs leave the same, where by chance no FREE is lost.
    let moments = inferred.min(facts.moments_of_second_frees().max(1));
    let sure = sure.min(1.0 - 1.0 / (moments as f64 + 2.0));
    let sure = match facts.first_frees.inferred() {
        // That no FREE is missing says little by itself: ALLOCs alone may be lost.
        _ if shares.second_gaps < CLOSE_BY => sure.min(BESIDE_UNNAMED),
        0 => sure,
        _ => sure.min(BESIDE_UNNAMED),
    };
    let mut evidence = Evidence {
        at_most: (proven == 0.0).then_some(sure),
        amount: proven + shares.second_double,
        proven,
        count,
        says: format!(
            "{} too many, of a life that had got its FREE",
            plural(count, "FREE")
        ),
        ..Evidence::default()
    };
    if proven > 0.0 || shares.second_double > shares.second_lost {
        evidence.exhibit(
            &facts.second_frees,
            "FREE, and a second FREE of the same life",
        );
    }
    evidence
}
