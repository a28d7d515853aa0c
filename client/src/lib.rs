//! The C interface to heisenbed's tracking messages: what a runtime written in C or C++ calls
//! beside its allocator, so that a tracking server hears of every buffer with its memory, sequence
//! number, generation and thread.
//!
//! Three rooms: `ffi` is the C interface and the only unsafe one, [`client`] is what it does,
//! [`stamp`] the sequence numbers. Codec and connection are the library's own
//! ([`heisenbed::tracking`]); there is no second encoding. `include/heisenbed.h` is made from
//! `ffi`; a test keeps it current. Not for Rust programs: those have
//! [`heisenbed::tracking::transport`].
//!
//! Invariants:
//! - No call unwinds into its caller, and none raises SIGPIPE.
//! - Any function but `hb_close` may be called from any number of threads with the same client.
//! - A client belongs to the process that connected it: after a fork the child's calls fail with
//!   `HB_STATUS_FORKED` and touch neither the connection nor a lock.

#![deny(missing_docs)]
#![deny(unsafe_code)]

pub mod client;
#[allow(unsafe_code, reason = "a C interface takes pointers")]
pub mod ffi;
pub mod stamp;
