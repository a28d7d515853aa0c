//! Causes that lie with processes rather than with messages.
//!
//! *Pid reuse*: a process ends with live buffers, and its id goes to another one before the server
//! notices. It leaves a moment (a *cut*) across which no life with a FREE reaches, and lives from
//! before it that never get one, their addresses allocated again after it. Where connections or
//! generations are recorded they show the new process directly.
//!
//! *Dead-client sweep*: the server sweeps what a process owns that it takes for dead. If it is not
//! (another pid namespace, a shared key), FREEs come for what was swept. If it is, and the sweep
//! comes late, another process allocates addresses that the server still shows as the dead one's.

use super::super::facts::Facts;
use super::Evidence;
use super::shares::Shares;
use crate::numbers::plural;

pub(super) fn reuse(facts: &Facts, shares: &Shares) -> Evidence {
    let proven = facts.abandoned as f64;
    let cuts = if shares.cut > 0.0 {
        facts.cuts.len() as u64
    } else {
        0
    };
    let left = facts.abandoned + shares.cut.round() as u64;
    let mut evidence = Evidence {
        amount: proven + shares.cut,
        proven,
        count: left,
        says: format!(
            "{} of a process id that went on as another process, {} left behind without FREE",
            plural(cuts + facts.restarts.count, "time"),
            plural(left, "buffer")
        ),
        ..Evidence::default()
    };
    evidence.exhibit(
        &facts.restarts,
        "a process begins anew under an id whose buffers are live",
    );
    if shares.cut > 0.0 {
        for cut in &facts.cuts {
            let sighting = super::Sighting {
                positions: [cut.at.position].into_iter().collect(),
                number: Some(i64::from(cut.pid)),
                ..super::Sighting::default()
            };
            evidence.exhibit_all(
                &[sighting],
                "no buffer that got its FREE lives across this moment",
            );
            let room = cut.lives.len().min(super::super::MAX_SIGHTINGS);
            evidence.exhibit_all(
                &cut.lives[..room],
                "ALLOC before that moment, ALLOC of the address after it, no FREE between",
            );
        }
    }
    evidence
}

pub(super) fn sweep(facts: &Facts) -> Evidence {
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
