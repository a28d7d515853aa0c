//! The user's own program under control: what `heisenbed run` does.
//!
//! A [`UserProgram`] is started once, with the runtime of `runtime/` preloaded: the [`Launcher`] is
//! the other end of its fork server. For each schedule the launcher writes a [`RunPlan`] into the
//! [`page`] that both share, and reads back an [`Execution`]: who took each step, what was done,
//! and how it ended. A [`Search`] runs the plans that a [`Director`](director::Director) makes
//! until one fails, in a [`Fleet`] of launchers, and can be kept in a [`SearchState`]; [`minimise`]
//! takes preemptions out of the failing schedule; a [`RunReproducer`] keeps it. [`Symbols`] gives
//! addresses their names and source lines, and [`Explained`] tells the story of a failure. Data
//! races hide no other failure: [`races`] keeps them until it is known that there is none. What a
//! program sends to a tracking server is [`tracked`]. A shared library that heisenbed drives itself
//! is a [`target`].
//!
//! What runs here is not trusted: it may crash, hang, or write into the page. Each costs one
//! schedule and a clear word.

pub(crate) mod aims;
mod anew;
mod cores;
pub(crate) mod director;
pub(crate) mod execution;
pub(crate) mod exhaustive;
pub(crate) mod explained;
pub(crate) mod extract;
pub(crate) mod findings;
pub(crate) mod fleet;
mod forgiven;
mod identity;
pub(crate) mod launcher;
pub(crate) mod learnt;
pub(crate) mod minimise;
pub(crate) mod page;
pub(crate) mod plan;
pub(crate) mod program;
pub(crate) mod race_text;
pub(crate) mod races;
pub(crate) mod reproducer;
pub(crate) mod search;
mod situations;
pub(crate) mod state;
pub(crate) mod steps;
pub(crate) mod symbols;
pub(crate) mod target;
pub(crate) mod tracked;
mod work_limit;

pub(crate) use execution::Execution;
pub(crate) use explained::Explained;
pub(crate) use findings::failure_line;
pub(crate) use fleet::Fleet;
pub(crate) use launcher::{LaunchError, Launcher};
pub(crate) use plan::RunPlan;
pub(crate) use program::UserProgram;
pub(crate) use reproducer::RunReproducer;
pub(crate) use search::{Search, SearchPlan};
pub(crate) use state::SearchState;
pub(crate) use symbols::Symbols;
pub(crate) use work_limit::{WorkCut, WorkLimit};
