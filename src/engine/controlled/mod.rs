//! The controlled runtime: one OS thread owns the whole world of a scenario, and whoever drives it picks which
//! of the scenario's threads steps next.
//!
//! The same step function, allocators, registry and codec as under real threads; what differs is who decides.
//! [`world`] is the state, [`replay`] drives it by the schedule of a recorded trace.

pub mod replay;
pub mod world;
