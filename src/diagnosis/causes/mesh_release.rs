//! Mesh release: a mesh buffer's address is given back before its views are released, so that
//! another thread takes it while their FREEs are still to come.
//!
//! It leaves late messages as a reordering does, but at the same address of several devices at
//! once: the views' messages follow each other. What is late at one device only is none of it. No
//! lock around a view's message helps, since the backing buffer took and gave the address outside
//! of it.

use super::super::facts::Facts;
use super::super::outcome::CONFIDENT;
use super::MENTIONED;
use super::evidence::Evidence;
use super::reordering;
use super::shares::Shares;
use crate::numbers::plural;

/// The highest score where what looks late are buffers that two hold.
const BESIDE_HOLDERS: f64 = CONFIDENT - 0.05;

pub(super) fn evidence(facts: &Facts, shares: &Shares) -> Evidence {
    let share = shares.of_views;
    if share < MENTIONED {
        return Evidence::default();
    }
    let share = match facts.is_held_twice() {
        true => share.min(BESIDE_HOLDERS),
        false => share,
    };
    let of_all = reordering::late_views(facts, shares);
    Evidence {
        amount: of_all.amount * share,
        proven: of_all.proven * share,
        count: facts.late_views(),
        says: format!(
            "{} came after the next ALLOC of the address, each beside one at the same address of \
             another device: views that are released after their mesh buffer's address was given back",
            plural(facts.late_views(), "FREE")
        ),
        exhibits: of_all.exhibits,
        at_most: (share < 1.0).then_some(share),
        ..Evidence::default()
    }
}
