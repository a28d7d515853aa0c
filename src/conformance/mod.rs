//! Conformance: a fixed suite of cases for any tracking server, ours or somebody else's. Each
//! misbehaviour that was confirmed of a reference server is a case: what is sent, what a right
//! server then shows, and what was seen.
//!
//! Cases look at a server from outside only: totals before and after, answers, whether it lives.
//! What holds:
//! - Buffers are sent of one device, on which nothing is live if there is such a one, at addresses
//!   that no case used before, and judged by how the totals changed. What was live before does not
//!   matter; who else changes totals of that device meanwhile does.
//! - A case that passes leaves the server as it found it; any other releases what it allocated, as
//!   far as the server lets it.
//! - A case is tried several times, for what depends on a race shows at some tries only. It fails
//!   when one of them does.
//! - No wait is without an end. A server that is gone ends the suite: the cases that are left are
//!   skipped and say so. Cases that a server may not survive come last. Where the suite may restart
//!   the server (`restart`), each try has a server of its own.
//!
//! [`client_suite`] does the same for clients, with cases of its own.
//!
//! [`suite`] runs the cases, `bench` is what they work with, `session` speaks to the server; each
//! other file holds a group of cases. It is not for load or for races: that is what `stress
//! --server` is for.

mod bench;
mod bounds;
pub mod client_suite;
mod clients;
mod frames;
mod keys;
mod layouts;
mod relay;
mod restart;
mod session;
pub(crate) mod suite;
mod sweeps;
mod totals;
mod tries;

use serde::Serialize;

use bench::Bench;
pub(crate) use relay::relay;

/// One case.
#[derive(Debug)]
pub struct Case {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// Which misbehaviour it would show.
    pub(crate) about: &'static str,
    /// What is sent.
    pub(crate) sent: &'static str,
    /// What a right server does.
    pub(crate) expected: &'static str,
    /// Tries it: what was seen, in words.
    run: fn(&mut Bench<'_>) -> Result<String, Trouble>,
}

/// Why a case did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    /// The server did something else than expected.
    Failed(String),
    /// It could not be tried.
    Skipped(String),
}

/// What came of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CaseOutcome {
    /// As expected.
    Passed,
    /// It could not be tried.
    Skipped,
    /// Otherwise.
    Failed,
}

/// What came of one case, with the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CaseResult {
    /// The case's name.
    pub(crate) case: &'static str,
    /// What came of it.
    pub(crate) outcome: CaseOutcome,
    /// Which misbehaviour it is about.
    pub(crate) about: &'static str,
    /// What was sent.
    pub(crate) sent: &'static str,
    /// What a right server does.
    pub(crate) expected: &'static str,
    /// What was seen the first time that it failed, else at the first try; or why it was skipped.
    pub(crate) seen: String,
    /// How often it was tried.
    pub(crate) tries: u32,
    /// How often it failed.
    pub(crate) failures: u32,
}

/// Every case, in the order in which they are run.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    [
        layouts::CASES,
        keys::CASES,
        totals::CASES,
        sweeps::CASES,
        frames::CASES,
        clients::CASES,
        bounds::CASES,
    ]
    .into_iter()
    .flatten()
}
