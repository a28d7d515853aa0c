//! The user's own program under control: what `heisenbed run` does.
//!
//! A [`Program`] is started once, with the runtime of `runtime/` preloaded: the [`Launcher`] is
//! the other end of its fork server. For each schedule the launcher writes a [`Plan`] into the
//! [`page`] that both share, and reads back an [`Execution`]: who took each step, what was done,
//! and how it ended. A [`Search`] makes plans until one fails; [`minimise`] takes preemptions out
//! of the failing schedule; a [`RunReproducer`] keeps it. [`Symbols`] gives addresses their names
//! and source lines, and [`Explained`] tells the story of a failure.
//!
//! What runs here is not trusted: it may crash, hang, or write into the page. Each costs one
//! schedule and a clear word.

pub mod execution;
pub mod explained;
pub mod launcher;
pub mod minimise;
pub mod page;
pub mod plan;
pub mod program;
pub mod reproducer;
pub mod search;
pub mod steps;
pub mod symbols;

pub use execution::{Execution, Failure, FailureKind};
pub use explained::Explained;
pub use launcher::{LaunchError, Launcher};
pub use plan::Plan;
pub use program::{Program, ProgramError};
pub use reproducer::RunReproducer;
pub use search::{Search, SearchPlan};
pub use steps::Steps;
pub use symbols::Symbols;
