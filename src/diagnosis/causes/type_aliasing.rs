//! Type aliasing: DRAM and L1 are address spaces of their own, and the server's key, or the FREE,
//! does not say which.
//!
//! It leaves ALLOCs of two types at one address while the first is live. As one address space never
//! has two buffers at an address, no other cause leaves that, and one such pair is proof where each
//! life gets its FREE: a FREE that is late only makes it last. Where one never comes, it may be
//! lost before the second ALLOC, or the process of the first be gone.

use super::super::facts::Facts;
use super::super::outcome::CONFIDENT;
use super::super::sightings::Sighting;
use super::super::suspect::Exhibit;
use super::evidence::Evidence;
use crate::numbers::plural;

const DRAM_L1: &str = "ALLOC as DRAM, ALLOC as L1 at the same address";
const L1_DRAM: &str = "ALLOC as L1, ALLOC as DRAM at the same address";
const OTHER: &str = "ALLOC of one memory, ALLOC of another at the same address";

/// The highest score where none of the pairs has got both FREEs: one may be lost, or the process of
/// the first be gone, whose memory another one uses otherwise.
const WITHOUT_FREES: f64 = CONFIDENT - 0.05;

pub(super) fn evidence(facts: &Facts) -> Evidence {
    let exhibit = |sighting: &Sighting| Exhibit {
        says: match sighting.number {
            Some(0x0001) => DRAM_L1,
            Some(0x0100) => L1_DRAM,
            _ => OTHER,
        },
        sighting: sighting.clone(),
    };
    Evidence {
        amount: facts.aliased.count as f64,
        proven: facts.aliased.proven as f64,
        count: facts.aliased.count,
        says: format!(
            "{} of one memory while another memory's buffer was live at the same address",
            plural(facts.aliased.count, "ALLOC")
        ),
        exhibits: facts.aliased.kept.iter().map(exhibit).collect(),
        at_most: (facts.aliased.proven == 0).then_some(WITHOUT_FREES),
        ..Evidence::default()
    }
}
