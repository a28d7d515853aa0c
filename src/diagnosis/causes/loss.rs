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

/// The highest score where another cause leaves the same: nothing but FREEs are too many (a second
/// release that comes lives later, and a loss takes FREEs as well), far more FREEs than ALLOCs are,
/// frames came that are none, one moment explains half of what is missing, or two have an address
/// at once; and where messages are late, beside which second releases, leaks and a record that
/// begins late leave lives without FREE and FREEs without ALLOC.
const BESIDE_OTHERS: f64 = CONFIDENT - 0.05;
/// Lives without FREE at one moment that are no chance.
const AT_ONCE: u64 = 3;
/// So many addresses that came out of balance and back, and the share of those that lacked an
/// ALLOC first: a loss takes one as often as the other. Two that have an address at once (buffers
/// that the allocator put there) have both.
const BACK_IN_BALANCE: u64 = 8;
const ONE_SIDED: u64 = 8;
/// So many lives that certainly never got their FREE, or ALLOCs that never came, none of those
/// leaves beside late messages.
const FIRM: f64 = 4.0;

/// How sure a loss is by the sureness of each division: many pieces of one kind, which another
/// cause may have left as well, are no surer than that is.
fn surely(facts: &Facts, shares: &Shares) -> f64 {
    let far = facts.far_late_frees.count + facts.far_early_frees.count;
    let late = far + facts.late_frees.count + facts.early_frees.count;
    // Where messages are late anyway, what ends undecided proves nothing.
    let undecided = if late > 0 { facts.ends_undecided } else { 0 };
    let firm = (shares.lost_frees - shares.far_lost - undecided as f64).max(0.0)
        + facts.lost_allocs.count as f64;
    // So few pieces are no surer than their number makes them.
    let doubt =
        |lost: f64, all: u64| (1.0 - lost / all.max(1) as f64).max(1.0 / (1.0 + all as f64));
    let apart_from_first = doubt(shares.far_lost, far)
        * doubt(shares.second_lost, facts.second_frees.inferred())
        / (1.0 + firm);
    let first = doubt(shares.first_lost, facts.first_frees.inferred());
    let sure = 1.0 - apart_from_first * first;
    if may_be_other(facts, shares)
        || facts.strays.pairs(facts.messages).are_no_chance()
        || (late > 0 && firm < FIRM)
    {
        return sure.min(BESIDE_OTHERS);
    }
    // FREEs that no message named before are left by a record that begins late as well: they make
    // nothing certain that is not so without them.
    sure.min((1.0 - apart_from_first).max(BESIDE_OTHERS))
}

/// Whether another cause may have left all of it.
fn may_be_other(facts: &Facts, shares: &Shares) -> bool {
    let only_frees_too_many = facts.lost_frees.count
        + facts.lost_allocs.count
        + facts.first_frees.count
        + facts.far_late_frees.count
        + facts.far_early_frees.count
        == 0;
    let pieces = facts.lost_frees.count + facts.second_frees.count + facts.first_frees.count;
    // What is missing may be in frames that could not be read.
    let is_garbled = (facts.odd() + facts.torn.count) * 4 >= pieces && facts.odd() > 0;
    // As many lives end without FREE where a process ends and another gets its id.
    let at_once = facts.lost_at_once;
    let may_be_cut = at_once >= AT_ONCE && at_once * 2 >= facts.lost_frees.count;
    let without_alloc = facts.far_early_frees.count
        + facts.second_frees.count
        + facts.first_frees.count
        + facts.lost_allocs.count;
    let back = facts.far_late_frees.count;
    let one_sided = back >= BACK_IN_BALANCE && without_alloc * ONE_SIDED <= back;
    only_frees_too_many || one_sided || is_garbled || shares.too_many_frees || may_be_cut
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
