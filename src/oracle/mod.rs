//! The oracle: compares what a server believes with what is known to be so, and names the
//! differences.
//!
//! [`kind`] says what can be wrong and how a check ends; [`checker`] walks a run with the truth on
//! one hand and the reconstruction on the other; [`message_check`], [`observation_check`] and
//! [`allocation_check`] do what can be done without truth, for logs, for messages as they were
//! sent, and for what an allocator recorded of itself; [`traffic`] checks what a real program sent
//! and says. Causes are ranked by [`crate::diagnosis`].
//! The oracle knows events, not engines.

pub(crate) mod allocation_check;
pub(crate) mod check;
pub(crate) mod checker;
pub(crate) mod first_few;
mod judge;
pub(crate) mod kind;
pub(crate) mod message_check;
pub(crate) mod observation_check;
pub mod rest;
mod shared;
pub(crate) mod traffic;
mod truth;

pub use check::{CheckError, check_trace};
pub use checker::Checker;
pub use kind::{Divergence, Kind, Leak, Report, Strength, Verdict};
pub(crate) use shared::buffer_words;
