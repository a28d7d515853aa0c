//! Layout mismatch: frames are read in another wire layout than they were written in, or from their
//! middle on.
//!
//! It leaves message types that are none and fields that make no sense, and above all process ids
//! in the place of device ids, in a large part of what follows the first such frame. A few odd
//! messages among many sound ones are not it: a newer client, or a test of the server's checks.
//! Such are mentioned and never named. A frame that is known to be made of several messages is
//! proof.

use std::fmt::Write as _;

use super::super::facts::Facts;
use super::evidence::Evidence;
use crate::numbers::plural;

/// From this share of all that follows on, frames are misread and not odd.
const MISREAD: f64 = 0.5;
/// What odd frames are worth that are no misread ones: together less than one piece of evidence.
const ODD: f64 = 0.3;

pub(super) fn evidence(facts: &Facts) -> Evidence {
    let (odd, sound) = (facts.odd_since as f64, facts.sound_since as f64);
    let share = odd / (odd + sound).max(1.0);
    let pids = facts.device_pids.count;
    let mixed = facts.mixed.count as f64;
    let misread = (share >= MISREAD && odd >= 4.0) || pids >= 3 || mixed > 0.0;
    let proven = if misread { odd.max(mixed) } else { 0.0 };
    let mut says = Vec::new();
    for (count, what) in [
        (facts.unknown_frames.count, "frame of no known type"),
        (
            facts.device_pids.count,
            "message with a process id for a device",
        ),
        (
            facts.odd_fields.count,
            "message with a type, size or device that is none",
        ),
        (facts.torn.count, "connection that ended inside a frame"),
        (facts.mixed.count, "frame made of several messages"),
    ] {
        if count > 0 {
            says.push(match what.split_once(' ') {
                Some((noun, rest)) => format!("{} {rest}", plural(count, noun)),
                None => plural(count, what),
            });
        }
    }
    let mut words = says.join(", ");
    if odd > 0.0 {
        let _ = write!(
            words,
            ": {:.0} % of what came since the first",
            share * 100.0
        );
    }
    let mut evidence = Evidence {
        amount: if misread { proven } else { ODD * odd.min(1.0) },
        proven,
        count: facts.odd() + facts.torn.count + facts.mixed.count,
        says: words,
        ..Evidence::default()
    };
    evidence.exhibit(&facts.device_pids, "the device id is a process id");
    evidence.exhibit(&facts.unknown_frames, "a type that is no message's");
    evidence.exhibit(&facts.odd_fields, "there is no such type, size or device");
    evidence.exhibit(&facts.torn, "the connection ends inside a frame");
    evidence.exhibit(&facts.mixed, "pieces of several messages in one frame");
    evidence
}
