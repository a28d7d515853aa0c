//! Every schedule of a program that differs: what `heisenbed run --strategy exhaustive` does.
//!
//! The [`Explorer`] knows programs only as something whose schedules can be run ([`Explorable`]),
//! and which tells what each step touches. [`ProgramRuns`] is the user's program as such a thing;
//! tests have small programs in memory. [`exhaust`] says what follows when all were run, and what
//! stands against a proof. [`BoundedSearch`] is for all schedules with few preemptions, and
//! [`prove_minimum`] for how few a failure takes.

mod bounded;
mod estimate;
mod exhaust;
mod explorer;
mod minimum;
mod order;
mod programs;
pub(super) mod record;
mod step;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod toy;

pub(crate) use exhaust::{Exhausted, ExhaustivePlan, exhaust};
pub(crate) use minimum::{MinimumProof, NotProved, prove_minimum};

use bounded::BoundedSearch;
use explorer::Explorer;
use programs::ProgramRuns;
