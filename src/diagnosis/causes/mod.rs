//! Causes: each with a model of the evidence that it leaves, one file a cause.
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
mod dead_client_sweep;
mod double_release;
mod evidence;
mod late_attach;
mod layout_mismatch;
mod loss;
mod mesh_release;
mod pid_reuse;
mod real_leak;
mod reordering;
mod shares;
mod type_aliasing;

use super::facts::Facts;
use super::outcome::{CONFIDENT, DOUBTFUL, Diagnosis};
use super::suspect::{Cause, Exhibit, Suspect, with_names_of};
use crate::tracking::entry::Class;
use evidence::Evidence;
use shares::Shares;

/// How much of a cause's evidence spills over: (from, to, pieces at `to` for one at `from`).
const SPILL: [(Cause, Cause, f64); 28] = {
    use Cause::*;
    [
        (Loss, Reordering, 0.25),
        (Loss, MeshRelease, 0.05),
        (MeshRelease, Loss, 0.15),
        (MeshRelease, PidReuse, 0.1),
        (MeshRelease, Reordering, 0.6),
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

/// The highest score that one piece of evidence gives: what has no cause of its own here leaves
/// one as well.
const ONE_PIECE: f64 = CONFIDENT - 0.05;

/// The highest score of what is inferred where two memories share addresses: a FREE names none of
/// the two, so that what is late, missing or too many may be the other one's. One shared address
/// for so many pieces of evidence is enough.
const BESIDE_ALIASES: f64 = CONFIDENT - 0.05;
const FOR_EACH_ALIAS: u64 = 8;

/// Below this, a suspect is not worth a line.
const MENTIONED: f64 = 0.05;

/// Weighs what was seen.
pub(super) fn weigh(facts: Facts) -> Diagnosis {
    let shares = Shares::of(&facts);
    let all: Vec<(Cause, Evidence)> = Cause::ALL
        .into_iter()
        .map(|cause| (cause, evidence(cause, &facts, &shares)))
        .collect();
    // In a short record nothing shows what is normal.
    let known = facts.messages as f64 / (facts.messages as f64 + SHORT);
    let mut causes: Vec<Suspect> = all
        .iter()
        .filter(|(_, evidence)| evidence.count > 0)
        .map(|(cause, evidence)| suspect(*cause, evidence, &all, known))
        .map(|suspect| suspect.in_doubt(&facts))
        .filter(|suspect| suspect.score >= MENTIONED)
        .collect();
    causes.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.count.cmp(&a.count)));
    let trouble = !facts.kinds.is_empty()
        || all
            .iter()
            .any(|(_, evidence)| evidence.count > 0 && evidence.amount > 0.0)
        || !facts.doubts.is_empty();
    let advice = advice::advice(&facts, &causes, trouble);
    let notes = advice::notes(&facts, &causes);
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

fn evidence(cause: Cause, facts: &Facts, shares: &Shares) -> Evidence {
    match cause {
        Cause::Reordering => reordering::evidence(facts, shares),
        Cause::Loss => loss::evidence(facts, shares),
        Cause::DoubleRelease => double_release::evidence(facts, shares),
        Cause::TypeAliasing => type_aliasing::evidence(facts),
        Cause::LateAttach => late_attach::evidence(facts, shares),
        Cause::PidReuse => pid_reuse::evidence(facts, shares),
        Cause::LayoutMismatch => layout_mismatch::evidence(facts),
        Cause::DeadClientSweep => dead_client_sweep::evidence(facts),
        Cause::RealLeak => real_leak::evidence(facts, shares),
        Cause::MeshRelease => mesh_release::evidence(facts, shares),
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
    let aliased = all.iter().find(|(of, _)| *of == Cause::TypeAliasing);
    let aliases = aliased.map_or(0.0, |(_, aliased)| aliased.proven) as u64;
    let is_inferred = evidence.proven == 0.0 && cause != Cause::TypeAliasing;
    if is_inferred && aliases > 0 && evidence.count <= FOR_EACH_ALIAS * aliases {
        score = score.min(BESIDE_ALIASES);
    }
    let mut exhibits = evidence.exhibits.clone();
    exhibits.sort_by(|a, b| a.sighting.positions.cmp(&b.sighting.positions));
    Suspect {
        cause,
        score: evidence
            .at_most
            .map_or(score, |most| score.min(most))
            .max(evidence.at_least),
        count: evidence.count,
        says: with_names_of(class_of(&exhibits), &evidence.says),
        exhibits,
    }
}

impl Suspect {
    /// The same, no surer than the record is whole, and than one piece of evidence makes it.
    fn in_doubt(self, facts: &Facts) -> Suspect {
        // Two memories at one address and a frame of two messages are proof by themselves.
        let is_proof = matches!(self.cause, Cause::TypeAliasing | Cause::LayoutMismatch);
        let most = match (is_proof, facts.doubts.is_empty(), self.count) {
            (true, ..) => 1.0,
            (false, false, _) => DOUBTFUL,
            (false, true, 0..=1) => ONE_PIECE,
            (false, true, _) => 1.0,
        };
        Suspect {
            score: self.score.min(most),
            ..self
        }
    }
}

/// What all messages of these are about; buffers, where they are about several things.
fn class_of(exhibits: &[Exhibit]) -> Class {
    let mut classes = exhibits
        .iter()
        .map(|exhibit| exhibit.sighting.class.unwrap_or(Class::Plain));
    let first = classes.next().unwrap_or(Class::Plain);
    if classes.all(|class| class == first) {
        first
    } else {
        Class::Plain
    }
}
