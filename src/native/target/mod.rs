//! Targets: other people's allocators and lifecycle code, as shared libraries that heisenbed drives
//! with its own workloads.
//!
//! A [`TargetSetup`] says with what: the shape of memory and each thread's operations. The *driver*
//! of `runtime/driver/` loads the library and does them; to everything else here it is a program
//! like any other ([`UserProgram`](super::UserProgram) with [`TargetFiles`]), so search, races,
//! tracking, shrinking and reproducers are the same. [`TargetAbout`] is what the library says that
//! it can do, asked once, in a process of its own. [`refusal`] says what a workload needs that it
//! lacks. [`shrink`] leaves out operations; [`survey`] draws programs of one thread.

mod about;
mod encode;
mod fits;
mod guide;
pub(crate) mod served;
mod setup;
pub(crate) mod shrink;
pub(crate) mod survey;
pub(crate) mod words;

/// Ends what a driver left behind that has a process group of its own: processes that the target
/// made.
fn end_group(driver: &std::process::Child) {
    if let Some(group) = rustix::process::Pid::from_raw(driver.id() as i32) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

pub(crate) use about::{TargetAbout, TargetError};
pub(crate) use fits::{only_memories, refusal};
pub(crate) use setup::{TargetFiles, TargetSetup};
pub(crate) use shrink::can_be_done;
