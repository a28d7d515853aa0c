//! Causes: each with a model of the evidence that it leaves, one file a cause or a pair of them.
//!
//! A model turns the counts into an *amount*: how many pieces of evidence speak for its cause.
//! Evidence that two causes leave alike is divided between them beforehand, by what else there is
//! (`shares`). No division is exact, so a cause must show more than what spills over from the
//! others ([`SPILL`], measured on runs with one cause); what is left decides the score:
//!
//! `score = left / (left + 1) * min(1, 1.5 * left / amount)`, with 0.1 for the 1 where the record
//! itself proves the evidence. What is inferred weighs less in a short record, which does not show
//! what is normal ([`SHORT`]).
//!
//! So one piece of inferred evidence is a coin's toss, nine that nothing else explains are named
//! with confidence, and a hundred are not where another cause would leave as many by the way.

mod advice;
mod aliasing;
mod double_release;
mod late_attach;
mod layout;
mod loss;
mod processes;
mod real_leak;
mod reordering;
mod shares;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::facts::{Facts, Sighting, SightingTally};
use super::{Circumstances, Diagnosis};
use shares::Shares;

/// What can be behind a record in which something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A message overtook another one about the same address.
    Reordering,
    /// Messages did not arrive.
    Loss,
    /// A buffer was released twice.
    DoubleRelease,
    /// Two memories share an address, and the messages or the server do not tell them apart.
    TypeAliasing,
    /// The record, or the server, began when buffers were live.
    LateAttach,
    /// A process got the id of one that ended with live buffers.
    PidReuse,
    /// Frames were read in another layout than they were written in.
    LayoutMismatch,
    /// The server swept the buffers of a process that was not dead, or not soon enough those of one
    /// that was.
    DeadClientSweep,
    /// The program did not release what it allocated.
    RealLeak,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Cause; 9] = [
        Cause::Reordering,
        Cause::Loss,
        Cause::DoubleRelease,
        Cause::TypeAliasing,
        Cause::LateAttach,
        Cause::PidReuse,
        Cause::LayoutMismatch,
        Cause::DeadClientSweep,
        Cause::RealLeak,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Reordering => "reordering",
            Cause::Loss => "loss",
            Cause::DoubleRelease => "double-release",
            Cause::TypeAliasing => "type-aliasing",
            Cause::LateAttach => "late-attach",
            Cause::PidReuse => "pid-reuse",
            Cause::LayoutMismatch => "layout-mismatch",
            Cause::DeadClientSweep => "dead-client-sweep",
            Cause::RealLeak => "real-leak",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A cause with what speaks for it.
#[derive(Clone, Debug)]
pub struct Suspect {
    /// The cause.
    pub cause: Cause,
    /// How likely it is that it is at work, from 0 to 1.
    pub score: f64,
    /// How many pieces of evidence there are.
    pub count: u64,
    /// What was seen, in a sentence.
    pub says: String,
    /// The first pieces of evidence, by position.
    pub exhibits: Vec<Exhibit>,
}

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhibit {
    /// Where, and what it is about.
    pub sighting: Sighting,
    /// What is to be seen there, position by position.
    pub says: &'static str,
}

/// What a model makes of the counts.
#[derive(Clone, Debug, Default)]
struct Evidence {
    /// How many pieces speak for the cause, with their weights.
    amount: f64,
    /// Of those: how many the record itself proves.
    proven: f64,
    count: u64,
    says: String,
    exhibits: Vec<Exhibit>,
    /// The score is at most this, where the evidence is not enough by itself.
    at_most: Option<f64>,
}

impl Evidence {
    fn exhibit(&mut self, tally: &SightingTally, says: &'static str) {
        self.exhibit_all(&tally.kept, says);
    }

    fn exhibit_all(&mut self, sightings: &[Sighting], says: &'static str) {
        self.exhibits
            .extend(sightings.iter().map(|sighting| Exhibit {
                sighting: sighting.clone(),
                says,
            }));
    }
}

/// How much of a cause's evidence spills over: (from, to, pieces at `to` for one at `from`).
const SPILL: [(Cause, Cause, f64); 24] = {
    use Cause::*;
    [
        (Loss, Reordering, 0.25),
        (Loss, DoubleRelease, 0.15),
        (Loss, PidReuse, 0.15),
        (Loss, LateAttach, 0.05),
        (Reordering, Loss, 0.15),
        (Reordering, DoubleRelease, 0.1),
        (Reordering, PidReuse, 0.1),
        (Reordering, TypeAliasing, 0.1),
        (DoubleRelease, Loss, 0.1),
        (DoubleRelease, Reordering, 0.05),
        (PidReuse, Loss, 0.3),
        (PidReuse, Reordering, 0.1),
        (PidReuse, DoubleRelease, 0.1),
        (TypeAliasing, Reordering, 0.05),
        (TypeAliasing, Loss, 0.05),
        (LateAttach, Loss, 0.1),
        (DeadClientSweep, Loss, 0.1),
        (DeadClientSweep, DoubleRelease, 0.1),
        (LayoutMismatch, Loss, 1.0),
        (LayoutMismatch, DoubleRelease, 1.0),
        (LayoutMismatch, LateAttach, 1.0),
        (LayoutMismatch, Reordering, 1.0),
        (LayoutMismatch, PidReuse, 1.0),
        (LayoutMismatch, RealLeak, 1.0),
    ]
};

/// A record of so many messages halves what is inferred from it.
const SHORT: f64 = 20.0;

/// Below this, a suspect is not worth a line.
const MENTIONED: f64 = 0.05;

/// A share as a count; what is there at all is one.
fn at_least_one(share: f64) -> u64 {
    if share > 0.0 {
        (share.round() as u64).max(1)
    } else {
        0
    }
}

/// Weighs what was seen.
pub(super) fn weigh(facts: Facts, circumstances: Circumstances) -> Diagnosis {
    let shares = Shares::of(&facts, circumstances);
    let all: Vec<(Cause, Evidence)> = Cause::ALL
        .into_iter()
        .map(|cause| (cause, evidence(cause, &facts, &shares, circumstances)))
        .collect();
    // In a short record nothing shows what is normal.
    let known = facts.messages as f64 / (facts.messages as f64 + SHORT);
    let mut causes: Vec<Suspect> = all
        .iter()
        .filter(|(_, evidence)| evidence.count > 0)
        .map(|(cause, evidence)| suspect(*cause, evidence, &all, known))
        .filter(|suspect| suspect.score >= MENTIONED)
        .collect();
    causes.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.count.cmp(&a.count)));
    let trouble = !facts.kinds.is_empty()
        || all
            .iter()
            .any(|(_, evidence)| evidence.count > 0 && evidence.amount > 0.0);
    let advice = advice::advice(&facts, &causes, trouble, circumstances);
    let notes = advice::notes(&facts, circumstances);
    Diagnosis {
        messages: facts.messages,
        causes,
        trouble,
        live: facts.live.count,
        generations: facts.generations,
        divergences: facts.kinds,
        first: facts.first,
        advice,
        notes,
    }
}

fn evidence(
    cause: Cause,
    facts: &Facts,
    shares: &Shares,
    circumstances: Circumstances,
) -> Evidence {
    match cause {
        Cause::Reordering => reordering::evidence(facts),
        Cause::Loss => loss::evidence(facts, shares),
        Cause::DoubleRelease => double_release::evidence(facts, shares),
        Cause::TypeAliasing => aliasing::evidence(facts),
        Cause::LateAttach => late_attach::evidence(facts, shares),
        Cause::PidReuse => processes::reuse(facts, shares),
        Cause::LayoutMismatch => layout::evidence(facts),
        Cause::DeadClientSweep => processes::sweep(facts),
        Cause::RealLeak => real_leak::evidence(facts, shares, circumstances),
    }
}

fn suspect(cause: Cause, evidence: &Evidence, all: &[(Cause, Evidence)], known: f64) -> Suspect {
    let spilt: f64 = SPILL
        .iter()
        .filter(|(_, to, _)| *to == cause)
        .map(|(from, _, share)| {
            let source = all.iter().find(|(of, _)| of == from);
            share
                * source.map_or(0.0, |(of, evidence)| match of {
                    // A few odd frames disturb nothing.
                    Cause::LayoutMismatch => evidence.proven,
                    _ => evidence.amount,
                })
        })
        .sum();
    // What the record proves does not come from elsewhere.
    let left = (evidence.amount - spilt).max(evidence.proven).max(0.0);
    let weight = (left * known).max(evidence.proven);
    let doubt = if evidence.proven > 0.0 { 0.1 } else { 1.0 };
    let mut score = weight / (weight + doubt);
    if evidence.amount > 0.0 {
        score *= (1.5 * left / evidence.amount).min(1.0);
    }
    let mut exhibits = evidence.exhibits.clone();
    exhibits.sort_by(|a, b| a.sighting.positions.cmp(&b.sighting.positions));
    Suspect {
        cause,
        score: evidence.at_most.map_or(score, |most| score.min(most)),
        count: evidence.count,
        says: evidence.says.clone(),
        exhibits,
    }
}
