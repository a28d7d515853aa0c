//! Dead-client sweep: the server sweeps what a process owns that it takes for dead.
//!
//! If it is not dead (another pid namespace, a shared key), FREEs come for what was swept. If it
//! is, and the sweep comes late, another process allocates addresses that the server still shows as
//! the dead one's.

use super::super::facts::Facts;
use super::evidence::Evidence;
use crate::numbers::plural;

pub(super) fn evidence(facts: &Facts) -> Evidence {
    let (frees, changes) = (&facts.swept_frees, &facts.owner_changes);
    let mut says = Vec::new();
    if frees.count > 0 {
        says.push(format!(
            "{} of buffers that the server had swept as a dead process'",
            plural(frees.count, "FREE")
        ));
    }
    if changes.count > 0 {
        says.push(format!(
            "{} of addresses that the server still showed as another process'",
            plural(changes.count, "ALLOC")
        ));
    }
    let mut evidence = Evidence {
        amount: (frees.count + changes.count) as f64,
        proven: frees.count as f64,
        count: frees.count + changes.count,
        says: says.join(", "),
        ..Evidence::default()
    };
    evidence.exhibit(frees, "the sweep, and a FREE of what it dropped");
    evidence.exhibit(
        changes,
        "ALLOC by a process that sends no FREE, ALLOC of the address by another",
    );
    evidence
}
