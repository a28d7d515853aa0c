//! Loss: messages that did not arrive: a full socket and a client that does not wait, a broken
//! connection.
//!
//! It leaves lives without FREE, whose address comes back while the server still shows it (`A A F A
//! F …`, one ALLOC too many from then on), and FREEs without ALLOC. Both, as a connection that is
//! full takes neither. What speaks against it are counterparts, however much later: messages that
//! are late are not lost, and each address is in balance again when the last has come.

use super::super::facts::Facts;
use super::super::outcome::CONFIDENT;
use super::super::sightings::Sighting;
use super::evidence::{Evidence, at_least_one};
use super::shares::Shares;
use crate::numbers::plural;

/// The highest score where nothing but FREEs are too many: a second release that comes lives later
/// leaves the same, and a loss takes FREEs as well; where far more FREEs than ALLOCs are too many;
/// and where frames came that are none.
const BESIDE_LATE_RELEASES: f64 = CONFIDENT - 0.05;

/// How sure a loss is by the sureness of each division: many pieces of one kind, which another
/// cause may have left as well, are no surer than that is.
fn surely(facts: &Facts, shares: &Shares) -> f64 {
    let only_frees_too_many = facts.lost_frees.count
        + facts.lost_allocs.count
        + facts.first_frees.count
        + facts.far_late_frees.count
        + facts.far_early_frees.count
        == 0;
    let pieces = facts.lost_frees.count + facts.second_frees.count + facts.first_frees.count;
    // What is missing may be in frames that could not be read.
    let is_garbled = (facts.odd() + facts.torn.count) * 4 >= pieces && facts.odd() > 0;
    let most = match only_frees_too_many || is_garbled || shares.too_many_frees {
        true => BESIDE_LATE_RELEASES,
        false => 1.0,
    };
    let firm = (shares.lost_frees - shares.far_lost).max(0.0) + facts.lost_allocs.count as f64;
    let far = facts.far_late_frees.count + facts.far_early_frees.count;
    let doubt = [
        (shares.far_lost, far),
        (shares.second_lost, facts.second_frees.inferred()),
        (shares.first_lost, facts.first_frees.inferred()),
    ]
    // So few pieces are no surer than their number makes them.
    .map(|(lost, all)| (1.0 - lost / all.max(1) as f64).max(1.0 / (1.0 + all as f64)));
    (1.0 - doubt.iter().product::<f64>() / (1.0 + firm)).min(most)
}

pub(super) fn evidence(facts: &Facts, shares: &Shares) -> Evidence {
    let frees = at_least_one(shares.lost_frees);
    let without_alloc = match facts.allocs {
        0 => facts.first_frees.count,
        _ => at_least_one(shares.second_lost + shares.first_lost + shares.far_lost),
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
    if facts.missing > 0 {
        says.push(format!(
            "{} never came",
            plural(facts.missing, "sequence number")
        ));
    }
    // A message that never came may be counted by its number and by what it left.
    let missing = facts.missing as f64;
    let proven = proven_frees.min(shares.lost_frees) + (facts.lost_allocs.proven + dropped) as f64;
    let amount = shares.lost_frees
        + shares.second_lost
        + shares.first_lost
        + (facts.lost_allocs.count + dropped) as f64;
    let mut evidence = Evidence {
        amount: amount.max(missing),
        proven: proven.max(missing),
        count: (frees + allocs + dropped).max(facts.missing),
        says: says.join(", "),
        at_most: (proven.max(missing) == 0.0 && facts.allocs > 0).then(|| surely(facts, shares)),
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
    if shares.far_lost >= shares.far_late {
        evidence.exhibit(
            &facts.far_late_frees,
            "ALLOC, the next ALLOC of the address: no FREE came between; lives later a FREE too many",
        );
        evidence.exhibit(
            &facts.far_early_frees,
            "a FREE too many; lives later an ALLOC too many",
        );
    }
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
    evidence.exhibit(
        &facts.missing_stamps,
        "the sequence numbers before this one's were skipped",
    );
    evidence.exhibit(&facts.dropped, "this message was dropped on its way");
    evidence
}
