//! Reordering: between taking (or giving back) an address and the message about it, another thread
//! did both for the same address.
//!
//! It leaves a FREE after the next ALLOC of its address (`A A F F`) or before its own (`F A A`),
//! with as many FREEs as ALLOCs in the end: nothing is missing, two are in the wrong order. The
//! FREE is late by the time that a thread takes between two steps: short beside the time that
//! buffers live, or, where it is preempted between them, as long as other threads run, which is
//! thousands of lives (a far pair). Against it speak ALLOCs or FREEs that stay without counterpart:
//! where there are many, pairs may be what is left of several lives, and are not named with
//! confidence.

use super::super::facts::Facts;
use super::super::outcome::CONFIDENT;
use super::MENTIONED;
use super::evidence::{Evidence, at_least_one};
use super::shares::Shares;
use crate::numbers::plural;

/// The share of ALLOCs in lockstep from which on traffic has the shape of mesh buffers'.
const LOCKSTEP: f64 = 0.4;
/// The highest score where what is late may be a view.
const BESIDE_VIEWS: f64 = 0.8;

/// The highest score beside many messages without counterpart.
const BESIDE_LOSSES: f64 = CONFIDENT - 0.05;
/// So many of them for each late message are many. Where most messages are lost, in bursts, what is
/// left of several lives of an address is in balance as often as not.
const MANY_UNPAIRED: f64 = 0.25;

/// The highest score where two processes with the same addresses leave the same.
const BESIDE_ANOTHER: f64 = CONFIDENT - 0.05;

/// The highest score where some of what looks late is no late message: addresses that are handed
/// out twice, buffers that two hold.
const BESIDE_OTHERS: f64 = CONFIDENT - 0.05;
/// From one of these on, of all that looks late.
const ONE_OF: u64 = 16;

/// The weight of a late FREE that is no earlier than a FREE of the life after it would be.
const LATE_AS_ANY: f64 = 0.25;
/// How short its way must be beside lives for more weight, where it is no view. Two that use an
/// address independently of each other leave FREEs that are half as late as lives are long.
const NOT_SHORT: f64 = 0.3;
const LEAST: f64 = 0.15;
/// How much shorter than lives, in doublings, what is late is held against, and the share of lives
/// that are longer by that: one third where lives are drawn alike and end when they end, with a
/// standard deviation of 0.3 for one; up to about the second where some live long.
const DOUBLINGS: usize = 2;
const SHARE_OF_TWO: f64 = 1.0 / 3.0;
const DEVIATION: f64 = 0.3;
const MOST_OF_TWO: f64 = 0.40;
/// So many standard deviations above what chance would leave are no chance.
const SURELY: f64 = 2.5;
/// Two threads are seldom late at one address: of so many late messages no more than one leads it
/// further away from balance. What is handed out twice is so again and again.
const SELDOM: u64 = 8;
/// So many FREEs before their ALLOC are left by no two that have an address at once.
const FEW_EARLY: u64 = 4;
/// Below this it is not, where so many are late by little.
const SHORT: f64 = 0.75;
const FEW_NEAR: u64 = 4;

pub(super) fn evidence(facts: &Facts, shares: &Shares) -> Evidence {
    let weight = ((shortness(facts) - NOT_SHORT) / (1.0 - NOT_SHORT)).max(LEAST);
    let all = late_messages(facts, shares, weight);
    let own = 1.0 - shares.of_views;
    if own < MENTIONED {
        return Evidence::default();
    }
    // Where addresses are used on several devices at once, what is late may be a view.
    let in_lockstep = facts.lockstep_allocs as f64 >= LOCKSTEP * facts.allocs as f64;
    // Many far pairs are no surer than that they are late messages at all.
    let far = facts.far_late_frees.count + facts.far_early_frees.count;
    let far_doubt = 1.0 - shares.far_late / far.max(1) as f64;
    let near = (all.amount - all.proven - shares.far_late).max(0.0);
    let sure = 1.0 - far_doubt / (1.0 + near);
    let unpaired =
        facts.lost_frees.inferred() + facts.second_frees.inferred() + facts.first_frees.inferred();
    let many = unpaired > 0 && unpaired as f64 >= MANY_UNPAIRED * (all.amount - all.proven);
    let sure = if many { sure.min(BESIDE_LOSSES) } else { sure };
    let sure = match facts.share_of_two() {
        Some(_) => sure.min(BESIDE_ANOTHER),
        None => sure,
    };
    let sure = match all.proven == 0.0 && !is_none_of_two(facts) {
        true => sure.min(BESIDE_ANOTHER),
        false => sure,
    };
    // What cannot be late shows that another cause leaves the same.
    let others = facts.one_thread.count * ONE_OF >= all.count && facts.one_thread.count > 0;
    let sure = match others || facts.is_held_twice() {
        true => sure.min(BESIDE_OTHERS),
        false => sure,
    };
    let may_be_view = shares.of_views > 0.0 || (facts.allocs > 0 && in_lockstep);
    Evidence {
        amount: all.amount * own,
        proven: all.proven * own,
        at_most: match (may_be_view, all.proven > 0.0) {
            (true, _) => Some(BESIDE_VIEWS.min(sure)),
            (false, true) => None,
            (false, false) => Some(sure),
        },
        ..all
    }
}

/// All that is late, whoever sent it.
pub(super) fn late_views(facts: &Facts, shares: &Shares) -> Evidence {
    let weight = LATE_AS_ANY + (1.0 - LATE_AS_ANY) * shortness(facts);
    late_messages(facts, shares, weight)
}

/// As before; `weight`: of a message that is late by little.
fn late_messages(facts: &Facts, shares: &Shares, weight: f64) -> Evidence {
    let far = if shares.far_late >= MENTIONED {
        at_least_one(shares.far_late)
    } else {
        0
    };
    let (late, early) = (&facts.late_frees, &facts.early_frees);
    let inferred = (late.inferred() + early.inferred()) as f64;
    let proven = (late.proven + early.proven) as f64;
    let mut says = Vec::new();
    if late.count > 0 {
        says.push(format!(
            "{} came after the next ALLOC of the address",
            plural(late.count, "FREE")
        ));
    }
    if early.count > 0 {
        says.push(format!(
            "{} came before the ALLOC of the life",
            plural(early.count, "FREE")
        ));
    }
    if far > 0 {
        says.push(format!(
            "{} came later than that by several lives of the address",
            plural(far, "message")
        ));
    }
    let mut evidence = Evidence {
        amount: proven + inferred * weight + shares.far_late,
        proven,
        count: late.count + early.count + far,
        says: format!("{}; each message has its counterpart", says.join(", ")),
        ..Evidence::default()
    };
    evidence.exhibit(
        late,
        "ALLOC, the next ALLOC of the address, and only then the first one's FREE",
    );
    evidence.exhibit(early, "FREE, and only then its ALLOC");
    if shares.far_late > shares.far_lost {
        evidence.exhibit(
            &facts.far_late_frees,
            "ALLOC, the next ALLOC of the address, and lives later the FREE that was missing",
        );
        evidence.exhibit(
            &facts.far_early_frees,
            "a FREE too many, and lives later the ALLOC that was missing",
        );
    }
    evidence
}

/// How much shorter than lives late messages are on their way: one half where they are no shorter,
/// 1 where nothing is as short.
fn shortness(facts: &Facts) -> f64 {
    let all = (facts.late_frees.count + facts.early_frees.count).max(1) as f64;
    let short =
        facts.late_gaps.shorter_than(&facts.lives) + facts.early_gaps.shorter_than(&facts.idle);
    short / all
}

/// Whether two that have an address at once would leave something else: two processes, or two
/// buffers that the allocator put there. Each of those ends when it ends, and each ALLOC comes
/// before its FREE.
fn is_none_of_two(facts: &Facts) -> bool {
    let early = facts.early_frees.inferred() + facts.far_early_frees.inferred();
    early >= FEW_EARLY || is_short_for_sure(facts)
}

/// Whether FREEs come sooner after the next ALLOC than what is left of a life, or the other life
/// if that is shorter.
fn is_short_for_sure(facts: &Facts) -> bool {
    let count = facts.late_gaps.count().max(1) as f64;
    let shorter = facts.late_gaps.far_shorter_than(&facts.lives, DOUBLINGS) / count;
    let again = SELDOM * facts.deepened > facts.late_gaps.count();
    !again && shorter > MOST_OF_TWO.max(SHARE_OF_TWO + SURELY * DEVIATION / count.sqrt())
}

/// Whether two that use the addresses independently of each other may have left it: most of it is
/// late by little, and for no short time.
pub(super) fn may_be_two(facts: &Facts) -> bool {
    let far = facts.far_late_frees.count + facts.far_early_frees.count;
    let near = facts.late_frees.inferred();
    near >= FEW_NEAR && near >= far && (shortness(facts) < SHORT || !is_none_of_two(facts))
}
