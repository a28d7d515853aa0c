//! What `heisenbed run` brings into programs, as bytes: the library that is preloaded into them,
//! and the archive that instrumented ones are linked with. What it does there is told in
//! `c/runtime.h`; what both sides agree on, in [`protocol`].

#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod protocol;

/// The shared library that is preloaded.
pub const RUNTIME: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libheisenbed_run.so"));

/// The archive with what `-fsanitize=thread` calls.
pub const ACCESS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libheisenbed_access.a"));

/// The program that loads a target, and does a workload's operations with it.
pub const DRIVER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/heisenbed_driver"));

/// The program with planted defects that campaigns must find.
pub const CANARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/heisenbed_canary"));
