//! Mesh release: a mesh buffer's address is given back before its views are released, so that
//! another thread takes it while their FREEs are still to come.
//!
//! It leaves late messages as a reordering does, but at the same address of several devices at
//! once: the views' messages follow each other. What is late at one device only is none of it. No
//! lock around a view's message helps, since the backing buffer took and gave the address outside
//! of it.

use super::super::facts::Facts;
use super::MENTIONED;
use super::evidence::Evidence;
use super::reordering;
use super::shares::Shares;
use crate::numbers::plural;

/// From this share of the late messages on they are those of views.
const NEARLY_ALL: f64 = 0.6;
/// Below this share they are not, but by chance.
const FEW: f64 = 0.2;

/// How much of what is late belongs to mesh buffers, from 0 to 1.
pub(super) fn share(facts: &Facts) -> f64 {
    let late = facts.late_messages.max(1) as f64;
    let of_views = facts.late_views as f64 / late;
    ((of_views - FEW) / (NEARLY_ALL - FEW)).clamp(0.0, 1.0)
}

pub(super) fn evidence(facts: &Facts, shares: &Shares) -> Evidence {
    let share = share(facts);
    if share < MENTIONED {
        return Evidence::default();
    }
    let of_all = reordering::late_messages(facts, shares);
    Evidence {
        amount: of_all.amount * share,
        proven: of_all.proven * share,
        count: facts.late_views,
        says: format!(
            "{} came after the next ALLOC of the address, each beside one at the same address of \
             another device: views that are released after their mesh buffer's address was given back",
            plural(facts.late_views, "FREE")
        ),
        exhibits: of_all.exhibits,
        ..Evidence::default()
    }
}
