//! Runs under the oracle: what is found, what is proved, and how it is replayed, made smaller and
//! drawn.

mod alarms;
mod checker;
#[path = "../common/mod.rs"]
mod common;
mod corpus;
mod deadlock;
mod divergence_kinds;
mod examples;
mod known_answers;
mod parts;
mod processes;
mod protocols;
mod reductions;
mod replay;
mod shared_checks;
mod shrink;
mod timeline;
mod unbounded;
