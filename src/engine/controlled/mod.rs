//! The controlled runtime: one OS thread owns the whole world of a scenario, and whoever drives it picks which
//! of the scenario's threads steps next.
//!
//! The same step function, allocators, registry and codec as under real threads; what differs is who decides.
//! [`world`] is the state, [`replay`] drives it by the schedule of a recorded trace.

pub mod actors;
pub mod exhaustive;
pub mod machine;
pub mod observe;
pub mod reduction;
pub mod replay;
pub mod sample;
pub mod schedule;
pub mod schedulers;
pub mod server;
pub mod world;
