//! The controlled runtime: one OS thread owns the whole world of a scenario, and whoever drives it
//! picks which of the scenario's threads steps next.
//!
//! The same step function, allocators, registry and codec as under real threads; what differs is
//! who decides. [`world`] and [`server`] are the state, [`machine`] is both with the threads;
//! [`schedulers`] decide who steps, [`schedule`] is what they decided. [`sample`] draws many
//! schedules, [`behaviour`] tells how they differ, [`exhaustive`] searches all, with the help of
//! [`reduction`]; [`observe`] looks at one in full, and [`replay`] runs a recorded trace again.

pub(crate) mod actors;
pub(crate) mod behaviour;
pub mod exhaustive;
pub mod machine;
pub mod observe;
pub(crate) mod reduction;
pub mod replay;
pub mod sample;
pub(crate) mod schedule;
pub mod schedulers;
pub(crate) mod server;
pub mod world;
