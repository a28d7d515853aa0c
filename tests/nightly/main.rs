//! Nightly work: campaigns, the planted defects that they must find again, and the files to deploy
//! them.

mod campaign;
#[path = "../common/mod.rs"]
mod common;
mod deploy;
mod zoo;
