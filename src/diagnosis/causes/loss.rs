//! Loss: messages that did not arrive: a full socket and a client that does not wait, a broken
//! connection.
//!
//! It leaves lives without FREE, whose address comes back while the server still shows it (`A A F A
//! F …`, one ALLOC too many from then on), and FREEs without ALLOC, with no counterpart nearby.
//! Both, as a connection that is full takes neither. What speaks against it are counterparts:
//! messages that are late are not lost.

use super::super::facts::Facts;
use super::super::sightings::Sighting;
use super::evidence::{Evidence, at_least_one};
use super::shares::Shares;
use crate::numbers::plural;

pub(super) fn evidence(facts: &Facts, shares: &Shares) -> Evidence {
    let frees = at_least_one(shares.lost_frees);
    let without_alloc = match facts.allocs {
        0 => facts.first_frees.count,
        _ => at_least_one(shares.second_lost + shares.first_lost),
    };
    let allocs = facts.lost_allocs.count + without_alloc;
    let (dropped, proven_frees) = (facts.dropped.count, facts.lost_frees.proven as f64);
    let mut says = Vec::new();
    if frees > 0 {
        says.push(format!("{} never came", plural(frees, "FREE")));
    }
    if allocs > 0 {
        says.push(match allocs {
            1 => "1 FREE has no ALLOC".to_owned(),
            _ => format!("{} have no ALLOC", plural(allocs, "FREE")),
        });
    }
    if dropped > 0 {
        says.push(format!("{} dropped on the way", plural(dropped, "message")));
    }
    let proven = proven_frees.min(shares.lost_frees) + (facts.lost_allocs.count + dropped) as f64;
    let mut evidence = Evidence {
        amount: shares.lost_frees
            + shares.second_lost
            + shares.first_lost
            + (facts.lost_allocs.count + dropped) as f64,
        proven,
        count: frees + allocs + dropped,
        says: says.join(", "),
        ..Evidence::default()
    };
    let cut = |sighting: &&Sighting| {
        !facts.cuts.iter().any(|cut| cut.lives.contains(sighting)) || shares.cut == 0.0
    };
    let kept: Vec<_> = facts.lost_frees.kept.iter().filter(cut).cloned().collect();
    evidence.exhibit_all(
        &kept,
        "ALLOC, and the next ALLOC of the address: no FREE came for the first",
    );
    evidence.exhibit(&facts.lost_allocs, "FREE of a life whose ALLOC never came");
    if shares.second_lost >= shares.second_double {
        evidence.exhibit(
            &facts.second_frees,
            "FREE, and another FREE: no ALLOC came between",
        );
    }
    if shares.first_lost > shares.first_late {
        evidence.exhibit(&facts.first_frees, "FREE of an address that no ALLOC named");
    }
    evidence.exhibit(&facts.dropped, "this message was dropped on its way");
    evidence
}
